//! Intervals by resampling whole groups: pairs of one clip or source stand and fall together.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::mt19937::PythonRandom;

/// An interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// 2.5 % of the resamples are below.
    pub low: f64,
    /// 2.5 % of the resamples are above.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies in it, its ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Resamples of groups with replacement. Resample `i` is what CPython's `random.Random(seed + i)` draws, one group
/// after another by `randrange`, so that every interval can be computed again elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The first seed.
    pub seed: u64,
    /// How many resamples.
    pub resamples: u32,
}

impl Bootstrap {
    /// How often each of so many groups is in resample `i`.
    pub fn draw(&self, i: u32, groups: usize) -> Vec<u32> {
        let mut random = PythonRandom::new(self.seed.wrapping_add(u64::from(i)));
        let mut times = vec![0; groups];
        for _ in 0..groups {
            let group = usize::try_from(random.below(groups as u64)).unwrap_or(0);
            if let Some(n) = times.get_mut(group) {
                *n += 1;
            }
        }
        times
    }

    /// Intervals of several figures at once. `figures` gets how often each group counts, and gives `None` for a figure
    /// that such a resample does not have; a figure that most resamples lack has no interval.
    pub fn intervals<const N: usize>(
        &self,
        groups: usize,
        figures: impl Fn(&[u32]) -> [Option<f64>; N] + Sync,
    ) -> [Option<Interval>; N] {
        let drawn: Vec<[Option<f64>; N]> =
            (0..self.resamples).into_par_iter().map(|i| figures(&self.draw(i, groups))).collect();
        let mut intervals = [None; N];
        for (k, interval) in intervals.iter_mut().enumerate() {
            let values: Vec<f64> =
                drawn.iter().filter_map(|figures| figures.get(k).copied().flatten()).collect();
            if groups > 1 && values.len() * 2 > drawn.len() {
                *interval = interval_of(values);
            }
        }
        intervals
    }
}

/// The middle 95 % of values; `None` of none.
pub fn interval_of(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    Some(Interval { low: quantile(&values, 0.025)?, high: quantile(&values, 0.975)? })
}

/// A quantile of sorted values, on straight lines between them (numpy's default).
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let below = place.floor();
    let (a, b) = (*sorted.get(below as usize)?, *sorted.get(place.ceil() as usize)?);
    let t = place - below;
    // As numpy does it, so that both ends are exact.
    Some(if t >= 0.5 { b - (b - a) * (1.0 - t) } else { a + (b - a) * t })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resamples_are_the_same_every_time_and_differ_from_each_other() {
        let bootstrap = Bootstrap { seed: 5, resamples: 4 };
        assert_eq!(bootstrap.draw(2, 50), bootstrap.draw(2, 50));
        assert_ne!(bootstrap.draw(2, 50), bootstrap.draw(3, 50));
        assert_eq!(bootstrap.draw(0, 50).iter().sum::<u32>(), 50);
        // python3 -c "import random; r = random.Random(5); print(sorted(r.randrange(6) for _ in range(6)))"
        assert_eq!(bootstrap.draw(0, 6), PYTHON);
    }

    /// [2, 2, 4, 5, 5, 5]
    const PYTHON: [u32; 6] = [0, 0, 2, 0, 1, 3];

    #[test]
    fn a_mean_lies_in_its_interval_and_one_group_has_none() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let mean = |times: &[u32]| {
            let sum: f64 = times.iter().zip(&values).map(|(n, v)| f64::from(*n) * v).sum();
            [Some(sum / 40.0), None]
        };
        let bootstrap = Bootstrap { seed: 1, resamples: 200 };
        let [interval, absent] = bootstrap.intervals(40, mean);
        let interval = interval.unwrap();
        assert!(interval.contains(19.5) && interval.low > 14.0 && interval.high < 25.0, "{interval:?}");
        assert_eq!(absent, None);
        assert_eq!(bootstrap.intervals(1, |_| [Some(1.0)]), [None]);
    }

    #[test]
    fn quantiles_lie_on_straight_lines() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0], 0.3), Some(1.0));
        assert_eq!(quantile(&[], 0.3), None);
    }
}
