//! The head that makes one row of a picture's rows, by attention of a learned query.

use nexis_core::Result;
use nexis_core::model::towers::TowerSizes;

use super::tower::{FeedForward, Pass, Space};
use super::weights::Uploader;
use crate::compute::Compute;
use crate::kernels::{Asking, Rows, States};

/// Multi-head attention pooling.
pub(super) struct Pooling<M> {
    /// Keys and values side by side.
    key_value: M,
    /// What every picture is asked with, and the bias of keys and values.
    query_and_bias: M,
    out: M,
    out_bias: M,
    feed_forward: FeedForward<M>,
    heads: usize,
}

impl<M> Pooling<M> {
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &TowerSizes,
    ) -> Result<Self> {
        let width = sizes.width;
        // Queries, keys and values are one matrix and one vector.
        let weight_name = format!("{name}.attention.in_proj_weight");
        let weight = uploader.values(&weight_name, &[3 * width, width])?;
        let mut bias = uploader.values(&format!("{name}.attention.in_proj_bias"), &[3 * width])?;
        let probe = uploader.values(&format!("{name}.probe"), &[1, 1, width])?;
        let (query, key_value) = weight.split_at_checked(width * width).unwrap_or_default();
        // The query is the same for every picture, so that it is computed here, once.
        for (row, to) in query.chunks_exact(width.max(1)).zip(&mut bias) {
            let products = row.iter().zip(&probe).map(|(a, b)| f64::from(*a) * f64::from(*b));
            *to = (products.sum::<f64>() + f64::from(*to)) as f32;
        }
        let (norm, mlp) = (format!("{name}.layernorm"), format!("{name}.mlp"));
        Ok(Self {
            key_value: uploader.rows(&weight_name, key_value, width)?,
            query_and_bias: uploader.floats(&bias)?,
            out: uploader.padded(&format!("{name}.attention.out_proj.weight"), width, width, width)?,
            out_bias: uploader.wide(&format!("{name}.attention.out_proj.bias"), &[width])?,
            feed_forward: FeedForward::load(uploader, &norm, &mlp, sizes)?,
            heads: sizes.heads,
        })
    }

    /// Makes one row in `space.picked` of the rows of each item in `space.h`.
    pub(super) fn run<C: Compute<Memory = M>>(&self, pass: &Pass<'_, C>, space: &Space<M>) -> Result<()> {
        let rows = pass.rows;
        let one = Rows { per: 1, ..rows };
        let width = rows.width;
        pass.product(rows, &space.h, &self.key_value, &space.qkv, 2 * width, width)?;
        let (keys, bias, attended) =
            (C::span(&space.qkv), C::span(&self.query_and_bias), C::span(&space.picked_attended));
        pass.kernels.attend(pass.format, keys, bias, rows, self.heads, Asking::One, attended)?;
        pass.product(one, &space.picked_attended, &self.out, &space.product, width, width)?;
        // A residual stream begins here: what is asked with is not added to what comes of it.
        let (x, h) = (C::span(&space.picked), C::span(&space.h));
        let states = States { rows: one, norm: self.feed_forward.norm::<C>(), x, h };
        let (product, bias) = (C::span(&space.product), C::span(&self.out_bias));
        pass.kernels.embed_pictures(pass.format, product, None, None, bias, None, &states)?;
        // The row itself is wanted; what it is normalised by is read by nobody.
        pass.feed_forward(&self.feed_forward, space, one, &space.picked, self.feed_forward.norm::<C>())
    }
}
