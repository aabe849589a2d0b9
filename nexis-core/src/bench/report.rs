//! The figures of a report, and the scores behind it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::align::Survey;
use super::measure::{Broken, MeasuredPair};
use super::store::Cost;
use crate::hash::Digest;
use crate::model::ModelIdentity;
use crate::pairs::PairFormat;
use crate::score::bootstrap::Interval;
use crate::score::curves::Rates;
use crate::score::reliability::Reliability;
use crate::score::sigmoid;

/// The data behind a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// The file, as it was named.
    pub path: String,
    /// Its format.
    pub format: PairFormat,
    /// What it holds.
    pub survey: Survey,
    /// SHA-256 over what was measured, whatever the paths and the format.
    pub content_sha256: Digest,
    /// Pairs that were scored.
    pub scored: u64,
    /// Pairs that could not be.
    pub broken: u64,
    /// The first of those, with the reason.
    pub broken_pairs: Vec<Broken>,
    /// The mean rating from which a pair counts as a match.
    pub positive_from: Option<f64>,
    /// Scored pairs that match.
    pub positives: u64,
    /// Scored pairs that do not.
    pub negatives: u64,
    /// Groups that were resampled whole: as the file names them, else pairs that show the same.
    pub groups: u64,
}

/// One figure of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// A short name that stays.
    pub key: String,
    /// In words.
    pub name: String,
    /// The value; `None` where these pairs do not have it, as there is no precision where nothing is accepted.
    pub value: Option<f64>,
    /// 95 % of the resamples by group.
    pub interval: Option<Interval>,
}

/// Scores of both kinds by bars of equal width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Least score.
    pub from: f64,
    /// Greatest score.
    pub to: f64,
    /// Matches per bar; all pairs where labels are not cut in two.
    pub positives: Vec<u64>,
    /// Other pairs per bar.
    pub negatives: Vec<u64>,
}

/// A pair that a model got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Its place among all pairs of the file, from 0.
    pub index: u64,
    /// Its line or row.
    pub row: u64,
    /// What is wrong.
    pub kind: MistakeKind,
    /// The score, as it is shown: a probability where there is a card.
    pub score: f64,
    /// The mean rating.
    pub rating: f64,
}

/// In which way a model was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeKind {
    /// A caption that does not fit is scored high.
    FalseAccept,
    /// A caption that fits is scored low.
    FalseReject,
}

/// A part of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetReport {
    /// Its name.
    pub name: String,
    /// Pairs.
    pub pairs: u64,
    /// Those that match.
    pub positives: u64,
    /// The figures.
    pub measures: Vec<Measure>,
}

/// What one model's scores are worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The name under which it was asked for.
    pub name: String,
    /// What it is.
    pub identity: ModelIdentity,
    /// What its card says wherever it is used.
    pub notice: Option<String>,
    /// What the score is.
    pub score: String,
    /// Whether the score is a probability, and `logit` its sum before the logistic function.
    pub probability: bool,
    /// The score from which a pair is accepted, where there is one.
    pub threshold: Option<f64>,
    /// Where the threshold comes from.
    pub threshold_basis: String,
    /// The figures.
    pub measures: Vec<Measure>,
    /// Every threshold, thinned for drawing.
    pub curve: Vec<Rates>,
    /// The threshold with the greatest F1.
    pub best_f1: Option<Rates>,
    /// How scores are spread.
    pub histogram: Option<Histogram>,
    /// Probabilities against what came of them.
    pub reliability: Option<Reliability>,
    /// By subset.
    pub subsets: Vec<SubsetReport>,
    /// The worst mistakes.
    pub mistakes: Vec<Mistake>,
    /// The time it took, now and in earlier runs with the same store.
    pub cost: Cost,
    /// Pairs whose measures were in the store already.
    pub found: u64,
}

/// A report over several models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Version of the library.
    pub nexis: String,
    /// The data.
    pub data: DataFacts,
    /// What subsets are called in the data: `subset`, or `group`; `None` where there are too many to show.
    pub by: Option<String>,
    /// Resamples behind the intervals.
    pub resamples: u32,
    /// Their first seed.
    pub seed: u64,
    /// The models, in the order asked for.
    pub models: Vec<ModelReport>,
    /// Cohen's kappa of the models' decisions, row by row; `None` where a model has no threshold.
    pub kappa: Vec<Vec<Option<f64>>>,
}

/// The scores behind a report, pair by pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BenchScores {
    /// The pairs that were scored.
    pub pairs: Vec<ScoredPair>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Names of subsets.
    pub subsets: Vec<String>,
    /// Per model, the score of each pair, before the logistic function where there is a card.
    pub raw: Vec<Vec<f64>>,
}

/// One scored pair, without its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPair {
    /// Its place among all pairs of the file, from 0.
    pub index: u64,
    /// Its line or row.
    pub row: u64,
    /// What people said.
    pub ratings: Box<[f64]>,
    /// Its group, by place in the names.
    pub group: u32,
    /// Its subset, by place in the names.
    pub subset: Option<u32>,
}

impl BenchScores {
    /// The scores of the mth model as people see them: probabilities where it has a card.
    pub fn shown(&self, report: &BenchReport, m: usize) -> Vec<f64> {
        let raw = self.raw.get(m).map_or(&[][..], Vec::as_slice);
        match report.models.get(m) {
            Some(model) if model.probability => raw.iter().map(|z| sigmoid(*z)).collect(),
            _ => raw.to_vec(),
        }
    }
}

impl ScoredPair {
    /// The mean of what people said; `None` where nobody did.
    pub fn rating(&self) -> Option<f64> {
        (!self.ratings.is_empty()).then(|| crate::score::mean(&self.ratings))
    }
}

/// Names by number, in the order of their first appearance.
#[derive(Default)]
pub(super) struct Names {
    places: HashMap<String, u32>,
    pub(super) names: Vec<String>,
}

impl Names {
    /// The group of a pair. Pairs without one that show the same are not independent either; a digest behind a null is
    /// no name that a file would have.
    pub(super) fn group(&mut self, pair: &MeasuredPair<'_>) -> u32 {
        match &pair.pair.group {
            Some(group) => self.place(group),
            None => self.place(&format!("\0{}", pair.shown)),
        }
    }

    pub(super) fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.places.insert(name.to_owned(), place);
        self.names.push(name.to_owned());
        place
    }
}
