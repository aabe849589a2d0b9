//! What the towers of judges are made of.

use candle_core::quantized::QTensor;
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops;

use super::checkpoint::Tensors;

/// A matrix of weights: one row of inputs per output.
pub(super) enum Matrix {
    /// In f32.
    Plain(Tensor),
    /// In blocks of few bits with a scale each, as it is stored.
    Quantised(QTensor),
}

impl Matrix {
    /// Rows of inputs, times the matrix. For blocks the inputs are brought to blocks of eight bits first, each row by
    /// itself, and a block's products are summed as integers. This is [`QTensor`]'s own operation and not candle's
    /// `QMatMul`, which asks environment variables whether it should be another one.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => x.matmul(&weight.t()?),
            Self::Quantised(weight) => x.contiguous()?.apply_op1_no_bwd(weight),
        }
    }

    /// Rows of the matrix, in f32.
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => weight.index_select(ids, 0),
            Self::Quantised(weight) => weight.embedding(ids),
        }
    }
}

/// A linear layer with its bias.
pub(super) struct Affine {
    weight: Matrix,
    bias: Tensor,
}

impl Affine {
    pub(super) const fn new(weight: Matrix, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    pub(super) fn load(
        weights: &mut impl Tensors,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.take_matrix(&format!("{name}.weight"), [outputs, inputs])?,
            bias: weights.take(&format!("{name}.bias"), &[outputs])?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.product(x)?.broadcast_add(&self.bias)
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

/// A block of a tower that sees: attention over the patches of one picture, then two layers, each behind a normalisation.
pub(super) struct VisionBlock {
    norm1: Norm,
    norm2: Norm,
    qkv: Affine,
    out: Affine,
    up: Affine,
    down: Affine,
    width: usize,
    heads: usize,
}

/// Sizes of a [`VisionBlock`].
#[derive(Clone, Copy)]
pub(super) struct VisionBlockShape {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) eps: f32,
}

impl VisionBlock {
    /// `mlp` are the names of the two layers.
    pub(super) fn load(
        weights: &mut impl Tensors,
        name: &str,
        mlp: [&str; 2],
        shape: VisionBlockShape,
    ) -> crate::Result<Self> {
        let VisionBlockShape { width, inner, heads, eps } = shape;
        let name = |part: &str| format!("{name}.{part}");
        let [up, down] = mlp;
        Ok(Self {
            norm1: Norm::load(weights, &name("norm1"), width, eps)?,
            norm2: Norm::load(weights, &name("norm2"), width, eps)?,
            qkv: Affine::load(weights, &name("attn.qkv"), width, 3 * width)?,
            out: Affine::load(weights, &name("attn.proj"), width, width)?,
            up: Affine::load(weights, &name(up), width, inner)?,
            down: Affine::load(weights, &name(down), inner, width)?,
            width,
            heads,
        })
    }

    /// `turn` puts places into queries and keys, `[heads, rows, size]`.
    pub(super) fn forward(&self, x: &Tensor, turn: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let part = |i: usize| heads(&qkv.narrow(1, i * self.width, self.width)?, self.heads);
        let attended = attend(&turn(part(0)?)?, &turn(part(1)?)?, &part(2)?, None)?;
        let x = (x + self.out.forward(&attended)?)?;
        &x + self.down.forward(&self.up.forward(&self.norm2.forward(&x)?)?.gelu()?)?
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

/// Nothing for what a token may see, itself and what is before it; minus infinity for the rest.
pub(super) fn causal(length: usize, device: &Device) -> Result<Tensor> {
    let row = |i: usize| (0..length).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 });
    Tensor::from_vec((0..length).flat_map(row).collect(), (length, length), device)
}
