//! Puts the devnet's weights on its chain, plainly.

use async_trait::async_trait;
use nexis_core::protocol::Hotkey;
use nexis_core::weights::DenseWeights;

use crate::chain::sim::SimulatedChain;
use crate::chain::{self, Call, Chain, ChainError, HotkeyPair};
use crate::validator::{Submitted, WeightSubmitter};

/// Sets weights with one call.
pub(super) struct DevnetSubmitter {
    chain: SimulatedChain,
    netuid: u16,
    pair: HotkeyPair,
}

impl DevnetSubmitter {
    pub(super) fn new(chain: SimulatedChain, netuid: u16, pair: HotkeyPair) -> Self {
        Self { chain, netuid, pair }
    }
}

#[async_trait]
impl WeightSubmitter for DevnetSubmitter {
    fn hotkey(&self) -> &Hotkey {
        self.pair.hotkey()
    }

    async fn submit(&self, weights: &DenseWeights) -> chain::Result<Submitted> {
        let at = self.chain.finalized_head().await?;
        let state = self.chain.subnet_state(self.netuid, &at).await?;
        if state.commit_reveal {
            return Err(ChainError::Preflight("the subnet wants commitments".into()));
        }
        let most = weights.weights.iter().copied().fold(0.0, f64::max);
        let scaled = weights.uids.iter().zip(&weights.weights).map(|(uid, weight)| {
            let share = if most > 0.0 { weight / most } else { 0.0 };
            (*uid, (share * f64::from(u16::MAX)).round() as u16)
        });
        let (uids, weights) = scaled.filter(|(_, weight)| *weight > 0).unzip();
        let call =
            Call::SetWeights { netuid: self.netuid, uids, weights, version_key: state.weights_version_key };
        let receipt = self.chain.submit(&self.pair, &call).await?;
        Ok(Submitted { block: receipt.block.number, commit: false })
    }
}
