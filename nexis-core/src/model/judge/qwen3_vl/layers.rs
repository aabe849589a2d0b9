//! What both towers are made of.

use candle_core::{D, Result, Tensor};
use candle_nn::ops;

use crate::model::judge::checkpoint::Tensors;

/// A linear layer with its bias.
pub(super) struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    pub(super) const fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    pub(super) fn load(
        weights: &mut impl Tensors,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.take(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: weights.take(&format!("{name}.bias"), &[outputs])?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

/// A layer normalisation.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    pub(super) fn load(
        weights: &mut impl Tensors,
        name: &str,
        width: usize,
        eps: f32,
    ) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.take(&format!("{name}.weight"), &[width])?,
            bias: weights.take(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// `[rows, heads * size]` as `[heads, rows, size]`.
pub(super) fn heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    x.reshape((rows, heads, columns / heads.max(1)))?.transpose(0, 1)?.contiguous()
}

/// Attention of `[heads, queries, size]` over `[kv heads, keys, size]`: `[queries, heads * size]`. Neighbouring heads
/// share keys and values where there are fewer of those. `mask` is added to the scores, `[queries, keys]`.
pub(super) fn attend(query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (heads, queries, size) = query.dims3()?;
    let (groups, keys, _) = key.dims3()?;
    let together = query.reshape((groups, heads / groups.max(1) * queries, size))?;
    let scores = (together.matmul(&key.t()?)? * (size as f64).sqrt().recip())?;
    let scores = match mask {
        Some(mask) => scores.reshape((heads, queries, keys))?.broadcast_add(mask)?.reshape(scores.shape())?,
        None => scores,
    };
    let shares = ops::softmax_last_dim(&scores)?;
    let attended = shares.matmul(value)?.reshape((heads, queries, size))?;
    attended.transpose(0, 1)?.flatten_from(D::Minus2)
}
