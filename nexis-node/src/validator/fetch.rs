//! From a miner's bucket to files on disk, within a deadline of the miner's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use nexis_core::check::assets::WantedAsset;
use nexis_core::check::{Violation, ViolationKind};
use nexis_core::package::{Asset, AssetSource};
use nexis_core::{Error, Result};
use tokio::io::AsyncWriteExt;

use crate::observe::Metrics;
use crate::store::{ObjectStore, StoreError, StoreErrorKind};

/// Tries of one download where the store is at fault.
const TRIES: u32 = 3;
/// Pause before the second try; the third waits twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// One miner's bucket and what has been fetched from it.
pub(super) struct Fetched {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    files: Mutex<BTreeMap<String, File>>,
    refused: Mutex<Option<Violation>>,
}

/// What is known of a key.
#[derive(Clone, Debug)]
enum File {
    Absent,
    /// On disk, or nothing but its length where it is larger than is taken.
    There(Asset, Option<DateTime<Utc>>),
    /// Ours, or the store's.
    Failed(String),
}

impl Fetched {
    /// Nothing fetched yet. Files go into `folder`, which is made.
    pub(super) fn new(store: Arc<dyn ObjectStore>, folder: PathBuf) -> Self {
        Self { store, folder, files: Mutex::default(), refused: Mutex::default() }
    }

    /// Fetches these files, `at_once` at a time. Whatever has not come by the deadline has failed by it.
    pub(super) async fn fetch(
        &self,
        wanted: Vec<WantedAsset>,
        at_once: usize,
        deadline: Duration,
        metrics: &Metrics,
    ) {
        let keys: Vec<String> = wanted.iter().map(|asset| asset.key.clone()).collect();
        let first = self.lock().len();
        let all = stream::iter(wanted.into_iter().enumerate())
            .map(|(i, asset)| async move {
                let path = self.folder.join((first + i).to_string());
                let file = self.one(&asset, &path, metrics).await;
                self.lock().insert(asset.key, file);
            })
            .buffer_unordered(at_once.max(1))
            .collect::<()>();
        if tokio::time::timeout(deadline, all).await.is_err() {
            let mut files = self.lock();
            for key in keys {
                files.entry(key).or_insert_with(|| {
                    File::Failed(format!("not fetched within {} s", deadline.as_secs_f64()))
                });
            }
        }
    }

    /// One file. A refusal by the store is the miner's: the credentials that it committed do not open its bucket.
    async fn one(&self, asset: &WantedAsset, path: &Path, metrics: &Metrics) -> File {
        let mut tried = 1;
        loop {
            match self.download(asset, path, metrics).await {
                Ok(file) => return file,
                Err(e) if matches!(e.kind, StoreErrorKind::Denied | StoreErrorKind::NoBucket) => {
                    let why = match e.kind {
                        StoreErrorKind::Denied => "the committed credentials do not open the bucket",
                        _ => "there is no such bucket",
                    };
                    let violation = Violation::explained(ViolationKind::MissingSubmissionFiles, why);
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(violation);
                    return File::Absent;
                }
                Err(e) if tried < TRIES && worth_retrying(e.kind) => {
                    tracing::debug!(key = %asset.key, error = %e, "download failed, trying again");
                    tokio::time::sleep(PAUSE * tried).await;
                    tried += 1;
                }
                Err(e) => return File::Failed(e.to_string()),
            }
        }
    }

    async fn download(
        &self,
        asset: &WantedAsset,
        path: &Path,
        metrics: &Metrics,
    ) -> Result<File, StoreError> {
        let Some(mut body) = self.store.get(&asset.key, None).await? else { return Ok(File::Absent) };
        let there = |len| File::There(Asset { path: path.to_path_buf(), len }, body.meta.last_modified);
        if body.meta.len > asset.max_bytes {
            return Ok(there(body.meta.len));
        }
        let local = |e: std::io::Error| self.error(StoreErrorKind::Local, format!("{}: {e}", path.display()));
        let mut file = tokio::fs::File::create(path).await.map_err(local)?;
        let mut len = 0_u64;
        while let Some(chunk) = body.bytes.next().await {
            let chunk = chunk?;
            len = len.saturating_add(chunk.len() as u64);
            metrics.downloaded(chunk.len() as u64);
            if len > body.meta.len {
                let what = format!("{}: more than the {} bytes announced", asset.key, body.meta.len);
                return Err(self.error(StoreErrorKind::Misbehaved, what));
            }
            file.write_all(&chunk).await.map_err(local)?;
        }
        if len != body.meta.len {
            let what = format!("{}: {len} bytes of the {} announced", asset.key, body.meta.len);
            return Err(self.error(StoreErrorKind::Misbehaved, what));
        }
        file.flush().await.map_err(local)?;
        Ok(there(len))
    }

    fn error(&self, kind: StoreErrorKind, what: String) -> StoreError {
        StoreError { kind, store: self.store.name().to_owned(), what }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, key: &str) -> Result<Option<(Asset, Option<DateTime<Utc>>)>> {
        match self.lock().get(key) {
            Some(File::There(asset, modified)) => Ok(Some((asset.clone(), *modified))),
            Some(File::Absent) => Ok(None),
            Some(File::Failed(why)) => {
                Err(Error::Unavailable { what: format!("{key} of {}", self.store.name()), why: why.clone() })
            }
            None => Err(Error::Internal(format!("{key} was not fetched"))),
        }
    }
}

impl AssetSource for Fetched {
    fn get(&self, key: &str) -> Result<Option<Asset>> {
        Ok(self.file(key)?.map(|(asset, _)| asset))
    }

    fn last_modified(&self, key: &str) -> Result<Option<DateTime<Utc>>> {
        Ok(self.file(key)?.and_then(|(_, modified)| modified))
    }

    fn refused(&self) -> Option<Violation> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

const fn worth_retrying(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unreachable | StoreErrorKind::TimedOut | StoreErrorKind::Misbehaved)
}
