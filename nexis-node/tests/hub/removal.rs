//! What removing takes away, and what it leaves.

use std::fs;

use nexis_core::model::registry::{ModelLock, Removal};

use crate::server::{git_sha1, sha256};
use crate::world::{COMMIT, LARGE, World, noise, repo, tree};

#[tokio::test]
async fn all_that_was_fetched_and_nothing_else() {
    let world = World::new().await;
    let cache = world.places.hub.clone().unwrap();
    world.fetch().await.unwrap();
    let other = cache.join("models--maker--other/blobs/x");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "another program's").unwrap();
    let lock = world.lock();
    let id = &world.entry.id;
    let removal = Removal::of(id, &world.places).unwrap();
    assert!(removal.bytes >= LARGE as u64 && removal.why_not.is_none());
    removal.run(&world.places, false).unwrap();
    let left = tree(&cache);
    assert!(left.iter().all(|path| path.starts_with(".locks/") || path.contains("other")), "{left:?}");
    assert!(other.exists() && !world.repository().folder().exists());
    let digests = |lock: &ModelLock| {
        let files = lock.models()[0].files.iter();
        files.map(|(name, file)| (name.clone(), file.sha256)).collect::<Vec<_>>()
    };
    assert_eq!(digests(&lock).len(), 3);
    assert_eq!(digests(&world.lock()), digests(&lock), "what is on record stays");
    assert!(world.lock().models()[0].files.values().all(|file| !file.fetched));
    world.fetch().await.unwrap();
}

#[tokio::test]
async fn contents_of_other_commits_and_files_of_others_stay() {
    let world = World::new().await;
    // Another program has the configuration of this commit, and all of a later one that shares the weights.
    let snapshot = world.repository().snapshot(COMMIT);
    let newer = world.repository().snapshot(&"f".repeat(40));
    let weights = sha256(&noise(1, LARGE));
    let config = repo(COMMIT, 1).files["config.json"].0.clone();
    let config_blob = git_sha1(&config);
    for (folder, name, blob, bytes) in [
        (&snapshot, "config.json", &config_blob, config.clone()),
        (&newer, "model.safetensors", &weights, noise(1, LARGE)),
    ] {
        fs::create_dir_all(folder).unwrap();
        fs::create_dir_all(world.repository().blobs()).unwrap();
        fs::write(world.repository().blobs().join(blob), bytes).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{blob}"), folder.join(name)).unwrap();
    }
    world.fetch().await.unwrap();
    assert_eq!(world.hub.large_ranges().len(), 0, "the content was there");
    Removal::of(&world.entry.id, &world.places).unwrap().run(&world.places, false).unwrap();
    assert_eq!(fs::read(snapshot.join("config.json")).unwrap(), config);
    assert_eq!(fs::read(newer.join("model.safetensors")).unwrap(), noise(1, LARGE));
    assert!(!snapshot.join("sub").exists());
    assert_eq!(world.repository().commit("main").as_deref(), Some(COMMIT), "the commit is still there");
}
