//! Hubs that lie, and caches that were changed: nothing of it becomes a model, and nothing secret is said.

use std::fs;

use nexis_core::hash::Digest;
use nexis_core::model::registry::{FileState, ModelPlaces, find, import, verify};
use nexis_node::hub::HubErrorKind;

use crate::server::{Fault, On, sha256};
use crate::world::{COMMIT, LARGE, REGISTRY, REPOSITORY, TOKEN, World, noise, repo, settings, tree};

/// What a fetch fails with; besides, that nothing is left that a later one would take up, and no secret is told.
async fn refused(world: &World, kind: HubErrorKind, words: &[&str]) {
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    let said = format!("{error} {error:?}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains(TOKEN) && !said.contains("Signature"), "{said}");
    assert!(!find("maker/small", &world.places).unwrap().present);
    assert!(!world.places.home.as_ref().unwrap().join("models.lock").exists());
    assert!(!world.incomplete().exists());
}

#[tokio::test]
async fn contents_that_were_changed_on_the_way() {
    for on in [On::Large, On::Small] {
        let world = World::new().await;
        world.hub.fault(on, Fault::Flip);
        refused(&world, HubErrorKind::Changed, &["not what the hub announced"]).await;
    }
    let world = World::new().await;
    world.hub.fault(On::Head, Fault::Header("x-error-code", None));
    world.hub.fault(On::Head, Fault::Header("x-error-code", None));
    world.hub.fault(On::Head, Fault::Header("x-linked-etag", Some(format!("\"{}\"", "ab".repeat(32)))));
    refused(&world, HubErrorKind::Changed, &["model.safetensors"]).await;
}

#[tokio::test]
async fn contents_that_the_registry_does_not_mean() {
    let other = sha256(&noise(7, 10));
    let registry = REGISTRY.replace("at_most = 300000", &format!("bytes = 300000, sha256 = \"{other}\""));
    let world = World::with(&registry).await;
    refused(&world, HubErrorKind::Changed, &[&other, "the registry states"]).await;
    let world = World::with(&REGISTRY.replace("at_most = 300000", "bytes = 299999")).await;
    refused(&world, HubErrorKind::TooLarge, &["300000", "299999"]).await;
    let world = World::with(&REGISTRY.replace("at_most = 300000", "bytes = 300001")).await;
    refused(&world, HubErrorKind::Changed, &["another file"]).await;
    assert_eq!(world.hub.large_ranges().len(), 0, "it was not even begun");
}

#[tokio::test]
async fn contents_that_are_not_the_ones_on_record() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    // The same commit has become something else, as no honest hub's does.
    world.hub.put(REPOSITORY, "main", repo(COMMIT, 2));
    fs::remove_dir_all(world.places.hub.as_ref().unwrap()).unwrap();
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Changed);
    assert!(error.to_string().contains("is on record (models.lock)"), "{error}");
    assert!(!find("maker/small", &world.places).unwrap().present);
}

#[tokio::test]
async fn more_than_there_may_be() {
    let world = World::with(&REGISTRY.replace("at_most = 300000", "at_most = 299999")).await;
    refused(&world, HubErrorKind::TooLarge, &["model.safetensors", "299999"]).await;
    assert_eq!(world.hub.large_ranges().len(), 0, "it was not even begun");

    let world = World::new().await;
    world.hub.fault(On::Large, Fault::More);
    refused(&world, HubErrorKind::Misbehaved, &["300000 bytes were announced, and more come"]).await;

    // No size is announced at all: the registry's bound holds.
    let world = World::new().await;
    for _ in 0..2 {
        world.hub.fault(On::Head, Fault::Header("x-error-code", None));
    }
    world.hub.fault(On::Head, Fault::Header("x-linked-size", None));
    world.hub.fault(On::Large, Fault::More);
    refused(&world, HubErrorKind::TooLarge, &["where the registry allows 300000"]).await;
}

#[tokio::test]
async fn answers_of_what_is_no_hub() {
    let fifth = "f".repeat(40);
    for (name, value, words) in [
        ("x-repo-commit", None, "which commit"),
        ("x-repo-commit", Some("../../../etc".to_owned()), "which commit"),
        ("x-linked-etag", Some("\"../../../../etc/passwd\"".to_owned()), "no usable tag"),
        ("x-linked-etag", Some("\".hidden\"".to_owned()), "no usable tag"),
        ("x-repo-commit", Some(fifth), "calls commit"),
        ("location", Some("file:///etc/passwd".to_owned()), "no address"),
    ] {
        let world = World::new().await;
        for _ in 0..2 {
            world.hub.fault(On::Head, Fault::Header("x-error-code", None));
        }
        world.hub.fault(On::Head, Fault::Header(name, value));
        refused(&world, HubErrorKind::Misbehaved, &[words]).await;
        let files = world.files();
        assert!(
            !files.is_empty()
                && files.iter().all(|path| ["root/", "hf/hub/"].iter().any(|at| path.starts_with(at))),
            "{files:?}"
        );
    }
    let world = World::new().await;
    for _ in 0..12 {
        world.hub.fault(On::Head, Fault::Redirect("/again".to_owned()));
    }
    refused(&world, HubErrorKind::NotFound, &[]).await;
    let world = World::new().await;
    let here = format!("{}/maker/small/resolve/main/config.json", world.hub.endpoint());
    for _ in 0..12 {
        world.hub.fault(On::Head, Fault::Redirect(here.clone()));
    }
    refused(&world, HubErrorKind::Misbehaved, &["redirects"]).await;
    let world = World::new().await;
    world.hub.fault(On::Large, Fault::Cut(1000));
    world.hub.fault(On::Large, Fault::ShiftedRange);
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Misbehaved);
}

#[tokio::test]
async fn refusals_say_what_would_help() {
    let gated = |token: &str| {
        let mut repo = repo(COMMIT, 1);
        repo.token = Some(token.to_owned());
        repo
    };
    let mut world = World::new().await;
    world.hub.put(REPOSITORY, "main", gated(TOKEN));
    world.fetch().await.unwrap();

    world = World::new().await;
    world.hub.put(REPOSITORY, "main", gated("another"));
    refused(&world, HubErrorKind::Denied, &["the token in use does not open it", "403"]).await;
    world.settings = settings(&world.hub.endpoint(), None);
    refused(&world, HubErrorKind::Denied, &["terms", "no token is set (HF_TOKEN)", "401"]).await;

    for (from, to, words) in [
        ("repository = \"maker/small\"", "repository = \"maker/none\"", "no such repository"),
        ("revision = \"main\"", "revision = \"other\"", "no such revision"),
        ("\"sub/tokenizer.json\"", "\"none.json\"", "no such file"),
    ] {
        let world = World::with(&REGISTRY.replace(from, to)).await;
        refused(&world, HubErrorKind::NotFound, &[words]).await;
    }
}

#[tokio::test]
async fn nobody_there() {
    let mut world = World::new().await;
    world.settings.attempts = 2;
    world.settings.endpoint = "http://127.0.0.1:1/".parse().unwrap();
    refused(&world, HubErrorKind::Unreachable, &["127.0.0.1:1"]).await;
}

#[tokio::test]
async fn the_token_is_written_nowhere() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    for path in world.files() {
        let bytes = fs::read(world.path().join(&path)).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{path}");
    }
    assert!(!world.notes.lines.lock().unwrap().iter().any(|line| line.contains(TOKEN)));
}

#[tokio::test]
async fn a_damaged_cache_is_seen_and_mended() {
    let world = World::new().await;
    let fetched = world.fetch().await.unwrap();
    let weights = fetched.directory.join("model.safetensors");
    fs::write(&weights, noise(3, LARGE)).unwrap();
    let checks = verify(&find("maker/small", &world.places).unwrap(), &|_| {}).unwrap();
    let states: Vec<bool> = checks.iter().map(|check| check.state == FileState::Same).collect();
    assert_eq!(states, [true, false, true]);

    let again = world.fetch().await.unwrap();
    assert_eq!(again.files[1].sha256, Digest::of(noise(1, LARGE)));
    assert!(world.notes.lines.lock().unwrap()[0].contains("model.safetensors"));
    assert!(!again.recorded);
    let checks = verify(&find("maker/small", &world.places).unwrap(), &|_| {}).unwrap();
    assert!(checks.iter().all(|check| check.state == FileState::Same));
}

#[tokio::test]
async fn folders_that_cannot_be_written_to() {
    let mut world = World::new().await;
    let file = world.path().join("a file");
    fs::write(&file, "").unwrap();
    world.places.hub = Some(file.join("hub"));
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Local);
    assert!(error.to_string().contains("a file"), "{error}");
    world.places.hub = None;
    assert!(world.fetch().await.unwrap_err().to_string().contains("HF_HOME"));
}

#[tokio::test]
async fn imports_are_held_to_what_is_stated_and_on_record() {
    let world = World::with(&REGISTRY.replace("at_most = 300000", "bytes = 300000")).await;
    let folder = world.path().join("stick");
    let bring = |seed: u8, length: usize| {
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("config.json"), "{\"model_type\": \"clip\"}").unwrap();
        fs::write(folder.join("model.safetensors"), noise(seed, length)).unwrap();
        fs::write(folder.join("sub/tokenizer.json"), "{}").unwrap();
        fs::write(folder.join(".hidden.json"), "{}").unwrap();
    };
    bring(1, 5);
    let known = |id: &str| import(&folder, id, Some(&world.entry), &world.places);
    assert!(known("maker/small").unwrap_err().to_string().contains("the registry states 300000"));
    bring(1, LARGE);
    let imported = known("maker/small").unwrap();
    assert_eq!(tree(&imported.directory), ["config.json", "model.safetensors", "sub/tokenizer.json"]);
    let location = find("maker/small", &world.places).unwrap();
    assert!(location.present && location.expected.len() == 3);
    known("maker/small").unwrap();
    bring(2, LARGE);
    let error = known("maker/small").unwrap_err();
    assert!(matches!(error, nexis_core::Error::Model { .. }), "{error}");
    assert!(error.to_string().contains("on record"), "{error}");

    let own = import(&folder, "own", None, &world.places).unwrap();
    assert_eq!(tree(&own.directory), ["config.json", "model.safetensors"]);
    assert!(find("own", &world.places).unwrap().present);
    let nowhere = import(&folder, "third", None, &ModelPlaces::default()).unwrap_err();
    assert!(nowhere.to_string().contains("NEXIS_HOME"), "{nowhere}");
    assert!(import(&folder, "../own", None, &world.places).unwrap_err().to_string().contains("../own"));
    fs::write(folder.join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert!(import(&folder, "third", None, &world.places).unwrap_err().to_string().contains("model_type"));
    fs::remove_file(folder.join("config.json")).unwrap();
    assert!(import(&folder, "third", None, &world.places).unwrap_err().to_string().contains("config.json"));
}
