//! Decoding in a device's own decoder, through FFmpeg: the same demuxing, limits, choice of frames and checks as on the
//! processor, for it is the same code (`cpu`). Pictures stay in the device's memory; those that were asked for are
//! converted there, by whoever knows the device.
//!
//! A device only ever accepts. Whatever goes wrong there, the clip's doing or the device's, the processor decodes the clip
//! anew and decides, so that no clip is refused for what a device made of it. The same way go streams that the device
//! does not decode, or of which it would show other pixels than the processor. The clip's frames say which of the two it was
//! ([`DecodedClip::decoder`]), and why ([`DecodedClip::left`]). Each of them has the whole of
//! [`MediaLimits::max_wall`](super::MediaLimits::max_wall), so that a clip may take up to twice as long.
//!
//! The other way round they may differ: a device may conceal damage for which the processor refuses a clip. Whoever must
//! agree with others about which clips are refused decodes on the processor.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cpu::{self, FfmpegDecoder};
use super::demux::Demuxed;
use super::libav::{self, Deadline, Hardware};
use super::yuv::{Depth, Matrix};
use super::{ClipProbe, DecodedClip, FrameRequest, MediaDecoder, MediaFailure, MediaLimits, Pixels};
use crate::error::{Error, Result};

/// A picture in a device's memory, U and V alternating (NV12, P010).
#[derive(Clone, Copy, Debug)]
pub struct DevicePicture {
    /// Width in samples.
    pub width: u32,
    /// Height in rows.
    pub height: u32,
    /// Sample layout.
    pub depth: Depth,
    /// Addresses of luma and chroma.
    pub planes: [u64; 2],
    /// Bytes from a row to the next, of luma and of chroma.
    pub strides: [u32; 2],
    /// Colour matrix.
    pub matrix: Matrix,
    /// Whether luma and chroma use all values.
    pub full_range: bool,
}

/// What converts pictures where they are.
pub trait DeviceConverter: Send + Sync {
    /// Packed RGB of a picture as [`Yuv::to_rgb`](super::yuv::Yuv::to_rgb) gives it, turned clockwise by so many degrees.
    /// They may come with a copy where they were made. Work on the picture and on the copy is done when this returns, also where
    /// it fails.
    ///
    /// # Errors
    /// Where the device fails, which is ours.
    fn to_rgb(&self, picture: &DevicePicture, degrees: u16) -> Result<Pixels>;
}

/// Decodes on an NVIDIA device.
pub struct NvdecDecoder {
    device: Hardware,
    converter: Arc<dyn DeviceConverter>,
}

impl NvdecDecoder {
    /// On the device of this number.
    ///
    /// # Errors
    /// [`Error::Missing`] where FFmpeg was built without it, or there is no such device.
    pub fn open(index: u32, converter: Arc<dyn DeviceConverter>) -> Result<Self> {
        let device = Hardware::cuda(index).map_err(|why| Error::Missing {
            what: format!("NVIDIA's decoder on cuda:{index}"),
            remedy: format!(
                "use a driver and an FFmpeg built with nvdec, as `make cuda` does, and open the device before others \
                 of the process do; FFmpeg says: {why}"
            ),
        })?;
        Ok(Self { device, converter })
    }

    /// How long it takes until a decoder for `clip` is set up on the device and has taken the first packet; nothing is converted.
    ///
    /// # Errors
    /// Where the device does not take the clip; there is no other way to it here.
    pub fn set_up(&self, clip: &Path, limits: &MediaLimits) -> Result<Duration, MediaFailure> {
        let clip = Demuxed::read(clip, limits)?;
        let start = Instant::now();
        let mut decoder = cpu::open(&clip, limits, Some(&self.device))?;
        let Some(packet) = clip.packets().first() else {
            return Err(MediaFailure::Clip("no packet".to_owned()));
        };
        decoder.send(packet, false).map_err(|e| cpu::judge(e, "refused by the device"))?;
        Ok(start.elapsed())
    }
}

impl MediaDecoder for NvdecDecoder {
    fn name(&self) -> String {
        format!("ffmpeg-nvdec {}", libav::version())
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        // One picture is sooner decoded than a device's decoder is made.
        FfmpegDecoder::default().probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let mut clip = Demuxed::read(clip, limits)?;
        let means = cpu::Means { device: Some((&self.device, self.converter.as_ref())), skipping: true };
        let left = if clip.is_420() {
            match means.decode(&clip, request, limits) {
                Ok(decoded) => return Ok(DecodedClip { decoder: self.name(), ..decoded }),
                Err(why) => Some(why.to_string()),
            }
        } else {
            None
        };
        // A device that is broken, busy or out of memory fails with the errors of a damaged clip, and a clip that it cannot
        // take fails late: so the processor judges in any case, with the time that a clip has there.
        clip.deadline = Deadline::after(limits.max_wall);
        let decoded = cpu::Means { device: None, ..means }.decode(&clip, request, limits)?;
        Ok(DecodedClip { left, ..decoded })
    }
}
