//! Clips in, chosen RGB frames out.
//!
//! A decoder tells a hostile or broken clip ([`MediaFailure::Clip`]) from its own trouble
//! ([`MediaFailure::Ours`]): the first rejects a row, the second never does.
//!
//! [`cpu`] decodes with FFmpeg, [`hardware`] lets it use a device's decoder. What other decoders must share with it to give the same bytes is in modules of its
//! own: [`demux`] (limits, and which packets there are), [`select`] (which frames are meant), [`yuv`] (colours),
//! [`resize`] and [`tiles`] (what a model sees). `encode` (a feature) writes clips.

pub mod cpu;
pub mod demux;
#[cfg(feature = "encode")]
pub mod encode;
mod h264;
pub mod hardware;
pub mod jpeg;
mod libav;
mod pixels;
pub mod resize;
pub mod select;
pub mod tiles;
mod wide;
pub mod yuv;

pub use cpu::{FfmpegDecoder, FrameStream};
pub use pixels::Pixels;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::hash::Digest;

/// What a decoder refuses before or while decoding; every limit is a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaLimits {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Largest picture, in pixels.
    pub max_pixels: u64,
    /// Longest stream, in seconds.
    pub max_duration_seconds: f64,
    /// Most frames in the video stream.
    pub max_frames: u64,
    /// Longest wall time spent on one clip; where a device's decoder gives up ([`hardware`]), the processor has as much again.
    pub max_wall: Duration,
    /// Codec names (FFmpeg's) that may be decoded.
    pub codecs: Vec<String>,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_pixels: 3840 * 2160,
            max_duration_seconds: 60.0,
            max_frames: 1200,
            max_wall: Duration::from_secs(20),
            codecs: ["h264", "hevc", "av1", "vp9"].map(String::from).to_vec(),
        }
    }
}

/// What a stream is, read from the stream itself and never from a row's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipProbe {
    /// Displayed width in pixels, after the stream's rotation.
    pub width: u32,
    /// Displayed height in pixels, after the stream's rotation.
    pub height: u32,
    /// FFmpeg's codec name, for example `h264`.
    pub codec: String,
    /// FFmpeg's pixel format name, for example `yuv420p`.
    pub pixel_format: String,
    /// Displayed frames per second, on average.
    pub fps: f64,
    /// Duration of the video stream in seconds, from its first displayed frame to the end of its last.
    pub duration_seconds: f64,
    /// Number of frames that the container declares, where it does.
    pub frame_count: Option<u64>,
    /// Clockwise rotation for display, in degrees: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether there is an audio stream.
    pub has_audio: bool,
}

/// One decoded picture: 8-bit RGB, rows top to bottom without padding, as displayed.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Presentation time in seconds from the first frame of the stream.
    pub pts_seconds: f64,
    /// `height * width * 3` bytes.
    pub rgb: Pixels,
}

impl Frame {
    /// SHA-256 of the RGB bytes, for evidence.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.rgb)
    }

    /// Lets go of the copy in a device's memory, where there is one. Whoever keeps a frame that no model is to see any more does:
    /// a device has room for the frames of the clips at hand and no more.
    pub fn leave_device(&mut self) {
        self.rgb.drop_copy();
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}x{} at {:.3} s)", self.width, self.height, self.pts_seconds)
    }
}

/// The answer to [`MediaDecoder::decode`].
#[derive(Clone, Debug)]
pub struct DecodedClip {
    /// What decoded it, as [`MediaDecoder::name`] says: a device's decoder leaves some streams to the processor.
    pub decoder: String,
    /// Why the device's decoder that had the clip first left it to this one; `None` where none had it.
    pub left: Option<String>,
    /// What the stream is.
    pub probe: ClipProbe,
    /// One frame per instant asked for, in that order; neighbours may share their pixels.
    pub frames: Vec<Frame>,
    /// The first frame in display order, where it was asked for.
    pub first: Option<Frame>,
}

/// Which frames of a clip are wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameRequest {
    /// `count` frames at `(k + 0.5) * duration / count` (protocol: six).
    Spread {
        /// How many.
        count: usize,
        /// Whether the first frame in display order is wanted as well.
        first: bool,
    },
    /// Frames at these instants, in seconds from the first frame, ascending.
    At {
        /// The instants.
        seconds: Vec<f64>,
    },
}

/// Why frames did not come.
#[derive(Debug, thiserror::Error)]
pub enum MediaFailure {
    /// The clip's fault: broken, outside a limit, or of a kind that is not allowed.
    #[error("{0}")]
    Clip(String),
    /// Ours: the row is not judged.
    #[error(transparent)]
    Ours(#[from] Error),
}

/// Decodes clips on one kind of device.
pub trait MediaDecoder: Send + Sync {
    /// A short name for evidence, for example `ffmpeg-cpu 59.27.100`.
    fn name(&self) -> String;

    /// Reads what the stream is, decoding no more than it takes to see the size of the first picture.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the file is no acceptable clip.
    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure>;

    /// Decodes the frames asked for: each is the last frame whose time is not after its instant
    /// (the first frame where there is none), in one forward pass.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the file cannot be decoded within the limits.
    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure>;

    /// What keeps a device from decoding, where others do its work, for whoever tells an operator. Their frames are the same.
    fn trouble(&self) -> Option<String> {
        None
    }
}
