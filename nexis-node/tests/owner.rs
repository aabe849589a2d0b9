//! What the owner publishes, and that it can stop anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bucket;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bucket::{INTERVAL, Watched, files, manifest, spend};
use bytes::Bytes;
use futures_util::TryStreamExt;
use nexis_core::hash::Digest;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::{ClipRecord, RowLimits, clip_id, rows_from_bytes, rows_to_bytes};
use nexis_core::protocol::Hotkey;
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_node::observe::Metrics;
use nexis_node::owner::{Accepted, Owner, OwnerError, OwnerOptions, merge_index};
use nexis_node::store::local::LocalStore;
use nexis_node::store::{ObjectMeta, ObjectStore};

/// A row whose id no path may be made of.
fn record(source: &str, start: f64) -> ClipRecord {
    // The miner's word.
    ClipRecord { clip_id: "../../elsewhere".into(), ..bucket::record(source, start) }
}

async fn submission(folder: &Path, hotkey: &str, rows: Vec<ClipRecord>) -> Accepted {
    let bucket = folder.join(hotkey);
    std::fs::create_dir_all(&bucket).unwrap();
    let store = LocalStore::new(&bucket);
    for (uri, content) in rows.iter().flat_map(files) {
        store.put(&format!("{INTERVAL}/{uri}"), content.into(), "").await.unwrap();
    }
    let manifest = manifest(&Hotkey::new(hotkey), 99, Digest::of("of other rows"));
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
        let left = Arc::clone(&left);
        Arc::new(Watched::new(path, move |_: &str| spend(&mut left.lock().unwrap())))
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
