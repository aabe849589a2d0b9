//! Bicubic resizing, byte for byte what Pillow's `Image.resize(size, BICUBIC)` gives for 8-bit RGB.
//!
//! The rules, so that another implementation (a GPU kernel) can be checked against them:
//!
//! - The kernel is Keys' cubic with `a = -1/2`, support 2. When shrinking by a factor `s > 1` the kernel
//!   is stretched by `s`.
//! - Output sample `i` is centred at `c = (i + 0.5) * in / out`. Its taps are the input samples
//!   `trunc(c - support + 0.5)` (not below 0) up to, not including, `trunc(c + support + 0.5)` (not above
//!   `in`). Taps outside the picture do not exist; the weights of the rest are divided by their sum.
//! - All of that is done in `f64`, in exactly the order of operations written below. A weight `w` becomes the
//!   integer `trunc(w * 2^22 + 0.5)`, with `-0.5` where `w` is negative.
//! - Horizontal pass first, then the vertical one; each sums `pixel * weight` from `2^21` in `i32`, shifts right
//!   by 22 and clamps to 0..=255. The picture between the passes is 8-bit. A pass whose sizes are equal is
//!   left out. Pictures more than 100 times as high as wide that become lower take the vertical pass first.
//!
//! That is Pillow up to 12. From 13 on, Pillow takes some sizes with the vertical pass first, which changes single
//! levels; frames of 1280x720 brought to 398x224 (or both turned) are not among them.

use std::sync::Arc;

use super::Frame;
use crate::error::{Error, Result};

/// Bits after the point in a weight: 32, less 8 for the pixel, less 2 for sign and overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half a unit, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Longest edge that is accepted, in pixels, on either side.
const MAX_EDGE: u32 = 1 << 16;

/// Support of the cubic, in input samples at scale 1.
const SUPPORT: f64 = 2.0;

/// The taps of every output sample along one axis.
struct Taps {
    /// First input sample of each output sample.
    starts: Vec<usize>,
    /// Weights of each output sample, `width` apart, of which the first `counts[i]` matter.
    weights: Vec<i32>,
    counts: Vec<usize>,
    width: usize,
}

impl Taps {
    /// The weights that take `input` samples to `output` samples.
    fn new(input: u32, output: u32) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let width = (support.ceil() as usize) * 2 + 1;
        let inverse = 1.0 / stretch;
        let mut taps = Self {
            starts: Vec::with_capacity(output as usize),
            weights: vec![0; width * output as usize],
            counts: Vec::with_capacity(output as usize),
            width,
        };
        let mut real = vec![0.0_f64; width];
        for (i, row) in taps.weights.chunks_exact_mut(width).enumerate() {
            let centre = (i as f64 + 0.5) * scale;
            // `as` truncates toward zero and stops at 0 for negatives, which is the rule's lower bound.
            let start = (centre - support + 0.5) as u32;
            let end = ((centre + support + 0.5) as u32).min(input);
            let count = end.saturating_sub(start) as usize;
            let mut sum = 0.0;
            for (x, weight) in real.iter_mut().take(count).enumerate() {
                *weight = cubic((x as f64 + f64::from(start) - centre + 0.5) * inverse);
                sum += *weight;
            }
            for (fixed, weight) in row.iter_mut().zip(real.iter_mut().take(count)) {
                if sum != 0.0 {
                    *weight /= sum;
                }
                let scaled = *weight * f64::from(1_u32 << PRECISION_BITS);
                *fixed = if *weight < 0.0 { (-0.5 + scaled) as i32 } else { (0.5 + scaled) as i32 };
            }
            taps.starts.push(start as usize);
            taps.counts.push(count.min(width));
        }
        taps
    }

    /// First input sample, weights, per output sample.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts
            .iter()
            .zip(self.counts.iter())
            .zip(self.weights.chunks_exact(self.width))
            .map(|((&start, &count), row)| (start, row.get(..count).unwrap_or_default()))
    }
}

/// Keys' cubic convolution kernel with `a = -1/2`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Brings a sum back to a byte.
const fn to_byte(sum: i32) -> u8 {
    let value = sum >> PRECISION_BITS;
    if value < 0 {
        0
    } else if value > 255 {
        255
    } else {
        value as u8
    }
}

/// Resizes packed RGB bytes `[height, width, 3]` to `[to_height, to_width, 3]`.
///
/// # Errors
/// [`Error::Usage`] where an edge is 0 or above 65536, or `rgb` has another length than the size says.
pub fn resize_rgb(rgb: &[u8], width: u32, height: u32, to_width: u32, to_height: u32) -> Result<Vec<u8>> {
    let edges = [width, height, to_width, to_height];
    if edges.iter().any(|&edge| edge == 0 || edge > MAX_EDGE) {
        return Err(Error::usage(
            format!("resize {width}x{height} to {to_width}x{to_height}"),
            format!("edges from 1 to {MAX_EDGE} are expected"),
        ));
    }
    if rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(Error::usage(
            format!("resize of {} bytes", rgb.len()),
            format!("a {width}x{height} RGB picture is expected"),
        ));
    }
    let (row_in, row_out) = (width as usize * 3, to_width as usize * 3);
    let across = |rows: &[u8]| horizontal_pass(rows, row_in, row_out, &Taps::new(width, to_width));
    let down = |rows: &[u8], row: usize| vertical_pass(rows, row, &Taps::new(height, to_height));
    Ok(match (width != to_width, height != to_height) {
        (false, false) => rgb.to_vec(),
        (true, false) => across(rgb),
        (false, true) => down(rgb, row_in),
        (true, true) if vertical_first(width, height, to_height) => across(&down(rgb, row_in)),
        (true, true) => down(&across(rgb), row_out),
    })
}

/// Pillow's exception: pictures more than 100 times as high as wide that become lower.
const fn vertical_first(width: u32, height: u32, to_height: u32) -> bool {
    height > width.saturating_mul(100) && to_height < height
}

/// One output row per input row.
fn horizontal_pass(rgb: &[u8], row_in: usize, row_out: usize, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0_u8; rgb.len() / row_in.max(1) * row_out];
    for (input, output) in rgb.chunks_exact(row_in).zip(out.chunks_exact_mut(row_out)) {
        let (input, output) = (input.as_chunks::<3>().0, output.as_chunks_mut::<3>().0);
        for ((start, weights), pixel) in taps.iter().zip(output) {
            let (mut red, mut green, mut blue) = (HALF, HALF, HALF);
            for (&[r, g, b], &weight) in input.get(start..).unwrap_or_default().iter().zip(weights) {
                red += i32::from(r) * weight;
                green += i32::from(g) * weight;
                blue += i32::from(b) * weight;
            }
            *pixel = [to_byte(red), to_byte(green), to_byte(blue)];
        }
    }
    out
}

/// One output row from the input rows under its taps: whole rows at a time, so that the inner loop runs over
/// neighbouring bytes.
fn vertical_pass(rows: &[u8], row: usize, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0_u8; row * taps.starts.len()];
    let mut sums = vec![0_i32; row];
    for ((start, weights), output) in taps.iter().zip(out.chunks_exact_mut(row)) {
        sums.fill(HALF);
        let inputs = rows.get(start * row..).unwrap_or_default();
        for (input, &weight) in inputs.chunks_exact(row).zip(weights) {
            for (sum, &byte) in sums.iter_mut().zip(input) {
                *sum += i32::from(byte) * weight;
            }
        }
        for (byte, &sum) in output.iter_mut().zip(sums.iter()) {
            *byte = to_byte(sum);
        }
    }
    out
}

impl Frame {
    /// The frame in another size, by [`resize_rgb`].
    ///
    /// # Errors
    /// As [`resize_rgb`].
    pub fn resized(&self, width: u32, height: u32) -> Result<Self> {
        let rgb: Arc<[u8]> = if (width, height) == (self.width, self.height) {
            Arc::clone(&self.rgb)
        } else {
            resize_rgb(&self.rgb, self.width, self.height, width, height)?.into()
        };
        Ok(Self { width, height, pts_seconds: self.pts_seconds, rgb })
    }
}
