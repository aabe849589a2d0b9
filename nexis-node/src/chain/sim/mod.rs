//! A chain in memory: one subnet that goes by the rules of the real one, as far as a validator and a miner meet them.
//!
//! Blocks come when the caller [advances](SimulatedChain::advance) them, or by a timer. Every block is final at once.
//! Commits are opened with the signatures of a randomness network of the chain's own, whose public key is in
//! [`Chain::clock`]. With a file, the state survives the process.

mod config;
mod faults;
mod subnet;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
pub use config::SubnetConfig;
pub use faults::{Chaos, Faults, SubmitFault};
use nexis_core::hash::Digest;
use nexis_core::protocol::Hotkey;
pub use subnet::RevealRecord;
use subnet::{Member, Subnet};
use subxt::utils::AccountId32;
use tokio::sync::{oneshot, watch};

use super::timelock::{Beacon, round_at};
use super::{
    BlockRef, Call, Chain, ChainClock, ChainError, Commitment, CommitmentField, EpochSchedule, HotkeyPair,
    Metagraph, Neuron, Receipt, Result, Reveal, SubnetState,
};

/// Blocks whose state can be read, as on a node that keeps no archive.
const KEPT_BLOCKS: u64 = 256;

/// A simulated chain. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimulatedChain(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    heads: watch::Sender<u64>,
    beacon: Beacon,
    deadline: Duration,
    file: Option<PathBuf>,
}

struct World {
    subnet: Subnet,
    /// States by the block from which they hold, oldest first.
    history: VecDeque<(u64, Arc<Subnet>)>,
    pool: Vec<Pooled>,
    faults: Faults,
}

struct Pooled {
    hotkey: Hotkey,
    call: Call,
    hash: [u8; 32],
    reply: oneshot::Sender<Result<Receipt>>,
}

impl SimulatedChain {
    /// A chain with no registered hotkey.
    pub fn new(config: SubnetConfig) -> Self {
        Self::from_subnet(Subnet::new(config), None)
    }

    /// The chain of a file, which is made with `config` where it does not exist. Every change is in the file before
    /// anybody is told of it.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where the file cannot be read, written or understood.
    pub fn open(path: &Path, config: SubnetConfig) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let subnet = serde_json::from_slice(&bytes).map_err(|error| broken(path, &error))?;
                Ok(Self::from_subnet(subnet, Some(path.to_owned())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let chain = Self::from_subnet(Subnet::new(config), Some(path.to_owned()));
                chain.save(&chain.world())?;
                Ok(chain)
            }
            Err(error) => Err(broken(path, &error)),
        }
    }

    fn from_subnet(subnet: Subnet, file: Option<PathBuf>) -> Self {
        let beacon = Beacon::from_seed(format!("simulated chain {}", subnet.config.seed).as_bytes());
        let deadline = Duration::from_millis(subnet.config.deadline_ms);
        let (heads, _) = watch::channel(subnet.block);
        let history = VecDeque::from([(subnet.block, Arc::new(subnet.clone()))]);
        let world = World { subnet, history, pool: Vec::new(), faults: Faults::default() };
        Self(Arc::new(Inner { world: Mutex::new(world), heads, beacon, deadline, file }))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a hotkey, and gives its UID. One that is registered keeps its UID and takes the new stake and permit.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where it is no address, where the subnet is full, or where the file cannot be written.
    pub fn register(&self, hotkey: &Hotkey, stake_rao: u64, validator_permit: bool) -> Result<u16> {
        let account = AccountId32::from_str(hotkey.as_str()).map_err(|_| ChainError::Unsupported {
            what: format!("hotkey {hotkey}"),
            why: "it is not an SS58 address".into(),
        })?;
        let mut world = self.world();
        let uid = match world.subnet.uid(hotkey) {
            Some(uid) => uid,
            None => u16::try_from(world.subnet.members.len())
                .map_err(|_| ChainError::Unsupported { what: "subnet".into(), why: "it is full".into() })?,
        };
        let member = Member {
            hotkey: hotkey.clone(),
            public_key: account.0,
            validator_permit,
            stake_rao,
            last_update: 0,
        };
        match world.subnet.members.get_mut(usize::from(uid)) {
            Some(place) => *place = Member { last_update: place.last_update, ..member },
            None => world.subnet.members.push(member),
        }
        world.remember();
        self.save(&world)?;
        Ok(uid)
    }

    /// Makes `blocks` blocks, the first of which holds what waits in the pool.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where the file cannot be written.
    pub fn advance(&self, blocks: u64) -> Result<BlockRef> {
        let mut world = self.world();
        let mut replies = Vec::new();
        for _ in 0..blocks {
            let drop_reveals = world.faults.drop_reveals;
            let mut changed = world.subnet.next_block(&self.0.beacon, drop_reveals)?;
            for pooled in std::mem::take(&mut world.pool) {
                changed = true;
                let block = world.subnet.block_ref(world.subnet.block);
                let outcome = world.subnet.dispatch(&pooled.hotkey, &pooled.call);
                let receipt = outcome.map(|()| Receipt { block, extrinsic_hash: pooled.hash });
                replies.push((pooled.reply, receipt));
            }
            if changed {
                world.remember();
            }
        }
        self.save(&world)?;
        let head = world.subnet.block_ref(world.subnet.block);
        drop(world);
        for (reply, receipt) in replies {
            // Nobody listens where the caller's deadline has passed.
            let _ = reply.send(receipt);
        }
        self.0.heads.send_replace(head.number);
        Ok(head)
    }

    /// Makes a block every `period` until the handle is aborted, or until a block cannot be saved.
    pub fn spawn_blocks(&self, period: Duration) -> tokio::task::JoinHandle<Result<()>> {
        let chain = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                chain.advance(1)?;
            }
        })
    }

    /// Switches faults on and off.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let mut world = self.world();
        let head = world.subnet.block;
        let result = change(&mut world.faults);
        let stalled = world.faults.stalled;
        world.faults.stalled_at = stalled.then(|| world.faults.stalled_at.unwrap_or(head));
        drop(world);
        // So that those who wait look again.
        self.0.heads.send_modify(|_| {});
        result
    }

    /// A new runtime: the next submission is signed for the old one, and refused.
    pub fn upgrade_runtime(&self) {
        self.world().subnet.new_runtime = true;
    }

    /// Changes the subnet's settings, as its owner may; seed, start and block time stay as they are.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where the file cannot be written.
    pub fn configure(&self, change: impl FnOnce(&mut SubnetConfig)) -> Result<()> {
        let mut world = self.world();
        let old = world.subnet.config.clone();
        change(&mut world.subnet.config);
        let config = &mut world.subnet.config;
        (config.seed, config.netuid, config.start_block) = (old.seed, old.netuid, old.start_block);
        (config.start_unix, config.block_seconds) = (old.start_unix, old.block_seconds);
        world.remember();
        self.save(&world)
    }

    /// Asks for an epoch at a block, as a subnet's owner may; 0 takes it back.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where the file cannot be written.
    pub fn ask_for_epoch(&self, block: u64) -> Result<()> {
        let mut world = self.world();
        world.subnet.pending_epoch_at = block;
        world.remember();
        self.save(&world)
    }

    /// The weights in effect: who has set them, and for each UID its weight.
    pub fn weights(&self) -> BTreeMap<Hotkey, Vec<(u16, u16)>> {
        let world = self.world();
        let of = |uid: &u16| world.subnet.members.get(usize::from(*uid)).map(|member| member.hotkey.clone());
        world.subnet.weights.iter().filter_map(|(uid, row)| Some((of(uid)?, row.clone()))).collect()
    }

    /// What became of every commit, those included that the chain dropped without a word.
    pub fn reveal_records(&self) -> Vec<RevealRecord> {
        self.world().subnet.reveals.clone()
    }

    /// Transactions that were in a block, successful or not.
    pub fn transactions(&self) -> u64 {
        self.world().subnet.transactions
    }

    /// The head, whatever faults show to others.
    pub fn head(&self) -> BlockRef {
        let world = self.world();
        world.subnet.block_ref(world.subnet.block)
    }

    fn save(&self, world: &World) -> Result<()> {
        let Some(path) = &self.0.file else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(std::io::BufWriter::new(&file), &world.subnet)?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|error| broken(path, &error))
    }

    fn read<T>(&self, what: &str, at: &BlockRef, read: impl FnOnce(&Subnet) -> T) -> Result<T> {
        let mut world = self.world();
        if world.faults.fails_read() {
            return Err(self.unreachable(what));
        }
        let lost = |why: &str| ChainError::Unsupported {
            what: format!("state of block {}", at.number),
            why: why.to_owned(),
        };
        if at.number > world.subnet.block || world.subnet.block_ref(at.number).hash != at.hash {
            return Err(lost("there is no such block"));
        }
        if at.number == world.subnet.block {
            return Ok(read(&world.subnet));
        }
        let state = world.history.iter().rev().find(|(from, _)| *from <= at.number);
        let (_, state) = state.ok_or_else(|| lost("it has been discarded; read at a later block"))?;
        let mut state = Subnet::clone(state);
        state.blocks_since_last_step += at.number.saturating_sub(state.block);
        state.block = at.number;
        Ok(read(&state))
    }

    fn unreachable(&self, what: &str) -> ChainError {
        ChainError::Unreachable { endpoint: self.name(), why: format!("{what} failed by a fault") }
    }

    fn timed_out(&self, what: &str) -> ChainError {
        ChainError::TimedOut {
            endpoint: self.name(),
            what: what.to_owned(),
            seconds: self.0.deadline.as_secs(),
        }
    }

    fn check_netuid(&self, netuid: u16) -> Result<()> {
        let simulated = self.world().subnet.config.netuid;
        if netuid == simulated {
            return Ok(());
        }
        Err(ChainError::Unsupported {
            what: format!("subnet {netuid}"),
            why: format!("only subnet {simulated} is simulated"),
        })
    }

    /// Checks the signature and puts the call into the pool.
    fn enter(&self, signer: &HotkeyPair, call: &Call) -> Result<(oneshot::Receiver<Result<Receipt>>, bool)> {
        let mut world = self.world();
        if std::mem::take(&mut world.subnet.new_runtime) {
            let why = "Transaction has a bad signature: it is signed for another runtime";
            return Err(ChainError::Refused { code: None, why: why.into() });
        }
        let message = format!("{}:{}:{call:?}", world.subnet.config.seed, world.subnet.transactions);
        verify(signer, message.as_bytes())?;
        world.subnet.admit(signer.hotkey(), call)?;
        world.subnet.transactions += 1;
        let (reply, receipt) = oneshot::channel();
        let hash = *Digest::of(message).as_bytes();
        world.pool.push(Pooled { hotkey: signer.hotkey().clone(), call: call.clone(), hash, reply });
        Ok((receipt, world.subnet.config.seal_on_submit))
    }
}

impl World {
    /// Keeps the state as of the current block for reading.
    fn remember(&mut self) {
        let block = self.subnet.block;
        self.history.retain(|(from, _)| *from != block);
        self.history.push_back((block, Arc::new(self.subnet.clone())));
        // The oldest that is kept is the one in force at the oldest readable block.
        while self.history.get(1).is_some_and(|(from, _)| from + KEPT_BLOCKS < block) {
            self.history.pop_front();
        }
    }

    fn visible_head(&self) -> u64 {
        let head = self.faults.stalled_at.unwrap_or(self.subnet.block);
        let skipped = head.checked_rem(self.faults.skip).unwrap_or(0);
        head.saturating_sub(skipped).max(self.subnet.config.start_block)
    }
}

impl Subnet {
    fn block_ref(&self, number: u64) -> BlockRef {
        BlockRef { number, hash: *Digest::of(format!("block:{}:{number}", self.config.seed)).as_bytes() }
    }
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> ChainError {
    ChainError::Unsupported { what: format!("file {}", path.display()), why: error.to_string() }
}

/// Has the signer sign, and checks what it gives against its address, as a node does.
fn verify(signer: &HotkeyPair, message: &[u8]) -> Result<()> {
    let bad = |_| ChainError::Refused { code: None, why: "Transaction has a bad signature".into() };
    let account = AccountId32(signer.public_key());
    if account.to_string() != signer.hotkey().as_str() {
        return Err(ChainError::Refused { code: None, why: "the key is not the address's".into() });
    }
    let public = schnorrkel::PublicKey::from_bytes(&account.0).map_err(bad)?;
    let signature = schnorrkel::Signature::from_bytes(&signer.sign(message)).map_err(bad)?;
    public.verify_simple(b"substrate", message, &signature).map_err(bad)
}

#[async_trait]
impl Chain for SimulatedChain {
    fn name(&self) -> String {
        "simulated chain".into()
    }

    async fn finalized_head(&self) -> Result<BlockRef> {
        let mut world = self.world();
        if world.faults.fails_read() {
            return Err(self.unreachable("finalized head"));
        }
        Ok(world.subnet.block_ref(world.visible_head()))
    }

    async fn block(&self, number: u64) -> Result<BlockRef> {
        let mut world = self.world();
        if world.faults.fails_read() {
            return Err(self.unreachable("a block's hash"));
        }
        if number > world.visible_head() {
            let why = "there is no such block".to_owned();
            return Err(ChainError::Unsupported { what: format!("block {number}"), why });
        }
        Ok(world.subnet.block_ref(number))
    }

    async fn next_finalized_head(&self, after: u64) -> Result<BlockRef> {
        let mut heads = self.0.heads.subscribe();
        let wait = async {
            loop {
                heads.borrow_and_update();
                let head = self.finalized_head().await?;
                if head.number > after {
                    return Ok(head);
                }
                if heads.changed().await.is_err() {
                    return Err(self.timed_out("next head"));
                }
            }
        };
        tokio::time::timeout(self.0.deadline, wait).await.unwrap_or_else(|_| Err(self.timed_out("next head")))
    }

    async fn metagraph(&self, netuid: u16, at: &BlockRef) -> Result<Metagraph> {
        self.check_netuid(netuid)?;
        let neurons = self.read("metagraph", at, |subnet| {
            let neuron = |(uid, member): (u16, &Member)| Neuron {
                uid,
                hotkey: member.hotkey.clone(),
                validator_permit: member.validator_permit,
                last_update: member.last_update,
                total_stake_rao: member.stake_rao,
            };
            (0_u16..).zip(&subnet.members).map(neuron).collect()
        })?;
        Ok(Metagraph { netuid, block: *at, neurons })
    }

    async fn commitments(&self, netuid: u16, at: &BlockRef) -> Result<BTreeMap<Hotkey, Commitment>> {
        self.check_netuid(netuid)?;
        self.read("commitments", at, |subnet| {
            let commitment = |committed: &subnet::Committed| Commitment {
                block: committed.block,
                fields: vec![CommitmentField::Raw(committed.data.clone())],
            };
            subnet.commitments.iter().map(|(hotkey, c)| (hotkey.clone(), commitment(c))).collect()
        })
    }

    async fn subnet_state(&self, netuid: u16, at: &BlockRef) -> Result<SubnetState> {
        self.check_netuid(netuid)?;
        self.read("subnet state", at, |subnet| {
            let config = &subnet.config;
            let mut state = SubnetState {
                tempo: config.tempo,
                commit_reveal: config.commit_reveal,
                commit_reveal_version: config.commit_reveal_version,
                reveal_period_epochs: config.reveal_period_epochs,
                weights_rate_limit: config.weights_rate_limit,
                weights_version_key: config.weights_version_key,
                min_allowed_weights: config.min_allowed_weights,
                max_weights_limit: config.max_weights_limit,
                blocks_since_last_step: subnet.blocks_since_last_step,
                last_epoch_block: Some(subnet.last_epoch_block),
                pending_epoch_at: Some(subnet.pending_epoch_at),
                next_epoch_start: None,
                last_stored_round: Some(round_at(subnet.unix_time())),
            };
            state.next_epoch_start = EpochSchedule::of(&state, subnet.block).next_epoch();
            state
        })
    }

    async fn pending_commits(&self, netuid: u16, hotkey: &Hotkey, at: &BlockRef) -> Result<usize> {
        self.check_netuid(netuid)?;
        self.read("pending commits", at, |subnet| subnet.unrevealed(hotkey))
    }

    async fn reveals(&self, netuid: u16, from: u64, to: u64) -> Result<Vec<Reveal>> {
        self.check_netuid(netuid)?;
        let head = self.head();
        self.read("reveals", &head, |subnet| {
            let taken =
                |record: &&RevealRecord| record.dropped.is_none() && (from..=to).contains(&record.block);
            let reveal =
                |record: &RevealRecord| Reveal { block: record.block, netuid, hotkey: record.hotkey.clone() };
            subnet.reveals.iter().filter(taken).map(reveal).collect()
        })
    }

    async fn clock(&self) -> Result<ChainClock> {
        let world = self.world();
        Ok(ChainClock {
            unix_time: world.subnet.unix_time(),
            block_seconds: world.subnet.config.block_seconds,
            randomness: self.0.beacon.key(),
        })
    }

    async fn submit(&self, signer: &HotkeyPair, call: &Call) -> Result<Receipt> {
        let fault = self.world().faults.of_submit();
        match fault {
            Some(SubmitFault::FailBefore) => return Err(self.unreachable("submission")),
            Some(SubmitFault::Refuse { code, why }) => return Err(ChainError::Refused { code, why }),
            Some(SubmitFault::TimeOutBefore) => return Err(self.timed_out("submission")),
            Some(SubmitFault::TimeOutAfter) | None => {}
        }
        let (receipt, seal) = self.enter(signer, call)?;
        if seal {
            self.advance(1)?;
        }
        let receipt = tokio::time::timeout(self.0.deadline, receipt).await;
        let lost = matches!(fault, Some(SubmitFault::TimeOutAfter));
        match receipt {
            Ok(Ok(receipt)) if !lost => receipt,
            _ => Err(self.timed_out("submission")),
        }
    }
}
