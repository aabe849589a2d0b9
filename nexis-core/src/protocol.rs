//! The protocol's small types and block arithmetic (protocol page, 1 and 3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::Digest;

/// A miner's or validator's SS58 address, kept as it was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hotkey(String);

impl Hotkey {
    /// A hotkey from its text; surrounding white space is not part of it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// The address as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the miner's bucket: the address in lower case (protocol page, 2).
    pub fn bucket_name(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An interval of 100 blocks, named by its first block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntervalId(u64);

impl IntervalId {
    /// Blocks in an interval.
    pub const BLOCKS: u64 = 100;
    /// Blocks to wait after an interval closes before it is validated.
    pub const RESERVE_BLOCKS: u64 = 2;

    /// The interval with this id, taken as given.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The interval that somebody names. Nobody publishes or judges one between two intervals: a slip of the pen would
    /// look like a miner's failure.
    ///
    /// # Errors
    /// [`Error::Usage`] with both neighbours, where the number is no interval's first block.
    pub fn named(id: u64) -> Result<Self> {
        let before = Self::containing(id);
        if before.0 == id {
            return Ok(before);
        }
        let next = before
            .0
            .checked_add(Self::BLOCKS)
            .map(|next| format!(", and the next is {next}"))
            .unwrap_or_default();
        let why = format!(
            "an interval is named by its first block, a multiple of {}; this one is in {before}{next}",
            Self::BLOCKS
        );
        Err(Error::usage(id.to_string(), why))
    }

    /// The interval that contains a block.
    pub const fn containing(block: u64) -> Self {
        Self(block - block % Self::BLOCKS)
    }

    /// The first block at which this interval may be validated: after its last block and the reserve.
    pub const fn first_eligible_block(self) -> u64 {
        self.0.saturating_add(Self::BLOCKS + Self::RESERVE_BLOCKS)
    }

    /// The latest interval that may be validated at a block, if any (protocol page, 1).
    pub const fn latest_eligible(block: u64) -> Option<Self> {
        let effective = block.saturating_sub(Self::RESERVE_BLOCKS);
        if effective < Self::BLOCKS {
            return None;
        }
        Some(Self(effective / Self::BLOCKS * Self::BLOCKS - Self::BLOCKS))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `interval_seed(id)`: lower-case hex SHA-256 of `interval:{id}` (protocol page, 3).
    pub fn seed(self) -> String {
        Digest::of(format!("interval:{}", self.0)).to_string()
    }
}

impl fmt::Display for IntervalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The seven labels of the category phase, in the order of the wire (protocol page, 6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Natural scenery.
    Nature,
    /// People.
    People,
    /// Animals.
    Animal,
    /// Vehicles.
    Vehicle,
    /// Streets and buildings.
    Urban,
    /// Rooms.
    Indoor,
    /// Anything else: graphics, slides, abstract pictures.
    Other,
}

impl Category {
    /// All seven, in wire order.
    pub const ALL: [Self; 7] =
        [Self::Nature, Self::People, Self::Animal, Self::Vehicle, Self::Urban, Self::Indoor, Self::Other];

    /// The label as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nature => "nature",
            Self::People => "people",
            Self::Animal => "animal",
            Self::Vehicle => "vehicle",
            Self::Urban => "urban",
            Self::Indoor => "indoor",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_interval_begins_with_a_block_of_its_own() {
        for id in [0, 100, 7_756_900] {
            assert_eq!(IntervalId::named(id).unwrap().get(), id);
        }
        for (id, neighbours) in [
            (1, "in 0, and the next is 100"),
            (6999, "in 6900, and the next is 7000"),
            (u64::MAX, "in 18446744073709551600"),
        ] {
            let error = IntervalId::named(id).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{error:?}");
            assert!(error.to_string().ends_with(neighbours), "{error}");
        }
    }
}
