//! Weights as the chain takes them: 16-bit numbers of which the largest is 65535, and no zeros.

use nexis_core::weights::DenseWeights;

/// The largest weight.
const MOST: f64 = 65_535.0;
/// What the network's SDK keeps clear of the limit of one weight, so that rounding does not pass it.
const MARGIN: f64 = 1e-7;
/// Steps by which rounding can be made good: 256 weights are off by half a step each at most.
const MOST_LOWERED: u32 = 256;

/// Weights on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireWeights {
    /// Who is weighed, in the metagraph's order.
    pub uids: Vec<u16>,
    /// Their weights, none of them 0.
    pub values: Vec<u16>,
}

impl WireWeights {
    /// Weights in the network's own rounding: divided by the largest, times 65535, halves to the even number. Where the
    /// subnet limits one weight's share to less than everything (`limit` of 65535), larger ones are cut to it first.
    /// Where rounding leaves the largest above the limit, which the chain would punish by dropping everything, they are
    /// lowered by the little that it takes. What is not a positive number counts as 0. Our own weight alone is never cut, as on the chain.
    pub fn of(dense: &DenseWeights, limit: u16, own_uid: u16) -> Self {
        let clean = |weight: &f64| if weight.is_finite() { weight.max(0.0) } else { 0.0 };
        let mut weights: Vec<f64> = dense.weights.iter().map(clean).collect();
        if limit < u16::MAX && dense.uids != [own_uid] {
            weights = cut(weights, f64::from(limit) / MOST);
        }
        let largest = weights.iter().copied().fold(0.0, f64::max);
        if largest <= 0.0 {
            return Self::default();
        }
        let scaled = weights.iter().map(|weight| (weight / largest * MOST).round_ties_even() as u16);
        let (uids, values) = dense.uids.iter().zip(scaled).filter(|(_, value)| *value > 0).unzip();
        let mut wire = Self { uids, values };
        if dense.uids != [own_uid] {
            wire.lower(limit);
        }
        wire
    }

    /// Lowers the largest weights until they are within the limit, if as little as rounding takes is enough.
    fn lower(&mut self, limit: u16) {
        let before = self.values.clone();
        for _ in 0..MOST_LOWERED {
            if self.within(limit) {
                return;
            }
            let largest = self.values.iter().copied().max().unwrap_or(0);
            for value in self.values.iter_mut().filter(|value| **value == largest) {
                *value = value.saturating_sub(1);
            }
        }
        if !self.within(limit) {
            self.values = before;
        }
    }

    /// Whether no weight has a larger share than `limit` of 65535, counted as the chain does.
    pub fn within(&self, limit: u16) -> bool {
        let sum: u64 = self.values.iter().map(|value| u64::from(*value)).sum();
        let largest = self.values.iter().copied().max().map_or(0, u64::from);
        largest * u64::from(u16::MAX) <= u64::from(limit) * sum
    }
}

/// Cuts weights so that the largest has just the share `limit` of what is left. Where no cut can do that, because too few
/// have any weight, they stay as they are, and the preflight refuses them. (The SDK spreads them over everybody
/// then, those with no weight included, which would pay miners for nothing.)
fn cut(weights: Vec<f64>, limit: f64) -> Vec<f64> {
    let count = weights.iter().filter(|weight| **weight > 0.0).count() as f64;
    let total: f64 = weights.iter().sum();
    if total <= 0.0 || count * limit <= 1.0 {
        return weights;
    }
    let mut shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
    let unchanged = shares.clone();
    shares.retain(|share| *share > 0.0);
    shares.sort_by(f64::total_cmp);
    if shares.last().is_none_or(|largest| *largest <= limit) {
        return unchanged;
    }
    // A share stays as it is if it would be below the limit with all larger ones cut down to it. `kept` of them do, and
    // sum up to `mass`; `(count - kept)` are cut to c, where c = limit (mass + (count - kept) c).
    let (mut kept, mut mass) = (0.0, 0.0);
    let (mut place, mut sum) = (0.0, 0.0);
    for share in &shares {
        place += 1.0;
        sum += share;
        if share / ((count - place) * share + sum + MARGIN) < limit {
            kept += 1.0;
            mass = sum;
        }
    }
    let most = (limit * mass - MARGIN) / (1.0 - limit * (count - kept)) * total;
    let cut: Vec<f64> = weights.iter().map(|weight| weight.min(most)).collect();
    let left: f64 = cut.iter().sum();
    cut.iter().map(|weight| weight / left).collect()
}
