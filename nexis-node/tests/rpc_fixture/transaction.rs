//! Reading a signed transaction of version 4, with runtime 365's extensions spelled out.

use parity_scale_codec::{Compact, Decode, Encode, Input};
use schnorrkel::{PublicKey, Signature};

use super::encode::{Account, blake2_256};

/// A signed transaction.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hash: [u8; 32],
    pub(crate) account: Account,
    pub(crate) signature: [u8; 64],
    pub(crate) period: u64,
    pub(crate) phase: u64,
    pub(crate) nonce: u64,
    /// Era, nonce, tip and mode, as they were.
    pub(crate) extra: Vec<u8>,
    pub(crate) call: Vec<u8>,
}

impl Transaction {
    /// Reads one, with its length in front.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let inner = Vec::<u8>::decode(&mut &*bytes).ok()?;
        let rest = &mut inner.as_slice();
        // Version 4 with a signature; the address is an id; the signature is sr25519.
        if rest.read_byte().ok()? != 0x84 || rest.read_byte().ok()? != 0 {
            return None;
        }
        let account = Account::decode(rest).ok()?;
        if rest.read_byte().ok()? != 1 {
            return None;
        }
        let signature = <[u8; 64]>::decode(rest).ok()?;
        let start = *rest;
        let first = rest.read_byte().ok()?;
        let (period, phase) = if first == 0 {
            (0, 0)
        } else {
            let word = u64::from(u16::from_le_bytes([first, rest.read_byte().ok()?]));
            let period = 2u64 << (word % 16);
            (period, (word >> 4) * (period >> 12).max(1))
        };
        let nonce = Compact::<u64>::decode(rest).ok()?.0;
        let tip = Compact::<u64>::decode(rest).ok()?.0;
        let mode = rest.read_byte().ok()?;
        if tip != 0 || mode != 0 {
            return None;
        }
        let extra = start[..start.len() - rest.len()].to_vec();
        let call = rest.to_vec();
        let hash = blake2_256(bytes);
        Some(Self { bytes: bytes.to_vec(), hash, account, signature, period, phase, nonce, extra, call })
    }

    /// The block that its life begins with, seen from `current`.
    pub(crate) fn birth(&self, current: u64) -> u64 {
        let since = current.max(self.phase) - self.phase;
        since.checked_div(self.period).map_or(0, |lives| lives * self.period + self.phase)
    }

    /// What must have been signed.
    pub(crate) fn payload(&self, spec: u32, transaction: u32, genesis: [u8; 32], birth: [u8; 32]) -> Vec<u8> {
        let mut payload = self.call.clone();
        payload.extend(&self.extra);
        payload.extend((spec, transaction, genesis, birth, 0u8).encode());
        if payload.len() > 256 { blake2_256(&payload).to_vec() } else { payload }
    }

    pub(crate) fn is_signed(&self, payload: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) =
            (PublicKey::from_bytes(&self.account), Signature::from_bytes(&self.signature))
        else {
            return false;
        };
        key.verify_simple(b"substrate", payload, &signature).is_ok()
    }
}

/// A call that the fixture carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    SetCommitment { netuid: u16, info: Vec<u8> },
    SetWeights { netuid: u16, uids: Vec<u16>, weights: Vec<u16>, version_key: u64 },
    CommitWeights { netuid: u16, commit: Vec<u8>, round: u64, version: u16 },
}

impl Carried {
    /// Reads a call, all of it.
    pub(crate) fn read(call: &[u8]) -> Option<Self> {
        let (index, rest) = call.split_at_checked(2)?;
        let rest = &mut &*rest;
        let read = match index {
            [18, 0] => {
                Self::SetCommitment { netuid: u16::decode(rest).ok()?, info: std::mem::take(rest).to_vec() }
            }
            [7, 119] => {
                let (netuid, mechanism, uids, weights, version_key) =
                    <(u16, u8, Vec<u16>, Vec<u16>, u64)>::decode(rest).ok()?;
                (mechanism == 0).then_some(Self::SetWeights { netuid, uids, weights, version_key })?
            }
            [7, 118] => {
                let (netuid, mechanism, commit, round, version) =
                    <(u16, u8, Vec<u8>, u64, u16)>::decode(rest).ok()?;
                (mechanism == 0).then_some(Self::CommitWeights { netuid, commit, round, version })?
            }
            _ => return None,
        };
        rest.is_empty().then_some(read)
    }
}
