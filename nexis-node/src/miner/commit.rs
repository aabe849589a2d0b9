//! Commits a bucket's read credentials on chain, once, and makes sure that they are there.

use std::time::Duration;

use nexis_core::commitment::Credentials;
use nexis_core::protocol::Hotkey;

use super::MinerError;
use crate::chain::{Call, Chain, ChainError, Commitment, CommitmentField, HotkeyPair};

/// How a commitment is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOptions {
    /// Tries, the first one counted.
    pub tries: u32,
    /// Pause between two tries.
    pub pause: Duration,
}

impl Default for CommitOptions {
    fn default() -> Self {
        Self { tries: 3, pause: Duration::from_secs(12) }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The chain had these credentials already; nothing was sent.
    Unchanged,
    /// The chain has them now.
    Committed {
        /// Block at which they were read back.
        block: u64,
    },
}

/// Makes the chain hold these credentials. Nothing is sent where it holds them already; after an answer that did not
/// come, the chain is read before anything is sent again.
///
/// # Errors
/// [`ChainError::Preflight`] where the hotkey is not registered or the credentials are too long; the chain's; and
/// [`MinerError::NotCommitted`].
pub async fn commit(
    chain: &dyn Chain,
    signer: &HotkeyPair,
    netuid: u16,
    credentials: &Credentials,
    options: &CommitOptions,
) -> Result<CommitOutcome, MinerError> {
    let data = credentials.encode().into_bytes();
    if data.len() > 128 {
        let why = format!("the credentials have {} bytes; a commitment takes 128", data.len());
        return Err(ChainError::Preflight(why).into());
    }
    let head = chain.finalized_head().await?;
    let metagraph = chain.metagraph(netuid, &head).await?;
    if !metagraph.neurons.iter().any(|neuron| neuron.hotkey == *signer.hotkey()) {
        let why = format!("{} is not registered in subnet {netuid}; register it first", signer.hotkey());
        return Err(ChainError::Preflight(why).into());
    }
    if committed(chain, netuid, signer.hotkey()).await?.as_deref() == Some(&data) {
        return Ok(CommitOutcome::Unchanged);
    }
    let mut left = options.tries.max(1);
    loop {
        left -= 1;
        let call = Call::SetCommitment { netuid, data: data.clone() };
        match chain.submit(signer, &call).await {
            Ok(receipt) => {
                let commitments = chain.commitments(netuid, &receipt.block).await?;
                let block = receipt.block.number;
                if commitments.get(signer.hotkey()).and_then(raw) != Some(&data) {
                    return Err(MinerError::NotCommitted { block });
                }
                return Ok(CommitOutcome::Committed { block });
            }
            Err(error @ (ChainError::TimedOut { .. } | ChainError::Unreachable { .. })) => {
                // Whether it was included is not known. It is, where the chain shows it a little later.
                tracing::warn!(%error, left, "the commitment's outcome is not known yet");
                tokio::time::sleep(options.pause).await;
                match committed(chain, netuid, signer.hotkey()).await {
                    Ok(Some(found)) if found == data => {
                        let block = chain.finalized_head().await?.number;
                        return Ok(CommitOutcome::Committed { block });
                    }
                    _ if left == 0 => return Err(error.into()),
                    _ => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The bytes that a hotkey has committed, at the last finalised block.
async fn committed(chain: &dyn Chain, netuid: u16, hotkey: &Hotkey) -> Result<Option<Vec<u8>>, ChainError> {
    let head = chain.finalized_head().await?;
    let commitments = chain.commitments(netuid, &head).await?;
    Ok(commitments.get(hotkey).and_then(raw).cloned())
}

/// The bytes of a commitment that has one raw field.
fn raw(commitment: &Commitment) -> Option<&Vec<u8>> {
    match commitment.fields.as_slice() {
        [CommitmentField::Raw(bytes)] => Some(bytes),
        _ => None,
    }
}
