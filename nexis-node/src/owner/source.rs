//! What a validator on this machine accepted, as its data folder has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use nexis_core::Error;
use nexis_core::commitment::Credentials;
use nexis_core::package::{ClipRecord, Manifest, RowLimits, rows_from_bytes};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use serde_json::Value;

use super::{Accepted, OwnerError};
use crate::chain::{BlockRef, Chain, ChainError};
use crate::state::{IntervalStatus, State, StateError};
use crate::store::{ObjectStore, StoreError, StoreErrorKind};
use crate::validator::{MinerBuckets, bundle_folder};

/// Why it cannot be said what a validator accepted.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The chain, which knows where the miners' buckets are.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A bundle.
    #[error("{0}")]
    Ours(#[from] Error),
    /// Publishing.
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

/// The intervals that a validator has decided, ascending.
///
/// # Errors
/// The state's.
pub fn decided(state: &State) -> Result<Vec<IntervalId>, StateError> {
    let intervals = state.intervals()?;
    let mut done: Vec<_> =
        intervals.into_iter().filter(|(_, r)| r.status == IntervalStatus::Done).map(|(id, _)| id).collect();
    done.sort();
    Ok(done)
}

/// The credentials that all miners have committed, as of a block.
///
/// # Errors
/// The chain's.
pub async fn committed(
    chain: &dyn Chain,
    netuid: u16,
    at: &BlockRef,
) -> Result<BTreeMap<Hotkey, Credentials>, ChainError> {
    let commitments = chain.commitments(netuid, at).await?;
    Ok(commitments.into_iter().filter_map(|(hotkey, c)| Some((hotkey, c.credentials()?))).collect())
}

/// What was accepted in an interval that is decided: its bundles, and which of their rows were judged. A miner who has
/// withdrawn its commitment meanwhile has no bucket any more, so that its clips count as lost.
///
/// # Errors
/// [`Error::Missing`] where the validator kept no bundles; [`Error::Corrupt`] where one does not hold; the state's.
pub fn accepted(
    data_dir: &Path,
    state: &State,
    interval: IntervalId,
    committed: &BTreeMap<Hotkey, Credentials>,
    buckets: &dyn MinerBuckets,
) -> Result<Vec<Accepted>, SourceError> {
    let folder = bundle_folder(data_dir, interval);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let remedy =
                "set validator.bundles = true; intervals that were decided without it stay unpublished";
            let what = format!("the folder of bundles {}", folder.display());
            return Err(Error::Missing { what, remedy: remedy.into() }.into());
        }
        Err(e) => return Err(Error::io(&folder, e).into()),
    };
    let judged = judged_clips(&state.reports(interval)?);
    let mut accepted = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(&folder, e))?.path();
        let (manifest, rows) = read_bundle(&path)?;
        let clips = judged.get(&manifest.miner_hotkey);
        let verified = |row: &ClipRecord| clips.is_some_and(|clips| clips.contains(&row.clip_id));
        let verified = rows.iter().enumerate().filter(|(_, row)| verified(row)).map(|(i, _)| i).collect();
        let source = match committed.get(&manifest.miner_hotkey) {
            Some(credentials) => {
                buckets.open(&manifest.miner_hotkey, credentials).map_err(OwnerError::from)?
            }
            None => Arc::new(Withdrawn(manifest.miner_hotkey.to_string())),
        };
        accepted.push(Accepted { manifest, rows, verified, source });
    }
    accepted.sort_by(|a, b| a.manifest.miner_hotkey.cmp(&b.manifest.miner_hotkey));
    Ok(accepted)
}

fn read_bundle(folder: &Path) -> Result<(Manifest, Vec<ClipRecord>), Error> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|e| Error::io(&path, e))
    };
    let corrupt = |why: String| Error::Corrupt { what: format!("bundle {}", folder.display()), why };
    let manifest =
        Manifest::parse(&read("manifest.json")?, Utc::now()).map_err(|e| corrupt(e.to_string()))?;
    let dataset = Bytes::from(read("dataset.parquet")?);
    let rows = rows_from_bytes(dataset, &VideoSpec::default().row_rules(), &RowLimits::default());
    Ok((manifest, rows.map_err(corrupt)?))
}

/// The clips that were judged, by miner.
fn judged_clips(reports: &[Value]) -> BTreeMap<Hotkey, BTreeSet<String>> {
    let of = |report: &Value| {
        let hotkey = Hotkey::new(report.get("miner_hotkey")?.as_str()?);
        let clips = report.get("sampled_clip_ids")?.as_array()?;
        Some((hotkey, clips.iter().filter_map(|clip| Some(clip.as_str()?.to_owned())).collect()))
    };
    reports.iter().filter_map(of).collect()
}

/// The bucket of a miner who has no commitment any more.
struct Withdrawn(String);

impl Withdrawn {
    fn error<T>(&self) -> Result<T, StoreError> {
        let what = "the miner's commitment is no longer on the chain".to_owned();
        Err(StoreError { kind: StoreErrorKind::Denied, store: self.0.clone(), what })
    }
}

#[async_trait::async_trait]
impl ObjectStore for Withdrawn {
    fn name(&self) -> &str {
        &self.0
    }

    async fn head(&self, _: &str) -> Result<Option<crate::store::ObjectMeta>, StoreError> {
        self.error()
    }

    async fn get(
        &self,
        _: &str,
        _: Option<std::ops::Range<u64>>,
    ) -> Result<Option<crate::store::ObjectBody>, StoreError> {
        self.error()
    }

    async fn put(&self, _: &str, _: Bytes, _: &str) -> Result<(), StoreError> {
        self.error()
    }

    async fn put_file(&self, _: &str, _: &Path, _: &str) -> Result<(), StoreError> {
        self.error()
    }

    fn list(
        &self,
        _: &str,
    ) -> futures_util::stream::BoxStream<'_, Result<crate::store::ObjectMeta, StoreError>> {
        Box::pin(futures_util::stream::iter([self.error()]))
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        self.error()
    }
}
