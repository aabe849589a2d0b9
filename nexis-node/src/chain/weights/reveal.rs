//! Whether committed weights were revealed. The chain drops what it does not like without a word.

use nexis_core::protocol::Hotkey;
use serde::{Deserialize, Serialize};

use super::super::{Chain, Result, RevealEpoch};

/// Blocks whose events are asked for in one go.
const BLOCKS_AT_ONCE: u64 = 64;

/// A commit that waits for its reveal. To be stored after every look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReveal {
    /// The finalised block that holds the commit.
    pub block: u64,
    /// The randomness round that opens it.
    pub round: u64,
    /// First block of the epoch in which it is revealed, as predicted; the round is later than this block.
    pub reveal_block: u64,
    /// First block after that epoch: by then it is revealed, or never will be.
    pub deadline: u64,
    /// Which of our commits of that epoch it is, from 1: each has an event of its own.
    pub nth: u32,
    /// Our reveals in that epoch so far.
    pub seen: u32,
    /// Events are known up to this block.
    pub searched_to: u64,
}

impl PendingReveal {
    pub(super) fn new(round: u64, epoch: RevealEpoch, earlier: &[Self]) -> Self {
        let siblings = earlier.iter().filter(|other| other.reveal_block == epoch.first_block).count();
        Self {
            block: 0,
            round,
            reveal_block: epoch.first_block,
            deadline: epoch.end_block,
            nth: u32::try_from(siblings).unwrap_or(u32::MAX).saturating_add(1),
            seen: 0,
            // Nothing can be opened before its round, and so not before this block.
            searched_to: epoch.first_block.saturating_sub(1),
        }
    }

    pub(super) fn in_block(self, block: u64) -> Self {
        Self { block, ..self }
    }
}

/// How a commit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevealStatus {
    /// Its time has not come.
    Waiting,
    /// It is weights now.
    Revealed {
        /// The block of the event.
        block: u64,
    },
    /// It was not revealed: the alarm to raise. The weights that the chain has of us are older ones.
    Missed {
        /// What was seen, and what to look at.
        why: String,
    },
}

/// Looks at the finalised head whether a commit was revealed. Call it at every head, and store `pending` afterwards.
///
/// # Errors
/// Those of the chain's reads; nothing of `pending` is lost by one.
pub async fn confirm_reveal(
    chain: &dyn Chain,
    netuid: u16,
    hotkey: &Hotkey,
    pending: &mut PendingReveal,
) -> Result<RevealStatus> {
    let head = chain.finalized_head().await?;
    while pending.searched_to < head.number {
        let from = pending.searched_to.saturating_add(1);
        let to = head.number.min(pending.searched_to.saturating_add(BLOCKS_AT_ONCE));
        let reveals = chain.reveals(netuid, from, to).await?;
        let ours: Vec<u64> = reveals.iter().filter(|r| r.hotkey == *hotkey).map(|r| r.block).collect();
        let before_ours = pending.nth.saturating_sub(1).saturating_sub(pending.seen);
        if let Some(block) = ours.get(before_ours as usize) {
            return Ok(RevealStatus::Revealed { block: *block });
        }
        pending.seen = pending.seen.saturating_add(u32::try_from(ours.len()).unwrap_or(u32::MAX));
        pending.searched_to = to;
    }
    let missed = |what: &str| RevealStatus::Missed {
        why: format!(
            "the weights committed in block {} (round {}) {what}. The chain gives no reason; look at the validator \
             permit, the version key, and the least and largest weights of subnet {netuid} at block {}",
            pending.block, pending.round, pending.reveal_block
        ),
    };
    if head.number >= pending.deadline {
        return Ok(missed(&format!("were not revealed before block {}", pending.deadline)));
    }
    // Gone and not revealed: there is nothing left to wait for.
    if head.number >= pending.reveal_block && chain.pending_commits(netuid, hotkey, &head).await? == 0 {
        return Ok(missed(&format!("are gone at block {} and were not revealed", head.number)));
    }
    Ok(RevealStatus::Waiting)
}
