//! A small subnet: a chain in a file, a folder of buckets, and one validator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nexis_core::commitment::Credentials;
use nexis_core::media::{FfmpegDecoder, MediaLimits};
use nexis_core::model::card::ModelCard;
use nexis_core::model::{DualEncoder, LoadOptions};
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::synth::{Attack, ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::RowJudge;
use nexis_node::chain::sim::{SimulatedChain, SubnetConfig};
use nexis_node::chain::{Call, Chain, HotkeyPair};
use nexis_node::config::{Config, Sources};
use nexis_node::observe::{Health, Metrics};
use nexis_node::parts::FolderBuckets;
use nexis_node::state::{Identity, State};
use nexis_node::validator::{Clock, IndexFile, NoHook, Parts, Settings, StepHook, Validator};
use tokio_util::sync::CancellationToken;

pub(crate) const NETUID: u16 = 70;
/// The first block of the chain: interval 6900 may be judged at it.
pub(crate) const START: u64 = 7002;

/// The model is loaded once in a process.
pub(crate) fn judge() -> RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    let made = JUDGE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
        let model = DualEncoder::load(&folder, &LoadOptions::default()).unwrap();
        let card = ModelCard::load(&folder.join("card.toml")).unwrap();
        let decoder = Arc::new(FfmpegDecoder::default());
        RowJudge::new(decoder, Arc::new(model), Arc::new(card), MediaLimits::default(), 16).unwrap()
    });
    made.clone()
}

pub(crate) fn pair(name: &str) -> HotkeyPair {
    HotkeyPair::from_seed(nexis_core::hash::Digest::of(name).as_bytes()).unwrap()
}

pub(crate) fn hotkey(name: &str) -> Hotkey {
    pair(name).hotkey().clone()
}

/// A clock that stands still, so that nothing can depend on it.
pub(crate) struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        "2026-04-10T12:00:00Z".parse().unwrap()
    }
}

/// The u16 values of weights, with an arithmetic of the tests' own.
pub(crate) fn scaled(weights: &[f64]) -> Vec<u16> {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    weights.iter().map(|w| (w / largest * 65535.0).round() as u16).collect()
}

pub(crate) struct World {
    pub(crate) root: PathBuf,
}

impl World {
    /// A world in a folder; made where it is not there yet.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        std::fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    pub(crate) fn buckets(&self) -> PathBuf {
        self.root.join("buckets")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn chain(&self) -> SimulatedChain {
        let config = SubnetConfig {
            netuid: NETUID,
            start_block: START,
            commit_reveal: false,
            weights_version_key: 0,
            ..SubnetConfig::default()
        };
        SimulatedChain::open(&self.root.join("chain.json"), config).unwrap()
    }

    /// Registers the validator as UID 0.
    pub(crate) fn register_validator(&self) {
        self.chain().register(&hotkey("validator"), 1_000_000_000_000_000, true).unwrap();
    }

    /// Registers a miner with a commitment: its credentials, or what else is given.
    pub(crate) async fn register(&self, name: &str, commitment: Option<&[u8]>) -> u16 {
        let chain = self.chain();
        let uid = chain.register(&hotkey(name), 0, false).unwrap();
        let honest = Credentials::new(&"a1".repeat(16), &"k".repeat(32), &"s".repeat(64)).unwrap().encode();
        let data = commitment.map_or_else(|| honest.into_bytes(), <[u8]>::to_vec);
        chain.submit(&pair(name), &Call::SetCommitment { netuid: NETUID, data }).await.unwrap();
        uid
    }

    /// Writes a miner's package. Clips are drawn once for all tests of this program.
    pub(crate) fn package(&self, name: &str, interval: u64, seeds: &[u64], attack: Option<Attack>) {
        let plan = PackagePlan {
            hotkey: hotkey(name),
            interval: IntervalId::new(interval),
            created_at: "2026-04-10T11:00:00Z".parse().unwrap(),
            rows: seeds.iter().map(|seed| RowPlan::new(*seed, Category::Nature)).collect(),
            style: ClipStyle { fps: 6, ..ClipStyle::default() },
            attack,
        };
        plan.write(&self.buckets().join(plan.hotkey.bucket_name()), Some(clips()), &|| {}).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        let environment = |name: &str| (name == "HOME").then(|| "/home/op".to_owned());
        let data = self.data();
        let flags = [("network", "devnet"), ("data_dir", data.to_str().unwrap())];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned(), "test".to_owned())).to_vec();
        let config = Config::load(&Sources { file: None, environment: &environment, flags }).unwrap();
        Settings { weights_pause: Duration::ZERO, ..Settings::new(&config, Some(hotkey("validator"))) }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        let identity =
            Identity { network: "devnet".into(), netuid: NETUID, hotkey: Some(hotkey("validator")) };
        Arc::new(State::open(self.data().join("state.redb"), &identity).unwrap())
    }

    pub(crate) fn parts(&self, chain: &SimulatedChain, hook: Arc<dyn StepHook>) -> Parts {
        Parts {
            chain: Arc::new(chain.clone()),
            buckets: Arc::new(FolderBuckets(self.buckets())),
            index: Arc::new(IndexFile(self.root.join("record_info.json"))),
            judge: judge(),
            state: self.state(),
            signer: Some(pair("validator")),
            clock: Arc::new(Noon),
            hook,
            metrics: Metrics::new(),
            health: Health::new(Duration::from_secs(600), []),
        }
    }

    pub(crate) fn validator(&self, chain: &SimulatedChain) -> Validator {
        Validator::new(self.parts(chain, Arc::new(NoHook)), self.settings()).unwrap()
    }
}

/// Makes blocks until the head is this one.
pub(crate) fn advance_to(chain: &SimulatedChain, block: u64) {
    let head = chain.head().number;
    assert!(head <= block, "the chain is at {head} already");
    chain.advance(block - head).unwrap();
}

/// Has a validator do all that is to be done at the chain's head.
pub(crate) async fn follow(validator: &Validator, chain: &SimulatedChain) {
    let head = chain.finalized_head().await.unwrap();
    validator.follow(&head, &CancellationToken::new()).await.unwrap();
}

/// Decisions without what is said for people: interval, miner, codes, rows that passed.
pub(crate) type Decided = Vec<(u64, String, Vec<String>, usize)>;

pub(crate) fn decided(state: &State, intervals: &[u64]) -> Decided {
    let names: BTreeMap<Hotkey, &str> =
        ["alice", "bob", "carol", "dave", "eve"].map(|name| (hotkey(name), name)).into();
    let mut all = Decided::new();
    for id in intervals {
        let mut some: Vec<_> = state
            .decisions(IntervalId::new(*id))
            .unwrap()
            .into_iter()
            .map(|d| (*id, names[&d.miner_hotkey].to_owned(), d.failures, d.passed_sample_count))
            .collect();
        some.sort();
        all.extend(some);
    }
    all
}

fn clips() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// A manifest that holds, of a dataset that is not there.
pub(crate) fn manifest(name: &str, interval: u64) -> Vec<u8> {
    let manifest = serde_json::json!({
        "protocol_version": "1.0.0",
        "schema_version": "1.0.0",
        "spec_id": "video_v1",
        "category": "nature_landscape_scenery",
        "netuid": NETUID,
        "miner_hotkey": hotkey(name),
        "interval_id": interval,
        "created_at": "2026-04-10T11:00:00Z",
        "record_count": 1,
        "dataset_sha256": "0".repeat(64),
    });
    serde_json::to_vec(&manifest).unwrap()
}
