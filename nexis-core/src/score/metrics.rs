//! Measures of classifiers: error rates, areas, confusions.

use serde::{Deserialize, Serialize};

use crate::protocol::Category;

/// A point of the receiver operating characteristic.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// Share of negatives at or above the threshold.
    false_accepts: f64,
    /// Share of positives below the threshold.
    false_rejects: f64,
}

/// All thresholds from "accept nothing" to "accept everything"; equal scores change sides together.
fn characteristic(positives: &[f64], negatives: &[f64]) -> Vec<Point> {
    let mut scored: Vec<(f64, bool)> =
        positives.iter().map(|s| (*s, true)).chain(negatives.iter().map(|s| (*s, false))).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (p, n) = (positives.len() as f64, negatives.len() as f64);
    let (mut accepted_positives, mut accepted_negatives) = (0_usize, 0_usize);
    let mut points = vec![Point { false_accepts: 0.0, false_rejects: 1.0 }];
    for group in scored.chunk_by(|a, b| a.0 == b.0) {
        let of_positives = group.iter().filter(|(_, positive)| *positive).count();
        accepted_positives += of_positives;
        accepted_negatives += group.len() - of_positives;
        points.push(Point {
            false_accepts: accepted_negatives as f64 / n,
            false_rejects: 1.0 - accepted_positives as f64 / p,
        });
    }
    points
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
    if !comparable(positives, negatives) {
        return None;
    }
    let points = characteristic(positives, negatives);
    points.iter().zip(points.iter().skip(1)).find_map(|(before, after)| {
        let gap_before = before.false_rejects - before.false_accepts;
        let gap_after = after.false_rejects - after.false_accepts;
        (gap_after <= 0.0).then(|| {
            let share = if gap_before > gap_after { gap_before / (gap_before - gap_after) } else { 0.0 };
            before.false_accepts + share * (after.false_accepts - before.false_accepts)
        })
    })
}

/// The score at which the two error rates are nearest to each other: halfway between two neighbouring scores.
pub fn equal_error_threshold(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if !comparable(positives, negatives) {
        return None;
    }
    let mut scores: Vec<f64> = positives.iter().chain(negatives).copied().collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let points = characteristic(positives, negatives);
    // Point i + 1 accepts the i + 1 greatest scores; its threshold lies between them and the next.
    let mut best: Option<(f64, f64)> = None;
    for (point, pair) in points.iter().skip(1).zip(scores.windows(2).rev()) {
        let gap = (point.false_rejects - point.false_accepts).abs();
        if best.is_none_or(|(least, _)| gap < least) {
            best = Some((gap, pair.iter().sum::<f64>() / 2.0));
        }
    }
    best.map(|(_, threshold)| threshold).or_else(|| scores.first().copied())
}

/// The chance that a positive scores above a negative, equal scores counted half.
///
/// ```
/// # use nexis_core::score::metrics::area_under_curve;
/// assert_eq!(area_under_curve(&[0.9, 0.5], &[0.5, 0.1]), Some(0.875));
/// ```
pub fn area_under_curve(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if !comparable(positives, negatives) {
        return None;
    }
    let points = characteristic(positives, negatives);
    Some(
        points
            .iter()
            .zip(points.iter().skip(1))
            .map(|(a, b)| {
                let width = b.false_accepts - a.false_accepts;
                width * (1.0 - (a.false_rejects + b.false_rejects) / 2.0)
            })
            .sum(),
    )
}

fn comparable(positives: &[f64], negatives: &[f64]) -> bool {
    !positives.is_empty() && !negatives.is_empty() && !positives.iter().chain(negatives).any(|s| s.is_nan())
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
        assert_eq!(area_under_curve(&[3.0, 2.0], &[1.0, 0.0]), Some(1.0));
        assert_eq!(area_under_curve(&[1.0, 0.0], &[3.0, 2.0]), Some(0.0));
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
