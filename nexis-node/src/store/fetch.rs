//! From miners' buckets to this machine's disk, in two stages: a submission's manifest and rows, and, once rows were
//! sampled, the files that they name.
//!
//! What is bounded: the miners at once, the files of one miner at once, the bytes of every file, and the time of each
//! miner's stage, which runs from when it is the miner's turn. So a miner who hangs costs its own deadline and one
//! place among the many, never another miner's time.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use nexis_core::check::assets::wanted_assets;
//! # use nexis_core::media::MediaLimits;
//! # use nexis_core::package::{ClipRecord, RowLimits};
//! # use nexis_core::protocol::IntervalId;
//! # use nexis_node::store::{ObjectStore, cache::Cache, fetch::{FetchLimits, Fetcher}};
//! # async fn f(store: Arc<dyn ObjectStore>, sampled: Vec<ClipRecord>) -> nexis_node::store::Result<()> {
//! let limits = FetchLimits::for_core(&RowLimits::default());
//! let fetcher = Fetcher::new(Cache::open("cache", 20 << 30)?, limits);
//! let interval = IntervalId::new(7_756_900);
//! let source = fetcher.fetch_submission(store, interval).await?; // Arc<StoreSource>: Package::open takes it
//! // ... rows are read, pruned and sampled ...
//! let wanted = wanted_assets(&sampled, interval, MediaLimits::default().max_bytes);
//! fetcher.fetch_assets(&source, &wanted).await; // what fails is told by the source, key by key
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use nexis_core::check::assets::WantedAsset;
use nexis_core::package::{Asset, Manifest, RowLimits, dataset_key, manifest_key};
use nexis_core::protocol::IntervalId;
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::download::{DownloadLimits, Downloaded, download};
use super::source::{Answer, Outcome, StoreSource};
use super::{ObjectStore, Result, StoreError, StoreErrorKind};

/// What fetching may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Miners whose files are fetched at once.
    pub miners: usize,
    /// Files of one miner that are fetched at once.
    pub files_per_miner: usize,
    /// Longest time for one miner's manifest and dataset.
    pub submission_deadline: Duration,
    /// Longest time for one miner's clips and pictures.
    pub assets_deadline: Duration,
    /// Largest manifest, in bytes.
    pub manifest_bytes: u64,
    /// Largest dataset, in bytes.
    pub dataset_bytes: u64,
}

impl FetchLimits {
    /// The sizes that the core takes. They must be the core's: what is too large here is given to it as a file that
    /// is longer than that, which it then refuses by its own limit, in the miner's name.
    pub fn for_core(rows: &RowLimits) -> Self {
        Self {
            miners: 40,
            files_per_miner: 4,
            submission_deadline: Duration::from_secs(60),
            assets_deadline: Duration::from_secs(180),
            manifest_bytes: Manifest::MAX_BYTES,
            dataset_bytes: rows.max_file_bytes,
        }
    }
}

/// Fetches.
#[derive(Clone, Debug)]
pub struct Fetcher {
    cache: Cache,
    limits: FetchLimits,
    turns: Arc<Semaphore>,
}

impl Fetcher {
    /// A fetcher; one for a process, since the bounds hold for all that one fetches.
    pub fn new(cache: Cache, limits: FetchLimits) -> Self {
        let turns = Arc::new(Semaphore::new(limits.miners.clamp(1, Semaphore::MAX_PERMITS)));
        Self { cache, limits, turns }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Stage one: a miner's manifest and dataset. What could not be had is told by the source, file by file.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`] where there is no room for the files.
    pub async fn fetch_submission(
        &self,
        store: Arc<dyn ObjectStore>,
        interval: IntervalId,
    ) -> Result<Arc<StoreSource>> {
        let source = Arc::new(StoreSource::new(store, interval, self.cache.run_folder()?));
        let wanted = [
            WantedAsset { key: manifest_key(interval), max_bytes: self.limits.manifest_bytes },
            WantedAsset { key: dataset_key(interval), max_bytes: self.limits.dataset_bytes },
        ];
        self.fetch_all(&source, &wanted, self.limits.submission_deadline).await;
        Ok(source)
    }

    /// Stage two: the files of sampled rows, as [`Planned::assets`](nexis_core::verifier::Planned::assets) or
    /// [`wanted_assets`](nexis_core::check::assets::wanted_assets) lists them. What was fetched before is not
    /// fetched again. What could not be had is told by the source, file by file.
    pub async fn fetch_assets(&self, source: &StoreSource, wanted: &[WantedAsset]) {
        self.fetch_all(source, wanted, self.limits.assets_deadline).await;
    }

    async fn fetch_all(&self, source: &StoreSource, wanted: &[WantedAsset], deadline: Duration) {
        let wanted: Vec<_> = wanted.iter().filter(|wanted| !source.knows(&wanted.key)).collect();
        if wanted.is_empty() {
            return;
        }
        // The semaphore is never closed; were it, the bound alone would be lost.
        let _turn = self.turns.acquire().await;
        let until = Instant::now() + deadline;
        stream::iter(wanted)
            .for_each_concurrent(self.limits.files_per_miner.max(1), |wanted| async move {
                let started = Instant::now();
                let fetched = tokio::time::timeout_at(until.into(), self.fetch(source, wanted, until)).await;
                let answer = fetched.unwrap_or_else(|_| {
                    let what = format!("reading {:?}: the miner's {deadline:?} are over", wanted.key);
                    Answer::failure(StoreError::new(StoreErrorKind::TimedOut, source.store().name(), what))
                });
                let answer = Answer { elapsed: started.elapsed(), ..answer };
                tracing::debug!(key = wanted.key, outcome = ?answer.outcome, elapsed = ?answer.elapsed, "fetched");
                source.set(&wanted.key, answer);
            })
            .await;
    }

    async fn fetch(&self, source: &StoreSource, wanted: &WantedAsset, until: Instant) -> Answer {
        if let Some(answer) = self.cached(source, wanted).await {
            return answer;
        }
        let path = source.new_path();
        let left = until.saturating_duration_since(Instant::now());
        let limits = DownloadLimits::new(wanted.max_bytes, left);
        match download(source.store().as_ref(), &wanted.key, &path, &limits).await {
            Ok(Some(file)) => {
                self.keep(source, wanted, &file).await;
                Answer {
                    outcome: Outcome::Fetched { len: file.len, cached: false },
                    asset: Some(Asset { path, len: file.len }),
                    last_modified: file.last_modified,
                    elapsed: Duration::ZERO,
                }
            }
            Ok(None) => {
                Answer { outcome: Outcome::Absent, asset: None, last_modified: None, elapsed: Duration::ZERO }
            }
            Err(error) if error.kind == StoreErrorKind::TooLarge => {
                source.too_large(wanted.max_bytes, error.what)
            }
            Err(error) => Answer::failure(error),
        }
    }

    /// A file that this bucket was seen to have, where it says that it is still the same.
    async fn cached(&self, source: &StoreSource, wanted: &WantedAsset) -> Option<Answer> {
        let (cache, name, key) = (self.cache.clone(), source.store().name().to_owned(), wanted.key.clone());
        if !aside(move || cache.knows(&name, &key)).await? {
            return None;
        }
        // Whatever fails here is told better by fetching.
        let object = source.store().head(&wanted.key).await.ok()??;
        let (cache, name, path) = (self.cache.clone(), source.store().name().to_owned(), source.new_path());
        let (to, meta) = (path.clone(), object.clone());
        let len = aside(move || cache.give(&cache.digest_of(&name, &meta)?, &to).ok()?).await??;
        (len == object.len && len <= wanted.max_bytes).then_some(Answer {
            outcome: Outcome::Fetched { len, cached: true },
            asset: Some(Asset { path, len }),
            last_modified: object.last_modified,
            elapsed: Duration::ZERO,
        })
    }

    async fn keep(&self, source: &StoreSource, wanted: &WantedAsset, file: &Downloaded) {
        let (cache, name, key) = (self.cache.clone(), source.store().name().to_owned(), wanted.key.clone());
        let file = file.clone();
        let kept = aside(move || {
            cache.keep(&file.sha256, &file.path, file.len)?;
            match &file.etag {
                Some(etag) => cache.remember(&name, &key, etag, file.len, &file.sha256),
                None => Ok(()),
            }
        });
        if let Some(Err(error)) = kept.await {
            tracing::warn!(%error, "a file was fetched and cannot be kept for later");
        }
    }
}

/// Runs blocking work away from the async threads; `None` where it was cut off.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
