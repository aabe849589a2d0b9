//! Making a card from clips, and measuring what it is worth on others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FrameEmbeddings;
use super::align::{Aligner, Measurer, logit};
use super::calibrate::{
    FittedLogistic, LabelledFeatures, RankedFeatures, ThresholdRule, choose_threshold, fit,
};
use super::category::{CategoryScorer, FrameCategory, Prototypes, posterior, score_of};
use super::features::Feature;
use super::metrics::{Confusion, accept_rate, equal_error_rate, share, threshold_at_false_rejection};
use super::softmax::{FittedSoftmax, LabelledCosines, fit_softmax};
use super::text::TextEncoder;
use super::trials::{Trial, TrialClip, TrialKind, TrialPlan, View, run_trials};
use crate::error::Result;
use crate::model::card::{Figure, ModelCard};
use crate::protocol::Category;

/// How a card is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationPlan {
    /// The features of the logistic model.
    pub features: Vec<Feature>,
    /// Inverse penalty of the logistic fit.
    pub c: f64,
    /// Weight of each kind of trial; every kind's trials share it, however many there are.
    pub weights: BTreeMap<TrialKind, f64>,
    /// Weight of the pairs of a true caption and its swap, shared by all.
    pub pair_weight: f64,
    /// How the threshold is chosen; the false captions are those of other scenes and generic ones.
    pub threshold: ThresholdRule,
    /// Ridge of the softmax fits.
    pub ridge: f64,
    /// Most captions of nature that the gate may reject, as a share.
    pub gate_false_rejection: f64,
    /// The gate's threshold is never above this.
    pub gate_ceiling: f64,
    /// Which trials are made.
    pub trials: TrialPlan,
}

impl Default for CalibrationPlan {
    fn default() -> Self {
        Self {
            features: DEFAULT_FEATURES.to_vec(),
            c: 1.0,
            weights: BTreeMap::from([
                (TrialKind::True, 3.0),
                (TrialKind::OtherCategory, 1.0),
                (TrialKind::SameCategory, 1.0),
                (TrialKind::Swap, 0.5),
                (TrialKind::Generic, 0.5),
                (TrialKind::PartlyFalse, 0.5),
            ]),
            pair_weight: 4.0,
            threshold: ThresholdRule::LowerOf(0.01),
            ridge: 1.0,
            gate_false_rejection: 0.002,
            gate_ceiling: 0.05,
            trials: TrialPlan::default(),
        }
    }
}

/// The features of a card unless its command asks for others. Left out are measures that fits gave
/// coefficients against their meaning on the demonstration model (negation by itself, of which a model of that size
/// understands nothing, and the saturating shares, which duplicate the margins), and those that changed no
/// rate. Negation counts in the pooled margins.
pub const DEFAULT_FEATURES: [Feature; 17] = [
    Feature::Whole,
    Feature::UnitsMean,
    Feature::UnitsMin,
    Feature::BankLikeness,
    Feature::BankMarginMean,
    Feature::BankMarginMax,
    Feature::BankStanding,
    Feature::Specificity,
    Feature::GenericLikeness,
    Feature::SwapMarginMin,
    Feature::SwapMarginMean,
    Feature::SwapColour,
    Feature::SwapNumber,
    Feature::SwapObject,
    Feature::SwapWeather,
    Feature::SwapLight,
    Feature::SwapSetting,
];

/// Fits all numbers of a draft card on clips; the draft brings identity, texts and budget.
///
/// # Errors
/// Where the draft makes no sense or is for other weights, the model fails, or a fit does not converge.
pub fn calibrate(
    texts: &Arc<TextEncoder>,
    draft: &ModelCard,
    clips: &[TrialClip],
    plan: &CalibrationPlan,
) -> Result<ModelCard> {
    draft.validate()?;
    draft.check_weights(texts.model().identity())?;
    let mut card = draft.clone();
    let alignment = &draft.alignment;
    let measurer =
        Measurer::new(Arc::clone(texts), &alignment.generic, &alignment.distractors, alignment.swaps)?;
    let trials = run_trials(&measurer, clips, &plan.trials)?;
    let fitted = fit_alignment(&trials, plan)?;
    fitted.install(&mut card.alignment);
    let scores = |kinds: &[TrialKind]| -> Vec<f64> {
        trials
            .iter()
            .filter(|t| t.view == View::Clean && kinds.contains(&t.kind))
            .map(|t| logit(&card.alignment, &t.features))
            .collect()
    };
    let negatives = [TrialKind::OtherCategory, TrialKind::SameCategory, TrialKind::Generic];
    card.alignment.threshold =
        choose_threshold(plan.threshold, &scores(&[TrialKind::True]), &scores(&negatives))?;
    fit_category(&measurer, &mut card, clips, plan)?;
    for kind in TrialKind::ALL {
        let count = trials.iter().filter(|t| t.kind == kind).count();
        card.calibration.counts.insert(format!("trials: {}", kind.as_str()), count as u64);
    }
    card.calibration.counts.insert("clips".into(), clips.len() as u64);
    card.validate()?;
    Ok(card)
}

/// The logistic model of measured trials.
fn fit_alignment(trials: &[Trial], plan: &CalibrationPlan) -> Result<FittedLogistic> {
    let mut counts: BTreeMap<TrialKind, f64> = BTreeMap::new();
    for trial in trials {
        *counts.entry(trial.kind).or_default() += 1.0;
    }
    // As many units of weight as there are trials, so that `c` means the same whatever the shares.
    let asked: f64 = plan.weights.iter().filter(|(kind, _)| counts.contains_key(*kind)).map(|(_, w)| w).sum();
    let unit = trials.len() as f64 / asked.max(f64::MIN_POSITIVE);
    let samples: Vec<LabelledFeatures> = trials
        .iter()
        .map(|trial| {
            let weight = plan.weights.get(&trial.kind).copied().unwrap_or(0.0);
            let sharers = counts.get(&trial.kind).copied().unwrap_or(1.0);
            LabelledFeatures {
                features: trial.features.clone(),
                matched: trial.kind == TrialKind::True,
                weight: weight * unit / sharers,
            }
        })
        .collect();
    let honest: BTreeMap<usize, &Trial> = trials
        .iter()
        .filter(|t| t.kind == TrialKind::True && t.view == View::Clean)
        .map(|t| (t.clip, t))
        .collect();
    let mut pairs: Vec<RankedFeatures> = trials
        .iter()
        .filter(|t| t.kind == TrialKind::Swap)
        .filter_map(|t| {
            let better = honest.get(&t.clip)?.features.clone();
            Some(RankedFeatures { better, worse: t.features.clone(), weight: 0.0 })
        })
        .collect();
    let weight = plan.pair_weight * unit / pairs.len().max(1) as f64;
    for pair in &mut pairs {
        pair.weight = weight;
    }
    fit(&plan.features, &samples, &pairs, plan.c)
}

fn fit_category(
    measurer: &Measurer,
    card: &mut ModelCard,
    clips: &[TrialClip],
    plan: &CalibrationPlan,
) -> Result<()> {
    let texts = measurer.texts();
    let prompts: Vec<Vec<String>> = card.category.labels.iter().map(|l| l.prompts.clone()).collect();
    let prototypes = Prototypes::new(texts, &prompts)?;
    let prior = f64::from(texts.model().logit_scale());
    let mut frames = Vec::new();
    let mut captions = Vec::new();
    for clip in clips {
        for (_, embeddings) in clip.views.iter().filter(|(view, _)| plan.trials.views.contains(view)) {
            for cosines in prototypes.frame_cosines(embeddings)? {
                frames.push(LabelledCosines { cosines, label: clip.category, weight: 1.0 });
            }
        }
        let cosines = prototypes.caption_cosines(&measurer.read(&clip.caption)?.embedding());
        captions.push(LabelledCosines { cosines, label: clip.category, weight: 1.0 });
    }
    let of_frames = fit_softmax(&frames, prior, plan.ridge)?;
    let of_captions = fit_softmax(&captions, prior, plan.ridge)?;
    card.category.temperature = of_frames.temperature;
    card.category.gate.temperature = of_captions.temperature;
    for ((label, bias), gate_bias) in
        card.category.labels.iter_mut().zip(of_frames.biases).zip(of_captions.biases)
    {
        (label.bias, label.gate_bias) = (bias, gate_bias);
    }
    let nature = gate_scores(&captions, &of_captions, Category::Nature);
    let quantile = threshold_at_false_rejection(&nature, plan.gate_false_rejection).unwrap_or(0.0);
    card.category.gate.threshold = quantile.min(plan.gate_ceiling);
    Ok(())
}

fn gate_scores(captions: &[LabelledCosines], fitted: &FittedSoftmax, label: Category) -> Vec<f64> {
    captions
        .iter()
        .filter(|o| o.label == label)
        .map(|o| score_of(&posterior(&o.cosines, fitted.temperature, &fitted.biases), Category::Nature))
        .collect()
}

/// What a card is worth on clips that it was not fitted on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The table, rates as shares of 1.
    pub measures: Vec<Measure>,
    /// The labels of clean frames.
    pub confusion: Confusion,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What was measured.
    pub name: String,
    /// The rate, 0 to 1.
    pub rate: f64,
    /// What the rate is out of.
    pub samples: usize,
    /// The least asked for, 0 to 1; `None` where nothing was.
    pub floor: Option<f64>,
    /// What was hoped for.
    pub goal: Option<f64>,
    /// Whether less is better.
    pub is_error: bool,
}

impl Measure {
    /// Whether the rate reaches a bound; `None` without one.
    pub fn reaches(&self, bound: Option<f64>) -> Option<bool> {
        bound.map(|bound| if self.is_error { self.rate <= bound } else { self.rate >= bound })
    }

    /// The line as a card holds it.
    pub fn figure(&self) -> Figure {
        let percent = |rate: f64| format!("{:.2} %", rate * 100.0);
        Figure {
            measure: self.name.clone(),
            value: format!("{} of {}", percent(self.rate), self.samples),
            floor: self.floor.map(percent).unwrap_or_default(),
            goal: self.goal.map(percent).unwrap_or_default(),
        }
    }
}

impl Evaluation {
    /// The table as a card holds it.
    pub fn figures(&self) -> Vec<Figure> {
        self.measures.iter().map(Measure::figure).collect()
    }

    /// The rate of a measure by its name.
    pub fn rate(&self, name: &str) -> Option<f64> {
        self.measures.iter().find(|m| m.name == name).map(|m| m.rate)
    }

    fn push(&mut self, name: impl Into<String>, rate: f64, samples: usize, bounds: Bounds) {
        let Bounds { floor, goal, is_error } = bounds;
        self.measures.push(Measure { name: name.into(), rate, samples, floor, goal, is_error });
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    floor: Option<f64>,
    goal: Option<f64>,
    is_error: bool,
}

const fn error(floor: Option<f64>, goal: Option<f64>) -> Bounds {
    Bounds { floor, goal, is_error: true }
}

const fn right(floor: Option<f64>, goal: Option<f64>) -> Bounds {
    Bounds { floor, goal, is_error: false }
}

/// What is asked of the demonstration model for a swapped attribute: floor and goal.
fn asked_of_swap(attribute: &str) -> Bounds {
    match attribute {
        "colour" => right(Some(0.97), Some(0.99)),
        "object" => right(Some(0.85), Some(0.93)),
        "count" => right(Some(0.70), Some(0.85)),
        "weather" => right(Some(0.94), Some(0.97)),
        _ => right(None, None),
    }
}

/// Measures a card. `rule` is the protocol's: whether a clip with these labels of its frames (all of them, in
/// order) passes as nature.
///
/// # Errors
/// Where the model fails or a clip lacks its clean view.
pub fn evaluate(
    aligner: &Aligner,
    scorer: &CategoryScorer,
    clips: &[TrialClip],
    plan: &TrialPlan,
    rule: &dyn Fn(&[FrameCategory]) -> bool,
) -> Result<Evaluation> {
    let trials = run_trials(aligner.measurer(), clips, plan)?;
    let card = &aligner.card().alignment;
    let threshold = card.threshold;
    let scored: Vec<(&Trial, f64)> = trials.iter().map(|t| (t, logit(card, &t.features))).collect();
    let of = |kind: TrialKind, view: View| -> Vec<f64> {
        scored.iter().filter(|(t, _)| t.kind == kind && t.view == view).map(|(_, s)| *s).collect()
    };
    let mut table = Evaluation::default();
    let eer = |table: &mut Evaluation, name: String, kind, view, bounds| {
        let (positives, negatives) = (of(TrialKind::True, view), of(kind, view));
        if let Some(rate) = equal_error_rate(&positives, &negatives) {
            table.push(name, rate, positives.len() + negatives.len(), bounds);
        }
    };
    let other = TrialKind::OtherCategory;
    eer(
        &mut table,
        "another category, equal error rate".into(),
        other,
        View::Clean,
        error(Some(0.01), Some(0.003)),
    );
    let same = TrialKind::SameCategory;
    eer(
        &mut table,
        "same category, equal error rate".into(),
        same,
        View::Clean,
        error(Some(0.03), Some(0.015)),
    );

    let honest: BTreeMap<usize, f64> = scored
        .iter()
        .filter(|(t, _)| t.kind == TrialKind::True && t.view == View::Clean)
        .map(|(t, s)| (t.clip, *s))
        .collect();
    let mut swaps: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (trial, score) in scored.iter().filter(|(t, _)| t.kind == TrialKind::Swap) {
        let (won, all) = swaps.entry(&trial.attribute).or_default();
        *won += usize::from(honest.get(&trial.clip).is_some_and(|true_score| true_score > score));
        *all += 1;
    }
    for (attribute, (won, all)) in swaps {
        table.push(
            format!("{attribute} swapped, true caption ahead"),
            share(won, all),
            all,
            asked_of_swap(attribute),
        );
    }

    let mut labels = Labels::default();
    for clip in clips {
        for (view, embeddings) in &clip.views {
            labels.add(scorer, clip.category, *view, embeddings, rule)?;
        }
    }
    table.confusion = labels.confusion.clone();
    let frames: u64 = labels.confusion.counts.iter().flatten().sum();
    let accuracy = labels.confusion.accuracy();
    table.push("seven labels, one frame", accuracy, frames as usize, right(Some(0.96), Some(0.98)));
    let (accepts, natures) = labels.nature(View::Clean, true);
    table.push("nature rule, true accepts", share(accepts, natures), natures, right(Some(0.90), Some(0.97)));
    let (accepts, others) = labels.nature(View::Clean, false);
    table.push("nature rule, false accepts", share(accepts, others), others, error(Some(0.005), Some(0.002)));

    for (view, bounds) in [
        (View::Compressed, error(Some(0.01), Some(0.005))),
        (View::Blurred, error(Some(0.01), Some(0.005))),
        (View::Grey, error(None, Some(0.04))),
        (View::CaptionBar, error(None, None)),
    ] {
        eer(
            &mut table,
            format!("{}: another category, equal error rate", view.as_str()),
            other,
            view,
            bounds,
        );
        let (accepts, natures) = labels.nature(view, true);
        if natures > 0 {
            let goal = if view == View::CaptionBar { Some(0.75) } else { None };
            let name = format!("{}: nature rule, true accepts", view.as_str());
            table.push(name, share(accepts, natures), natures, right(None, goal));
            let (accepts, others) = labels.nature(view, false);
            let name = format!("{}: nature rule, false accepts", view.as_str());
            table.push(name, share(accepts, others), others, error(None, None));
        }
    }

    // What the threshold itself does, beside the rates that do not depend on it.
    let limit = (threshold / (1.0 - threshold)).ln();
    for kind in TrialKind::ALL {
        let scores = of(kind, View::Clean);
        if !scores.is_empty() {
            let bounds = if kind == TrialKind::True { right(None, None) } else { error(None, None) };
            let name = format!("accepted at the threshold: {}", kind.as_str());
            table.push(name, accept_rate(&scores, limit), scores.len(), bounds);
        }
    }
    let mut gate: BTreeMap<bool, (usize, usize)> = BTreeMap::new();
    for clip in clips {
        let (rejected, all) = gate.entry(clip.category == Category::Nature).or_default();
        *rejected += usize::from(scorer.gate(aligner.measurer(), &clip.caption)?.rejected);
        *all += 1;
    }
    for (is_nature, (rejected, all)) in gate {
        let (name, bounds) = if is_nature {
            ("caption gate, nature rejected", error(None, None))
        } else {
            ("caption gate, others rejected", right(None, None))
        };
        table.push(name, share(rejected, all), all, bounds);
    }
    Ok(table)
}

#[derive(Default)]
struct Labels {
    confusion: Confusion,
    /// Per view and whether the clip is nature: accepted, all.
    nature: BTreeMap<(View, bool), (usize, usize)>,
}

impl Labels {
    fn add(
        &mut self,
        scorer: &CategoryScorer,
        truth: Category,
        view: View,
        embeddings: &FrameEmbeddings,
        rule: &dyn Fn(&[FrameCategory]) -> bool,
    ) -> Result<()> {
        let frames = scorer.frames(embeddings)?;
        if view == View::Clean {
            for frame in &frames {
                self.confusion.add(truth, frame.winner);
            }
        }
        let (accepted, all) = self.nature.entry((view, truth == Category::Nature)).or_default();
        *accepted += usize::from(rule(&frames));
        *all += 1;
        Ok(())
    }

    fn nature(&self, view: View, is_nature: bool) -> (usize, usize) {
        self.nature.get(&(view, is_nature)).copied().unwrap_or_default()
    }
}
