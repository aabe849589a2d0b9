//! Still pictures, and whether two pictures show the same.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{ImageDecoder, ImageFormat, ImageReader};

use super::{Frame, MediaFailure};
use crate::error::Error;

/// What is refused before a still picture is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillLimits {
    /// Largest file, in bytes.
    pub max_bytes: usize,
    /// Largest picture, in pixels.
    pub max_pixels: u64,
}

impl Default for StillLimits {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_pixels: 3840 * 2160 }
    }
}

/// Decodes a JPEG or PNG file, told apart by its first bytes and not by its name. Orientation tags are ignored;
/// an alpha channel is dropped.
///
/// # Errors
/// [`MediaFailure::Clip`] where it is neither, is damaged or exceeds a limit.
pub fn decode_still(bytes: &[u8], limits: &StillLimits) -> Result<Frame, MediaFailure> {
    let refuse = |why: String| MediaFailure::Clip(why);
    if bytes.len() > limits.max_bytes {
        return Err(refuse(format!("{} bytes is above the limit of {}", bytes.len(), limits.max_bytes)));
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        _ => return Err(refuse("neither JPEG nor PNG".to_owned())),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut guard = image::Limits::default();
    // Room for one picture of 16-bit RGBA and one of RGB made from it.
    guard.max_alloc = Some(limits.max_pixels.saturating_mul(12).saturating_add(1 << 20));
    reader.limits(guard);
    let decoder = reader.into_decoder().map_err(|error| refuse(format!("damaged picture: {error}")))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width).saturating_mul(height.into()) > limits.max_pixels {
        return Err(refuse(format!("{width}x{height} pixels is above the limit")));
    }
    let picture = image::DynamicImage::from_decoder(decoder)
        .map_err(|error| refuse(format!("damaged picture: {error}")))?
        .into_rgb8();
    Ok(Frame { width, height, pts_seconds: 0.0, rgb: picture.into_raw().into() })
}

/// Decodes a JPEG or PNG file, as [`decode_still`], and reads no more of it than the limit.
///
/// # Errors
/// As [`decode_still`]; [`MediaFailure::Ours`] where the file cannot be read.
pub fn read_still(path: &Path, limits: &StillLimits) -> Result<Frame, MediaFailure> {
    let io = |error| Error::io(path, error);
    let bound = u64::try_from(limits.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(bound).read_to_end(&mut bytes).map_err(io)?;
    decode_still(&bytes, limits)
}

/// Edges of the small pictures that are compared.
const COMPARED: (u32, u32) = (64, 36);

/// From this similarity on, two pictures are taken for the same.
///
/// A JPEG of a frame, at any quality from 30 on, stays above it; a frame a second later in a scene that moves falls
/// below it. A scene that stands still cannot be told apart, nor need it be.
pub const SAME_PICTURE: f64 = 0.97;

/// How alike two pictures are, from 0 (opposite) to 1 (equal): one less the mean absolute difference of the
/// bytes, over 255, after both are resized to 64x36. Small shifts in colour and the noise of compression vanish in
/// the shrinking; what is where does not.
///
/// # Errors
/// [`MediaFailure::Ours`] where a frame's bytes do not fit its size.
pub fn first_frame_similarity(clip_first: &Frame, still: &Frame) -> Result<f64, MediaFailure> {
    let (width, height) = COMPARED;
    let a = clip_first.resized(width, height)?;
    let b = still.resized(width, height)?;
    let total: u64 = a.rgb.iter().zip(b.rgb.iter()).map(|(&x, &y)| u64::from(x.abs_diff(y))).sum();
    Ok(1.0 - total as f64 / (a.rgb.len() as f64 * 255.0))
}
