//! Frames as the vision tower takes them: one at a time, and few of them.

use super::config::VisionConfig;
use crate::error::{Error, Result};
use crate::media::Frame;
use crate::media::resize::resize_rgb;

/// Most frames of a clip that the question is put to. Each of them is a pass over 729 tokens of picture, where
/// Qwen3-VL has 432 for the whole clip.
pub(super) const SEEN: usize = 3;

/// What a pixel's level is divided by and less: 0 to 255 becomes -1 to 1.
const MEAN: f32 = 0.5;
const STD: f32 = 0.5;

/// The frames that are seen: the middle one of each of [`SEEN`] equal parts, the later one where there are two. Of six
/// these are the second, the fourth and the sixth; of three, as a category has them, all.
pub(super) fn seen(frames: &[Frame]) -> Vec<&Frame> {
    let parts = frames.len().min(SEEN);
    (0..parts).filter_map(|part| frames.get((2 * part + 1) * frames.len() / (2 * parts))).collect()
}

/// The network's input values: one row per patch, `[channel, line, column]`. The whole frame is squeezed into the
/// square, bicubic, as the model's makers do; candle's example cuts the square out of the middle, bilinear.
pub(super) fn patches(frame: &Frame, config: &VisionConfig) -> Result<Vec<f32>> {
    let edge =
        u32::try_from(config.edge()).map_err(|e| Error::Internal(format!("the edge of a picture: {e}")))?;
    let picture = resize_rgb(&frame.rgb, frame.width, frame.height, edge, edge)?;
    let levels: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - MEAN) / STD);
    let (patch, side) = (config.patch, config.side);
    let mut out = Vec::with_capacity(picture.len());
    for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row * patch, column * patch)))
    {
        for channel in 0..3 {
            for line in picture.chunks_exact(edge as usize * 3).skip(row).take(patch) {
                let bytes = line.iter().skip(column * 3 + channel).step_by(3).take(patch);
                out.extend(bytes.map(|byte| levels.get(usize::from(*byte)).copied().unwrap_or_default()));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_evenly() {
        let of = |count: usize| {
            let frame = |i| Frame { width: 1, height: 1, pts_seconds: f64::from(i), rgb: vec![0; 3].into() };
            let frames: Vec<Frame> = (0..count as u32).map(frame).collect();
            seen(&frames).iter().map(|frame| frame.pts_seconds as usize).collect::<Vec<_>>()
        };
        let expected: [&[usize]; 9] =
            [&[], &[0], &[0, 1], &[0, 1, 2], &[0, 2, 3], &[0, 2, 4], &[1, 3, 5], &[1, 3, 5], &[1, 4, 6]];
        for (count, expected) in expected.into_iter().enumerate() {
            assert_eq!(of(count), expected, "{count}");
        }
        assert_eq!(of(16), [2, 8, 13]);
    }
}
