//! A card from pairs that people have judged.
//!
//! The logistic model is fitted with cross-validation by group: every score that a figure or the threshold rests on
//! comes from a fit that has not seen the pair's group.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::align::{
    AlignOptions, BenchReport, BenchScores, DataFacts, Judged, Measure, Names, ScoredPair, Survey, parts,
};
use super::measure::{BenchModel, Keep, TextSide, Watch, measure_pairs};
use super::media::Opener;
use super::store::EmbeddingStore;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::ImageText;
use crate::model::card::{CardModel, CategoryCard, Figure, ModelCard};
use crate::model::registry::ModelLocation;
use crate::pairs::{Pair, PairSource};
use crate::protocol::Category;
use crate::score::FrameEmbeddings;
use crate::score::align::probability;
use crate::score::bootstrap::{Interval, interval_of};
use crate::score::calibrate::{FittedLogistic, LabelledFeatures, ThresholdRule, choose_threshold, fit};
use crate::score::category::{LabelScores, Prototypes, posterior, score_of, winner};
use crate::score::evaluate::DEFAULT_FEATURES;
use crate::score::features::{AlignmentFeatures, Feature};
use crate::score::generic::{GENERIC_CAPTIONS, LABEL_PROMPTS};
use crate::score::metrics::threshold_at_false_rejection;
use crate::score::sigmoid;
use crate::score::softmax::{LabelledCosines, fit_softmax};
use crate::score::swaps::SwapBudget;
use crate::score::text::TextEncoder;

/// Captions of other clips that every caption is held against, at most.
const MOST_DISTRACTORS: usize = 64;
/// Longest caption among them, in bytes.
const LONGEST_DISTRACTOR: usize = 2000;
/// Pairs on which the width of the borderline band is measured.
const BAND_PAIRS: usize = 512;
/// Most clips behind the softmax; the first of the file are taken.
const MOST_CATEGORY_CLIPS: usize = 20_000;
/// What a prompt's absence has to gain, in nats a frame: less is noise.
const LEAST_GAIN: f64 = 1e-3;
/// Most frames on which prompts are chosen: every prompt costs a cross-validation.
const MOST_CHOOSING: usize = 4000;

/// How a card is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// The features of the logistic model.
    pub features: Vec<Feature>,
    /// Inverse penalties, of which cross-validation chooses.
    pub penalties: Vec<f64>,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// The share of captions that fit which may be rejected.
    pub false_rejection: f64,
    /// Ridge of the softmax fits.
    pub ridge: f64,
    /// Most captions of nature that the gate may reject, as a share.
    pub gate_false_rejection: f64,
    /// The gate's threshold is never above this.
    pub gate_ceiling: f64,
    /// Cut of ratings, resamples, and what else a report takes.
    pub report: AlignOptions,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            features: DEFAULT_FEATURES.to_vec(),
            penalties: vec![0.01, 0.1, 1.0, 10.0],
            folds: 5,
            false_rejection: 0.05,
            ridge: 1.0,
            gate_false_rejection: 0.002,
            gate_ceiling: 0.05,
            report: AlignOptions::default(),
        }
    }
}

/// What a fit came to, beside the card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitFacts {
    /// Pairs that were fitted on.
    pub pairs: u64,
    /// Pairs of the groups whose captions serve as distractors, which were left out.
    pub held_out: u64,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// The inverse penalty that was chosen.
    pub penalty: f64,
    /// Mean negative log-likelihood of each inverse penalty, by cross-validation.
    pub losses: Vec<(f64, f64)>,
    /// The share of false rejections that was asked for.
    pub target: f64,
    /// The threshold.
    pub threshold: f64,
    /// Where 95 % of the thresholds lie that resampled data would have given.
    pub threshold_interval: Option<Interval>,
    /// The share of false rejections on pairs that the threshold was not chosen on: 95 % of the resamples, each
    /// measured on the groups that it left out.
    pub expected_false_rejections: Option<Interval>,
    /// Features with their coefficients.
    pub coefficients: Vec<(Feature, f64)>,
    /// The labels, where pairs name a category.
    pub category: Option<CategoryFacts>,
}

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

/// A card with the report behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The card.
    pub card: ModelCard,
    /// What the cross-validated scores are worth.
    pub report: BenchReport,
    /// Those scores.
    pub scores: BenchScores,
    /// What the fit came to.
    pub facts: FitFacts,
}

/// The texts that a card starts from, out of the pairs themselves: captions of groups that are then left out of the
/// fit. Which groups follows from their names alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distractors {
    /// The captions.
    pub captions: Vec<String>,
    /// The groups they are from.
    groups: HashSet<Digest>,
}

/// The group of a pair before anything of it is read.
fn group_digest(pair: &Pair) -> Digest {
    match &pair.group {
        Some(group) => Digest::of(format!("group {group}")),
        None => Digest::of(format!("shown {}", pair.shown.keys().join("\n"))),
    }
}

impl Distractors {
    /// Chooses captions: one of each of up to 64 groups, a tenth of all groups at most.
    ///
    /// # Errors
    /// What is wrong with the file, or the tokenizer.
    pub fn choose(source: &PairSource, texts: &TextEncoder) -> Result<Self> {
        let mut groups: HashSet<Digest> = HashSet::new();
        // The groups with the least digests; a digest's order says nothing about a group.
        let mut chosen: BTreeMap<Digest, String> = BTreeMap::new();
        source.each(&mut |pair| {
            let digest = group_digest(&pair);
            groups.insert(digest);
            let caption = pair.caption.trim();
            let later =
                chosen.len() >= MOST_DISTRACTORS && chosen.last_key_value().is_some_and(|(k, _)| *k < digest);
            if !later
                && caption.len() <= LONGEST_DISTRACTOR
                && !chosen.contains_key(&digest)
                && texts.fits(caption)?
            {
                chosen.insert(digest, caption.to_owned());
                if chosen.len() > MOST_DISTRACTORS {
                    chosen.pop_last();
                }
            }
            Ok(())
        })?;
        let count = (groups.len() / 10).clamp(1, MOST_DISTRACTORS);
        let (groups, captions): (HashSet<Digest>, BTreeSet<String>) = chosen.into_iter().take(count).unzip();
        if captions.is_empty() {
            let why = "no caption is short enough for the model to read at once, so there is nothing to compare with";
            return Err(Error::usage(source.path().display().to_string(), why));
        }
        Ok(Self { captions: captions.into_iter().collect(), groups })
    }
}

/// What a card is begun with, beside the pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The model's id; that of its registry or folder where not given.
    pub id: Option<String>,
    /// Prompts per label in the order of the wire; those of the model's `prompts.json`, of its card, or this crate's own
    /// where not given.
    pub prompts: Option<Vec<Vec<String>>>,
    /// The date, as the caller says.
    pub date: String,
    /// The command, as the caller says.
    pub command: String,
}

impl Draft {
    /// The card before anything of it is fitted. Where no pair names a category, its part on categories is that of the
    /// card that the model has, if there is one for these weights.
    ///
    /// # Errors
    /// Where the card or the prompts that are there cannot be read, or make no sense.
    pub fn card(
        &self,
        location: &ModelLocation,
        model: &dyn ImageText,
        distractors: &Distractors,
        survey: &Survey,
    ) -> Result<ModelCard> {
        let there = location.card.is_file().then(|| ModelCard::load(&location.card)).transpose()?;
        let there = there.filter(|card| card.check_weights(model.identity()).is_ok());
        let entry = location.entry.as_ref();
        let demonstration = there
            .as_ref()
            .map_or(entry.is_some_and(|entry| entry.demonstration), |card| card.model.demonstration);
        let notice = match (&there, entry) {
            (Some(card), _) => card.model.notice.clone(),
            (None, Some(entry)) if demonstration => entry.note.clone(),
            _ => String::new(),
        };
        let about = CardModel {
            id: self.id.clone().unwrap_or_else(|| location.id.clone()),
            demonstration,
            notice,
            digests: model.identity().digests.clone(),
        };
        let beside = location.directory.join("prompts.json");
        let prompts: Vec<Vec<String>> = match (&self.prompts, &there) {
            (Some(prompts), _) => prompts.clone(),
            (None, _) if beside.is_file() => {
                let text = std::fs::read(&beside).map_err(|e| Error::io(&beside, e))?;
                prompts_from_json(&text, &beside.display().to_string())?
            }
            (None, Some(card)) => card.category.labels.iter().map(|label| label.prompts.clone()).collect(),
            (None, None) => {
                LABEL_PROMPTS.map(|label| label.iter().map(ToString::to_string).collect()).to_vec()
            }
        };
        let generic = GENERIC_CAPTIONS.iter().map(ToString::to_string).collect();
        let budget = SwapBudget::default();
        let mut draft = ModelCard::draft(about, generic, distractors.captions.clone(), budget, prompts)?;
        draft.calibration.date.clone_from(&self.date);
        draft.calibration.command.clone_from(&self.command);
        if survey.with_category == 0 {
            match there {
                Some(card) => draft.category = card.category,
                None => draft.category.temperature = f64::from(model.logit_scale()),
            }
        }
        Ok(draft)
    }
}

/// Prompts per label from a JSON object of seven lists; `what` names it in errors.
///
/// # Errors
/// [`Error::Usage`] where it is no such object.
pub fn prompts_from_json(text: &[u8], what: &str) -> Result<Vec<Vec<String>>> {
    let prompts: BTreeMap<Category, Vec<String>> =
        serde_json::from_slice(text).map_err(|e| Error::usage(what, e.to_string()))?;
    if prompts.len() != Category::ALL.len() {
        return Err(Error::usage(what, "a list of prompts is needed for each of the seven labels"));
    }
    Ok(prompts.into_values().collect())
}

/// Fits all numbers of a draft card on pairs; the draft brings identity, texts and prompts. Where no pair names a
/// category, its part on categories stays as it is.
///
/// # Errors
/// Where the draft is for other weights, there are not matches and others in enough groups, the pairs' file is wrong,
/// a fit does not converge, or the model fails.
#[allow(clippy::too_many_arguments)]
pub fn fit_pairs(
    model: &Arc<dyn ImageText>,
    draft: &ModelCard,
    distractors: &Distractors,
    opener: &Opener<'_>,
    store: Option<&EmbeddingStore>,
    survey: &Survey,
    options: &FitOptions,
    watch: &dyn Watch,
) -> Result<Fitted> {
    let path = opener.source.path().display().to_string();
    draft.validate()?;
    draft.check_weights(model.identity())?;
    let cut = survey.cut(options.report.positive_from).ok_or_else(|| {
        let why = "labels are ratings, or there are none; say with --positive-from from which rating on a caption fits";
        Error::usage(path.clone(), why)
    })?;
    let decoder = opener.decoder.name();
    let side = TextSide::of(draft);
    let bench = BenchModel::measuring(&draft.model.id, Arc::clone(model), None, &side, &decoder)?;
    let models = std::slice::from_ref(&bench);

    let mut names = (Names::default(), Names::default());
    let mut scores = BenchScores::default();
    let mut features: Vec<AlignmentFeatures> = Vec::new();
    let mut held_out = 0;
    let mut band: Vec<(String, FrameEmbeddings)> = Vec::new();
    let mut labels = Labels::new(bench.measurer().texts(), draft)?;
    let batch = options.report.batch;
    let measured = measure_pairs(models, opener, store, batch, Keep::Embeddings, watch, &mut |pair| {
        let (Some(measures), Some(embeddings)) = (pair.features.first(), pair.embeddings.first()) else {
            return Err(Error::Internal("a pair was measured without its measures".into()));
        };
        let group = names.0.group(&pair);
        if let Some(category) = pair.pair.category {
            labels.add(&bench, category, group, pair.shown, embeddings, &pair.pair.caption)?;
        }
        if pair.pair.ratings.is_empty() {
            return Ok(());
        }
        if distractors.groups.contains(&group_digest(pair.pair)) {
            held_out += 1;
            return Ok(());
        }
        if band.len() < BAND_PAIRS {
            band.push((pair.pair.caption.clone(), (*embeddings).clone()));
        }
        features.push(measures.clone());
        scores.pairs.push(ScoredPair {
            index: pair.index,
            row: pair.pair.row,
            ratings: pair.pair.ratings.clone().into(),
            group,
            subset: pair.pair.subset.as_deref().map(|subset| names.1.place(subset)),
        });
        Ok(())
    })?;
    scores.groups = names.0.names;
    scores.subsets = names.1.names;
    let truth: Vec<bool> = scores.pairs.iter().map(|pair| crate::score::mean(&pair.ratings) >= cut).collect();
    let groups: Vec<u32> = scores.pairs.iter().map(|pair| pair.group).collect();
    let positives = truth.iter().filter(|t| **t).count();
    if positives == 0 || positives == truth.len() {
        let why = format!(
            "{} pairs can be fitted on, {positives} of which match; both kinds are needed{}",
            truth.len(),
            measured.listed.first().map_or_else(String::new, |b| format!("; row {}: {}", b.row, b.why))
        );
        return Err(Error::usage(path, why));
    }

    let crossed = cross_validate(&features, &truth, &groups, &scores.groups, options)?;
    let fitted = fit(&options.features, &samples(&features, &truth, |_| true), &[], crossed.penalty)?;
    let mut card = draft.clone();
    fitted.install(&mut card.alignment);
    let of = |kind: bool| -> Vec<f64> {
        crossed.logits.iter().zip(&truth).filter(|(_, t)| **t == kind).map(|(z, _)| *z).collect()
    };
    let rule = ThresholdRule::FalseRejection(options.false_rejection);
    card.alignment.threshold = choose_threshold(rule, &of(true), &of(false))?;
    let (threshold_interval, expected) = threshold_intervals(&crossed.logits, &truth, &groups, options);
    set_band(&bench, &mut card, &band)?;
    let category = labels.fit(&mut card.category, f64::from(model.logit_scale()), options)?;

    let facts = FitFacts {
        pairs: truth.len() as u64,
        held_out,
        folds: crossed.folds,
        penalty: crossed.penalty,
        losses: crossed.losses,
        target: options.false_rejection,
        threshold: card.alignment.threshold,
        threshold_interval,
        expected_false_rejections: expected,
        coefficients: fitted.features.iter().map(|term| (term.name, term.coefficient)).collect(),
        category,
    };
    let (by, subsets) = parts(&scores);
    let judged = Judged {
        model: &bench,
        raw: &crossed.logits,
        scores: &scores,
        truth: Some(&truth),
        options: &options.report,
        format: opener.source.format(),
        score: format!(
            "P(match), each pair by a fit on the {} folds that its group is not in",
            crossed.folds - 1
        ),
        threshold: Some((
            card.alignment.threshold,
            format!("at most {} of the captions that fit are rejected", share(options.false_rejection)),
        )),
    };
    let (mut of_model, _) = judged.report(&subsets);
    of_model.cost = measured.costs.first().copied().unwrap_or_default();
    of_model.found = measured.found.first().copied().unwrap_or(0);
    let report = BenchReport {
        nexis: env!("CARGO_PKG_VERSION").to_owned(),
        data: DataFacts {
            path,
            format: opener.source.format(),
            survey: survey.clone(),
            content_sha256: measured.content,
            scored: truth.len() as u64,
            broken: measured.broken,
            broken_pairs: measured.listed,
            positive_from: Some(cut),
            positives: positives as u64,
            negatives: (truth.len() - positives) as u64,
            groups: groups.iter().collect::<BTreeSet<_>>().len() as u64,
        },
        by: by.map(str::to_owned),
        resamples: options.report.bootstrap.resamples,
        seed: options.report.bootstrap.seed,
        models: vec![of_model],
        kappa: vec![vec![Some(1.0)]],
    };
    record(&mut card, &report, &facts, opener.source);
    card.validate()?;
    scores.raw = vec![crossed.logits];
    Ok(Fitted { card, report, scores, facts })
}

fn share(x: f64) -> String {
    format!("{:.1} %", x * 100.0)
}

fn samples(
    features: &[AlignmentFeatures],
    truth: &[bool],
    wanted: impl Fn(usize) -> bool,
) -> Vec<LabelledFeatures> {
    features
        .iter()
        .zip(truth)
        .enumerate()
        .filter(|(i, _)| wanted(*i))
        .map(|(_, (features, matched))| LabelledFeatures {
            features: features.clone(),
            matched: *matched,
            weight: 1.0,
        })
        .collect()
}

struct Crossed {
    folds: usize,
    penalty: f64,
    losses: Vec<(f64, f64)>,
    /// Of each pair, by a fit without its group.
    logits: Vec<f64>,
}

/// The fold of each group: dealt out in the order of their names' digests.
fn folds_of(names: &[String], present: &BTreeSet<u32>, folds: usize) -> HashMap<u32, usize> {
    let mut order: Vec<(Digest, u32)> = present
        .iter()
        .filter_map(|group| Some((Digest::of(format!("fold {}", names.get(*group as usize)?)), *group)))
        .collect();
    order.sort_unstable();
    order.into_iter().enumerate().map(|(i, (_, group))| (group, i % folds)).collect()
}

fn cross_validate(
    features: &[AlignmentFeatures],
    truth: &[bool],
    groups: &[u32],
    names: &[String],
    options: &FitOptions,
) -> Result<Crossed> {
    let present: BTreeSet<u32> = groups.iter().copied().collect();
    let folds = options.folds.min(present.len());
    if folds < 2 {
        return Err(Error::usage(
            "the calibration",
            "pairs of two groups at least are needed to cross-validate",
        ));
    }
    let of_group = folds_of(names, &present, folds);
    let fold: Vec<usize> = groups.iter().map(|group| of_group.get(group).copied().unwrap_or(0)).collect();
    let in_fold = |i: usize, k: usize| fold.get(i).copied() == Some(k);
    let mut best: Option<(f64, f64, Vec<f64>)> = None;
    let mut losses = Vec::with_capacity(options.penalties.len());
    for c in &options.penalties {
        let fits: Vec<FittedLogistic> = (0..folds)
            .into_par_iter()
            .map(|k| fit(&options.features, &samples(features, truth, |i| !in_fold(i, k)), &[], *c))
            .collect::<Result<_>>()
            .map_err(|error| match error {
                Error::Usage { why, .. } => Error::usage(
                    "the calibration",
                    format!("a fold cannot be fitted without the others: {why}; more groups of both kinds are needed"),
                ),
                other => other,
            })?;
        let logits: Vec<f64> = features
            .iter()
            .zip(&fold)
            .map(|(features, k)| fits.get(*k).map_or(0.0, |fit| fit.logit(features)))
            .collect();
        let loss = logits.iter().zip(truth).map(|(z, t)| surprise(*z, *t)).sum::<f64>() / logits.len() as f64;
        losses.push((*c, loss));
        if best.as_ref().is_none_or(|(_, least, _)| loss < *least) {
            best = Some((*c, loss, logits));
        }
    }
    let (penalty, _, logits) =
        best.ok_or_else(|| Error::usage("the calibration", "one inverse penalty at least is needed"))?;
    Ok(Crossed { folds, penalty, losses, logits })
}

/// Negative log-likelihood of what came of a probability, from its sum before the logistic function.
fn surprise(z: f64, positive: bool) -> f64 {
    let margin = if positive { z } else { -z };
    if margin > 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin }
}

/// Where the threshold would lie on resampled data, and what it would then reject of the groups that were left out.
fn threshold_intervals(
    logits: &[f64],
    truth: &[bool],
    groups: &[u32],
    options: &FitOptions,
) -> (Option<Interval>, Option<Interval>) {
    let mut positives: Vec<(f64, u32)> = logits
        .iter()
        .zip(truth)
        .zip(groups)
        .filter(|((_, t), _)| **t)
        .map(|((z, _), group)| (*z, *group))
        .collect();
    positives.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Groups that hold no pair (those of the distractors) would be drawn for nothing.
    let present: BTreeSet<u32> = groups.iter().copied().collect();
    let place: HashMap<u32, usize> = present.iter().enumerate().map(|(i, group)| (*group, i)).collect();
    let bootstrap = options.report.bootstrap;
    let drawn: Vec<Option<(f64, Option<f64>)>> = (0..bootstrap.resamples)
        .into_par_iter()
        .map(|i| {
            let times = bootstrap.draw(i, place.len());
            let weight = |group: &u32| place.get(group).and_then(|p| times.get(*p)).copied().unwrap_or(0);
            let total: u64 = positives.iter().map(|(_, group)| u64::from(weight(group))).sum();
            let allowed = (options.false_rejection * total as f64).floor() as u64;
            let mut rejected = 0;
            let threshold = positives.iter().find_map(|(z, group)| {
                rejected += u64::from(weight(group));
                (rejected > allowed).then_some(*z)
            })?;
            let (mut below, mut outside) = (0_u64, 0_u64);
            for (z, _) in positives.iter().filter(|(_, group)| weight(group) == 0) {
                outside += 1;
                below += u64::from(*z < threshold);
            }
            Some((threshold, (outside > 0).then(|| below as f64 / outside as f64)))
        })
        .collect();
    let thresholds = drawn.iter().flatten().map(|(z, _)| sigmoid(*z)).collect();
    let rates = drawn.iter().flatten().filter_map(|(_, rate)| *rate).collect();
    if place.len() < 2 { (None, None) } else { (interval_of(thresholds), interval_of(rates)) }
}

/// How far scores move when embeddings are rounded to half precision, a stand-in for another device.
fn set_band(bench: &BenchModel, card: &mut ModelCard, band: &[(String, FrameEmbeddings)]) -> Result<()> {
    let alignment = card.alignment.clone();
    let moved = band
        .par_iter()
        .map(|(caption, embeddings)| {
            let reading = bench.measurer().read(caption)?;
            let p = |embeddings: &FrameEmbeddings| {
                Ok::<_, Error>(probability(
                    &alignment,
                    &bench.measurer().measure(&reading, embeddings)?.features,
                ))
            };
            Ok((p(embeddings)? - p(&embeddings.rounded_to_half())?).abs())
        })
        .try_reduce(|| 0.0, |a: f64, b| Ok(a.max(b)))?;
    card.alignment.borderline = moved.min(1.0 - f64::EPSILON);
    card.alignment.borderline_basis = format!(
        "largest change of P(match) over {} pairs when frame embeddings are rounded to half precision; no second device \
         was measured",
        band.len()
    );
    Ok(())
}

/// Cosines of frames and captions with every prompt, from which the labels are fitted.
struct Labels {
    prompts: Vec<Vec<String>>,
    /// Prompts, by label, as rows.
    rows: Vec<Vec<Arc<[f32]>>>,
    seen: HashSet<Digest>,
    /// Per frame: the truth, the group, and per label the cosines with its prompts.
    frames: Vec<(Category, u32, Vec<Vec<f32>>)>,
    captions: Vec<(Category, Vec<f32>)>,
    counts: BTreeMap<Category, u64>,
}

impl Labels {
    fn new(texts: &TextEncoder, draft: &ModelCard) -> Result<Self> {
        let prompts: Vec<Vec<String>> = draft.category.labels.iter().map(|l| l.prompts.clone()).collect();
        let rows = prompts.iter().map(|prompts| texts.embed_all(prompts)).collect::<Result<_>>()?;
        Ok(Self {
            prompts,
            rows,
            seen: HashSet::new(),
            frames: Vec::new(),
            captions: Vec::new(),
            counts: BTreeMap::new(),
        })
    }

    fn add(
        &mut self,
        bench: &BenchModel,
        category: Category,
        group: u32,
        shown: Digest,
        embeddings: &FrameEmbeddings,
        caption: &str,
    ) -> Result<()> {
        if self.seen.len() >= MOST_CATEGORY_CLIPS || !self.seen.insert(shown) {
            return Ok(());
        }
        *self.counts.entry(category).or_default() += 1;
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
            self.frames.push((category, group, of_frame));
        }
        self.captions.push((category, bench.measurer().read(caption)?.embedding()));
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
            .map(|(label, _, cosines)| {
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
    /// without it; a label keeps one at least.
    fn fit(
        &self,
        card: &mut CategoryCard,
        prior: f64,
        options: &FitOptions,
    ) -> Result<Option<CategoryFacts>> {
        let present: BTreeSet<u32> = self.frames.iter().map(|(_, group, _)| *group).collect();
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
        let order: Vec<u32> = present.into_iter().collect();
        let fold: Vec<usize> =
            self.frames.iter().map(|(_, group, _)| order.binary_search(group).unwrap_or(0) % folds).collect();
        let mut kept: Vec<Vec<bool>> = self.prompts.iter().map(|prompts| vec![true; prompts.len()]).collect();
        let everything: Vec<usize> = (0..self.frames.len()).collect();
        let step = everything.len().div_ceil(MOST_CHOOSING).max(1);
        let some: Vec<usize> = everything.iter().copied().step_by(step).collect();
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
            .iter()
            .map(|(label, embedding)| LabelledCosines {
                cosines: prototypes.caption_cosines(embedding),
                label: *label,
                weight: 1.0,
            })
            .collect();
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

/// Writes where the numbers come from.
fn record(card: &mut ModelCard, report: &BenchReport, facts: &FitFacts, source: &PairSource) {
    let data = &report.data;
    let part = source.part().map_or_else(String::new, |part| format!(", part {part} by group"));
    card.calibration.data = format!(
        "{} pairs of {} groups ({} match from {} on){part}; file SHA-256 {}, content SHA-256 {}. {} pairs of the groups \
         that lent the distractors are left out, {} could not be scored. Figures by {}-fold cross-validation by group; \
         intervals of 95 % from {} resamples of groups (seed {}).",
        data.scored,
        data.groups,
        data.positives,
        data.positive_from.unwrap_or(0.5),
        data.survey.sha256,
        data.content_sha256,
        facts.held_out,
        data.broken,
        facts.folds,
        report.resamples,
        report.seed,
    );
    card.calibration.data_sha256 = Some(data.content_sha256);
    card.calibration.counts = BTreeMap::from([
        ("pairs".to_owned(), data.scored),
        ("pairs: match".to_owned(), data.positives),
        ("pairs: do not match".to_owned(), data.negatives),
        ("groups".to_owned(), data.groups),
    ]);
    let figure = |measure: &str, value: String, goal: String| Figure {
        measure: measure.to_owned(),
        value,
        floor: String::new(),
        goal,
    };
    let with = |value: f64, interval: Option<Interval>| match interval {
        Some(i) => format!("{value:.4} [{:.4}, {:.4}]", i.low, i.high),
        None => format!("{value:.4}"),
    };
    let mut figures: Vec<Figure> = report
        .models
        .iter()
        .flat_map(|model| &model.measures)
        .map(|Measure { key, name, value, interval }| {
            let goal = if key == "false_rejects" { format!("{}", facts.target) } else { String::new() };
            figure(name, with(*value, *interval), goal)
        })
        .collect();
    figures.push(figure("threshold", with(facts.threshold, facts.threshold_interval), String::new()));
    if let Some(i) = facts.expected_false_rejections {
        let value = format!("{:.4} to {:.4}", i.low, i.high);
        figures.push(figure(
            "false rejections to expect on other groups",
            value,
            format!("{}", facts.target),
        ));
    }
    if let Some(reliability) = report.models.first().and_then(|model| model.reliability.as_ref()) {
        let value = format!("{:.4}", reliability.expected_calibration_error);
        figures.push(figure("expected calibration error", value, String::new()));
    }
    if let Some(category) = &facts.category {
        card.calibration.counts.insert("clips with a category".to_owned(), category.clips);
        figures.push(figure("seven labels, one frame", share(category.accuracy), String::new()));
    } else {
        let value = "not fitted: no pair names a category";
        figures.push(figure("seven labels", value.to_owned(), String::new()));
    }
    card.calibration.figures = figures;
}
