//! The same arithmetic, compiled for several instruction sets and chosen when the program runs.

#![allow(unsafe_code)]

use super::passes;
use super::product::{self, PANEL, Product, Sums, TileBuffer};

/// Instructions that the forward pass may use. They change how long it takes and not one bit of what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionSet(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// One set's copies of the passes: the functions of `passes` and `product`, inlined whole.
macro_rules! compile_for {
    (@tile $name:ident $m:literal $rows:literal $columns:literal $($features:literal)?) => {
        // The compiler keeps the sums in registers only where it sees nothing else.
        #[inline(never)]
        $(#[target_feature(enable = $features)])?
        fn $name(tile: &[[f32; $m]], panel: &[[f32; PANEL]], start: &[f32; PANEL], sums: &mut Sums) {
            product::blocks::<$m, $rows, $columns>(tile, panel, start, sums);
        }
    };
    ($name:ident, rows $rows:literal, columns $columns:literal $(, $features:literal)?) => {
        mod $name {
            use super::*;

            compile_for!(@tile tile12 12 $rows $columns $($features)?);
            compile_for!(@tile tile8 8 4 $columns $($features)?);
            compile_for!(@tile tile6 6 6 $columns $($features)?);
            compile_for!(@tile tile4 4 4 $columns $($features)?);
            compile_for!(@tile tile2 2 2 $columns $($features)?);
            compile_for!(@tile tile1 1 1 $columns $($features)?);

            $(#[target_feature(enable = $features)])?
            pub(super) fn product(product: Product<'_>, buffer: &mut TileBuffer, out: &mut [f32], out_stride: usize) {
                let tile_sums = |rows: usize, tile: &[f32], panel: &[[f32; PANEL]], start: &[f32; PANEL], sums: &mut Sums| {
                    match rows {
                        12 => tile12(tile.as_chunks().0, panel, start, sums),
                        8 => tile8(tile.as_chunks().0, panel, start, sums),
                        6 => tile6(tile.as_chunks().0, panel, start, sums),
                        4 => tile4(tile.as_chunks().0, panel, start, sums),
                        2 => tile2(tile.as_chunks().0, panel, start, sums),
                        _ => tile1(tile.as_chunks().0, panel, start, sums),
                    }
                };
                product::product(tile_sums, product, buffer, out, out_stride);
            }

            $(#[target_feature(enable = $features)])?
            pub(super) fn layer_norm(row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
                passes::layer_norm_row(row, weight, bias, eps, out);
            }

            $(#[target_feature(enable = $features)])?
            pub(super) fn softmax(row: &mut [f32], seen: usize, scale: f32) {
                passes::softmax_row(row, seen, scale);
            }
        }
    };
}

// As many sums as fit into the registers beside one row of a panel: 24 of 32, 12 of 16; NEON has 32 of 4 numbers.
#[cfg(target_arch = "x86_64")]
compile_for!(avx512, rows 12, columns 32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2, rows 6, columns 16, "avx2,fma");
compile_for!(baseline, rows 4, columns 16);

macro_rules! dispatch {
    ($set:expr, $function:ident ( $($argument:expr),* )) => {
        match $set {
            Set::Baseline => baseline::$function($($argument),*),
            // SAFETY: `Set::Avx2` is only made where the processor was found to have AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::$function($($argument),*) },
            // SAFETY: `Set::Avx512` is only made where the processor was found to have all that is named above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::$function($($argument),*) },
        }
    };
}

impl InstructionSet {
    /// The fastest that this processor has.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self(Set::Baseline))
    }

    /// All that this processor has, the fastest last.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Set::Baseline];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.push(Set::Avx2);
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if has_avx512 {
                sets.push(Set::Avx512);
            }
        }
        sets.into_iter().map(Self).collect()
    }

    /// Its name: `baseline`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    /// See [`product::product`].
    pub(super) fn product(
        self,
        product: Product<'_>,
        buffer: &mut TileBuffer,
        out: &mut [f32],
        out_stride: usize,
    ) {
        dispatch!(self.0, product(product, buffer, out, out_stride));
    }

    /// See [`passes::layer_norm_row`].
    pub(super) fn layer_norm(self, row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        dispatch!(self.0, layer_norm(row, weight, bias, eps, out));
    }

    /// See [`passes::softmax_row`].
    pub(super) fn softmax(self, row: &mut [f32], seen: usize, scale: f32) {
        dispatch!(self.0, softmax(row, seen, scale));
    }
}
