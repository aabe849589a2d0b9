//! What every store does, run on each kind.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use futures_util::{StreamExt, TryStreamExt};
use nexis_core::hash::Digest;
use nexis_node::store::download::{DownloadLimits, download, read};
use nexis_node::store::local::LocalStore;
use nexis_node::store::s3::AccessKeys;
use nexis_node::store::server::Grant;
use nexis_node::store::{ObjectStore, StoreErrorKind};

use crate::{connector, noise, owner_keys, server};

async fn text(store: &dyn ObjectStore, key: &str, range: Option<std::ops::Range<u64>>) -> String {
    let body = store.get(key, range).await.unwrap().expect("the object is there");
    let parts: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
    String::from_utf8(parts.concat()).unwrap()
}

async fn put(store: &dyn ObjectStore, key: &str, text: &'static str) {
    store.put(key, Bytes::from_static(text.as_bytes()), "text/plain").await.unwrap();
}

async fn keys(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    store.list(prefix).map_ok(|object| object.key).try_collect().await.unwrap()
}

/// The contract. The store is empty below `contract/`, and may be written.
pub(crate) async fn contract(store: &dyn ObjectStore) {
    let key = |name: &str| format!("contract/{name}");

    // Nothing there.
    assert_eq!(store.head(&key("none")).await.unwrap(), None);
    assert!(store.get(&key("none"), None).await.unwrap().is_none());
    assert!(store.get(&key("none"), Some(0..5)).await.unwrap().is_none());
    store.delete(&key("none")).await.unwrap();
    assert_eq!(keys(store, "contract/").await, [""; 0]);

    // Written, described, read, replaced, removed.
    put(store, &key("a"), "0123456789").await;
    let first = store.head(&key("a")).await.unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.len), (key("a").as_str(), 10));
    let age = (Utc::now() - first.last_modified.unwrap()).num_seconds();
    assert!((-60..60).contains(&age), "{age} s old");
    let body = store.get(&key("a"), None).await.unwrap().unwrap();
    assert_eq!(body.meta, first);
    assert_eq!(text(store, &key("a"), None).await, "0123456789");
    put(store, &key("a"), "another text").await;
    assert_eq!(text(store, &key("a"), None).await, "another text");
    let second = store.head(&key("a")).await.unwrap().unwrap();
    assert_ne!(first.etag.unwrap(), second.etag.unwrap());
    assert!(second.last_modified >= first.last_modified);
    store.delete(&key("a")).await.unwrap();
    assert_eq!(store.head(&key("a")).await.unwrap(), None);

    // Ranges.
    put(store, &key("r"), "0123456789").await;
    assert_eq!(text(store, &key("r"), Some(0..3)).await, "012");
    assert_eq!(text(store, &key("r"), Some(3..10)).await, "3456789");
    assert_eq!(text(store, &key("r"), Some(8..100)).await, "89");
    let part = store.get(&key("r"), Some(2..4)).await.unwrap().unwrap();
    assert_eq!(part.meta.len, 10);
    for outside in [10..11, 50..60] {
        let error = store.get(&key("r"), Some(outside)).await.err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Invalid);
    }

    // Empty, and with names that need care.
    put(store, &key("empty"), "").await;
    assert_eq!(text(store, &key("empty"), None).await, "");
    for name in ["with space", "plus+and&percent%20", "ünïcödé", "dots.and-dashes_~"] {
        put(store, &key(name), "named").await;
        assert_eq!(text(store, &key(name), None).await, "named");
        assert_eq!(keys(store, &key(name)).await, [key(name)]);
    }
    for bad in ["", "/a", "a//b", "a/../b", "../a", "a\0b"] {
        assert_eq!(store.head(bad).await.unwrap_err().kind, StoreErrorKind::Invalid, "{bad:?}");
        assert_eq!(store.put(bad, Bytes::new(), "").await.unwrap_err().kind, StoreErrorKind::Invalid);
    }

    // From a file, and back to one.
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let content = noise(3_000_001);
    std::fs::write(&from, &content).unwrap();
    store.put_file(&key("file"), &from, "application/octet-stream").await.unwrap();
    let limits = DownloadLimits::new(4 << 20, Duration::from_secs(60));
    let fetched = download(store, &key("file"), &to, &limits).await.unwrap().unwrap();
    assert_eq!((fetched.len, fetched.sha256), (3_000_001, Digest::of(&content)));
    assert!(std::fs::read(&to).unwrap() == content);
    let small = DownloadLimits::new(3_000_000, Duration::from_secs(60));
    let error = download(store, &key("file"), &to, &small).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::TooLarge);
    assert!(read(store, &key("file"), &limits).await.unwrap().unwrap().0 == content);
    assert!(download(store, &key("none"), &to, &limits).await.unwrap().is_none());

    // More keys than a page has, in order, whatever the order of writing.
    let expected: Vec<String> = (0..1005).map(|i| format!("contract/many/{i:04}")).collect();
    futures_util::stream::iter(expected.iter().rev())
        .for_each_concurrent(16, |key| put(store, key, "x"))
        .await;
    assert_eq!(keys(store, "contract/many/").await, expected);
    assert_eq!(keys(store, "contract/many/000").await.len(), 10);
    assert_eq!(keys(store, "contract/mani").await.len(), 0);
    for name in ["sort/a/b", "sort/a-b", "sort/a", "sort/a0"] {
        // A folder cannot hold both `a` and `a/b`; the order of the rest is that of the bytes.
        if name != "sort/a" {
            put(store, &key(name), "x").await;
        }
    }
    let sorted = ["sort/a-b", "sort/a/b", "sort/a0"].map(key);
    assert_eq!(keys(store, "contract/sort/").await, sorted);
    assert_eq!(keys(store, "contract/sort/a/").await, [key("sort/a/b")]);
}

/// Keys that open nothing, and a bucket that is not there.
async fn refusals(endpoint: &str, bucket: &str, keys: &AccessKeys) {
    let connector = connector();
    let wrong_secret = AccessKeys::new(keys.access_key(), "f".repeat(64));
    let unknown = AccessKeys::new("GK000000000000000000000000", "f".repeat(64));
    for wrong in [wrong_secret, unknown] {
        let store = connector.bucket(endpoint, bucket, &wrong).unwrap();
        let failures = [
            store.head("k").await.err(),
            store.get("k", None).await.err(),
            store.put("k", Bytes::from_static(b"x"), "text/plain").await.err(),
            store.list("").next().await.and_then(Result::err),
        ];
        for error in failures {
            let error = error.expect("it is refused");
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
            assert!(!error.to_string().contains(wrong.secret_key()));
        }
    }
    let store = connector.bucket(endpoint, "no-such-bucket-here", keys).unwrap();
    let failures = [
        store.get("k", None).await.err(),
        store.put("k", Bytes::from_static(b"x"), "text/plain").await.err(),
        store.list("").next().await.and_then(Result::err),
    ];
    for error in failures {
        let error = error.expect("there is no such bucket");
        assert!(matches!(error.kind, StoreErrorKind::NoBucket | StoreErrorKind::Denied), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    contract(&LocalStore::new(root.path())).await;
    let gone = LocalStore::new(root.path().join("gone"));
    assert_eq!(gone.get("k", None).await.err().unwrap().kind, StoreErrorKind::NoBucket);
    assert_eq!(gone.put("k", Bytes::new(), "").await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(gone.list("").next().await.unwrap().unwrap_err().kind, StoreErrorKind::NoBucket);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_follows_no_link_and_is_not_left() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
    let store = LocalStore::new(root.path());
    for key in ["folder/secret", "file"] {
        assert!(store.get(key, None).await.unwrap().is_none());
        assert_eq!(store.head(key).await.unwrap(), None);
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(&store, "").await, [""; 0]);
    assert_eq!(
        store.put("folder/new", Bytes::from_static(b"x"), "").await.unwrap_err().kind,
        StoreErrorKind::Local
    );
    // A link in the place of a file is replaced; what it points to stays.
    put(&store, "file", "new").await;
    assert_eq!(text(&store, "file", None).await, "new");
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "x");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_s3_server_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let (server, store) = server(root.path(), "bucket").await;
    contract(&store).await;
    refusals(&server.endpoint(), "bucket", &owner_keys()).await;
    let missing = connector().bucket(&server.endpoint(), "no-such-bucket-here", &owner_keys()).unwrap();
    assert_eq!(missing.get("k", None).await.err().unwrap().kind, StoreErrorKind::NoBucket);
    missing.create_bucket().await.unwrap();
    assert!(missing.get("k", None).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_open_what_they_were_granted() {
    let root = tempfile::tempdir().unwrap();
    let (server, owner) = server(root.path(), "miner-a").await;
    server.create_bucket("miner-b").unwrap();
    put(&owner, "k", "v").await;
    let reader = AccessKeys::new("reader", "reads-one");
    server.grant(&reader, Grant::read("miner-a"));
    let open = |bucket: &str| connector().bucket(&server.endpoint(), bucket, &reader).unwrap();
    assert_eq!(text(&open("miner-a"), "k", None).await, "v");
    let denied = [
        open("miner-a").put("k", Bytes::new(), "text/plain").await.err(),
        open("miner-a").delete("k").await.err(),
        open("miner-b").get("k", None).await.err(),
    ];
    assert!(denied.into_iter().all(|error| error.unwrap().kind == StoreErrorKind::Denied));
}

/// `make test-garage` starts Garage and sets these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garage_keeps_the_contract() {
    let Ok(endpoint) = std::env::var("NEXIS_GARAGE_ENDPOINT") else { return };
    let set = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let keys = AccessKeys::new(set("GARAGE_DEFAULT_ACCESS_KEY"), set("GARAGE_DEFAULT_SECRET_KEY"));
    let bucket = set("GARAGE_DEFAULT_BUCKET");
    let store = crate::garage_connector().bucket(&endpoint, &bucket, &keys).unwrap();
    contract(&store).await;
    refusals(&endpoint, &bucket, &keys).await;
}
