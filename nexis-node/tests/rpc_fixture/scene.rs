//! A subnet to test with.

use nexis_node::chain::HotkeyPair;
use parity_scale_codec::Encode;
use std::sync::Arc;

use super::chain::{FixtureChain, Registered, Subnet};
use super::encode::Account;

pub(crate) const NETUID: u16 = 3;

/// `//Alice`, `//Bob` and `//Charlie` by their well-known seeds.
pub(crate) const SEEDS: [&str; 3] = [
    "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a",
    "398f0c28f98885e046333d4a41c19cee4c37368a9832c6502f6cfd182e2aef89",
    "bc1ede780f784bb6991a585e4f6e61522c14e1cae6ad0895fb57b9a205a8f938",
];
pub(crate) const ADDRESSES: [&str; 3] = [
    "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
    "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
    "5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y",
];

pub(crate) fn pair(index: usize) -> HotkeyPair {
    let seed = hex::decode(SEEDS[index]).unwrap();
    HotkeyPair::from_seed(&seed.try_into().unwrap()).unwrap()
}

/// Alice and Bob are registered, Alice as a validator; Charlie is not.
pub(crate) fn subnet(commit_reveal: bool, rate_limit: u64) -> Subnet {
    let neuron = |index: usize, permit, last_update, stake| Registered {
        hotkey: pair(index).public_key(),
        permit,
        last_update,
        stake,
    };
    Subnet {
        netuid: NETUID,
        neurons: vec![neuron(0, true, 0, 5_000_000_000_000), neuron(1, false, 4, 17)],
        commit_reveal,
        rate_limit,
    }
}

/// The `CommitmentInfo` of raw bytes, up to 128.
pub(crate) fn raw(data: &[u8]) -> Vec<u8> {
    let mut info = vec![4, u8::try_from(data.len()).unwrap() + 1];
    info.extend(data);
    info
}

/// The 128 bytes that Bob has committed: what a miner's credentials look like.
pub(crate) fn credentials() -> Vec<u8> {
    (0..128u8).map(|i| b'a' + i % 26).collect()
}

/// Bob's credentials; Alice's three fields of other kinds; somebody who has left.
pub(crate) fn commitments() -> Vec<(Account, Vec<u8>)> {
    let mut other = vec![12];
    // A sha256, a timelocked field (bytes, round), and a big raw one.
    other.push(131);
    other.extend([5u8; 32]);
    other.push(134);
    other.extend((vec![1u8, 2, 3], 99u64).encode());
    other.push(136);
    other.extend(vec![7u8; 300].encode());
    vec![
        (pair(0).public_key(), other),
        (pair(1).public_key(), raw(&credentials())),
        (pair(2).public_key(), vec![8, 0, 135]),
    ]
}

/// The usual chain: commitments as above, weights set plainly, no rate limit.
pub(crate) fn plain() -> Arc<FixtureChain> {
    FixtureChain::new(subnet(false, 0), &commitments())
}

/// The same with commit-reveal.
pub(crate) fn commit_reveal() -> Arc<FixtureChain> {
    FixtureChain::new(subnet(true, 0), &commitments())
}
