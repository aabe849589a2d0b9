//! A simulated subnet's settings.

use serde::{Deserialize, Serialize};

use super::super::timelock::COMMIT_REVEAL_VERSION;

/// A simulated subnet's settings. The defaults are those of the live network where it has any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubnetConfig {
    /// Decides hashes and the randomness network.
    pub seed: u64,
    /// The subnet.
    pub netuid: u16,
    /// The first block.
    pub start_block: u64,
    /// Time of the first block, in seconds since 1970.
    pub start_unix: u64,
    /// Seconds from block to block.
    pub block_seconds: f64,
    /// Blocks from epoch to epoch.
    pub tempo: u16,
    /// Whether weights are committed and revealed.
    pub commit_reveal: bool,
    /// Version of commit-reveal.
    pub commit_reveal_version: u16,
    /// Epochs between commit and reveal.
    pub reveal_period_epochs: u64,
    /// Blocks between two submissions of weights.
    pub weights_rate_limit: u64,
    /// Key that weights must carry.
    pub weights_version_key: u64,
    /// Fewest entries of a weight vector.
    pub min_allowed_weights: u16,
    /// Largest share of one entry, of 65535.
    pub max_weights_limit: u16,
    /// Least stake to set weights.
    pub min_stake_rao: u64,
    /// Whether a submission makes the block that holds it. Otherwise it waits for the next block that somebody makes.
    pub seal_on_submit: bool,
    /// Milliseconds that a submission waits for a block, and a caller for a head.
    pub deadline_ms: u64,
}

impl Default for SubnetConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            netuid: 1,
            start_block: 1000,
            start_unix: 1_750_000_000,
            block_seconds: 12.0,
            tempo: 360,
            commit_reveal: false,
            commit_reveal_version: COMMIT_REVEAL_VERSION,
            reveal_period_epochs: 1,
            weights_rate_limit: 100,
            weights_version_key: 0,
            min_allowed_weights: 1,
            max_weights_limit: u16::MAX,
            min_stake_rao: 0,
            seal_on_submit: true,
            deadline_ms: 60_000,
        }
    }
}
