//! Weights onto the chain: once, checked beforehand, and confirmed.
//!
//! Nothing is ever sent again on a guess. After an error the chain is read first; where it cannot say yet whether a
//! transaction took effect, the answer is [`WeightsOutcome::Unknown`], and it stays so until the transaction has either
//! been seen or can no longer be included. Every value that is needed to go on is serialisable, so that a process that
//! was killed goes on where it stood.

mod preflight;
mod reveal;
mod wire;

use std::time::Duration;

use nexis_core::protocol::Hotkey;
use nexis_core::weights::DenseWeights;
pub use preflight::{Plan, Standing, preflight};
pub use reveal::{PendingReveal, RevealStatus, confirm_reveal};
use serde::{Deserialize, Serialize};
pub use wire::WireWeights;

use super::{Chain, ChainError, HotkeyPair, Receipt, Result};

/// Blocks for which a signed transaction can be included.
pub const MORTALITY: u64 = 64;

/// How weights are submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Tries, the first one included; one at least.
    pub tries: u32,
    /// Time between two tries.
    pub pause: Duration,
}

impl Default for SubmitOptions {
    /// Three tries, ten seconds apart (protocol page, 5).
    fn default() -> Self {
        Self { tries: 3, pause: Duration::from_secs(10) }
    }
}

/// What became of weights; to be stored by whoever answers for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WeightsOutcome {
    /// They are in effect.
    Set {
        /// The finalised block of the transaction.
        block: u64,
    },
    /// They are committed, and count only once [`confirm_reveal`] has seen them revealed.
    Committed(PendingReveal),
    /// Sent, and nobody knows what came of it: [`settle`] before anything else is sent.
    Unknown(InFlight),
}

/// A transaction that may or may not be included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// The subnet.
    pub netuid: u16,
    /// The finalised head before it was sent.
    pub sent_at: u64,
    /// Block of the hotkey's weights before it was sent.
    pub last_update: u64,
    /// After this block it can no longer be included.
    pub valid_until: u64,
    /// What is to be confirmed if it was a commit.
    pub commit: Option<PendingReveal>,
}

impl InFlight {
    fn of(plan: &Plan, standing: &Standing, last_update: u64, earlier: &[PendingReveal]) -> Self {
        let sent_at = standing.head.number;
        Self {
            netuid: plan.call.netuid(),
            sent_at,
            last_update,
            // The node signs at a head of its own, which is younger than ours by some blocks at most.
            valid_until: sent_at.saturating_add(2 * MORTALITY),
            commit: plan.reveal.map(|(round, epoch)| PendingReveal::new(round, epoch, earlier)),
        }
    }

    /// The outcome, now that its block is known.
    fn took_effect(self, block: u64) -> WeightsOutcome {
        match self.commit {
            None => WeightsOutcome::Set { block },
            Some(commit) => WeightsOutcome::Committed(commit.in_block(block)),
        }
    }
}

/// What has become of a transaction that was in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It took effect.
    Took(WeightsOutcome),
    /// It did not, and no longer can.
    Lost,
    /// It may still.
    Open,
}

/// Looks whether a transaction in flight took effect.
///
/// # Errors
/// Those of the chain's reads.
pub async fn settle(chain: &dyn Chain, hotkey: &Hotkey, sent: &InFlight) -> Result<Settled> {
    let standing = Standing::read(chain, sent.netuid, hotkey).await?;
    settled(&standing, hotkey, sent)
}

fn settled(standing: &Standing, hotkey: &Hotkey, sent: &InFlight) -> Result<Settled> {
    let last_update = standing.neuron(hotkey)?.last_update;
    Ok(if last_update > sent.last_update {
        Settled::Took(sent.clone().took_effect(last_update))
    } else if standing.head.number > sent.valid_until {
        Settled::Lost
    } else {
        Settled::Open
    })
}

/// Puts weights on the chain, by the path that the subnet asks for. `earlier` are our commits that are not confirmed yet.
///
/// # Errors
/// [`ChainError::Preflight`], [`ChainError::Unsupported`] and [`ChainError::Dispatch`] at once, since trying again does
/// not help; the last try's error otherwise. After an error nothing of these weights is on its way.
pub async fn submit_weights(
    chain: &dyn Chain,
    signer: &HotkeyPair,
    netuid: u16,
    weights: &DenseWeights,
    earlier: &[PendingReveal],
    options: &SubmitOptions,
) -> Result<WeightsOutcome> {
    let hotkey = signer.hotkey();
    // The last transaction, and whether its outcome is unknown.
    let mut last: Option<(InFlight, bool)> = None;
    let mut problem = None;
    for again in 0..options.tries.max(1) {
        if again > 0 {
            tokio::time::sleep(options.pause).await;
        }
        let standing = match Standing::read(chain, netuid, hotkey).await {
            Ok(standing) => standing,
            Err(error) if is_passing(&error) => {
                tracing::warn!(netuid, %hotkey, %error, "the chain could not be read before weights are sent");
                problem = Some(error);
                continue;
            }
            Err(error) => return ended(last, error),
        };
        if let Some((sent, unknown)) = &last {
            match settled(&standing, hotkey, sent) {
                Ok(Settled::Took(outcome)) => return Ok(outcome),
                Ok(Settled::Open) if *unknown => continue,
                // Refused, or lost: a new one may go.
                Ok(Settled::Open | Settled::Lost) => {}
                Err(error) => return ended(last, error),
            }
        }
        let last_update = standing.neuron(hotkey)?.last_update;
        let plan = preflight(chain, netuid, hotkey, signer.public_key(), &standing, weights).await?;
        let sent = InFlight::of(&plan, &standing, last_update, earlier);
        match chain.submit(signer, &plan.call).await {
            Ok(Receipt { block, .. }) => return Ok(sent.took_effect(block.number)),
            Err(error) => {
                tracing::warn!(netuid, %hotkey, %error, try_ = again + 1, "weights were not taken");
                let unknown = match &error {
                    ChainError::Refused { code: Some(1 | 19), .. }
                    | ChainError::Dispatch { .. }
                    | ChainError::Unsupported { .. }
                    | ChainError::Wallet { .. } => return Err(error),
                    ChainError::Refused { .. } | ChainError::Unreachable { .. } => false,
                    _ => true,
                };
                last = Some((sent, unknown));
                problem = Some(error);
            }
        }
    }
    let error = problem.unwrap_or_else(|| ChainError::Preflight("nothing was tried".into()));
    ended(last, error)
}

/// The end of all tries: an error, unless a transaction may still be included.
fn ended(last: Option<(InFlight, bool)>, error: ChainError) -> Result<WeightsOutcome> {
    match last {
        Some((sent, true)) => Ok(WeightsOutcome::Unknown(sent)),
        _ => Err(error),
    }
}

/// Whether an error of a read may be gone at the next try.
fn is_passing(error: &ChainError) -> bool {
    matches!(error, ChainError::Unreachable { .. } | ChainError::TimedOut { .. })
}
