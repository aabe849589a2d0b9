//! What the official client (PyPI `huggingface_hub` 2.4.0) fetched is found here, and the other way round.
//!
//! How it lays out its cache is recorded in `recorded.json`, and compared always. With the client at hand it is asked
//! again, in both directions:
//! `NEXIS_HUB_PYTHON=…/bin/python cargo test --workspace --test hub -- --ignored`. `NEXIS_HUB_RECORD=1` besides writes
//! the record anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nexis_node::hub::How;
use serde_json::{Value, json};

use crate::server::sha256;
use crate::world::{COMMIT, REPOSITORY, TOKEN, World, repo, tree};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub")
}

fn recorded() -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join("recorded.json")).unwrap()).unwrap()
}

/// A cache as it is on the disk: where links lead, and what files hold.
fn layout(cache: &Path) -> Value {
    let entry = |path: String| {
        let at = cache.join(&path);
        let link = fs::read_link(&at).map(|to| json!({ "link": to }));
        let text = path.contains("/refs/").then(|| json!({ "text": fs::read_to_string(&at).unwrap() }));
        let entry =
            link.ok().or(text).unwrap_or_else(|| json!({ "sha256": sha256(&fs::read(&at).unwrap()) }));
        (path, entry)
    };
    // Locks come and go, and what is said to backup programs is no part of it.
    let of_models = |path: &String| path.starts_with("models--");
    tree(cache).into_iter().filter(of_models).map(entry).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn a_cache_of_ours_is_laid_out_as_the_official_one() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    assert_eq!(layout(world.places.hub.as_ref().unwrap()), recorded());
}

#[tokio::test]
async fn a_cache_of_the_official_client_is_found() {
    let mut world = World::new().await;
    let cache = world.places.hub.clone().unwrap();
    let contents = repo(COMMIT, 1).files;
    for (path, entry) in recorded().as_object().unwrap() {
        let at = cache.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        if let Some(link) = entry["link"].as_str() {
            std::os::unix::fs::symlink(link, at).unwrap();
        } else if let Some(text) = entry["text"].as_str() {
            fs::write(at, text).unwrap();
        } else {
            let content = contents.values().find(|(bytes, _)| entry["sha256"] == sha256(bytes)).unwrap();
            fs::write(at, &content.0).unwrap();
        }
    }
    world.settings.offline = true;
    let fetched = world.fetch().await.unwrap();
    assert!(fetched.files.iter().all(|file| file.how == How::Present) && fetched.recorded);
    assert_eq!(world.hub.connections(), 0);
    assert!(
        world.lock().models()[0].files.values().all(|file| !file.fetched),
        "none of it is ours to remove"
    );
}

/// Runs the official client: what it found or fetched, by name.
async fn official(world: &World, offline: bool, cache: &Path) -> Value {
    let python =
        std::env::var("NEXIS_HUB_PYTHON").expect("NEXIS_HUB_PYTHON names a Python with `huggingface_hub`");
    let names: Vec<String> = repo(COMMIT, 1).files.into_keys().collect();
    let mut command = Command::new(python);
    command
        .arg(folder().join("official.py"))
        .args([REPOSITORY, "main"])
        .args(names)
        .env("HF_HUB_CACHE", cache)
        .env("HF_HOME", world.path().join("official"))
        .env("HF_ENDPOINT", world.hub.endpoint())
        .env("HF_TOKEN", TOKEN)
        .env("HF_HUB_OFFLINE", if offline { "1" } else { "0" });
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official client; see the top of the file"]
async fn the_official_client_and_ours_find_what_the_other_fetched() {
    let digests: Value = repo(COMMIT, 1)
        .files
        .into_iter()
        .map(|(name, (bytes, _))| (name, Value::from(sha256(&bytes))))
        .collect::<serde_json::Map<_, _>>()
        .into();

    let mut theirs = World::new().await;
    let cache = theirs.places.hub.clone().unwrap();
    assert_eq!(official(&theirs, false, &cache).await, digests);
    if std::env::var_os("NEXIS_HUB_RECORD").is_some() {
        let text = serde_json::to_string_pretty(&layout(&cache)).unwrap();
        fs::write(folder().join("recorded.json"), text + "\n").unwrap();
    }
    assert_eq!(layout(&cache), recorded(), "the official client lays its cache out as recorded");
    let before = theirs.hub.connections();
    theirs.settings.offline = true;
    let found = theirs.fetch().await.unwrap();
    assert!(found.files.iter().all(|file| file.how == How::Present));
    assert_eq!(theirs.hub.connections(), before);

    let ours = World::new().await;
    ours.fetch().await.unwrap();
    let before = ours.hub.connections();
    assert_eq!(official(&ours, true, ours.places.hub.as_ref().unwrap()).await, digests);
    assert_eq!(ours.hub.connections(), before, "it needed no connection");
}
