//! The seven labels of frames and captions, by prompt ensembles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FrameEmbeddings;
use super::align::{CaptionReading, Measurer};
use super::text::{TextEncoder, centre, cosine};
use super::threshold::judge;
use crate::error::{Error, Result};
use crate::model::card::ModelCard;
use crate::protocol::Category;

/// One score per label, in the order of the wire.
pub type LabelScores = [f64; Category::ALL.len()];

/// The labels of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCategory {
    /// The frame's index among the embedded frames.
    pub frame_index: usize,
    /// The label with the greatest score, the first of equals.
    pub winner: Category,
    /// Scores in 0..1 that sum to 1.
    pub scores: LabelScores,
}

/// What the gate makes of a caption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionGate {
    /// Scores in 0..1 that sum to 1.
    pub scores: LabelScores,
    /// Whether the caption is plainly about another label than nature.
    pub rejected: bool,
    /// Whether another device might have decided otherwise.
    pub borderline: bool,
}

/// A label's place in [`LabelScores`].
pub fn score_of(scores: &LabelScores, label: Category) -> f64 {
    Category::ALL.iter().zip(scores).find_map(|(l, s)| (*l == label).then_some(*s)).unwrap_or(0.0)
}

/// The embeddings that stand for the labels.
#[derive(Clone, Debug)]
pub struct Prototypes {
    rows: Vec<Vec<f32>>,
}

impl Prototypes {
    /// The unit-length mean of each label's prompts, labels in the order of the wire.
    ///
    /// # Errors
    /// Where there are not seven lists, or the model fails.
    pub fn new(texts: &TextEncoder, prompts: &[Vec<String>]) -> Result<Self> {
        if prompts.len() != Category::ALL.len() || prompts.iter().any(Vec::is_empty) {
            return Err(Error::usage(
                "prompts",
                "one list that is not empty is needed for each of the seven labels",
            ));
        }
        let rows = prompts
            .iter()
            .map(|prompts| Ok(centre(&texts.embed_all(prompts)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { rows })
    }

    /// As [`new`](Self::new), from prompts that are embedded already.
    pub(crate) fn from_rows(rows: &[Vec<Arc<[f32]>>]) -> Self {
        Self { rows: rows.iter().map(|rows| centre(rows)).collect() }
    }

    /// Per frame, each label's cosine: the mean over the tiles, because the label is about the main subject of the
    /// whole picture and not about what can be found in a part of it.
    ///
    /// # Errors
    /// Where the widths differ.
    pub fn frame_cosines(&self, clip: &FrameEmbeddings) -> Result<Vec<LabelScores>> {
        let mut frames = vec![[0.0; Category::ALL.len()]; clip.frames()];
        for (label, row) in self.rows.iter().enumerate() {
            for (frame, similarity) in frames.iter_mut().zip(clip.similarities(row)?) {
                if let Some(score) = frame.get_mut(label) {
                    *score = similarity.mean;
                }
            }
        }
        Ok(frames)
    }

    /// Each label's cosine with a caption.
    pub fn caption_cosines(&self, embedding: &[f32]) -> LabelScores {
        let mut scores = [0.0; Category::ALL.len()];
        for (score, row) in scores.iter_mut().zip(&self.rows) {
            *score = cosine(embedding, row);
        }
        scores
    }
}

/// `softmax(temperature * cosines + biases)`.
pub fn posterior(cosines: &LabelScores, temperature: f64, biases: &LabelScores) -> LabelScores {
    let mut scores = [0.0; Category::ALL.len()];
    for ((score, cosine), bias) in scores.iter_mut().zip(cosines).zip(biases) {
        *score = temperature * cosine + bias;
    }
    let top = super::greatest(&scores);
    let exponentials = scores.map(|score| (score - top).exp());
    let sum: f64 = exponentials.iter().sum();
    exponentials.map(|e| e / sum)
}

/// The label with the greatest score, the first of equals.
pub fn winner(scores: &LabelScores) -> Category {
    let mut best = (Category::Nature, f64::NEG_INFINITY);
    for (label, score) in Category::ALL.into_iter().zip(scores) {
        if *score > best.1 {
            best = (label, *score);
        }
    }
    best.0
}

/// Labels frames and captions by a model card.
#[derive(Debug)]
pub struct CategoryScorer {
    prototypes: Prototypes,
    biases: LabelScores,
    gate_biases: LabelScores,
    card: Arc<ModelCard>,
}

impl CategoryScorer {
    /// A scorer; prompts are embedded once.
    ///
    /// # Errors
    /// Where the card makes no sense or is for other weights, or the model fails.
    pub fn new(texts: &TextEncoder, card: Arc<ModelCard>) -> Result<Self> {
        card.validate()?;
        card.check_weights(texts.model().identity())?;
        let labels = &card.category.labels;
        let prompts: Vec<Vec<String>> = labels.iter().map(|label| label.prompts.clone()).collect();
        let prototypes = Prototypes::new(texts, &prompts)?;
        let mut biases = [0.0; Category::ALL.len()];
        let mut gate_biases = biases;
        for ((bias, gate_bias), label) in biases.iter_mut().zip(&mut gate_biases).zip(labels) {
            (*bias, *gate_bias) = (label.bias, label.gate_bias);
        }
        Ok(Self { prototypes, biases, gate_biases, card })
    }

    /// The labels of every frame.
    ///
    /// # Errors
    /// Where the frames come from another model.
    pub fn frames(&self, clip: &FrameEmbeddings) -> Result<Vec<FrameCategory>> {
        let cosines = self.prototypes.frame_cosines(clip)?;
        Ok(cosines
            .iter()
            .enumerate()
            .map(|(frame_index, cosines)| {
                let scores = posterior(cosines, self.card.category.temperature, &self.biases);
                FrameCategory { frame_index, winner: winner(&scores), scores }
            })
            .collect())
    }

    /// The gate on a caption's text, before any frame is looked at.
    ///
    /// # Errors
    /// Where the model fails.
    pub fn gate(&self, measurer: &Measurer, caption: &str) -> Result<CaptionGate> {
        Ok(self.gate_read(&measurer.read(caption)?))
    }

    /// The gate on a caption that has been read. A caption that could not be read is rejected.
    pub fn gate_read(&self, reading: &CaptionReading) -> CaptionGate {
        if reading.refused().is_some() {
            return CaptionGate { scores: [0.0; Category::ALL.len()], rejected: true, borderline: false };
        }
        let gate = &self.card.category.gate;
        let cosines = self.prototypes.caption_cosines(&reading.embedding());
        let scores = posterior(&cosines, gate.temperature, &self.gate_biases);
        let judged = judge(score_of(&scores, Category::Nature), gate.threshold, gate.borderline);
        CaptionGate { scores, rejected: !judged.matched, borderline: judged.borderline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posterior_sums_to_one_and_survives_extremes() {
        let cosines = [0.3, 0.1, 0.2, 0.0, -1.0, 0.1, 0.05];
        for temperature in [0.0, 1.0, 100.0, 1e6] {
            let scores = posterior(&cosines, temperature, &[0.0; 7]);
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert_eq!(winner(&scores), Category::Nature);
        }
        // Python: numpy softmax of 10 * cosines
        let scores = posterior(&cosines, 10.0, &[0.0; 7]);
        assert!((scores[0] - 0.564_836_3).abs() < 5e-7, "{}", scores[0]);
        let biased = posterior(&cosines, 10.0, &[0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(winner(&biased), Category::Animal);
        assert_eq!(score_of(&biased, Category::Animal), biased[2]);
    }
}
