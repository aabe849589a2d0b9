//! Functions of one number and sums of a row (models/EXACT.md, 2). Arithmetic alone, without the system's
//! mathematics library, so that the bits are the same everywhere and the compiler can vectorise.
//!
//! Every `*`, `+`, `-`, `/` and `sqrt` here is one correctly rounded operation; nothing is fused.

/// Partial sums kept side by side: a fixed order of addition that the compiler can vectorise.
const LANES: usize = 8;

/// The activation between the two halves of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`, which is `x * sigmoid` of twice that argument.
    GeluTanh,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Self::QuickGelu => x / (1.0 + exp(-1.702 * x)),
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            // 2 sqrt(2 / pi)
            Self::GeluTanh => x / (1.0 + exp(-1.595_769 * (x + 0.044_715 * x * x * x))),
        }
    }
}

/// `e^x` to about one unit in the last place; saturates outside `-87..=88`, keeps NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has trailing zeros, so that its product with a small integer is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor's polynomial: |r| <= 0.35, so the first term left out is below 6e-9.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// `x` where it is not below zero.
pub(super) fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `1 / (1 + e^-x)`.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function within 6e-7 in f32 arithmetic (Abramowitz and Stegun, formula 7.1.26).
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4_f32;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

/// A sum of a row: value `i` goes to partial sum `i % 8`, and those are added from the first to the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneSum([f32; LANES]);

impl LaneSum {
    /// Adds `f` of the values that follow those before, whose number has to be a multiple of 8.
    #[inline(always)]
    pub(crate) fn add(&mut self, values: &[f32], f: impl Fn(f32) -> f32) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in self.0.iter_mut().zip(chunk) {
                *sum += f(*x);
            }
        }
        for (sum, x) in self.0.iter_mut().zip(rest) {
            *sum += f(*x);
        }
    }

    #[inline(always)]
    pub(crate) fn total(&self) -> f32 {
        let [first, others @ ..] = self.0;
        others.iter().fold(first, |sum, lane| sum + lane)
    }
}
