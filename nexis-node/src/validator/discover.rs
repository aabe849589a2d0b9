//! Who is looked at in an interval.

use std::collections::BTreeSet;

use nexis_core::commitment::Credentials;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::sample::select_miners;

use crate::chain::{BlockRef, Chain, Commitment, Result};

/// A miner to look at.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its hotkey.
    pub hotkey: Hotkey,
    /// Its read credentials; `None` where what it committed is none.
    pub credentials: Option<Credentials>,
}

/// The miners of an interval: hotkeys that are registered, have committed something and are not excluded, sampled by
/// the interval's seed. Ordered by hotkey.
///
/// # Errors
/// Where the chain cannot be read.
pub async fn discover(
    chain: &dyn Chain,
    netuid: u16,
    interval: IntervalId,
    at: &BlockRef,
    exclude: &BTreeSet<Hotkey>,
) -> Result<Vec<Candidate>> {
    let metagraph = chain.metagraph(netuid, at).await?;
    let commitments = chain.commitments(netuid, at).await?;
    let registered: Vec<Hotkey> = metagraph
        .neurons
        .into_iter()
        .map(|neuron| neuron.hotkey)
        .filter(|hotkey| commitments.contains_key(hotkey) && !exclude.contains(hotkey))
        .collect();
    let mut chosen = select_miners(&interval.seed(), &registered);
    chosen.sort();
    Ok(chosen
        .into_iter()
        .map(|hotkey| {
            let credentials = commitments.get(&hotkey).and_then(Commitment::credentials);
            Candidate { hotkey, credentials }
        })
        .collect())
}
