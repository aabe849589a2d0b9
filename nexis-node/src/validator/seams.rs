//! What a validator is given from outside: buckets, the global index, the time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nexis_core::commitment::Credentials;
use nexis_core::overlap::OverlapIndex;
use nexis_core::protocol::Hotkey;

use crate::store::download::{self, DownloadLimits};
use crate::store::{ObjectStore, Result as StoreResult, StoreError, StoreErrorKind};

/// Opens miners' buckets.
pub trait MinerBuckets: Send + Sync {
    /// The bucket of a miner, with the read credentials that it committed. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// Where no client can be made of it.
    fn open(&self, miner: &Hotkey, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>>;
}

/// The global index's file, `record_info.json`.
#[async_trait]
pub trait IndexSource: Send + Sync {
    /// Its bytes, at most [`OverlapIndex::MAX_BYTES`]; `None` where there is none yet.
    ///
    /// # Errors
    /// Where it could not be read. An interval waits for that: without the index, rows would be paid twice.
    async fn read(&self) -> StoreResult<Option<Vec<u8>>>;
}

/// No index at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIndex;

#[async_trait]
impl IndexSource for NoIndex {
    async fn read(&self) -> StoreResult<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// An index on this machine's disk.
#[derive(Clone, Debug)]
pub struct IndexFile(pub PathBuf);

#[async_trait]
impl IndexSource for IndexFile {
    async fn read(&self) -> StoreResult<Option<Vec<u8>>> {
        let failed = |what: String| StoreError {
            kind: StoreErrorKind::Local,
            store: self.0.display().to_string(),
            what,
        };
        let file = match tokio::fs::File::open(&self.0).await {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut bytes = Vec::new();
        let most = OverlapIndex::MAX_BYTES as u64;
        let mut bounded = tokio::io::AsyncReadExt::take(file, most + 1);
        tokio::io::AsyncReadExt::read_to_end(&mut bounded, &mut bytes)
            .await
            .map_err(|e| failed(e.to_string()))?;
        if bytes.len() as u64 > most {
            return Err(failed(format!("larger than {most} bytes")));
        }
        Ok(Some(bytes))
    }
}

/// Longest time to read the index from a bucket.
const INDEX_DEADLINE: Duration = Duration::from_secs(120);

/// An index in a bucket.
pub struct IndexObject {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The index's key.
    pub key: String,
}

#[async_trait]
impl IndexSource for IndexObject {
    async fn read(&self) -> StoreResult<Option<Vec<u8>>> {
        let limits = DownloadLimits::new(OverlapIndex::MAX_BYTES as u64, INDEX_DEADLINE);
        Ok(download::read(self.store.as_ref(), &self.key, &limits).await?.map(|(bytes, _)| bytes.to_vec()))
    }
}

/// The time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
