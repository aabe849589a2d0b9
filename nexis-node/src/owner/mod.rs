//! What the subnet's owner publishes after each interval: the accepted bundles, the global index, and the clips that
//! were verified.
//!
//! Three kinds of object, in two buckets:
//!
//! ```text
//! record-info   record_info.json                                  the global index
//!               {interval}/{hotkey}/dataset.parquet, manifest.json   what is left of an accepted submission
//!               synced/{interval}.json                            all of the interval is published
//! dataset       nature/{id}/clip.mp4, first_image.jpg, metadata.json
//! ```
//!
//! It can stop anywhere and go on: within each group the last object is the mark that the group is whole, whatever has
//! no mark is done again, and doing something twice changes nothing. The index goes first, since the validators' next
//! decisions follow from it.

mod assets;
mod bundle;
mod index;
pub mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nexis_core::package::{ClipRecord, Manifest};
use nexis_core::protocol::IntervalId;
use serde::{Deserialize, Serialize};

pub use index::{IndexChange, merge as merge_index};

use crate::observe::Metrics;
use crate::store::{ObjectStore, StoreError};

/// Where marks of whole intervals are in the record-info bucket.
const MARKS: &str = "synced/";

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of ours, or a defect.
    #[error("{0}")]
    Ours(#[from] nexis_core::Error),
    /// The published index cannot be read, so that nothing can be added to it. It is left as it is.
    #[error("{key} in {store}: {why}; it is left as it is: restore it, or move it away to begin anew")]
    Index {
        /// The bucket.
        store: String,
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else wrote the index at the same time, again and again.
    #[error("{key} in {store} does not keep what is written to it; is another owner's node running?")]
    Contended {
        /// The bucket.
        store: String,
        /// Its key.
        key: String,
    },
}

/// An accepted submission, as it was judged.
#[derive(Clone)]
pub struct Accepted {
    /// The miner's manifest.
    pub manifest: Manifest,
    /// The rows that were left after pruning.
    pub rows: Vec<ClipRecord>,
    /// Positions among `rows` of those that were judged. Only their clips are copied.
    pub verified: Vec<usize>,
    /// The miner's bucket.
    pub source: Arc<dyn ObjectStore>,
}

/// How the owner publishes.
#[derive(Clone, Debug)]
pub struct OwnerOptions {
    /// Key of the global index.
    pub index_key: String,
    /// Folder in the dataset bucket.
    pub folder: String,
    /// Largest clip that is copied, in bytes.
    pub max_clip_bytes: u64,
    /// Largest picture that is copied, in bytes.
    pub max_picture_bytes: u64,
    /// Longest time for one object.
    pub deadline: Duration,
    /// Clips on their way at once.
    pub concurrency: usize,
    /// Folder for clips on their way.
    pub work: PathBuf,
}

impl OwnerOptions {
    /// The network's names, clips of up to 64 MiB, four at once.
    pub fn new(work: impl Into<PathBuf>) -> Self {
        Self {
            index_key: "record_info.json".into(),
            folder: "nature".into(),
            max_clip_bytes: 64 << 20,
            max_picture_bytes: 16 << 20,
            deadline: Duration::from_secs(300),
            concurrency: 4,
            work: work.into(),
        }
    }
}

/// What was published of an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Bundles that were written now; others were there.
    pub bundles: usize,
    /// Starts that the index got now.
    pub index_starts: usize,
    /// Clips that were copied now; others were there.
    pub clips: usize,
    /// Clips that their miners no longer have as they were judged, by id, with the reason.
    #[serde(default)]
    pub lost: Vec<(String, String)>,
}

/// Publishes.
pub struct Owner {
    record_info: Arc<dyn ObjectStore>,
    dataset: Option<Arc<dyn ObjectStore>>,
    options: OwnerOptions,
    metrics: Metrics,
}

impl Owner {
    /// An owner over its buckets. Without a dataset bucket no clips are copied.
    pub fn new(
        record_info: Arc<dyn ObjectStore>,
        dataset: Option<Arc<dyn ObjectStore>>,
        options: OwnerOptions,
        metrics: Metrics,
    ) -> Self {
        Self { record_info, dataset, options, metrics }
    }

    /// The intervals that are published, ascending.
    ///
    /// # Errors
    /// The bucket's.
    pub async fn published(&self) -> Result<Vec<IntervalId>, OwnerError> {
        let mut published = Vec::new();
        let mut marks = self.record_info.list(MARKS);
        while let Some(mark) = marks.next().await {
            let key = mark?.key;
            let id = key.strip_prefix(MARKS).and_then(|name| name.strip_suffix(".json"));
            published.extend(id.and_then(|id| id.parse().ok()).map(IntervalId::new));
        }
        published.sort();
        Ok(published)
    }

    /// Publishes an interval, or what is missing of it. `None` where it is published already.
    ///
    /// # Errors
    /// [`OwnerError`]; the same call goes on where this one stopped.
    pub async fn sync(
        &self,
        interval: IntervalId,
        accepted: &[Accepted],
    ) -> Result<Option<Synced>, OwnerError> {
        let mark = format!("{MARKS}{interval}.json");
        if self.record_info.head(&mark).await?.is_some() {
            return Ok(None);
        }
        let mut synced = Synced::default();
        let rows = || accepted.iter().flat_map(|submission| &submission.rows);
        let change = merge_index(self.record_info.as_ref(), &self.options.index_key, rows()).await?;
        synced.index_starts = change.added;
        for submission in accepted.iter().filter(|submission| !submission.rows.is_empty()) {
            if bundle::publish(self.record_info.as_ref(), interval, submission, &self.metrics).await? {
                synced.bundles += 1;
            }
        }
        if let Some(dataset) = &self.dataset {
            assets::copy(dataset.as_ref(), interval, accepted, &self.options, &self.metrics, &mut synced)
                .await?;
        }
        let text = serde_json::to_vec_pretty(&synced)
            .map_err(|e| nexis_core::Error::Internal(format!("mark of an interval: {e}")))?;
        self.record_info.put(&mark, text.into(), "application/json").await?;
        tracing::info!(
            interval = interval.get(),
            bundles = synced.bundles,
            starts = synced.index_starts,
            clips = synced.clips,
            lost = synced.lost.len(),
            "published"
        );
        Ok(Some(synced))
    }
}
