//! The cache: what stays, what goes, and what a crash or a bad disk does to it.

use std::fs;
use std::path::Path;

use nexis_core::hash::Digest;
use nexis_node::store::cache::Cache;
use nexis_node::store::{ObjectMeta, StoreErrorKind};

/// Keeps `content` and gives its digest.
fn keep(cache: &Cache, content: &[u8]) -> Digest {
    let run = cache.run_folder().unwrap();
    let (path, digest) = (run.path().join("f"), Digest::of(content));
    fs::write(&path, content).unwrap();
    cache.keep(&digest, &path, content.len() as u64).unwrap();
    digest
}

fn has(cache: &Cache, digest: &Digest) -> bool {
    let run = cache.run_folder().unwrap();
    cache.give(digest, &run.path().join("g")).unwrap().is_some()
}

fn kept_file(root: &Path, digest: &Digest) -> std::path::PathBuf {
    let name = digest.to_string();
    root.join("files").join(&name[..2]).join(name)
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path(), 30).unwrap();
    let [a, b, c] = [b"aaaaaaaaaa", b"bbbbbbbbbb", b"cccccccccc"].map(|content| keep(&cache, content));
    assert_eq!(cache.bytes(), 30);
    assert!(has(&cache, &a), "used again");
    let d = keep(&cache, b"dddddddddd");
    assert_eq!([a, b, c, d].map(|digest| has(&cache, &digest)), [true, false, true, true]);
    assert!(!kept_file(root.path(), &b).exists());
    let large = keep(&cache, &[7; 31]);
    assert!(!has(&cache, &large), "larger than the whole cache");
    assert_eq!(cache.bytes(), 30);
}

#[test]
fn a_file_in_use_outlives_its_eviction() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path(), 10).unwrap();
    let digest = keep(&cache, b"0123456789");
    let run = cache.run_folder().unwrap();
    let mine = run.path().join("mine");
    assert_eq!(cache.give(&digest, &mine).unwrap(), Some(10));
    keep(&cache, b"another...");
    assert!(!has(&cache, &digest));
    assert_eq!(fs::read(&mine).unwrap(), b"0123456789");
    drop(run);
    assert!(!mine.exists());
}

#[test]
fn a_new_start_takes_over_what_is_whole_and_removes_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let (digest, unseen);
    {
        let cache = Cache::open(root.path(), 100).unwrap();
        digest = keep(&cache, b"whole");
        cache.remember("store", "key", "\"1\"", 5, &digest).unwrap();
        unseen = Digest::of("never kept");
        cache.remember("store", "other", "\"1\"", 5, &unseen).unwrap();
        // What a process that is killed leaves behind.
        std::mem::forget(cache.run_folder().unwrap());
        fs::write(root.path().join("files").join("junk"), "x").unwrap();
        fs::write(kept_file(root.path(), &digest).with_file_name("junk"), "x").unwrap();
    }
    let cache = Cache::open(root.path(), 100).unwrap();
    assert_eq!(cache.bytes(), 5);
    assert!(has(&cache, &digest));
    assert_eq!(fs::read_dir(root.path().join("runs")).unwrap().count(), 0);
    assert!(!root.path().join("files").join("junk").exists());
    assert!(cache.knows("store", "key") && !cache.knows("store", "other"));
    drop(cache);
    // A smaller limit holds from the start.
    assert_eq!(Cache::open(root.path(), 4).unwrap().bytes(), 0);
    assert_eq!(
        fs::read_dir(root.path().join("seen")).unwrap().count(),
        0,
        "notes go with what they are about"
    );
}

#[test]
fn a_file_that_has_changed_on_disk_is_not_given_out() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path(), 100).unwrap();
    let digest = keep(&cache, b"as it was");
    fs::write(kept_file(root.path(), &digest), "as it is!").unwrap();
    assert!(!has(&cache, &digest));
    assert!(!kept_file(root.path(), &digest).exists());
    assert_eq!(keep(&cache, b"as it was"), digest);
    assert!(has(&cache, &digest), "and can be kept anew");
}

#[test]
fn content_counts_only_for_the_store_key_and_version_where_it_was_seen() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path(), 100).unwrap();
    let digest = keep(&cache, b"clip");
    cache.remember("miner a", "7/c.mp4", "\"1\"", 4, &digest).unwrap();
    let object = |key: &str, etag: &str, len| ObjectMeta {
        key: key.into(),
        len,
        last_modified: None,
        etag: Some(etag.into()),
    };
    assert_eq!(cache.digest_of("miner a", &object("7/c.mp4", "\"1\"", 4)), Some(digest));
    assert_eq!(cache.digest_of("miner b", &object("7/c.mp4", "\"1\"", 4)), None);
    assert_eq!(cache.digest_of("miner a", &object("7/d.mp4", "\"1\"", 4)), None);
    assert_eq!(cache.digest_of("miner a", &object("7/c.mp4", "\"2\"", 4)), None);
    assert_eq!(cache.digest_of("miner a", &object("7/c.mp4", "\"1\"", 5)), None);
}

#[test]
fn a_second_process_is_told_to_use_its_own_folder() {
    let root = tempfile::tempdir().unwrap();
    let first = Cache::open(root.path(), 10).unwrap();
    let error = Cache::open(root.path(), 10).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Local);
    assert!(error.to_string().contains("another process"));
    drop(first);
    Cache::open(root.path(), 10).unwrap();
}

#[test]
fn many_threads_at_once_end_within_the_limit() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path(), 500).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..60_u8 {
                    let content = [i % 20; 50];
                    let digest = keep(cache, &content);
                    let run = cache.run_folder().unwrap();
                    let path = run.path().join(thread.to_string());
                    if cache.give(&digest, &path).unwrap().is_some() {
                        assert_eq!(fs::read(&path).unwrap(), content);
                    }
                }
            });
        }
    });
    assert!(cache.bytes() <= 500);
    let on_disk: u64 = fs::read_dir(root.path().join("files"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 500, "{on_disk}");
}
