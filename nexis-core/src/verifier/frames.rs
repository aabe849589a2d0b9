//! Phases 6 and 7 on frames that the caller took from a clip, as validators of the network hand them to their
//! checks.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::cascade::{Asked, Turn, spread};
use super::encoder::Encoder;
use super::ensemble::Embedded;
use super::row::RowJudge;
use crate::check::{Violation, ViolationKind, has_injection_keyword, middle_three};
use crate::error::{Error, Result};
use crate::media::jpeg::{StillLimits, read_still};
use crate::media::{Frame, MediaFailure};
use crate::report::{AlignmentReport, CategoryReport, Verdict};

/// Most frames that a caption is held against; the network's own check reads no more either.
pub const MAX_FRAMES: usize = 12;

/// Scores of a caption against frames.
#[derive(Clone, Debug)]
pub struct FrameSetScores {
    /// Caption against frames.
    pub alignment: AlignmentReport,
    /// Category, from the middle three of the frames.
    pub category: CategoryReport,
}

impl FrameSetScores {
    /// Whether both the caption and the category pass.
    pub fn verdict(&self) -> Verdict {
        match (self.alignment.verdict, self.category.decision) {
            (Verdict::Accept, Verdict::Accept) => Verdict::Accept,
            _ => Verdict::Reject,
        }
    }
}

/// The picture files of one clip, in order of time: frames that the caller took from it, and among them, where
/// the caller puts it there, the first-frame picture that the miner submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameFiles {
    frames: Vec<PathBuf>,
    submitted: Option<usize>,
}

impl FrameFiles {
    /// Keeps the files that are there, each once. The last path that ends with `first_frame_uri`, the row's key,
    /// is the miner's own picture.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be said whether a file is there.
    pub fn new(paths: &[PathBuf], first_frame_uri: Option<&str>) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut frames = Vec::new();
        for path in paths.iter().filter(|path| seen.insert(path.as_path())) {
            match std::fs::metadata(path) {
                Ok(_) => frames.push(path.clone()),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(Error::io(path, error)),
            }
        }
        let key = first_frame_uri.map(|uri| Path::new(uri.trim().trim_start_matches('/')));
        let submitted = key
            .filter(|key| !key.as_os_str().is_empty())
            .and_then(|key| frames.iter().rposition(|path| path.ends_with(key)));
        Ok(Self { frames, submitted })
    }

    /// The files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.frames
    }

    /// What a caption is held against: the frames taken from the clip, or the miner's picture where there is
    /// nothing else. A miner's picture beside them is no witness, since nobody knows that it is of the clip.
    fn for_caption(&self) -> Vec<usize> {
        let taken: Vec<usize> =
            (0..self.frames.len()).filter(|i| Some(*i) != self.submitted).take(MAX_FRAMES).collect();
        if taken.is_empty() { self.submitted.into_iter().collect() } else { taken }
    }

    /// The picture of a file, at its time among all files; `None` where it is the miner's and cannot be read as one.
    /// Frames that the caller took are the caller's: a damaged one says nothing about the miner.
    fn read(&self, index: usize) -> Result<Option<Frame>> {
        let Some(path) = self.frames.get(index) else { return Ok(None) };
        match read_still(path, &StillLimits::default()) {
            Ok(frame) => Ok(Some(Frame { pts_seconds: spread(index, self.frames.len()), ..frame })),
            Err(MediaFailure::Clip(_)) if Some(index) == self.submitted => Ok(None),
            Err(MediaFailure::Clip(why)) => Err(Error::usage(path.display().to_string(), why)),
            Err(MediaFailure::Ours(error)) => Err(error),
        }
    }
}

/// A frame of a shape that cannot be judged was handed in by the caller.
fn ours(failure: MediaFailure) -> Error {
    match failure {
        MediaFailure::Clip(why) => Error::usage("frames", why),
        MediaFailure::Ours(error) => error,
    }
}

/// That there are frames, and that they have one size.
fn one_size(frames: &[Frame]) -> Result<()> {
    let Some(first) = frames.first() else {
        return Err(Error::usage("frames", "at least one is needed"));
    };
    match frames.iter().position(|frame| (frame.width, frame.height) != (first.width, first.height)) {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "frames of one clip have one size, but frame {other} differs from frame 0, which is {}x{}",
                first.width, first.height
            );
            Err(Error::usage("frames", why))
        }
    }
}

impl RowJudge {
    /// Scores a caption against frames of one size, in order of time. With a clip's own six frames this gives the
    /// scores of [`score`](Self::score), to the bit. What is in doubt goes to the judge, where there is one.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no frame, sizes differ or a shape is too extreme, or where there is a judge and
    /// there are more frames than it is shown; anything else is the model's failure.
    pub fn score_frames(&self, frames: &[Frame], caption: &str) -> Result<FrameSetScores> {
        one_size(frames)?;
        self.few_enough(frames.len())?;
        let (reading, embedded) = (self.read_caption(caption)?, self.embed_all(frames).map_err(ours)?);
        let mut alignment = self.alignment(&reading, &embedded)?;
        let mut category = self.category(&reading, &embedded)?;
        self.settle((caption, &reading), frames, Turn::BOTH, &mut alignment, &mut category)?;
        Ok(FrameSetScores { alignment, category })
    }

    /// Scores a caption against frames of one size that are embedded already, so that no judge can look at them;
    /// [`settle_embedded`](Self::settle_embedded) adds what it says.
    ///
    /// # Errors
    /// Where a model fails, or the embeddings are another's.
    pub fn score_embedded(&self, frames: &Embedded, caption: &str) -> Result<FrameSetScores> {
        self.seen_by_all(frames)?;
        let reading = self.read_caption(caption)?;
        Ok(FrameSetScores {
            alignment: self.alignment(&reading, frames)?,
            category: self.category(&reading, frames)?,
        })
    }

    /// Phase 6 on one row: the violation that its caption earns, if any.
    ///
    /// A caption that speaks to a judge is rejected before a picture is opened. Without a frame nothing is found,
    /// as on the network: a clip that is not there has its own code.
    ///
    /// A row here belongs to no interval, so that no budget holds: with a judge, a caption in doubt always costs a call
    /// of it, for as many rows as the caller brings.
    ///
    /// # Errors
    /// Where a frame of the caller's cannot be read, or the model fails; never for what the miner did.
    pub fn check_caption(&self, clip: &str, caption: &str, files: &FrameFiles) -> Result<Option<Violation>> {
        let clip = clip.to_owned();
        if has_injection_keyword(caption) {
            return Ok(Some(Violation::new(ViolationKind::CaptionSemanticInjectionKeyword { clip })));
        }
        let mut frames: Vec<Frame> = Vec::new();
        for index in files.for_caption() {
            frames.extend(files.read(index)?);
        }
        if frames.is_empty() {
            return Ok(None);
        }
        one_size(&frames)?;
        let (reading, embedded) = (self.read_caption(caption)?, self.embed_all(&frames).map_err(ours)?);
        let mut alignment = self.alignment(&reading, &embedded)?;
        let asked = Asked { alignment: Some(&mut alignment), category: None };
        self.settle_asked((caption, &reading), &frames, Turn::BOTH, asked)?;
        Ok((alignment.verdict == Verdict::Reject).then(|| {
            Violation::explained(ViolationKind::CaptionSemanticMismatch { clip }, alignment.mismatch())
        }))
    }

    /// Phase 7 on one row: the violation that its category earns, if any. The caption gate comes first and needs
    /// no frame; the strict rule then takes the middle three. With a judge, a category in doubt always costs a call, as
    /// for [`check_caption`](Self::check_caption).
    ///
    /// # Errors
    /// As [`check_caption`](Self::check_caption).
    pub fn check_category(&self, clip: &str, caption: &str, files: &FrameFiles) -> Result<Option<Violation>> {
        let clip = clip.to_owned();
        let reading = self.read_caption(caption)?;
        let gates = self.gates(&reading);
        if gates.rejected {
            return Ok(Some(Violation::new(ViolationKind::CategoryCaptionReject { clip })));
        }
        let mut frames = Vec::new();
        for index in middle_three(files.frames.len()).into_iter().flatten() {
            frames.extend(files.read(index)?);
        }
        let labels = |encoder: &Encoder| encoder.label(&frames, self.batch).map_err(ours);
        let second = self.second.as_ref().map(labels).transpose()?;
        let mut category = self.category_of(&gates, &labels(&self.first)?, second.as_deref());
        if category.nature_score.is_none() {
            return Ok(Some(Violation::new(ViolationKind::CategoryStrictFramesMissing { clip })));
        }
        // Frames of several sizes are no video that a judge could be asked about.
        if one_size(&frames).is_ok() {
            let asked = Asked { alignment: None, category: Some(&mut category) };
            self.settle_asked((caption, &reading), &frames, Turn::BOTH, asked)?;
        }
        Ok((category.decision == Verdict::Reject).then(|| {
            Violation::explained(ViolationKind::CategoryStrictReject { clip }, category.rejection())
        }))
    }
}
