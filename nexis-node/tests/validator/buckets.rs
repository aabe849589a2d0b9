//! Buckets over S3, with the keys that miners committed and real signatures.

use std::sync::Arc;

use nexis_core::commitment::Credentials;
use nexis_core::protocol::IntervalId;
use nexis_node::config::{Config, Sources};
use nexis_node::parts::S3Buckets;
use nexis_node::store::s3::{AccessKeys, S3Connector, S3Settings};
use nexis_node::store::server::{Grant, S3Server};
use nexis_node::validator::{NoHook, Validator};

use super::world::{World, follow, hotkey};

fn credentials(letter: &str) -> Credentials {
    Credentials::new(&"a1".repeat(16), &letter.repeat(32), &letter.repeat(64)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_keys_open_their_bucket_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let server = S3Server::start(world.buckets()).await.unwrap();
    world.register_validator();
    // Bob committed a secret that is not the one his bucket has. Carol has a bucket and nothing in it. Dave has none.
    for (name, committed, granted) in
        [("alice", "k", Some("k")), ("bob", "x", Some("y")), ("carol", "c", Some("c")), ("dave", "d", None)]
    {
        world.register(name, Some(credentials(committed).encode().as_bytes())).await;
        let bucket = hotkey(name).bucket_name();
        if let Some(granted) = granted {
            server.create_bucket(&bucket).unwrap();
            server.grant(&AccessKeys::from(&credentials(granted)), Grant::read(bucket));
        }
    }
    for name in ["alice", "bob"] {
        world.package(name, 6900, &[600_000], None);
    }

    let flags = [("network", "devnet"), ("storage.endpoint", &server.endpoint())];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned(), "test".to_owned())).to_vec();
    let environment = |name: &str| (name == "HOME").then(|| "/home/op".to_owned());
    let config = Config::load(&Sources { file: None, environment: &environment, flags }).unwrap();
    let chain = world.chain();
    let mut parts = world.parts(&chain, Arc::new(NoHook));
    let connector = S3Connector::new(S3Settings::default());
    parts.buckets = Arc::new(S3Buckets { connector, storage: config.storage });
    let validator = Validator::new(parts, world.settings()).unwrap();
    follow(&validator, &chain).await;

    let decisions = validator.state().decisions(IntervalId::new(6900)).unwrap();
    let of = |name: &str| decisions.iter().find(|d| d.miner_hotkey == hotkey(name)).unwrap();
    assert!(of("alice").failures.is_empty() && of("alice").passed_sample_count == 1, "{:?}", of("alice"));
    for name in ["bob", "carol", "dave"] {
        assert_eq!(of(name).failures, ["missing_submission_files"], "{name}: {:?}", of(name));
    }
    server.stop().await;
}
