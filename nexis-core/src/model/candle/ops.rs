//! What lies between the products, each step as one candle operation.
//!
//! candle composes an activation or a normalisation from several tensors the size of its input; on a
//! CPU that takes as long as the products themselves.

use candle_core::{CpuStorage, CustomOp3, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Shape, bail};

use super::super::exact::{Activation, LaneSum, exp};

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
            add_bias(row, bias, self.0);
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
        let mut out = vec![0.0; x.len()];
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            layer_norm_row(row, weight, bias, self.eps, out);
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
            softmax_row(row, seen, self.scale);
        }
        Ok(())
    }
}

/// `x + bias`, then the activation if there is one, in place.
fn add_bias(row: &mut [f32], bias: &[f32], activation: Option<Activation>) {
    let pairs = row.iter_mut().zip(bias);
    match activation {
        None => pairs.for_each(|(x, b)| *x += b),
        // One loop for each, so that the choice is not made per number.
        Some(Activation::QuickGelu) => pairs.for_each(|(x, b)| *x = Activation::QuickGelu.of(*x + b)),
        Some(Activation::Gelu) => pairs.for_each(|(x, b)| *x = Activation::Gelu.of(*x + b)),
        Some(Activation::GeluTanh) => pairs.for_each(|(x, b)| *x = Activation::GeluTanh.of(*x + b)),
    }
}

fn lane_sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sum = LaneSum::default();
    sum.add(row, f);
    sum.total()
}

/// Layer normalisation of a row.
fn layer_norm_row(row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = row.len() as f32;
    let mean = lane_sum(row, |x| x) / width;
    let variance = lane_sum(row, |x| (x - mean) * (x - mean)) / width;
    let factor = 1.0 / (variance + eps).sqrt();
    for (((out, x), w), b) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *out = (x - mean) * factor * w + b;
    }
}

/// Softmax of `scale * x` over the first `seen` values of a row, in place; the others become zero.
fn softmax_row(row: &mut [f32], seen: usize, scale: f32) {
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

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
        fused.inplace_op2(&bias, &AddBias(Some(Activation::GeluTanh)))?;
        assert!(close(&fused, &x.broadcast_add(&bias)?.gelu()?)? < 2e-6);

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
