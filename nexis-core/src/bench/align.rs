//! What alignment scores are worth: every figure of a report, and the scores themselves.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::measure::{BenchModel, Keep, Watch, measure_pairs};
use super::media::Opener;
use super::report::Names;
pub use super::report::{
    BenchReport, BenchScores, DataFacts, Histogram, Measure, Mistake, MistakeKind, ModelReport, ScoredPair,
    SubsetReport,
};
use super::store::{Cost, EmbeddingStore};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::pairs::{Pair, PairFormat, PairSource, PairsRead};
use crate::score::align::logit;
use crate::score::bootstrap::Bootstrap;
use crate::score::curves::{Ranking, Rates, Sweep, thinned};
use crate::score::features::Feature;
use crate::score::rank::RankPair;
use crate::score::reliability::{cohen_kappa, reliability};
use crate::score::sigmoid;

/// Rates of false acceptance at which the share of accepted positives is given.
pub const FIXED_FALSE_ACCEPTS: [f64; 4] = [0.1, 0.05, 0.01, 0.001];
/// Points of a curve that are kept for drawing.
const CURVE_POINTS: usize = 256;
/// Bars of a histogram.
const HISTOGRAM_BARS: usize = 40;
/// Most subsets that a report breaks down by; the largest are taken.
const MOST_SUBSETS: usize = 64;

/// Which number of a pair is its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreBy {
    /// The card's probability, or the whole caption's similarity for a model without a card.
    #[default]
    Card,
    /// One feature by itself.
    Feature(Feature),
}

/// How a report is made.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignOptions {
    /// Which number is the score.
    pub score: ScoreBy,
    /// The mean rating from which a pair counts as a match; labels that are all 0 or 1 need none.
    pub positive_from: Option<f64>,
    /// Resamples for the intervals.
    pub bootstrap: Bootstrap,
    /// Pictures in one call of a model.
    pub batch: usize,
    /// How many of the worst mistakes of each kind are named.
    pub mistakes: usize,
}

impl Default for AlignOptions {
    fn default() -> Self {
        Self {
            score: ScoreBy::Card,
            positive_from: None,
            bootstrap: Bootstrap { seed: 1, resamples: 1000 },
            batch: 16,
            mistakes: 12,
        }
    }
}

/// What a file of pairs holds, from one reading of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Pairs in the file.
    pub pairs: u64,
    /// Pairs of a published format that its users leave out.
    pub left_out: u64,
    /// SHA-256 of the file or files.
    pub sha256: Digest,
    /// Pairs that somebody judged.
    pub labelled: u64,
    /// Whether every label is 0 or 1.
    pub binary: bool,
    /// The greatest number of ratings of one pair.
    pub raters: usize,
    /// Pairs that name a category.
    pub with_category: u64,
    /// Least and greatest rating, where there is any.
    pub range: Option<(f64, f64)>,
}

impl Survey {
    /// Reads a file of pairs through, which finds whatever is wrong with it before anything is embedded.
    ///
    /// # Errors
    /// What is wrong, with its line or row.
    pub fn of(source: &PairSource) -> Result<Self> {
        let (mut labelled, mut with_category, mut raters) = (0, 0, 0);
        let (mut binary, mut range): (bool, Option<(f64, f64)>) = (true, None);
        let read = source.each(&mut |pair| {
            labelled += u64::from(!pair.ratings.is_empty());
            with_category += u64::from(pair.category.is_some());
            raters = raters.max(pair.ratings.len());
            for rating in &pair.ratings {
                binary &= *rating == 0.0 || *rating == 1.0;
                let (low, high) = range.unwrap_or((*rating, *rating));
                range = Some((low.min(*rating), high.max(*rating)));
            }
            Ok(())
        })?;
        let (pairs, left_out, sha256) = (read.pairs, read.left_out, read.sha256);
        Ok(Self { pairs, left_out, sha256, labelled, binary, raters, with_category, range })
    }

    /// That another reading of the file found the same: figures of one file under the digest of another are worse than
    /// none.
    ///
    /// # Errors
    /// [`Error::Io`] where the file is another by now.
    pub fn unchanged(&self, source: &PairSource, read: &PairsRead) -> Result<()> {
        if read.sha256 == self.sha256 {
            return Ok(());
        }
        Err(Error::io(source.path(), std::io::Error::other("it changed while it was read; run it again")))
    }

    /// The mean rating from which a pair is a match; `None` where ratings were not cut in two.
    pub fn cut(&self, positive_from: Option<f64>) -> Option<f64> {
        positive_from.or((self.binary && self.labelled > 0).then_some(0.5))
    }
}

/// Scores every pair with every model and says what the scores are worth.
///
/// # Errors
/// What is wrong with the pairs, named by line or row; a pair whose clip is broken is listed instead. Where there is no
/// label, or nothing could be scored.
pub fn align(
    models: &[BenchModel],
    opener: &Opener<'_>,
    store: Option<&EmbeddingStore>,
    survey: &Survey,
    options: &AlignOptions,
    watch: &dyn Watch,
) -> Result<(BenchReport, BenchScores)> {
    let path = opener.source.path().display().to_string();
    if survey.labelled == 0 {
        return Err(Error::usage(path, "no pair has a label, so there is nothing to measure scores by"));
    }
    let (mut groups, mut subsets) = (Names::default(), Names::default());
    let mut scores = BenchScores { raw: vec![Vec::new(); models.len()], ..BenchScores::default() };
    // Names go by number, so that a pair takes a few dozen bytes however many there are.
    let measured = measure_pairs(models, opener, store, options.batch, Keep::Features, watch, &mut |pair| {
        if pair.pair.ratings.is_empty() {
            return Ok(());
        }
        for ((model, features), raw) in models.iter().zip(&pair.features).zip(&mut scores.raw) {
            raw.push(match (options.score, &model.card) {
                (ScoreBy::Card, Some(card)) => logit(&card.alignment, features),
                (ScoreBy::Card, None) => features.get(Feature::Whole),
                (ScoreBy::Feature(feature), _) => features.get(feature),
            });
        }
        scores.pairs.push(ScoredPair {
            index: pair.index,
            row: pair.pair.row,
            ratings: pair.pair.ratings.clone().into(),
            group: groups.group(&pair),
            subset: pair.pair.subset.as_deref().map(|subset| subsets.place(subset)),
        });
        Ok(())
    })?;
    survey.unchanged(opener.source, &measured.read)?;
    if scores.pairs.is_empty() {
        let why = measured.listed.first().map_or_else(String::new, |b| format!("; row {}: {}", b.row, b.why));
        return Err(Error::usage(path, format!("no pair could be scored{why}")));
    }
    scores.groups = groups.names;
    scores.subsets = subsets.names;

    let cut = survey.cut(options.positive_from);
    let truth: Option<Vec<bool>> =
        cut.map(|cut| scores.pairs.iter().map(|pair| pair.rating().is_some_and(|r| r >= cut)).collect());
    let positives = truth.as_ref().map_or(0, |truth| truth.iter().filter(|t| **t).count() as u64);
    let data = DataFacts {
        path,
        format: opener.source.format(),
        survey: survey.clone(),
        content_sha256: measured.content,
        scored: scores.pairs.len() as u64,
        broken: measured.broken,
        broken_pairs: measured.listed,
        positive_from: cut,
        positives,
        negatives: truth.as_ref().map_or(0, |truth| truth.len() as u64 - positives),
        groups: scores.groups.len() as u64,
    };
    let (by, parts) = parts(&scores);
    let mut reports = Vec::with_capacity(models.len());
    let mut decisions: Vec<Option<Vec<bool>>> = Vec::with_capacity(models.len());
    for (m, model) in models.iter().enumerate() {
        let raw = scores.raw.get(m).map_or(&[][..], Vec::as_slice);
        let (score, threshold) = match (options.score, &model.card) {
            (ScoreBy::Card, Some(card)) => {
                ("P(match) of the card".to_owned(), Some((card.alignment.threshold, "the card's".to_owned())))
            }
            (ScoreBy::Card, None) => {
                ("similarity with the whole caption, for the model has no card".to_owned(), None)
            }
            (ScoreBy::Feature(feature), _) => (format!("feature {feature}"), None),
        };
        let truth = truth.as_deref();
        let judge =
            Judged { model, raw, scores: &scores, truth, options, format: data.format, score, threshold };
        let (mut report, threshold) = judge.report(&parts);
        report.cost = measured.costs.get(m).copied().unwrap_or_default();
        report.found = measured.found.get(m).copied().unwrap_or(0);
        decisions.push(threshold.map(|threshold| raw.iter().map(|score| *score >= threshold).collect()));
        reports.push(report);
    }
    let kappa = decisions
        .iter()
        .map(|a| decisions.iter().map(|b| cohen_kappa(a.as_ref()?, b.as_ref()?)).collect())
        .collect();
    let report = BenchReport {
        nexis: env!("CARGO_PKG_VERSION").to_owned(),
        data,
        by: by.map(str::to_owned),
        resamples: options.bootstrap.resamples,
        seed: options.bootstrap.seed,
        models: reports,
        kappa,
    };
    Ok((report, scores))
}

/// The pairs at these places of the file that was surveyed, with their texts.
///
/// # Errors
/// As [`PairSource::each`] and [`Survey::unchanged`].
pub fn pairs_at(
    source: &PairSource,
    survey: &Survey,
    indices: &std::collections::BTreeSet<u64>,
) -> Result<BTreeMap<u64, Pair>> {
    let mut found = BTreeMap::new();
    let mut index = 0;
    let read = source.each(&mut |pair| {
        if indices.contains(&index) {
            found.insert(index, pair);
        }
        index += 1;
        Ok(())
    })?;
    survey.unchanged(source, &read)?;
    Ok(found)
}

/// A part of the pairs, by place among the scored.
pub(super) type Part = (String, Vec<usize>);

/// What the report breaks down by: subsets where the file names them, else groups where they are few; the largest first.
pub(super) fn parts(scores: &BenchScores) -> (Option<&'static str>, Vec<Part>) {
    let by_subset = !scores.subsets.is_empty();
    let names = if by_subset { &scores.subsets } else { &scores.groups };
    if names.len() < 2
        || (!by_subset && names.len() > MOST_SUBSETS)
        || names.iter().any(|n| n.starts_with('\0'))
    {
        return (None, Vec::new());
    }
    let mut parts: Vec<Part> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
    for (i, pair) in scores.pairs.iter().enumerate() {
        let place = if by_subset { pair.subset } else { Some(pair.group) };
        if let Some((_, members)) = place.and_then(|place| parts.get_mut(place as usize)) {
            members.push(i);
        }
    }
    parts.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    parts.truncate(MOST_SUBSETS);
    (Some(if by_subset { "subset" } else { "group" }), parts)
}

/// One model's scores with what is known of them.
pub(super) struct Judged<'a> {
    pub(super) model: &'a BenchModel,
    pub(super) raw: &'a [f64],
    pub(super) scores: &'a BenchScores,
    pub(super) truth: Option<&'a [bool]>,
    pub(super) options: &'a AlignOptions,
    pub(super) format: PairFormat,
    /// What the score is, in words.
    pub(super) score: String,
    /// The threshold on P(match) and where it comes from, where scores are sums before the logistic function.
    pub(super) threshold: Option<(f64, String)>,
}

impl Judged<'_> {
    fn is_probability(&self) -> bool {
        self.threshold.is_some()
    }

    /// A score as people see it.
    fn shown(&self, raw: f64) -> f64 {
        if self.is_probability() { sigmoid(raw) } else { raw }
    }

    fn ranking(&self) -> Option<Ranking> {
        Ranking::new(self.raw, self.truth?)
    }

    /// The report, and the threshold on scores as they are ranked.
    pub(super) fn report(&self, parts: &[Part]) -> (ModelReport, Option<f64>) {
        let ranking = self.ranking();
        let sweep = ranking.as_ref().and_then(Ranking::sweep);
        // The least score that the card accepts stands for its threshold: a threshold taken through the logarithm and
        // back could change sides with the very score that it was chosen by.
        let least =
            |t: f64| self.raw.iter().copied().filter(|z| sigmoid(*z) >= t).fold(f64::INFINITY, f64::min);
        let (threshold, shown, threshold_basis) = match (&self.threshold, &sweep) {
            (Some((t, basis)), _) => (Some(least(*t)), Some(*t), basis.clone()),
            (_, Some(sweep)) => {
                let t = sweep.equal_error_threshold();
                let basis = "where both errors are equally frequent on these very pairs";
                (Some(t), Some(t), basis.to_owned())
            }
            _ => {
                let why = "none: labels are ratings, and nothing says from which on a pair matches";
                (None, None, why.to_owned())
            }
        };
        let everything: Vec<usize> = (0..self.raw.len()).collect();
        let mut measures = self.measures(&everything, threshold);
        if self.format == PairFormat::Winoground {
            measures.extend(winoground(&self.scores.pairs, self.raw, self.options.bootstrap));
        }
        let shown_rates = |rates: Rates| Rates { threshold: self.shown(rates.threshold), ..rates };
        let probabilities: Vec<f64> = self.raw.iter().map(|raw| self.shown(*raw)).collect();
        let report = ModelReport {
            name: self.model.name.clone(),
            identity: self.model.model().identity().clone(),
            notice: self.model.card.as_ref().map(|c| c.model.notice.clone()).filter(|n| !n.trim().is_empty()),
            score: self.score.clone(),
            probability: self.is_probability(),
            threshold: shown,
            threshold_basis,
            measures,
            curve: sweep.as_ref().map_or_else(Vec::new, |sweep| {
                thinned(sweep.curve().map(shown_rates).collect(), CURVE_POINTS)
            }),
            best_f1: sweep.as_ref().and_then(Sweep::best_f1).map(shown_rates),
            histogram: self.histogram(&probabilities),
            reliability: self
                .truth
                .filter(|_| self.is_probability())
                .and_then(|t| reliability(&probabilities, t)),
            subsets: parts
                .iter()
                .map(|(name, members)| SubsetReport {
                    name: name.clone(),
                    pairs: members.len() as u64,
                    positives: self.truth.map_or(0, |truth| {
                        members.iter().filter(|i| truth.get(**i).copied().unwrap_or(false)).count() as u64
                    }),
                    measures: self.measures(members, threshold),
                })
                .collect(),
            mistakes: self.mistakes(threshold),
            cost: Cost::default(),
            found: 0,
        };
        (report, threshold)
    }

    fn histogram(&self, shown: &[f64]) -> Option<Histogram> {
        let (from, to) = if self.is_probability() {
            (0.0, 1.0)
        } else {
            (crate::score::least(shown), crate::score::greatest(shown))
        };
        let width = (to - from) / HISTOGRAM_BARS as f64;
        if !(width > 0.0 && width.is_finite()) {
            return None;
        }
        let (mut positives, mut negatives) = (vec![0; HISTOGRAM_BARS], vec![0; HISTOGRAM_BARS]);
        for (i, score) in shown.iter().enumerate() {
            let bar = (((score - from) / width) as usize).min(HISTOGRAM_BARS - 1);
            let positive = self.truth.is_none_or(|truth| truth.get(i).copied().unwrap_or(false));
            let bars = if positive { &mut positives } else { &mut negatives };
            if let Some(count) = bars.get_mut(bar) {
                *count += 1;
            }
        }
        Some(Histogram { from, to, positives, negatives })
    }

    /// The figures of some pairs, each with its interval.
    fn measures(&self, members: &[usize], threshold: Option<f64>) -> Vec<Measure> {
        let mut measures = Vec::new();
        let raw: Vec<f64> = members.iter().filter_map(|i| self.raw.get(*i).copied()).collect();
        // Groups of these pairs, numbered anew, so that a part is resampled among itself.
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut groups: Vec<usize> = Vec::with_capacity(members.len());
        for pair in members.iter().filter_map(|i| self.scores.pairs.get(*i)) {
            let next = places.len();
            groups.push(*places.entry(pair.group).or_insert(next));
        }
        let weight =
            |times: &[u32], i: usize| groups.get(i).and_then(|g| times.get(*g)).copied().unwrap_or(0);
        if let Some(truth) = self.truth {
            let truth: Vec<bool> = members.iter().filter_map(|i| truth.get(*i).copied()).collect();
            if let Some(ranking) = Ranking::new(&raw, &truth)
                && let Some(sweep) = ranking.sweep()
            {
                let values = figures(&sweep, threshold);
                let intervals = self.options.bootstrap.intervals(places.len(), |times| {
                    ranking
                        .weighed(|i| weight(times, i))
                        .map_or([None; FIGURES.len()], |sweep| figures(&sweep, threshold))
                });
                let asked = if threshold.is_some() { FIGURES.len() } else { WITHOUT_THRESHOLD };
                for (((key, name), value), interval) in FIGURES.iter().zip(values).zip(intervals).take(asked)
                {
                    let (key, name) = ((*key).to_owned(), (*name).to_owned());
                    let interval = value.and(interval);
                    measures.push(Measure { key, name, value, interval });
                }
            }
        }
        measures.extend(self.taus(members, &raw, places.len(), &weight));
        measures
    }

    /// Kendall's tau of scores against ratings: each rating an observation, and the mean over people.
    fn taus(
        &self,
        members: &[usize],
        raw: &[f64],
        groups: usize,
        weight: &(impl Fn(&[u32], usize) -> u32 + Sync),
    ) -> Vec<Measure> {
        let rated = || members.iter().filter_map(|i| self.scores.pairs.get(*i)).zip(raw).enumerate();
        let people = rated().map(|(_, (pair, _))| pair.ratings.len()).max().unwrap_or(0);
        let (mut scores, mut ratings, mut of) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (pair, score)) in rated() {
            for rating in &pair.ratings {
                scores.push(*score);
                ratings.push(*rating);
                of.push(i);
            }
        }
        let Some(ranks) = RankPair::new(&scores, &ratings) else { return Vec::new() };
        let Some(tau) = ranks.kendall() else { return Vec::new() };
        let [b, c] = self.options.bootstrap.intervals(groups, |times| {
            let tau = ranks.weighed(|i| of.get(i).map_or(0, |pair| weight(times, *pair)));
            [tau.map(|tau| tau.tau_b), tau.map(|tau| tau.tau_c)]
        });
        let measure = |key: &str, name: &str, value, interval| Measure {
            key: key.to_owned(),
            name: name.to_owned(),
            value: Some(value),
            interval,
        };
        let mut found = vec![
            measure("tau_b", "Kendall's tau-b", tau.tau_b, b),
            measure("tau_c", "Kendall's tau-c", tau.tau_c, c),
        ];
        if people > 1 {
            let of_person = |person: usize| {
                let (scores, ratings): (Vec<f64>, Vec<f64>) = rated()
                    .filter_map(|(_, (pair, score))| Some((*score, *pair.ratings.get(person)?)))
                    .unzip();
                RankPair::new(&scores, &ratings)?.kendall()
            };
            let taus: Option<Vec<f64>> = (0..people).map(|person| Some(of_person(person)?.tau_b)).collect();
            if let Some(taus) = taus {
                let name = format!("Kendall's tau-b, mean over {people} people");
                found.push(measure("tau_b_people", &name, crate::score::mean(&taus), None));
            }
        }
        found
    }

    fn mistakes(&self, threshold: Option<f64>) -> Vec<Mistake> {
        let ratings: Vec<f64> = self.scores.pairs.iter().map(|pair| pair.rating().unwrap_or(0.0)).collect();
        let wrong = match self.truth.zip(threshold) {
            Some((truth, threshold)) => wrong_decisions(self.raw, truth, threshold),
            None => wrong_ranks(self.raw, &ratings),
        };
        let mut mistakes = Vec::new();
        for kind in [MistakeKind::FalseAccept, MistakeKind::FalseReject] {
            let mut worst: Vec<&Wrong> = wrong.iter().filter(|wrong| wrong.kind == kind).collect();
            worst.sort_by(|a, b| b.by.total_cmp(&a.by).then(a.place.cmp(&b.place)));
            for wrong in worst.into_iter().take(self.options.mistakes) {
                let i = wrong.place;
                if let (Some(pair), Some(raw), Some(rating)) =
                    (self.scores.pairs.get(i), self.raw.get(i), ratings.get(i))
                {
                    mistakes.push(Mistake {
                        index: pair.index,
                        row: pair.row,
                        kind,
                        score: self.shown(*raw),
                        rating: *rating,
                    });
                }
            }
        }
        mistakes
    }
}

/// A pair that was scored wrong, by place among the scored.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wrong {
    place: usize,
    kind: MistakeKind,
    /// The greater, the worse; it compares with others of its kind.
    by: f64,
}

/// The pairs that the threshold puts on the wrong side. How far a score is beyond the threshold goes by the score
/// itself, for the threshold is infinite where nothing is accepted.
fn wrong_decisions(raw: &[f64], truth: &[bool], threshold: f64) -> Vec<Wrong> {
    let judged = raw.iter().zip(truth).enumerate();
    judged
        .filter_map(|(place, (score, positive))| match (*score >= threshold, *positive) {
            (true, false) => Some(Wrong { place, kind: MistakeKind::FalseAccept, by: *score }),
            (false, true) => Some(Wrong { place, kind: MistakeKind::FalseReject, by: -score }),
            _ => None,
        })
        .collect()
}

/// The pairs whose score ranks otherwise than their rating, by the difference of the ranks.
fn wrong_ranks(raw: &[f64], ratings: &[f64]) -> Vec<Wrong> {
    let (of_scores, of_ratings) = (shares_below(raw), shares_below(ratings));
    let ranked = of_scores.iter().zip(&of_ratings).map(|(s, r)| s - r).enumerate();
    ranked
        .filter(|(_, too_high)| *too_high != 0.0)
        .map(|(place, too_high)| {
            let kind = if too_high > 0.0 { MistakeKind::FalseAccept } else { MistakeKind::FalseReject };
            Wrong { place, kind, by: too_high.abs() }
        })
        .collect()
}

/// Shares of Winoground's examples in which the right caption, picture, or both score higher.
fn winoground(pairs: &[ScoredPair], raw: &[f64], bootstrap: Bootstrap) -> Vec<Measure> {
    let scored: Vec<(u64, u32, f64)> =
        pairs.iter().zip(raw).map(|(pair, raw)| (pair.row, pair.group, *raw)).collect();
    // Groups of whole examples, numbered anew: those that lent their captions to a fit have none and would be drawn
    // for nothing.
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut groups: Vec<usize> = Vec::new();
    let mut won: Vec<[bool; 3]> = Vec::new();
    for example in scored.chunk_by(|a, b| a.0 == b.0) {
        // A picture that is broken leaves an example without its four pairs.
        if let [(_, group, first), (.., second), (.., first_wrong), (.., second_wrong)] = example {
            let text = first > first_wrong && second > second_wrong;
            let image = first > second_wrong && second > first_wrong;
            let next = places.len();
            groups.push(*places.entry(*group).or_insert(next));
            won.push([text, image, text && image]);
        }
    }
    let share = |weight: &dyn Fn(usize) -> u32| {
        let mut sums = [0_u64; 3];
        let mut all = 0;
        for (i, won) in won.iter().enumerate() {
            let n = u64::from(weight(i));
            all += n;
            for (sum, won) in sums.iter_mut().zip(won) {
                *sum += n * u64::from(*won);
            }
        }
        sums.map(|sum| (all > 0).then(|| sum as f64 / all as f64))
    };
    let values = share(&|_| 1);
    let intervals = bootstrap.intervals(places.len(), |times| {
        share(&|i| groups.get(i).and_then(|group| times.get(*group)).copied().unwrap_or(0))
    });
    let names = [
        ("winoground_text", "Winoground's text score"),
        ("winoground_image", "Winoground's image score"),
        ("winoground_group", "Winoground's group score"),
    ];
    names
        .into_iter()
        .zip(values)
        .zip(intervals)
        .filter_map(|(((key, name), value), interval)| {
            Some(Measure { key: key.to_owned(), name: name.to_owned(), value: Some(value?), interval })
        })
        .collect()
}

/// For each value the share of values below it, equal ones counted half.
fn shares_below(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = values.len().max(1) as f64;
    values
        .iter()
        .map(|value| {
            let below = sorted.partition_point(|other| other < value);
            let up_to = sorted.partition_point(|other| other <= value);
            (below + up_to) as f64 / 2.0 / n
        })
        .collect()
}

/// How many of the figures need no threshold; they come first.
const WITHOUT_THRESHOLD: usize = 8;

const FIGURES: [(&str, &str); 14] = [
    ("auc", "area under the ROC"),
    ("average_precision", "average precision"),
    ("eer", "equal error rate"),
    ("best_f1", "greatest F1"),
    ("tar_at_far_10", "accepted at 10 % false accepts"),
    ("tar_at_far_5", "accepted at 5 % false accepts"),
    ("tar_at_far_1", "accepted at 1 % false accepts"),
    ("tar_at_far_0_1", "accepted at 0.1 % false accepts"),
    ("true_accepts", "true accepts at the threshold"),
    ("false_accepts", "false accepts at the threshold"),
    ("false_rejects", "false rejections at the threshold"),
    ("precision", "precision at the threshold"),
    ("f1", "F1 at the threshold"),
    ("accuracy", "accuracy at the threshold"),
];

fn figures(sweep: &Sweep, threshold: Option<f64>) -> [Option<f64>; FIGURES.len()] {
    let [ten, five, one, tenth] = FIXED_FALSE_ACCEPTS.map(|rate| Some(sweep.true_accepts_at(rate)));
    let at = threshold.map(|threshold| sweep.at(threshold));
    let (p, n) = (sweep.positives() as f64, sweep.negatives() as f64);
    [
        Some(sweep.area()),
        Some(sweep.average_precision()),
        Some(sweep.equal_error_rate()),
        sweep.best_f1().map(|rates| rates.f1),
        ten,
        five,
        one,
        tenth,
        at.map(|rates| rates.true_accepts),
        at.map(|rates| rates.false_accepts),
        at.map(|rates| 1.0 - rates.true_accepts),
        at.and_then(|rates| rates.precision),
        at.map(|rates| rates.f1),
        at.map(|rates| (rates.true_accepts * p + (1.0 - rates.false_accepts) * n) / (p + n)),
    ]
}
