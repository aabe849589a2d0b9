//! A bucket in a folder whose every write goes by a test first, and rows of packages whose clips nobody decodes.

#![allow(dead_code)]

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use nexis_core::hash::Digest;
use nexis_core::package::{ClipRecord, Manifest, Timestamp, clip_id};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_node::store::local::LocalStore;
use nexis_node::store::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreError, StoreErrorKind};

pub(crate) const INTERVAL: IntervalId = IntervalId::new(7_756_900);

/// A store that asks before it writes: `before` is given the key (`delete KEY` where one is removed), and its failure is
/// the store's.
pub(crate) struct Watched<F> {
    pub(crate) inner: LocalStore,
    pub(crate) before: F,
}

impl<F: Fn(&str) -> Result<()> + Send + Sync> Watched<F> {
    pub(crate) fn new(root: &Path, before: F) -> Self {
        std::fs::create_dir_all(root).unwrap();
        Self { inner: LocalStore::new(root), before }
    }
}

#[async_trait::async_trait]
impl<F: Fn(&str) -> Result<()> + Send + Sync> ObjectStore for Watched<F> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<ObjectBody>> {
        self.inner.get(key, range).await
    }

    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<()> {
        (self.before)(key)?;
        self.inner.put(key, bytes, content_type).await
    }

    async fn put_file(&self, key: &str, path: &Path, content_type: &str) -> Result<()> {
        (self.before)(key)?;
        self.inner.put_file(key, path, content_type).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        (self.before)(&format!("delete {key}"))?;
        self.inner.delete(key).await
    }
}

/// One write less is left, or none is and the store cannot be reached. `None` is no limit.
pub(crate) fn spend(left: &mut Option<usize>) -> Result<()> {
    match left {
        Some(0) => {
            let kind = StoreErrorKind::Unreachable;
            Err(StoreError { kind, store: "test".into(), what: "no route".into() })
        }
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

/// A row of this source, whose clip and first frame are the texts `clip` and `frame` with its id behind them.
pub(crate) fn record(source: &str, start: f64) -> ClipRecord {
    let id = clip_id(source, start, 5.0);
    ClipRecord {
        clip_uri: format!("clips/{id}.mp4"),
        first_frame_uri: format!("frames/{id}.jpg"),
        clip_sha256: Digest::of(format!("clip {id}")).to_string(),
        first_frame_sha256: Digest::of(format!("frame {id}")).to_string(),
        clip_id: id,
        source_video_url: format!("https://youtu.be/{source}"),
        split_group_id: source.into(),
        source_video_id: source.into(),
        split: "train".into(),
        clip_start_sec: start,
        duration_sec: 5.0,
        width: 1280,
        height: 720,
        fps: 30.0,
        num_frames: 150,
        has_audio: false,
        caption: "A long caption about a quiet lake".into(),
        source_proof: [("extractor".to_owned(), "test".into())].into(),
    }
}

/// The files of such a row: its URIs and what they hold.
pub(crate) fn files(row: &ClipRecord) -> [(&str, String); 2] {
    let id = clip_id(&row.source_video_id, row.clip_start_sec, row.duration_sec);
    [(&row.clip_uri, format!("clip {id}")), (&row.first_frame_uri, format!("frame {id}"))]
}

/// The manifest of a miner's dataset.
pub(crate) fn manifest(hotkey: &Hotkey, record_count: u64, dataset: Digest) -> Manifest {
    Manifest {
        protocol_version: "1.0.0".into(),
        schema_version: "1.0.0".into(),
        spec_id: "video_v1".into(),
        category: Some("nature_landscape_scenery".into()),
        netuid: 70,
        miner_hotkey: hotkey.clone(),
        interval_id: INTERVAL,
        created_at: Timestamp::from_utc("2026-04-10T12:00:00Z".parse().unwrap()),
        record_count,
        dataset_sha256: dataset.to_string(),
    }
}
