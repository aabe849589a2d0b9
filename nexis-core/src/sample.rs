//! Which miners and which rows are looked at: public seeds, the same everywhere (protocol page, 3).

use serde::{Deserialize, Serialize};

use crate::hash::Digest;
use crate::mt19937::PythonRandom;
use crate::protocol::{Hotkey, IntervalId};

/// How many miners are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinerSampling {
    /// Share of the miners.
    pub rate: f64,
    /// At least so many, where there are so many.
    pub min: usize,
    /// At most so many.
    pub max: usize,
}

impl Default for MinerSampling {
    fn default() -> Self {
        Self { rate: 1.0, min: 2, max: 35 }
    }
}

/// How many rows of a submission are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowSampling {
    /// Up to so many rows all are taken.
    pub all_up_to: usize,
    /// Above that, this share, rounded up.
    pub rate: f64,
    /// At least so many.
    pub min: usize,
    /// At most so many.
    pub max: usize,
}

impl Default for RowSampling {
    fn default() -> Self {
        Self { all_up_to: 3, rate: 0.2, min: 1, max: 3 }
    }
}

/// `ceil(total * rate)` as Python computes it, in doubles.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // saturating
fn share(total: usize, rate: f64) -> usize {
    (total as f64 * rate).ceil() as usize
}

impl MinerSampling {
    /// Number of miners sampled out of `total`.
    pub fn count(&self, total: usize) -> usize {
        self.min.max(share(total, self.rate)).min(self.max).min(total)
    }
}

impl RowSampling {
    /// Number of rows sampled out of `total`.
    pub fn count(&self, total: usize) -> usize {
        if total <= self.all_up_to {
            return total;
        }
        share(total, self.rate).max(self.min).min(self.max).min(total)
    }
}

/// `seed_int`: the first eight bytes of SHA-256, big-endian.
pub fn seed_int(text: &str) -> u64 {
    Digest::of(text).seed_int()
}

/// The miners to look at in an interval, in the order in which they are drawn, by the network's numbers.
pub fn select_miners(interval_seed: &str, hotkeys: &[Hotkey]) -> Vec<Hotkey> {
    select_miners_with(&MinerSampling::default(), interval_seed, hotkeys)
}

/// The miners to look at, with other numbers than the network's.
pub fn select_miners_with(sampling: &MinerSampling, interval_seed: &str, hotkeys: &[Hotkey]) -> Vec<Hotkey> {
    let mut drawn: Vec<(u64, &Hotkey)> =
        hotkeys.iter().map(|hotkey| (seed_int(&format!("{interval_seed}:{hotkey}")), hotkey)).collect();
    drawn.sort_by_key(|(seed, _)| *seed);
    drawn.truncate(sampling.count(hotkeys.len()));
    drawn.into_iter().map(|(_, hotkey)| hotkey.clone()).collect()
}

/// The rows to look at, ascending, by the network's numbers. The validator is part of the seed unless it
/// is absent or empty.
pub fn select_row_indices(
    total: usize,
    miner: &Hotkey,
    validator: Option<&Hotkey>,
    interval_seed: &str,
) -> Vec<usize> {
    let count = RowSampling::default().count(total);
    if count >= total {
        return (0..total).collect();
    }
    let text = match validator.map(Hotkey::as_str).filter(|hotkey| !hotkey.is_empty()) {
        Some(validator) => format!("{miner}:{validator}:{interval_seed}:{total}"),
        None => format!("{miner}:{interval_seed}:{total}"),
    };
    let mut indices: Vec<usize> = (0..total).collect();
    PythonRandom::new(seed_int(&text)).shuffle(&mut indices);
    indices.truncate(count);
    indices.sort_unstable();
    indices
}

/// Which rows of one submission are judged, and what that followed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplePlan {
    /// The submission's miner.
    pub miner: Hotkey,
    /// The validator whose hotkey is part of the seed, if any.
    pub validator: Option<Hotkey>,
    /// The interval's seed, 64 hexadecimal digits.
    pub interval_seed: String,
    /// Rows to choose from: those left after pruning.
    pub total: usize,
    /// The rows chosen, ascending.
    pub indices: Vec<usize>,
}

impl SamplePlan {
    /// The network's plan for a submission of `total` rows.
    pub fn new(interval: IntervalId, miner: &Hotkey, validator: Option<&Hotkey>, total: usize) -> Self {
        let interval_seed = interval.seed();
        let indices = select_row_indices(total, miner, validator, &interval_seed);
        Self { miner: miner.clone(), validator: validator.cloned(), interval_seed, total, indices }
    }

    /// A plan of all rows.
    pub fn all(interval: IntervalId, miner: &Hotkey, validator: Option<&Hotkey>, total: usize) -> Self {
        Self {
            miner: miner.clone(),
            validator: validator.cloned(),
            interval_seed: interval.seed(),
            total,
            indices: (0..total).collect(),
        }
    }
}
