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
    /// [`MediaFailure::Clip`] where a file is not there, is broken, or is beyond a limit.
    pub fn frames(&self, shown: &Shown) -> Result<Vec<Frame>, MediaFailure> {
        let locate = |key: &String| self.source.locate(key).map_err(MediaFailure::Clip);
        match shown {
            Shown::Clip(key) => {
                let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: false };
                let decoded = self.decoder.decode(&locate(key)?, &request, self.limits);
                decoded.map(|clip| clip.frames).map_err(|failure| named(key, failure))
            }
            Shown::Frames(keys) => {
                let mut frames: Vec<Frame> = Vec::with_capacity(keys.len());
                for key in keys {
                    let frame =
                        read_still(&locate(key)?, &self.still).map_err(|failure| named(key, failure))?;
                    if let Some(first) = frames.first()
                        && (first.width, first.height) != (frame.width, frame.height)
                    {
                        return Err(MediaFailure::Clip(format!(
                            "{key}: it has {}x{} pixels and the first frame {}x{}; frames of one clip have one size",
                            frame.width, frame.height, first.width, first.height
                        )));
                    }
                    frames.push(frame);
                }
                Ok(frames)
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
