//! What arrives, how it goes on after it broke off, and when nobody is asked.

use std::fs;
use std::time::Duration;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use nexis_core::model::registry::{ModelPlace, resolve};
use nexis_node::hub::{How, HubErrorKind};

use crate::server::{Fault, On, sha256};
use crate::world::{COMMIT, LARGE, REPOSITORY, World, noise, repo};

#[tokio::test]
async fn a_model_arrives_and_is_found() {
    let world = World::new().await;
    let fetched = world.fetch().await.unwrap();
    assert_eq!((fetched.commit.as_str(), fetched.recorded), (COMMIT, true));
    let hows: Vec<_> = fetched.files.iter().map(|file| (file.name.as_str(), file.how)).collect();
    let names = ["config.json", "model.safetensors", "sub/tokenizer.json"];
    assert_eq!(hows, names.map(|name| (name, How::Downloaded)));
    for (name, (bytes, _)) in repo(COMMIT, 1).files {
        assert_eq!(fs::read(fetched.directory.join(&name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(*world.notes.planned.lock().unwrap(), *world.notes.arrived.lock().unwrap());

    let location = resolve("maker/small", &world.places).unwrap();
    assert_eq!(location.directory, fetched.directory);
    assert_eq!(location.place, ModelPlace::Hub { commit: COMMIT.into() });
    assert_eq!(location.expected["model.safetensors"].to_string(), sha256(&noise(1, LARGE)));
    assert!(world.lock().models()[0].files.values().all(|file| file.fetched));
    assert_eq!(world.repository().commit("main").as_deref(), Some(COMMIT));
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_not_to_where_it_sends_us() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    let seen = world.hub.seen();
    assert!(seen.iter().any(|request| request.large), "the large file is elsewhere");
    for request in seen {
        assert_eq!(request.headers.contains_key(AUTHORIZATION), !request.large, "{request:?}");
    }
}

#[tokio::test]
async fn with_everything_there_nobody_is_asked() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    let before = world.hub.connections();
    let again = world.fetch().await.unwrap();
    assert!(again.files.iter().all(|file| file.how == How::Present) && !again.recorded);
    let mut offline = world;
    offline.settings.offline = true;
    offline.fetch().await.unwrap();
    assert_eq!(offline.hub.connections(), before);
}

#[tokio::test]
async fn offline_means_no_connection_at_all() {
    let mut world = World::new().await;
    world.settings.offline = true;
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Offline);
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert_eq!(world.hub.connections(), 0);

    // A cache that another program filled, with a branch that it resolved: nothing is on record yet.
    world.settings.offline = false;
    world.fetch().await.unwrap();
    fs::remove_dir_all(world.places.home.as_ref().unwrap()).unwrap();
    let before = world.hub.connections();
    world.settings.offline = true;
    assert!(world.fetch().await.unwrap().recorded);
    fs::remove_file(world.repository().snapshot(COMMIT).join("config.json")).unwrap();
    assert_eq!(world.fetch().await.unwrap_err().kind, HubErrorKind::Offline);
    assert_eq!(world.hub.connections(), before);
}

#[tokio::test]
async fn a_fetch_that_broke_off_goes_on_where_it_was() {
    let mut world = World::new().await;
    world.settings.attempts = 1;
    world.hub.fault(On::Large, Fault::Cut(100_000));
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Unreachable, "{error}");
    assert_eq!(fs::metadata(world.incomplete()).unwrap().len(), 100_000);
    assert!(resolve("maker/small", &world.places).is_err(), "half a model is none");

    let fetched = world.fetch().await.unwrap();
    assert_eq!(fetched.files[1].how, How::Resumed);
    assert_eq!(world.hub.large_ranges(), [None, Some("bytes=100000-".to_owned())]);
    assert!(!world.incomplete().exists());
}

#[tokio::test]
async fn broken_connections_are_taken_up_again_within_one_fetch() {
    let world = World::new().await;
    for at in [100_000, 50_000, 1] {
        world.hub.fault(On::Large, Fault::Cut(at));
    }
    world.fetch().await.unwrap();
    let ranges = world.hub.large_ranges();
    let from = |n: &str| Some(format!("bytes={n}-"));
    assert_eq!(ranges, [None, from("100000"), from("150000"), from("150001")]);
}

#[tokio::test]
async fn a_store_that_stalls_is_asked_again() {
    let mut world = World::new().await;
    world.settings.stall_timeout = Duration::from_secs(2);
    world.hub.fault(On::Large, Fault::Stall(200_000));
    world.fetch().await.unwrap();
    assert_eq!(world.hub.large_ranges(), [None, Some("bytes=200000-".to_owned())]);
}

#[tokio::test]
async fn a_store_without_ranges_sends_all_of_it_again() {
    let world = World::new().await;
    world.hub.fault(On::Large, Fault::Cut(100_000));
    world.hub.fault(On::Large, Fault::NoRange);
    world.fetch().await.unwrap();
    assert_eq!(world.hub.large_ranges().len(), 2);
}

#[tokio::test]
async fn what_is_no_beginning_of_the_file_is_dropped() {
    let world = World::new().await;
    for (length, ranges) in [(LARGE, 0), (LARGE + 1, 1), (10, 2)] {
        let _ = fs::remove_dir_all(world.places.hub.as_ref().unwrap());
        fs::create_dir_all(world.repository().blobs()).unwrap();
        fs::write(world.incomplete(), noise(9, length)).unwrap();
        let fetched = world.fetch().await;
        match length {
            // As long as the file, or the beginning of another: what is on the disk is read, and it is no good.
            LARGE | 10 => {
                assert_eq!(fetched.unwrap_err().kind, HubErrorKind::Changed);
                assert!(!world.incomplete().exists());
            }
            _ => drop(fetched.unwrap()),
        }
        assert_eq!(world.hub.large_ranges().len(), ranges);
    }
}

#[tokio::test]
async fn busy_hubs_are_waited_for_as_they_ask() {
    let world = World::new().await;
    world.hub.fault(On::Head, Fault::Status(429, Some(("retry-after", "0"))));
    world.hub.fault(On::Head, Fault::Status(429, Some(("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"))));
    world.hub.fault(On::Head, Fault::Status(503, None));
    world.hub.fault(On::Large, Fault::Status(500, None));
    world.fetch().await.unwrap();
    assert_eq!(world.hub.left(), 0);

    let world = World::new().await;
    world.hub.fault(On::Head, Fault::Status(429, Some(("retry-after", "4000"))));
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Busy);
    assert!(error.to_string().contains("4000 s"), "{error}");
    assert_eq!(world.hub.seen().len(), 1);
}

#[tokio::test]
async fn patience_ends() {
    let mut world = World::new().await;
    world.settings.attempts = 3;
    for _ in 0..3 {
        world.hub.fault(On::Large, Fault::Status(502, None));
    }
    let error = world.fetch().await.unwrap_err();
    assert_eq!(error.kind, HubErrorKind::Unreachable);
    assert!(!error.to_string().contains("Signature"), "{error}");
    assert_eq!(world.hub.large_ranges().len(), 3);
}

#[tokio::test]
async fn a_signed_address_that_expired_is_asked_for_anew() {
    let world = World::new().await;
    world.hub.fault(On::Large, Fault::Status(403, None));
    world.fetch().await.unwrap();
    let gets =
        world.hub.seen().into_iter().filter(|r| r.method == Method::GET && r.path.contains("resolve/"));
    assert_eq!(gets.filter(|r| r.path.ends_with("model.safetensors")).count(), 2);
}

#[tokio::test]
async fn a_branch_that_moves_is_kept_to_where_it_was_first() {
    let world = World::new().await;
    world.fetch().await.unwrap();
    let newer = "f".repeat(40);
    world.hub.put(REPOSITORY, "main", repo(&newer, 2));
    fs::remove_dir_all(world.places.hub.as_ref().unwrap()).unwrap();
    let again = world.fetch().await.unwrap();
    assert_eq!((again.commit.as_str(), again.recorded), (COMMIT, false));
    // Another program has followed the branch: what it knows of it stays.
    fs::write(world.repository().reference("main"), &newer).unwrap();
    assert_eq!(world.fetch().await.unwrap().commit, COMMIT);
    assert_eq!(world.repository().commit("main").as_ref(), Some(&newer));
    // Another machine, where nothing is on record, gets what the branch is now.
    fs::remove_dir_all(world.places.home.as_ref().unwrap()).unwrap();
    assert_eq!(world.fetch().await.unwrap().commit, newer);
    assert_eq!(world.repository().commit("main"), Some(newer));
}

#[tokio::test]
async fn revisions_with_slashes_are_revisions() {
    let registry = crate::world::REGISTRY.replace("\"main\"", "\"refs/pr/15\"");
    let world = World::with(&registry).await;
    world.hub.put(REPOSITORY, "refs/pr/15", repo(COMMIT, 1));
    world.fetch().await.unwrap();
    assert_eq!(world.repository().commit("refs/pr/15").as_deref(), Some(COMMIT));
    assert!(world.hub.seen()[0].path.contains("/resolve/refs%2Fpr%2F15/"));
}

#[tokio::test]
async fn two_at_once_fetch_once() {
    let world = World::new().await;
    let (one, two) = tokio::join!(world.fetch(), world.fetch());
    one.unwrap();
    two.unwrap();
    assert_eq!(world.hub.large_ranges().len(), 1);
    assert!(world.lock().models()[0].files.values().all(|file| file.fetched));
}
