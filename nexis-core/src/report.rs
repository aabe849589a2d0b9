//! What a verification found, in the shape that `nexis verify --json` prints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};

use crate::check::Violation;
use crate::hash::Digest;
use crate::media::ClipProbe;
use crate::model::ModelIdentity;
use crate::model::judge::JudgeIdentity;
use crate::protocol::{Category, Hotkey, IntervalId};

/// The end of a check: of a submission, of a row, of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was checked holds.
    Accept,
    /// The miner did something wrong; the failures say what.
    Reject,
    /// We could not check; counts neither as pass nor as failure.
    Inconclusive,
}

/// What made the results: everything that could change a score, and nothing that varies by run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this library.
    pub nexis: String,
    /// Device of the forward pass, for example `cpu`.
    pub device: String,
    /// Decoder and its version.
    pub decoder: String,
    /// Version of the step from decoded pictures to the model's input.
    pub preprocessing: String,
    /// The model, with the digest of each of its files.
    pub model: Option<ModelIdentity>,
    /// SHA-256 of the model card that turned similarities into verdicts.
    pub card: Option<Digest>,
    /// A notice that must stand beside every result of this model, such as that it is a demonstration.
    pub notice: Option<String>,
    /// The encoder that decides together with the model, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<EncoderInUse>,
    /// The judge that decides what is in doubt, where one is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeInUse>,
}

/// The second of two encoders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderInUse {
    /// The model, with the digest of each of its files.
    pub model: ModelIdentity,
    /// SHA-256 of its card.
    pub card: Digest,
}

/// A judge behind the encoder, and the numbers that its use depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeInUse {
    /// Model and prompt.
    pub identity: JudgeIdentity,
    /// P(yes) from which its answer is a yes.
    pub threshold: f64,
    /// How many questions of one interval it is asked at most.
    pub budget: u32,
}

/// What decided a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decider {
    /// The encoder: its score was not in doubt.
    Encoder,
    /// Both encoders, which agree, and neither of which was in doubt.
    Agreement,
    /// The sum of both encoders' log-odds from their thresholds: something was in doubt, and no judge was asked about it.
    LogOdds,
    /// The judge.
    Judge,
    /// What the encoders say, for the interval's calls of the judge were spent: the one's threshold, or the sum of two.
    BudgetSpent,
    /// What the encoders say, for the question is longer than the judge reads.
    TooLong,
}

/// How a question was decided where a judge is loaded, or where two encoders decide together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeReport {
    /// What decided.
    pub decided_by: Decider,
    /// What the encoder's threshold says; of two encoders, what they say together.
    pub encoder: Verdict,
    /// The judge's P(yes), where it was asked.
    pub yes: Option<f64>,
}

impl CascadeReport {
    /// What decided, in words for people.
    pub fn words(&self) -> String {
        match (self.decided_by, self.yes) {
            (Decider::Judge, Some(yes)) => format!("in doubt; the judge says yes with {yes:.3}"),
            (Decider::Judge, None) => "in doubt; decided by the judge".to_owned(),
            (Decider::BudgetSpent, _) => {
                "in doubt; the interval's calls of the judge were spent, so the threshold decides".to_owned()
            }
            (Decider::TooLong, _) => {
                "in doubt; longer than the judge reads, so the threshold decides".to_owned()
            }
            (Decider::Encoder, _) => "clear; the judge was not asked".to_owned(),
            (Decider::Agreement, _) => "clear; both encoders agree".to_owned(),
            (Decider::LogOdds, _) => "in doubt; what both encoders say together decides".to_owned(),
        }
    }
}

/// What the second of two encoders says beside the first, whose figures it stands with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleReport<T> {
    /// What the first alone would decide.
    pub first: Verdict,
    /// The second's own figures, and what it alone would decide.
    pub second: T,
    /// How far each one's probability lies above its threshold, in log-odds and 2 at most, the first's first: P(match)
    /// above the card's, and the mean P(nature) of the frames above the protocol's. None below three frames.
    #[serde(serialize_with = "as_list")]
    pub log_odds: Option<[f64; 2]>,
    /// The same of P(nature) of the caption above each card's gate.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "as_list")]
    pub gate: Option<[f64; 2]>,
}

/// A list in every format: where there are tuples, such as in Python, an array would become one.
fn as_list<S: Serializer>(pair: &Option<[f64; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
    pair.as_ref().map(<[f64; 2]>::as_slice).serialize(serializer)
}

impl<T> EnsembleReport<T> {
    /// What decided, in words for people: where no judge did, the sum of the log-odds, of the gate's where it rejects or
    /// is all that the two disagree about.
    fn words(&self, cascade: &CascadeReport) -> String {
        if matches!(cascade.decided_by, Decider::Judge | Decider::Agreement | Decider::Encoder) {
            return cascade.words();
        }
        let split = |[first, second]: &[f64; 2]| (*first >= 0.0) != (*second >= 0.0);
        let frames_accept = cascade.encoder == Verdict::Accept && !self.log_odds.as_ref().is_some_and(split);
        let by_gate = |gate: &[f64; 2]| split(gate) && (gate.iter().sum::<f64>() < 0.0 || frames_accept);
        let of_gate = self.gate.filter(|gate| cascade.decided_by == Decider::LogOdds && by_gate(gate));
        let (of, sum) = match of_gate {
            Some(gate) => (" of the caption's gate", Some(gate)),
            None => ("", self.log_odds),
        };
        let why = match cascade.decided_by {
            Decider::BudgetSpent => "in doubt; the interval's calls of the judge were spent, so ",
            Decider::TooLong => "in doubt; longer than the judge reads, so ",
            _ => "in doubt; ",
        };
        match sum {
            // The log-odds of either question would let it pass.
            Some([first, second]) if first + second > 0.0 && cascade.encoder == Verdict::Reject => {
                format!(
                    "{why}each encoder rejects, the one for the caption's words and the other for the frames"
                )
            }
            Some([first, second]) => format!(
                "{why}both encoders' log-odds{of} decide: {first:+.3} and {second:+.3} from their thresholds"
            ),
            None => cascade.words(),
        }
    }
}

/// Everything found in one run over one interval.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What made the results.
    pub environment: Environment,
    /// The policy in force.
    pub policy: crate::check::Policy,
    /// One entry per submission, ordered by interval and hotkey.
    pub submissions: Vec<SubmissionReport>,
    /// Normalised weight per hotkey, from this run's scores alone.
    pub weights: BTreeMap<Hotkey, f64>,
}

impl Report {
    /// The worst verdict of all submissions: a rejection outweighs an inconclusive check.
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.submissions.iter().any(|s| s.verdict == verdict);
        if has(Verdict::Reject) {
            Verdict::Reject
        } else if has(Verdict::Inconclusive) || self.submissions.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Accept
        }
    }
}

/// The decision on one submission (protocol page, 4).
#[derive(Clone, Debug, Serialize)]
pub struct SubmissionReport {
    /// The miner, as its manifest writes it, or as its bucket is named where no manifest could be read.
    pub miner_hotkey: Hotkey,
    /// The interval.
    pub interval_id: IntervalId,
    /// The decision.
    pub verdict: Verdict,
    /// Whether `verdict` is accept.
    pub accepted: bool,
    /// The stable codes, in the order of the phases.
    pub failures: Vec<String>,
    /// The same with an explanation each.
    pub reasons: Vec<Violation>,
    /// What this project would also reject under the strict policy.
    pub warnings: Vec<Violation>,
    /// Why we could not check, where that is so.
    pub inconclusive: Vec<String>,
    /// Rows in the dataset.
    pub record_count: usize,
    /// Rows dropped because they overlap the global index or another miner's earlier rows.
    pub pruned_rows: usize,
    /// Number of rows sampled from what was left.
    pub sampled_rows: usize,
    /// Their clip ids, in the order of the rows.
    pub sampled_clip_ids: Vec<String>,
    /// Sampled rows of an accepted submission, else 0.
    pub passed_sample_count: usize,
    /// `passed_sample_count ** 3`.
    pub score: f64,
    /// When the check was made, by the caller's clock.
    pub checked_at: DateTime<Utc>,
    /// Further facts, for people.
    pub notes: BTreeMap<String, String>,
    /// The sampled rows.
    pub rows: Vec<RowReport>,
}

/// What was found in one sampled row.
#[derive(Clone, Debug, Serialize)]
pub struct RowReport {
    /// The clip.
    pub clip_id: String,
    /// The row's position in the dataset, before pruning.
    pub row_index: usize,
    /// The caption that was judged.
    pub caption: String,
    /// The stream, where it could be probed.
    pub probe: Option<ClipProbe>,
    /// The frames that were judged.
    pub frames: Vec<FrameReport>,
    /// Caption against frames; absent where an earlier phase stopped the row.
    pub alignment: Option<AlignmentReport>,
    /// Category of the frames; absent where an earlier phase stopped the row.
    pub category: Option<CategoryReport>,
    /// Codes of this row alone.
    pub failures: Vec<String>,
    /// Why we could not check, where that is so.
    pub inconclusive: Option<String>,
    /// SHA-256 of the row's evidence record, where one was made.
    pub evidence: Option<Digest>,
    /// Time spent, by step; varies by run.
    pub timings_ms: BTreeMap<String, f64>,
}

/// A frame that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameReport {
    /// Its presentation time, from the first frame.
    pub pts_seconds: f64,
    /// SHA-256 of its RGB bytes.
    pub rgb_sha256: Digest,
}

/// Caption against frames (protocol page, 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlignmentReport {
    /// P(match) in 0..1.
    pub probability: f64,
    /// The card's threshold.
    pub threshold: f64,
    /// Accept where the probability reaches the threshold, or as two encoders or the judge said.
    pub verdict: Verdict,
    /// Whether the probability is nearer to the threshold than devices differ.
    pub borderline: bool,
    /// Similarity of each caption unit, over frames.
    pub units: Vec<UnitReport>,
    /// The features behind the probability, by name.
    pub features: BTreeMap<String, f64>,
    /// What decided, where a judge is loaded or two encoders decide together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeReport>,
    /// What the second encoder says, where two decide together; everything else here is the first's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<Box<EnsembleReport<AlignmentReport>>>,
}

impl AlignmentReport {
    /// What decided, in words for people, where it was not the threshold of one encoder.
    pub fn decided(&self) -> Option<String> {
        let cascade = self.cascade.as_ref()?;
        Some(self.ensemble.as_ref().map_or_else(|| cascade.words(), |ensemble| ensemble.words(cascade)))
    }

    /// Why the caption does not match, for people.
    pub fn mismatch(&self) -> String {
        if let (Some(ensemble), Some(decided)) = (&self.ensemble, self.decided()) {
            let second = &ensemble.second;
            return format!(
                "P(match) {:.3} against {:.3}, by the second encoder {:.3} against {:.3}: {decided}",
                self.probability, self.threshold, second.probability, second.threshold
            );
        }
        let below = |threshold_decided: bool| {
            let relation = if threshold_decided { "is below" } else { "against" };
            format!("P(match) {:.3} {relation} {:.3}", self.probability, self.threshold)
        };
        match self.cascade.filter(|cascade| cascade.decided_by != Decider::Encoder) {
            Some(cascade) => {
                format!("{}: {}", below(cascade.decided_by != Decider::Judge), cascade.words())
            }
            None => below(true),
        }
    }
}

/// One sentence or clause of a caption against the frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitReport {
    /// The words.
    pub text: String,
    /// Mean similarity over frames.
    pub similarity: f64,
    /// Similarity to each frame.
    pub per_frame: Vec<f64>,
}

/// Category of the frames (protocol page, 4 phase 7 and 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryReport {
    /// P(nature) of the caption alone.
    pub caption_nature: f64,
    /// The three middle frames.
    pub frames: Vec<FrameCategoryReport>,
    /// Accept, or reject by the strict rule or by the caption gate; or as two encoders or the judge said.
    pub decision: Verdict,
    /// Whether a figure is nearer to its threshold than devices differ.
    pub borderline: bool,
    /// Mean nature score of the three frames.
    pub nature_score: Option<f64>,
    /// Mean score of the best rival.
    pub rival_score: Option<f64>,
    /// Their difference.
    pub margin: Option<f64>,
    /// What decided, where a judge is loaded or two encoders decide together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeReport>,
    /// What the second encoder says, where two decide together; everything else here is the first's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<Box<EnsembleReport<CategoryReport>>>,
}

impl CategoryReport {
    /// What decided, in words for people, where it was not one encoder.
    pub fn decided(&self) -> Option<String> {
        let cascade = self.cascade.as_ref()?;
        Some(self.ensemble.as_ref().map_or_else(|| cascade.words(), |ensemble| ensemble.words(cascade)))
    }

    /// Why the strict rule rejects, for people.
    pub fn rejection(&self) -> String {
        if let (Some(ensemble), Some(decided)) = (&self.ensemble, self.decided()) {
            let figures = |report: &Self| {
                let (nature, rival) = (report.nature_score, report.rival_score);
                format!(
                    "nature {:.3}, best rival {:.3}",
                    nature.unwrap_or_default(),
                    rival.unwrap_or_default()
                )
            };
            return format!(
                "{} over the middle three frames, by the second encoder {}: {decided}",
                figures(self),
                figures(&ensemble.second)
            );
        }
        let figures = format!(
            "nature {:.3}, best rival {:.3} over the middle three frames",
            self.nature_score.unwrap_or_default(),
            self.rival_score.unwrap_or_default()
        );
        match self.cascade.filter(|cascade| cascade.decided_by != Decider::Encoder) {
            Some(cascade) => format!("{figures}: {}", cascade.words()),
            None => figures,
        }
    }
}

/// The seven scores of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCategoryReport {
    /// Which of the decoded frames.
    pub frame_index: usize,
    /// The label with the highest score.
    pub winner: Category,
    /// Score in 0..1 by label.
    pub scores: BTreeMap<Category, f64>,
}
