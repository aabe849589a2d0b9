//! The parts of a devnet, put together in a folder:
//!
//! ```text
//! plan.json      what is run here
//! chain.json     the simulated chain
//! s3/            the S3 server's buckets
//! packages/      packages on their way into the buckets
//! handed-in/     intervals whose packages are in the buckets
//! node/          the validator's data folder
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use nexis_core::Error;
use nexis_core::check::Policy;
use nexis_core::commitment::Credentials;
use nexis_core::evidence::canonical_digest;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::synth::PackagePlan;
use nexis_core::verifier::RowJudge;
use rayon::prelude::*;
use tokio_util::sync::CancellationToken;

use super::cast::{Cast, DATASET_BUCKET, Miner, RECORD_INFO_BUCKET};
use super::obstacles::{Obstacle, clear};
use super::timeline::{Timeline, WEIGHTS_BLOCKS};
use super::{DevnetError, FaultKind, IntervalOutcome, Options, Outcome, Plan, ShownDecision, check};
use crate::chain::sim::{Chaos, SimulatedChain, SubnetConfig};
use crate::chain::{Call, Chain};
use crate::config::ValidatorConfig;
use crate::miner::{CommitOptions, Upload, UploadOptions, commit};
use crate::observe::{Condition, Health, Metrics};
use crate::owner::source::{accepted, committed};
use crate::owner::{Owner, OwnerOptions, Synced};
use crate::state::{Identity, IntervalStatus, State, WeightState};
use crate::store::faults::FaultPlan;
use crate::store::s3::{AccessKeys, S3Connector, S3Settings};
use crate::store::server::{Grant, S3Server};
use crate::store::{ObjectStore, Result as StoreResult};
use crate::validator::{
    IndexObject, MinerBuckets, NoHook, Parts, Settings, SystemClock, Validator, ValidatorError,
};

/// The network's own subnet.
const NETUID: u16 = 70;
/// Blocks of an epoch.
const EPOCH_BLOCKS: u16 = 20;
/// How often something that fails by a fault is tried.
const TRIES: u32 = 200;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Share of requests that meet a fault of the network.
const NETWORK_FAULTS: f64 = 0.2;
/// Of 1000 reads and submissions, so many meet a fault of the chain.
const CHAIN_READ_FAULTS: u16 = 50;
const CHAIN_SUBMIT_FAULTS: u16 = 300;

/// Everything that runs.
pub(super) struct World {
    cast: Cast,
    timeline: Timeline,
    options: Options,
    chain: SimulatedChain,
    server: S3Server,
    buckets: Arc<Buckets>,
    state: Arc<State>,
    validator: Validator,
    owner: Owner,
    data_dir: PathBuf,
}

/// Miners' buckets on the devnet's server.
struct Buckets {
    connector: S3Connector,
    endpoint: String,
}

impl Buckets {
    fn open_with(&self, bucket: &str, keys: &AccessKeys) -> StoreResult<Arc<dyn ObjectStore>> {
        Ok(Arc::new(self.connector.bucket(&self.endpoint, bucket, keys)?))
    }
}

impl MinerBuckets for Buckets {
    fn open(&self, miner: &Hotkey, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
        Ok(Arc::new(self.connector.miner(miner, credentials, Some(&self.endpoint))?))
    }
}

impl World {
    /// Takes up what is in the folder, or begins.
    pub(super) async fn build(
        plan: &Plan,
        options: &Options,
        timeline: Timeline,
        judge: RowJudge,
    ) -> Result<Self, DevnetError> {
        let out = &options.out;
        fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
        adopt(&out.join("plan.json"), plan)?;
        let cast = Cast::new(plan.seed, plan.miners, plan.intervals, plan.rows)?;
        let chain = SimulatedChain::open(&out.join("chain.json"), subnet(plan, &timeline))?;
        chain.register(cast.validator.hotkey(), 1_000_000_000_000, true)?;
        for miner in &cast.miners {
            chain.register(miner.pair.hotkey(), 0, false)?;
        }
        let server = serve(&cast, &out.join("s3")).await.map_err(|e| Error::io(out.join("s3"), e))?;
        if options.faults.contains(&FaultKind::Network) {
            server.set_faults(Some(FaultPlan::even(plan.seed, NETWORK_FAULTS)));
        }
        if options.faults.contains(&FaultKind::Chain) {
            let chaos = Chaos {
                seed: plan.seed,
                reads_permille: CHAIN_READ_FAULTS,
                submits_permille: CHAIN_SUBMIT_FAULTS,
            };
            chain.faults(|faults| faults.chaos = Some(chaos));
        }
        let connector = S3Connector::new(S3Settings {
            first_byte_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            backoff: PAUSE,
            max_backoff: Duration::from_millis(200),
            ..S3Settings::default()
        });
        let buckets = Arc::new(Buckets { connector, endpoint: server.endpoint() });
        let data_dir = out.join("node");
        fs::create_dir_all(&data_dir).map_err(|e| Error::io(&data_dir, e))?;
        let identity = Identity {
            network: "devnet".into(),
            netuid: NETUID,
            hotkey: Some(cast.validator.hotkey().clone()),
        };
        let state = Arc::new(State::open(data_dir.join("state.redb"), &identity)?);
        let metrics = Metrics::new();
        let index = buckets.open_with(RECORD_INFO_BUCKET, &cast.index)?;
        let parts = Parts {
            chain: Arc::new(chain.clone()),
            buckets: Arc::clone(&buckets) as Arc<dyn MinerBuckets>,
            index: Arc::new(IndexObject { store: index, key: "record_info.json".into() }),
            judge,
            state: Arc::clone(&state),
            signer: Some(cast.validator.clone()),
            clock: Arc::new(SystemClock),
            hook: Arc::new(NoHook),
            metrics: metrics.clone(),
            health: Health::new(Duration::from_secs(600), [Condition::Chain, Condition::State]),
        };
        let settings = Settings {
            netuid: NETUID,
            data_dir: data_dir.clone(),
            hotkey: Some(cast.validator.hotkey().clone()),
            threads: options.threads,
            weights_pause: PAUSE,
            validator: validator_config(),
        };
        let validator = Validator::new(parts, settings)?;
        let owner = Owner::new(
            buckets.open_with(RECORD_INFO_BUCKET, &cast.owner)?,
            Some(buckets.open_with(DATASET_BUCKET, &cast.owner)?),
            OwnerOptions::new(data_dir.join("publishing")),
            metrics,
        );
        let options = options.clone();
        let world =
            Self { cast, timeline, options, chain, server, buckets, state, validator, owner, data_dir };
        for miner in &world.cast.miners {
            world.commit(miner).await?;
        }
        Ok(world)
    }

    fn has(&self, fault: FaultKind) -> bool {
        self.options.faults.contains(&fault)
    }

    /// Commits what a miner commits, unless the chain has it.
    async fn commit(&self, miner: &Miner) -> Result<(), DevnetError> {
        if let Some(credentials) = Cast::credentials(miner) {
            let options = CommitOptions { tries: TRIES, pause: PAUSE };
            return self
                .persist("a commitment", async || {
                    Ok(commit(&self.chain, &miner.pair, NETUID, &credentials, &options).await.map(drop)?)
                })
                .await;
        }
        self.persist("a commitment", async || {
            let head = self.chain.finalized_head().await?;
            if self.chain.commitments(NETUID, &head).await?.contains_key(miner.pair.hotkey()) {
                return Ok(());
            }
            let call = Call::SetCommitment { netuid: NETUID, data: miner.commitment.clone() };
            Ok(self.chain.submit(&miner.pair, &call).await.map(drop)?)
        })
        .await
    }

    /// Tries what may fail by a fault until it comes about.
    async fn persist<T>(
        &self,
        what: &str,
        work: impl AsyncFn() -> Result<T, DevnetError>,
    ) -> Result<T, DevnetError> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match work().await {
                Ok(done) => return Ok(done),
                Err(stop @ DevnetError::Validator(ValidatorError::Stopped)) => return Err(stop),
                Err(error) if self.options.faults.is_empty() => return Err(error),
                Err(error) => {
                    tracing::debug!(what, %error, "trying again");
                    last = error.to_string();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(DevnetError::Stuck { what: what.to_owned(), tries: TRIES, last })
    }

    /// Makes the packages of an interval and puts them into the buckets.
    pub(super) async fn hand_in(&self, at: u64, interval: IntervalId) -> Result<(), DevnetError> {
        let done = self.options.out.join("handed-in").join(interval.to_string());
        if done.exists() {
            return Ok(());
        }
        let began = DateTime::<Utc>::from_timestamp(1_775_822_400 + at as i64 * 1200, 0).unwrap_or_default();
        let plans: Vec<(&Miner, PackagePlan)> = self
            .cast
            .miners
            .iter()
            .filter_map(|miner| Some((miner, self.cast.plan(miner, interval, at, began)?)))
            .collect();
        let folder = self.options.out.join("packages");
        let clips = self.options.clips.clone();
        let jobs: Vec<(PathBuf, PackagePlan)> =
            plans.iter().map(|(_, plan)| (folder.join(plan.hotkey.bucket_name()), plan.clone())).collect();
        aside(move || {
            jobs.par_iter().try_for_each(|(bucket, plan)| {
                // What a killed run left is of no use.
                remove(bucket)?;
                plan.write(bucket, Some(&clips), &|| {})
            })
        })
        .await??;
        stream::iter(plans)
            .map(|(miner, plan)| self.upload(miner, plan, interval, &folder))
            .buffer_unordered(4)
            .try_collect::<Vec<()>>()
            .await?;
        remove(&folder)?;
        if let Some(parent) = done.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        Ok(fs::write(&done, b"").map_err(|e| Error::io(&done, e))?)
    }

    /// Honest miners upload as `nexis miner upload` does, which refuses what a validator would refuse; cheats send
    /// their files as they are.
    async fn upload(
        &self,
        miner: &Miner,
        plan: PackagePlan,
        interval: IntervalId,
        folder: &Path,
    ) -> Result<(), DevnetError> {
        let name = miner.pair.hotkey().bucket_name();
        let (package, store) = (folder.join(&name), self.buckets.open_with(&name, &miner.write)?);
        let store = store.as_ref();
        if plan.attack.is_none() {
            let (bucket, hotkey) = (package, miner.pair.hotkey().clone());
            let upload = aside(move || Upload::plan(&bucket, interval, &hotkey)).await??;
            let options = UploadOptions { replace: true, ..UploadOptions::default() };
            self.persist("an upload", async || {
                Ok(upload.run(store, &options, &|_, _| {}).await.map(drop)?)
            })
            .await?;
        } else {
            let manifest = package.join(interval.to_string()).join("manifest.json");
            let mut files = files_below(&package)?;
            // The manifest comes last, as everywhere.
            files.sort_by_key(|path| (*path == manifest, path.clone()));
            for file in files {
                let Ok(key) = file.strip_prefix(&package) else { continue };
                let key = key.to_string_lossy().into_owned();
                self.persist("an upload", async || {
                    Ok(store.put_file(&key, &file, "application/octet-stream").await?)
                })
                .await?;
            }
        }
        // The order among miners follows from the store's times, which must not depend on how fast this machine is.
        let manifest = self.server.bucket_folder(&name).join(interval.to_string()).join("manifest.json");
        let stamp = || fs::File::options().write(true).open(&manifest)?.set_modified(plan.created_at.into());
        stamp().map_err(|e| Error::io(&manifest, e).into())
    }

    /// Lets the chain go on to a block. With faults of the chain, nobody sees the new blocks for a while.
    pub(super) async fn advance_to(&self, block: u64) -> Result<(), DevnetError> {
        let head = self.chain.head().number;
        if head >= block {
            return Ok(());
        }
        let stalls = self.has(FaultKind::Chain);
        if stalls {
            self.chain.faults(|faults| faults.stalled = true);
        }
        self.chain.advance(block - head)?;
        if stalls {
            let seen = self.persist("a head", async || Ok(self.chain.finalized_head().await?)).await?;
            tracing::debug!(seen = seen.number, head = block, "the head stands still");
            self.chain.faults(|faults| faults.stalled = false);
        }
        Ok(())
    }

    /// Has the validator do what is to be done at the head.
    pub(super) async fn follow(&self, at: u64, stop: &CancellationToken) -> Result<(), DevnetError> {
        let interval = self.timeline.interval(at);
        let node = &self.data_dir;
        let mut obstacles: Vec<PathBuf> = Vec::new();
        for place in [
            node.join("bundles").join(format!("{interval}.partial")),
            node.join("evidence").join(interval.to_string()),
        ] {
            clear(&place);
            if self.has(FaultKind::Disk) {
                obstacles.push(place);
            }
        }
        let obstacles = std::sync::Mutex::new(obstacles);
        self.persist("an interval", async || {
            let place = obstacles.lock().ok().and_then(|mut obstacles| obstacles.pop());
            let _in_the_way = place.and_then(Obstacle::put);
            let head = self.chain.finalized_head().await?;
            Ok(self.validator.follow(&head, stop).await?)
        })
        .await?;
        match self.state.interval(interval)? {
            Some(record) if record.status == IntervalStatus::Done => Ok(()),
            found => {
                let why = format!("interval {interval} is not decided: {found:?}");
                Err(Error::Internal(why).into())
            }
        }
    }

    /// Publishes what was accepted.
    pub(super) async fn publish(&self, at: u64, interval: IntervalId) -> Result<Option<Synced>, DevnetError> {
        let place = self.data_dir.join("publishing");
        clear(&place);
        let obstacle = (self.has(FaultKind::Disk) && at == 0).then(|| Obstacle::put(place)).flatten();
        let obstacle = std::sync::Mutex::new(obstacle);
        self.persist("publishing", async || {
            // It is in the way once.
            let _in_the_way = obstacle.lock().ok().and_then(|mut obstacle| obstacle.take());
            let head = self.chain.finalized_head().await?;
            let committed = committed(&self.chain, NETUID, &head).await?;
            let accepted =
                accepted(&self.data_dir, &self.state, interval, &committed, self.buckets.as_ref())?;
            Ok(self.owner.sync(interval, &accepted).await?)
        })
        .await
    }

    /// Waits until the last weights are in force.
    pub(super) async fn settle_weights(&self, stop: &CancellationToken) -> Result<(), DevnetError> {
        let last = self.timeline.all().last().map(|(_, id)| id);
        for _ in 0..TRIES {
            self.persist("weights", async || {
                let head = self.chain.finalized_head().await?;
                Ok(self.validator.follow(&head, stop).await?)
            })
            .await?;
            let records = self.state.weights()?;
            let settled = |r: &crate::state::WeightRecord| {
                Some(r.upto) == last && matches!(r.outcome, WeightState::Confirmed { .. })
            };
            if records.last().is_some_and(settled) {
                return Ok(());
            }
            self.advance_to(self.chain.head().number + 10).await?;
        }
        let last = format!("{:?}", self.state.weights()?.last());
        Err(DevnetError::Stuck { what: "weights".into(), tries: TRIES, last })
    }

    /// The decisions of an interval.
    pub(super) fn outcome_of(&self, interval: IntervalId) -> Result<IntervalOutcome, DevnetError> {
        let mut decisions: Vec<ShownDecision> = self
            .state
            .decisions(interval)?
            .into_iter()
            .map(|decision| ShownDecision {
                hotkey: decision.miner_hotkey,
                verdict: decision.verdict,
                failures: decision.failures,
                record_count: decision.record_count,
                pruned_rows: decision.pruned_rows,
                sampled_rows: decision.sampled_rows,
                passed_sample_count: decision.passed_sample_count,
            })
            .collect();
        decisions.sort_by(|a, b| a.hotkey.cmp(&b.hotkey));
        Ok(IntervalOutcome { id: interval, decisions })
    }

    /// What came of it all.
    pub(super) async fn conclude(&self, plan: &Plan) -> Result<Outcome, DevnetError> {
        let intervals: Vec<IntervalOutcome> =
            self.timeline.all().map(|(_, id)| self.outcome_of(id)).collect::<Result<_, _>>()?;
        let miners = self.cast.names();
        let weights: BTreeMap<u16, u16> = self
            .chain
            .weights()
            .remove(self.cast.validator.hotkey())
            .unwrap_or_default()
            .into_iter()
            .collect();
        let uids = miners.iter().map(|named| (named.hotkey.clone(), named.uid)).collect();
        let mut surprises = check::surprises(&self.cast, &intervals);
        let records = self.state.weights()?;
        surprises.extend(check::paid_once(&records));
        let expected_weights = check::weights(&uids, &intervals, records.last());
        if weights != expected_weights {
            surprises.push("the weights on the chain are not those that follow from the decisions".into());
        }
        let bundles = self.count(RECORD_INFO_BUCKET, "/manifest.json").await?;
        let clips = self.count(DATASET_BUCKET, "/metadata.json").await?;
        surprises.extend(check::published(&intervals, bundles, clips));
        let digest = canonical_digest(&(&intervals, &weights))?;
        Ok(Outcome {
            plan: plan.clone(),
            miners,
            intervals,
            weights,
            expected_weights,
            bundles,
            clips,
            surprises,
            digest,
        })
    }

    async fn count(&self, bucket: &str, ending: &str) -> Result<usize, DevnetError> {
        let store = self.buckets.open_with(bucket, &self.cast.owner)?;
        self.persist("a listing", async || {
            let objects: Vec<_> = store.list("").try_collect().await?;
            Ok(objects.iter().filter(|object| object.key.ends_with(ending)).count())
        })
        .await
    }
}

/// Writes the plan down, or compares it with the one that was begun here.
fn adopt(path: &Path, plan: &Plan) -> Result<(), DevnetError> {
    let failed = |e| Error::io(path, e);
    let text = serde_json::to_vec_pretty(plan).map_err(|e| Error::Internal(format!("plan: {e}")))?;
    match fs::read(path) {
        Ok(found) if serde_json::from_slice(&found).is_ok_and(|found: Plan| found == *plan) => Ok(()),
        Ok(_) => {
            let why = "another devnet was begun there; name another folder, or remove this one";
            let folder = path.parent().unwrap_or(path).display().to_string();
            Err(Error::usage(folder, why).into())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let partial = path.with_extension("partial");
            fs::write(&partial, text).map_err(failed)?;
            Ok(fs::rename(&partial, path).map_err(failed)?)
        }
        Err(e) => Err(failed(e).into()),
    }
}

fn subnet(plan: &Plan, timeline: &Timeline) -> SubnetConfig {
    SubnetConfig {
        seed: plan.seed,
        netuid: NETUID,
        start_block: timeline.start(),
        commit_reveal: plan.commit_reveal,
        // Short epochs, so that what is committed is revealed soon.
        tempo: EPOCH_BLOCKS,
        ..SubnetConfig::default()
    }
}

fn validator_config() -> ValidatorConfig {
    ValidatorConfig {
        policy: Policy::Network,
        exclude: Default::default(),
        look_back: 9,
        fetch: Duration::from_secs(60),
        assets: Duration::from_secs(180),
        per_miner: 4,
        max_dataset_bytes: 32 << 20,
        max_rows: 20_000,
        max_clip_bytes: 64 << 20,
        cache_bytes: 2 << 30,
        weights_blocks: WEIGHTS_BLOCKS,
        keep_intervals: 2016,
        bundles: true,
    }
}

/// The S3 server with everybody's buckets and keys.
async fn serve(cast: &Cast, folder: &Path) -> std::io::Result<S3Server> {
    let server = S3Server::start(folder).await?;
    for bucket in [RECORD_INFO_BUCKET, DATASET_BUCKET] {
        server.create_bucket(bucket)?;
    }
    server.grant(&cast.owner, Grant::all());
    server.grant(&cast.index, Grant::read(RECORD_INFO_BUCKET));
    for miner in &cast.miners {
        let bucket = miner.pair.hotkey().bucket_name();
        server.create_bucket(&bucket)?;
        server.grant(&miner.write, Grant::write(&bucket));
        server.grant(&miner.read, Grant::read(&bucket));
    }
    Ok(server)
}

/// Runs work of the processor's away from the async threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DevnetError> {
    let ended = tokio::task::spawn_blocking(work).await;
    Ok(ended.map_err(|e| Error::Internal(format!("a thread of the devnet ended: {e}")))?)
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        _ => Ok(()),
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
            let path = entry.map_err(|e| Error::io(&folder, e))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}
