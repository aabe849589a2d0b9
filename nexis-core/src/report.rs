//! What a verification found, in the shape that `nexis verify --json` prints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
    /// The judge that decides what is in doubt, where one is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeInUse>,
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
    /// The judge.
    Judge,
    /// The encoder's threshold, for the interval's calls of the judge were spent.
    BudgetSpent,
    /// The encoder's threshold, for the question is longer than the judge reads.
    TooLong,
}

/// How a question was decided where a judge is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeReport {
    /// What decided.
    pub decided_by: Decider,
    /// What the encoder's threshold says.
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
    /// Accept where the probability reaches the threshold, or as the judge said.
    pub verdict: Verdict,
    /// Whether the probability is nearer to the threshold than devices differ.
    pub borderline: bool,
    /// Similarity of each caption unit, over frames.
    pub units: Vec<UnitReport>,
    /// The features behind the probability, by name.
    pub features: BTreeMap<String, f64>,
    /// What decided, where a judge is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeReport>,
}

impl AlignmentReport {
    /// Why the caption does not match, for people.
    pub fn mismatch(&self) -> String {
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
    /// Accept, or reject by the strict rule or by the caption gate; or as the judge said.
    pub decision: Verdict,
    /// Whether a figure is nearer to its threshold than devices differ.
    pub borderline: bool,
    /// Mean nature score of the three frames.
    pub nature_score: Option<f64>,
    /// Mean score of the best rival.
    pub rival_score: Option<f64>,
    /// Their difference.
    pub margin: Option<f64>,
    /// What decided, where a judge is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeReport>,
}

impl CategoryReport {
    /// Why the strict rule rejects, for people.
    pub fn rejection(&self) -> String {
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
