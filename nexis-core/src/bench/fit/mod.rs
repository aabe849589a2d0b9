//! A card from pairs that people have judged.
//!
//! The logistic model is fitted with cross-validation by group: every score that a figure or the threshold rests on
//! comes from a fit that has not seen the pair's group.

mod labels;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::labels::CategoryFacts;
use self::labels::Labels;
use super::align::{AlignOptions, Judged, Survey, parts};
use super::measure::{BenchModel, Keep, TextSide, Watch, measure_pairs};
use super::media::Opener;
use super::report::{BenchReport, BenchScores, DataFacts, Measure, Names, ScoredPair};
use super::store::EmbeddingStore;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::ImageText;
use crate::model::card::{CardModel, Figure, ModelCard};
use crate::model::registry::ModelLocation;
use crate::pairs::{Pair, PairSource, PairsRead};
use crate::protocol::Category;
use crate::score::FrameEmbeddings;
use crate::score::align::probability;
use crate::score::bootstrap::{Interval, interval_of};
use crate::score::calibrate::{FittedLogistic, LabelledFeatures, ThresholdRule, choose_threshold, fit};
use crate::score::evaluate::DEFAULT_FEATURES;
use crate::score::features::{AlignmentFeatures, Feature};
use crate::score::generic::{GENERIC_CAPTIONS, LABEL_PROMPTS};
use crate::score::sigmoid;
use crate::score::swaps::SwapBudget;
use crate::score::text::TextEncoder;

/// Captions of other clips that every caption is held against, at most.
const MOST_DISTRACTORS: usize = 64;
/// Longest caption among them, in bytes.
const LONGEST_DISTRACTOR: usize = 2000;
/// Pairs on which the width of the borderline band is measured.
const BAND_PAIRS: usize = 512;

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
    /// What was read, where they are from a file.
    read: Option<PairsRead>,
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
        let read = source.each(&mut |pair| {
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
        Ok(Self { captions: captions.into_iter().collect(), groups, read: Some(read) })
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
    if let Some(read) = &distractors.read {
        survey.unchanged(opener.source, read)?;
    }
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
            // The gate is to let through what fits; a caption that people refused says nothing about that.
            let fits = pair.pair.rating().is_none_or(|rating| rating >= cut);
            let caption = fits.then_some(pair.pair.caption.as_str());
            labels.add(&bench, (category, group), pair.shown, embeddings, caption)?;
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
    survey.unchanged(opener.source, &measured.read)?;
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
    let category = labels.fit(&mut card.category, &scores.groups, f64::from(model.logit_scale()), options)?;

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
            let value = value.map_or_else(|| "undefined".to_owned(), |value| with(value, *interval));
            figure(name, value, goal)
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
