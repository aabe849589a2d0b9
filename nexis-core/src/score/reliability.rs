//! Whether probabilities are what they say, and whether two judges agree.

use serde::{Deserialize, Serialize};

/// One bar of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Least probability of the bin, not in it but for 0.
    pub from: f64,
    /// Greatest probability of the bin.
    pub to: f64,
    /// Observations.
    pub count: u64,
    /// Their mean probability; 0 of none.
    pub predicted: f64,
    /// Share of positives among them; 0 of none.
    pub observed: f64,
}

/// Probabilities against what came of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Bins of equal width.
    pub bins: Vec<ReliabilityBin>,
    /// Mean over observations of the distance between a bin's mean probability and its share of positives.
    pub expected_calibration_error: f64,
    /// Mean squared distance of the probability from what came of it.
    pub brier: f64,
}

/// Bins of a reliability diagram.
pub const RELIABILITY_BINS: usize = 10;

/// The reliability diagram of probabilities in 0..1; `None` of none, or with one that is none.
pub fn reliability(probabilities: &[f64], positive: &[bool]) -> Option<Reliability> {
    let n = probabilities.len();
    if n == 0 || n != positive.len() || probabilities.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return None;
    }
    // Edges as numpy's linspace has them, each the nearest number to k / 10 times the step.
    let step = 1.0 / RELIABILITY_BINS as f64;
    let edge = |k: usize| if k == RELIABILITY_BINS { 1.0 } else { k as f64 * step };
    let mut sums = [(0_u64, 0.0_f64, 0_u64); RELIABILITY_BINS];
    let mut squares = 0.0;
    for (p, positive) in probabilities.iter().zip(positive) {
        let bin = (1..RELIABILITY_BINS).take_while(|k| edge(*k) < *p).count();
        if let Some((count, sum, hits)) = sums.get_mut(bin) {
            *count += 1;
            *sum += p;
            *hits += u64::from(*positive);
        }
        let distance = p - f64::from(u8::from(*positive));
        squares += distance * distance;
    }
    let bins: Vec<ReliabilityBin> = sums
        .iter()
        .enumerate()
        .map(|(k, (count, sum, hits))| {
            let of = |x: f64| if *count == 0 { 0.0 } else { x / *count as f64 };
            ReliabilityBin {
                from: edge(k),
                to: edge(k + 1),
                count: *count,
                predicted: of(*sum),
                observed: of(*hits as f64),
            }
        })
        .collect();
    let error =
        bins.iter().map(|bin| bin.count as f64 / n as f64 * (bin.observed - bin.predicted).abs()).sum();
    Some(Reliability { bins, expected_calibration_error: error, brier: squares / n as f64 })
}

/// Cohen's kappa of two judges' decisions: agreement beyond what chance would give. `None` of none, or where both
/// judges decide everything alike, for then chance says the same.
pub fn cohen_kappa(a: &[bool], b: &[bool]) -> Option<f64> {
    let n = a.len() as f64;
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    let count = |judge: &[bool]| judge.iter().filter(|yes| **yes).count() as f64;
    let agreed = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / n;
    let (yes_a, yes_b) = (count(a) / n, count(b) / n);
    let chance = yes_a * yes_b + (1.0 - yes_a) * (1.0 - yes_b);
    (chance < 1.0).then(|| (agreed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_probabilities_have_no_error() {
        let got = reliability(&[0.5, 0.5, 1.0, 0.0], &[true, false, true, false]).unwrap();
        assert_eq!(got.expected_calibration_error, 0.0);
        assert_eq!((got.bins[0].count, got.bins[4].count, got.bins[9].count), (1, 2, 1));
        let got = reliability(&[1.0], &[false]).unwrap();
        assert_eq!((got.expected_calibration_error, got.brier), (1.0, 1.0));
        assert!(reliability(&[], &[]).is_none() && reliability(&[1.5], &[true]).is_none());
    }

    #[test]
    fn kappa_of_the_same_the_opposite_and_nothing() {
        let judge = [true, false, true, false];
        assert_eq!(cohen_kappa(&judge, &judge), Some(1.0));
        assert_eq!(cohen_kappa(&judge, &judge.map(|yes| !yes)), Some(-1.0));
        assert_eq!(cohen_kappa(&[true; 3], &[true; 3]), None);
        assert_eq!(cohen_kappa(&[true, false], &[true, true]), Some(0.0));
    }
}
