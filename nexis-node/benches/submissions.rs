//! An interval of 35 submissions of 50 rows over S3, as a validator fetches and judges it: time by phase, bytes, and peak
//! memory; then the same with one miner whose server never answers.
//!
//! Run it with `make bench-garage` for Garage, a real S3 server; without one, a server in another process of this program
//! stands in (`cargo bench -p nexis-node --bench submissions`). Not a criterion benchmark: a run takes a minute, and
//! memory is that of a process of its own.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexis_core::commitment::Credentials;
use nexis_core::hash::Digest;
use nexis_core::model::registry::ModelPlaces;
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::Verdict;
use nexis_core::synth::{ClipStyle, PackagePlan, RowPlan, source_video_id};
use nexis_gpu::EngineOptions;
use nexis_node::chain::sim::{SimulatedChain, SubnetConfig};
use nexis_node::chain::{Call, Chain, HotkeyPair};
use nexis_node::config::{Config, Sources};
use nexis_node::miner::{Upload, UploadOptions};
use nexis_node::observe::{Health, Metrics};
use nexis_node::state::{Identity, State};
use nexis_node::store::s3::{AccessKeys, S3Connector, S3Settings};
use nexis_node::store::server::{Grant, S3Server};
use nexis_node::store::{ObjectStore, Result as StoreResult};
use nexis_node::validator::{MinerBuckets, NoIndex, Parts, Settings, Step, StepHook, SystemClock, Validator};
use tokio_util::sync::CancellationToken;

const MINERS: usize = 35;
const ROWS: usize = 50;
/// Distinct pictures; every row has its own source and every bucket its own copy of each clip.
const SCENES: usize = 12;
const NETUID: u16 = 70;
const INTERVAL: IntervalId = IntervalId::new(6900);
/// Deadline of one miner's manifest and dataset in these runs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tells a process of this program that it is the validator, and which miner hangs, if any.
const ROLE: &str = "NEXIS_BENCH_VALIDATOR";
const FOLDER: &str = "NEXIS_BENCH_FOLDER";
const ENDPOINT: &str = "NEXIS_GARAGE_ENDPOINT";
const ACCESS: &str = "GARAGE_DEFAULT_ACCESS_KEY";
const SECRET: &str = "GARAGE_DEFAULT_SECRET_KEY";

fn pair(name: &str) -> HotkeyPair {
    HotkeyPair::from_seed(Digest::of(format!("bench {name}")).as_bytes()).unwrap()
}

fn miner(place: usize) -> HotkeyPair {
    pair(&format!("miner {place}"))
}

fn keys() -> AccessKeys {
    AccessKeys::new(std::env::var(ACCESS).unwrap(), std::env::var(SECRET).unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match std::env::var(ROLE) {
        Ok(hangs) => runtime.block_on(validate(hangs.parse().ok())),
        Err(_) => runtime.block_on(compare()),
    }
}

/// Makes the packages, puts them into buckets, and measures a validator with and without a miner who hangs.
async fn compare() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = Vec::new();
    let server = match std::env::var(ENDPOINT) {
        Ok(_) => None,
        Err(_) => {
            let server = S3Server::start(folder.path().join("s3")).await.unwrap();
            environment.push((ENDPOINT, server.endpoint()));
            environment.push((ACCESS, "bench".to_owned()));
            environment.push((SECRET, "the bench's secret".to_owned()));
            server.grant(&AccessKeys::new("bench", "the bench's secret"), Grant::all());
            Some(server)
        }
    };
    let (endpoint, keys) = match &server {
        Some(server) => (server.endpoint(), AccessKeys::new("bench", "the bench's secret")),
        None => (std::env::var(ENDPOINT).unwrap(), keys()),
    };
    println!(
        "nexis {} on {}; {MINERS} submissions of {ROWS} rows over {}; demonstration model",
        env!("CARGO_PKG_VERSION"),
        processor(),
        if server.is_some() { "an S3 server in another process" } else { "Garage" },
    );
    let begun = Instant::now();
    let bytes = upload(folder.path(), &endpoint, &keys).await;
    println!("uploaded {} MiB in {:.1} s", bytes >> 20, begun.elapsed().as_secs_f64());

    for hangs in [None, Some(MINERS / 2)] {
        let data = tempfile::tempdir_in(folder.path()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(ROLE, hangs.map_or_else(|| "none".to_owned(), |place| place.to_string()));
        child.env(FOLDER, data.path()).envs(environment.iter().cloned());
        let status = tokio::task::spawn_blocking(move || child.status().unwrap()).await.unwrap();
        assert!(status.success(), "the validator ended with {status}");
    }
}

/// Writes each miner's package and uploads it as a miner does. Gives the bytes sent.
async fn upload(folder: &Path, endpoint: &str, keys: &AccessKeys) -> u64 {
    let connector = S3Connector::new(S3Settings::default());
    let mut sent = 0;
    // One miner after another, so that each scene is drawn once.
    for place in 0..MINERS {
        let pair = miner(place);
        let store = connector.bucket(endpoint, &pair.hotkey().bucket_name(), keys).unwrap();
        store.create_bucket().await.unwrap();
        let bucket = folder.join("packages").join(pair.hotkey().bucket_name());
        let (to, clips, hotkey) = (bucket.clone(), folder.join("clips"), pair.hotkey().clone());
        let plan = tokio::task::spawn_blocking(move || {
            package(place, &hotkey).write(&to, Some(&clips), &|| {}).unwrap();
            Upload::plan(&to, INTERVAL, &hotkey).unwrap()
        });
        let options = UploadOptions { concurrency: 8, replace: true };
        sent += plan.await.unwrap().run(&store, &options, &|_, _| {}).await.unwrap().sent_bytes;
        std::fs::remove_dir_all(&bucket).unwrap();
    }
    sent
}

fn package(place: usize, hotkey: &Hotkey) -> PackagePlan {
    let rows = (0..ROWS).map(|row| {
        let source = 20_000_000 + (place * ROWS + row) as u64;
        RowPlan {
            source_video_id: source_video_id(source),
            clip_start_sec: (source % 600) as f64,
            ..RowPlan::new(610_000 + (row % SCENES) as u64, Category::Nature)
        }
    });
    PackagePlan {
        hotkey: hotkey.clone(),
        interval: INTERVAL,
        created_at: "2026-04-10T11:00:00Z".parse().unwrap(),
        rows: rows.collect(),
        style: ClipStyle::default(),
        attack: None,
    }
}

/// Every miner's bucket with the same keys; one miner's answers nothing.
struct Buckets {
    connector: S3Connector,
    endpoint: String,
    silent: Option<(Hotkey, String)>,
}

impl MinerBuckets for Buckets {
    fn open(&self, miner: &Hotkey, _committed: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
        let endpoint = match &self.silent {
            Some((hotkey, endpoint)) if hotkey == miner => endpoint,
            _ => &self.endpoint,
        };
        Ok(Arc::new(self.connector.bucket(endpoint, &miner.bucket_name(), &keys())?))
    }
}

/// When each step was reached.
#[derive(Default)]
struct Times(Mutex<HashMap<Step, Instant>>);

impl StepHook for Times {
    fn reached(&self, step: Step) {
        self.0.lock().unwrap().insert(step, Instant::now());
    }
}

/// Judges the interval once, and prints what it took.
async fn validate(hangs: Option<usize>) {
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let chain = SimulatedChain::open(
        &folder.join("chain.json"),
        SubnetConfig { netuid: NETUID, start_block: 6900, commit_reveal: false, ..SubnetConfig::default() },
    )
    .unwrap();
    let validator_hotkey = pair("validator");
    chain.register(validator_hotkey.hotkey(), 1_000_000_000_000_000, true).unwrap();
    let data = Credentials::new(&"a1".repeat(16), &"k".repeat(32), &"s".repeat(64)).unwrap().encode();
    for place in 0..MINERS {
        chain.register(miner(place).hotkey(), 0, false).unwrap();
        let call = Call::SetCommitment { netuid: NETUID, data: data.clone().into_bytes() };
        chain.submit(&miner(place), &call).await.unwrap();
    }
    // Connections to it are taken by the system and answered by nobody.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = hangs.map(|place| {
        (miner(place).hotkey().clone(), format!("http://{}", silent.local_addr().unwrap()), silent)
    });

    let flags = [("network", "devnet".to_owned()), ("data_dir", folder.display().to_string())];
    let flags = flags.map(|(key, value)| (key.to_owned(), value, "bench".to_owned())).to_vec();
    let environment = |name: &str| (name == "HOME").then(|| "/nonexistent".to_owned());
    let config = Config::load(&Sources { file: None, environment: &environment, flags }).unwrap();
    let engine = EngineOptions {
        model: "demo".into(),
        models_roots: ModelPlaces {
            roots: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")],
            ..ModelPlaces::default()
        },
        device: "cpu".into(),
        precision: config.model.precision,
        batch: config.model.batch,
        max_wall: config.model.max_wall,
        ensemble: None,
        judge: None,
    };
    let judge = engine.judge().unwrap();
    let idle = memory("VmRSS");
    let hotkey = validator_hotkey.hotkey().clone();
    let identity = Identity { network: "devnet".into(), netuid: NETUID, hotkey: Some(hotkey.clone()) };
    let (times, metrics) = (Arc::new(Times::default()), Metrics::new());
    let buckets = Buckets {
        connector: S3Connector::new(S3Settings::default()),
        endpoint: std::env::var(ENDPOINT).unwrap(),
        silent: silent.as_ref().map(|(hotkey, endpoint, _)| (hotkey.clone(), endpoint.clone())),
    };
    let parts = Parts {
        chain: Arc::new(chain.clone()),
        buckets: Arc::new(buckets),
        index: Arc::new(NoIndex),
        judge,
        state: Arc::new(State::open(folder.join("state.redb"), &identity).unwrap()),
        signer: None,
        clock: Arc::new(SystemClock),
        hook: Arc::clone(&times) as Arc<dyn StepHook>,
        metrics: metrics.clone(),
        health: Health::new(Duration::from_secs(600), []),
    };
    let mut settings = Settings::new(&config, Some(hotkey));
    settings.validator.fetch = DEADLINE;
    let validator = Validator::new(parts, settings).unwrap();

    // Everybody is there by the block at which the interval may first be judged.
    chain.advance(INTERVAL.first_eligible_block() - chain.head().number).unwrap();
    let head = chain.finalized_head().await.unwrap();
    validator.follow(&head, &CancellationToken::new()).await.unwrap();

    let times = times.0.lock().unwrap();
    let took = |from: Step, to: Step| (times[&to] - times[&from]).as_secs_f64();
    let decisions = validator.state().decisions(INTERVAL).unwrap();
    let count = |verdict| decisions.iter().filter(|d| d.verdict == verdict).count();
    let rows: usize = decisions.iter().map(|d| d.sampled_rows).sum();
    let downloaded = metrics.to_text().unwrap();
    let downloaded = downloaded.lines().find_map(|l| l.strip_prefix("nexis_downloaded_bytes_total "));
    let peak = memory("VmHWM");
    println!(
        "{}: {} accepted, {} rejected, {} not checked",
        match hangs {
            None => "everybody answers".to_owned(),
            Some(_) => format!("one miner hangs (deadline {} s)", DEADLINE.as_secs()),
        },
        count(Verdict::Accept),
        count(Verdict::Reject),
        count(Verdict::Inconclusive),
    );
    println!(
        "  manifests and datasets {:.1} s, {rows} rows' clips {:.1} s, judging {:.1} s; {:.1} MiB downloaded; \
         peak memory {} MiB, {} MiB of it model and program before the first request",
        took(Step::IndexRead, Step::DatasetsFetched),
        took(Step::Planned, Step::AssetsFetched),
        took(Step::AssetsFetched, Step::Judged),
        downloaded.and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / f64::from(1 << 20),
        peak >> 10,
        idle >> 10,
    );
}

/// A figure of this process's memory in KiB, as Linux tells it.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {threads} threads", name.map_or("an unknown processor", |(_, name)| name.trim()))
}
