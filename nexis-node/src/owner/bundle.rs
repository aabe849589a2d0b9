//! A bundle: an accepted submission with the rows that were left, its manifest written last.

use nexis_core::hash::Digest;
use nexis_core::package::{Manifest, rows_to_bytes};
use nexis_core::protocol::IntervalId;

use super::{Accepted, OwnerError};
use crate::observe::Metrics;
use crate::store::ObjectStore;

/// Publishes a bundle, unless it is there. Whether it was written.
pub(super) async fn publish(
    store: &dyn ObjectStore,
    interval: IntervalId,
    submission: &Accepted,
    metrics: &Metrics,
) -> Result<bool, OwnerError> {
    let prefix = format!("{interval}/{}", submission.manifest.miner_hotkey);
    let manifest_key = format!("{prefix}/manifest.json");
    if store.head(&manifest_key).await?.is_some() {
        return Ok(false);
    }
    let dataset = rows_to_bytes(&submission.rows)?;
    let manifest = Manifest {
        record_count: submission.rows.len() as u64,
        dataset_sha256: Digest::of(&dataset).to_string(),
        ..submission.manifest.clone()
    };
    let manifest = manifest.to_json();
    metrics.uploaded((dataset.len() + manifest.len()) as u64);
    store.put(&format!("{prefix}/dataset.parquet"), dataset.into(), "application/vnd.apache.parquet").await?;
    store.put(&manifest_key, manifest.into(), "application/json").await?;
    Ok(true)
}
