//! The transformer that both towers share.
//!
//! Between the products lies as little as there can be: a bias is added where its product is read next, and what is added to
//! the residual stream is normalised for the next product in the same sweep. Where one row of each sequence is wanted, it
//! alone is computed on after the last attention.

use nexis_core::model::towers::{Activation, TowerSizes};
use nexis_core::{Error, Result};

use super::weights::{Norm, Uploader};
use crate::compute::{Compute, Format, Product, Span};
use crate::kernels::{Asking, Kernels, NormSpans, Rows, States};

/// What is added to each row after attention.
pub(super) struct FeedForward<M> {
    norm: Norm<M>,
    up: M,
    up_bias: M,
    down: M,
    down_bias: M,
    intermediate: usize,
    activation: Activation,
}

impl<M> FeedForward<M> {
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        norm: &str,
        mlp: &str,
        sizes: &TowerSizes,
    ) -> Result<Self> {
        let (width, intermediate) = (sizes.width, sizes.intermediate);
        Ok(Self {
            norm: Norm::load(uploader, norm, sizes)?,
            up: uploader.padded(&format!("{mlp}.fc1.weight"), width, intermediate, width)?,
            up_bias: uploader.wide(&format!("{mlp}.fc1.bias"), &[intermediate])?,
            down: uploader.padded(&format!("{mlp}.fc2.weight"), intermediate, width, intermediate)?,
            down_bias: uploader.wide(&format!("{mlp}.fc2.bias"), &[width])?,
            intermediate,
            activation: sizes.activation,
        })
    }

    /// What normalises the rows that it reads.
    pub(super) fn norm<C: Compute<Memory = M>>(&self) -> NormSpans<'_> {
        self.norm.spans::<C>()
    }
}

/// One block.
struct Block<M> {
    norm: Norm<M>,
    /// Queries, keys and values side by side.
    qkv: M,
    qkv_bias: M,
    out: M,
    out_bias: M,
    feed_forward: FeedForward<M>,
}

/// What is wanted of a sequence behind the blocks, and what its rows see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// One row, which sees all.
    One,
    /// One row, which sees itself and the rows before it, as every row does.
    OneCausal,
    /// All rows, each of which sees all.
    All,
}

/// A stack of blocks.
pub(super) struct Tower<M> {
    blocks: Vec<Block<M>>,
    heads: usize,
    pool: Pool,
}

impl<M> Tower<M> {
    /// Blocks `name.0`, `name.1`, ...
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &TowerSizes,
        pool: Pool,
    ) -> Result<Self> {
        let width = sizes.width;
        let mut blocks = Vec::with_capacity(sizes.layers);
        for name in (0..sizes.layers).map(|i| format!("{name}.{i}")) {
            let parts = |what: &str| ["q", "k", "v"].map(|p| format!("{name}.self_attn.{p}_proj.{what}"));
            let one = |part: &str| format!("{name}.{part}");
            blocks.push(Block {
                norm: Norm::load(uploader, &one("layer_norm1"), sizes)?,
                qkv: uploader.stacked(&parts("weight"), width, width, width)?,
                qkv_bias: uploader.joined(&parts("bias"), width)?,
                out: uploader.padded(&one("self_attn.out_proj.weight"), width, width, width)?,
                out_bias: uploader.wide(&one("self_attn.out_proj.bias"), &[width])?,
                feed_forward: FeedForward::load(uploader, &one("layer_norm2"), &one("mlp"), sizes)?,
            });
        }
        Ok(Self { blocks, heads: sizes.heads, pool })
    }

    /// Whether a row sees itself and the rows before it alone.
    pub(super) fn is_causal(&self) -> bool {
        self.pool == Pool::OneCausal
    }

    /// What normalises the first states for the first block.
    pub(super) fn first_norm<C: Compute<Memory = M>>(&self) -> Result<NormSpans<'_>> {
        let block =
            self.blocks.first().ok_or_else(|| Error::Internal("a tower without blocks".to_owned()))?;
        Ok(block.norm.spans::<C>())
    }
}

/// What a pass over a batch writes.
pub(super) struct Space<M> {
    /// Those that there is room for.
    pub(super) rows: Rows,
    /// The residual stream, in 32 bits.
    pub(super) x: M,
    /// What a product reads.
    pub(super) h: M,
    /// What is attended to.
    pub(super) qkv: M,
    attended: M,
    /// What a product of the width gives.
    pub(super) product: M,
    /// Inside of a feed-forward block.
    inner: M,
    /// Number of the wanted row of each item.
    pub(super) wanted: M,
    /// The residual stream of one row of each item.
    pub(super) picked: M,
    pub(super) picked_attended: M,
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
            (take(items * per * sizes.intermediate * 2)?, take(items * 4)?),
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
    /// What the first states of so many rows are written to.
    pub(super) fn states<'a, C: Compute<Memory = M>>(
        &'a self,
        rows: Rows,
        norm: NormSpans<'a>,
    ) -> States<'a> {
        States { rows, norm, x: C::span(&self.x), h: C::span(&self.h) }
    }
}

/// One forward pass.
pub(super) struct Pass<'a, C> {
    pub(super) kernels: &'a Kernels<'a, C>,
    pub(super) format: Format,
    /// What is computed of a space, which may have room for more items.
    pub(super) rows: Rows,
    /// Items that the algorithms of products are chosen for.
    pub(super) usual: usize,
}

impl<C: Compute> Pass<'_, C> {
    pub(super) fn product(
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
            usual: self.usual,
            rows: rows.per,
            columns,
            depth,
        })
    }

    /// Adds a feed-forward block to the residual stream `x` of `rows`, which lies normalised in `space.h`, and normalises it
    /// by `then` into `space.h`.
    pub(super) fn feed_forward(
        &self,
        block: &FeedForward<C::Memory>,
        space: &Space<C::Memory>,
        rows: Rows,
        x: &C::Memory,
        then: NormSpans<'_>,
    ) -> Result<()> {
        let (width, inner) = (rows.width, block.intermediate);
        self.product(rows, &space.h, &block.up, &space.inner, inner, width)?;
        let (within, bias) = (C::span(&space.inner), C::span(&block.up_bias));
        let inside = Rows { width: inner, ..rows };
        self.kernels.bias_and_activation(self.format, within, bias, block.activation, inside)?;
        self.product(rows, &space.inner, &block.down, &space.product, width, inner)?;
        let states = States { rows, norm: then, x: C::span(x), h: C::span(&space.h) };
        self.kernels.add_and_norm(self.format, C::span(&space.product), C::span(&block.down_bias), &states)
    }

    /// From the first states, in `space.x` and normalised in `space.h`, to the states behind the blocks, normalised by
    /// `after` in `space.h`: those of all rows, or in its first rows the wanted one of each item.
    ///
    /// # Safety
    /// `space.wanted` holds a row of each item, unless all are wanted.
    pub(super) unsafe fn run(
        &self,
        tower: &Tower<C::Memory>,
        space: &Space<C::Memory>,
        after: NormSpans<'_>,
    ) -> Result<()> {
        let (width, format) = (self.rows.width, self.format);
        let span = |memory| -> Span<'_> { C::span(memory) };
        let asking = if tower.pool == Pool::OneCausal { Asking::Causal } else { Asking::Each };
        let mut norms = tower.blocks.iter().skip(1).map(|block| block.norm.spans::<C>());
        for (i, block) in tower.blocks.iter().enumerate() {
            let mut rows = self.rows;
            let (mut x, mut attended) = (&space.x, &space.attended);
            self.product(rows, &space.h, &block.qkv, &space.qkv, 3 * width, width)?;
            let (qkv, bias) = (span(&space.qkv), span(&block.qkv_bias));
            self.kernels.attend(format, qkv, bias, rows, tower.heads, asking, span(attended))?;
            if i + 1 == tower.blocks.len() && tower.pool != Pool::All {
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
            self.product(rows, attended, &block.out, &space.product, width, width)?;
            let norm = block.feed_forward.norm::<C>();
            let states = States { rows, norm, x: span(x), h: span(&space.h) };
            self.kernels.add_and_norm(format, span(&space.product), span(&block.out_bias), &states)?;
            let then = norms.next().unwrap_or(after);
            self.feed_forward(&block.feed_forward, space, rows, x, then)?;
        }
        Ok(())
    }
}
