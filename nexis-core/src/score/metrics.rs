//! Measures of classifiers: error rates, areas, confusions.

use serde::{Deserialize, Serialize};

use super::curves::{Ranking, Sweep};
use crate::protocol::Category;

/// Two lists of scores as one walk over all thresholds; `None` without both kinds or with a score that is not a number.
fn sweep(positives: &[f64], negatives: &[f64]) -> Option<Sweep> {
    let scores: Vec<f64> = positives.iter().chain(negatives).copied().collect();
    let truth: Vec<bool> = (0..scores.len()).map(|i| i < positives.len()).collect();
    Ranking::new(&scores, &truth)?.sweep()
}

/// The rate at which false rejections equal false acceptances, on the straight lines between the points of the
/// characteristic. `None` without both kinds or with a score that is not a number.
///
/// ```
/// # use nexis_core::score::metrics::equal_error_rate;
/// assert_eq!(equal_error_rate(&[0.9, 0.8, 0.4], &[0.1, 0.2, 0.3]), Some(0.0));
/// assert_eq!(equal_error_rate(&[0.9, 0.2], &[0.8, 0.1]), Some(0.5));
/// ```
pub fn equal_error_rate(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    Some(sweep(positives, negatives)?.equal_error_rate())
}

/// The score at which the two error rates are nearest to each other: halfway between two neighbouring scores.
pub fn equal_error_threshold(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    Some(sweep(positives, negatives)?.equal_error_threshold())
}

/// The share of scores at or above a threshold; 0 of none.
pub fn accept_rate(scores: &[f64], threshold: f64) -> f64 {
    share(scores.iter().filter(|s| **s >= threshold).count(), scores.len())
}

/// The greatest threshold that rejects at most this share of the positives.
pub fn threshold_at_false_rejection(positives: &[f64], rate: f64) -> Option<f64> {
    if positives.iter().any(|s| s.is_nan()) {
        return None;
    }
    let mut sorted = positives.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rejected = (rate.clamp(0.0, 1.0) * sorted.len() as f64).floor() as usize;
    sorted.get(rejected.min(sorted.len().saturating_sub(1))).copied()
}

/// A part of a whole; 0 of nothing.
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// How often each label was taken for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Row: the truth; column: what it was taken for; both in the order of the wire.
    pub counts: [[u64; Category::ALL.len()]; Category::ALL.len()],
}

impl Confusion {
    /// Counts one.
    pub fn add(&mut self, truth: Category, taken_for: Category) {
        for (row, actual) in self.counts.iter_mut().zip(Category::ALL) {
            for (cell, label) in row.iter_mut().zip(Category::ALL) {
                *cell += u64::from(actual == truth && label == taken_for);
            }
        }
    }

    /// The share on the diagonal; 0 of nothing.
    pub fn accuracy(&self) -> f64 {
        let total: u64 = self.counts.iter().flatten().sum();
        let right: u64 = self.counts.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
        if total == 0 { 0.0 } else { right as f64 / total as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_and_inverted() {
        assert_eq!(equal_error_rate(&[3.0, 2.0], &[1.0, 0.0]), Some(0.0));
        assert_eq!(equal_error_rate(&[1.0, 0.0], &[3.0, 2.0]), Some(1.0));
        assert_eq!(equal_error_rate(&[1.0], &[1.0]), Some(0.5));
        assert_eq!(equal_error_rate(&[], &[1.0]), None);
        assert_eq!(equal_error_rate(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn thresholds() {
        assert_eq!(equal_error_threshold(&[3.0, 2.0], &[1.0, 0.0]), Some(1.5));
        assert_eq!(equal_error_threshold(&[1.0], &[1.0]), Some(1.0));
        let positives: Vec<f64> = (0..100).map(f64::from).collect();
        let threshold = threshold_at_false_rejection(&positives, 0.05).unwrap();
        assert_eq!(accept_rate(&positives, threshold), 0.95);
        assert_eq!(threshold_at_false_rejection(&positives, 0.0), Some(0.0));
        assert_eq!(threshold_at_false_rejection(&[], 0.1), None);
    }

    #[test]
    fn confusion_counts_rows_by_truth() {
        let mut confusion = Confusion::default();
        confusion.add(Category::Nature, Category::Nature);
        confusion.add(Category::Nature, Category::Urban);
        confusion.add(Category::Other, Category::Other);
        assert_eq!(confusion.counts[0], [1, 0, 0, 0, 1, 0, 0]);
        assert!((confusion.accuracy() - 2.0 / 3.0).abs() < 1e-15);
    }
}
