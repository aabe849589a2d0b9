//! Buckets that hang, lie, refuse or are gone: whose fault is it, and who else feels it?

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use nexis_core::commitment::Credentials;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;
use nexis_node::parts::FolderBuckets;
use nexis_node::store::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreError, StoreErrorKind};
use nexis_node::validator::{MinerBuckets, NoHook, Validator};

use super::world::{World, follow, hotkey};

/// What a bucket does when it is read.
#[derive(Clone, Copy)]
enum Odd {
    Hangs,
    Endless,
    Short,
    Denies,
    Unreachable,
    HugeDataset,
}

fn error(kind: StoreErrorKind) -> StoreError {
    StoreError { kind, store: "odd".into(), what: "as it pleases".into() }
}

#[async_trait]
impl ObjectStore for Odd {
    fn name(&self) -> &str {
        "odd"
    }

    async fn head(&self, _key: &str) -> Result<Option<ObjectMeta>> {
        Ok(None)
    }

    async fn get(&self, key: &str, _range: Option<Range<u64>>) -> Result<Option<ObjectBody>> {
        let chunk = || Ok(Bytes::from_static(&[b'x'; 1024]));
        let body = |len, bytes| {
            let meta = ObjectMeta { key: key.to_owned(), len, last_modified: None, etag: None };
            Ok(Some(ObjectBody { meta, bytes }))
        };
        match self {
            Self::Hangs => std::future::pending().await,
            Self::Endless => body(2048, stream::repeat_with(chunk).boxed()),
            Self::Short => body(4096, stream::iter([chunk()]).boxed()),
            Self::Denies => Err(error(StoreErrorKind::Denied)),
            Self::Unreachable => Err(error(StoreErrorKind::Unreachable)),
            Self::HugeDataset if key.ends_with(".parquet") => {
                body(1 << 40, stream::repeat_with(chunk).boxed())
            }
            Self::HugeDataset => {
                let manifest = super::world::manifest("eve", 6900);
                body(manifest.len() as u64, stream::iter([Ok(Bytes::from(manifest))]).boxed())
            }
        }
    }

    async fn put(&self, _key: &str, _bytes: Bytes, _content_type: &str) -> Result<()> {
        Err(error(StoreErrorKind::Denied))
    }

    async fn put_file(&self, _key: &str, _path: &Path, _content_type: &str) -> Result<()> {
        Err(error(StoreErrorKind::Denied))
    }

    fn list(&self, _prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        stream::empty().boxed()
    }

    async fn delete(&self, _key: &str) -> Result<()> {
        Err(error(StoreErrorKind::Denied))
    }
}

/// Alice's bucket is a folder, the others' are odd.
struct Mixed {
    folders: FolderBuckets,
    odd: Vec<(Hotkey, Odd)>,
}

impl MinerBuckets for Mixed {
    fn open(&self, miner: &Hotkey, credentials: &Credentials) -> Result<Arc<dyn ObjectStore>> {
        match self.odd.iter().find(|(hotkey, _)| hotkey == miner) {
            Some((_, odd)) => Ok(Arc::new(*odd)),
            None => self.folders.open(miner, credentials),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_odd_bucket_is_its_miners_or_nobodys_fault_and_never_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.register_validator();
    let odd = [
        ("bob", Odd::Hangs),
        ("carol", Odd::Endless),
        ("dave", Odd::Denies),
        ("eve", Odd::HugeDataset),
        ("frank", Odd::Unreachable),
        ("grace", Odd::Short),
    ];
    for name in ["alice"].into_iter().chain(odd.map(|(name, _)| name)) {
        world.register(name, None).await;
    }
    world.package("alice", 6900, &[600_000], None);
    let chain = world.chain();
    let mut parts = world.parts(&chain, Arc::new(NoHook));
    let odd = odd.map(|(name, odd)| (hotkey(name), odd)).to_vec();
    parts.buckets = Arc::new(Mixed { folders: FolderBuckets(world.buckets()), odd });
    let mut settings = world.settings();
    settings.validator.fetch = Duration::from_secs(4);
    let validator = Validator::new(parts, settings).unwrap();
    follow(&validator, &chain).await;

    let decisions = validator.state().decisions(IntervalId::new(6900)).unwrap();
    let of = |name: &str| decisions.iter().find(|d| d.miner_hotkey == hotkey(name)).unwrap();
    assert_eq!((of("alice").verdict, of("alice").passed_sample_count), (Verdict::Accept, 1));
    for name in ["bob", "carol", "frank", "grace"] {
        assert_eq!(of(name).verdict, Verdict::Inconclusive, "{name}: {:?}", of(name));
        assert!(of(name).failures.is_empty() && !of(name).inconclusive.is_empty());
    }
    assert_eq!(of("dave").failures, ["missing_submission_files"]);
    assert_eq!(of("eve").failures, ["dataset_schema_invalid"]);

    // Whom we could not check has no score, neither for nor against.
    let scores = validator.state().scores(None, IntervalId::new(6900)).unwrap();
    let mut scored: Vec<_> = scores.iter().map(|s| s.miner_hotkey.clone()).collect();
    scored.sort();
    let mut wanted = ["alice", "dave", "eve"].map(hotkey).to_vec();
    wanted.sort();
    assert_eq!(scored, wanted);
}
