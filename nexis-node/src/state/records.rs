//! What is kept, as JSON: records grow fields, and old ones must still read.

use chrono::{DateTime, Utc};
use nexis_core::hash::Digest;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;
use serde::{Deserialize, Serialize};

use crate::chain::weights::{InFlight, PendingReveal};

/// Whose state it is: a file made for one subnet and hotkey is never used for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The network.
    pub network: String,
    /// The subnet.
    pub netuid: u16,
    /// The validator, where it has a hotkey.
    pub hotkey: Option<Hotkey>,
}

/// How far an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntervalStatus {
    /// Being judged, or interrupted while it was.
    Begun,
    /// Decided.
    Done,
    /// Passed over, for it was older than the look-back when the node came to it.
    Skipped,
}

/// One interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalRecord {
    /// How far it is.
    pub status: IntervalStatus,
    /// When it was first begun; the time that all its decisions are made at, also after a restart.
    pub begun_at: DateTime<Utc>,
    /// Number of the block at which miners are discovered.
    pub block: u64,
    /// That block's hash, 64 hexadecimal digits.
    pub block_hash: Digest,
    /// When it was decided.
    #[serde(default)]
    pub done_at: Option<DateTime<Utc>>,
    /// SHA-256 of the global index that was pruned with, where there was one.
    #[serde(default)]
    pub index_sha256: Option<Digest>,
    /// Miners accepted.
    #[serde(default)]
    pub accepted: usize,
    /// Miners rejected.
    #[serde(default)]
    pub rejected: usize,
    /// Miners that could not be checked.
    #[serde(default)]
    pub inconclusive: usize,
}

/// The decision on one submission, without its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The miner.
    pub miner_hotkey: Hotkey,
    /// The interval.
    pub interval_id: IntervalId,
    /// The verdict.
    pub verdict: Verdict,
    /// The stable codes.
    pub failures: Vec<String>,
    /// Why we could not check, where that is so.
    pub inconclusive: Vec<String>,
    /// Rows in the dataset.
    pub record_count: usize,
    /// Rows dropped for overlap.
    pub pruned_rows: usize,
    /// Rows judged.
    pub sampled_rows: usize,
    /// Sampled rows of an accepted submission, else 0.
    pub passed_sample_count: usize,
    /// Its cube.
    pub score: f64,
}

/// How far a submission of weights is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WeightState {
    /// Decided; whether it was sent is not known.
    Prepared,
    /// Sent, and nobody knows what came of it.
    InFlight(InFlight),
    /// In a finalised block, and still to be revealed.
    Committed(PendingReveal),
    /// In force: set plainly, or revealed.
    Confirmed {
        /// The block.
        block: u64,
    },
    /// Given up; its scores count in the next one, unless there was one already.
    Failed {
        /// Why.
        why: String,
    },
}

/// One submission of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightRecord {
    /// The block from which it was due, which names it.
    pub slot: u64,
    /// The head when it was prepared. Whatever the chain shows of later weights of ours is this submission.
    pub prepared_at: u64,
    /// The last interval of the submission before; scores of later ones count.
    pub after: Option<IntervalId>,
    /// The last interval whose scores count.
    pub upto: IntervalId,
    /// Weight by hotkey, which sum to 1, or are all 0.
    pub weights: Vec<(Hotkey, f64)>,
    /// Rounds of tries so far.
    pub tries: u32,
    /// The head at the last try.
    #[serde(default)]
    pub tried_at: Option<u64>,
    /// How far it is.
    pub outcome: WeightState,
}

impl WeightRecord {
    /// Whether its scores have been paid.
    pub fn counts(&self) -> bool {
        matches!(self.outcome, WeightState::Committed(_) | WeightState::Confirmed { .. })
    }
}
