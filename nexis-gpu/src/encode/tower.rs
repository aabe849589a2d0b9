//! The transformer that both towers share.
//!
//! Between the products lies as little as there can be: a bias is added where its product is read next, and what is added to
//! the residual stream is normalised for the next product in the same sweep. After the last attention only the wanted
//! row of each sequence is computed on.

use nexis_core::model::towers::{Activation, TowerSizes};
use nexis_core::{Error, Result};

use super::weights::{Norm, Uploader};
use crate::compute::{Compute, Format, Product, Span};
use crate::kernels::{Kernels, NormSpans, Rows, States};

/// One block.
struct Block<M> {
    norm1: Norm<M>,
    /// Queries, keys and values side by side.
    qkv: M,
    qkv_bias: M,
    out: M,
    out_bias: M,
    norm2: Norm<M>,
    up: M,
    up_bias: M,
    down: M,
    down_bias: M,
}

/// A stack of blocks.
pub(super) struct Tower<M> {
    blocks: Vec<Block<M>>,
    heads: usize,
    intermediate: usize,
    activation: Activation,
}

impl<M> Tower<M> {
    /// Blocks `name.0`, `name.1`, ...
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &TowerSizes,
    ) -> Result<Self> {
        let (width, inner) = (sizes.width, sizes.intermediate);
        let mut blocks = Vec::with_capacity(sizes.layers);
        for name in (0..sizes.layers).map(|i| format!("{name}.{i}")) {
            let parts = |what: &str| ["q", "k", "v"].map(|p| format!("{name}.self_attn.{p}_proj.{what}"));
            let one = |part: &str| format!("{name}.{part}");
            blocks.push(Block {
                norm1: Norm::load(uploader, &one("layer_norm1"), sizes)?,
                qkv: uploader.stacked(&parts("weight"), width, width, width)?,
                qkv_bias: uploader.joined(&parts("bias"), width)?,
                out: uploader.padded(&one("self_attn.out_proj.weight"), width, width, width)?,
                out_bias: uploader.wide(&one("self_attn.out_proj.bias"), &[width])?,
                norm2: Norm::load(uploader, &one("layer_norm2"), sizes)?,
                up: uploader.padded(&one("mlp.fc1.weight"), width, inner, width)?,
                up_bias: uploader.wide(&one("mlp.fc1.bias"), &[inner])?,
                down: uploader.padded(&one("mlp.fc2.weight"), inner, width, inner)?,
                down_bias: uploader.wide(&one("mlp.fc2.bias"), &[width])?,
            });
        }
        Ok(Self { blocks, heads: sizes.heads, intermediate: inner, activation: sizes.activation })
    }

    /// What normalises the first states for the first block.
    pub(super) fn first_norm<C: Compute<Memory = M>>(&self) -> Result<NormSpans<'_>> {
        let block =
            self.blocks.first().ok_or_else(|| Error::Internal("a tower without blocks".to_owned()))?;
        Ok(block.norm1.spans::<C>())
    }
}

/// What a pass over a batch writes.
pub(super) struct Space<M> {
    pub(super) rows: Rows,
    /// The residual stream, in 32 bits.
    pub(super) x: M,
    /// What a product reads.
    pub(super) h: M,
    qkv: M,
    attended: M,
    /// What a product of the width gives.
    pub(super) product: M,
    /// Inside of a feed-forward block; before the first block, the network's input.
    pub(super) inner: M,
    /// Number of the wanted row of each item.
    pub(super) wanted: M,
    picked: M,
    picked_attended: M,
    /// Embeddings, in 32 bits.
    pub(super) out: M,
}

impl<M> Space<M> {
    /// `None` where there is no room. Adds what it takes to `total`.
    pub(super) fn new<C: Compute<Memory = M>>(
        compute: &C,
        rows: Rows,
        sizes: &TowerSizes,
        projection: usize,
        input: usize,
        total: &mut usize,
    ) -> Result<Option<Self>> {
        let Rows { items, per, width } = rows;
        let mut take = |bytes: usize| {
            *total += bytes;
            compute.allocate(bytes)
        };
        let states = items * per * width;
        let taken = (
            (take(states * 4)?, take(states * 2)?, take(states * 6)?, take(states * 2)?, take(states * 2)?),
            (take((items * per * sizes.intermediate * 2).max(input))?, take(items * 4)?),
            (take(items * width * 4)?, take(items * width * 2)?, take(items * projection * 4)?),
        );
        Ok(match taken {
            (
                (Some(x), Some(h), Some(qkv), Some(attended), Some(product)),
                (Some(inner), Some(wanted)),
                (Some(picked), Some(picked_attended), Some(out)),
            ) => {
                Some(Self { rows, x, h, qkv, attended, product, inner, wanted, picked, picked_attended, out })
            }
            _ => None,
        })
    }
}

impl<M> Space<M> {
    /// What the first states are written to.
    pub(super) fn states<'a, C: Compute<Memory = M>>(&'a self, norm: NormSpans<'a>) -> States<'a> {
        States { rows: self.rows, norm, x: C::span(&self.x), h: C::span(&self.h) }
    }
}

/// One forward pass.
pub(super) struct Pass<'a, C> {
    pub(super) kernels: &'a Kernels<'a, C>,
    pub(super) format: Format,
    pub(super) causal: bool,
}

impl<C: Compute> Pass<'_, C> {
    fn product(
        &self,
        rows: Rows,
        left: &C::Memory,
        right: &C::Memory,
        out: &C::Memory,
        columns: usize,
        depth: usize,
    ) -> Result<()> {
        self.kernels.product(&Product {
            format: self.format,
            left: C::span(left),
            right: C::span(right),
            out: C::span(out),
            wide: false,
            items: rows.items,
            rows: rows.per,
            columns,
            depth,
        })
    }

    /// From the first states, in `space.x` and normalised in `space.h`, to the wanted row of each item, normalised by
    /// `after`, in the first rows of `space.h`.
    ///
    /// # Safety
    /// `space.wanted` holds a row of each item.
    pub(super) unsafe fn run(
        &self,
        tower: &Tower<C::Memory>,
        space: &Space<C::Memory>,
        after: NormSpans<'_>,
    ) -> Result<()> {
        let (width, inner, format) = (space.rows.width, tower.intermediate, self.format);
        let span = |memory| -> Span<'_> { C::span(memory) };
        let mut norms = tower.blocks.iter().skip(1).map(|block| block.norm1.spans::<C>());
        for (i, block) in tower.blocks.iter().enumerate() {
            let mut rows = space.rows;
            let (mut x, mut attended) = (&space.x, &space.attended);
            self.product(rows, &space.h, &block.qkv, &space.qkv, 3 * width, width)?;
            let (qkv, bias) = (span(&space.qkv), span(&block.qkv_bias));
            self.kernels.attend(format, qkv, bias, rows, tower.heads, self.causal, span(attended))?;
            if i + 1 == tower.blocks.len() {
                let to = (&space.picked, &space.picked_attended);
                let wanted = span(&space.wanted);
                // SAFETY: handed on to the caller.
                unsafe {
                    self.kernels.pick(
                        format,
                        span(x),
                        span(attended),
                        wanted,
                        rows,
                        span(to.0),
                        span(to.1),
                    )?;
                }
                (x, attended) = to;
                rows.per = 1;
            }
            let product = span(&space.product);
            self.product(rows, attended, &block.out, &space.product, width, width)?;
            let states = |norm| States { rows, norm, x: span(x), h: span(&space.h) };
            let (bias, norm) = (span(&block.out_bias), block.norm2.spans::<C>());
            self.kernels.add_and_norm(format, product, bias, &states(norm))?;
            self.product(rows, &space.h, &block.up, &space.inner, inner, width)?;
            let (within, bias) = (span(&space.inner), span(&block.up_bias));
            let inside = Rows { width: inner, ..rows };
            self.kernels.bias_and_activation(format, within, bias, tower.activation, inside)?;
            self.product(rows, &space.inner, &block.down, &space.product, width, inner)?;
            let (bias, norm) = (span(&block.down_bias), norms.next().unwrap_or(after));
            self.kernels.add_and_norm(format, product, bias, &states(norm))?;
        }
        Ok(())
    }
}
