//! The same arithmetic, compiled for several instruction sets and chosen when the program runs.

#![allow(unsafe_code)]

use std::mem::transmute;

use super::convolution::{self, ABREAST, Outputs, Plane};
use super::operand::{Bf16, Operand};
use super::passes::{self, Moments, NormWeights};
use super::product::{self, Product, Sums, Then, Tile};
use super::slabs::{Run, SLAB, Slabs};

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
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// The sums of a tile of `R` rows, `$columns` columns at a time, in `$count` registers each; and those of a convolution.
///
/// Left to itself the compiler may give up registers for them, and then takes ten times as long.
macro_rules! tile {
    ($columns:literal as $count:literal $register:ty, $splat:path, $fma:path $(, $features:literal)?) => {
        #[inline(never)]
        #[allow(clippy::useless_transmute)] // where a register is a number
        $(#[target_feature(enable = $features)])?
        fn tile<const R: usize>(tile: Tile<'_, f32>, sums: &mut Sums) {
            for part in 0..SLAB / $columns {
                let load = |run: &Run<f32>| -> [$register; $count] {
                    let values = run.0.as_chunks::<$columns>().0.get(part).unwrap_or(&[0.0; $columns]);
                    // SAFETY: any bits are numbers of both types, whose sizes are equal, or it would not compile.
                    unsafe { transmute::<[f32; $columns], [$register; $count]>(*values) }
                };
                let mut kept = [load(tile.start); R];
                for (slab, steps) in tile.right.chunks(SLAB).enumerate() {
                    let left = tile.left.get(slab * tile.stride..).unwrap_or_default();
                    let Some(rows) = left.first_chunk::<R>() else { continue };
                    for (k, step) in steps.iter().enumerate() {
                        let step = load(step);
                        for (kept, row) in kept.iter_mut().zip(rows) {
                            let Some(x) = row.0.get(k) else { continue };
                            let x = $splat(*x);
                            for (sum, w) in kept.iter_mut().zip(step) {
                                *sum = $fma(x, w, *sum);
                            }
                        }
                    }
                }
                for (sums, kept) in sums.iter_mut().zip(kept) {
                    if let Some(to) = sums.0.as_chunks_mut::<$columns>().0.get_mut(part) {
                        // SAFETY: as above.
                        *to = unsafe { transmute::<[$register; $count], [f32; $columns]>(kept) };
                    }
                }
            }
        }

        /// The chains of `R` places of a plane that lie side by side.
        #[inline(never)]
        #[allow(clippy::useless_transmute)] // where a register is a number
        $(#[target_feature(enable = $features)])?
        fn places<const R: usize>(plane: Plane<'_>, first: usize, outputs: &mut Outputs) {
            for part in 0..SLAB / $columns {
                let load = |run: &Run<f32>| -> [$register; $count] {
                    let values = run.0.as_chunks::<$columns>().0.get(part).unwrap_or(&[0.0; $columns]);
                    // SAFETY: as above.
                    unsafe { transmute::<[f32; $columns], [$register; $count]>(*values) }
                };
                let mut kept = [load(plane.start); R];
                for (y, taps) in plane.taps.chunks_exact(plane.kernel.max(1)).enumerate() {
                    let line = plane.input.get(first + y * plane.width..).unwrap_or_default();
                    for (x, tap) in taps.iter().enumerate() {
                        let tap = load(tap);
                        for (place, kept) in kept.iter_mut().enumerate() {
                            let Some(run) = line.get(x + place * plane.stride) else { continue };
                            for ((sum, x), w) in kept.iter_mut().zip(load(run)).zip(tap) {
                                *sum = $fma(x, w, *sum);
                            }
                        }
                    }
                }
                for (outputs, kept) in outputs.iter_mut().zip(kept) {
                    if let Some(to) = outputs.0.as_chunks_mut::<$columns>().0.get_mut(part) {
                        // SAFETY: as above.
                        *to = unsafe { transmute::<[$register; $count], [f32; $columns]>(kept) };
                    }
                }
            }
        }
    };
}

/// One set's copies of the passes: the functions of `passes`, `product` and `convolution`, inlined whole around its `tile`
/// and `places`.
macro_rules! compile_for {
    ($most:literal rows: $($rows:literal)* $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        pub(super) fn product<U: Operand>(product: Product<'_, f32>, out: &mut [Run<U>]) {
            let tile_sums = |rows: usize, of: Tile<'_, f32>, sums: &mut Sums| match rows {
                $($rows => tile::<$rows>(of, sums),)*
                _ => tile::<$most>(of, sums),
            };
            product::product($most, tile_sums, product, out);
        }

        $(#[target_feature(enable = $features)])?
        pub(super) fn depthwise<U: Operand>(plane: Plane<'_>, edge: usize, then: Then, out: &mut [Run<U>]) {
            let sums = |count: usize, plane: Plane<'_>, first: usize, to: &mut Outputs| match count {
                1 => places::<1>(plane, first, to),
                2 => places::<2>(plane, first, to),
                3 => places::<3>(plane, first, to),
                _ => places::<ABREAST>(plane, first, to),
            };
            convolution::depthwise(sums, plane, edge, then, out);
        }

        $(#[target_feature(enable = $features)])?
        pub(super) fn gate<U: Operand>(x: &Slabs<f32>, gates: &[Run<f32>], out: &mut Slabs<U>) {
            passes::gate(x, gates, out);
        }

        $(#[target_feature(enable = $features)])?
        pub(super) fn layer_norm<T: Operand>(
            x: &Slabs<f32>,
            norm: NormWeights<'_>,
            moments: &mut Vec<Moments>,
            out: &mut Slabs<T>,
        ) {
            passes::layer_norm(x, norm, moments, out);
        }

        $(#[target_feature(enable = $features)])?
        pub(super) fn softmax(x: &mut Slabs<f32>, causal: bool, scale: f32) {
            let columns = x.columns();
            passes::softmax(x, |row| if causal { row + 1 } else { columns }, scale);
        }
    };
}

// Tiles have as many sums as fit into the registers beside one row of a slab: 24 of 32, 12 of 16, 24 of 32.

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_set1_ps};

    use super::*;

    tile!(32 as 2 __m512, _mm512_set1_ps, _mm512_fmadd_ps, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
    compile_for!(12 rows: 1 2 3 4 5 6 7 8 9 10 11, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps};

    use super::*;

    tile!(16 as 2 __m256, _mm256_set1_ps, _mm256_fmadd_ps, "avx2,fma");
    compile_for!(6 rows: 1 2 3 4 5, "avx2,fma");
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{float32x4_t, vdupq_n_f32, vfmaq_f32};

    use super::*;

    #[inline]
    #[target_feature(enable = "neon")]
    fn fma(x: float32x4_t, w: float32x4_t, sum: float32x4_t) -> float32x4_t {
        vfmaq_f32(sum, x, w)
    }

    tile!(16 as 4 float32x4_t, vdupq_n_f32, fma, "neon");
    compile_for!(6 rows: 1 2 3 4 5, "neon");
}

/// What every processor has, in plain Rust: the same arithmetic without vectors.
mod baseline {
    use super::*;

    tile!(16 as 16 f32, std::convert::identity, f32::mul_add);
    compile_for!(4 rows: 1 2 3);
}

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
            // SAFETY: `Set::Neon` is only made where the processor was found to have NEON.
            #[cfg(target_arch = "aarch64")]
            Set::Neon => unsafe { neon::$function($($argument),*) },
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
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            sets.push(Set::Neon);
        }
        sets.into_iter().map(Self).collect()
    }

    /// Its name: `baseline`, `avx2`, `avx512` or `neon`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
        }
    }

    /// See [`product::product`].
    pub(super) fn product<U: Operand>(self, product: Product<'_, f32>, out: &mut [Run<U>]) {
        dispatch!(self.0, product(product, out));
    }

    /// See [`convolution::depthwise`].
    pub(super) fn depthwise<U: Operand>(self, plane: Plane<'_>, edge: usize, then: Then, out: &mut [Run<U>]) {
        dispatch!(self.0, depthwise(plane, edge, then, out));
    }

    /// See [`passes::gate`].
    pub(super) fn gate<U: Operand>(self, x: &Slabs<f32>, gates: &[Run<f32>], out: &mut Slabs<U>) {
        dispatch!(self.0, gate(x, gates, out));
    }

    /// See [`passes::layer_norm`].
    pub(super) fn layer_norm<T: Operand>(
        self,
        x: &Slabs<f32>,
        norm: NormWeights<'_>,
        moments: &mut Vec<Moments>,
        out: &mut Slabs<T>,
    ) {
        dispatch!(self.0, layer_norm(x, norm, moments, out));
    }

    /// See [`passes::softmax`]. Where `causal`, a row sees itself and the rows before it.
    pub(super) fn softmax(self, x: &mut Slabs<f32>, causal: bool, scale: f32) {
        dispatch!(self.0, softmax(x, causal, scale));
    }
}

/// Instructions that multiply pairs of bfloat16 and add them up in `f32`: AVX512-BF16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bf16Instructions(#[allow(dead_code)] Found);

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found;

/// There are none that are made use of.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {}

impl Bf16Instructions {
    /// Where this processor has them.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if InstructionSet::available().contains(&InstructionSet(Set::Avx512))
            && is_x86_feature_detected!("avx512bf16")
        {
            return Some(Self(Found));
        }
        None
    }

    /// See [`product::product`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn product<U: Operand>(self, product: Product<'_, Bf16>, out: &mut [Run<U>]) {
        // SAFETY: `Found` is only made where the processor was found to have all that `bf16` names.
        unsafe { bf16::product(product, out) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn product<U: Operand>(self, _: Product<'_, Bf16>, _: &mut [Run<U>]) {
        match self.0 {}
    }
}

impl From<Bf16Instructions> for InstructionSet {
    #[cfg(target_arch = "x86_64")]
    fn from(_: Bf16Instructions) -> Self {
        Self(Set::Avx512)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn from(instructions: Bf16Instructions) -> Self {
        match instructions.0 {}
    }
}

#[cfg(target_arch = "x86_64")]
mod bf16 {
    use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32};

    use super::*;

    /// The chains of `R` rows: each takes up two products at a time.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    fn tile<const R: usize>(tile: Tile<'_, Bf16>, sums: &mut Sums) {
        // SAFETY: each of the two reads or writes the 32 numbers of a run, of which each half fills a register.
        let load = |run: &Run<f32>| unsafe { transmute::<Run<f32>, [__m512; 2]>(*run) };
        let mut kept = [load(tile.start); R];
        for (slab, steps) in tile.right.chunks(SLAB / 2).enumerate() {
            let left = tile.left.get(slab * tile.stride..).unwrap_or_default();
            let Some(rows) = left.first_chunk::<R>() else { continue };
            for (k, step) in steps.iter().enumerate() {
                // SAFETY: any bits are numbers of these types, and the sizes are equal, or it would not compile.
                let step = unsafe { transmute::<Run<[Bf16; 2]>, [__m512bh; 2]>(*step) };
                for (kept, row) in kept.iter_mut().zip(rows) {
                    // SAFETY: as before.
                    let pairs = unsafe { transmute::<&Run<Bf16>, &[i32; SLAB / 2]>(row) };
                    let Some(pair) = pairs.get(k) else { continue };
                    // SAFETY: as before.
                    let x = unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*pair)) };
                    for (sum, w) in kept.iter_mut().zip(step) {
                        *sum = _mm512_dpbf16_ps(*sum, x, w);
                    }
                }
            }
        }
        for (sums, kept) in sums.iter_mut().zip(kept) {
            // SAFETY: as before.
            *sums = unsafe { transmute::<[__m512; 2], Run<f32>>(kept) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub(super) fn product<U: Operand>(product: Product<'_, Bf16>, out: &mut [Run<U>]) {
        let tile_sums = |rows: usize, of: Tile<'_, Bf16>, sums: &mut Sums| match rows {
            1 => tile::<1>(of, sums),
            2 => tile::<2>(of, sums),
            3 => tile::<3>(of, sums),
            4 => tile::<4>(of, sums),
            5 => tile::<5>(of, sums),
            6 => tile::<6>(of, sums),
            7 => tile::<7>(of, sums),
            8 => tile::<8>(of, sums),
            9 => tile::<9>(of, sums),
            10 => tile::<10>(of, sums),
            11 => tile::<11>(of, sums),
            _ => tile::<12>(of, sums),
        };
        product::product(12, tile_sums, product, out);
    }
}
