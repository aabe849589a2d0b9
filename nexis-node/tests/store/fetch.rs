//! What the core is told of what could and could not be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nexis_core::check::assets::{WantedAsset, wanted_assets};
use nexis_core::commitment::Credentials;
use nexis_core::package::{AssetSource, ClipRecord, RowLimits};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_node::store::cache::Cache;
use nexis_node::store::fetch::{FetchLimits, Fetcher};
use nexis_node::store::server::Grant;
use nexis_node::store::source::Outcome;
use nexis_node::store::{ObjectStore, StoreErrorKind};

use crate::liar::{Act, Liar};
use crate::{connector, noise, server};

const INTERVAL: IntervalId = IntervalId::new(7_756_900);
const MANIFEST: &str = "7756900/manifest.json";
const DATASET: &str = "7756900/dataset.parquet";

fn limits() -> FetchLimits {
    let rows = RowLimits { max_file_bytes: 1000, ..RowLimits::default() };
    FetchLimits::for_core(&rows)
}

fn fetcher(root: &std::path::Path, limits: FetchLimits) -> Fetcher {
    Fetcher::new(Cache::open(root, 1 << 20).unwrap(), limits)
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: &[u8]) {
    store.put(key, Bytes::copy_from_slice(bytes), "application/octet-stream").await.unwrap();
}

fn wanted(key: &str) -> WantedAsset {
    WantedAsset { key: key.into(), max_bytes: 2000 }
}

#[tokio::test]
async fn two_stages_answer_from_what_was_fetched() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_server, store) = server(root.path(), "bucket").await;
    put(&store, MANIFEST, b"{}").await;
    put(&store, "7756900/clips/a.mp4", b"clip").await;
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let fetcher = fetcher(cache.path(), limits());
    let source = fetcher.fetch_submission(Arc::clone(&store), INTERVAL).await.unwrap();
    let manifest = source.get(MANIFEST).unwrap().unwrap();
    assert_eq!((std::fs::read(&manifest.path).unwrap(), manifest.len), (b"{}".to_vec(), 2));
    assert_eq!(
        source.last_modified(MANIFEST).unwrap(),
        store.head(MANIFEST).await.unwrap().unwrap().last_modified
    );
    assert_eq!(source.get(DATASET).unwrap(), None, "known to be absent");
    let early = source.get("7756900/clips/a.mp4").unwrap_err();
    assert!(early.to_string().contains("had not been fetched"), "{early}");
    let clips = [wanted("7756900/clips/a.mp4"), wanted("7756900/clips/b.mp4")];
    fetcher.fetch_assets(&source, &clips).await;
    assert_eq!(source.get("7756900/clips/a.mp4").unwrap().unwrap().len, 4);
    assert_eq!(source.get("7756900/clips/b.mp4").unwrap(), None);
    let outcomes: Vec<_> = source.records().into_iter().map(|record| (record.key, record.outcome)).collect();
    let fetched = |len| Outcome::Fetched { len, cached: false };
    let expected = [
        ("7756900/clips/a.mp4", fetched(4)),
        ("7756900/clips/b.mp4", Outcome::Absent),
        (DATASET, Outcome::Absent),
        (MANIFEST, fetched(2)),
    ];
    assert_eq!(outcomes, expected.map(|(key, outcome)| (key.to_owned(), outcome)));
    let path = manifest.path;
    drop(source);
    assert!(!path.exists(), "a run's files go with it");
}

#[tokio::test]
async fn what_is_too_large_has_a_length_that_the_core_refuses() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_server, store) = server(root.path(), "bucket").await;
    put(&store, DATASET, &noise(1001)).await;
    put(&store, "7756900/clips/a.mp4", &noise(2001)).await;
    put(&store, "7756900/clips/b.mp4", &noise(2000)).await;
    let fetcher = fetcher(cache.path(), limits());
    let source = fetcher.fetch_submission(Arc::new(store), INTERVAL).await.unwrap();
    let clips = [wanted("7756900/clips/a.mp4"), wanted("7756900/clips/b.mp4")];
    fetcher.fetch_assets(&source, &clips).await;
    for (key, len) in [(DATASET, 1001), ("7756900/clips/a.mp4", 2001), ("7756900/clips/b.mp4", 2000)] {
        let asset = source.get(key).unwrap().unwrap();
        assert_eq!(asset.len, len, "{key}");
        assert_eq!(std::fs::metadata(&asset.path).unwrap().len(), len, "{key}");
    }
    let too_large = |key: &str| {
        let records = source.records();
        let record = records.into_iter().find(|record| record.key == key).unwrap();
        matches!(record.outcome, Outcome::TooLarge { .. })
    };
    assert!(too_large(DATASET) && too_large("7756900/clips/a.mp4") && !too_large("7756900/clips/b.mp4"));
}

#[tokio::test]
async fn an_outage_is_no_absence_and_a_refusal_no_outage() {
    let cache = tempfile::tempdir().unwrap();
    let limits = FetchLimits { submission_deadline: Duration::from_secs(20), ..limits() };
    let fetcher = fetcher(cache.path(), limits);
    let cases: [(Act, Option<StoreErrorKind>); 5] = [
        (Act::Status(503, "<Error><Code>SlowDown</Code></Error>"), Some(StoreErrorKind::Unreachable)),
        (Act::Claim(500), Some(StoreErrorKind::Misbehaved)),
        (Act::Status(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), Some(StoreErrorKind::Clock)),
        (Act::Status(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"), None),
        (Act::Status(404, "<Error><Code>NoSuchBucket</Code></Error>"), None),
    ];
    for (act, ours) in cases {
        let liar = Liar::start(b"content".to_vec(), vec![act.clone()]).await;
        let source = fetcher.fetch_submission(Arc::new(liar.store()), INTERVAL).await.unwrap();
        for key in [MANIFEST, DATASET] {
            match ours {
                Some(_) => assert!(source.get(key).is_err() && source.last_modified(key).is_err(), "{act:?}"),
                None => assert_eq!(source.get(key).unwrap(), None, "{act:?}"),
            }
        }
        for record in source.records() {
            match (record.outcome, ours) {
                (Outcome::Failed { kind, .. }, Some(expected)) => assert_eq!(kind, expected, "{act:?}"),
                (Outcome::Withheld { .. }, None) => {}
                (other, _) => panic!("{act:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_who_hang_cost_their_own_deadline_and_no_other_miners_files() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_server, honest) = server(root.path(), "bucket").await;
    put(&honest, MANIFEST, b"{}").await;
    let honest: Arc<dyn ObjectStore> = Arc::new(honest);
    // Every place is first taken by a miner who hangs.
    let limits = FetchLimits { miners: 2, submission_deadline: Duration::from_millis(600), ..limits() };
    let fetcher = fetcher(cache.path(), limits);
    let liar = Liar::start(noise(900), vec![Act::Drip]).await;
    let hung: Vec<_> = (0..4)
        .map(|_| {
            let (fetcher, store) = (fetcher.clone(), Arc::new(liar.store()));
            tokio::spawn(async move { fetcher.fetch_submission(store, INTERVAL).await.unwrap() })
        })
        .collect();
    let started = Instant::now();
    let source = fetcher.fetch_submission(Arc::clone(&honest), INTERVAL).await.unwrap();
    assert!(source.get(MANIFEST).unwrap().is_some(), "its time runs only when it is its turn");
    for hung in hung {
        let source = hung.await.unwrap();
        let error = source.get(MANIFEST).unwrap_err();
        assert!(
            matches!(&error, nexis_core::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
        );
    }
    assert!(started.elapsed() >= Duration::from_millis(1200), "two rounds of two");
}

#[tokio::test]
async fn a_second_run_transfers_only_what_has_changed() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, store) = server(root.path(), "bucket").await;
    server.create_bucket("other").unwrap();
    put(&store, MANIFEST, b"manifest").await;
    put(&store, DATASET, b"dataset").await;
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let fetcher = fetcher(cache.path(), limits());
    let run = async |store: &Arc<dyn ObjectStore>| {
        let source = fetcher.fetch_submission(Arc::clone(store), INTERVAL).await.unwrap();
        let cached = source.records().into_iter().map(|record| match record.outcome {
            Outcome::Fetched { cached, .. } => Some(cached),
            _ => None,
        });
        let cached: Vec<_> = cached.collect();
        let text = source.get(DATASET).unwrap().map(|asset| std::fs::read_to_string(asset.path).unwrap());
        (cached, text)
    };
    assert_eq!(run(&store).await, (vec![Some(false); 2], Some("dataset".into())));
    assert_eq!(run(&store).await, (vec![Some(true); 2], Some("dataset".into())));
    put(store.as_ref(), DATASET, b"changed").await;
    assert_eq!(run(&store).await, (vec![Some(false), Some(true)], Some("changed".into())));
    // The same content in the cache is no file in another's bucket.
    let other = connector().bucket(&server.endpoint(), "other", &crate::owner_keys()).unwrap();
    assert_eq!(run(&(Arc::new(other) as Arc<dyn ObjectStore>)).await, (vec![None; 2], None));
    store.delete(DATASET).await.unwrap();
    assert_eq!(run(&store).await, (vec![None, Some(true)], None));
}

#[tokio::test]
async fn a_miners_bucket_opens_with_the_committed_keys() {
    let root = tempfile::tempdir().unwrap();
    let hotkey = Hotkey::new("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
    let (server, owner) = server(root.path(), &hotkey.bucket_name()).await;
    put(&owner, MANIFEST, b"{}").await;
    let committed = Credentials::new(&"0a".repeat(16), &"k".repeat(32), &"s".repeat(64)).unwrap();
    let open = || connector().miner(&hotkey, &committed, Some(&server.endpoint())).unwrap();
    assert_eq!(open().get(MANIFEST, None).await.err().unwrap().kind, StoreErrorKind::Denied);
    server.grant(&(&committed).into(), Grant::read(hotkey.bucket_name()));
    assert_eq!(open().get(MANIFEST, None).await.unwrap().unwrap().meta.len, 2);
    let own = connector().miner(&hotkey, &committed, None).unwrap();
    let expected = format!("https://{}.r2.cloudflarestorage.com/{}", "0a".repeat(16), hotkey.bucket_name());
    assert_eq!(own.name(), expected);
}

#[test]
fn rows_name_their_files_once_and_never_outside_of_the_interval() {
    let row = |clip: &str, frame: &str| ClipRecord {
        clip_id: "c".into(),
        clip_uri: clip.into(),
        clip_sha256: "0".repeat(64),
        first_frame_uri: frame.into(),
        first_frame_sha256: "0".repeat(64),
        source_video_id: "v".into(),
        split_group_id: "g".into(),
        split: "train".into(),
        clip_start_sec: 0.0,
        duration_sec: 5.0,
        width: 1280,
        height: 720,
        fps: 25.0,
        num_frames: 125,
        has_audio: false,
        caption: "x".into(),
        source_video_url: "u".into(),
        source_proof: Default::default(),
    };
    let rows = [
        row("clips/a.mp4", "frames/a.jpg"),
        row("7756900/clips/a.mp4", "../../etc/passwd"),
        row("frames/a.jpg", "clips/b.mp4"),
    ];
    let large = 16 << 20;
    let expected = [("clips/a.mp4", 2000), ("clips/b.mp4", large), ("frames/a.jpg", large)];
    let expected = expected.map(|(uri, max_bytes)| WantedAsset { key: format!("7756900/{uri}"), max_bytes });
    assert_eq!(wanted_assets(&rows, INTERVAL, 2000), expected);
}
