//! Keys and values as the runtime lays them out.

use blake2::digest::consts::{U16, U32};
use blake2::{Blake2b, Digest};
use parity_scale_codec::{Compact, Encode};
use subxt::ext::frame_decode::storage::encode_storage_key_prefix;

pub(crate) type Account = [u8; 32];

pub(crate) fn blake2_256(bytes: &[u8]) -> [u8; 32] {
    Blake2b::<U32>::digest(bytes).into()
}

pub(crate) fn blake2_128_concat(bytes: &[u8]) -> Vec<u8> {
    let mut out = Blake2b::<U16>::digest(bytes).to_vec();
    out.extend_from_slice(bytes);
    out
}

/// XXH64 with seed 0, written out from its specification.
fn xxh64(bytes: &[u8]) -> u64 {
    const P: [u64; 5] = [
        0x9E37_79B1_85EB_CA87,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x85EB_CA77_C2B2_AE63,
        0x27D4_EB2F_1656_67C5,
    ];
    let round =
        |acc: u64, lane: u64| acc.wrapping_add(lane.wrapping_mul(P[1])).rotate_left(31).wrapping_mul(P[0]);
    let word = |at: &[u8]| u64::from_le_bytes(at[..8].try_into().unwrap());
    let mut rest = bytes;
    let mut hash = if rest.len() >= 32 {
        let mut lanes = [P[0].wrapping_add(P[1]), P[1], 0, 0u64.wrapping_sub(P[0])];
        while rest.len() >= 32 {
            for (lane, at) in lanes.iter_mut().zip(rest.chunks(8)) {
                *lane = round(*lane, word(at));
            }
            rest = &rest[32..];
        }
        let turns = [1, 7, 12, 18];
        let mut hash = lanes.iter().zip(turns).fold(0u64, |sum, (l, t)| sum.wrapping_add(l.rotate_left(t)));
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(P[0]).wrapping_add(P[3]);
        }
        hash
    } else {
        P[4]
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while rest.len() >= 8 {
        hash = (hash ^ round(0, word(rest))).rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
        rest = &rest[8..];
    }
    if rest.len() >= 4 {
        let half = u64::from(u32::from_le_bytes(rest[..4].try_into().unwrap()));
        hash = (hash ^ half.wrapping_mul(P[0])).rotate_left(23).wrapping_mul(P[1]).wrapping_add(P[2]);
        rest = &rest[4..];
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P[4])).rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P[2]);
    hash ^ (hash >> 32)
}

pub(crate) fn twox_64_concat(bytes: &[u8]) -> Vec<u8> {
    let mut out = xxh64(bytes).to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// The key of a value in storage.
pub(crate) fn key(pallet: &str, entry: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = encode_storage_key_prefix(pallet, entry).to_vec();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(crate) fn events_key() -> Vec<u8> {
    key("System", "Events", &[])
}

/// One record of `System.Events`.
pub(crate) struct Event {
    /// The transaction's place in the block, or none for what happens by itself.
    pub(crate) transaction: Option<u32>,
    pub(crate) pallet: u8,
    pub(crate) variant: u8,
    pub(crate) fields: Vec<u8>,
}

impl Encode for Event {
    fn encode(&self) -> Vec<u8> {
        let mut out = match self.transaction {
            Some(place) => (0u8, place).encode(),
            None => vec![2],
        };
        out.extend([self.pallet, self.variant]);
        out.extend(&self.fields);
        // No topics.
        out.push(0);
        out
    }
}

/// `DispatchEventInfo`: weight, class normal, no fee.
fn dispatch_info() -> Vec<u8> {
    (Compact(1_000u64), Compact(0u64), 0u8, 1u8).encode()
}

pub(crate) fn success(place: u32) -> Event {
    Event { transaction: Some(place), pallet: 0, variant: 0, fields: dispatch_info() }
}

/// A pallet's error, by its place in the metadata.
pub(crate) fn failure(place: u32, pallet: u8, error: u8) -> Event {
    let mut fields = vec![3, pallet, error, 0, 0, 0];
    fields.extend(dispatch_info());
    Event { transaction: Some(place), pallet: 0, variant: 1, fields }
}
