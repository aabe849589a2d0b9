//! What every threshold makes of scores: ROC, precision and recall, and the figures that follow from them.
//!
//! All figures come from one walk over the scores, from the greatest to the least, in which equal scores change sides
//! together. Observations have whole-numbered weights, which is what a resample with replacement gives them.

use serde::{Deserialize, Serialize};

/// Scores with the truth, in falling order of the scores.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Index, score and truth.
    order: Vec<(u32, f64, bool)>,
}

/// A threshold and what it lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Scores at or above it are accepted.
    pub threshold: f64,
    /// Positives accepted.
    pub true_accepts: u64,
    /// Negatives accepted.
    pub false_accepts: u64,
}

/// Every threshold that makes a difference, the greatest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    steps: Vec<Step>,
    positives: u64,
    negatives: u64,
}

/// Rates at one threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Scores at or above it are accepted.
    pub threshold: f64,
    /// Share of positives that are accepted.
    pub true_accepts: f64,
    /// Share of negatives that are accepted.
    pub false_accepts: f64,
    /// Share of positives among what is accepted; `None` where nothing is.
    pub precision: Option<f64>,
    /// Harmonic mean of precision and the share of positives accepted.
    pub f1: f64,
}

impl Ranking {
    /// `None` where lengths differ, a score is not a number, or there are more than 2^32 of them.
    pub fn new(scores: &[f64], positive: &[bool]) -> Option<Self> {
        if scores.len() != positive.len()
            || scores.iter().any(|score| score.is_nan())
            || u32::try_from(scores.len()).is_err()
        {
            return None;
        }
        let mut order: Vec<(u32, f64, bool)> = (0..)
            .zip(scores)
            .zip(positive)
            .map(|((index, score), positive)| (index, *score, *positive))
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        Some(Self { order })
    }

    /// The walk with every observation counted once.
    pub fn sweep(&self) -> Option<Sweep> {
        self.weighed(|_| 1)
    }

    /// The walk with each observation, by its index, counted so often. `None` without both kinds.
    pub fn weighed(&self, weight: impl Fn(usize) -> u32) -> Option<Sweep> {
        let mut steps = Vec::new();
        let (mut positives, mut negatives) = (0, 0);
        // Zeros of both signs are one score.
        for tied in self.order.chunk_by(|a, b| a.1 == b.1) {
            let before = (positives, negatives);
            for (index, _, positive) in tied {
                let n = u64::from(weight(*index as usize));
                if *positive { positives += n } else { negatives += n }
            }
            if before != (positives, negatives) {
                let threshold = tied.last().map_or(0.0, |(_, score, _)| *score);
                steps.push(Step { threshold, true_accepts: positives, false_accepts: negatives });
            }
        }
        (positives > 0 && negatives > 0).then_some(Sweep { steps, positives, negatives })
    }
}

impl Sweep {
    /// Thresholds with their counts, from the greatest to the one that accepts everything.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Positives in all.
    pub fn positives(&self) -> u64 {
        self.positives
    }

    /// Negatives in all.
    pub fn negatives(&self) -> u64 {
        self.negatives
    }

    fn rates(&self, step: &Step) -> Rates {
        let (p, n) = (self.positives as f64, self.negatives as f64);
        let (hits, misses) = (step.true_accepts as f64, step.false_accepts as f64);
        Rates {
            threshold: step.threshold,
            true_accepts: hits / p,
            false_accepts: misses / n,
            precision: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            f1: 2.0 * hits / (hits + misses + p),
        }
    }

    /// Rates at every threshold, from the greatest.
    pub fn curve(&self) -> impl Iterator<Item = Rates> {
        self.steps.iter().map(|step| self.rates(step))
    }

    /// Rates at any threshold.
    pub fn at(&self, threshold: f64) -> Rates {
        let last = self.steps.partition_point(|step| step.threshold >= threshold).checked_sub(1);
        let nothing = Step { threshold, true_accepts: 0, false_accepts: 0 };
        let step = last.and_then(|last| self.steps.get(last)).unwrap_or(&nothing);
        self.rates(&Step { threshold, ..*step })
    }

    /// The chance that a positive scores above a negative, equal scores counted half: the area under the ROC.
    pub fn area(&self) -> f64 {
        let mut before = (0, 0);
        let mut twice = 0_u128;
        for step in &self.steps {
            let width = u128::from(step.false_accepts - before.1);
            twice += width * u128::from(before.0 + step.true_accepts);
            before = (step.true_accepts, step.false_accepts);
        }
        twice as f64 / 2.0 / (self.positives as f64 * self.negatives as f64)
    }

    /// Mean precision over the positives, each at the threshold that first accepts it.
    pub fn average_precision(&self) -> f64 {
        let mut before = 0;
        let mut sum = 0.0;
        for step in &self.steps {
            // Every step accepts something.
            sum += (step.true_accepts - before) as f64 * self.rates(step).precision.unwrap_or(0.0);
            before = step.true_accepts;
        }
        sum / self.positives as f64
    }

    /// The rate at which false rejections equal false acceptances, on straight lines between the thresholds.
    pub fn equal_error_rate(&self) -> f64 {
        let mut before = (0.0, 1.0);
        for step in &self.steps {
            let rates = self.rates(step);
            let here = (rates.false_accepts, 1.0 - rates.true_accepts);
            let (gap_before, gap) = (before.1 - before.0, here.1 - here.0);
            if gap <= 0.0 {
                let share = if gap_before > gap { gap_before / (gap_before - gap) } else { 0.0 };
                return before.0 + share * (here.0 - before.0);
            }
            before = here;
        }
        before.0
    }

    /// The score at which the two error rates are nearest to each other: halfway between two neighbouring scores.
    pub fn equal_error_threshold(&self) -> f64 {
        let mut best: Option<(f64, f64)> = None;
        for (step, next) in self.steps.iter().zip(self.steps.iter().skip(1)) {
            let rates = self.rates(step);
            let gap = (1.0 - rates.true_accepts - rates.false_accepts).abs();
            if best.is_none_or(|(least, _)| gap < least) {
                best = Some((gap, f64::midpoint(step.threshold, next.threshold)));
            }
        }
        best.map(|(_, threshold)| threshold).or(self.steps.first().map(|step| step.threshold)).unwrap_or(0.0)
    }

    /// The threshold with the greatest F1, the greatest of equals.
    pub fn best_f1(&self) -> Option<Rates> {
        self.curve().fold(None, |best: Option<Rates>, rates| match best {
            Some(best) if best.f1 >= rates.f1 => Some(best),
            _ => Some(rates),
        })
    }

    /// The greatest share of positives that can be accepted with no more than this share of the negatives.
    pub fn true_accepts_at(&self, false_accepts: f64) -> f64 {
        let allowed = self.curve().take_while(|rates| rates.false_accepts <= false_accepts);
        allowed.last().map_or(0.0, |rates| rates.true_accepts)
    }
}

/// At most so many points of a curve, the first and last among them, for drawing.
pub fn thinned(mut points: Vec<Rates>, most: usize) -> Vec<Rates> {
    let n = points.len();
    if n > most && most > 1 {
        // Steps of equal length in whole numbers; both ends are kept.
        let mut kept = Vec::with_capacity(most);
        for k in 0..most {
            kept.extend(points.get(k * (n - 1) / (most - 1)).copied());
        }
        points = kept;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(scores: &[f64], positive: &[bool]) -> Sweep {
        Ranking::new(scores, positive).unwrap().sweep().unwrap()
    }

    #[test]
    fn equal_scores_change_sides_together() {
        let sweep = sweep(&[0.5, 0.5, 0.9, 0.1], &[true, false, true, false]);
        assert_eq!(sweep.steps().len(), 3);
        assert_eq!(sweep.area(), 0.875);
        assert_eq!(sweep.at(0.5).true_accepts, 1.0);
        assert_eq!(sweep.at(0.500_001).true_accepts, 0.5);
        assert_eq!((sweep.at(1.0).true_accepts, sweep.at(1.0).precision), (0.0, None));
        assert!(sweep.curve().all(|rates| rates.precision.is_some()));
        assert_eq!(sweep.true_accepts_at(0.0), 0.5);
        assert_eq!(sweep.true_accepts_at(0.5), 1.0);
    }

    #[test]
    fn a_weight_counts_like_a_repetition() {
        let (scores, positive) = ([0.1, 0.4, 0.4, 0.8, 0.3], [false, true, false, true, true]);
        let weights = [2, 0, 1, 3, 1];
        let ranking = Ranking::new(&scores, &positive).unwrap();
        let weighed = ranking.weighed(|i| weights[i]).unwrap();
        let repeat = |i: usize| std::iter::repeat_n(i, weights[i] as usize);
        let indices: Vec<usize> = (0..5).flat_map(repeat).collect();
        let again: Vec<f64> = indices.iter().map(|i| scores[*i]).collect();
        let truth: Vec<bool> = indices.iter().map(|i| positive[*i]).collect();
        assert_eq!(weighed, sweep(&again, &truth));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Ranking::new(&[f64::NAN], &[true]).is_none());
        assert!(Ranking::new(&[0.1], &[]).is_none());
        assert!(Ranking::new(&[0.1, 0.2], &[true, true]).unwrap().sweep().is_none());
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends() {
        let sweep = sweep(
            &(0..1000).map(f64::from).collect::<Vec<_>>(),
            &(0..1000).map(|i| i % 2 == 0).collect::<Vec<_>>(),
        );
        let all: Vec<Rates> = sweep.curve().collect();
        let thin = thinned(all.clone(), 100);
        assert_eq!((thin.len(), thin.first(), thin.last()), (100, all.first(), all.last()));
    }
}
