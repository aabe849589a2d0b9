//! Servers that break off, hang, refuse and lie.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nexis_core::hash::Digest;
use nexis_node::store::download::{DownloadLimits, Downloaded, download};
use nexis_node::store::faults::{Fault, FaultPlan};
use nexis_node::store::server::{Grant, S3Server};
use nexis_node::store::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreErrorKind};

use crate::liar::{Act, Liar};
use crate::{connector, noise, owner_keys, server};

fn limits() -> DownloadLimits {
    DownloadLimits {
        pause: Duration::from_millis(5),
        ..DownloadLimits::new(1 << 20, Duration::from_secs(30))
    }
}

async fn fetch(content: &[u8], acts: Vec<Act>) -> (Liar, Result<Option<Downloaded>>) {
    fetch_within(content, acts, limits()).await
}

async fn fetch_within(
    content: &[u8],
    acts: Vec<Act>,
    limits: DownloadLimits,
) -> (Liar, Result<Option<Downloaded>>) {
    let folder = tempfile::tempdir().unwrap();
    let liar = Liar::start(content.to_vec(), acts).await;
    let fetched = download(&liar.store(), "key", &folder.path().join("file"), &limits).await;
    let left: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    match &fetched {
        Ok(Some(file)) => assert_eq!(left, std::slice::from_ref(&file.path), "one whole file"),
        _ => assert!(left.is_empty(), "nothing half done is left: {left:?}"),
    }
    (liar, fetched)
}

async fn kind(content: &[u8], acts: Vec<Act>) -> StoreErrorKind {
    fetch(content, acts).await.1.unwrap_err().kind
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let content = noise(300_000);
    let (liar, fetched) =
        fetch(&content, vec![Act::Cut(100_000), Act::Close, Act::Cut(50_000), Act::Honest]).await;
    let fetched = fetched.unwrap().unwrap();
    assert_eq!((fetched.len, fetched.sha256), (300_000, Digest::of(&content)));
    assert!(fetched.resumptions >= 2);
    let asked = liar.asked();
    assert_eq!(asked[0], "-");
    assert!(
        asked[1..].iter().all(|range| !range.starts_with("0-") && range.ends_with("-299999")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_left_and_asked_again() {
    let content = noise(100_000);
    let (liar, fetched) = fetch(&content, vec![Act::Hang(40_000), Act::Hang(0), Act::Honest]).await;
    assert_eq!(fetched.unwrap().unwrap().sha256, Digest::of(&content));
    assert_eq!(liar.asked().len(), 3);
    let few = DownloadLimits { fruitless_resumptions: 1, ..limits() };
    let (_, fetched) = fetch_within(&content, vec![Act::Hang(10)], few).await;
    assert_eq!(fetched.unwrap_err().kind, StoreErrorKind::TimedOut);
}

#[tokio::test]
async fn progress_that_is_too_slow_ends_at_the_deadline() {
    let hurried = DownloadLimits { deadline: Duration::from_millis(300), ..limits() };
    let (_, fetched) = fetch_within(&noise(10_000), vec![Act::Drip], hurried).await;
    assert_eq!(fetched.unwrap_err().kind, StoreErrorKind::TimedOut);
}

#[tokio::test]
async fn lies_about_the_length_are_found() {
    let content = noise(200_000);
    assert_eq!(kind(&content, vec![Act::Claim(250_000)]).await, StoreErrorKind::Misbehaved);
    assert_eq!(kind(&content, vec![Act::Endless]).await, StoreErrorKind::Misbehaved);
    let (liar, fetched) = fetch(&content, vec![Act::Claim(1 << 40)]).await;
    assert_eq!(fetched.unwrap_err().kind, StoreErrorKind::TooLarge);
    assert_eq!(liar.asked(), ["-"], "what is too large is not begun");
    assert_eq!(kind(&content, vec![Act::Cut(1000), Act::WrongRange]).await, StoreErrorKind::Misbehaved);
    // Announces less than it sends: what was announced is what counts.
    let (_, fetched) = fetch(&content, vec![Act::Claim(150_000)]).await;
    assert_eq!(fetched.unwrap().unwrap().sha256, Digest::of(&content[..150_000]));
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_read_anew_and_never_mixed() {
    let (old, new) = (noise(100_000), noise(90_000).into_iter().rev().collect::<Vec<u8>>());
    let replaced = Act::Replace(new.clone(), Box::new(Act::Honest));
    let (liar, fetched) = fetch(&old, vec![Act::Cut(50_000), replaced, Act::Honest]).await;
    assert_eq!(fetched.unwrap().unwrap().sha256, Digest::of(&new));
    assert_eq!(liar.asked().last().unwrap(), "-");
    let shorter = Act::Replace(noise(10), Box::new(Act::Honest));
    let (_, fetched) = fetch(&old, vec![Act::Cut(50_000), shorter, Act::Honest]).await;
    assert_eq!(fetched.unwrap().unwrap().sha256, Digest::of(noise(10)));
    let again = Act::Replace(old.clone(), Box::new(Act::Cut(50_000)));
    assert_eq!(kind(&old, vec![again]).await, StoreErrorKind::Changed);
    // Removed meanwhile: there is no such object.
    let gone = Act::Status(404, "<Error><Code>NoSuchKey</Code></Error>");
    assert_eq!(fetch(&old, vec![Act::Cut(50_000), gone]).await.1.unwrap(), None);
}

#[tokio::test]
async fn what_is_worth_another_try_gets_it() {
    let content = noise(1000);
    for passing in [
        Act::Status(500, "<Error><Code>InternalError</Code></Error>"),
        Act::Status(502, "bad gateway"),
        Act::Status(503, "<Error><Code>SlowDown</Code></Error>"),
        Act::Status(429, "<Error><Code>TooMany</Code></Error>"),
        Act::Close,
    ] {
        let (liar, fetched) = fetch(&content, vec![passing.clone(), passing.clone(), Act::Honest]).await;
        assert_eq!(fetched.unwrap().unwrap().sha256, Digest::of(&content), "{passing:?}");
        assert_eq!(liar.asked().len(), 3, "{passing:?}");
        let (liar, fetched) = fetch(&content, vec![passing.clone()]).await;
        assert_eq!(fetched.unwrap_err().kind, StoreErrorKind::Unreachable, "{passing:?}");
        assert_eq!(liar.asked().len(), 4, "{passing:?}: four tries");
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_told_apart() {
    let cases = [
        (403, "<Error><Code>AccessDenied</Code></Error>", StoreErrorKind::Denied),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", StoreErrorKind::Clock),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", StoreErrorKind::NoBucket),
        (403, "<html>a proxy's page</html>", StoreErrorKind::Misbehaved),
        (404, "<html>some other site</html>", StoreErrorKind::Misbehaved),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", StoreErrorKind::Invalid),
    ];
    for (status, text, expected) in cases {
        let (_, fetched) = fetch(b"x", vec![Act::Status(status, text)]).await;
        let error = fetched.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
    }
    let (_, fetched) = fetch(b"x", vec![Act::Status(404, "<Error><Code>NoSuchKey</Code></Error>")]).await;
    assert_eq!(fetched.unwrap(), None);
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = connector().bucket(&format!("http://{address}"), "bucket", &owner_keys()).unwrap();
    assert_eq!(store.head("k").await.unwrap_err().kind, StoreErrorKind::Unreachable);
}

/// A store whose server is killed once, when the first part of a body has come, and started again.
struct Killed {
    store: nexis_node::store::s3::S3Store,
    server: Arc<Mutex<Option<S3Server>>>,
    root: PathBuf,
}

#[async_trait]
impl ObjectStore for Killed {
    fn name(&self) -> &str {
        self.store.name()
    }

    async fn get(&self, key: &str, range: Option<std::ops::Range<u64>>) -> Result<Option<ObjectBody>> {
        let Some(ObjectBody { meta, bytes }) = self.store.get(key, range).await? else { return Ok(None) };
        let (server, root) = (Arc::clone(&self.server), self.root.clone());
        let bytes = bytes
            .then(move |part| {
                let (server, root) = (Arc::clone(&server), root.clone());
                async move {
                    let running = server.lock().unwrap().take();
                    if let Some(running) = running {
                        let address = running.address();
                        running.stop().await;
                        let again = S3Server::start_at(&root, address).await.unwrap();
                        again.grant(&owner_keys(), Grant::all());
                        // It serves for as long as the test runs.
                        std::mem::forget(again);
                    }
                    part
                }
            })
            .boxed();
        Ok(Some(ObjectBody { meta, bytes }))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        self.store.head(key).await
    }

    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<()> {
        self.store.put(key, bytes, content_type).await
    }

    async fn put_file(&self, key: &str, path: &std::path::Path, content_type: &str) -> Result<()> {
        self.store.put_file(key, path, content_type).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await
    }
}

#[tokio::test]
async fn a_server_that_is_killed_in_mid_download_and_started_again_costs_no_byte() {
    let root = tempfile::tempdir().unwrap();
    let (running, store) = server(root.path(), "bucket").await;
    // More than the sockets hold, so that it cannot have been sent before the server is killed.
    let content = noise(48 << 20);
    store.put("key", Bytes::from(content.clone()), "video/mp4").await.unwrap();
    let server = Arc::new(Mutex::new(Some(running)));
    let killed = Killed { store, server, root: root.path().to_path_buf() };
    let folder = tempfile::tempdir().unwrap();
    let limits = DownloadLimits { max_bytes: 64 << 20, ..limits() };
    let fetched = download(&killed, "key", &folder.path().join("file"), &limits).await.unwrap().unwrap();
    assert_eq!(fetched.sha256, Digest::of(&content));
    assert!(fetched.resumptions >= 1, "it broke");
}

#[tokio::test]
async fn faults_on_purpose_do_not_change_what_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (server, store) = server(root.path(), "bucket").await;
    let content = noise(20_000);
    for i in 0..8 {
        store.put(&format!("k{i}"), Bytes::from(content.clone()), "video/mp4").await.unwrap();
    }
    let mut plan = FaultPlan::even(7, 0.7);
    plan.late = Duration::from_millis(10);
    server.set_faults(Some(plan));
    let folder = tempfile::tempdir().unwrap();
    for i in 0..8 {
        let to = folder.path().join(i.to_string());
        let fetched = download(&store, &format!("k{i}"), &to, &limits()).await.unwrap().unwrap();
        assert_eq!(fetched.sha256, Digest::of(&content));
    }
    let always = FaultPlan {
        rates: [(Fault::Dropped, 1.0)].into(),
        most_in_a_row: u32::MAX,
        ..FaultPlan::even(1, 0.0)
    };
    server.set_faults(Some(always));
    assert_eq!(store.get("k0", None).await.err().unwrap().kind, StoreErrorKind::Unreachable);
    server.set_faults(None);
    assert!(store.get("k0", None).await.unwrap().is_some());
}
