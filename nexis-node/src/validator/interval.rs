//! One interval: discover, fetch, plan, fetch what was sampled, judge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use nexis_core::check::assets::WantedAsset;
use nexis_core::check::{Violation, ViolationKind};
use nexis_core::evidence::Evidence;
use nexis_core::hash::Digest;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::{AssetSource, ExpectedMiner, PackageRules, RefusedSource, RowLimits};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::{Report, Verdict};
use nexis_core::verifier::{Observer, Planned, Submission, Verifier, VerifierOptions};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::discover::{Candidate, discover};
use super::{Result, Step, Validator, ValidatorError};
use crate::chain::BlockRef;
use crate::config::ValidatorConfig;
use crate::observe::{Phase, miner_span};
use crate::store::source::{Outcome, StoreSource};

/// An interval that has been judged, and not yet been written down.
pub struct Examined {
    /// What was found.
    pub report: Report,
    /// What it was found in.
    pub planned: Planned,
    /// SHA-256 of the global index that was pruned with, where there was one.
    pub index_sha256: Option<Digest>,
}

/// What makes two runs over one interval the same.
pub(super) struct Terms {
    pub(super) interval: IntervalId,
    /// Where miners are discovered.
    pub(super) at: BlockRef,
    /// The time of the check.
    pub(super) now: DateTime<Utc>,
    /// Where evidence goes, if anywhere.
    pub(super) evidence: Option<PathBuf>,
}

/// A miner's submission on its way.
struct InHand {
    hotkey: Hotkey,
    fetched: Option<Arc<StoreSource>>,
    submission: Submission,
}

impl Validator {
    /// Judges an interval and writes nothing but evidence, where that is asked for. What was fetched goes with what is
    /// returned, or with the error.
    pub(super) async fn examine(&self, terms: &Terms, stop: &CancellationToken) -> Result<Examined> {
        tokio::select! {
            examined = self.examine_in(terms, stop) => examined,
            () = stop.cancelled() => Err(ValidatorError::Stopped),
        }
    }

    async fn examine_in(&self, terms: &Terms, stop: &CancellationToken) -> Result<Examined> {
        let interval = terms.interval;
        let started = Instant::now();
        let miners =
            discover(self.parts.chain.as_ref(), self.settings.netuid, interval, &terms.at, &self.excluded)
                .await?;
        self.parts.metrics.phase(Phase::Discover, started.elapsed());
        tracing::info!(miners = miners.len(), block = terms.at.number, "discovered");
        self.reached(Step::MinersDiscovered);

        let (overlap_index, index_sha256) = self.index().await?;
        self.reached(Step::IndexRead);

        let fetches = miners.into_iter().map(|miner| {
            let span = miner_span(interval, &miner.hotkey);
            self.fetch_rows(interval, miner).instrument(span)
        });
        let in_hand: Vec<InHand> = join_all(fetches).await.into_iter().collect::<Result<_>>()?;
        self.reached(Step::DatasetsFetched);

        let config = &self.settings.validator;
        let limits = row_limits(config);
        let options = VerifierOptions {
            policy: config.policy,
            all_rows: false,
            validator_hotkey: self.settings.hotkey.clone(),
            overlap_index,
            package_rules: PackageRules { limits, ..PackageRules::default() },
        };
        let verifier = Arc::new(Verifier::new(self.parts.judge.clone(), options));
        let submissions: Vec<Submission> = in_hand.iter().map(|m| m.submission.clone()).collect();
        let now = terms.now;
        let planner = Arc::clone(&verifier);
        let planned = self.in_pool(move || planner.plan(&submissions, now)).await?;
        self.reached(Step::Planned);

        let sources: BTreeMap<&Hotkey, &Arc<StoreSource>> =
            in_hand.iter().filter_map(|m| Some((&m.hotkey, m.fetched.as_ref()?))).collect();
        let fetches = planned.assets().into_iter().filter_map(|(miner, _, wanted)| {
            let fetched = sources.get(miner).filter(|_| !wanted.is_empty())?;
            let span = miner_span(interval, miner);
            Some(self.fetch_assets(fetched, wanted).instrument(span))
        });
        join_all(fetches).await;
        self.reached(Step::AssetsFetched);

        let started = Instant::now();
        let watcher = Watcher { evidence: terms.evidence.clone(), stop: stop.clone() };
        if let Some(folder) = &terms.evidence {
            std::fs::create_dir_all(folder).map_err(|e| nexis_core::Error::io(folder, e))?;
        }
        let (report, planned) = self
            .in_pool(move || {
                let report = verifier.judge(&planned, now, &watcher);
                (report, planned)
            })
            .await?;
        let report = report?;
        self.parts.metrics.phase(Phase::Verify, started.elapsed());
        if let Some(why) = self.parts.judge.trouble() {
            tracing::warn!(?why, "the processor decodes what the device leaves, which takes longer");
        }
        for submission in &report.submissions {
            let _entered = miner_span(interval, &submission.miner_hotkey).entered();
            tell(submission.verdict, &submission.failures, &submission.inconclusive);
        }
        self.reached(Step::Judged);
        Ok(Examined { report, planned, index_sha256 })
    }

    /// The global index and its digest. One that is no index counts as an empty one, as on the network; one that cannot
    /// be read is an outage of ours.
    async fn index(&self) -> Result<(OverlapIndex, Option<Digest>)> {
        let Some(bytes) = self.parts.index.read().await? else { return Ok((OverlapIndex::default(), None)) };
        let digest = Digest::of(&bytes);
        let parsed = self.in_pool(move || OverlapIndex::parse(&bytes)).await?;
        if let Some(why) = parsed.problem {
            tracing::warn!(%why, "the global index cannot be read and counts as empty");
        }
        if parsed.skipped > 0 {
            tracing::warn!(
                skipped = parsed.skipped,
                "entries of the global index mean nothing and are left out"
            );
        }
        Ok((parsed.index, Some(digest)))
    }

    /// Manifest and dataset of one miner.
    async fn fetch_rows(&self, interval: IntervalId, miner: Candidate) -> Result<InHand> {
        let Candidate { hotkey, credentials } = miner;
        let submission = |source: Arc<dyn AssetSource>| Submission {
            miner: ExpectedMiner::Hotkey(hotkey.clone()),
            interval,
            label: hotkey.to_string(),
            source,
        };
        let Some(credentials) = credentials else {
            let violation = Violation::new(ViolationKind::MissingCommittedReadCredentials);
            let submission = submission(Arc::new(RefusedSource(violation)));
            return Ok(InHand { hotkey, fetched: None, submission });
        };
        let store = match self.parts.buckets.open(&hotkey, &credentials) {
            Ok(store) => store,
            Err(e) => {
                tracing::warn!(error = %e, "no client for the miner's bucket");
                let submission = submission(Arc::new(Unopened(e.to_string())));
                return Ok(InHand { hotkey, fetched: None, submission });
            }
        };
        let started = Instant::now();
        let fetched = self.fetcher.fetch_submission(store, interval).await.map_err(ValidatorError::Cache)?;
        self.count(&fetched, &[], started);
        let submission = submission(Arc::clone(&fetched) as Arc<dyn AssetSource>);
        Ok(InHand { hotkey, fetched: Some(fetched), submission })
    }

    /// The files of one miner's sampled rows.
    async fn fetch_assets(&self, source: &StoreSource, wanted: Vec<WantedAsset>) {
        let started = Instant::now();
        let known: Vec<String> = source.records().into_iter().map(|record| record.key).collect();
        self.fetcher.fetch_assets(source, &wanted).await;
        self.count(source, &known, started);
    }

    /// Counts what was fetched since these keys were known.
    fn count(&self, source: &StoreSource, known: &[String], started: Instant) {
        let metrics = &self.parts.metrics;
        metrics.phase(Phase::Fetch, started.elapsed());
        for record in source.records().iter().filter(|record| !known.contains(&record.key)) {
            match &record.outcome {
                Outcome::Fetched { len, cached } => {
                    metrics.cache_lookup(*cached);
                    if !cached {
                        metrics.downloaded(*len);
                    }
                }
                Outcome::Withheld { why, .. } => {
                    tracing::info!(key = ?record.key, %why, "withheld by its miner")
                }
                Outcome::Failed { why, .. } => {
                    tracing::warn!(key = ?record.key, %why, "could not be fetched")
                }
                Outcome::Absent | Outcome::TooLarge { .. } => {}
            }
        }
        metrics.cache_holds(self.fetcher.cache().bytes());
    }

    /// Runs work of the processor's on the judging threads.
    pub(super) async fn in_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let pool = Arc::clone(&self.pool);
        tokio::task::spawn_blocking(move || pool.install(work))
            .await
            .map_err(|e| nexis_core::Error::Internal(format!("a judging thread ended: {e}")).into())
    }
}

/// What reading a dataset may cost.
pub(super) fn row_limits(config: &ValidatorConfig) -> RowLimits {
    RowLimits {
        max_file_bytes: config.max_dataset_bytes,
        max_rows: config.max_rows,
        // What a dataset may become in memory grows with what it may be on disk.
        max_uncompressed_bytes: config.max_dataset_bytes.saturating_mul(2),
        max_text_bytes: config.max_dataset_bytes,
    }
}

fn tell(verdict: Verdict, failures: &[String], inconclusive: &[String]) {
    match verdict {
        Verdict::Accept => tracing::info!("accepted"),
        // A code may name what a stranger chose; quoted, it cannot forge a line.
        Verdict::Reject => tracing::info!(?failures, "rejected"),
        Verdict::Inconclusive => tracing::warn!(why = ?inconclusive, "could not be checked"),
    }
}

/// A bucket for which no client could be made, which is ours.
struct Unopened(String);

impl AssetSource for Unopened {
    fn get(&self, _key: &str) -> nexis_core::Result<Option<nexis_core::package::Asset>> {
        Err(nexis_core::Error::Unavailable { what: "the miner's bucket".into(), why: self.0.clone() })
    }

    fn last_modified(&self, _key: &str) -> nexis_core::Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
}

/// Keeps evidence, and stops between rows.
struct Watcher {
    evidence: Option<PathBuf>,
    stop: CancellationToken,
}

impl Observer for Watcher {
    fn evidence(&self, evidence: &Evidence) -> nexis_core::Result<()> {
        match &self.evidence {
            Some(folder) => evidence.write(folder).map(drop),
            None => Ok(()),
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.is_cancelled()
    }
}
