//! The frames that a pair is about.

use std::fs::File;
use std::io::Read;

use crate::error::Error;
use crate::evidence::canonical_digest;
use crate::hash::Digest;
use crate::media::jpeg::{StillLimits, read_still};
use crate::media::{Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
use crate::pairs::{PairSource, Shown};
use crate::verifier::FRAMES_PER_CLIP;

/// What opens clips and pictures, and what it refuses.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The pairs, whose paths are meant.
    pub source: &'a PairSource,
    /// Decodes clips.
    pub decoder: &'a dyn MediaDecoder,
    /// The limits on clips.
    pub limits: &'a MediaLimits,
    /// The limits on pictures.
    pub still: StillLimits,
}

impl std::fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener({})", self.decoder.name())
    }
}

impl Opener<'_> {
    /// The digest of a clip's bytes, or of those of its pictures in their order; in words, why there is none.
    ///
    /// # Errors
    /// In words, for the list of what could not be used.
    pub fn digest(&self, shown: &Shown) -> Result<Digest, String> {
        let of = |key: &String| {
            let limit = match shown {
                Shown::Clip(_) => self.limits.max_bytes,
                Shown::Frames(_) => self.still.max_bytes as u64,
            };
            let path = self.source.locate(key)?;
            let file = File::open(path).map_err(|e| format!("{key}: {e}"))?;
            let size = file.metadata().map_err(|e| format!("{key}: {e}"))?.len();
            if size > limit {
                return Err(format!("{key}: {size} bytes is above the limit of {limit}"));
            }
            Digest::of_reader(file.take(limit)).map_err(|e| format!("{key}: {e}"))
        };
        let digests = shown.keys().iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let kind = match shown {
            Shown::Clip(_) => "clip",
            Shown::Frames(_) => "frames",
        };
        canonical_digest(&(kind, digests)).map_err(|e| e.to_string())
    }

    /// The frames that are scored: six of a clip, or the pictures as they are.
    ///
    /// # Errors
    /// As [`each_frame`](Self::each_frame).
    pub fn frames(&self, shown: &Shown) -> Result<Vec<Frame>, MediaFailure> {
        let mut frames = Vec::new();
        self.each_frame(shown, &mut |frame| {
            frames.push(frame);
            Ok(())
        })?;
        Ok(frames)
    }

    /// Gives those frames one after another, and no picture is decoded before the one ahead of it has been taken: a pair
    /// of 64 large ones takes no more memory than one of them.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a file is not there, is broken, or is beyond a limit; whatever `each` gives.
    pub fn each_frame(
        &self,
        shown: &Shown,
        each: &mut dyn FnMut(Frame) -> Result<(), MediaFailure>,
    ) -> Result<(), MediaFailure> {
        let locate = |key: &String| self.source.locate(key).map_err(MediaFailure::Clip);
        match shown {
            Shown::Clip(key) => {
                let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: false };
                let decoded = self.decoder.decode(&locate(key)?, &request, self.limits);
                let clip = decoded.map_err(|failure| named(key, failure))?;
                clip.frames.into_iter().try_for_each(each)
            }
            Shown::Frames(keys) => {
                let mut size = None;
                for key in keys {
                    let frame =
                        read_still(&locate(key)?, &self.still).map_err(|failure| named(key, failure))?;
                    let (width, height) = *size.get_or_insert((frame.width, frame.height));
                    if (frame.width, frame.height) != (width, height) {
                        return Err(MediaFailure::Clip(format!(
                            "{key}: it has {}x{} pixels and the first frame {width}x{height}; frames of one clip have \
                             one size",
                            frame.width, frame.height
                        )));
                    }
                    each(frame)?;
                }
                Ok(())
            }
        }
    }
}

/// A file that cannot be opened is the data's trouble, not ours: the measurement goes on without it.
fn named(key: &str, failure: MediaFailure) -> MediaFailure {
    match failure {
        MediaFailure::Clip(why) => MediaFailure::Clip(format!("{key}: {why}")),
        MediaFailure::Ours(Error::Io { source, .. }) => MediaFailure::Clip(format!("{key}: {source}")),
        ours => ours,
    }
}
