//! What the owner publishes, and that it can stop anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use nexis_core::hash::Digest;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::{
    ClipRecord, Manifest, RowLimits, Timestamp, clip_id, rows_from_bytes, rows_to_bytes,
};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_node::observe::Metrics;
use nexis_node::owner::{Accepted, Owner, OwnerError, OwnerOptions, merge_index};
use nexis_node::store::local::LocalStore;
use nexis_node::store::{
    ObjectBody, ObjectMeta, ObjectStore, Result as StoreResult, StoreError, StoreErrorKind,
};

const INTERVAL: IntervalId = IntervalId::new(7_756_900);

/// A store whose writes fail after so many.
struct Failing {
    inner: LocalStore,
    left: Arc<Mutex<Option<usize>>>,
}

impl Failing {
    fn spend(&self) -> StoreResult<()> {
        match self.left.lock().unwrap().as_mut() {
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
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn head(&self, key: &str) -> StoreResult<Option<ObjectMeta>> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Option<ObjectBody>> {
        self.inner.get(key, range).await
    }

    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> StoreResult<()> {
        self.spend()?;
        self.inner.put(key, bytes, content_type).await
    }

    async fn put_file(&self, key: &str, path: &Path, content_type: &str) -> StoreResult<()> {
        self.spend()?;
        self.inner.put_file(key, path, content_type).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        self.spend()?;
        self.inner.delete(key).await
    }
}

fn record(source: &str, start: f64) -> ClipRecord {
    let id = clip_id(source, start, 5.0);
    ClipRecord {
        clip_uri: format!("clips/{id}.mp4"),
        first_frame_uri: format!("frames/{id}.jpg"),
        clip_sha256: Digest::of(format!("clip {id}")).to_string(),
        first_frame_sha256: Digest::of(format!("frame {id}")).to_string(),
        // The miner's word, which no path is made of.
        clip_id: "../../elsewhere".into(),
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
        source_proof: BTreeMap::from([("extractor".into(), "test".into())]),
    }
}

async fn submission(folder: &Path, hotkey: &str, rows: Vec<ClipRecord>) -> Accepted {
    let bucket = folder.join(hotkey);
    std::fs::create_dir_all(&bucket).unwrap();
    let store = LocalStore::new(&bucket);
    for row in &rows {
        let id = clip_id(&row.source_video_id, row.clip_start_sec, 5.0);
        for (uri, text) in
            [(&row.clip_uri, format!("clip {id}")), (&row.first_frame_uri, format!("frame {id}"))]
        {
            store.put(&format!("{INTERVAL}/{uri}"), text.into(), "").await.unwrap();
        }
    }
    let manifest = Manifest {
        protocol_version: "1.0.0".into(),
        schema_version: "1.0.0".into(),
        spec_id: "video_v1".into(),
        category: Some("nature_landscape_scenery".into()),
        netuid: 70,
        miner_hotkey: Hotkey::new(hotkey),
        interval_id: INTERVAL,
        created_at: Timestamp::from_utc("2026-04-10T12:00:00Z".parse().unwrap()),
        record_count: 99,
        dataset_sha256: "0".repeat(64),
    };
    let verified = (0..rows.len().min(2)).collect();
    Accepted { manifest, rows, verified, source: Arc::new(store) }
}

async fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = LocalStore::new(root);
    let objects: Vec<ObjectMeta> = store.list("").try_collect().await.unwrap();
    objects.into_iter().map(|o| (o.key.clone(), std::fs::read(root.join(o.key)).unwrap())).collect()
}

struct Buckets {
    record_info: std::path::PathBuf,
    dataset: std::path::PathBuf,
    left: Arc<Mutex<Option<usize>>>,
    owner: Owner,
}

fn buckets(root: &Path) -> Buckets {
    let (record_info, dataset) = (root.join("record-info"), root.join("dataset"));
    let left = Arc::new(Mutex::new(None));
    let open = |path: &Path| -> Arc<dyn ObjectStore> {
        std::fs::create_dir_all(path).unwrap();
        Arc::new(Failing { inner: LocalStore::new(path), left: Arc::clone(&left) })
    };
    let options = OwnerOptions { concurrency: 1, ..OwnerOptions::new(root.join("work")) };
    let owner = Owner::new(open(&record_info), Some(open(&dataset)), options, Metrics::new());
    Buckets { record_info, dataset, left, owner }
}

async fn two_submissions(folder: &Path) -> Vec<Accepted> {
    vec![
        submission(folder, "5Aaa", vec![record("AAAAAAAAAAA", 3.0), record("AAAAAAAAAAA", 90.25)]).await,
        submission(folder, "5Bbb", vec![record("BBBBBBBBBBB", 7.0)]).await,
        submission(folder, "5Ccc", vec![]).await,
    ]
}

#[tokio::test]
async fn everything_is_published_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = two_submissions(&dir.path().join("miners")).await;
    let b = buckets(dir.path());
    let synced = b.owner.sync(INTERVAL, &accepted).await.unwrap().unwrap();
    assert_eq!((synced.bundles, synced.index_starts, synced.clips), (2, 3, 3));
    assert!(synced.lost.is_empty());
    assert_eq!(b.owner.published().await.unwrap(), vec![INTERVAL]);

    let record_info = contents(&b.record_info).await;
    let index = std::str::from_utf8(&record_info["record_info.json"]).unwrap();
    // The network's shape, by hand.
    let expected = r#"{
  "video_v1": {
    "https://www.youtube.com/watch?v=AAAAAAAAAAA": [
      "3.000",
      "90.250"
    ],
    "https://www.youtube.com/watch?v=BBBBBBBBBBB": [
      "7.000"
    ]
  }
}"#;
    assert_eq!(index, expected);
    let dataset = &record_info["7756900/5Aaa/dataset.parquet"];
    let rows =
        rows_from_bytes(dataset.clone().into(), &VideoSpec::default().row_rules(), &RowLimits::default());
    assert_eq!(rows.unwrap(), accepted[0].rows);
    assert_eq!(*dataset, rows_to_bytes(&accepted[0].rows).unwrap());
    let manifest: serde_json::Value =
        serde_json::from_slice(&record_info["7756900/5Aaa/manifest.json"]).unwrap();
    assert_eq!(manifest["record_count"], 2);
    assert_eq!(manifest["dataset_sha256"], Digest::of(dataset).to_string());
    assert!(!record_info.keys().any(|key| key.contains("5Ccc")), "nothing is left of it to publish");

    let clips = contents(&b.dataset).await;
    let id = clip_id("AAAAAAAAAAA", 3.0, 5.0);
    assert_eq!(clips[&format!("nature/{id}/clip.mp4")], format!("clip {id}").into_bytes());
    assert_eq!(clips[&format!("nature/{id}/first_image.jpg")], format!("frame {id}").into_bytes());
    let metadata: serde_json::Value =
        serde_json::from_slice(&clips[&format!("nature/{id}/metadata.json")]).unwrap();
    assert_eq!(metadata["miner_hotkey"], "5Aaa");
    assert_eq!(metadata["row"]["source_video_id"], "AAAAAAAAAAA");
    assert_eq!(clips.len(), 9);

    assert_eq!(b.owner.sync(INTERVAL, &accepted).await.unwrap(), None);
}

/// Ends after every number of writes, goes on, and comes to the same.
#[tokio::test]
async fn it_can_stop_after_any_write() {
    let whole = tempfile::tempdir().unwrap();
    let accepted = two_submissions(&whole.path().join("miners")).await;
    let b = buckets(whole.path());
    b.owner.sync(INTERVAL, &accepted).await.unwrap().unwrap();
    let (record_info, dataset) = (contents(&b.record_info).await, contents(&b.dataset).await);
    // The marks differ in what was left to do.
    let without_mark = |mut objects: BTreeMap<String, Vec<u8>>| {
        assert!(objects.remove("synced/7756900.json").is_some());
        objects
    };
    let mut stops = 0;
    for writes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let accepted = two_submissions(&dir.path().join("miners")).await;
        let b = buckets(dir.path());
        *b.left.lock().unwrap() = Some(writes);
        let first = b.owner.sync(INTERVAL, &accepted).await;
        *b.left.lock().unwrap() = None;
        let ended = first.is_ok();
        if !ended {
            stops += 1;
            assert!(b.owner.published().await.unwrap().is_empty());
            b.owner.sync(INTERVAL, &accepted).await.unwrap().unwrap();
        }
        assert_eq!(
            without_mark(contents(&b.record_info).await),
            without_mark(record_info.clone()),
            "{writes}"
        );
        assert_eq!(contents(&b.dataset).await, dataset, "{writes}");
        if ended {
            break;
        }
    }
    // The index, two bundles of two, three clips of three, the mark.
    assert_eq!(stops, 1 + 4 + 9 + 1);
}

#[tokio::test]
async fn a_clip_that_is_no_longer_what_was_judged_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = two_submissions(&dir.path().join("miners")).await;
    let row = &accepted[0].rows[0];
    let key = format!("{INTERVAL}/{}", row.clip_uri);
    accepted[0].source.put(&key, Bytes::from_static(b"another"), "").await.unwrap();
    let other = &accepted[1].rows[0];
    accepted[1].source.delete(&format!("{INTERVAL}/{}", other.first_frame_uri)).await.unwrap();
    let b = buckets(dir.path());
    let synced = b.owner.sync(INTERVAL, &accepted).await.unwrap().unwrap();
    assert_eq!((synced.bundles, synced.clips, synced.lost.len()), (2, 1, 2));
    assert!(synced.lost[0].1.contains("not the file that was judged"), "{:?}", synced.lost);
    assert!(synced.lost[1].1.contains("not there any more"), "{:?}", synced.lost);
    assert_eq!(contents(&b.dataset).await.len(), 3, "nothing half");
}

#[tokio::test]
async fn the_index_is_merged_and_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::new(dir.path());
    let key = "record_info.json";
    // An older shape, with one entry that means nothing.
    let old = r#"{"entries": {"video_v1:ZZZZZZZZZZZ": ["1.0", 2.5], "YYYYYYYYYYY": "soon"}}"#;
    store.put(key, Bytes::from_static(old.as_bytes()), "").await.unwrap();
    let rows = [record("AAAAAAAAAAA", 3.000_4), record("AAAAAAAAAAA", 3.0)];
    assert_eq!(merge_index(&store, key, &rows).await.unwrap().added, 1);
    let index = OverlapIndex::parse(&std::fs::read(dir.path().join(key)).unwrap()).index;
    assert_eq!(index.get("https://www.youtube.com/watch?v=ZZZZZZZZZZZ"), [1.0, 2.5]);
    assert_eq!(index.get("https://www.youtube.com/watch?v=AAAAAAAAAAA"), [3.0]);
    let kept: Vec<String> = contents(dir.path()).await.into_keys().collect();
    assert!(kept.iter().any(|key| key.starts_with("record_info.json.before-")), "{kept:?}");
    assert_eq!(merge_index(&store, key, &rows).await.unwrap().added, 0, "the same again adds nothing");

    store.put(key, Bytes::from_static(b"{\"video_v1\": {"), "").await.unwrap();
    let error = merge_index(&store, key, &rows).await.unwrap_err();
    assert!(matches!(error, OwnerError::Index { .. }), "{error}");
    assert_eq!(std::fs::read(dir.path().join(key)).unwrap(), b"{\"video_v1\": {", "it is left as it is");
}
