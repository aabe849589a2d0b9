//! Frames as the vision tower takes them.
//!
//! Sizes follow transformers' rule for this model: both edges are multiples of two patches, nearest to the frame's own,
//! and shrunk by one factor where the frame has more than [`PIXELS`]. That bound is ours, since what a question costs
//! follows from it; the model's own is for videos that are to be read closely. Frames of 1280x720 become 512x288.

use super::config::{Config, MERGE, TEMPORAL};
use crate::error::{Error, Result};
use crate::media::Frame;
use crate::media::resize::resize_rgb;

/// Most pixels of a frame that the model sees: 144 tokens for two frames, with patches of 16.
pub(super) const PIXELS: u32 = 144 * 32 * 32;

/// Most that a picture may be longer than wide, as in transformers.
const RATIO: u32 = 200;

/// Two neighbouring frames, cut into patches.
pub(super) struct FramePair {
    /// Mean of the frames' times, in seconds.
    pub(super) seconds: f64,
    /// One row per patch, `[channel, frame, line, column]`, four patches that become one token next to each other.
    pub(super) patches: Vec<f32>,
}

/// A clip's frames, cut into patches.
pub(super) struct Patches {
    /// Patches along a column and along a line.
    pub(super) grid: (usize, usize),
    pub(super) pairs: Vec<FramePair>,
}

impl Patches {
    /// Tokens of one pair.
    pub(super) const fn tokens(&self) -> usize {
        self.grid.0 / MERGE * (self.grid.1 / MERGE)
    }
}

/// Height and width at which a frame is seen.
pub(super) fn fit(height: u32, width: u32, patch: usize) -> Result<(u32, u32)> {
    let factor = patch * MERGE;
    let (mut h, mut w) = (f64::from(height), f64::from(width));
    let factor_f = factor as f64;
    if h < factor_f || w < factor_f {
        let scale = (factor_f / h).max(factor_f / w);
        (h, w) = ((h * scale).floor(), (w * scale).floor());
    }
    // A factor of 200 on either side of a small picture stays far below what resizing takes.
    if height == 0 || width == 0 || h.max(w) > h.min(w) * f64::from(RATIO) {
        let why = format!("a {width}x{height} picture is longer than {RATIO} times its width");
        return Err(Error::usage("frames", why));
    }
    let near = |edge: f64| (edge / factor_f).round_ties_even() * factor_f;
    let (mut to_h, mut to_w) = (near(h), near(w));
    if to_h * to_w > f64::from(PIXELS) {
        let beta = (h * w / f64::from(PIXELS)).sqrt();
        let below = |edge: f64| ((edge / beta / factor_f).floor() * factor_f).max(factor_f);
        (to_h, to_w) = (below(h), below(w));
    }
    Ok((to_h as u32, to_w as u32))
}

/// Brings frames of one size to the model's size, and cuts each pair into patches. Of an odd number the last frame
/// counts twice.
pub(super) fn patches(frames: &[Frame], config: &Config) -> Result<Patches> {
    let Some(first) = frames.first() else { return Err(Error::usage("frames", "at least one is needed")) };
    let patch = config.vision.patch;
    let (height, width) = fit(first.height, first.width, patch)?;
    let grid = (height as usize / patch, width as usize / patch);
    let levels = levels(config);
    let pictures = frames
        .iter()
        .map(|frame| {
            Ok((frame.pts_seconds, resize_rgb(&frame.rgb, frame.width, frame.height, width, height)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let pairs = pictures
        .chunks(TEMPORAL)
        .filter_map(|pair| {
            let ((start, a), (end, b)) = (pair.first()?, pair.last()?);
            let patches = cut([a, b], width as usize * 3, patch, grid, &levels);
            Some(FramePair { seconds: (start + end) / 2.0, patches })
        })
        .collect();
    Ok(Patches { grid, pairs })
}

/// The input value of each byte, for each channel.
fn levels(config: &Config) -> [[f32; 256]; 3] {
    let of = |(mean, std): (f32, f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
    let ([r, g, b], [r_std, g_std, b_std]) = (config.mean, config.std);
    [(r, r_std), (g, g_std), (b, b_std)].map(of)
}

fn cut(
    pictures: [&Vec<u8>; 2],
    line_bytes: usize,
    patch: usize,
    (rows, columns): (usize, usize),
    levels: &[[f32; 256]; 3],
) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * columns * 3 * TEMPORAL * patch * patch);
    let blocks = (0..rows / MERGE).flat_map(|y| (0..columns / MERGE).map(move |x| (y * MERGE, x * MERGE)));
    let within = |(y, x): (usize, usize)| {
        (0..MERGE).flat_map(move |i| (0..MERGE).map(move |j| ((y + i) * patch, (x + j) * patch)))
    };
    for (y, x) in blocks.flat_map(within) {
        for (channel, levels) in levels.iter().enumerate() {
            for picture in pictures {
                for line in picture.chunks_exact(line_bytes.max(1)).skip(y).take(patch) {
                    let bytes = line.iter().skip(x * 3 + channel).step_by(3).take(patch);
                    out.extend(bytes.map(|byte| levels.get(usize::from(*byte)).copied().unwrap_or_default()));
                }
            }
        }
    }
    out
}
