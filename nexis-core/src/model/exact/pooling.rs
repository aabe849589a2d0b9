//! The head that makes one row of a picture's rows, by attention of a learned query (models/EXACT.md, 4).

use super::super::config::TowerConfig;
use super::super::weights::Weights;
use super::attention::{Attention, HeadSpace, Sequence};
use super::operand::Operand;
use super::product::Then;
use super::tower::{FeedForward, Linear, On, Workspace};
use crate::error::Result;

/// Multi-head attention pooling.
pub(super) struct AttentionPooling<T: Operand> {
    /// What every picture is asked with.
    probe: Vec<f32>,
    query: Linear<T>,
    /// Keys and values side by side.
    key_value: Linear<T>,
    out: Linear<T>,
    feed_forward: FeedForward<T>,
    attention: Attention,
}

impl<T: Operand> AttentionPooling<T> {
    pub(super) fn load(weights: &Weights<'_>, name: &str, config: &TowerConfig) -> Result<Self> {
        let width = config.width;
        // Queries, keys and values are one matrix and one vector.
        let rows = weights.values(&format!("{name}.attention.in_proj_weight"), &[3 * width, width])?;
        let bias = weights.values(&format!("{name}.attention.in_proj_bias"), &[3 * width])?;
        let (query, key_value) = rows.split_at_checked(width * width).unwrap_or_default();
        let (query_bias, key_value_bias) = bias.split_at_checked(width).unwrap_or_default();
        let (norm, mlp) = (format!("{name}.layernorm"), format!("{name}.mlp"));
        Ok(Self {
            probe: weights.values(&format!("{name}.probe"), &[1, 1, width])?,
            query: Linear::from_outputs(width, query, query_bias),
            key_value: Linear::from_outputs(width, key_value, key_value_bias),
            out: Linear::load(weights, &[format!("{name}.attention.out_proj")], width, width)?,
            feed_forward: FeedForward::load(weights, &norm, &mlp, config)?,
            attention: Attention::new(config, false),
        })
    }

    /// Makes one row in `work.x` of each `rows` rows of `work.normed`.
    pub(super) fn forward(&self, on: On<T>, rows: usize, work: &mut Workspace<T>) {
        let Workspace { x, inner, normed, query, key_value, attended, heads, .. } = work;
        let pictures = normed.rows() / rows.max(1);
        self.key_value.forward(on, normed, Then::Store, key_value);
        inner.shape(pictures, self.probe.len());
        (0..pictures).for_each(|picture| inner.set_row(picture, &self.probe));
        self.query.forward(on, inner, Then::Store, query);
        attended.shape(query.rows(), query.columns());
        heads.resize_with(on.parts.max(1), HeadSpace::default);
        for picture in 0..pictures {
            let sequence =
                Sequence { queries: picture..picture + 1, keys: picture * rows..(picture + 1) * rows };
            self.attention.attend(on.set.into(), query, key_value, &sequence, heads, attended);
        }
        self.out.forward(on, attended, Then::Store, x);
        self.feed_forward.forward(on, work);
    }
}
