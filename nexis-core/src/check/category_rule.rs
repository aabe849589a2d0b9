//! The strict category rule over three middle frames (protocol page, 1 and 6).

use serde::{Deserialize, Serialize};

/// What one middle frame was judged to be. `winner` is text, because a judge may answer any word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameScores {
    /// The label that won, in any case, with white space around it or not.
    pub winner: String,
    /// Scores, meant to be in 0..1.
    pub nature_score: f64,
    /// See `nature_score`.
    pub people_score: f64,
    /// See `nature_score`.
    pub animal_score: f64,
    /// See `nature_score`.
    pub vehicle_score: f64,
    /// See `nature_score`.
    pub urban_score: f64,
    /// See `nature_score`.
    pub indoor_score: f64,
}

impl FrameScores {
    /// The labels that compete with nature. `other` has no score on the wire and is no rival.
    const fn rivals(&self) -> [f64; 5] {
        [self.people_score, self.animal_score, self.vehicle_score, self.urban_score, self.indoor_score]
    }
}

/// The rule's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CategoryRule {
    /// Fewest frames that nature must win.
    pub min_wins: usize,
    /// Least mean score of nature.
    pub min_nature_score: f64,
    /// Least distance of that from the best rival's mean.
    pub min_margin: f64,
}

impl Default for CategoryRule {
    fn default() -> Self {
        Self { min_wins: 2, min_nature_score: 0.72, min_margin: 0.12 }
    }
}

/// The outcome of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryDecision {
    /// Whether nature is the main subject.
    pub accept: bool,
    /// Frames that nature won.
    pub nature_wins: usize,
    /// Mean score of nature.
    pub nature_score: f64,
    /// Highest mean score of the rivals.
    pub rival_score: f64,
    /// The difference of the two.
    pub margin: f64,
}

/// Frames that the rule needs.
pub const FRAMES: usize = 3;

/// Applies the network's rule; `None` where there are fewer than three frames.
pub fn category_decision(frames: &[FrameScores]) -> Option<CategoryDecision> {
    CategoryRule::default().decide(frames)
}

impl CategoryRule {
    /// Applies the rule; `None` where there are fewer than three frames. Scores are clamped into 0..1; an
    /// undefined score counts against nature.
    #[allow(clippy::cast_precision_loss)] // a handful of frames
    pub fn decide(&self, frames: &[FrameScores]) -> Option<CategoryDecision> {
        if frames.len() < FRAMES {
            return None;
        }
        let mean = |scores: &mut dyn Iterator<Item = f64>, undefined: f64| {
            let clamped = scores.map(|s| if s.is_nan() { undefined } else { s.clamp(0.0, 1.0) });
            // From 0.0, as Python's sum goes; Rust's own starts at -0.0.
            clamped.fold(0.0, |sum, score| sum + score) / frames.len() as f64
        };
        let nature_score = mean(&mut frames.iter().map(|f| f.nature_score), 0.0);
        let rival = |i: usize| mean(&mut frames.iter().filter_map(|f| f.rivals().get(i).copied()), 1.0);
        let rival_score = (0..5).map(rival).fold(0.0, f64::max);
        let nature_wins =
            frames.iter().filter(|f| crate::python::strip(&f.winner).to_lowercase() == "nature").count();
        let margin = nature_score - rival_score;
        let accept = nature_wins >= self.min_wins
            && nature_score >= self.min_nature_score
            && margin >= self.min_margin;
        Some(CategoryDecision { accept, nature_wins, nature_score, rival_score, margin })
    }
}

/// The middle three of `n` frames: none below three, else three from `clamp(n/2 - 1, 0, n - 3)`.
pub fn middle_three(n: usize) -> Option<[usize; 3]> {
    let last = n.checked_sub(FRAMES)?;
    let first = (n / 2).saturating_sub(1).min(last);
    Some([first, first + 1, first + 2])
}
