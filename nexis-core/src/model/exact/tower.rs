//! The transformer that both towers share, over several sequences at once (models/EXACT.md, 4).

use super::super::config::TowerConfig;
use super::super::weights::Weights;
use super::arithmetic::Activation;
use super::attention::{Attention, HeadSpace, Sequence};
use super::instructions::InstructionSet;
use super::operand::Operand;
use super::passes::{Moments, NormWeights};
use super::product::{Factor, Product, Then};
use super::slabs::{Run, Slabs, runs};
use crate::error::Result;

/// A layer normalisation with its weights.
pub(crate) struct Norm {
    weight: Vec<Run<f32>>,
    bias: Vec<Run<f32>>,
    eps: f32,
}

impl Norm {
    pub(crate) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        Ok(Self {
            weight: runs(&weights.values(&format!("{name}.weight"), &[config.width])?),
            bias: runs(&weights.values(&format!("{name}.bias"), &[config.width])?),
            eps: config.eps,
        })
    }

    /// Of each row.
    pub(crate) fn forward<T: Operand>(
        &self,
        set: InstructionSet,
        x: &Slabs<f32>,
        moments: &mut Vec<Moments>,
        out: &mut Slabs<T>,
    ) {
        let weights = NormWeights { weight: &self.weight, bias: &self.bias, eps: self.eps };
        set.layer_norm(x, weights, moments, out);
    }
}

/// Linear layers side by side.
pub(super) struct Linear<T: Operand> {
    weight: Factor<T>,
    /// Empty where there is none.
    bias: Vec<Run<f32>>,
}

impl<T: Operand> Linear<T> {
    pub(super) fn load(
        weights: &Weights<'_>,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        // Grown as the tensors come: their shapes are compared first, and a configuration may claim any.
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            rows.extend(weights.matrix(&format!("{name}.weight"), inputs, outputs)?);
            bias.extend(weights.values(&format!("{name}.bias"), &[outputs])?);
        }
        Ok(Self::from_outputs(inputs, &rows, &bias))
    }

    /// A layer without bias.
    pub(super) fn load_plain(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let rows = weights.matrix(&format!("{name}.weight"), inputs, outputs)?;
        Ok(Self::plain_from_outputs(inputs, outputs, &rows))
    }

    /// The same from rows of outputs.
    pub(super) fn plain_from_outputs(inputs: usize, outputs: usize, rows: &[f32]) -> Self {
        Self { weight: Factor::from_outputs(inputs, outputs, rows), bias: Vec::new() }
    }

    /// The queries, and the keys and values, of attention that stores all three as one matrix and one vector.
    pub(super) fn load_packed(weights: &Weights<'_>, name: &str, width: usize) -> Result<[Self; 2]> {
        let rows = weights.values(&format!("{name}.in_proj_weight"), &[3 * width, width])?;
        let bias = weights.values(&format!("{name}.in_proj_bias"), &[3 * width])?;
        Ok(Self::split_packed(width, &rows, &bias))
    }

    /// The same from rows of outputs.
    pub(super) fn split_packed(width: usize, rows: &[f32], bias: &[f32]) -> [Self; 2] {
        let (query, key_value) = rows.split_at_checked(width * width).unwrap_or_default();
        let (query_bias, key_value_bias) = bias.split_at_checked(width).unwrap_or_default();
        [Self::from_outputs(width, query, query_bias), Self::from_outputs(width, key_value, key_value_bias)]
    }

    /// From rows of outputs, as many as there are biases.
    pub(super) fn from_outputs(inputs: usize, rows: &[f32], bias: &[f32]) -> Self {
        Self { weight: Factor::from_outputs(inputs, bias.len(), rows), bias: runs(bias) }
    }

    /// How many numbers it reads.
    pub(super) fn inputs(&self) -> usize {
        self.weight.depth()
    }

    /// Of the rows of `x`. What is to be added to has to be there already.
    pub(super) fn forward<U: Operand>(&self, on: On<T>, x: &Slabs<T>, then: Then, out: &mut Slabs<U>) {
        if then != Then::Add {
            out.shape(x.rows(), self.weight.columns());
        }
        let product = Product { left: x, right: self.weight.steps(), bias: &self.bias, then };
        product.share(on.set, on.parts, out.runs_mut());
    }
}

/// What a forward pass runs on.
#[derive(Clone, Copy)]
pub(crate) struct On<T: Operand> {
    pub(crate) set: T::Instructions,
    /// Threads that share one pass.
    pub(crate) parts: usize,
}

/// What is added to each row after attention.
pub(super) struct FeedForward<T: Operand> {
    norm: Norm,
    up: Linear<T>,
    down: Linear<T>,
    activation: Activation,
}

impl<T: Operand> FeedForward<T> {
    /// With the names of its normalisation and its two layers.
    pub(super) fn load(
        weights: &Weights<'_>,
        norm: &str,
        [up, down]: [String; 2],
        config: &TowerConfig,
    ) -> Result<Self> {
        let (width, inner) = (config.width, config.intermediate);
        Ok(Self {
            norm: Norm::load(weights, norm, config)?,
            up: Linear::load(weights, &[up], width, inner)?,
            down: Linear::load(weights, &[down], inner, width)?,
            activation: config.activation,
        })
    }

    /// Of the rows of `work.x`.
    pub(super) fn forward(&self, on: On<T>, work: &mut Workspace<T>) {
        let Workspace { x, inner, normed, moments, .. } = work;
        self.norm.forward(on.set.into(), x, moments, normed);
        self.up.forward(on, normed, Then::Activate(self.activation), inner);
        self.down.forward(on, inner, Then::Add, x);
    }
}

/// A block of a tower.
pub(super) struct Block<T: Operand> {
    norm: Norm,
    query: Linear<T>,
    /// Keys and values side by side.
    key_value: Linear<T>,
    out: Linear<T>,
    feed_forward: FeedForward<T>,
}

impl<T: Operand> Block<T> {
    /// By the names of transformers.
    fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        let width = config.width;
        let attention = |part: &str| format!("{name}.self_attn.{part}_proj");
        let mlp = ["fc1", "fc2"].map(|layer| format!("{name}.mlp.{layer}"));
        Ok(Self {
            norm: Norm::load(weights, &format!("{name}.layer_norm1"), config)?,
            query: Linear::load(weights, &[attention("q")], width, width)?,
            key_value: Linear::load(weights, &["k", "v"].map(attention), width, width)?,
            out: Linear::load(weights, &[attention("out")], width, width)?,
            feed_forward: FeedForward::load(weights, &format!("{name}.layer_norm2"), mlp, config)?,
        })
    }

    /// By the names of OpenCLIP.
    pub(super) fn load_open_clip(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        let width = config.width;
        let mlp = ["c_fc", "c_proj"].map(|layer| format!("{name}.mlp.{layer}"));
        let [query, key_value] = Linear::load_packed(weights, &format!("{name}.attn"), width)?;
        Ok(Self {
            norm: Norm::load(weights, &format!("{name}.ln_1"), config)?,
            query,
            key_value,
            out: Linear::load(weights, &[format!("{name}.attn.out_proj")], width, width)?,
            feed_forward: FeedForward::load(weights, &format!("{name}.ln_2"), mlp, config)?,
        })
    }
}

/// Memory of a forward pass, kept from layer to layer and from pass to pass.
#[derive(Default)]
pub(crate) struct Workspace<T> {
    /// The residual stream; its first values before a tower, the wanted rows after it.
    pub(crate) x: Slabs<f32>,
    /// What comes before the residual stream.
    pub(crate) embedded: Slabs<f32>,
    /// What a product outside of a tower reads.
    pub(crate) inner: Slabs<T>,
    pub(crate) normed: Slabs<T>,
    pub(crate) moments: Vec<Moments>,
    pub(super) query: Slabs<f32>,
    pub(super) key_value: Slabs<f32>,
    pub(super) attended: Slabs<T>,
    pub(super) heads: Vec<HeadSpace>,
}

/// A stack of blocks.
pub(crate) struct Tower<T: Operand> {
    blocks: Vec<Block<T>>,
    attention: Attention,
}

impl<T: Operand> Tower<T> {
    /// Blocks `name.0`, `name.1`, ... Where `causal`, a row sees itself and the rows before it.
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        config: &TowerConfig,
        causal: bool,
    ) -> Result<Self> {
        let blocks = (0..config.layers)
            .map(|i| Block::load(weights, &format!("{name}.{i}"), config))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self::new(blocks, config, causal))
    }

    pub(super) fn new(blocks: Vec<Block<T>>, config: &TowerConfig, causal: bool) -> Self {
        Self { blocks, attention: Attention::new(config.width, config.heads, causal) }
    }

    /// Turns the states of sequences of these lengths, one after another in `work.x`, into their final states: of the
    /// wanted row of each, or of all. No row sees another sequence. Where the tower is causal, the wanted row has to be a
    /// sequence's last, the only one that has seen all.
    ///
    /// In the last block only the wanted rows are computed beyond the keys and values.
    pub(crate) fn forward(
        &self,
        on: On<T>,
        lengths: &[usize],
        wanted: Option<&[usize]>,
        work: &mut Workspace<T>,
    ) {
        let set = on.set.into();
        work.heads.resize_with(on.parts.max(1), HeadSpace::default);
        for (i, block) in self.blocks.iter().enumerate() {
            let Workspace { x, normed, moments, query, key_value, attended, heads, .. } = work;
            block.norm.forward(set, x, moments, normed);
            block.key_value.forward(on, normed, Then::Store, key_value);
            let last = i + 1 == self.blocks.len();
            if let Some(wanted) = wanted.filter(|_| last) {
                x.pick(wanted);
                normed.pick(wanted);
            }
            block.query.forward(on, normed, Then::Store, query);
            attended.shape(query.rows(), query.columns());
            let (mut first_key, mut first_query) = (0, 0);
            for length in lengths {
                let queries = if last && wanted.is_some() { 1 } else { *length };
                let sequence = Sequence {
                    queries: first_query..first_query + queries,
                    keys: first_key..first_key + length,
                };
                (first_query, first_key) = (sequence.queries.end, sequence.keys.end);
                self.attention.attend(set, query, key_value, &sequence, heads, attended);
            }
            block.out.forward(on, attended, Then::Add, x);
            block.feed_forward.forward(on, work);
        }
        if let Some(wanted) = wanted.filter(|_| self.blocks.is_empty()) {
            work.x.pick(wanted);
        }
    }
}
