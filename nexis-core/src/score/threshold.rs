//! A score against its threshold.

use serde::{Deserialize, Serialize};

/// What a threshold makes of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether the score reaches the threshold.
    pub matched: bool,
    /// Whether the score is nearer to the threshold than the band, so that another device might
    /// have decided otherwise.
    pub borderline: bool,
}

/// Decides a score: at or above the threshold it matches. A score within `band` of the threshold is
/// marked and still decided. A score that is not a number matches nothing and is marked.
pub fn judge(score: f64, threshold: f64, band: f64) -> Judgement {
    if !score.is_finite() {
        return Judgement { matched: false, borderline: true };
    }
    Judgement { matched: score >= threshold, borderline: (score - threshold).abs() < band }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borderline_scores_are_decided_by_the_threshold() {
        assert_eq!(judge(0.5, 0.5, 0.01), Judgement { matched: true, borderline: true });
        assert_eq!(judge(0.495, 0.5, 0.01), Judgement { matched: false, borderline: true });
        assert_eq!(judge(0.52, 0.5, 0.01), Judgement { matched: true, borderline: false });
        assert_eq!(judge(0.2, 0.5, 0.01), Judgement { matched: false, borderline: false });
    }

    #[test]
    fn no_band_marks_nothing() {
        assert!(!judge(0.5, 0.5, 0.0).borderline);
    }

    #[test]
    fn a_score_that_is_not_a_number_never_matches() {
        assert_eq!(judge(f64::NAN, 0.5, 0.0), Judgement { matched: false, borderline: true });
        assert!(!judge(f64::INFINITY, 0.5, 0.0).matched);
    }
}
