//! Sweeps over a row between the products (models/EXACT.md, 3).

use super::arithmetic::{Activation, exp, lane_sum};

/// `x + bias`, then the activation if there is one, in place.
#[inline(always)]
pub(crate) fn add_bias(row: &mut [f32], bias: &[f32], activation: Option<Activation>) {
    let pairs = row.iter_mut().zip(bias);
    match activation {
        None => pairs.for_each(|(x, b)| *x += b),
        // One loop for each, so that the choice is not made per number.
        Some(Activation::QuickGelu) => pairs.for_each(|(x, b)| *x = Activation::QuickGelu.of(*x + b)),
        Some(Activation::Gelu) => pairs.for_each(|(x, b)| *x = Activation::Gelu.of(*x + b)),
    }
}

/// Layer normalisation of a row: `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[inline(always)]
pub(crate) fn layer_norm_row(row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = row.len() as f32;
    let mean = lane_sum(row, |x| x) / width;
    let variance = lane_sum(row, |x| (x - mean) * (x - mean)) / width;
    let factor = 1.0 / (variance + eps).sqrt();
    for (((out, x), w), b) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *out = (x - mean) * factor * w + b;
    }
}

/// Softmax of `scale * x` over the first `seen` values of a row, in place; the others become zero.
#[inline(always)]
pub(crate) fn softmax_row(row: &mut [f32], seen: usize, scale: f32) {
    let (row, hidden) = row.split_at_mut(seen.min(row.len()));
    hidden.fill(0.0);
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp((*x - most) * scale);
    }
    let factor = 1.0 / lane_sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= factor;
    }
}
