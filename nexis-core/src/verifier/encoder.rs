//! One encoder with its card: what it alone says to a caption and to frames.

use std::sync::Arc;

use super::row::{embed_frames, frame_category, frame_scores};
use crate::check::{CategoryRule, middle_three};
use crate::error::Result;
use crate::media::{Frame, MediaFailure};
use crate::model::ImageText;
use crate::model::card::ModelCard;
use crate::protocol::Category;
use crate::report::{AlignmentReport, CategoryReport, UnitReport, Verdict};
use crate::score::FrameEmbeddings;
use crate::score::align::{Aligner, CaptionReading, Measurer};
use crate::score::category::{CaptionGate, CategoryScorer, FrameCategory, score_of};
use crate::score::features::Feature;
use crate::score::text::TextEncoder;

/// A model and the card that turns its similarities into verdicts. A clone shares both.
#[derive(Clone)]
pub(super) struct Encoder {
    aligner: Arc<Aligner>,
    categories: Arc<CategoryScorer>,
}

impl Encoder {
    /// # Errors
    /// Where the card is for other weights than the model's, or the model fails on the card's texts.
    pub(super) fn new(model: Arc<dyn ImageText>, card: Arc<ModelCard>) -> Result<Self> {
        let texts = Arc::new(TextEncoder::new(model));
        Ok(Self {
            categories: Arc::new(CategoryScorer::new(&texts, Arc::clone(&card))?),
            aligner: Arc::new(Aligner::with_texts(texts, card)?),
        })
    }

    pub(super) fn model(&self) -> &dyn ImageText {
        self.texts().model().as_ref()
    }

    pub(super) fn card(&self) -> &ModelCard {
        self.aligner.card()
    }

    pub(super) fn measurer(&self) -> &Measurer {
        self.aligner.measurer()
    }

    pub(super) fn texts(&self) -> &TextEncoder {
        self.measurer().texts()
    }

    /// The text side of a caption.
    pub(super) fn read(&self, caption: &str) -> Result<CaptionReading> {
        self.measurer().read(caption)
    }

    /// What the gate makes of a caption.
    pub(super) fn gate(&self, reading: &CaptionReading) -> CaptionGate {
        self.categories.gate_read(reading)
    }

    /// Embeds frames of one size.
    pub(super) fn embed(&self, frames: &[Frame], batch: usize) -> Result<FrameEmbeddings, MediaFailure> {
        embed_frames(self.model(), frames, batch)
    }

    /// The labels of each frame, whatever the sizes.
    pub(super) fn label(&self, frames: &[Frame], batch: usize) -> Result<Vec<FrameCategory>, MediaFailure> {
        let runs = frames.chunk_by(|a, b| (a.width, a.height) == (b.width, b.height));
        let embedded = runs.map(|run| self.embed(run, batch)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.label_embedded(&embedded)?)
    }

    /// The labels of each frame, numbered through.
    pub(super) fn label_embedded(&self, runs: &[FrameEmbeddings]) -> Result<Vec<FrameCategory>> {
        let mut labels: Vec<FrameCategory> = Vec::new();
        for run in runs {
            labels.extend(self.categories.frames(run)?);
        }
        for (frame_index, label) in labels.iter_mut().enumerate() {
            label.frame_index = frame_index;
        }
        Ok(labels)
    }

    /// A caption against frames.
    pub(super) fn alignment(
        &self,
        reading: &CaptionReading,
        embeddings: &FrameEmbeddings,
    ) -> Result<AlignmentReport> {
        let alignment = self.aligner.align_read(reading, embeddings)?;
        let measured = alignment.measured;
        Ok(AlignmentReport {
            probability: alignment.probability,
            threshold: alignment.threshold,
            verdict: if alignment.matched { Verdict::Accept } else { Verdict::Reject },
            borderline: alignment.borderline,
            units: measured
                .units
                .into_iter()
                .map(|u| UnitReport { text: u.text, similarity: u.similarity, per_frame: u.frames })
                .collect(),
            features: Feature::ALL.iter().map(|f| (f.name().to_owned(), measured.features.get(*f))).collect(),
            cascade: None,
            ensemble: None,
        })
    }

    /// The strict rule on the middle three of labelled frames, behind the caption gate.
    pub(super) fn category(&self, gate: &CaptionGate, labels: &[FrameCategory]) -> CategoryReport {
        let middle: Vec<_> =
            middle_three(labels.len()).into_iter().flatten().filter_map(|i| labels.get(i)).collect();
        let rule = CategoryRule::default();
        let decided = rule.decide(&middle.iter().map(|frame| frame_scores(frame)).collect::<Vec<_>>());
        let band = self.card().category.borderline;
        let near = |value: f64, limit: f64| (value - limit).abs() < band;
        CategoryReport {
            caption_nature: score_of(&gate.scores, Category::Nature),
            decision: match &decided {
                Some(decided) if decided.accept && !gate.rejected => Verdict::Accept,
                _ => Verdict::Reject,
            },
            borderline: gate.borderline
                || decided.as_ref().is_some_and(|d| {
                    near(d.nature_score, rule.min_nature_score) || near(d.margin, rule.min_margin)
                }),
            nature_score: decided.as_ref().map(|d| d.nature_score),
            rival_score: decided.as_ref().map(|d| d.rival_score),
            margin: decided.as_ref().map(|d| d.margin),
            frames: middle.into_iter().map(frame_category).collect(),
            cascade: None,
            ensemble: None,
        }
    }
}
