//! What ties blocks to the time of day and to the public randomness that opens timelocked weights.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Result;
use super::timelock::RandomnessKey;

/// Seconds of a block of the live network.
const BLOCK_SECONDS: f64 = 12.0;

/// The clock of a chain.
#[derive(Clone, Debug)]
pub struct ChainClock {
    /// Seconds since 1970.
    pub unix_time: f64,
    /// Seconds from block to block.
    pub block_seconds: f64,
    /// The public key of the randomness network.
    pub randomness: RandomnessKey,
}

impl ChainClock {
    /// The live network's: the system's time, blocks of 12 seconds, drand's quicknet.
    ///
    /// # Errors
    /// None that a correct build can meet: quicknet's key is a constant.
    pub fn live() -> Result<Self> {
        let unix_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Ok(Self { unix_time, block_seconds: BLOCK_SECONDS, randomness: RandomnessKey::quicknet()? })
    }
}
