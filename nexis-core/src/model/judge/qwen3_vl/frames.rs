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

/// What a clip's frames come to, before one of them is touched.
pub(super) struct Layout {
    /// Patches along a column and along a line.
    pub(super) grid: (usize, usize),
    /// Mean of each pair's times, in seconds.
    pub(super) seconds: Vec<f64>,
}

impl Layout {
    /// Of frames of one size. Of an odd number the last frame counts twice.
    pub(super) fn of(frames: &[Frame], patch: usize) -> Result<Self> {
        let Some(first) = frames.first() else {
            return Err(Error::usage("frames", "at least one is needed"));
        };
        let (height, width) = fit(first.height, first.width, patch)?;
        let mean = |pair: &[Frame]| {
            let (start, end) = (pair.first()?.pts_seconds, pair.last()?.pts_seconds);
            Some((start + end) / 2.0)
        };
        Ok(Self {
            grid: (height as usize / patch, width as usize / patch),
            seconds: frames.chunks(TEMPORAL).filter_map(mean).collect(),
        })
    }

    /// Tokens of one pair.
    pub(super) const fn tokens(&self) -> usize {
        self.grid.0 / MERGE * (self.grid.1 / MERGE)
    }
}

/// Most tokens that a pair of frames can come to, whatever its shape: as many as [`PIXELS`] hold, or a strip of one
/// token's width, of which [`fit`] cannot shrink the narrow edge.
pub(super) const fn most_tokens(patch: usize) -> usize {
    let factor = patch * MERGE;
    let (square, strip) =
        (PIXELS as usize / (factor * factor), (PIXELS as usize * RATIO as usize).isqrt() / factor);
    if square > strip { square } else { strip }
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

/// Brings frames of one size to the model's size, and cuts each pair into patches: one row per patch,
/// `[channel, frame, line, column]`, four patches that become one token next to each other.
pub(super) fn patches(frames: &[Frame], layout: &Layout, config: &Config) -> Result<Vec<Vec<f32>>> {
    let (patch, grid) = (config.vision.patch, layout.grid);
    let (height, width) = ((grid.0 * patch) as u32, (grid.1 * patch) as u32);
    let levels = levels(config);
    let pictures = frames
        .iter()
        .map(|frame| resize_rgb(&frame.rgb, frame.width, frame.height, width, height))
        .collect::<Result<Vec<_>, _>>()?;
    let pairs = pictures.chunks(TEMPORAL).filter_map(|pair| {
        Some(cut([pair.first()?, pair.last()?], width as usize * 3, patch, grid, &levels))
    });
    Ok(pairs.collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shape_has_more_tokens_than_the_bound() {
        for patch in [8, 14, 16, 32, 64] {
            let edges =
                [1, 2, 7, 16, 31, 64, 90, 127, 128, 200, 384, 500, 719, 1280, 2160, 3840, 8192, 16_384];
            let mut most = 0;
            for (height, width) in edges.iter().flat_map(|h| edges.iter().map(move |w| (*h, *w))) {
                let Ok((to_height, to_width)) = fit(height, width, patch) else { continue };
                let tokens = to_height as usize * to_width as usize / (patch * MERGE).pow(2);
                assert!(
                    (1..=most_tokens(patch)).contains(&tokens),
                    "{height}x{width}, patches of {patch}: {tokens}"
                );
                most = most.max(tokens);
            }
            assert!(most * 5 >= most_tokens(patch) * 4, "a bound of {} for {most}", most_tokens(patch));
        }
    }
}
