//! The chain behind the fixture: blocks, a pool, and the little of subtensor that our calls touch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use parity_scale_codec::{Compact, Encode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::encode::{
    Account, Event, blake2_128_concat, blake2_256, events_key, failure, key, success, twox_64_concat,
};
use super::metadata::{SPEC, TRANSACTION};
use super::transaction::{Carried, Transaction};

pub(crate) type State = BTreeMap<Vec<u8>, Vec<u8>>;

const SUBTENSOR: u8 = 7;
const COMMITMENTS: u8 = 18;
const COMMIT_REVEAL_ENABLED: u8 = 52;
const NOT_REGISTERED: u8 = 4;

/// A neuron to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) hotkey: Account,
    pub(crate) permit: bool,
    pub(crate) last_update: u64,
    pub(crate) stake: u64,
}

/// The subnet to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Subnet {
    pub(crate) netuid: u16,
    pub(crate) neurons: Vec<Registered>,
    pub(crate) commit_reveal: bool,
    pub(crate) rate_limit: u64,
}

pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) parent: [u8; 32],
    pub(crate) root: [u8; 32],
    pub(crate) extrinsics: Vec<Vec<u8>>,
    pub(crate) state: Arc<State>,
    /// Version of the runtime that this block leaves behind.
    pub(crate) spec: u32,
    pub(crate) neurons: Arc<Vec<Registered>>,
}

impl Block {
    pub(crate) fn header(&self) -> Value {
        json!({
            "parentHash": hex0x(&self.parent),
            "number": format!("{:#x}", self.number),
            "stateRoot": hex0x(&self.root),
            "extrinsicsRoot": hex0x(&self.root),
            "digest": { "logs": [] },
        })
    }
}

pub(crate) struct Inner {
    pub(crate) blocks: Vec<Block>,
    pub(crate) finalised: u64,
    pub(crate) pool: Vec<Transaction>,
    pub(crate) nonces: BTreeMap<Account, u64>,
    pub(crate) spec: u32,
    pub(crate) subnet: Subnet,
    /// Where transactions were included.
    pub(crate) included: BTreeMap<[u8; 32], u64>,
    /// Every transaction that came, refused ones too.
    pub(crate) seen: Vec<Transaction>,
    to_reveal: Vec<Account>,
    commits: Vec<(Account, u64, Vec<u8>, u64)>,
}

/// A refusal: code, message, data.
pub(crate) type Refused = (i32, &'static str, Option<String>);

pub(crate) struct FixtureChain {
    pub(crate) inner: Mutex<Inner>,
    pub(crate) finalised: watch::Sender<u64>,
}

impl FixtureChain {
    pub(crate) fn new(subnet: Subnet, commitments: &[(Account, Vec<u8>)]) -> Arc<Self> {
        let netuid = subnet.netuid.encode();
        let mut state = State::new();
        let mut put =
            |entry: &str, value: Vec<u8>| state.insert(key("SubtensorModule", entry, &[&netuid]), value);
        put("NetworksAdded", true.encode());
        put("SubnetworkN", (subnet.neurons.len() as u16).encode());
        put("Tempo", 360u16.encode());
        put("CommitRevealWeightsEnabled", subnet.commit_reveal.encode());
        put("WeightsSetRateLimit", subnet.rate_limit.encode());
        put("WeightsVersionKey", 7u64.encode());
        put("MinAllowedWeights", 1u16.encode());
        put("BlocksSinceLastStep", 12u64.encode());
        // Later runtimes have these; 365's metadata does not name them.
        put("LastEpochBlock", 40u64.encode());
        put("PendingEpochAt", 0u64.encode());
        put("ValidatorPermit", subnet.neurons.iter().map(|n| n.permit).collect::<Vec<_>>().encode());
        put("LastUpdate", subnet.neurons.iter().map(|n| n.last_update).collect::<Vec<_>>().encode());
        for (uid, neuron) in subnet.neurons.iter().enumerate() {
            let uid = (uid as u16).encode();
            state.insert(key("SubtensorModule", "Keys", &[&netuid, &uid]), neuron.hotkey.to_vec());
            let account = blake2_128_concat(&neuron.hotkey);
            state.insert(key("SubtensorModule", "Uids", &[&netuid, &account]), uid);
            state.insert(
                key("SubtensorModule", "TotalHotkeyAlpha", &[&account, &netuid]),
                neuron.stake.encode(),
            );
        }
        state.insert(key("Drand", "LastStoredRound", &[]), 25_000_000u64.encode());
        for (account, info) in commitments {
            state.insert(
                commitment_key(&netuid, account),
                [0u64.encode(), 3u32.encode(), info.clone()].concat(),
            );
        }
        let genesis = Block {
            number: 0,
            hash: [0; 32],
            parent: [0; 32],
            root: blake2_256(b"fixture"),
            extrinsics: Vec::new(),
            state: Arc::new(state),
            spec: SPEC,
            neurons: Arc::new(subnet.neurons.clone()),
        };
        let genesis = Block { hash: header_hash(&genesis), ..genesis };
        let inner = Inner {
            blocks: vec![genesis],
            finalised: 0,
            pool: Vec::new(),
            nonces: BTreeMap::new(),
            spec: SPEC,
            subnet,
            included: BTreeMap::new(),
            seen: Vec::new(),
            to_reveal: Vec::new(),
            commits: Vec::new(),
        };
        let chain = Arc::new(Self { inner: Mutex::new(inner), finalised: watch::Sender::new(0) });
        for _ in 0..10 {
            chain.produce();
        }
        chain
    }

    /// Makes a block of what is in the pool; the one before it becomes final.
    pub(crate) fn produce(&self) {
        let mut inner = self.inner.lock().unwrap();
        let parent = inner.blocks.last().unwrap();
        let (number, parent_hash) = (parent.number + 1, parent.hash);
        let mut state = State::clone(&parent.state);
        let mut events = Vec::new();
        let pool = std::mem::take(&mut inner.pool);
        for (place, transaction) in pool.iter().enumerate() {
            let place = place as u32;
            match inner.dispatch(&mut state, number, place, transaction) {
                Ok(own) => events.extend(own.into_iter().chain([success(place)])),
                Err((pallet, error)) => events.push(failure(place, pallet, error)),
            }
            *inner.nonces.entry(transaction.account).or_default() += 1;
            inner.included.insert(transaction.hash, number);
        }
        for account in std::mem::take(&mut inner.to_reveal) {
            inner.commits.retain(|commit| commit.0 != account);
            inner.write_commits(&mut state);
            let fields = (inner.subnet.netuid, account).encode();
            events.push(Event { transaction: None, pallet: SUBTENSOR, variant: 102, fields });
        }
        state.insert(events_key(), events.encode());
        let block = Block {
            number,
            hash: [0; 32],
            parent: parent_hash,
            root: blake2_256(&number.encode()),
            extrinsics: pool.into_iter().map(|transaction| transaction.bytes).collect(),
            state: Arc::new(state),
            spec: inner.spec,
            neurons: Arc::new(inner.subnet.neurons.clone()),
        };
        inner.blocks.push(Block { hash: header_hash(&block), ..block });
        inner.finalised = number - 1;
        drop(inner);
        self.finalised.send_replace(number - 1);
    }

    /// Upgrades the runtime, with the next block.
    pub(crate) fn upgrade(&self, spec: u32) {
        self.inner.lock().unwrap().spec = spec;
        self.produce();
    }

    /// The chain opens a hotkey's commits with the block after the one whose number comes back.
    pub(crate) fn reveal(&self, account: Account) -> u64 {
        let mut inner = self.inner.lock().unwrap();
        inner.to_reveal.push(account);
        inner.best().number
    }

    /// Whether a transaction waits, or is in a block that is not final.
    pub(crate) fn is_busy(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        !inner.pool.is_empty() || !inner.best().extrinsics.is_empty()
    }

    /// Checks a transaction as a pool does, and takes it.
    pub(crate) fn take(&self, bytes: &[u8], forget: bool) -> Result<[u8; 32], Refused> {
        let refused = |why: &str| (1010, "Invalid Transaction", Some(why.to_owned()));
        let mut inner = self.inner.lock().unwrap();
        let transaction = Transaction::read(bytes).ok_or((1002, "Verification Error", None))?;
        inner.seen.push(transaction.clone());
        let best = inner.blocks.last().unwrap();
        let birth = inner.blocks.get(transaction.birth(best.number) as usize);
        let birth = birth.ok_or_else(|| refused("Transaction has an ancient birth block"))?;
        let payload = transaction.payload(best.spec, TRANSACTION, inner.blocks[0].hash, birth.hash);
        if !transaction.is_signed(&payload) {
            return Err(refused("Transaction has a bad signature"));
        }
        if transaction.nonce < inner.next_nonce(&transaction.account) {
            return Err(refused("Transaction is outdated"));
        }
        if transaction.nonce > inner.next_nonce(&transaction.account) {
            return Err(refused("Transaction will be valid in the future"));
        }
        let call =
            Carried::read(&transaction.call).ok_or_else(|| refused("Transaction call is not expected"))?;
        if matches!(call, Carried::SetWeights { .. } | Carried::CommitWeights { .. }) {
            let neuron = inner.subnet.neurons.iter().find(|neuron| neuron.hotkey == transaction.account);
            // `UidNotFound` and `RateLimitExceeded`.
            let neuron = neuron.ok_or_else(|| refused("Custom error: 19"))?;
            let since = best.number.saturating_sub(neuron.last_update);
            if neuron.last_update > 0 && since < inner.subnet.rate_limit {
                return Err(refused("Custom error: 6"));
            }
        }
        let hash = transaction.hash;
        if !forget {
            inner.pool.push(transaction);
        }
        Ok(hash)
    }
}

impl Inner {
    pub(crate) fn best(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    /// A block by its hash, or the newest.
    pub(crate) fn block(&self, hash: Option<[u8; 32]>) -> Option<&Block> {
        match hash {
            Some(hash) => self.blocks.iter().rev().find(|block| block.hash == hash),
            None => self.blocks.last(),
        }
    }

    /// The account's next nonce, the pool counted.
    pub(crate) fn next_nonce(&self, account: &Account) -> u64 {
        let waiting = self.pool.iter().filter(|transaction| transaction.account == *account).count() as u64;
        self.nonces.get(account).copied().unwrap_or_default() + waiting
    }

    fn dispatch(
        &mut self,
        state: &mut State,
        number: u64,
        place: u32,
        transaction: &Transaction,
    ) -> Result<Vec<Event>, (u8, u8)> {
        let account = transaction.account;
        let event = |pallet, variant, fields| Event { transaction: Some(place), pallet, variant, fields };
        let uid = self.subnet.neurons.iter().position(|neuron| neuron.hotkey == account);
        match Carried::read(&transaction.call).unwrap() {
            Carried::SetCommitment { netuid, info } => {
                // `AccountNotAllowedCommit`.
                uid.filter(|_| netuid == self.subnet.netuid).ok_or((COMMITMENTS, 1))?;
                let value = [0u64.encode(), (number as u32).encode(), info].concat();
                state.insert(commitment_key(&netuid.encode(), &account), value);
                Ok(vec![event(COMMITMENTS, 0, (netuid, account).encode())])
            }
            Carried::SetWeights { netuid, uids, weights, .. } => {
                let uid = uid.filter(|_| netuid == self.subnet.netuid).ok_or((SUBTENSOR, NOT_REGISTERED))?;
                if self.subnet.commit_reveal {
                    return Err((SUBTENSOR, COMMIT_REVEAL_ENABLED));
                }
                let row: Vec<(u16, u16)> = uids.into_iter().zip(weights).collect();
                let at = key("SubtensorModule", "Weights", &[&netuid.encode(), &(uid as u16).encode()]);
                state.insert(at, row.encode());
                self.updated(state, uid, number);
                Ok(vec![event(SUBTENSOR, 5, (netuid, uid as u16).encode())])
            }
            Carried::CommitWeights { netuid, commit, round, .. } => {
                let uid = uid.filter(|_| netuid == self.subnet.netuid).ok_or((SUBTENSOR, NOT_REGISTERED))?;
                let hash = blake2_256(&commit);
                self.commits.push((account, number, commit, round));
                self.write_commits(state);
                self.updated(state, uid, number);
                Ok(vec![event(SUBTENSOR, 101, (account, netuid, hash, round).encode())])
            }
        }
    }

    fn updated(&mut self, state: &mut State, uid: usize, number: u64) {
        self.subnet.neurons[uid].last_update = number;
        let all: Vec<u64> = self.subnet.neurons.iter().map(|neuron| neuron.last_update).collect();
        state.insert(key("SubtensorModule", "LastUpdate", &[&self.subnet.netuid.encode()]), all.encode());
    }

    /// Commits of two epochs, so that readers have to look at both.
    fn write_commits(&self, state: &mut State) {
        let netuid = twox_64_concat(&self.subnet.netuid.encode());
        for epoch in [0u64, 1] {
            let of_epoch: Vec<_> =
                self.commits.iter().filter(|commit| commit.1 % 2 == epoch).cloned().collect();
            let at = key(
                "SubtensorModule",
                "TimelockedWeightCommits",
                &[&netuid, &twox_64_concat(&epoch.encode())],
            );
            state.insert(at, of_epoch.encode());
        }
    }
}

fn commitment_key(netuid: &[u8], account: &Account) -> Vec<u8> {
    key("Commitments", "CommitmentOf", &[netuid, &twox_64_concat(account)])
}

fn header_hash(block: &Block) -> [u8; 32] {
    blake2_256(&(block.parent, Compact(block.number), block.root, block.root, Vec::<u8>::new()).encode())
}

pub(crate) fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
