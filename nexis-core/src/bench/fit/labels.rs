//! The labels of a card: prompts, temperatures, biases and the gate on captions, from clips that name a category.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{FitOptions, folds_of};
use crate::bench::measure::BenchModel;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::card::{CategoryCard, ModelCard};
use crate::protocol::Category;
use crate::score::FrameEmbeddings;
use crate::score::category::{LabelScores, Prototypes, posterior, score_of, winner};
use crate::score::metrics::threshold_at_false_rejection;
use crate::score::softmax::{LabelledCosines, fit_softmax};
use crate::score::text::TextEncoder;

/// Most clips behind the softmax; the first of the file are taken.
const MOST_CATEGORY_CLIPS: usize = 20_000;
/// What a prompt's absence has to gain, in nats a frame: less is noise.
const LEAST_GAIN: f64 = 1e-3;
/// Most frames on which prompts are chosen: every prompt costs a cross-validation.
const MOST_CHOOSING: usize = 4000;

/// What the fit of the labels came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryFacts {
    /// Clips with a category.
    pub clips: u64,
    /// Clips of each.
    pub counts: BTreeMap<Category, u64>,
    /// Share of frames labelled right, by cross-validation; the same folds chose the prompts.
    pub accuracy: f64,
    /// The same with all prompts that were offered.
    pub accuracy_of_all_prompts: f64,
    /// Prompts that were left out since the labels are better told apart without them.
    pub dropped: Vec<(Category, String)>,
}

/// A frame of a clip that names a category.
struct LabelledFrame {
    /// The digest of the clip and the frame's number. Its order says nothing about the frame, and is the same however
    /// the rows of the file lie.
    order: Digest,
    label: Category,
    group: u32,
    /// Per label the cosines with its prompts.
    cosines: Vec<Vec<f32>>,
}

/// Cosines of frames and captions with every prompt, from which the labels are fitted.
pub(super) struct Labels {
    prompts: Vec<Vec<String>>,
    /// Prompts, by label, as rows.
    rows: Vec<Vec<Arc<[f32]>>>,
    seen: HashSet<Digest>,
    frames: Vec<LabelledFrame>,
    /// Per clip one caption that fits it: of several the one with the least digest, wherever it stands in the file.
    captions: BTreeMap<Digest, (Digest, Category, Vec<f32>)>,
    counts: BTreeMap<Category, u64>,
}

impl Labels {
    pub(super) fn new(texts: &TextEncoder, draft: &ModelCard) -> Result<Self> {
        let prompts: Vec<Vec<String>> = draft.category.labels.iter().map(|l| l.prompts.clone()).collect();
        let rows = prompts.iter().map(|prompts| texts.embed_all(prompts)).collect::<Result<_>>()?;
        Ok(Self {
            prompts,
            rows,
            seen: HashSet::new(),
            frames: Vec::new(),
            captions: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
    }

    /// Takes a clip's frames, the first time that it is seen, and its caption where nobody said that it does not fit.
    pub(super) fn add(
        &mut self,
        bench: &BenchModel,
        (category, group): (Category, u32),
        shown: Digest,
        embeddings: &FrameEmbeddings,
        caption: Option<&str>,
    ) -> Result<()> {
        if !self.seen.contains(&shown) {
            if self.seen.len() >= MOST_CATEGORY_CLIPS {
                return Ok(());
            }
            self.seen.insert(shown);
            self.add_frames((category, group), shown, embeddings)?;
        }
        if let Some(caption) = caption {
            let digest = Digest::of(caption);
            if self.captions.get(&shown).is_none_or(|(known, ..)| digest < *known) {
                let embedding = bench.measurer().read(caption)?.embedding();
                self.captions.insert(shown, (digest, category, embedding));
            }
        }
        Ok(())
    }

    fn add_frames(
        &mut self,
        (label, group): (Category, u32),
        shown: Digest,
        embeddings: &FrameEmbeddings,
    ) -> Result<()> {
        *self.counts.entry(label).or_default() += 1;
        // Per label, per prompt, per frame.
        let cosines = self
            .rows
            .iter()
            .map(|rows| rows.iter().map(|row| embeddings.similarities(row)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        for frame in 0..embeddings.frames() {
            let of_frame = cosines
                .iter()
                .map(|prompts| prompts.iter().filter_map(|s| s.get(frame)).map(|s| s.mean as f32).collect())
                .collect();
            let order = Digest::of(format!("frame {frame} of {shown}"));
            self.frames.push(LabelledFrame { order, label, group, cosines: of_frame });
        }
        Ok(())
    }

    /// Each label's cosine with a frame: that of the mean of the prompts that are kept.
    fn observations(&self, kept: &[Vec<bool>], frames: &[usize]) -> Vec<LabelledCosines> {
        // The mean of unit rows has another length; a cosine with it is the mean of the cosines over that length.
        let lengths: Vec<f64> = self
            .rows
            .iter()
            .zip(kept)
            .map(|(rows, kept)| {
                let mut sum: Vec<f64> = Vec::new();
                let mut n = 0.0;
                for (row, _) in rows.iter().zip(kept).filter(|(_, kept)| **kept) {
                    sum.resize(row.len(), 0.0);
                    for (s, x) in sum.iter_mut().zip(row.iter()) {
                        *s += f64::from(*x);
                    }
                    n += 1.0;
                }
                sum.iter().map(|x| x * x).sum::<f64>().sqrt() / f64::max(n, 1.0)
            })
            .collect();
        frames
            .iter()
            .filter_map(|frame| self.frames.get(*frame))
            .map(|LabelledFrame { label, cosines, .. }| {
                let mut scores: LabelScores = [0.0; Category::ALL.len()];
                for (((score, cosines), kept), length) in
                    scores.iter_mut().zip(cosines).zip(kept).zip(&lengths)
                {
                    let kept: Vec<f64> = cosines
                        .iter()
                        .zip(kept)
                        .filter(|(_, kept)| **kept)
                        .map(|(cosine, _)| f64::from(*cosine))
                        .collect();
                    *score = crate::score::mean(&kept) / length.max(1e-6);
                }
                LabelledCosines { cosines: scores, label: *label, weight: 1.0 }
            })
            .collect()
    }

    /// Mean negative log-likelihood and share of these frames labelled right, each by a fit without its group.
    fn crossed(
        &self,
        kept: &[Vec<bool>],
        frames: &[usize],
        fold: &[usize],
        folds: usize,
        prior: f64,
        ridge: f64,
    ) -> Result<(f64, f64)> {
        let all = self.observations(kept, frames);
        let of: Vec<usize> = frames.iter().map(|frame| fold.get(*frame).copied().unwrap_or(0)).collect();
        let parts = (0..folds)
            .into_par_iter()
            .map(|k| {
                let others = all.iter().zip(&of).filter(|(_, of)| **of != k).map(|(o, _)| *o);
                let fitted = fit_softmax(&others.collect::<Vec<_>>(), prior, ridge)?;
                let (mut loss, mut right) = (0.0, 0_u64);
                for (o, _) in all.iter().zip(&of).filter(|(_, of)| **of == k) {
                    let scores = posterior(&o.cosines, fitted.temperature, &fitted.biases);
                    loss -= score_of(&scores, o.label).max(f64::MIN_POSITIVE).ln();
                    right += u64::from(winner(&scores) == o.label);
                }
                Ok((loss, right))
            })
            .collect::<Result<Vec<(f64, u64)>>>()?;
        let n = all.len().max(1) as f64;
        let (loss, right) = parts.iter().fold((0.0, 0), |(l, r), (loss, hits)| (l + loss, r + hits));
        Ok((loss / n, right as f64 / n))
    }

    /// Temperatures, biases and gate. Each prompt in turn is dropped where cross-validation tells the labels apart better
    /// without it; a label keeps one at least. `names` are those of the groups.
    pub(super) fn fit(
        &mut self,
        card: &mut CategoryCard,
        names: &[String],
        prior: f64,
        options: &FitOptions,
    ) -> Result<Option<CategoryFacts>> {
        // Sums round by their order, so the order of the file must not be theirs.
        self.frames.sort_unstable_by_key(|frame| frame.order);
        let present: BTreeSet<u32> = self.frames.iter().map(|frame| frame.group).collect();
        let folds = options.folds.min(present.len());
        if self.frames.is_empty() {
            return Ok(None);
        }
        if folds < 2 || self.counts.len() < 2 {
            return Err(Error::usage(
                "the categories",
                "clips of two groups and two categories at least are needed",
            ));
        }
        let of_group = folds_of(names, &present, folds);
        let fold: Vec<usize> =
            self.frames.iter().map(|frame| of_group.get(&frame.group).copied().unwrap_or(0)).collect();
        let mut kept: Vec<Vec<bool>> = self.prompts.iter().map(|prompts| vec![true; prompts.len()]).collect();
        let everything: Vec<usize> = (0..self.frames.len()).collect();
        let some: Vec<usize> = everything.iter().copied().take(MOST_CHOOSING).collect();
        let judge = |kept: &[Vec<bool>], frames: &[usize]| {
            self.crossed(kept, frames, &fold, folds, prior, options.ridge)
        };
        let (_, of_all) = judge(&kept, &everything)?;
        let (mut loss, _) = judge(&kept, &some)?;
        let mut dropped = Vec::new();
        for (label, prompts) in self.prompts.iter().enumerate() {
            for (prompt, text) in prompts.iter().enumerate() {
                let mut without = kept.clone();
                let Some(of_label) = without.get_mut(label) else { continue };
                if of_label.iter().filter(|kept| **kept).count() < 2 {
                    continue;
                }
                if let Some(slot) = of_label.get_mut(prompt) {
                    *slot = false;
                }
                let (next, _) = judge(&without, &some)?;
                if next < loss - LEAST_GAIN {
                    (kept, loss) = (without, next);
                    dropped.extend(Category::ALL.get(label).map(|label| (*label, text.clone())));
                }
            }
        }
        let (_, accuracy) = judge(&kept, &everything)?;
        let fitted = fit_softmax(&self.observations(&kept, &everything), prior, options.ridge)?;
        card.temperature = fitted.temperature;
        for ((label, bias), kept) in card.labels.iter_mut().zip(fitted.biases).zip(&kept) {
            label.bias = bias;
            let mut keep = kept.iter();
            label.prompts.retain(|_| keep.next().copied().unwrap_or(true));
        }
        self.fit_gate(card, &kept, prior, options)?;
        Ok(Some(CategoryFacts {
            clips: self.seen.len() as u64,
            counts: self.counts.clone(),
            accuracy,
            accuracy_of_all_prompts: of_all,
            dropped,
        }))
    }

    fn fit_gate(
        &self,
        card: &mut CategoryCard,
        kept: &[Vec<bool>],
        prior: f64,
        options: &FitOptions,
    ) -> Result<()> {
        let rows: Vec<Vec<Arc<[f32]>>> = self
            .rows
            .iter()
            .zip(kept)
            .map(|(rows, kept)| {
                rows.iter().zip(kept).filter(|(_, kept)| **kept).map(|(row, _)| Arc::clone(row)).collect()
            })
            .collect();
        let prototypes = Prototypes::from_rows(&rows);
        let captions: Vec<LabelledCosines> = self
            .captions
            .values()
            .map(|(_, label, embedding)| LabelledCosines {
                cosines: prototypes.caption_cosines(embedding),
                label: *label,
                weight: 1.0,
            })
            .collect();
        if captions.is_empty() {
            // Every caption of these clips was judged wrong: nothing is known, and nothing is rejected.
            (card.gate.temperature, card.gate.threshold) = (prior, 0.0);
            return Ok(());
        }
        let fitted = fit_softmax(&captions, prior, options.ridge)?;
        card.gate.temperature = fitted.temperature;
        for (label, bias) in card.labels.iter_mut().zip(fitted.biases) {
            label.gate_bias = bias;
        }
        let nature: Vec<f64> = captions
            .iter()
            .filter(|o| o.label == Category::Nature)
            .map(|o| score_of(&posterior(&o.cosines, fitted.temperature, &fitted.biases), Category::Nature))
            .collect();
        // Without a caption of nature nothing is known, and nothing is rejected.
        let quantile = threshold_at_false_rejection(&nature, options.gate_false_rejection).unwrap_or(0.0);
        card.gate.threshold = quantile.min(options.gate_ceiling);
        Ok(())
    }
}
