//! Rank correlation of scores with ratings: Kendall's tau.

use serde::{Deserialize, Serialize};

/// Both variants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kendall {
    /// Corrected for ties on either side.
    pub tau_b: f64,
    /// For tables of unequal sides, such as continuous scores against a few grades (Stuart).
    pub tau_c: f64,
}

/// Scores and ratings, ranked once and counted as often as wanted.
#[derive(Clone, Debug)]
pub struct RankPair {
    /// Index and rating's rank, in rising order of the scores; `true` at the first of equal scores.
    order: Vec<(u32, u32, bool)>,
    levels: usize,
}

impl RankPair {
    /// `None` where lengths differ, a value is not a number, or there are more than 2^32 of them.
    pub fn new(scores: &[f64], ratings: &[f64]) -> Option<Self> {
        let n = u32::try_from(scores.len()).ok()?;
        if scores.len() != ratings.len() || scores.iter().chain(ratings).any(|value| value.is_nan()) {
            return None;
        }
        let mut levels = ratings.to_vec();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        let mut sorted: Vec<(u32, f64)> = (0..n).zip(scores.iter().copied()).collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut order = Vec::with_capacity(sorted.len());
        for tied in sorted.chunk_by(|a, b| a.1 == b.1) {
            for (place, (index, _)) in tied.iter().enumerate() {
                let rating = ratings.get(*index as usize)?;
                let level = levels.partition_point(|level| level < rating);
                order.push((*index, u32::try_from(level).ok()?, place == 0));
            }
        }
        Some(Self { order, levels: levels.len() })
    }

    /// Each observation counted once.
    pub fn kendall(&self) -> Option<Kendall> {
        self.weighed(|_| 1)
    }

    /// Each observation, by its index, counted so often, as a resample does. A pair of an observation with itself says
    /// nothing about order and is not counted, not even as a tie; else resamples would have more ties than the data.
    /// `None` where scores or ratings are all equal.
    pub fn weighed(&self, weight: impl Fn(usize) -> u32) -> Option<Kendall> {
        let mut seen = Tree(vec![0; self.levels + 1]);
        let mut per_level = vec![Sum::default(); self.levels];
        let (mut balance, mut total, mut score_ties, mut scores) = (0_i128, Sum::default(), 0_u128, 0_u64);
        for tied in self.order.chunk_by(|_, next| !next.2) {
            let mut here = Sum::default();
            for (index, level, _) in tied {
                let n = u64::from(weight(*index as usize));
                let (below, up_to) = (seen.below(*level as usize), seen.below(*level as usize + 1));
                balance += i128::from(n) * (i128::from(below) - i128::from(total.count - up_to));
                here.add(n);
            }
            for (index, level, _) in tied {
                let n = u64::from(weight(*index as usize));
                seen.add(*level as usize, n);
                if let Some(sum) = per_level.get_mut(*level as usize) {
                    sum.add(n);
                }
                total.add(n);
            }
            score_ties += here.pairs();
            scores += u64::from(here.count > 0);
        }
        let rating_ties: u128 = per_level.iter().map(Sum::pairs).sum();
        let ratings = per_level.iter().filter(|sum| sum.count > 0).count() as u64;
        let (all, least) = (total.pairs(), scores.min(ratings));
        if least < 2 {
            return None;
        }
        let balance = balance as f64;
        let tau_b = balance / ((all - score_ties) as f64).sqrt() / ((all - rating_ties) as f64).sqrt();
        // The square of the number of observations, were each of its pairs one of distinct ones.
        let square = (2 * all + u128::from(total.count)) as f64;
        let tau_c = 2.0 * balance / (square * (least - 1) as f64 / least as f64);
        Some(Kendall { tau_b: tau_b.clamp(-1.0, 1.0), tau_c: tau_c.clamp(-1.0, 1.0) })
    }
}

/// Observations with weights.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    squares: u128,
}

impl Sum {
    fn add(&mut self, n: u64) {
        self.count += n;
        self.squares += u128::from(n) * u128::from(n);
    }

    /// Pairs of distinct observations.
    fn pairs(&self) -> u128 {
        (u128::from(self.count) * u128::from(self.count) - self.squares) / 2
    }
}

/// Counts by level, with sums of everything below one in logarithmic time (Fenwick).
struct Tree(Vec<u64>);

impl Tree {
    fn add(&mut self, level: usize, n: u64) {
        let mut i = level + 1;
        while let Some(node) = self.0.get_mut(i) {
            *node += n;
            i += i & i.wrapping_neg();
        }
    }

    fn below(&self, level: usize) -> u64 {
        let (mut i, mut sum) = (level, 0);
        while i > 0 {
            sum += self.0.get(i).copied().unwrap_or(0);
            i &= i - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_its_reverse() {
        let up = RankPair::new(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]).unwrap().kendall().unwrap();
        assert_eq!((up.tau_b, up.tau_c), (1.0, 1.0));
        let down = RankPair::new(&[3.0, 2.0, 1.0], &[10.0, 20.0, 30.0]).unwrap().kendall().unwrap();
        assert_eq!((down.tau_b, down.tau_c), (-1.0, -1.0));
        assert!(RankPair::new(&[1.0, 2.0], &[5.0, 5.0]).unwrap().kendall().is_none());
        assert!(RankPair::new(&[], &[]).unwrap().kendall().is_none());
        assert!(RankPair::new(&[f64::NAN], &[1.0]).is_none());
    }

    #[test]
    fn a_weight_multiplies_pairs_of_distinct_observations() {
        let (scores, ratings) = ([0.1, 0.4, 0.4, 0.8, 0.3], [1.0, 3.0, 2.0, 3.0, 2.0]);
        let weights = [2_u32, 0, 1, 3, 1];
        let got = RankPair::new(&scores, &ratings).unwrap().weighed(|i| weights[i]).unwrap();
        let (mut balance, mut by_score, mut by_rating, mut all) = (0.0, 0.0, 0.0, 0.0);
        let order = |values: &[f64; 5], i: usize, j: usize| {
            (values[i] - values[j]).signum() * f64::from(u8::from(values[i] != values[j]))
        };
        for i in 0..5 {
            for j in 0..i {
                let n = f64::from(weights[i] * weights[j]);
                let (s, r) = (order(&scores, i, j), order(&ratings, i, j));
                balance += n * s * r;
                by_score += n * s * s;
                by_rating += n * r * r;
                all += n;
            }
        }
        assert!((got.tau_b - balance / f64::sqrt(by_score * by_rating)).abs() < 1e-12, "{got:?}");
        // Three grades are left of the five observations, which count seven. As in scipy, nothing is above 1.
        let tau_c = f64::min(1.0, 2.0 * balance / ((2.0 * all + 7.0) * 2.0 / 3.0));
        assert!((got.tau_c - tau_c).abs() < 1e-12, "{got:?}");
        // All observations twice: the same order, the same tau-b.
        let (once, twice) = (RankPair::new(&scores, &ratings).unwrap(), |_| 2);
        assert!((once.weighed(twice).unwrap().tau_b - once.kendall().unwrap().tau_b).abs() < 1e-12);
    }
}
