//! The category of a clip by itself, whatever a caption says.

use std::path::Path;

use serde::Serialize;

use super::row::{RowJudge, frame_category, frame_reports, frame_scores};
use crate::check::{CategoryRule, middle_three};
use crate::error::Result;
use crate::media::{ClipProbe, Frame, MediaFailure};
use crate::report::{FrameCategoryReport, FrameReport, Verdict};
use crate::score::FrameEmbeddings;
use crate::score::category::FrameCategory;

/// The seven labels of a clip's frames, and what the protocol's rule makes of them without the caption gate. They are
/// the encoder's, of two the first's.
#[derive(Clone, Debug, Serialize)]
pub struct Classification {
    /// What the stream is; none where frames were given.
    pub probe: Option<ClipProbe>,
    /// Times and digests of the frames.
    pub frames: Vec<FrameReport>,
    /// The labels of every frame.
    pub labels: Vec<FrameCategoryReport>,
    /// Accept where nature passes the strict rule on the middle three frames.
    pub decision: Verdict,
    /// Whether a figure is nearer to its threshold than devices differ.
    pub borderline: bool,
    /// Mean nature score of the middle three frames; none below three frames, as the next two.
    pub nature_score: Option<f64>,
    /// Mean score of the best rival.
    pub rival_score: Option<f64>,
    /// Their difference.
    pub margin: Option<f64>,
}

impl RowJudge {
    /// Labels a clip's six frames.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the clip cannot be decoded within the limits.
    pub fn classify(&self, clip: &Path) -> Result<Classification, MediaFailure> {
        let decoded = self.decode(clip)?;
        let classified = self.classify_frames(&decoded.frames)?;
        Ok(Classification { probe: Some(decoded.probe), ..classified })
    }

    /// Labels frames, in order of time; sizes may differ.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a picture's shape is too extreme; else the model's failure.
    pub fn classify_frames(&self, frames: &[Frame]) -> Result<Classification, MediaFailure> {
        Ok(self.classification(&self.first.label(frames, self.batch)?, frame_reports(frames)))
    }

    /// Labels frames that are embedded already; `frames` says which they are, in the same order.
    ///
    /// # Errors
    /// Where the embeddings are another model's.
    pub fn classify_embedded(
        &self,
        embedded: &[FrameEmbeddings],
        frames: Vec<FrameReport>,
    ) -> Result<Classification> {
        Ok(self.classification(&self.first.label_embedded(embedded)?, frames))
    }

    fn classification(&self, labels: &[FrameCategory], frames: Vec<FrameReport>) -> Classification {
        let middle: Vec<_> = middle_three(labels.len())
            .into_iter()
            .flatten()
            .filter_map(|i| labels.get(i))
            .map(frame_scores)
            .collect();
        let rule = CategoryRule::default();
        let decided = rule.decide(&middle);
        let band = self.card().category.borderline;
        let near = |value: f64, limit: f64| (value - limit).abs() < band;
        Classification {
            probe: None,
            frames,
            labels: labels.iter().map(frame_category).collect(),
            decision: match &decided {
                Some(decided) if decided.accept => Verdict::Accept,
                _ => Verdict::Reject,
            },
            borderline: decided.as_ref().is_some_and(|d| {
                near(d.nature_score, rule.min_nature_score) || near(d.margin, rule.min_margin)
            }),
            nature_score: decided.as_ref().map(|d| d.nature_score),
            rival_score: decided.as_ref().map(|d| d.rival_score),
            margin: decided.as_ref().map(|d| d.margin),
        }
    }
}
