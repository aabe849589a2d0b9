//! The transformer that both towers share, pre-normalised attention and feed-forward blocks, and attention pooling.

use candle_core::{Result, Tensor};

use super::super::config::TowerConfig;
use super::super::exact::Activation;
use super::super::weights::Weights;
use super::ops::{AddBias, AddBiasResidual, LayerNorm, Softmax};

/// A layer normalisation with its weights.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    pub(super) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.tensor(&format!("{name}.weight"), &[config.width])?,
            bias: weights.tensor(&format!("{name}.bias"), &[config.width])?,
            eps: config.eps,
        })
    }

    /// Of each row of `[rows, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op3_no_bwd(&self.weight, &self.bias, &LayerNorm { eps: self.eps })
    }
}

/// A linear layer, its weight as `[inputs, outputs]`.
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// The layers of these names, side by side.
    pub(super) fn load(
        weights: &Weights<'_>,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> crate::Result<Self> {
        let with = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Ok(Self {
            weight: weights.transposed(&with("weight"), inputs, outputs)?,
            bias: weights.joined(&with("bias"), outputs)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        y.inplace_op2(&self.bias, &AddBias(activation))?;
        Ok(y)
    }

    fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        y.inplace_op3(&self.bias, residual, &AddBiasResidual)?;
        Ok(y)
    }

    /// Outputs `from..from + count` as a layer of their own; shares the weights.
    fn narrow(&self, from: usize, count: usize) -> Result<Self> {
        Ok(Self { weight: self.weight.narrow(1, from, count)?, bias: self.bias.narrow(0, from, count)? })
    }
}

/// What is added to each row after attention.
struct FeedForward {
    norm: Norm,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl FeedForward {
    fn load(weights: &Weights<'_>, norm: &str, mlp: &str, config: &TowerConfig) -> crate::Result<Self> {
        let (width, inner) = (config.width, config.intermediate);
        Ok(Self {
            norm: Norm::load(weights, norm, config)?,
            up: Linear::load(weights, &[format!("{mlp}.fc1")], width, inner)?,
            down: Linear::load(weights, &[format!("{mlp}.fc2")], inner, width)?,
            activation: config.activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.up.forward(&self.norm.forward(x)?, Some(self.activation))?;
        self.down.forward_residual(&inner, x)
    }
}

struct Block {
    norm: Norm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    out: Linear,
    feed_forward: FeedForward,
}

impl Block {
    fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> crate::Result<Self> {
        let width = config.width;
        let attention = |part: &str| format!("{name}.self_attn.{part}_proj");
        let (norm, mlp) = (format!("{name}.layer_norm2"), format!("{name}.mlp"));
        Ok(Self {
            norm: Norm::load(weights, &format!("{name}.layer_norm1"), config)?,
            qkv: Linear::load(weights, &["q", "k", "v"].map(attention), width, width)?,
            out: Linear::load(weights, &[attention("out")], width, width)?,
            feed_forward: FeedForward::load(weights, &norm, &mlp, config)?,
        })
    }

    /// The rest of the block, after attention.
    fn finish(&self, attended: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.feed_forward.forward(&self.out.forward_residual(attended, residual)?)
    }
}

/// The attention of a tower.
#[derive(Clone, Copy)]
struct Attention {
    heads: usize,
    width: usize,
}

impl Attention {
    fn new(config: &TowerConfig) -> Self {
        Self { heads: config.heads, width: config.width }
    }

    /// `[rows, parts * width]` as `[parts, heads, rows, size]`, without copying.
    fn by_head(self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let size = self.width / self.heads;
        x.reshape((rows, columns / self.width, self.heads, size))?.permute((1, 2, 0, 3))
    }

    /// Attention of `[heads, queries, size]` over `[heads, keys, size]`: `[queries, width]`.
    fn attend(self, query: &Tensor, key: &Tensor, value: &Tensor, causal: bool) -> Result<Tensor> {
        let (_, queries, size) = query.dims3()?;
        let scores = query.matmul(&key.transpose(1, 2)?)?;
        scores.inplace_op1(&Softmax { scale: (size as f32).sqrt().recip(), causal })?;
        scores.matmul(value)?.transpose(0, 1)?.reshape((queries, self.width))
    }

    /// Attention of one row's query `[1, width]` over keys and values side by side `[rows, 2 * width]`.
    fn of_one(self, query: &Tensor, key_value: &Tensor) -> Result<Tensor> {
        let (q, kv) = (self.by_head(query)?, self.by_head(key_value)?);
        self.attend(&q.get(0)?, &kv.get(0)?, &kv.get(1)?, false)
    }
}

/// A stack of blocks.
pub(super) struct Tower {
    blocks: Vec<Block>,
    attention: Attention,
    causal: bool,
}

impl Tower {
    /// Blocks `name.0`, `name.1`, ...; in a causal tower a row sees itself and the rows before it.
    pub(super) fn load(
        weights: &Weights<'_>,
        name: &str,
        config: &TowerConfig,
        causal: bool,
    ) -> crate::Result<Self> {
        let blocks = (0..config.layers)
            .map(|i| Block::load(weights, &format!("{name}.{i}"), config))
            .collect::<crate::Result<Vec<_>>>()?;
        Ok(Self { blocks, attention: Attention::new(config), causal })
    }

    /// The final states of one sequence `[rows, width]`: those of row `wanted` alone, `[1, width]`, or of all.
    ///
    /// In the last block only what is wanted is computed beyond the keys and values. In a causal tower that has to be
    /// the last row: what comes after the row that is wanted should not be there at all.
    pub(super) fn forward(&self, x: &Tensor, wanted: Option<usize>) -> Result<Tensor> {
        let whole = self.blocks.len() - usize::from(wanted.is_some()).min(self.blocks.len());
        let (blocks, last) = self.blocks.split_at_checked(whole).unwrap_or((&self.blocks, &[]));
        let mut x = x.clone();
        for block in blocks {
            let qkv = self.attention.by_head(&block.qkv.forward(&block.norm.forward(&x)?, None)?)?;
            let attended = self.attention.attend(&qkv.get(0)?, &qkv.get(1)?, &qkv.get(2)?, self.causal)?;
            x = block.finish(&attended, &x)?;
        }
        let Some(row) = wanted else { return Ok(x) };
        let Some(last) = last.first() else { return x.narrow(0, row, 1)?.contiguous() };
        let (normed, width) = (last.norm.forward(&x)?, self.attention.width);
        let q = last.qkv.narrow(0, width)?.forward(&normed.narrow(0, row, 1)?, None)?;
        let kv = last.qkv.narrow(width, 2 * width)?.forward(&normed, None)?;
        last.finish(&self.attention.of_one(&q, &kv)?, &x.narrow(0, row, 1)?)
    }
}

/// The head that makes one row of a picture's rows, by attention of a learned query.
pub(super) struct AttentionPooling {
    /// What every picture is asked with, `[1, width]`.
    probe: Tensor,
    query: Linear,
    /// Keys and values side by side.
    key_value: Linear,
    out: Linear,
    feed_forward: FeedForward,
    attention: Attention,
}

impl AttentionPooling {
    pub(super) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> crate::Result<Self> {
        let width = config.width;
        let (norm, mlp) = (format!("{name}.layernorm"), format!("{name}.mlp"));
        let one = |e| crate::Error::Internal(format!("{name}: {e}"));
        let probe = weights.tensor(&format!("{name}.probe"), &[1, 1, width])?;
        // Queries, keys and values are one matrix and one vector.
        let all = Linear {
            weight: weights.transposed(&[format!("{name}.attention.in_proj_weight")], width, 3 * width)?,
            bias: weights.tensor(&format!("{name}.attention.in_proj_bias"), &[3 * width])?,
        };
        Ok(Self {
            probe: probe.reshape((1, width)).map_err(one)?,
            query: all.narrow(0, width).map_err(one)?,
            key_value: all.narrow(width, 2 * width).map_err(one)?,
            out: Linear::load(weights, &[format!("{name}.attention.out_proj")], width, width)?,
            feed_forward: FeedForward::load(weights, &norm, &mlp, config)?,
            attention: Attention::new(config),
        })
    }

    /// One row `[1, width]` of a picture's rows `[rows, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (q, kv) = (self.query.forward(&self.probe, None)?, self.key_value.forward(x, None)?);
        self.feed_forward.forward(&self.out.forward(&self.attention.of_one(&q, &kv)?, None)?)
    }
}
