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
        let [query, key_value] = Linear::load_packed(weights, &format!("{name}.attention"), width)?;
        let (norm, mlp) =
            (format!("{name}.layernorm"), ["fc1", "fc2"].map(|layer| format!("{name}.mlp.{layer}")));
        Ok(Self {
            probe: weights.values(&format!("{name}.probe"), &[1, 1, width])?,
            query,
            key_value,
            out: Linear::load(weights, &[format!("{name}.attention.out_proj")], width, width)?,
            feed_forward: FeedForward::load(weights, &norm, mlp, config)?,
            attention: Attention::new(width, config.heads, false),
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
