//! Fitting the logistic model of a card.

use super::align::logit;
use super::features::{AlignmentFeatures, Feature};
use super::linear::solve_spd;
use super::sigmoid;
use crate::error::{Error, Result};
use crate::model::card::{AlignmentCard, FeatureWeight};

/// One caption against one clip, with the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledFeatures {
    /// The measures.
    pub features: AlignmentFeatures,
    /// Whether the caption describes the clip.
    pub matched: bool,
    /// How much it counts, at least 0.
    pub weight: f64,
}

/// Two captions against the same clip, of which the first describes it better.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedFeatures {
    /// The measures of the caption that describes the clip.
    pub better: AlignmentFeatures,
    /// The measures of the other.
    pub worse: AlignmentFeatures,
    /// How much the pair counts, at least 0.
    pub weight: f64,
}

/// A fitted logistic model.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedLogistic {
    /// Features with standardisation and coefficients, in the order asked for.
    pub features: Vec<FeatureWeight>,
    /// The intercept.
    pub intercept: f64,
    /// Newton steps taken.
    pub steps: usize,
}

impl FittedLogistic {
    /// Writes the fit into a card.
    pub fn install(&self, card: &mut AlignmentCard) {
        card.features.clone_from(&self.features);
        card.intercept = self.intercept;
    }

    /// The sum before the logistic function.
    pub fn logit(&self, features: &AlignmentFeatures) -> f64 {
        self.features.iter().fold(self.intercept, |sum, term| {
            sum + term.coefficient * (features.get(term.name) - term.mean) / term.scale
        })
    }
}

/// One row of the regression: standardised values, the intercept's column, the truth.
struct Row {
    values: Vec<f64>,
    matched: bool,
    weight: f64,
}

const MOST_STEPS: usize = 100;

/// Fits coefficients by L2-penalised logistic regression: minimises
/// `c * sum(weight * ln(1 + exp(-y * (w . x + b)))) + w . w / 2` over standardised features, the intercept
/// not penalised (scikit-learn's definition). Pairs enter as the difference of their features
/// without an intercept, so that they teach the order of two captions and not the threshold. Features
/// are standardised by the unweighted mean and standard deviation over `samples`.
///
/// # Errors
/// Where there is no sample of each kind, a value is not finite, `c` is not positive, or Newton's method
/// does not converge.
pub fn fit(
    features: &[Feature],
    samples: &[LabelledFeatures],
    pairs: &[RankedFeatures],
    c: f64,
) -> Result<FittedLogistic> {
    let refuse = |why: &str| Err(Error::usage("the calibration fit", why));
    if features.is_empty() || !(c > 0.0 && c.is_finite()) {
        return refuse("it needs at least one feature and a positive inverse penalty");
    }
    if !(samples.iter().any(|s| s.matched && s.weight > 0.0)
        && samples.iter().any(|s| !s.matched && s.weight > 0.0))
    {
        return refuse("it needs captions that match and captions that do not");
    }
    let standard: Vec<(f64, f64)> = features
        .iter()
        .map(|feature| {
            let values: Vec<f64> = samples.iter().map(|s| s.features.get(*feature)).collect();
            let scale = super::deviation(&values);
            (super::mean(&values), if scale > 1e-12 { scale } else { 1.0 })
        })
        .collect();
    let mut rows: Vec<Row> = Vec::with_capacity(samples.len() + pairs.len());
    for sample in samples {
        let mut values: Vec<f64> = sample
            .features
            .select(features)
            .iter()
            .zip(&standard)
            .map(|(value, (mean, scale))| (value - mean) / scale)
            .collect();
        values.push(1.0);
        rows.push(Row { values, matched: sample.matched, weight: sample.weight });
    }
    for pair in pairs {
        let better = pair.better.select(features);
        let worse = pair.worse.select(features);
        let mut values: Vec<f64> =
            better.iter().zip(&worse).zip(&standard).map(|((b, w), (_, scale))| (b - w) / scale).collect();
        values.push(0.0);
        rows.push(Row { values, matched: true, weight: pair.weight });
    }
    if rows.iter().any(|row| {
        !(row.weight >= 0.0 && row.weight.is_finite()) || row.values.iter().any(|v| !v.is_finite())
    }) {
        return refuse("a value or weight is not finite or a weight is negative");
    }
    let (solution, steps) = newton(&rows, features.len() + 1, c)?;
    let intercept = solution.last().copied().unwrap_or(0.0);
    let features = features
        .iter()
        .zip(&standard)
        .zip(&solution)
        .map(|((name, (mean, scale)), coefficient)| FeatureWeight {
            name: *name,
            mean: *mean,
            scale: *scale,
            coefficient: *coefficient,
        })
        .collect();
    Ok(FittedLogistic { features, intercept, steps })
}

struct Objective {
    value: f64,
    gradient: Vec<f64>,
    hessian: Vec<Vec<f64>>,
}

/// The last unknown is the intercept.
fn objective(rows: &[Row], unknowns: &[f64], c: f64) -> Objective {
    let size = unknowns.len();
    let penalised = |i: usize| if i + 1 < size { 1.0 } else { 0.0 };
    let mut value = 0.0;
    let mut gradient: Vec<f64> = unknowns.iter().enumerate().map(|(i, w)| penalised(i) * w).collect();
    for (i, w) in unknowns.iter().enumerate() {
        value += penalised(i) * w * w / 2.0;
    }
    // A trace of curvature keeps an intercept without any sample solvable.
    let mut hessian: Vec<Vec<f64>> = (0..size)
        .map(|i| (0..size).map(|j| if i == j { penalised(i).max(1e-12) } else { 0.0 }).collect())
        .collect();
    for row in rows {
        let z: f64 = row.values.iter().zip(unknowns).map(|(x, w)| x * w).sum();
        let sign = if row.matched { 1.0 } else { -1.0 };
        let weight = c * row.weight;
        let margin = sign * z;
        // ln(1 + exp(-margin)) without overflow
        value +=
            weight * (if margin > 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin });
        let p = sigmoid(z);
        let pull = weight * (p - if row.matched { 1.0 } else { 0.0 });
        let curvature = weight * p * (1.0 - p);
        for (g, x) in gradient.iter_mut().zip(&row.values) {
            *g += pull * x;
        }
        for (h_row, x) in hessian.iter_mut().zip(&row.values) {
            let factor = curvature * x;
            for (h, y) in h_row.iter_mut().zip(&row.values) {
                *h += factor * y;
            }
        }
    }
    Objective { value, gradient, hessian }
}

fn newton(rows: &[Row], size: usize, c: f64) -> Result<(Vec<f64>, usize)> {
    let mut at = vec![0.0; size];
    let mut here = objective(rows, &at, c);
    let tolerance = 1e-10 * (1.0 + c * rows.iter().map(|row| row.weight).sum::<f64>());
    for step_number in 0..MOST_STEPS {
        if here.gradient.iter().all(|g| g.abs() <= tolerance) {
            return Ok((at, step_number));
        }
        let step = solve_spd(&here.hessian, &here.gradient)
            .ok_or_else(|| Error::Internal("the calibration fit met a singular system".into()))?;
        // What the step would still gain, below what the sum's own rounding hides: no search along it could tell better
        // from worse, and Newton's step is the best there is.
        let gain = here.gradient.iter().zip(&step).map(|(g, s)| g * s).sum::<f64>() / 2.0;
        if gain <= 1e-13 * (1.0 + here.value.abs()) {
            return Ok((at.iter().zip(&step).map(|(x, s)| x - s).collect(), step_number + 1));
        }
        let mut length = 1.0;
        loop {
            let next: Vec<f64> = at.iter().zip(&step).map(|(x, s)| x - length * s).collect();
            let there = objective(rows, &next, c);
            if there.value <= here.value || length < 1e-8 {
                at = next;
                here = there;
                break;
            }
            length /= 2.0;
        }
    }
    Err(Error::usage("the calibration fit", "it did not converge"))
}

/// How the threshold of a card is chosen from scores before the logistic function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdRule {
    /// The greatest threshold that rejects at most this share of the true captions.
    FalseRejection(f64),
    /// Where false rejections and false acceptances are equally frequent.
    EqualError,
    /// The lower of the two: no more true captions rejected than this share, and no more than it takes
    /// to keep the false ones out.
    LowerOf(f64),
}

/// Chooses a threshold on P(match); `positives` and `negatives` are sums before the logistic function, which tell
/// scores near 1 apart. The result is strictly between 0 and 1.
///
/// # Errors
/// Where a list that the rule needs is empty or a score is not a number.
pub fn choose_threshold(rule: ThresholdRule, positives: &[f64], negatives: &[f64]) -> Result<f64> {
    let at_rate = |rate| super::metrics::threshold_at_false_rejection(positives, rate);
    let equal = || super::metrics::equal_error_threshold(positives, negatives);
    let chosen = match rule {
        ThresholdRule::FalseRejection(rate) => at_rate(rate),
        ThresholdRule::EqualError => equal(),
        ThresholdRule::LowerOf(rate) => at_rate(rate).zip(equal()).map(|(a, b)| a.min(b)),
    };
    chosen.map(|z| sigmoid(z).clamp(1e-9, 1.0 - 1e-9)).ok_or_else(|| {
        Error::usage("the threshold", "it needs captions of both kinds with scores that are numbers")
    })
}

/// The sums before the logistic function of many features.
pub fn logits<'a>(
    card: &AlignmentCard,
    features: impl IntoIterator<Item = &'a AlignmentFeatures>,
) -> Vec<f64> {
    features.into_iter().map(|features| logit(card, features)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(whole: f64, colour: f64) -> AlignmentFeatures {
        AlignmentFeatures::from_fn(|f| match f {
            Feature::Whole => whole,
            Feature::SwapColour => colour,
            _ => 0.0,
        })
    }

    #[test]
    fn a_feature_that_varies_among_the_pairs_alone_is_fitted() {
        let noise = |i: usize| ((i * 7919) % 101) as f64 / 101.0 - 0.5;
        let samples: Vec<_> = (0..40)
            .map(|i| sample(noise(i) + if i % 2 == 0 { 0.3 } else { 0.0 }, noise(i + 5) * 4e-12, i % 2 == 0))
            .collect();
        let pairs: Vec<_> = (0..20)
            .map(|i| RankedFeatures {
                better: features(0.1, noise(i)),
                worse: features(0.0, noise(i + 3)),
                weight: 1.0,
            })
            .collect();
        let fitted = fit(&[Feature::Whole, Feature::SwapColour], &samples, &pairs, 1.0).unwrap();
        assert!(fitted.features.iter().all(|term| term.coefficient.is_finite()));
        assert!(fitted.features[0].coefficient > 0.0);
    }

    fn sample(whole: f64, colour: f64, matched: bool) -> LabelledFeatures {
        LabelledFeatures { features: features(whole, colour), matched, weight: 1.0 }
    }

    const BOTH: [Feature; 2] = [Feature::Whole, Feature::SwapColour];

    #[test]
    fn separable_samples_are_told_apart_and_stay_finite() {
        let samples = [
            sample(0.3, 0.1, true),
            sample(0.4, 0.0, true),
            sample(0.1, 0.05, false),
            sample(0.0, 0.1, false),
        ];
        let fit = fit(&BOTH, &samples, &[], 10.0).unwrap();
        for s in &samples {
            assert_eq!(fit.logit(&s.features) > 0.0, s.matched);
        }
        assert!(fit.features[0].coefficient > 0.0 && fit.features[0].coefficient < 100.0);
    }

    #[test]
    fn pairs_teach_the_order() {
        // Apart from the pairs, colour says nothing.
        let samples = [
            sample(0.3, 0.0, true),
            sample(0.3, 1.0, true),
            sample(0.1, 0.0, false),
            sample(0.1, 1.0, false),
        ];
        let without = fit(&BOTH, &samples, &[], 1.0).unwrap();
        assert!(without.features[1].coefficient.abs() < 1e-9);
        let pair = RankedFeatures { better: features(0.2, 0.6), worse: features(0.2, 0.4), weight: 1.0 };
        let with = fit(&BOTH, &samples, &vec![pair; 10], 1.0).unwrap();
        assert!(with.features[1].coefficient > 0.1, "{with:?}");
        assert!(with.intercept.abs() < 1e-6);
    }

    #[test]
    fn weights_count_like_repetitions() {
        let samples = [
            sample(0.3, 0.0, true),
            sample(0.2, 1.0, false),
            sample(0.1, 0.0, true),
            sample(0.0, 1.0, false),
        ];
        let mut weighted = samples.to_vec();
        weighted[2].weight = 3.0;
        let mut zeroed = samples.to_vec();
        zeroed[0].weight = 0.0;
        let a = fit(&BOTH, &weighted, &[], 1.0).unwrap();
        let b = fit(&BOTH, &zeroed, &[], 1.0).unwrap();
        assert_ne!(a.intercept, b.intercept);
        let doubled: Vec<_> =
            samples.iter().cloned().map(|s| LabelledFeatures { weight: 2.0, ..s }).collect();
        let c = fit(&BOTH, &doubled, &[], 1.0).unwrap();
        let d = fit(&BOTH, &samples, &[], 2.0).unwrap();
        assert!((c.intercept - d.intercept).abs() < 1e-9);
    }

    #[test]
    fn many_samples_that_overlap_a_little_converge() {
        // The sum over so many has a rounding error that hides the last steps' gain.
        let samples: Vec<LabelledFeatures> = (0..4000)
            .map(|i| {
                let x = f64::from(i % 1000) / 1000.0;
                sample(x, f64::from(i * 7919 % 1009) / 1009.0, (x + f64::from(i % 7) * 0.02) > 0.5)
            })
            .collect();
        for c in [0.01, 0.1, 1.0, 10.0] {
            let fit = fit(&BOTH, &samples, &[], c).unwrap();
            assert!(fit.features[0].coefficient > 0.5, "{fit:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let good = [sample(0.3, 0.0, true), sample(0.1, 0.0, false)];
        assert!(fit(&[], &good, &[], 1.0).is_err());
        assert!(fit(&BOTH, &good[..1], &[], 1.0).is_err());
        assert!(fit(&BOTH, &good, &[], 0.0).is_err());
        assert!(fit(&BOTH, &[good[0].clone(), sample(f64::NAN, 0.0, false)], &[], 1.0).is_err());
    }

    #[test]
    fn thresholds_follow_their_rule() {
        let positives = [1.0, 2.0, 3.0, 4.0];
        let negatives = [-3.0, -2.0, -1.0, 0.0];
        let of = |rule| choose_threshold(rule, &positives, &negatives).unwrap();
        assert_eq!(of(ThresholdRule::FalseRejection(0.25)), sigmoid(2.0));
        assert_eq!(of(ThresholdRule::EqualError), sigmoid(0.5));
        assert_eq!(of(ThresholdRule::LowerOf(0.25)), sigmoid(0.5));
        assert!(choose_threshold(ThresholdRule::EqualError, &positives, &[]).is_err());
        assert!(choose_threshold(ThresholdRule::FalseRejection(0.0), &[900.0], &[]).unwrap() < 1.0);
    }
}
