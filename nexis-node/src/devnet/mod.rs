//! A whole network on one machine: a simulated chain, an S3 server with a bucket per miner, miners honest and not, a
//! validator that judges and pays, and the owner's publishing. Everything follows from the seed, and what came of it is
//! compared with a calculation of its own.
//!
//! It is a test as much as a demonstration: faults of the network, the chain and the disk can be switched on, and a
//! run in a folder can be killed at any moment and goes on when it is started again; neither changes a decision or a
//! weight.

mod cast;
mod check;
mod obstacles;
mod timeline;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use nexis_core::hash::Digest;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;
use nexis_core::verifier::RowJudge;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use cast::{Cast, Named, Role};
use timeline::Timeline;
use world::World;

use crate::chain::ChainError;
use crate::miner::MinerError;
use crate::owner::source::SourceError;
use crate::owner::{OwnerError, Synced};
use crate::state::StateError;
use crate::store::StoreError;
use crate::validator::ValidatorError;

/// Most miners: as many as an interval looks at.
pub const MAX_MINERS: usize = 35;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Answers 500 and 503, answers that come late or break off, connections that are dropped.
    Network,
    /// Reads and submissions that fail or whose outcome is not told, heads that stand still.
    Chain,
    /// Files of the node's that cannot be written at first.
    Disk,
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "network" => Ok(Self::Network),
            "chain" => Ok(Self::Chain),
            "disk" => Ok(Self::Disk),
            _ => Err("network, chain or disk is expected".into()),
        }
    }
}

/// What is run. Two runs of the same plan decide the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Miners, 1 to [`MAX_MINERS`].
    pub miners: usize,
    /// Intervals.
    pub intervals: u64,
    /// Rows of each package.
    pub rows: u64,
    /// Whether the subnet takes weights only committed, to be revealed later.
    pub commit_reveal: bool,
}

/// How it is run; nothing here changes what comes of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the chain, the buckets and the node; a run that was begun there goes on.
    pub out: PathBuf,
    /// Folder of clips that were drawn before.
    pub clips: PathBuf,
    /// What goes wrong.
    pub faults: BTreeSet<FaultKind>,
    /// Threads that judge; 0 is one per core.
    pub threads: usize,
}

/// Sees a run as it goes.
pub trait Watch: Send + Sync {
    /// Packages of an interval are being made.
    fn packing(&self, _at: u64, _interval: IntervalId) {}

    /// An interval is decided and published.
    fn decided(&self, _at: u64, _outcome: &IntervalOutcome, _synced: Option<&Synced>) {}
}

/// A decision as it is shown and compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are those of the decision
pub struct ShownDecision {
    pub hotkey: Hotkey,
    pub verdict: Verdict,
    pub failures: Vec<String>,
    pub record_count: usize,
    pub pruned_rows: usize,
    pub sampled_rows: usize,
    pub passed_sample_count: usize,
}

/// What was decided in an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalOutcome {
    /// The interval.
    pub id: IntervalId,
    /// Its decisions, ordered by hotkey.
    pub decisions: Vec<ShownDecision>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// The miners.
    pub miners: Vec<Named>,
    /// The intervals.
    pub intervals: Vec<IntervalOutcome>,
    /// Weights on the chain at the end, by uid.
    pub weights: BTreeMap<u16, u16>,
    /// Weights as calculated from the decisions.
    pub expected_weights: BTreeMap<u16, u16>,
    /// Bundles in the record-info bucket.
    pub bundles: usize,
    /// Clips in the dataset bucket.
    pub clips: usize,
    /// Whatever is not as it must be; empty where all is well.
    pub surprises: Vec<String>,
    /// SHA-256 of decisions and weights: the same for the same plan, whatever went wrong on the way.
    pub digest: Digest,
}

/// Why a devnet did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A miner.
    #[error(transparent)]
    Miner(#[from] MinerError),
    /// The validator.
    #[error(transparent)]
    Validator(#[from] ValidatorError),
    /// The owner.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// What the owner publishes.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The validator's state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file, or a defect.
    #[error("{0}")]
    Ours(#[from] nexis_core::Error),
    /// It was tried again and again and did not come about.
    #[error("{what} did not come about in {tries} tries: {last}")]
    Stuck {
        /// What.
        what: String,
        /// How often it was tried.
        tries: u32,
        /// What went wrong last.
        last: String,
    },
}

/// Runs a devnet to its end, or what is left of one that was begun in the folder.
///
/// # Errors
/// [`nexis_core::Error::Usage`] where the folder holds a run of another plan; [`nexis_core::Error::Interrupted`] where
/// it was asked to stop; otherwise what kept it from coming to its end.
pub async fn run(
    plan: &Plan,
    options: &Options,
    judge: RowJudge,
    watch: &dyn Watch,
    stop: &CancellationToken,
) -> Result<Outcome, DevnetError> {
    let timeline = Timeline::new(plan.intervals);
    let world = World::build(plan, options, timeline, judge).await?;
    for (at, interval) in timeline.all() {
        if stop.is_cancelled() {
            return Err(nexis_core::Error::Interrupted.into());
        }
        watch.packing(at, interval);
        world.hand_in(at, interval).await?;
        world.advance_to(timeline.judged_at(interval)).await?;
        world.follow(at, stop).await?;
        let synced = world.publish(at, interval).await?;
        watch.decided(at, &world.outcome_of(interval)?, synced.as_ref());
    }
    world.advance_to(timeline.last_slot()).await?;
    world.settle_weights(stop).await?;
    world.conclude(plan).await
}
