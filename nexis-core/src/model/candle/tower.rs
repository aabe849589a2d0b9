//! The transformer that both towers of a CLIP share: pre-normalised attention and feed-forward blocks.

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
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// The layers of these names, side by side.
    fn load(weights: &Weights<'_>, names: &[String], inputs: usize, outputs: usize) -> crate::Result<Self> {
        let with = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Ok(Self {
            weight: weights.transposed(&with("weight"), inputs, outputs)?,
            bias: weights.joined(&with("bias"), outputs)?,
        })
    }

    fn forward(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
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

struct Block {
    norm1: Norm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    out: Linear,
    norm2: Norm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> crate::Result<Self> {
        let (width, inner) = (config.width, config.intermediate);
        let attention = |part: &str| format!("{name}.self_attn.{part}_proj");
        let mlp = |part: &str| [format!("{name}.mlp.{part}")];
        Ok(Self {
            norm1: Norm::load(weights, &format!("{name}.layer_norm1"), config)?,
            qkv: Linear::load(weights, &["q", "k", "v"].map(attention), width, width)?,
            out: Linear::load(weights, &[attention("out")], width, width)?,
            norm2: Norm::load(weights, &format!("{name}.layer_norm2"), config)?,
            up: Linear::load(weights, &mlp("fc1"), width, inner)?,
            down: Linear::load(weights, &mlp("fc2"), inner, width)?,
        })
    }
}

/// A stack of blocks.
pub(super) struct Tower {
    blocks: Vec<Block>,
    heads: usize,
    width: usize,
    activation: Activation,
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
        Ok(Self { blocks, heads: config.heads, width: config.width, activation: config.activation, causal })
    }

    /// The final state `[1, width]` of row `row` of one sequence `[rows, width]`.
    ///
    /// In the last block only that row is computed beyond the keys and values. In a causal tower it has
    /// to be the last row: what comes after the row that is wanted should not be there at all.
    pub(super) fn forward(&self, x: &Tensor, row: usize) -> Result<Tensor> {
        let Some((last, blocks)) = self.blocks.split_last() else { return x.narrow(0, row, 1)?.contiguous() };
        let mut x = x.clone();
        for block in blocks {
            let qkv = self.by_head(&block.qkv.forward(&block.norm1.forward(&x)?, None)?)?;
            let attended = self.attend(&qkv.get(0)?, &qkv.get(1)?, &qkv.get(2)?, self.causal)?;
            x = self.finish(block, &attended, &x)?;
        }
        let normed = last.norm1.forward(&x)?;
        let (q, kv) = (last.qkv.narrow(0, self.width)?, last.qkv.narrow(self.width, 2 * self.width)?);
        let q = self.by_head(&q.forward(&normed.narrow(0, row, 1)?, None)?)?;
        let kv = self.by_head(&kv.forward(&normed, None)?)?;
        let attended = self.attend(&q.get(0)?, &kv.get(0)?, &kv.get(1)?, false)?;
        self.finish(last, &attended, &x.narrow(0, row, 1)?)
    }

    /// `[rows, parts * width]` as `[parts, heads, rows, size]`, without copying.
    fn by_head(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let size = self.width / self.heads;
        x.reshape((rows, columns / self.width, self.heads, size))?.permute((1, 2, 0, 3))
    }

    /// Attention of `[heads, queries, size]` over `[heads, keys, size]`: `[queries, width]`.
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor, causal: bool) -> Result<Tensor> {
        let (_, queries, size) = query.dims3()?;
        let scores = query.matmul(&key.transpose(1, 2)?)?;
        scores.inplace_op1(&Softmax { scale: (size as f32).sqrt().recip(), causal })?;
        scores.matmul(value)?.transpose(0, 1)?.reshape((queries, self.width))
    }

    /// The rest of a block, after attention.
    fn finish(&self, block: &Block, attended: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let x = block.out.forward_residual(attended, residual)?;
        let inner = block.up.forward(&block.norm2.forward(&x)?, Some(self.activation))?;
        block.down.forward_residual(&inner, &x)
    }
}
