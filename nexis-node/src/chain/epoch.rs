//! When a subnet's epochs start, by the chain's own bookkeeping.

use super::SubnetState;

/// An epoch is due when more blocks than this have passed without one, whatever the tempo.
const MAX_BLOCKS_WITHOUT_EPOCH: u64 = 50_400;

/// A subnet's epoch counters at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSchedule {
    /// The block.
    pub block: u64,
    /// Block of the last epoch.
    pub last_epoch_block: u64,
    /// Block at which an epoch was asked for; 0 is none.
    pub pending_epoch_at: u64,
    /// Blocks from epoch to epoch; with 0 there are none.
    pub tempo: u16,
    /// The chain's counter of blocks since the last epoch.
    pub blocks_since_last_step: u64,
}

impl EpochSchedule {
    /// The schedule of a subnet whose state was read at `block`. Where the chain does not keep the last epoch's block,
    /// the next epoch by the runtime's word gives it, else the counter of blocks since then.
    pub fn of(state: &SubnetState, block: u64) -> Self {
        let tempo = u64::from(state.tempo);
        let last_epoch_block = match (state.last_epoch_block, state.next_epoch_start) {
            (Some(last), _) => last,
            (None, Some(next)) if next > block => next.saturating_sub(tempo),
            _ => block.saturating_sub(state.blocks_since_last_step),
        };
        Self {
            block,
            last_epoch_block,
            pending_epoch_at: state.pending_epoch_at.unwrap_or(0),
            tempo: state.tempo,
            blocks_since_last_step: state.blocks_since_last_step,
        }
    }

    /// The first block after this one that starts an epoch, unless the subnet has none.
    pub fn next_epoch(&self) -> Option<u64> {
        if self.tempo == 0 {
            return None;
        }
        let soonest = self.block.saturating_add(1);
        let by_tempo = self.last_epoch_block.saturating_add(u64::from(self.tempo));
        let by_neglect = soonest
            .saturating_add((MAX_BLOCKS_WITHOUT_EPOCH + 1).saturating_sub(self.blocks_since_last_step));
        let mut next = by_tempo.min(by_neglect);
        if self.pending_epoch_at > 0 {
            next = next.min(self.pending_epoch_at);
        }
        Some(next.max(soonest))
    }

    /// The schedule at the end of a block that starts an epoch.
    fn at_epoch(&self, block: u64) -> Self {
        Self {
            block,
            last_epoch_block: block,
            pending_epoch_at: 0,
            tempo: self.tempo,
            // Set to 0 by the epoch, and counted on in the same block.
            blocks_since_last_step: 1,
        }
    }

    /// The epoch in which weights are revealed that are committed in the next block, `periods` epochs later; `None`
    /// where the subnet has no epochs. An epoch that starts with the next block counts as the commit's own: epochs
    /// go before transactions. As the network's own core predicts it while epochs
    /// come by tempo or by request; by one block at most where one comes because there was none for a week.
    pub fn reveal_epoch(&self, periods: u64) -> Option<RevealEpoch> {
        let next = self.next_epoch()?;
        let inclusion = self.block.saturating_add(1);
        let schedule = if next == inclusion { self.at_epoch(next) } else { *self };
        // All epochs but the first are equally long.
        let first = schedule.next_epoch()?;
        let length = schedule.at_epoch(first).next_epoch()?.saturating_sub(first);
        let start = |epochs: u64| first.saturating_add(epochs.saturating_sub(1).saturating_mul(length));
        Some(RevealEpoch {
            first_block: if periods == 0 { inclusion } else { start(periods) },
            end_block: start(periods.saturating_add(1)),
        })
    }
}

/// The epoch of a reveal, as predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevealEpoch {
    /// Its first block.
    pub first_block: u64,
    /// The first block after it; by then a commit has been revealed, or never will be.
    pub end_block: u64,
}
