//! An interval package: manifest, rows, and where their assets are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::check::Violation;
use crate::error::Result;

mod cells;
pub mod directory;
pub mod discover;
mod guard;
mod lax;
pub mod layout;
pub mod manifest;
pub mod open;
pub mod rows;
pub(crate) mod table;
mod thrift;
pub mod timestamp;
pub mod write;

pub use directory::{DirectorySource, IntervalFolder};
pub use discover::{Found, discover};
pub use layout::{asset_key, dataset_key, manifest_key};
pub use manifest::{InvalidManifest, Manifest};
pub use open::{ExpectedIdentity, ExpectedMiner, Opened, Package, PackageRules};
pub use rows::{
    InvalidRow, RowLimits, RowRules, RowsFailure, clip_id, read_rows, rows_from_bytes, validate_row,
};
pub use timestamp::Timestamp;
pub use write::{rows_to_bytes, write_rows};

/// One row of `dataset.parquet` (protocol page, 2): 18 columns, already trimmed and validated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the protocol's columns
pub struct ClipRecord {
    pub clip_id: String,
    pub clip_uri: String,
    pub clip_sha256: String,
    pub first_frame_uri: String,
    pub first_frame_sha256: String,
    pub source_video_id: String,
    pub split_group_id: String,
    pub split: String,
    pub clip_start_sec: f64,
    pub duration_sec: f64,
    pub width: i64,
    pub height: i64,
    pub fps: f64,
    pub num_frames: i64,
    pub has_audio: bool,
    pub caption: String,
    pub source_video_url: String,
    pub source_proof: BTreeMap<String, serde_json::Value>,
}

/// A file of a package on this machine's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes. A source that fetches may give a larger file than is taken by its length alone, as
    /// the store announces it; then nothing is at the path, and nobody opens it.
    pub len: u64,
}

/// Gives the files of one miner's package by key (`{interval_id}/clips/{clip_id}.mp4`). Keys are
/// relative, made of plain parts, and have been checked by the `layout` module; an implementation still
/// never leaves its root and never follows a link.
pub trait AssetSource: Send + Sync {
    /// The file with this key, or `None` where there is none.
    ///
    /// # Errors
    /// Where the store could not be asked, which is ours.
    fn get(&self, key: &str) -> Result<Option<Asset>>;

    /// The store's last-modified time of a key, where it keeps one that means something.
    ///
    /// # Errors
    /// Where the store could not be asked, which is ours.
    fn last_modified(&self, key: &str) -> Result<Option<DateTime<Utc>>>;

    /// Why nothing can be read at all, where that is the miner's doing: no read credentials are committed, or they
    /// open nothing. A failure of ours is an error of [`get`](Self::get) instead.
    fn refused(&self) -> Option<Violation> {
        None
    }
}

/// A package that cannot be reached, by its miner's doing.
#[derive(Clone, Debug)]
pub struct RefusedSource(pub Violation);

impl AssetSource for RefusedSource {
    fn get(&self, _key: &str) -> Result<Option<Asset>> {
        Ok(None)
    }

    fn last_modified(&self, _key: &str) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }

    fn refused(&self) -> Option<Violation> {
        Some(self.0.clone())
    }
}
