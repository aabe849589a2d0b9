//! The validator: follows finalised heads, judges each closed interval, pays by what it found.
//!
//! Everything it does is a step that can be repeated. What it has decided is in the [state](crate::state), in one
//! transaction an interval; what is on the way is thrown away with the process and begun again. Intervals are done
//! oldest first, so that a node that was down catches up in order.

mod bundles;
mod discover;
mod hook;
mod interval;
mod pay;
mod seams;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use bundles::folder as bundle_folder;
pub use discover::{Candidate, discover};
pub use hook::{NoHook, Step, StepHook};
pub use interval::Examined;
use interval::{Terms, row_limits};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::sample::MinerSampling;
use nexis_core::verifier::RowJudge;
pub use seams::{Clock, IndexFile, IndexObject, IndexSource, MinerBuckets, NoIndex, SystemClock};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::chain::{BlockRef, Chain, ChainError, HotkeyPair};
use crate::config::{Config, ValidatorConfig};
use crate::observe::{Condition, Health, Metrics, Phase, interval_span};
use crate::state::{IntervalRecord, IntervalStatus, Start, State, StateError, begun};
use crate::store::StoreError;
use crate::store::cache::Cache;
use crate::store::fetch::{FetchLimits, Fetcher};

/// Result of a validator's operations.
pub type Result<T, E = ValidatorError> = std::result::Result<T, E>;

/// Why a validator could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidatorError {
    /// The chain could not be read or written.
    #[error("chain: {0}")]
    Chain(#[from] ChainError),
    /// The state could not be read or written. There is no going on without it.
    #[error("state: {0}")]
    State(#[from] StateError),
    /// The global index could not be read.
    #[error("global index: {0}")]
    Index(#[from] StoreError),
    /// There is no room for what is fetched.
    #[error("cache: {0}")]
    Cache(#[source] StoreError),
    /// Judging could not go on.
    #[error("{0}")]
    Core(#[from] nexis_core::Error),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What a validator is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The subnet.
    pub netuid: u16,
    /// Folder of evidence, bundles, and what is being fetched.
    pub data_dir: PathBuf,
    /// The validator's hotkey: whose sample is drawn, and never a miner to itself.
    pub hotkey: Option<Hotkey>,
    /// Threads that judge; 0 is one per core.
    pub threads: usize,
    /// Pause between two tries to submit weights.
    pub weights_pause: Duration,
    /// The rest, as configured.
    pub validator: ValidatorConfig,
}

impl Settings {
    /// The settings of a configuration, for a hotkey.
    pub fn new(config: &Config, hotkey: Option<Hotkey>) -> Self {
        Self {
            netuid: config.netuid,
            data_dir: config.data_dir.clone(),
            hotkey,
            threads: config.model.threads,
            weights_pause: Duration::from_secs(10),
            validator: config.validator.clone(),
        }
    }
}

/// What a validator is made of; everything is injected.
pub struct Parts {
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Miners' buckets.
    pub buckets: Arc<dyn MinerBuckets>,
    /// The global index.
    pub index: Arc<dyn IndexSource>,
    /// What judges rows, admitted by [`engine::admit`](crate::engine::admit).
    pub judge: RowJudge,
    /// What was decided.
    pub state: Arc<State>,
    /// The hotkey that sets weights; `None` for a validator that only watches.
    pub signer: Option<HotkeyPair>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Told of each step.
    pub hook: Arc<dyn StepHook>,
    /// Counts.
    pub metrics: Metrics,
    /// Whether it lives and is ready.
    pub health: Health,
}

/// A validator.
pub struct Validator {
    parts: Parts,
    settings: Settings,
    excluded: BTreeSet<Hotkey>,
    fetcher: Fetcher,
    pool: Arc<rayon::ThreadPool>,
    /// The first head at which this process looked whether weights are due.
    paying_since: OnceLock<u64>,
}

/// Pause after a failure before the next try, doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Blocks for which a node surely keeps the state of a block.
const KEPT_BLOCKS: u64 = 200;

impl Validator {
    /// A validator from its parts.
    ///
    /// # Errors
    /// Where its threads cannot be started, or its cache cannot be opened: one validator may run on a folder.
    pub fn new(parts: Parts, settings: Settings) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .thread_name(|i| format!("judge-{i}"))
            .build()
            .map_err(|e| nexis_core::Error::Internal(format!("judging threads: {e}")))?;
        let mut excluded = settings.validator.exclude.clone();
        excluded.extend(settings.hotkey.clone());
        let config = &settings.validator;
        let cache = Cache::open(settings.data_dir.join("cache"), config.cache_bytes)
            .map_err(ValidatorError::Cache)?;
        let limits = FetchLimits {
            // All miners of an interval at once, so that nobody waits for a turn behind one that hangs.
            miners: MinerSampling::default().max,
            files_per_miner: config.per_miner,
            submission_deadline: config.fetch,
            assets_deadline: config.assets,
            ..FetchLimits::for_core(&row_limits(config))
        };
        let fetcher = Fetcher::new(cache, limits);
        Ok(Self { parts, settings, excluded, fetcher, pool: Arc::new(pool), paying_since: OnceLock::new() })
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.parts.state
    }

    fn reached(&self, step: Step) {
        self.parts.hook.reached(step);
    }

    /// Follows the chain until it is stopped. An interval that is in hand then is given up, and begun again at the
    /// next start. Failures of the chain, the stores and the disk are waited out.
    ///
    /// Judging and paying go on side by side: weights can take minutes until they are final, an interval can take
    /// minutes to judge, and neither is to wait for the other.
    ///
    /// # Errors
    /// Where the state cannot be used, or no node has shown a new block for so long that the supervisor should start
    /// the process anew. Everything else is tried again.
    pub async fn run(&self, stop: &CancellationToken) -> Result<()> {
        let judging = self.at_each_head(stop, async |head| {
            self.parts.health.beat();
            self.judge_until(head, stop).await
        });
        let paying = self.at_each_head(stop, async |head| self.pay(head, stop).await);
        tokio::try_join!(judging, paying)?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Does something at each finalised head until it is stopped. What fails is tried again at the same head.
    async fn at_each_head(
        &self,
        stop: &CancellationToken,
        turn: impl AsyncFn(&BlockRef) -> Result<()>,
    ) -> Result<()> {
        let mut pause = PAUSE;
        let mut seen = None;
        while !stop.is_cancelled() {
            let done = async {
                let head = async {
                    match seen {
                        None => self.parts.chain.finalized_head().await,
                        Some(block) => self.parts.chain.next_finalized_head(block).await,
                    }
                };
                let head = tokio::select! {
                    head = head => head?,
                    () = stop.cancelled() => return Err(ValidatorError::Stopped),
                };
                turn(&head).await.map(|()| head)
            };
            match done.await {
                Ok(head) => {
                    seen = Some(head.number);
                    pause = PAUSE;
                }
                Err(ValidatorError::Stopped | ValidatorError::Core(nexis_core::Error::Interrupted)) => break,
                Err(e @ (ValidatorError::State(_) | ValidatorError::Chain(ChainError::Stalled { .. }))) => {
                    return Err(e);
                }
                Err(e) => {
                    tracing::error!(error = %e, retry_seconds = pause.as_secs(), "could not go on, trying again");
                    self.blame(&e);
                    // The same head is looked at again: what failed at it is still to be done.
                    seen = None;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => break,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    fn blame(&self, error: &ValidatorError) {
        if let ValidatorError::Chain(e) = error {
            self.parts.health.fails(Condition::Chain, e.to_string());
        }
    }

    /// Does all that is to be done at a finalised head, one after the other: every interval that may be judged by then,
    /// oldest first, and the weights that are due.
    ///
    /// # Errors
    /// The first thing that could not be done. What was done before it is done.
    pub async fn follow(&self, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        self.judge_until(head, stop).await?;
        self.pay(head, stop).await
    }

    /// Judges every interval that may be judged at a finalised head, oldest first.
    async fn judge_until(&self, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        self.parts.metrics.chain_head(head.number);
        self.parts.health.holds(Condition::Chain);
        let Some(latest) = IntervalId::latest_eligible(head.number) else { return Ok(()) };
        self.parts.state.begin(Start { interval: latest, block: head.number })?;
        self.parts.health.holds(Condition::State);
        while let Some(next) = self.parts.state.next()?.filter(|next| *next <= latest) {
            if stop.is_cancelled() {
                return Err(ValidatorError::Stopped);
            }
            self.parts.health.beat();
            let behind = (latest.get() - next.get()) / IntervalId::BLOCKS;
            self.settle(next, behind, head, stop).instrument(interval_span(next)).await?;
            self.parts.metrics.interval_decided(next, behind);
        }
        Ok(())
    }

    /// Judges one interval and writes it down, or passes over it.
    async fn settle(
        &self,
        interval: IntervalId,
        behind: u64,
        head: &BlockRef,
        stop: &CancellationToken,
    ) -> Result<()> {
        let state = &self.parts.state;
        let known = state.interval(interval)?;
        if known.as_ref().is_some_and(|record| record.status != IntervalStatus::Begun) {
            return Ok(state.pass_interval(interval, None)?);
        }
        if behind >= self.settings.validator.look_back {
            tracing::warn!(behind, "older than the look-back, skipped");
            let mut record = known.unwrap_or_else(|| begun(self.parts.clock.now(), head));
            record.status = IntervalStatus::Skipped;
            return Ok(state.pass_interval(interval, Some(&record))?);
        }
        self.decide(interval, head, stop).await?;
        let keep = self.settings.validator.keep_intervals.saturating_mul(IntervalId::BLOCKS);
        if let Some(first) = interval.get().checked_sub(keep) {
            state.forget_before(IntervalId::new(first))?;
            for kind in ["evidence", "bundles"] {
                bundles::forget_before(&self.settings.data_dir.join(kind), first)?;
            }
        }
        Ok(())
    }

    /// Judges one interval and writes it down, whatever the order. Nothing happens where it is decided already.
    ///
    /// # Errors
    /// Where it could not be judged or written down; then it can be tried again.
    pub async fn decide(
        &self,
        interval: IntervalId,
        head: &BlockRef,
        stop: &CancellationToken,
    ) -> Result<()> {
        let started = Instant::now();
        let state = &self.parts.state;
        let at = self.vantage(interval, head).await?;
        let mut record = state.begin_interval(interval, begun(self.parts.clock.now(), &at))?;
        if record.status == IntervalStatus::Done {
            return Ok(());
        }
        if head.number.saturating_sub(record.block) > KEPT_BLOCKS {
            self.look_from(interval, &mut record, head)?;
        }
        self.reached(Step::IntervalBegun);
        let mut terms = Terms {
            interval,
            at: BlockRef { number: record.block, hash: *record.block_hash.as_bytes() },
            now: record.begun_at,
            evidence: Some(self.settings.data_dir.join("evidence").join(interval.to_string())),
        };
        let mut examined = self.examine(&terms, stop).await;
        if forgotten(&examined, &terms.at, head) {
            self.look_from(interval, &mut record, head)?;
            terms.at = *head;
            examined = self.examine(&terms, stop).await;
        }
        let Examined { report, planned, index_sha256 } = examined?;

        let recording = Instant::now();
        let report = if self.settings.validator.bundles {
            let data_dir = self.settings.data_dir.clone();
            self.in_pool(move || bundles::write(&data_dir, interval, &planned, &report).map(|()| report))
                .await??
        } else {
            drop(planned);
            report
        };
        self.reached(Step::BundlesWritten);
        record.done_at = Some(self.parts.clock.now());
        record.index_sha256 = index_sha256;
        state.finish_interval(interval, &record, &report)?;
        for submission in &report.submissions {
            self.parts.metrics.decision(submission.verdict, &submission.failures);
        }
        self.parts.metrics.phase(Phase::Record, recording.elapsed());
        self.parts.metrics.phase(Phase::Interval, started.elapsed());
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(submissions = report.submissions.len(), seconds, "decided");
        self.reached(Step::IntervalCommitted);
        Ok(())
    }

    /// The block at which an interval's miners are discovered: the first at which it may be judged, so that it does
    /// not matter when a validator comes to it. Where nodes no longer keep that block's state, the head.
    async fn vantage(&self, interval: IntervalId, head: &BlockRef) -> Result<BlockRef> {
        let first = interval.first_eligible_block();
        if first >= head.number || head.number - first > KEPT_BLOCKS {
            return Ok(*head);
        }
        Ok(self.parts.chain.block(first).await?)
    }

    /// Discovers an interval's miners at another block than before, since the node no longer knows that one.
    fn look_from(&self, interval: IntervalId, record: &mut IntervalRecord, head: &BlockRef) -> Result<()> {
        record.block = head.number;
        record.block_hash = nexis_core::hash::Digest::from_bytes(head.hash);
        Ok(self.parts.state.amend_interval(interval, record)?)
    }

    /// Judges one interval as the present head allows and writes nothing, not even evidence.
    ///
    /// # Errors
    /// Where it could not be judged.
    pub async fn dry_run(&self, interval: IntervalId, stop: &CancellationToken) -> Result<Examined> {
        let head = self.parts.chain.finalized_head().await?;
        let at = self.vantage(interval, &head).await?;
        let mut terms = Terms { interval, at, now: self.parts.clock.now(), evidence: None };
        let examine = async {
            let examined = self.examine(&terms, stop).await;
            if !forgotten(&examined, &terms.at, &head) {
                return examined;
            }
            terms.at = head;
            self.examine(&terms, stop).await
        };
        examine.instrument(interval_span(interval)).await
    }
}

/// Whether the node has not kept the block that miners were to be discovered at; then the head is looked at.
fn forgotten(examined: &Result<Examined>, at: &BlockRef, head: &BlockRef) -> bool {
    let Err(ValidatorError::Chain(ChainError::Unsupported { why, .. })) = examined else { return false };
    if at != head {
        tracing::warn!(block = at.number, %why, "the node has not kept this block, looking at the head");
    }
    at != head
}
