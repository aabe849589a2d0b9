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
        Ok(Self { weight: Factor::from_outputs(inputs, outputs, &rows), bias: Vec::new() })
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
    pub(super) fn load(weights: &Weights<'_>, norm: &str, mlp: &str, config: &TowerConfig) -> Result<Self> {
        let (width, inner) = (config.width, config.intermediate);
        Ok(Self {
            norm: Norm::load(weights, norm, config)?,
            up: Linear::load(weights, &[format!("{mlp}.fc1")], width, inner)?,
            down: Linear::load(weights, &[format!("{mlp}.fc2")], inner, width)?,
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

struct Block<T: Operand> {
    norm: Norm,
    query: Linear<T>,
    /// Keys and values side by side.
    key_value: Linear<T>,
    out: Linear<T>,
    feed_forward: FeedForward<T>,
}

impl<T: Operand> Block<T> {
    fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        let width = config.width;
        let attention = |part: &str| format!("{name}.self_attn.{part}_proj");
        let (norm, mlp) = (format!("{name}.layer_norm2"), format!("{name}.mlp"));
        Ok(Self {
            norm: Norm::load(weights, &format!("{name}.layer_norm1"), config)?,
            query: Linear::load(weights, &[attention("q")], width, width)?,
            key_value: Linear::load(weights, &["k", "v"].map(attention), width, width)?,
            out: Linear::load(weights, &[attention("out")], width, width)?,
            feed_forward: FeedForward::load(weights, &norm, &mlp, config)?,
        })
    }
}

/// Which rows of a sequence are wanted at the end; a causal tower's last row is the only one that has seen all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The first, which sees and is seen by all.
    First,
    /// The last, in a tower where a row sees itself and the rows before it.
    LastCausal,
    /// The last, which sees and is seen by all.
    Last,
    /// All of them, each of which sees all.
    All,
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
    pool: Pool,
}

impl<T: Operand> Tower<T> {
    /// Blocks `name.0`, `name.1`, ...
    pub(crate) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig, pool: Pool) -> Result<Self> {
        let blocks = (0..config.layers)
            .map(|i| Block::load(weights, &format!("{name}.{i}"), config))
            .collect::<Result<Vec<_>>>()?;
        let attention = Attention::new(config, pool == Pool::LastCausal);
        Ok(Self { blocks, attention, pool })
    }

    /// Turns the states of sequences of these lengths, one after another in `work.x`, into the final states of the wanted
    /// rows. No row sees another sequence.
    ///
    /// In the last block only the wanted rows are computed beyond the keys and values.
    pub(crate) fn forward(&self, on: On<T>, lengths: &[usize], work: &mut Workspace<T>) {
        let set = on.set.into();
        let wanted = self.wanted(lengths);
        work.heads.resize_with(on.parts.max(1), HeadSpace::default);
        for (i, block) in self.blocks.iter().enumerate() {
            let Workspace { x, normed, moments, query, key_value, attended, heads, .. } = work;
            block.norm.forward(set, x, moments, normed);
            block.key_value.forward(on, normed, Then::Store, key_value);
            let last = i + 1 == self.blocks.len();
            if let Some(wanted) = wanted.as_ref().filter(|_| last) {
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
            work.x.pick(&wanted);
        }
    }

    /// The wanted row of each sequence; `None` where all are.
    fn wanted(&self, lengths: &[usize]) -> Option<Vec<usize>> {
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some((*length, *end))
        });
        let row = |(length, end): (usize, usize)| match self.pool {
            Pool::First => Some(end - length),
            Pool::LastCausal | Pool::Last => Some(end.saturating_sub(1)),
            Pool::All => None,
        };
        ends.map(row).collect()
    }
}
