//! What the chain checks of weights late or without a word, checked before anything is sent.

use std::collections::BTreeSet;

use nexis_core::protocol::Hotkey;
use nexis_core::weights::DenseWeights;

use super::super::timelock::{COMMIT_REVEAL_VERSION, WeightsPayload, reveal_round};
use super::super::{
    BlockRef, Call, Chain, ChainError, EpochSchedule, Metagraph, Neuron, Result, RevealEpoch, SubnetState,
};
use super::wire::WireWeights;

/// Most commits of a hotkey that may wait for their reveal.
const MAX_UNREVEALED: usize = 10;

/// What the chain says of us, all of it at one finalised block.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The block.
    pub head: BlockRef,
    /// The registered hotkeys.
    pub metagraph: Metagraph,
    /// The subnet.
    pub state: SubnetState,
    /// Our commits that are not revealed.
    pub unrevealed: usize,
}

impl Standing {
    /// Reads it at the finalised head.
    ///
    /// # Errors
    /// Those of the chain.
    pub async fn read(chain: &dyn Chain, netuid: u16, hotkey: &Hotkey) -> Result<Self> {
        let head = chain.finalized_head().await?;
        let metagraph = chain.metagraph(netuid, &head).await?;
        let state = chain.subnet_state(netuid, &head).await?;
        let unrevealed = chain.pending_commits(netuid, hotkey, &head).await?;
        Ok(Self { head, metagraph, state, unrevealed })
    }

    /// Our entry in the metagraph.
    ///
    /// # Errors
    /// [`ChainError::Preflight`] where we are not registered.
    pub fn neuron(&self, hotkey: &Hotkey) -> Result<&Neuron> {
        self.metagraph.neurons.iter().find(|neuron| neuron.hotkey == *hotkey).ok_or_else(|| {
            ChainError::Preflight(format!(
                "{hotkey} is not registered in subnet {} at block {}: register it before it sets weights",
                self.metagraph.netuid, self.head.number
            ))
        })
    }
}

/// Weights that passed every check that can be made, ready to be signed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The call.
    pub call: Call,
    /// What is on the wire.
    pub weights: WireWeights,
    /// Where the weights are committed: the round that opens them, and the epoch in which the chain does.
    pub reveal: Option<(u64, RevealEpoch)>,
}

/// Checks everything that the chain would drop silently, and makes the call that the subnet asks for. What cannot be
/// read is not checked: the least stake for setting weights.
///
/// # Errors
/// [`ChainError::Preflight`] says what does not hold; [`ChainError::Unsupported`] where the subnet asks for a way of
/// committing that is not known here, which is a reason to stop and to look for a newer version.
pub async fn preflight(
    chain: &dyn Chain,
    netuid: u16,
    hotkey: &Hotkey,
    public_key: [u8; 32],
    standing: &Standing,
    dense: &DenseWeights,
) -> Result<Plan> {
    let refuse = |why: String| Err(ChainError::Preflight(why));
    let (state, head) = (&standing.state, standing.head.number);
    if state.commit_reveal && state.commit_reveal_version != COMMIT_REVEAL_VERSION {
        return Err(ChainError::Unsupported {
            what: format!("CommitRevealWeightsVersion of subnet {netuid}"),
            why: format!(
                "it is {}, and only {COMMIT_REVEAL_VERSION} is known here; weights are not sent, look for a newer version",
                state.commit_reveal_version
            ),
        });
    }
    let us = standing.neuron(hotkey)?;
    if dense.uids.len() != dense.weights.len() {
        return refuse(format!("{} UIDs and {} weights", dense.uids.len(), dense.weights.len()));
    }
    let mut seen = BTreeSet::new();
    let registered: BTreeSet<u16> = standing.metagraph.neurons.iter().map(|neuron| neuron.uid).collect();
    for uid in &dense.uids {
        if !seen.insert(*uid) {
            return refuse(format!("UID {uid} has two weights"));
        }
        if !registered.contains(uid) {
            return refuse(format!("UID {uid} is not in subnet {netuid} at block {head}"));
        }
    }
    let weights = WireWeights::of(dense, state.max_weights_limit, us.uid);
    let only_ourselves = weights.uids == [us.uid];
    if weights.uids.is_empty() {
        return refuse("all weights are 0".into());
    }
    if !us.validator_permit && !only_ourselves {
        return refuse(format!(
            "{hotkey} (UID {}) has no validator permit at block {head}; the chain would drop its weights. Permits go to \
             the hotkeys with the most stake",
            us.uid
        ));
    }
    let fewest = usize::from(state.min_allowed_weights).min(registered.len());
    if !only_ourselves && weights.uids.len() < fewest {
        return refuse(format!(
            "{} weights are not 0, and the subnet wants {fewest} at least",
            weights.uids.len()
        ));
    }
    if !only_ourselves && !weights.within(state.max_weights_limit) {
        return refuse(format!(
            "a weight has a larger share than the subnet allows ({} of 65535)",
            state.max_weights_limit
        ));
    }
    let since = head.saturating_sub(us.last_update);
    if us.last_update > 0 && since < state.weights_rate_limit {
        return refuse(format!(
            "weights were last set {since} blocks ago (block {}), and the limit is one in {}: {} blocks to wait",
            us.last_update,
            state.weights_rate_limit,
            state.weights_rate_limit - since
        ));
    }
    let version_key = state.weights_version_key;
    if !state.commit_reveal {
        let WireWeights { uids, values } = weights.clone();
        let call = Call::SetWeights { netuid, uids, weights: values, version_key };
        return Ok(Plan { call, weights, reveal: None });
    }
    if standing.unrevealed >= MAX_UNREVEALED {
        return refuse(format!(
            "{} commits wait for their reveal, and the chain takes no more",
            standing.unrevealed
        ));
    }
    let Some(epoch) = EpochSchedule::of(state, head).reveal_epoch(state.reveal_period_epochs) else {
        return refuse(format!("subnet {netuid} has tempo 0 and so no epochs: nothing would be revealed"));
    };
    let clock = chain.clock().await?;
    let round = reveal_round(clock.unix_time, epoch.first_block, head, clock.block_seconds);
    if let Some(stored) = state.last_stored_round.filter(|stored| round < *stored) {
        return refuse(format!(
            "the reveal round would be {round}, and the chain knows {stored} already: is this machine's clock right?"
        ));
    }
    let payload = WeightsPayload {
        hotkey: public_key.to_vec(),
        uids: weights.uids.clone(),
        values: weights.values.clone(),
        version_key,
    };
    let commit = payload.seal(&clock.randomness, round)?;
    let call = Call::CommitWeights { netuid, commit, reveal_round: round, version: COMMIT_REVEAL_VERSION };
    Ok(Plan { call, weights, reveal: Some((round, epoch)) })
}
