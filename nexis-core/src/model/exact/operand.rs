//! The numbers that products read.

use super::instructions::{Bf16Instructions, InstructionSet};
use super::product::Product;
use super::slabs::{Run, SLAB};

/// A number that products read; they add up in `f32` whatever it is.
pub(crate) trait Operand: Copy + Default + Send + Sync + 'static {
    /// Rows of one slab of a right-hand matrix that a product takes up in one step.
    type Step: Copy + Default + Send + Sync + 'static;
    /// How many rows a step has.
    const DEPTH: usize;
    /// Proof that the processor can multiply it.
    type Instructions: Copy + Send + Sync + Into<InstructionSet>;

    /// The nearest to `x`, ties to even.
    fn rounded(x: f32) -> Self;

    /// Its value.
    fn widened(self) -> f32;

    /// Sets one value of a step.
    fn set(step: &mut Self::Step, row: usize, column: usize, value: f32);

    /// Computes a product into `out`, which has a run for each row and slab.
    fn product<U: Operand>(set: Self::Instructions, product: Product<'_, Self>, out: &mut [Run<U>]);
}

impl Operand for f32 {
    type Step = Run<f32>;
    const DEPTH: usize = 1;
    type Instructions = InstructionSet;

    #[inline(always)]
    fn rounded(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }

    #[inline(always)]
    fn set(step: &mut Run<f32>, _: usize, column: usize, value: f32) {
        if let Some(to) = step.0.get_mut(column) {
            *to = value;
        }
    }

    fn product<U: Operand>(set: InstructionSet, product: Product<'_, f32>, out: &mut [Run<U>]) {
        set.product(product, out);
    }
}

/// A bfloat16: the upper half of an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

impl Operand for Bf16 {
    /// Values of two rows side by side, as the instruction for products of pairs reads them.
    type Step = Run<[Bf16; 2]>;
    const DEPTH: usize = 2;
    type Instructions = Bf16Instructions;

    #[inline(always)]
    fn rounded(x: f32) -> Self {
        let bits = x.to_bits();
        // A carry into the exponent is the right result: the next power of two, or infinity.
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // Rounding may carry a NaN into a number.
        let kept = if x.is_nan() { (bits >> 16) | 0x40 } else { rounded };
        Self(kept as u16)
    }

    #[inline(always)]
    fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn set(step: &mut Run<[Bf16; 2]>, row: usize, column: usize, value: f32) {
        if let Some(to) = step.0.get_mut(column).and_then(|pair| pair.get_mut(row)) {
            *to = Self::rounded(value);
        }
    }

    fn product<U: Operand>(set: Bf16Instructions, product: Product<'_, Bf16>, out: &mut [Run<U>]) {
        set.product(product, out);
    }
}

/// That a run of pairs is as long as the kernel reads.
const _: () = assert!(size_of::<Run<[Bf16; 2]>>() == 4 * SLAB);
