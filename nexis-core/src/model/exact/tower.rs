//! The transformer that both towers of a CLIP share, over several sequences at once (models/EXACT.md, 4).

use super::super::config::TowerConfig;
use super::super::weights::Weights;
use super::product::{Factor, Product, Rows, Then, TileBuffer};
use super::{Activation, InstructionSet};
use crate::error::Result;

/// A layer normalisation with its weights.
pub(crate) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub(crate) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        Ok(Self {
            weight: weights.values(&format!("{name}.weight"), &[config.width])?,
            bias: weights.values(&format!("{name}.bias"), &[config.width])?,
            eps: config.eps,
        })
    }

    /// Of each row of `[rows, width]`.
    pub(crate) fn forward(&self, set: InstructionSet, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.resize(x.len(), 0.0);
        let width = self.weight.len().max(1);
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            set.layer_norm(row, &self.weight, &self.bias, self.eps, out);
        }
    }
}

/// Linear layers side by side.
struct Linear {
    weight: Factor,
    bias: Vec<f32>,
}

impl Linear {
    fn load(weights: &Weights<'_>, names: &[String], inputs: usize, outputs: usize) -> Result<Self> {
        let mut rows = Vec::with_capacity(names.len() * inputs * outputs);
        let mut bias = Vec::with_capacity(names.len() * outputs);
        for name in names {
            rows.extend(weights.matrix(&format!("{name}.weight"), inputs, outputs)?);
            bias.extend(weights.values(&format!("{name}.bias"), &[outputs])?);
        }
        Ok(Self { weight: Factor::from_outputs(inputs, bias.len(), &rows), bias })
    }

    /// Of the rows of `x`, into `out`, whose rows are as long as there are outputs.
    fn forward(&self, set: InstructionSet, x: &[f32], then: Then, buffer: &mut TileBuffer, out: &mut [f32]) {
        let (depth, columns) = (self.weight.depth(), self.weight.columns());
        let left = Rows { values: x, count: x.len() / depth.max(1), stride: depth };
        let product = Product { left, right: &self.weight, bias: Some(&self.bias), then };
        set.product(product, buffer, out, columns);
    }

    /// The same into memory that is taken anew.
    fn forward_into(
        &self,
        set: InstructionSet,
        x: &[f32],
        then: Then,
        buffer: &mut TileBuffer,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        out.resize(x.len() / self.weight.depth().max(1) * self.weight.columns(), 0.0);
        self.forward(set, x, then, buffer, out);
    }
}

struct Block {
    norm1: Norm,
    query: Linear,
    /// Keys and values side by side.
    key_value: Linear,
    out: Linear,
    norm2: Norm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        let (width, inner) = (config.width, config.intermediate);
        let attention = |part: &str| format!("{name}.self_attn.{part}_proj");
        let mlp = |part: &str| [format!("{name}.mlp.{part}")];
        Ok(Self {
            norm1: Norm::load(weights, &format!("{name}.layer_norm1"), config)?,
            query: Linear::load(weights, &[attention("q")], width, width)?,
            key_value: Linear::load(weights, &["k", "v"].map(attention), width, width)?,
            out: Linear::load(weights, &[attention("out")], width, width)?,
            norm2: Norm::load(weights, &format!("{name}.layer_norm2"), config)?,
            up: Linear::load(weights, &mlp("fc1"), width, inner)?,
            down: Linear::load(weights, &mlp("fc2"), inner, width)?,
        })
    }
}

/// Which row of a sequence is wanted at the end; a causal tower's last row is the only one that has seen all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The first, which sees and is seen by all.
    First,
    /// The last, in a tower where a row sees itself and the rows before it.
    LastCausal,
}

/// Memory of one thread's forward passes, kept from layer to layer.
#[derive(Default)]
pub(crate) struct Workspace {
    normed: Vec<f32>,
    query: Vec<f32>,
    key_value: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    scores: Vec<f32>,
    keys: Factor,
    values: Factor,
    buffer: TileBuffer,
}

impl Workspace {
    /// A product outside of the tower, from zero, into rows that lie one after another.
    pub(crate) fn product(
        &mut self,
        set: InstructionSet,
        left: Rows<'_>,
        right: &Factor,
        out: &mut [f32],
        out_stride: usize,
    ) {
        set.product(
            Product { left, right, bias: None, then: Then::Store },
            &mut self.buffer,
            out,
            out_stride,
        );
    }
}

/// A stack of blocks.
pub(crate) struct Tower {
    blocks: Vec<Block>,
    heads: usize,
    width: usize,
    activation: Activation,
    pool: Pool,
}

impl Tower {
    /// Blocks `name.0`, `name.1`, ...
    pub(crate) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig, pool: Pool) -> Result<Self> {
        let blocks = (0..config.layers)
            .map(|i| Block::load(weights, &format!("{name}.{i}"), config))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { blocks, heads: config.heads, width: config.width, activation: config.activation, pool })
    }

    /// The final states `[sequences, width]` of one row each of sequences that lie one after another in `x`,
    /// `[sum of lengths, width]`. No row sees another sequence.
    ///
    /// In the last block only the wanted rows are computed beyond the keys and values.
    pub(crate) fn forward(
        &self,
        set: InstructionSet,
        mut x: Vec<f32>,
        lengths: &[usize],
        work: &mut Workspace,
    ) -> Vec<f32> {
        for (i, block) in self.blocks.iter().enumerate() {
            block.norm1.forward(set, &x, &mut work.normed);
            block.key_value.forward_into(
                set,
                &work.normed,
                Then::Store,
                &mut work.buffer,
                &mut work.key_value,
            );
            let last = i + 1 == self.blocks.len();
            if last {
                x = self.wanted(&x, lengths);
                work.normed = self.wanted(&work.normed, lengths);
            }
            block.query.forward_into(set, &work.normed, Then::Store, &mut work.buffer, &mut work.query);
            self.attend(set, lengths, last, work);
            block.out.forward(set, &work.attended, Then::Add, &mut work.buffer, &mut x);
            block.norm2.forward(set, &x, &mut work.normed);
            let activate = Then::Activate(self.activation);
            block.up.forward_into(set, &work.normed, activate, &mut work.buffer, &mut work.inner);
            block.down.forward(set, &work.inner, Then::Add, &mut work.buffer, &mut x);
        }
        if self.blocks.is_empty() { self.wanted(&x, lengths) } else { x }
    }

    /// The wanted row of each sequence.
    fn wanted(&self, x: &[f32], lengths: &[usize]) -> Vec<f32> {
        let mut rows = Vec::with_capacity(lengths.len() * self.width);
        let mut first = 0;
        for length in lengths {
            let row = match self.pool {
                Pool::First => first,
                Pool::LastCausal => first + length.saturating_sub(1),
            };
            rows.extend_from_slice(x.get(row * self.width..(row + 1) * self.width).unwrap_or_default());
            first += length;
        }
        rows
    }

    /// Attention of the queries over each sequence's keys and values; where `one`, there is one query a sequence.
    fn attend(&self, set: InstructionSet, lengths: &[usize], one: bool, work: &mut Workspace) {
        let Workspace { query, key_value, attended, scores, keys, values, buffer, .. } = work;
        attended.clear();
        attended.resize(query.len(), 0.0);
        let size = self.width / self.heads.max(1);
        let scale = (size as f32).sqrt().recip();
        let (mut first_key, mut first_query) = (0, 0);
        for &length in lengths {
            let queries = if one { 1 } else { length };
            for head in 0..self.heads {
                let from = |row: usize, part: usize, i: usize| {
                    let at = (first_key + row) * 2 * self.width + part * self.width + head * size + i;
                    key_value.get(at).copied().unwrap_or_default()
                };
                keys.fill(size, length, |i, row| from(row, 0, i));
                values.fill(length, size, |row, i| from(row, 1, i));
                let at = first_query * self.width + head * size;

                scores.clear();
                scores.resize(queries * length, 0.0);
                let left =
                    Rows { values: query.get(at..).unwrap_or_default(), count: queries, stride: self.width };
                let product = |left, right| Product { left, right, bias: None, then: Then::Store };
                set.product(product(left, &*keys), buffer, scores, length);
                for (i, row) in scores.chunks_exact_mut(length.max(1)).enumerate() {
                    let seen = if self.pool == Pool::LastCausal && !one { i + 1 } else { length };
                    set.softmax(row, seen, scale);
                }
                let left = Rows { values: scores, count: queries, stride: length };
                let out = attended.get_mut(at..).unwrap_or_default();
                set.product(product(left, &*values), buffer, out, self.width);
            }
            first_key += length;
            first_query += queries;
        }
    }
}
