//! The simulated subnet's state and rules: what a block does, what a call may do.

use std::collections::BTreeMap;

use nexis_core::protocol::Hotkey;
use serde::{Deserialize, Serialize};

use super::super::timelock::{Beacon, COMMIT_REVEAL_VERSION, MAX_COMMIT_BYTES, WeightsPayload, round_at};
use super::super::{Call, ChainError, EpochSchedule, Result};
use super::SubnetConfig;

/// Most commits of a hotkey that wait for their reveal.
const MAX_UNREVEALED: usize = 10;
/// Most bytes of a commitment's raw field.
const MAX_COMMITMENT_BYTES: usize = 128;

/// A registered hotkey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) hotkey: Hotkey,
    pub(super) public_key: [u8; 32],
    pub(super) validator_permit: bool,
    pub(super) stake_rao: u64,
    pub(super) last_update: u64,
}

/// A commitment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) block: u64,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub(super) data: Vec<u8>,
}

/// A timelocked commit that has not been revealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unrevealed {
    pub(super) hotkey: Hotkey,
    epoch: u64,
    round: u64,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    commit: Vec<u8>,
}

/// What became of a commit: a block, a hotkey, and why it was dropped if it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevealRecord {
    /// The block.
    pub block: u64,
    /// Whose commit.
    pub hotkey: Hotkey,
    /// Why the chain dropped it without a word, or `None` where it became weights.
    pub dropped: Option<String>,
}

/// Everything that the chain remembers of the subnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Subnet {
    pub(super) config: SubnetConfig,
    pub(super) block: u64,
    pub(super) epoch_index: u64,
    pub(super) last_epoch_block: u64,
    pub(super) pending_epoch_at: u64,
    pub(super) blocks_since_last_step: u64,
    pub(super) members: Vec<Member>,
    pub(super) commitments: BTreeMap<Hotkey, Committed>,
    pub(super) weights: BTreeMap<u16, Vec<(u16, u16)>>,
    pub(super) unrevealed: Vec<Unrevealed>,
    pub(super) reveals: Vec<RevealRecord>,
    pub(super) transactions: u64,
    /// A change of the runtime that no submission has met yet.
    pub(super) new_runtime: bool,
}

impl Subnet {
    pub(super) fn new(config: SubnetConfig) -> Self {
        let block = config.start_block;
        Self {
            config,
            block,
            epoch_index: 0,
            last_epoch_block: block,
            pending_epoch_at: 0,
            blocks_since_last_step: 1,
            members: Vec::new(),
            commitments: BTreeMap::new(),
            weights: BTreeMap::new(),
            unrevealed: Vec::new(),
            reveals: Vec::new(),
            transactions: 0,
            new_runtime: false,
        }
    }

    /// Seconds since 1970 at the current block.
    pub(super) fn unix_time(&self) -> f64 {
        self.config.start_unix as f64
            + self.block.saturating_sub(self.config.start_block) as f64 * self.config.block_seconds
    }

    fn schedule(&self) -> EpochSchedule {
        EpochSchedule {
            block: self.block,
            last_epoch_block: self.last_epoch_block,
            pending_epoch_at: self.pending_epoch_at,
            tempo: self.config.tempo,
            blocks_since_last_step: self.blocks_since_last_step,
        }
    }

    pub(super) fn uid(&self, hotkey: &Hotkey) -> Option<u16> {
        self.members.iter().position(|member| member.hotkey == *hotkey).and_then(|at| u16::try_from(at).ok())
    }

    fn member(&self, uid: u16) -> Option<&Member> {
        self.members.get(usize::from(uid))
    }

    /// Starts the next block: its epoch, if one is due, and the commits that can be opened. True where anything but
    /// the counters has changed.
    pub(super) fn next_block(&mut self, beacon: &Beacon, drop_reveals: bool) -> Result<bool> {
        let due = self.schedule().next_epoch();
        self.block += 1;
        let mut changed = false;
        if due == Some(self.block) {
            self.last_epoch_block = self.block;
            self.pending_epoch_at = 0;
            self.blocks_since_last_step = 0;
            self.epoch_index += 1;
            changed = true;
        }
        self.blocks_since_last_step += 1;
        let waiting = self.unrevealed.len();
        self.reveal(beacon, drop_reveals)?;
        Ok(changed || waiting != self.unrevealed.len())
    }

    /// Opens the commits whose epoch has come and whose round is known; lets those go whose epoch is over.
    fn reveal(&mut self, beacon: &Beacon, drop_reveals: bool) -> Result<()> {
        let round = round_at(self.unix_time());
        let (epoch, period) = (self.epoch_index, self.config.reveal_period_epochs);
        for commit in std::mem::take(&mut self.unrevealed) {
            let due = commit.epoch + period;
            if due > epoch || (due == epoch && commit.round > round) {
                self.unrevealed.push(commit);
                continue;
            }
            let dropped = if due < epoch {
                Some("its epoch is over".to_owned())
            } else if drop_reveals {
                Some("dropped by a fault".to_owned())
            } else {
                let signature = beacon.sign(commit.round)?;
                self.take_revealed(&commit, &signature).err()
            };
            self.reveals.push(RevealRecord { block: self.block, hotkey: commit.hotkey, dropped });
        }
        Ok(())
    }

    fn take_revealed(&mut self, commit: &Unrevealed, signature: &[u8]) -> Result<(), String> {
        let payload = WeightsPayload::open(&commit.commit, signature).map_err(|error| error.to_string())?;
        let uid = self.uid(&commit.hotkey).ok_or("HotKeyNotRegisteredInSubNet")?;
        if self.member(uid).is_none_or(|member| member.public_key.as_slice() != payload.hotkey) {
            return Err("the payload is another hotkey's".into());
        }
        self.check_weights(uid, &payload.uids, &payload.values, payload.version_key)?;
        self.weights.insert(uid, payload.uids.into_iter().zip(payload.values).collect());
        Ok(())
    }

    /// What is checked of weights when they take effect; the names are those of the pallet's errors.
    fn check_weights(
        &self,
        uid: u16,
        uids: &[u16],
        values: &[u16],
        version_key: u64,
    ) -> Result<(), &'static str> {
        let config = &self.config;
        let oneself = uids == [uid];
        if uids.len() != values.len() {
            return Err("WeightVecNotEqualSize");
        }
        if uids.len() > self.members.len() {
            return Err("UidsLengthExceedUidsInSubNet");
        }
        if !oneself && self.member(uid).is_none_or(|member| !member.validator_permit) {
            return Err("NeuronNoValidatorPermit");
        }
        if config.weights_version_key != 0 && version_key < config.weights_version_key {
            return Err("IncorrectWeightVersionKey");
        }
        if uids.iter().collect::<std::collections::BTreeSet<_>>().len() != uids.len() {
            return Err("DuplicateUids");
        }
        if uids.iter().any(|uid| self.member(*uid).is_none()) {
            return Err("UidVecContainInvalidOne");
        }
        let fewest = usize::from(config.min_allowed_weights).min(self.members.len());
        if !oneself && uids.len() < fewest {
            return Err("WeightVecLengthIsLow");
        }
        let sum: u64 = values.iter().map(|value| u64::from(*value)).sum();
        let largest = values.iter().copied().max().unwrap_or(0);
        let limit = u64::from(config.max_weights_limit);
        if !oneself && u64::from(largest) * u64::from(u16::MAX) > limit * sum {
            return Err("MaxWeightExceeded");
        }
        Ok(())
    }

    /// What the pool checks of a call before it is in a block.
    pub(super) fn admit(&self, hotkey: &Hotkey, call: &Call) -> Result<()> {
        let refuse = |code: u8, why: &str| Err(ChainError::Refused { code: Some(code), why: why.to_owned() });
        if call.netuid() != self.config.netuid {
            return Err(ChainError::Unsupported {
                what: format!("subnet {}", call.netuid()),
                why: format!("only subnet {} is simulated", self.config.netuid),
            });
        }
        if matches!(call, Call::SetCommitment { .. }) {
            return Ok(());
        }
        let Some(member) = self.uid(hotkey).and_then(|uid| self.member(uid)) else {
            return refuse(19, "the hotkey has no UID in the subnet");
        };
        if member.stake_rao < self.config.min_stake_rao {
            return refuse(1, "the stake is too low to set weights");
        }
        let since = self.block.saturating_sub(member.last_update);
        if member.last_update != 0 && since < self.config.weights_rate_limit {
            return refuse(6, "weights were set too short a time ago");
        }
        if let Call::CommitWeights { reveal_round, commit, .. } = call {
            if *reveal_round < round_at(self.unix_time()) {
                return refuse(15, "the reveal round has passed");
            }
            if commit.len() > MAX_COMMIT_BYTES {
                return Err(ChainError::Refused { code: None, why: "the call cannot be decoded".into() });
            }
        }
        Ok(())
    }

    /// Carries a call out in the current block.
    pub(super) fn dispatch(&mut self, hotkey: &Hotkey, call: &Call) -> Result<()> {
        let block = self.block;
        let fail = |pallet: &str, error: &str| {
            Err(ChainError::Dispatch { block, pallet: pallet.to_owned(), error: error.to_owned() })
        };
        let Some(uid) = self.uid(hotkey) else {
            return match call {
                Call::SetCommitment { .. } => fail("Commitments", "AccountNotAllowedCommit"),
                _ => fail("SubtensorModule", "HotKeyNotRegisteredInSubNet"),
            };
        };
        match call {
            Call::SetCommitment { data, .. } => {
                if data.len() > MAX_COMMITMENT_BYTES {
                    return fail("Commitments", "TooManyFieldsInCommitmentInfo");
                }
                self.commitments.insert(hotkey.clone(), Committed { block, data: data.clone() });
            }
            Call::SetWeights { uids, weights, version_key, .. } => {
                if self.config.commit_reveal {
                    return fail("SubtensorModule", "CommitRevealEnabled");
                }
                if let Err(error) = self.check_weights(uid, uids, weights, *version_key) {
                    return fail("SubtensorModule", error);
                }
                self.weights.insert(uid, uids.iter().copied().zip(weights.iter().copied()).collect());
                self.updated(uid);
            }
            Call::CommitWeights { commit, reveal_round, version, .. } => {
                if !self.config.commit_reveal {
                    return fail("SubtensorModule", "CommitRevealDisabled");
                }
                if *version != COMMIT_REVEAL_VERSION || *version != self.config.commit_reveal_version {
                    return fail("SubtensorModule", "IncorrectCommitRevealVersion");
                }
                if self.unrevealed(hotkey) >= MAX_UNREVEALED {
                    return fail("SubtensorModule", "TooManyUnrevealedCommits");
                }
                self.unrevealed.push(Unrevealed {
                    hotkey: hotkey.clone(),
                    epoch: self.epoch_index,
                    round: *reveal_round,
                    commit: commit.clone(),
                });
                self.updated(uid);
            }
        }
        Ok(())
    }

    fn updated(&mut self, uid: u16) {
        if let Some(member) = self.members.get_mut(usize::from(uid)) {
            member.last_update = self.block;
        }
    }

    pub(super) fn unrevealed(&self, hotkey: &Hotkey) -> usize {
        self.unrevealed.iter().filter(|commit| commit.hotkey == *hotkey).count()
    }
}

fn to_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

fn from_hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    hex::decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
