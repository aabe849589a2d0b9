//! Decoding in a device's own decoder, through FFmpeg: the same demuxing, limits, choice of frames and checks as on the
//! processor, for it is the same code (`cpu`). Pictures stay in the device's memory; those that were asked for are
//! converted there, by whoever knows the device.
//!
//! A stream that the device does not decode is decoded on the processor, and the clip's frames say so
//! ([`DecodedClip::decoder`](super::DecodedClip::decoder)). What a device makes of a damaged stream is its own: it may conceal
//! what FFmpeg refuses.

use std::path::Path;
use std::sync::Arc;

use super::cpu::{self, FfmpegDecoder};
use super::demux::Demuxed;
use super::libav::{self, Hardware};
use super::yuv::{Depth, Matrix};
use super::{ClipProbe, DecodedClip, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
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
    /// Work on the picture is done when this returns.
    ///
    /// # Errors
    /// Where the device fails, which is ours.
    fn to_rgb(&self, picture: &DevicePicture, degrees: u16) -> Result<Arc<[u8]>>;
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
                "use an FFmpeg built with nvdec, as `make cuda` does, and a driver; FFmpeg says: {why}"
            ),
        })?;
        Ok(Self { device, converter })
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
        let clip = Demuxed::read(clip, limits)?;
        let means = cpu::Means { device: Some((&self.device, self.converter.as_ref())), skipping: true };
        let (mut decoded, on_device) = match means.decode(&clip, request, limits) {
            // What the device cannot do is not the clip's fault, and the processor can; evidence says which it was.
            Err(MediaFailure::Ours(_)) => {
                cpu::Means { device: None, ..means }.decode(&clip, request, limits)?
            }
            decoded => decoded?,
        };
        decoded.decoder = if on_device { self.name() } else { FfmpegDecoder::default().name() };
        Ok(decoded)
    }
}
