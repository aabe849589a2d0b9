//! Resizing, byte for byte what Pillow's `Image.resize(size, BICUBIC)` and `BILINEAR` give for 8-bit RGB.
//!
//! The rules, so that another implementation (a GPU kernel) can be checked against them:
//!
//! - The kernel is Keys' cubic with `a = -1/2`, support 2; or the triangle `1 - |x|`, support 1. When shrinking by a
//!   factor `s > 1` the kernel is stretched by `s`.
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
//! levels; frames of 1280x720 brought to 398x224 or 682x384 (or both turned) are not among them.

use serde::{Deserialize, Serialize};

use super::{Frame, wide};
use crate::error::{Error, Result};

/// Bits after the point in a weight: 32, less 8 for the pixel, less 2 for sign and overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half a unit, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Longest edge that is accepted, in pixels, on either side.
const MAX_EDGE: u32 = 1 << 16;

/// How a picture is brought to another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// Keys' cubic, Pillow's `BICUBIC`.
    #[default]
    Bicubic,
    /// The triangle, Pillow's `BILINEAR`.
    Bilinear,
}

impl Resample {
    /// How far the kernel reaches, in input samples at scale 1.
    const fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    /// The kernel.
    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }
}

/// The taps of every output sample along one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First input sample of each output sample.
    starts: Vec<usize>,
    /// Weights of each output sample, `width` apart, of which the first `counts[i]` matter.
    weights: Vec<i32>,
    counts: Vec<usize>,
    width: usize,
}

impl Taps {
    /// The same for another implementation, which is to compute no weight of its own. Equal sizes give taps that
    /// leave every byte as it is.
    ///
    /// # Errors
    /// [`Error::Usage`] where an edge is 0 or above 65536.
    pub fn between(input: u32, output: u32, resample: Resample) -> Result<Self> {
        check_edges("taps", &[input, output])?;
        if input == output {
            return Ok(Self {
                starts: (0..input as usize).collect(),
                weights: vec![1 << PRECISION_BITS; input as usize],
                counts: vec![1; input as usize],
                width: 1,
            });
        }
        Ok(Self::new(input, output, resample))
    }

    /// First input sample of each output sample.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// How many input samples each output sample takes.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The weights of every output sample, [`width`](Self::width) apart, of which its count matter.
    pub fn weights(&self) -> &[i32] {
        &self.weights
    }

    /// Weights from one output sample to the next.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// The weights that take `input` samples to `output` samples.
    pub(super) fn new(input: u32, output: u32, resample: Resample) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let stretch = scale.max(1.0);
        let support = resample.support() * stretch;
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
                *weight = resample.weight((x as f64 + f64::from(start) - centre + 0.5) * inverse);
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

/// Resizes packed RGB bytes `[height, width, 3]` to `[to_height, to_width, 3]`, bicubic.
///
/// # Errors
/// As [`resample_rgb`].
pub fn resize_rgb(rgb: &[u8], width: u32, height: u32, to_width: u32, to_height: u32) -> Result<Vec<u8>> {
    resample_rgb(rgb, width, height, to_width, to_height, Resample::Bicubic)
}

/// Resizes packed RGB bytes `[height, width, 3]` to `[to_height, to_width, 3]`.
///
/// # Errors
/// [`Error::Usage`] where an edge is 0 or above 65536, or `rgb` has another length than the size says.
pub fn resample_rgb(
    rgb: &[u8],
    width: u32,
    height: u32,
    to_width: u32,
    to_height: u32,
    resample: Resample,
) -> Result<Vec<u8>> {
    check_edges(
        &format!("resize {width}x{height} to {to_width}x{to_height}"),
        &[width, height, to_width, to_height],
    )?;
    if rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(Error::usage(
            format!("resize of {} bytes", rgb.len()),
            format!("a {width}x{height} RGB picture is expected"),
        ));
    }
    let (row_in, row_out) = (width as usize * 3, to_width as usize * 3);
    let across =
        |rows: &[u8]| wide::horizontal_pass(rows, row_in, row_out, &Taps::new(width, to_width, resample));
    let down =
        |rows: &[u8], row: usize| wide::vertical_pass(rows, row, &Taps::new(height, to_height, resample));
    Ok(match (width != to_width, height != to_height) {
        (false, false) => rgb.to_vec(),
        (true, false) => across(rgb),
        (false, true) => down(rgb, row_in),
        (true, true) if vertical_first(width, height, to_height) => across(&down(rgb, row_in)),
        (true, true) => down(&across(rgb), row_out),
    })
}

fn check_edges(what: &str, edges: &[u32]) -> Result<()> {
    if edges.iter().any(|&edge| edge == 0 || edge > MAX_EDGE) {
        return Err(Error::usage(what, format!("edges from 1 to {MAX_EDGE} are expected")));
    }
    Ok(())
}

/// Pillow's exception: pictures more than 100 times as high as wide that become lower.
const fn vertical_first(width: u32, height: u32, to_height: u32) -> bool {
    height > width.saturating_mul(100) && to_height < height
}

/// Rows and columns of the cells in which rows are turned into columns and back.
const CELL: usize = 16;

/// Rows that the horizontal pass takes at once. Enough to fill wide registers many times over; the block that holds
/// them is 370 KB for 1280 columns.
const LANES: usize = 6 * CELL;

/// One output row per input row.
///
/// The rows of a block lie side by side while they are summed, so that the inner loop runs over neighbouring bytes
/// of one column and one weight.
#[inline(always)]
pub(super) fn horizontal_pass(rgb: &[u8], row_in: usize, row_out: usize, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0_u8; rgb.len() / row_in.max(1) * row_out];
    let mut block = vec![0_u8; row_in.next_multiple_of(CELL) * LANES];
    let mut summed = vec![0_u8; row_out.next_multiple_of(CELL) * LANES];
    let mut sums = vec![0_i32; LANES];
    for (input, output) in rgb.chunks(row_in * LANES).zip(out.chunks_mut(row_out * LANES)) {
        for (i, rows) in input.chunks(row_in * CELL).enumerate() {
            rows_to_columns(rows, row_in, &mut block, i * CELL);
        }
        let channels = summed.chunks_exact_mut(LANES * 3);
        for ((start, weights), pixel) in taps.iter().zip(channels) {
            for (channel, column) in pixel.chunks_exact_mut(LANES).enumerate() {
                let columns = block.chunks_exact(LANES).skip(start * 3 + channel).step_by(3);
                weighted_sum(columns.zip(weights), &mut sums, column);
            }
        }
        for (i, rows) in output.chunks_mut(row_out * CELL).enumerate() {
            columns_to_rows(&summed, i * CELL, rows, row_out);
        }
    }
    out
}

/// One output row from the input rows under its taps.
#[inline(always)]
pub(super) fn vertical_pass(rows: &[u8], row: usize, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0_u8; row * taps.starts.len()];
    let mut sums = vec![0_i32; row];
    for ((start, weights), output) in taps.iter().zip(out.chunks_exact_mut(row)) {
        weighted_sum(rows.chunks_exact(row).skip(start).zip(weights), &mut sums, output);
    }
    out
}

/// The bytes that lines of bytes give with a weight for each. All have the length of `sums`, which the compiler must not
/// know: it would then vectorise over the weights, whose bytes are not neighbours.
#[inline(always)]
fn weighted_sum<'a>(lines: impl Iterator<Item = (&'a [u8], &'a i32)>, sums: &mut [i32], output: &mut [u8]) {
    sums.fill(HALF);
    for (line, &weight) in lines {
        for (sum, &byte) in sums.iter_mut().zip(line) {
            *sum += i32::from(byte) * weight;
        }
    }
    for (byte, &sum) in output.iter_mut().zip(sums.iter()) {
        *byte = to_byte(sum);
    }
}

type Cell = [[u8; CELL]; CELL];

/// Puts up to [`CELL`] rows into a block of columns, each [`LANES`] long, from row `lane` of the block on.
#[inline(always)]
fn rows_to_columns(rows: &[u8], row: usize, block: &mut [u8], lane: usize) {
    for (columns, first) in block.chunks_exact_mut(LANES * CELL).zip((0..row).step_by(CELL)) {
        let mut cell: Cell = [[0; CELL]; CELL];
        for (to, from) in cell.iter_mut().zip(rows.chunks_exact(row)) {
            copy(from.get(first..).unwrap_or_default(), to);
        }
        let cell = transposed(cell);
        for (column, from) in columns.chunks_exact_mut(LANES).zip(&cell) {
            copy(from, column.get_mut(lane..).unwrap_or_default());
        }
    }
}

/// The way back, for as many rows as `rows` has room for.
#[inline(always)]
fn columns_to_rows(block: &[u8], lane: usize, rows: &mut [u8], row: usize) {
    for (columns, first) in block.chunks_exact(LANES * CELL).zip((0..row).step_by(CELL)) {
        let mut cell: Cell = [[0; CELL]; CELL];
        for (to, column) in cell.iter_mut().zip(columns.chunks_exact(LANES)) {
            copy(column.get(lane..).unwrap_or_default(), to);
        }
        for (to, from) in rows.chunks_exact_mut(row).zip(&transposed(cell)) {
            copy(from, to.get_mut(first..).unwrap_or_default());
        }
    }
}

/// Copies what both have room for; a whole line of a cell in one piece.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match (from.first_chunk::<CELL>(), to.first_chunk_mut::<CELL>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
    }
}

/// Rows become columns, by interleaving the upper half of the rows with the lower one as often as it takes.
#[inline(always)]
fn transposed(mut cell: Cell) -> Cell {
    for _ in 0..CELL.ilog2() {
        let mut next: Cell = [[0; CELL]; CELL];
        let (upper, lower) = cell.split_at(CELL / 2);
        for ((pair, a), b) in next.as_chunks_mut::<2>().0.iter_mut().zip(upper).zip(lower) {
            for ((pair, a), b) in pair.as_flattened_mut().as_chunks_mut::<2>().0.iter_mut().zip(a).zip(b) {
                *pair = [*a, *b];
            }
        }
        cell = next;
    }
    cell
}

impl Frame {
    /// The frame in another size, by [`resize_rgb`].
    ///
    /// # Errors
    /// As [`resize_rgb`].
    pub fn resized(&self, width: u32, height: u32) -> Result<Self> {
        let rgb = if (width, height) == (self.width, self.height) {
            self.rgb.clone()
        } else {
            resize_rgb(&self.rgb, self.width, self.height, width, height)?.into()
        };
        Ok(Self { width, height, pts_seconds: self.pts_seconds, rgb })
    }
}
