//! The chain: who mines, where their buckets are, and the weights that pay them.
//!
//! [`Chain`] is small on purpose: reads at a block, one way to submit a signed call, and the events that tell
//! whether a commit was revealed. What to submit and when (preflight, encryption, retries) is built on it and is
//! the same over a real node and over the simulated chain.

mod client;
mod clock;
mod epoch;
pub mod sim;
pub mod timelock;
mod wallet;
pub mod weights;

use std::collections::BTreeMap;

use async_trait::async_trait;
pub use client::{ClientOptions, Runtime, SubtensorChain, Unsigned, check_endpoint};
pub use clock::ChainClock;
pub use epoch::{EpochSchedule, RevealEpoch};
use nexis_core::commitment::Credentials;
use nexis_core::protocol::Hotkey;
pub use wallet::{HotkeyPair, hotkey_file};

/// Result of a chain's operations.
pub type Result<T, E = ChainError> = std::result::Result<T, E>;

/// Why the chain could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No endpoint answered. Of a submission: it has not left us.
    #[error("{endpoint} does not answer: {why}")]
    Unreachable {
        /// Where we asked.
        endpoint: String,
        /// What came of it.
        why: String,
    },
    /// A call's deadline passed. Whether a submitted call was included is unknown: read before sending again.
    #[error("{endpoint}: {what} did not end within {seconds} s")]
    TimedOut {
        /// Where we asked.
        endpoint: String,
        /// What was asked.
        what: String,
        /// The deadline.
        seconds: u64,
    },
    /// No endpoint has shown a new finalised block for so long that the process should end, for its supervisor to
    /// start it anew.
    #[error("no new finalised block for {seconds} s, the last endpoint being {endpoint}: {why}")]
    Stalled {
        /// The endpoint tried last.
        endpoint: String,
        /// How long.
        seconds: u64,
        /// What it was about.
        why: String,
    },
    /// A transaction was sent, and what came of it could not be found out: it may be on its way. Read before sending
    /// again.
    #[error("a transaction was sent through {endpoint}, and what came of it is not known: {why}")]
    OutcomeUnknown {
        /// Where it was sent.
        endpoint: String,
        /// Why it is not known.
        why: String,
    },
    /// The node's pool refused the transaction; `code` is `InvalidTransaction::Custom` where it was that.
    #[error("the node refused the transaction: {why}")]
    Refused {
        /// The pallet's own code, if it gave one.
        code: Option<u8>,
        /// The node's words, or the code's meaning.
        why: String,
    },
    /// The transaction was included, and its dispatch failed.
    #[error("{pallet}.{error} in block {block}")]
    Dispatch {
        /// Block of inclusion.
        block: u64,
        /// The pallet whose error it is.
        pallet: String,
        /// The error's name in the metadata.
        error: String,
    },
    /// The chain has not what we need, or has it in a shape that we do not know. Not to be guessed at.
    #[error("the chain's {what} is not as expected: {why}")]
    Unsupported {
        /// What was looked for.
        what: String,
        /// What was found.
        why: String,
    },
    /// A precondition that the chain checks silently or late does not hold.
    #[error("{0}")]
    Preflight(String),
    /// The wallet cannot be used.
    #[error("wallet {wallet}: {why}")]
    Wallet {
        /// `name/hotkey`.
        wallet: String,
        /// What is wrong, without a secret.
        why: String,
    },
    /// Weights could not be sealed or opened.
    #[error(transparent)]
    Timelock(#[from] timelock::TimelockError),
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A registered hotkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neuron {
    /// Its place in the subnet.
    pub uid: u16,
    /// Its address (SS58, format 42).
    pub hotkey: Hotkey,
    /// Whether it may set weights.
    pub validator_permit: bool,
    /// Block of its last weights.
    pub last_update: u64,
    /// Its total stake in rao (10^-9 TAO).
    pub total_stake_rao: u64,
}

/// The subnet's registered hotkeys at one block, ordered by uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metagraph {
    /// The subnet.
    pub netuid: u16,
    /// The block it was read at.
    pub block: BlockRef,
    /// The neurons.
    pub neurons: Vec<Neuron>,
}

/// One field of a commitment. Tags that are not known are kept by number, so that newer ones do no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitmentField {
    /// Nothing.
    None,
    /// Up to 128 bytes as they are, or up to 512 where the chain has big fields.
    Raw(Vec<u8>),
    /// Something else, by its tag.
    Other(u8),
}

/// What a hotkey has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Block of the commitment.
    pub block: u64,
    /// Its fields.
    pub fields: Vec<CommitmentField>,
}

impl Commitment {
    /// The bucket that a miner has committed: its first raw field, where that is text of the right form.
    pub fn credentials(&self) -> Option<Credentials> {
        let raw = self.fields.iter().find_map(|field| match field {
            CommitmentField::Raw(bytes) => Some(bytes.as_slice()),
            _ => None,
        })?;
        Credentials::decode(std::str::from_utf8(raw).ok()?)
    }
}

/// The subnet's settings and counters that decide how weights are submitted, at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetState {
    /// Blocks from epoch to epoch; with 0 there are none.
    pub tempo: u16,
    /// Whether weights are committed and revealed.
    pub commit_reveal: bool,
    /// Version of commit-reveal; only 4 is known here.
    pub commit_reveal_version: u16,
    /// Epochs between commit and reveal.
    pub reveal_period_epochs: u64,
    /// Blocks between two submissions of one hotkey.
    pub weights_rate_limit: u64,
    /// Key that weights must carry.
    pub weights_version_key: u64,
    /// Fewest entries of a weight vector.
    pub min_allowed_weights: u16,
    /// Largest share of one entry, of 65535.
    pub max_weights_limit: u16,
    /// Blocks since the last epoch.
    pub blocks_since_last_step: u64,
    /// Block of the last epoch, where the chain keeps it.
    pub last_epoch_block: Option<u64>,
    /// Block at which an epoch was asked for, where the chain keeps it; 0 is none.
    pub pending_epoch_at: Option<u64>,
    /// First block of the next epoch by the runtime's own word, where it has one.
    pub next_epoch_start: Option<u64>,
    /// Last randomness round that the chain has stored, where it keeps it.
    pub last_stored_round: Option<u64>,
}

/// The calls that a node makes; each is signed by the hotkey and free of fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Commitments.set_commitment` with one raw field of at most 128 bytes.
    SetCommitment {
        /// The subnet.
        netuid: u16,
        /// The bytes.
        data: Vec<u8>,
    },
    /// `SubtensorModule.set_mechanism_weights`, mechanism 0.
    SetWeights {
        /// The subnet.
        netuid: u16,
        /// Who is weighed.
        uids: Vec<u16>,
        /// Their weights, the largest being 65535.
        weights: Vec<u16>,
        /// The subnet's version key.
        version_key: u64,
    },
    /// `SubtensorModule.commit_timelocked_mechanism_weights`, mechanism 0.
    CommitWeights {
        /// The subnet.
        netuid: u16,
        /// The encrypted payload.
        commit: Vec<u8>,
        /// The randomness round that opens it.
        reveal_round: u64,
        /// 4.
        version: u16,
    },
}

impl Call {
    /// The subnet that it is about.
    pub fn netuid(&self) -> u16 {
        match self {
            Self::SetCommitment { netuid, .. }
            | Self::SetWeights { netuid, .. }
            | Self::CommitWeights { netuid, .. } => *netuid,
        }
    }
}

/// A call that was included, finalised and dispatched without error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The block.
    pub block: BlockRef,
    /// Hash of the extrinsic.
    pub extrinsic_hash: [u8; 32],
}

/// A hotkey's commit that the chain has opened and taken as weights (`TimelockedWeightsRevealed`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// Block of the event.
    pub block: u64,
    /// The subnet.
    pub netuid: u16,
    /// Whose weights.
    pub hotkey: Hotkey,
}

/// A chain, as a validator and a miner use it. Every method has a deadline of its own.
#[async_trait]
pub trait Chain: Send + Sync {
    /// The chain for messages: the endpoint in use.
    fn name(&self) -> String;

    /// The last finalised block.
    async fn finalized_head(&self) -> Result<BlockRef>;

    /// A finalised block by its number; [`ChainError::Unsupported`] where there is none.
    async fn block(&self, number: u64) -> Result<BlockRef>;

    /// Waits for a finalised block later than `after`, and gives the newest. Blocks between may be skipped.
    async fn next_finalized_head(&self, after: u64) -> Result<BlockRef>;

    /// The registered hotkeys.
    async fn metagraph(&self, netuid: u16, at: &BlockRef) -> Result<Metagraph>;

    /// All commitments of a subnet.
    async fn commitments(&self, netuid: u16, at: &BlockRef) -> Result<BTreeMap<Hotkey, Commitment>>;

    /// Settings and counters of a subnet.
    async fn subnet_state(&self, netuid: u16, at: &BlockRef) -> Result<SubnetState>;

    /// Unrevealed timelocked commits of a hotkey.
    async fn pending_commits(&self, netuid: u16, hotkey: &Hotkey, at: &BlockRef) -> Result<usize>;

    /// Reveals in the blocks `from..=to`, all of them finalised.
    async fn reveals(&self, netuid: u16, from: u64, to: u64) -> Result<Vec<Reveal>>;

    /// The clock that this chain's blocks and randomness go by; the live network's unless a chain says otherwise.
    async fn clock(&self) -> Result<ChainClock> {
        ChainClock::live()
    }

    /// Signs a call afresh, submits it, and waits until it is finalised. Sends once: after an error that leaves the
    /// outcome unknown, the caller reads the chain before it calls again.
    async fn submit(&self, signer: &HotkeyPair, call: &Call) -> Result<Receipt>;
}
