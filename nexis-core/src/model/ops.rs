//! Elementwise passes between the matrix products, each one sweep over memory.
//!
//! candle composes an activation or a normalisation from several tensors the size of its input; on a
//! CPU that takes as long as the products themselves. These are the same formulas as in-place candle
//! operations. The exponential is arithmetic alone, without the system's mathematics library, so that
//! it gives the same bits on every machine and vectorises.

use candle_core::{CpuStorage, CustomOp3, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Shape, bail};

/// Partial sums kept side by side: a fixed order of addition that the compiler can vectorise.
const LANES: usize = 8;

/// The activation between the two halves of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

/// `e^x` to about one unit in the last place; saturates outside `-87..=88`, keeps NaN.
#[inline]
fn exp(x: f32) -> f32 {
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

/// The error function within 6e-7 in f32 arithmetic (Abramowitz and Stegun, formula 7.1.26).
#[inline]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4_f32;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

#[inline]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[inline]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The sum of `f` over a row, in [`LANES`] partial sums.
#[inline]
fn lane_sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += f(*x);
        }
    }
    for (sum, x) in lanes.iter_mut().zip(rest) {
        *sum += f(*x);
    }
    lanes.iter().sum()
}

fn view<'a>(storage: &'a CpuStorage, layout: &Layout, name: &str) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("{name}: f32 is expected") };
    let Some(view) = layout.contiguous_offsets().and_then(|(from, to)| data.get(from..to)) else {
        bail!("{name}: a contiguous tensor is expected")
    };
    Ok(view)
}

fn view_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout, name: &str) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("{name}: f32 is expected") };
    let Some(view) = layout.contiguous_offsets().and_then(|(from, to)| data.get_mut(from..to)) else {
        bail!("{name}: a contiguous tensor is expected")
    };
    Ok(view)
}

/// Width of the last dimension, checked to fit a vector of weights.
fn width(rows: usize, weights: usize, name: &str) -> Result<usize> {
    if weights == 0 || !rows.is_multiple_of(weights) {
        bail!("{name}: {rows} values do not divide into rows of {weights}")
    }
    Ok(weights)
}

/// `x + bias`, then the activation if there is one, in place.
pub(super) struct AddBias(pub(super) Option<Activation>);

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "bias and activation"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let bias = view(s2, l2, self.name())?;
        let x = view_mut(s1, l1, self.name())?;
        let width = width(x.len(), bias.len(), self.name())?;
        for row in x.chunks_exact_mut(width) {
            let pairs = row.iter_mut().zip(bias);
            match self.0 {
                None => pairs.for_each(|(x, b)| *x += b),
                Some(Activation::QuickGelu) => pairs.for_each(|(x, b)| *x = quick_gelu(*x + b)),
                Some(Activation::Gelu) => pairs.for_each(|(x, b)| *x = gelu(*x + b)),
            }
        }
        Ok(())
    }
}

/// `residual + (x + bias)`, in place on `x`.
pub(super) struct AddBiasResidual;

impl InplaceOp3 for AddBiasResidual {
    fn name(&self) -> &'static str {
        "bias and residual"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let bias = view(s2, l2, self.name())?;
        let residual = view(s3, l3, self.name())?;
        let x = view_mut(s1, l1, self.name())?;
        let width = width(x.len(), bias.len(), self.name())?;
        if residual.len() != x.len() {
            bail!("{}: {} values onto {}", self.name(), residual.len(), x.len())
        }
        for (row, from) in x.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            for ((x, b), r) in row.iter_mut().zip(bias).zip(from) {
                *x = r + (*x + b);
            }
        }
        Ok(())
    }
}

/// Layer normalisation over the last dimension: `(x - mean) / sqrt(variance + eps) * weight + bias`.
pub(super) struct LayerNorm {
    pub(super) eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = view(s1, l1, self.name())?;
        let weight = view(s2, l2, self.name())?;
        let bias = view(s3, l3, self.name())?;
        let width = width(x.len(), weight.len(), self.name())?;
        if bias.len() != width {
            bail!("{}: {} biases for {width} weights", self.name(), bias.len())
        }
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(width) {
            let mean = lane_sum(row, |x| x) / width as f32;
            let variance = lane_sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let factor = 1.0 / (variance + self.eps).sqrt();
            let scaled = row.iter().zip(weight).zip(bias);
            out.extend(scaled.map(|((x, w), b)| (x - mean) * factor * w + b));
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

/// Softmax of `scale * x` over the last dimension, in place.
///
/// The tensor is `[.., queries, keys]`. Where `causal`, queries and keys are the same sequence and a
/// query sees itself and what is before it.
pub(super) struct Softmax {
    pub(super) scale: f32,
    pub(super) causal: bool,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let &[.., queries, keys] = layout.dims() else { bail!("softmax: two dimensions are expected") };
        if self.causal && queries != keys {
            bail!("softmax: {queries} queries for {keys} keys cannot be causal")
        }
        let x = view_mut(storage, layout, self.name())?;
        for (i, row) in x.chunks_exact_mut(keys.max(1)).enumerate() {
            let seen = if self.causal { i % queries.max(1) + 1 } else { keys };
            let (row, hidden) = row.split_at_mut(seen.min(keys));
            hidden.fill(0.0);
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for x in row.iter_mut() {
                *x = exp((*x - most) * self.scale);
            }
            let factor = 1.0 / lane_sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn exponential_is_within_two_units_of_the_last_place() {
        for i in -870_000..=880_000 {
            let x = i as f32 / 10_000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "{x}: {error}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn error_function_agrees_with_candle() {
        for i in -60_000..=60_000 {
            let x = i as f32 / 10_000.0;
            let expected = candle_core::cpu::erf::erf_f64(f64::from(x));
            assert!((f64::from(erf(x)) - expected).abs() < 6e-7, "{x}");
        }
    }

    #[test]
    fn fused_passes_agree_with_composed_ones() -> Result<()> {
        let x = Tensor::randn(0_f32, 2.0, (5, 5, 27), &Device::Cpu)?;
        let bias = Tensor::randn(0_f32, 1.0, 27, &Device::Cpu)?;
        let weight = Tensor::randn(0_f32, 1.0, 27, &Device::Cpu)?;
        let close = |a: &Tensor, b: &Tensor| -> Result<f32> {
            (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()
        };

        let fused = x.copy()?;
        fused.inplace_op2(&bias, &AddBias(Some(Activation::Gelu)))?;
        assert!(close(&fused, &x.broadcast_add(&bias)?.gelu_erf()?)? < 2e-6);

        let fused = x.copy()?;
        fused.inplace_op2(&bias, &AddBias(Some(Activation::QuickGelu)))?;
        let sum = x.broadcast_add(&bias)?;
        let sigmoid = ((sum.affine(-1.702, 0.0)?.exp()? + 1.0)?).recip()?;
        assert!(close(&fused, &(&sum * sigmoid)?)? < 2e-6);

        let fused = x.copy()?;
        fused.inplace_op3(&bias, &x.neg()?, &AddBiasResidual)?;
        assert!(close(&fused, &x.zeros_like()?.broadcast_add(&bias)?)? < 2e-6);

        let fused = x.apply_op3_no_bwd(&weight, &bias, &LayerNorm { eps: 1e-5 })?;
        let centred = x.broadcast_sub(&x.mean_keepdim(2)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(2)? + 1e-5)?.sqrt()?;
        let expected = centred.broadcast_div(&deviation)?.broadcast_mul(&weight)?.broadcast_add(&bias)?;
        assert!(close(&fused, &expected)? < 2e-5);

        let fused = x.copy()?;
        fused.inplace_op1(&Softmax { scale: 0.3, causal: false })?;
        assert!(close(&fused, &candle_nn::ops::softmax(&(&x * 0.3)?, 2)?)? < 1e-6);
        Ok(())
    }

    #[test]
    fn causal_softmax_sees_nothing_ahead() -> Result<()> {
        let x = Tensor::randn(0_f32, 2.0, (2, 4, 4), &Device::Cpu)?;
        let fused = x.copy()?;
        fused.inplace_op1(&Softmax { scale: 1.0, causal: true })?;
        for head in 0..2 {
            for query in 0..4 {
                let row: Vec<f32> = fused.get(head)?.get(query)?.to_vec1()?;
                assert!(row[query + 1..].iter().all(|x| *x == 0.0));
                let expected: Vec<f32> =
                    candle_nn::ops::softmax(&x.get(head)?.get(query)?.narrow(0, 0, query + 1)?, 0)?
                        .to_vec1()?;
                for (a, b) in row.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-6);
                }
            }
        }
        Ok(())
    }
}
