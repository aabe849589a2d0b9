//! The figure that decided, for whoever reads one number: of an encoder, of two together, or of the judge.

use nexis_core::check::CategoryRule;
use nexis_core::report::{AlignmentReport, CascadeReport, CategoryReport, Decider};
use nexis_core::verifier::YES;

/// A probability, what it had to reach (to exceed, where two encoders disagree), and what decided by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: f64,
    pub(super) least: f64,
    /// None where there is neither a judge nor a second encoder.
    pub(super) decided_by: Option<Decider>,
}

impl Figure {
    /// What decided whether a caption fits.
    pub(super) fn of_caption(alignment: &AlignmentReport) -> Self {
        let pair = alignment.ensemble.as_ref().and_then(|ensemble| ensemble.log_odds);
        let (value, least) = match (answer(alignment.cascade), pair) {
            (Some(yes), _) => (yes, YES),
            (None, Some(pair)) => (together(pair, 0.5), 0.5),
            (None, None) => (alignment.probability, alignment.threshold),
        };
        Self { value, least, decided_by: alignment.cascade.map(|cascade| cascade.decided_by) }
    }

    /// What decided whether nature is the main subject of frames; none below three frames. What a caption says of it by
    /// itself is not in it.
    pub(super) fn of_category(category: &CategoryReport) -> Option<Self> {
        let limit = CategoryRule::default().min_nature_score;
        let pair = category.ensemble.as_ref().and_then(|ensemble| ensemble.log_odds);
        let (value, least) = match (answer(category.cascade), pair) {
            (Some(yes), _) => (yes, YES),
            (None, Some(pair)) => (together(pair, limit), limit),
            (None, None) => (category.nature_score?, limit),
        };
        Some(Self { value, least, decided_by: category.cascade.map(|cascade| cascade.decided_by) })
    }
}

/// The judge's P(yes), where it decided.
fn answer(cascade: Option<CascadeReport>) -> Option<f64> {
    cascade.filter(|cascade| cascade.decided_by == Decider::Judge)?.yes
}

/// What two encoders say together: as far from `least`, in log-odds, as both of them from their own thresholds.
fn together([first, second]: [f64; 2], least: f64) -> f64 {
    let odds = least / (1.0 - least) * (first + second).exp();
    odds / (1.0 + odds)
}

#[cfg(test)]
mod tests {
    use nexis_core::report::{EnsembleReport, Verdict};

    use super::*;

    fn alignment(probability: f64, threshold: f64) -> AlignmentReport {
        AlignmentReport {
            probability,
            threshold,
            verdict: Verdict::Accept,
            borderline: false,
            units: Vec::new(),
            features: Default::default(),
            cascade: None,
            ensemble: None,
        }
    }

    #[test]
    fn the_figure_is_that_of_what_decided() {
        let mut of = alignment(0.8, 0.35);
        assert_eq!(Figure::of_caption(&of), Figure { value: 0.8, least: 0.35, decided_by: None });
        of.ensemble = Some(Box::new(EnsembleReport {
            first: Verdict::Accept,
            second: alignment(0.2, 0.5),
            log_odds: Some([2.0, -1.5]),
            gate: None,
        }));
        let decided = |decided_by, yes| Some(CascadeReport { decided_by, encoder: Verdict::Accept, yes });
        for by in [Decider::LogOdds, Decider::Agreement, Decider::BudgetSpent] {
            of.cascade = decided(by, None);
            let figure = Figure::of_caption(&of);
            // Python: 1 / (1 + math.exp(-0.5))
            assert!((figure.value - 0.622_459_331_201_854_6).abs() < 1e-12, "{figure:?}");
            assert_eq!((figure.least, figure.decided_by), (0.5, Some(by)));
        }
        of.cascade = decided(Decider::Judge, Some(0.25));
        assert_eq!(
            Figure::of_caption(&of),
            Figure { value: 0.25, least: 0.5, decided_by: Some(Decider::Judge) }
        );
    }

    #[test]
    fn two_encoders_reach_what_they_have_to_where_their_sum_is_above_zero() {
        // Python: o = 0.72 / 0.28 * math.exp(0.3); o / (1 + o)
        assert!((together([1.3, -1.0], 0.72) - 0.776_339_666_945_611_2).abs() < 1e-12);
        assert!((together([0.5, -0.5], 0.72) - 0.72).abs() < 1e-12);
        assert!(together([0.5, -0.51], 0.72) < 0.72 && together([-2.0, -2.0], 0.72) > 0.0);
    }
}
