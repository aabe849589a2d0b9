//! Square pictures of a model's size, cut from a frame.
//!
//! The frame's shorter edge is resized to the model's size and the longer one to `trunc(size * long / short)`, with
//! the model's filter; squares are cut out of the result. The centre square is the one that transformers'
//! `CLIPImageProcessor` makes (its offset is `(edge - size) / 2`, rounded down).
//!
//! Scores are of [`tiles`], whatever the model: they show all of a frame and nothing out of proportion. SigLIP's own
//! processor ([`Fit::Squeeze`]) sees all of a frame too, but a wide one as if it were pressed together.

use super::resize::{Resample, resample_rgb};
use super::{Frame, MediaFailure};
use crate::model::{Crop, Fit, PreprocessSpec};

/// Most squares of one frame; a frame that needs more to be covered is refused.
pub const MAX_TILES: u32 = 7;

/// Where the squares of a picture lie: what it is resized to, and where they are cut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileLayout {
    width: u32,
    height: u32,
    size: u32,
}

impl TileLayout {
    /// For a picture of `width` by `height` pixels and squares of `size`.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where one edge is more than [`MAX_TILES`] times the other, or 0.
    pub fn new(width: u32, height: u32, size: u32) -> Result<Self, MediaFailure> {
        let (short, long) = (width.min(height), width.max(height));
        // Checked before anything is allocated: the longer edge grows with the ratio.
        if short == 0 || u64::from(long) > u64::from(short) * u64::from(MAX_TILES) {
            return Err(MediaFailure::Clip(format!(
                "a {width}x{height} picture is longer than {MAX_TILES} times its width"
            )));
        }
        // transformers computes this quotient with floats and truncates; see the tests for why integers agree.
        let scaled = (u64::from(size) * u64::from(long) / u64::from(short)) as u32;
        let (width, height) = if width <= height { (size, scaled) } else { (scaled, size) };
        Ok(Self { width, height, size })
    }

    /// How far a square can move along the longer edge.
    const fn slack(&self) -> u32 {
        (self.width - self.size) + (self.height - self.size)
    }

    /// Width of the resized picture.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height of the resized picture.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Left and upper edge of each square, in the order of [`tiles`].
    pub fn corners(&self) -> impl Iterator<Item = (u32, u32)> {
        let lies = self.width >= self.height;
        offsets(self.slack(), self.size).map(move |offset| if lies { (offset, 0) } else { (0, offset) })
    }
}

/// A frame at the model's size along its shorter edge.
struct Strip {
    rgb: Vec<u8>,
    layout: TileLayout,
}

impl Strip {
    fn new(frame: &Frame, size: u32, resample: Resample) -> Result<Self, MediaFailure> {
        let layout = TileLayout::new(frame.width, frame.height, size)?;
        let rgb = resample_rgb(&frame.rgb, frame.width, frame.height, layout.width, layout.height, resample)?;
        Ok(Self { rgb, layout })
    }

    /// The square that starts `offset` pixels along the longer edge.
    fn cut(&self, offset: u32) -> Crop {
        let TileLayout { width, height, size: edge } = self.layout;
        let (left, top) = if width >= height { (offset, 0) } else { (0, offset) };
        let (size, row) = (edge as usize, width as usize * 3);
        let mut rgb = Vec::with_capacity(size * size * 3);
        for line in self.rgb.chunks_exact(row).skip(top as usize).take(size) {
            let start = left as usize * 3;
            rgb.extend_from_slice(line.get(start..start + size * 3).unwrap_or_default());
        }
        Crop { size: edge, rgb }
    }
}

/// The centre square, pixel for pixel as transformers' `CLIPImageProcessor` (over Pillow) makes it before it
/// rescales and normalises.
fn centred(frame: &Frame, size: u32, resample: Resample) -> Result<Crop, MediaFailure> {
    let strip = Strip::new(frame, size, resample)?;
    Ok(strip.cut(strip.layout.slack() / 2))
}

/// The whole frame as a square, pixel for pixel as transformers' `SiglipImageProcessor` (over Pillow) makes it.
fn squeezed(frame: &Frame, size: u32, resample: Resample) -> Result<Crop, MediaFailure> {
    Ok(Crop { size, rgb: resample_rgb(&frame.rgb, frame.width, frame.height, size, size, resample)? })
}

/// What the model's own processor makes of a frame.
///
/// # Errors
/// [`MediaFailure::Clip`] where the centre is wanted of a frame that is more than [`MAX_TILES`] times as long as wide,
/// [`MediaFailure::Ours`] where the specification's size is 0.
pub fn own_view(frame: &Frame, spec: &PreprocessSpec) -> Result<Crop, MediaFailure> {
    match spec.fit {
        Fit::Centre => centred(frame, spec.size, spec.resample),
        Fit::Squeeze => squeezed(frame, spec.size, spec.resample),
    }
}

/// Squares that together cover the whole frame, left to right or top to bottom: one where the frame is square,
/// else the smallest odd number from three on that leaves no gap, evenly spread. The middle one is the centre square of
/// [`own_view`].
///
/// # Errors
/// [`MediaFailure::Clip`] where the frame is more than [`MAX_TILES`] times as long as wide, [`MediaFailure::Ours`] where
/// `size` is 0.
pub fn tiles(frame: &Frame, size: u32, resample: Resample) -> Result<Vec<Crop>, MediaFailure> {
    let strip = Strip::new(frame, size, resample)?;
    Ok(offsets(strip.layout.slack(), size).map(|offset| strip.cut(offset)).collect())
}

/// Where the squares start along the longer edge.
fn offsets(slack: u32, size: u32) -> impl Iterator<Item = u32> {
    let mut count = 1;
    if slack > 0 {
        count = 3;
        while count < MAX_TILES && slack.div_ceil(count - 1) > size {
            count += 2;
        }
    }
    (0..count).map(move |i| if count == 1 { 0 } else { i * slack / (count - 1) })
}
