//! Uploading, committing, and what a miner is told of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bucket;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket::{INTERVAL, Watched, files, manifest, record, spend};
use nexis_core::commitment::Credentials;
use nexis_core::hash::Digest;
use nexis_core::package::{ClipRecord, rows_to_bytes};
use nexis_core::protocol::Hotkey;
use nexis_node::chain::sim::{SimulatedChain, SubmitFault, SubnetConfig};
use nexis_node::chain::{Chain, HotkeyPair};
use nexis_node::miner::{
    CommitOptions, CommitOutcome, Committed, MinerError, Upload, UploadOptions, bucket_status, chain_status,
    commit,
};
use nexis_node::store::{ObjectStore, Result as StoreResult};

fn hotkey() -> Hotkey {
    Hotkey::new("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")
}

/// A package whose clips are texts: nobody decodes them here.
fn write_package(bucket: &Path, rows: usize) {
    let folder = bucket.join(INTERVAL.to_string());
    for part in ["clips", "frames"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let records: Vec<ClipRecord> = (0..rows).map(|row| record(&format!("source{row:05}"), 10.0)).collect();
    for (uri, content) in records.iter().flat_map(files) {
        std::fs::write(folder.join(uri), content).unwrap();
    }
    let dataset = rows_to_bytes(&records).unwrap();
    let manifest = manifest(&hotkey(), rows as u64, Digest::of(&dataset));
    std::fs::write(folder.join("dataset.parquet"), dataset).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest.to_json()).unwrap();
}

/// What was written to a store, and how many more writes it takes before it fails.
#[derive(Clone, Default)]
struct Notes {
    writes: Arc<Mutex<Vec<String>>>,
    left: Arc<Mutex<Option<usize>>>,
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock().unwrap())
    }
}

/// A store that notes what is written, and fails when told to.
fn noting(root: &Path) -> (Notes, Watched<impl Fn(&str) -> StoreResult<()> + Send + Sync + use<>>) {
    let notes = Notes::default();
    let Notes { writes, left } = notes.clone();
    let before = move |key: &str| {
        spend(&mut left.lock().unwrap())?;
        writes.lock().unwrap().push(key.to_owned());
        Ok(())
    };
    (notes, Watched::new(root, before))
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off_and_ends_with_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    write_package(&bucket, 5);
    let (notes, store) = noting(&dir.path().join("store"));
    let options = UploadOptions { concurrency: 2, replace: false };
    let upload = Upload::plan(&bucket, INTERVAL, &hotkey()).unwrap();
    assert_eq!(upload.objects(), 12);

    *notes.left.lock().unwrap() = Some(4);
    let error = upload.run(&store, &options, &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, MinerError::Store(_)), "{error}");
    assert_eq!(notes.take().len(), 4);
    let status = bucket_status(&store, INTERVAL, &hotkey()).await.unwrap();
    assert!(!status.is_whole() && status.problems[0].contains("no manifest.json"), "{status:?}");

    // A process that begins anew, as after a crash that also tore a line.
    *notes.left.lock().unwrap() = None;
    let journal = bucket.join(format!(".{INTERVAL}-upload.jsonl"));
    let noted = std::fs::read_to_string(&journal).unwrap();
    let whole = noted.lines().filter(|line| !line.is_empty()).count();
    std::fs::write(&journal, format!("{noted}{{\"store\":\"to")).unwrap();
    let upload = Upload::plan(&bucket, INTERVAL, &hotkey()).unwrap();
    let done = upload.run(&store, &options, &|_, _| {}).await.unwrap();
    // Two at once: of the four that were written before the failure, all that were noted are skipped.
    assert!((2..=4).contains(&whole), "{whole}");
    assert_eq!((done.skipped, done.sent), (whole, 12 - whole));
    let writes = notes.take();
    assert_eq!(writes.last().unwrap(), &format!("{INTERVAL}/manifest.json"));
    let status = bucket_status(&store, INTERVAL, &hotkey()).await.unwrap();
    assert!(status.is_whole(), "{status:?}");
    assert_eq!((status.objects, status.rows), (12, Some(5)));
    assert_eq!(status.bytes, upload.bytes());

    // Nothing is left to do.
    let again = upload.run(&store, &options, &|_, _| {}).await.unwrap();
    assert_eq!((again.sent, again.skipped), (0, 12));
    assert!(notes.take().is_empty());
}

#[tokio::test]
async fn another_package_is_replaced_only_when_asked_for_and_its_manifest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let (notes, store) = noting(&dir.path().join("store"));
    let mut options = UploadOptions::default();
    write_package(&bucket, 2);
    Upload::plan(&bucket, INTERVAL, &hotkey()).unwrap().run(&store, &options, &|_, _| {}).await.unwrap();
    notes.take();
    write_package(&bucket, 3);
    let upload = Upload::plan(&bucket, INTERVAL, &hotkey()).unwrap();
    let error = upload.run(&store, &options, &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, MinerError::Occupied { .. }), "{error}");
    assert!(notes.take().is_empty());

    options.replace = true;
    upload.run(&store, &options, &|_, _| {}).await.unwrap();
    let writes = notes.take();
    assert_eq!(writes.first().unwrap(), &format!("delete {INTERVAL}/manifest.json"));
    assert_eq!(writes.last().unwrap(), &format!("{INTERVAL}/manifest.json"));
    // The third row's two files, the dataset and the manifest; what is the same is not sent again.
    assert_eq!(writes.len(), 1 + 4, "{writes:?}");
}

#[tokio::test]
async fn an_object_that_was_replaced_in_the_bucket_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let (notes, store) = noting(&dir.path().join("store"));
    write_package(&bucket, 1);
    let upload = Upload::plan(&bucket, INTERVAL, &hotkey()).unwrap();
    upload.run(&store, &UploadOptions::default(), &|_, _| {}).await.unwrap();
    let key = notes.take().into_iter().find(|key| key.ends_with(".mp4")).unwrap();
    // Of the same length, so that only the version tells.
    let len = store.head(&key).await.unwrap().unwrap().len;
    store.inner.put(&key, vec![b'x'; len as usize].into(), "video/mp4").await.unwrap();
    let done = upload.run(&store, &UploadOptions::default(), &|_, _| {}).await.unwrap();
    assert_eq!((done.sent, notes.take()), (1, vec![key]));
}

#[test]
fn what_a_validator_would_refuse_is_not_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    write_package(dir.path(), 2);
    let folder = dir.path().join(INTERVAL.to_string());
    let refused = |what: &str| match Upload::plan(dir.path(), INTERVAL, &hotkey()) {
        Err(MinerError::Package { why, .. }) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?}"),
    };
    let clip = std::fs::read_dir(folder.join("clips")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&clip, "changed").unwrap();
    refused("another digest");
    std::fs::remove_file(&clip).unwrap();
    refused("is missing");
    std::fs::write(folder.join("dataset.parquet"), "changed").unwrap();
    refused("dataset_sha256_mismatch");

    // Whole, but another miner's, or of another interval.
    let dir = tempfile::tempdir().unwrap();
    write_package(dir.path(), 2);
    Upload::plan(dir.path(), INTERVAL, &hotkey()).unwrap();
    let other = Hotkey::new("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty");
    let error = Upload::plan(dir.path(), INTERVAL, &other).unwrap_err();
    assert!(matches!(error, MinerError::Package { .. }), "{error}");
    assert!(error.to_string().contains("manifest_identity_mismatch"), "{error}");
}

fn credentials(secret: &str) -> Credentials {
    Credentials::new(&"a1".repeat(16), &"k".repeat(32), &secret.repeat(32)).unwrap()
}

const FAST: CommitOptions = CommitOptions { tries: 3, pause: Duration::from_millis(1) };

#[tokio::test]
async fn credentials_are_committed_once_whatever_the_answer_is() {
    let pair = HotkeyPair::from_seed(&[7; 32]).unwrap();
    let netuid = SubnetConfig::default().netuid;
    let ours = credentials("s3");
    for fault in [
        None,
        Some(SubmitFault::FailBefore),
        Some(SubmitFault::TimeOutBefore),
        Some(SubmitFault::TimeOutAfter),
    ] {
        let chain = SimulatedChain::new(SubnetConfig::default());
        let refused = commit(&chain, &pair, netuid, &ours, &FAST).await.unwrap_err();
        assert!(refused.to_string().contains("not registered"), "{refused}");
        chain.register(pair.hotkey(), 0, false).unwrap();
        let status = chain_status(&chain, netuid, pair.hotkey(), Some(&ours)).await.unwrap();
        assert_eq!(status.commitment, Committed::Nothing);

        chain.faults(|faults| faults.submits.extend(fault.clone()));
        let outcome = commit(&chain, &pair, netuid, &ours, &FAST).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{fault:?}: {outcome:?}");
        assert_eq!(chain.transactions(), 1, "{fault:?}");
        let again = commit(&chain, &pair, netuid, &ours, &FAST).await.unwrap();
        assert_eq!((again, chain.transactions()), (CommitOutcome::Unchanged, 1));

        let status = |configured: Credentials| {
            let (chain, hotkey) = (chain.clone(), pair.hotkey().clone());
            async move { chain_status(&chain, netuid, &hotkey, Some(&configured)).await.unwrap().commitment }
        };
        assert_eq!(status(ours.clone()).await, Committed::Same);
        assert_eq!(status(credentials("zz")).await, Committed::Different);
        let head = chain.finalized_head().await.unwrap();
        let on_chain = chain.commitments(netuid, &head).await.unwrap();
        assert_eq!(on_chain.keys().collect::<Vec<_>>(), [pair.hotkey()]);
        assert_eq!(on_chain[pair.hotkey()].credentials().as_ref(), Some(&ours));
    }
}
