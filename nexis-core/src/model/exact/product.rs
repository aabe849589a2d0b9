//! Matrix products whose every element is one chain of fused multiply-adds (models/EXACT.md, 1).
//!
//! `y[m, n]` starts from `bias[n]`, or from zero, and takes up `fma(x[m, k], w[k, n], y)` for `k` from first to last.
//! Tiles, slabs and threads decide when an element is computed and never how, so an element depends on its own row and
//! column alone.

use rayon::prelude::*;

use super::arithmetic::Activation;
use super::operand::Operand;
use super::slabs::{Run, SLAB, Slabs};

/// Rows of the largest tile. With the columns of a slab, its sums fill 24 of the 32 widest registers.
pub(super) const TILE: usize = 12;

/// The right-hand matrix of products, `[depth, columns]`: slabs of 32 columns, the last filled up with zeros.
pub(crate) struct Factor<T: Operand> {
    depth: usize,
    columns: usize,
    steps: Vec<T::Step>,
}

impl<T: Operand> Factor<T> {
    /// From rows of outputs, `[columns, depth]`, as linear layers are stored.
    pub(crate) fn from_outputs(depth: usize, columns: usize, values: &[f32]) -> Self {
        let steps = depth.div_ceil(T::DEPTH);
        let mut all = vec![T::Step::default(); columns.div_ceil(SLAB) * steps];
        let slabs = values.par_chunks((SLAB * depth).max(1));
        all.par_chunks_mut(steps.max(1)).zip(slabs).for_each(|(slab, outputs)| {
            // A few steps of all columns at a time, so that both sides stay in the cache.
            for (block, steps) in slab.chunks_mut(SLAB).enumerate() {
                for (column, output) in outputs.chunks_exact(depth).enumerate() {
                    let values = output.iter().skip(block * SLAB * T::DEPTH);
                    for (k, value) in values.take(steps.len() * T::DEPTH).enumerate() {
                        if let Some(step) = steps.get_mut(k / T::DEPTH) {
                            T::set(step, k % T::DEPTH, column, *value);
                        }
                    }
                }
            }
        });
        Self { depth, columns, steps: all }
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn steps(&self) -> &[T::Step] {
        &self.steps
    }
}

/// What becomes of an element when its chain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is stored.
    Store,
    /// Its activation is stored.
    Activate(Activation),
    /// It is added to what is there.
    Add,
}

/// A product of `left`, whose columns are as many as `right` is deep.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, T: Operand> {
    pub(crate) left: &'a Slabs<T>,
    /// Slabs of the right-hand matrix, one after another.
    pub(crate) right: &'a [T::Step],
    /// What the elements of each slab start from: zero where it is empty.
    pub(crate) bias: &'a [Run<f32>],
    pub(crate) then: Then,
}

impl<T: Operand> Product<'_, T> {
    /// Steps of a slab of the right-hand matrix.
    fn steps(&self) -> usize {
        self.left.columns().div_ceil(T::DEPTH)
    }

    /// Computes it into `out`, which has a run for each row and slab, with as many threads as there are `parts`. They
    /// share out slabs.
    pub(crate) fn share<U: Operand>(self, set: T::Instructions, parts: usize, out: &mut [Run<U>]) {
        let slabs = out.len() / self.left.rows().max(1);
        if parts < 2 || slabs < 2 {
            return T::product(set, self, out);
        }
        let middle = slabs / 2;
        let (out, other_out) = out.split_at_mut(middle * self.left.rows());
        let (right, other_right) = self.right.split_at(middle * self.steps());
        let (bias, other_bias) = self.bias.split_at(middle.min(self.bias.len()));
        rayon::join(
            || Product { right, bias, ..self }.share(set, parts / 2, out),
            || {
                Product { right: other_right, bias: other_bias, ..self }.share(
                    set,
                    parts.div_ceil(2),
                    other_out,
                )
            },
        );
    }
}

/// Some rows of a left-hand matrix and one slab of a right-hand one.
pub(super) struct Tile<'a, T: Operand> {
    /// The left-hand matrix, from the tile's first row on.
    pub(super) left: &'a [Run<T>],
    /// Runs from one slab of it to the next.
    pub(super) stride: usize,
    pub(super) right: &'a [T::Step],
    pub(super) start: &'a Run<f32>,
}

/// The sums of one tile.
pub(super) type Sums = [Run<f32>; TILE];

/// Computes a product in tiles of at most `most` rows. `sums` computes those of one tile with a number of rows.
#[inline(always)]
pub(super) fn product<T: Operand, U: Operand>(
    most: usize,
    tile_sums: impl Fn(usize, Tile<'_, T>, &mut Sums),
    product: Product<'_, T>,
    out: &mut [Run<U>],
) {
    let (rows, steps) = (product.left.rows(), product.steps());
    if rows == 0 || steps == 0 {
        return;
    }
    // Shapes come from weights that were checked when they were read.
    debug_assert!(product.right.len() == out.len() / rows * steps);
    debug_assert!(product.bias.is_empty() || product.bias.len() == out.len() / rows);
    let zero = Run::default();
    let starts = product.bias.iter().chain(std::iter::repeat(&zero));
    let slabs = product.right.chunks_exact(steps).zip(starts).zip(out.chunks_exact_mut(rows));
    let tiles = rows.div_ceil(most);
    for ((right, start), out) in slabs {
        for i in 0..tiles {
            // As equal as can be: a tile of few rows takes up each step of the right for little.
            let (first, end) = (rows * i / tiles, rows * (i + 1) / tiles);
            let mut sums = Sums::default();
            let left = product.left.runs().get(first..).unwrap_or_default();
            tile_sums(end - first, Tile { left, stride: rows, right, start }, &mut sums);
            for (out, sums) in out.iter_mut().skip(first).take(end - first).zip(&sums) {
                finish(out, sums, product.then);
            }
        }
    }
}

/// What becomes of the chains of one run.
#[inline(always)]
pub(super) fn finish<U: Operand>(out: &mut Run<U>, sums: &Run<f32>, then: Then) {
    let pairs = out.0.iter_mut().zip(&sums.0);
    match then {
        Then::Store => pairs.for_each(|(out, sum)| *out = U::rounded(*sum)),
        // One loop for each, so that the choice is not made per number.
        Then::Activate(Activation::QuickGelu) => {
            pairs.for_each(|(out, sum)| *out = U::rounded(Activation::QuickGelu.of(*sum)));
        }
        Then::Activate(Activation::Gelu) => {
            pairs.for_each(|(out, sum)| *out = U::rounded(Activation::Gelu.of(*sum)));
        }
        Then::Activate(Activation::GeluTanh) => {
            pairs.for_each(|(out, sum)| *out = U::rounded(Activation::GeluTanh.of(*sum)));
        }
        Then::Add => pairs.for_each(|(out, sum)| *out = U::rounded(out.widened() + sum)),
    }
}
