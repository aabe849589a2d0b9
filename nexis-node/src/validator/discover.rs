//! Who is looked at in an interval.

use std::collections::BTreeSet;

use nexis_core::commitment::Credentials;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::sample::select_miners;

use crate::chain::{BlockRef, Chain, Commitment, CommitmentField, Result};

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
            let credentials = commitments.get(&hotkey).and_then(credentials);
            Candidate { hotkey, credentials }
        })
        .collect())
}

/// The credentials in a commitment: its first raw field, to the letter.
pub fn credentials(commitment: &Commitment) -> Option<Credentials> {
    commitment.fields.iter().find_map(|field| match field {
        CommitmentField::Raw(bytes) => Credentials::decode(std::str::from_utf8(bytes).ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commitment(fields: Vec<CommitmentField>) -> Commitment {
        Commitment { block: 7, fields }
    }

    #[test]
    fn only_the_hundred_and_twenty_eight_characters_are_credentials() {
        let text = format!("{}{}{}", "a1".repeat(16), "k".repeat(32), "s".repeat(64));
        let raw = CommitmentField::Raw(text.clone().into_bytes());
        let read = credentials(&commitment(vec![CommitmentField::Other(134), raw])).unwrap();
        assert_eq!(read.encode(), text);
        for fields in [
            vec![],
            vec![CommitmentField::None],
            vec![CommitmentField::Raw(vec![0xff; 128])],
            vec![CommitmentField::Raw(text.as_bytes()[..127].to_vec())],
        ] {
            assert!(credentials(&commitment(fields)).is_none());
        }
    }
}
