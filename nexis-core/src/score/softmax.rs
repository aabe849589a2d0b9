//! Fitting the temperature and biases of the seven-way softmax.

use super::category::{LabelScores, posterior};
use super::linear::solve_spd;
use crate::error::{Error, Result};
use crate::protocol::Category;

/// One observation: the cosines with the seven labels, and the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledCosines {
    /// Cosines in the order of the wire.
    pub cosines: LabelScores,
    /// The truth.
    pub label: Category,
    /// How much it counts, at least 0.
    pub weight: f64,
}

/// A calibrated softmax: `softmax(temperature * cosines + biases)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FittedSoftmax {
    /// The factor on cosines, above 0.
    pub temperature: f64,
    /// Added per label, in the order of the wire; they sum to about 0.
    pub biases: LabelScores,
    /// Weighted mean negative log-likelihood at the optimum, in nats.
    pub loss: f64,
}

const LABELS: usize = Category::ALL.len();
/// Unknowns: the temperature in units of the prior's, then the biases.
const UNKNOWNS: usize = LABELS + 1;
const MOST_STEPS: usize = 200;

/// Minimises `sum(weight * nll) + ridge / 2 * ((temperature / prior - 1)^2 + sum(biases^2))` by Newton's
/// method. `prior` is the temperature that the model was trained at; the ridge, above 0, keeps separable
/// data from driving the temperature to infinity and holds the biases about 0.
///
/// # Errors
/// Where there is no observation, an observation is not finite, or the fit does not converge.
pub fn fit_softmax(observations: &[LabelledCosines], prior: f64, ridge: f64) -> Result<FittedSoftmax> {
    let total: f64 = observations.iter().map(|o| o.weight).sum();
    let sound = observations.iter().all(|o| o.weight >= 0.0 && o.cosines.iter().all(|c| c.is_finite()));
    if !(total > 0.0 && total.is_finite() && sound && prior > 0.0 && ridge > 0.0) {
        return Err(Error::usage(
            "the softmax fit",
            "it needs finite observations of positive weight, a positive prior and a positive ridge",
        ));
    }
    let mut at = [0.0; UNKNOWNS];
    if let Some(temperature) = at.first_mut() {
        *temperature = 1.0;
    }
    let mut here = objective(observations, prior, ridge, &at);
    for _ in 0..MOST_STEPS {
        let size = here.gradient.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
        let step = solve_spd(&here.hessian, &here.gradient)
            .ok_or_else(|| Error::Internal("the softmax fit met a singular system".into()))?;
        // What a full step would still gain, below what the sum's own rounding hides.
        let gain: f64 = here.gradient.iter().zip(&step).map(|(g, s)| g * s).sum::<f64>() / 2.0;
        if size <= 1e-9 * total.max(1.0) || gain <= 1e-13 * (1.0 + here.value.abs()) {
            let (temperature, biases) = split(&at, prior);
            if temperature <= 0.0 {
                return Err(Error::usage(
                    "the softmax fit",
                    "the best temperature is not positive: the prompts do not separate the labels",
                ));
            }
            let loss = nll(observations, temperature, &biases) / total;
            return Ok(FittedSoftmax { temperature, biases, loss });
        }
        let mut length = 1.0;
        loop {
            let mut next = at;
            for (x, s) in next.iter_mut().zip(&step) {
                *x -= length * s;
            }
            let there = objective(observations, prior, ridge, &next);
            // The least improvement that floating point still shows ends the search as well.
            if there.value <= here.value || length < 1e-8 {
                at = next;
                here = there;
                break;
            }
            length /= 2.0;
        }
    }
    Err(Error::usage("the softmax fit", "it did not converge"))
}

struct Objective {
    value: f64,
    gradient: Vec<f64>,
    hessian: Vec<Vec<f64>>,
}

fn split(at: &[f64; UNKNOWNS], prior: f64) -> (f64, LabelScores) {
    let mut biases = [0.0; LABELS];
    for (bias, x) in biases.iter_mut().zip(at.iter().skip(1)) {
        *bias = *x;
    }
    (at.first().copied().unwrap_or(1.0) * prior, biases)
}

fn nll(observations: &[LabelledCosines], temperature: f64, biases: &LabelScores) -> f64 {
    observations
        .iter()
        .map(|o| {
            let scores = posterior(&o.cosines, temperature, biases);
            -o.weight * super::category::score_of(&scores, o.label).max(f64::MIN_POSITIVE).ln()
        })
        .sum()
}

fn objective(observations: &[LabelledCosines], prior: f64, ridge: f64, at: &[f64; UNKNOWNS]) -> Objective {
    let (temperature, biases) = split(at, prior);
    let centred: Vec<f64> = at.iter().enumerate().map(|(i, x)| if i == 0 { x - 1.0 } else { *x }).collect();
    let mut value =
        nll(observations, temperature, &biases) + ridge / 2.0 * centred.iter().map(|x| x * x).sum::<f64>();
    if !value.is_finite() {
        value = f64::INFINITY;
    }
    let mut gradient: Vec<f64> = centred.iter().map(|x| ridge * x).collect();
    let mut hessian: Vec<Vec<f64>> =
        (0..UNKNOWNS).map(|i| (0..UNKNOWNS).map(|j| if i == j { ridge } else { 0.0 }).collect()).collect();
    for o in observations {
        let scores = posterior(&o.cosines, temperature, &biases);
        // The unknowns' factors in each label's exponent: (prior * cosine, one at the label).
        let factors: Vec<[f64; UNKNOWNS]> = o
            .cosines
            .iter()
            .enumerate()
            .map(|(label, cosine)| {
                let mut row = [0.0; UNKNOWNS];
                for (i, x) in row.iter_mut().enumerate() {
                    if i == 0 {
                        *x = prior * cosine;
                    } else if i == label + 1 {
                        *x = 1.0;
                    }
                }
                row
            })
            .collect();
        let mut expected = [0.0; UNKNOWNS];
        for (row, p) in factors.iter().zip(&scores) {
            for (e, x) in expected.iter_mut().zip(row) {
                *e += p * x;
            }
        }
        for ((row, p), label) in factors.iter().zip(&scores).zip(Category::ALL) {
            if label == o.label {
                for ((g, e), x) in gradient.iter_mut().zip(&expected).zip(row) {
                    *g += o.weight * (e - x);
                }
            }
            for (h_row, x) in hessian.iter_mut().zip(row) {
                for (h, y) in h_row.iter_mut().zip(row) {
                    *h += o.weight * p * x * y;
                }
            }
        }
        for (h_row, x) in hessian.iter_mut().zip(&expected) {
            for (h, y) in h_row.iter_mut().zip(&expected) {
                *h -= o.weight * x * y;
            }
        }
    }
    Objective { value, gradient, hessian }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(label: usize, strength: f64) -> LabelledCosines {
        let mut cosines = [0.1; LABELS];
        cosines[label] += strength;
        LabelledCosines { cosines, label: Category::ALL[label], weight: 1.0 }
    }

    #[test]
    fn separable_data_stays_finite() {
        let observations: Vec<_> = (0..LABELS).map(|label| observation(label, 0.2)).collect();
        let fit = fit_softmax(&observations, 20.0, 1.0).unwrap();
        assert!(fit.temperature > 20.0 && fit.temperature < 200.0, "{fit:?}");
        assert!(fit.biases.iter().all(|b| b.abs() < 1e-6));
    }

    #[test]
    fn a_label_that_is_always_underrated_gets_a_bias() {
        let mut observations: Vec<_> = (0..LABELS).map(|label| observation(label, 0.2)).collect();
        for o in &mut observations {
            o.cosines[0] -= 0.1;
        }
        let fit = fit_softmax(&observations, 20.0, 0.1).unwrap();
        assert!(fit.biases[0] > 0.3 && fit.biases[1] < 0.0, "{fit:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(fit_softmax(&[], 20.0, 1.0).is_err());
        let inverted: Vec<_> = (0..LABELS).map(|label| observation(label, -0.5)).collect();
        assert!(fit_softmax(&inverted, 20.0, 1e-3).is_err());
        let mut broken = observation(0, 0.1);
        broken.cosines[3] = f64::NAN;
        assert!(fit_softmax(&[broken], 20.0, 1.0).is_err());
    }
}
