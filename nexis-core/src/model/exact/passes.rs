//! Sweeps over matrices between the products (models/EXACT.md, 3).

use super::arithmetic::{Activation, LaneSum, exp};
use super::operand::Operand;
use super::slabs::{Run, SLAB, Slabs};

/// Mean of a row, and one by its deviation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    mean: f32,
    factor: f32,
}

/// Weights of a layer normalisation.
#[derive(Clone, Copy)]
pub(crate) struct NormWeights<'a> {
    pub(crate) weight: &'a [Run<f32>],
    pub(crate) bias: &'a [Run<f32>],
    pub(crate) eps: f32,
}

/// Rows whose sums are computed side by side, since each of them waits for one addition after another.
const ABREAST: usize = 4;

/// Layer normalisation of each row: `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[inline(always)]
pub(super) fn layer_norm<T: Operand>(
    x: &Slabs<f32>,
    norm: NormWeights<'_>,
    moments: &mut Vec<Moments>,
    out: &mut Slabs<T>,
) {
    let (rows, columns) = (x.rows(), x.columns());
    moments.clear();
    moments.resize(rows, Moments::default());
    for (block, moments) in moments.chunks_mut(ABREAST).enumerate() {
        let mut sums = [LaneSum::default(); ABREAST];
        let width = columns as f32;
        sums_of_rows(x, block * ABREAST, &mut sums, |_, x| x);
        for (moments, sum) in moments.iter_mut().zip(&sums) {
            moments.mean = sum.total() / width;
        }
        let mut means = [0.0; ABREAST];
        means.iter_mut().zip(moments.iter()).for_each(|(mean, moments)| *mean = moments.mean);
        sums = [LaneSum::default(); ABREAST];
        sums_of_rows(x, block * ABREAST, &mut sums, |row, x| {
            let mean = means.get(row).copied().unwrap_or_default();
            (x - mean) * (x - mean)
        });
        for (moments, sum) in moments.iter_mut().zip(&sums) {
            moments.factor = 1.0 / (sum.total() / width + norm.eps).sqrt();
        }
    }
    out.shape(rows, columns);
    let weights = norm.weight.iter().zip(norm.bias);
    let slabs = x.runs().chunks_exact(rows.max(1)).zip(out.runs_mut().chunks_exact_mut(rows.max(1)));
    for ((x, out), (weight, bias)) in slabs.zip(weights) {
        for ((x, out), Moments { mean, factor }) in x.iter().zip(out).zip(moments.iter()) {
            for (((out, x), w), b) in out.0.iter_mut().zip(&x.0).zip(&weight.0).zip(&bias.0) {
                *out = T::rounded((x - mean) * factor * w + b);
            }
        }
    }
}

/// Adds `f(i, x)` of row `first + i` to sum `i`.
#[inline(always)]
fn sums_of_rows(x: &Slabs<f32>, first: usize, sums: &mut [LaneSum; ABREAST], f: impl Fn(usize, f32) -> f32) {
    for (slab, runs) in x.runs().chunks_exact(x.rows().max(1)).enumerate() {
        let runs = runs.get(first..).unwrap_or_default();
        let columns = x.columns() - slab * SLAB;
        if let Some(runs) = runs.first_chunk::<ABREAST>()
            && columns >= SLAB
        {
            for (row, (run, sum)) in runs.iter().zip(sums.iter_mut()).enumerate() {
                sum.add(&run.0, |x| f(row, x));
            }
        } else {
            for (row, (run, sum)) in runs.iter().zip(sums.iter_mut()).enumerate() {
                sum.add(run.0.get(..columns.min(SLAB)).unwrap_or_default(), |x| f(row, x));
            }
        }
    }
}

/// Softmax of `scale * x` over the first `seen(row)` values of each row, in place; the others become zero.
#[inline(always)]
pub(super) fn softmax(x: &mut Slabs<f32>, seen: impl Fn(usize) -> usize, scale: f32) {
    for row in 0..x.rows() {
        let seen = seen(row);
        let mut lanes = [f32::NEG_INFINITY; SLAB];
        for (slab, run) in x.row_mut(row).enumerate() {
            hide(run, seen, slab, f32::NEG_INFINITY);
            for (most, x) in lanes.iter_mut().zip(&run.0) {
                *most = if *x > *most { *x } else { *most };
            }
        }
        let most = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = LaneSum::default();
        for (slab, run) in x.row_mut(row).enumerate() {
            run.0.iter_mut().for_each(|x| *x = exp((*x - most) * scale));
            // Zeros change no sum that is not below zero.
            hide(run, seen, slab, 0.0);
            sum.add(&run.0, |x| x);
        }
        let factor = 1.0 / sum.total();
        for run in x.row_mut(row) {
            run.0.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

/// Overwrites what lies beyond the first `seen` values of a row, in the run of one slab.
#[inline(always)]
fn hide(run: &mut Run<f32>, seen: usize, slab: usize, with: f32) {
    if let Some(hidden) = run.0.get_mut(seen.saturating_sub(slab * SLAB).min(SLAB)..) {
        hidden.fill(with);
    }
}

/// The means of the columns: each one sum from zero, row after row.
pub(super) fn column_means(x: &Slabs<f32>) -> Vec<f32> {
    let rows = x.rows();
    let mut means = Vec::with_capacity(x.columns());
    for slab in x.runs().chunks_exact(rows.max(1)) {
        let mut sums = Run::<f32>::default();
        for run in slab {
            sums.0.iter_mut().zip(&run.0).for_each(|(sum, x)| *sum += x);
        }
        means.extend(sums.0.map(|sum| sum / rows as f32));
    }
    means.truncate(x.columns());
    means
}

/// Multiplies each column with its gate, and activates what comes out.
#[inline(always)]
pub(super) fn gate<T: Operand>(x: &Slabs<f32>, gates: &[Run<f32>], out: &mut Slabs<T>) {
    let rows = x.rows();
    out.shape(rows, x.columns());
    let slabs = x.runs().chunks_exact(rows.max(1)).zip(out.runs_mut().chunks_exact_mut(rows.max(1)));
    for ((x, out), gate) in slabs.zip(gates) {
        for (x, out) in x.iter().zip(out) {
            for ((out, x), gate) in out.0.iter_mut().zip(&x.0).zip(&gate.0) {
                *out = T::rounded(Activation::Gelu.of(x * gate));
            }
        }
    }
}
