//! What the network does with rows of states between its products: `rows.cu`.

use nexis_core::model::towers::Activation;
use nexis_core::{Error, Result};

use super::{Kernels, THREADS, are_whole, beyond, holds, named, number};
use crate::compute::{Argument, Compute, Format, Span};

/// Threads of a warp.
const WARP: u32 = 32;
/// Threads of a block in kernels whose threads hold many values.
const ROW_THREADS: u32 = 128;
/// `EIGHT` of `common.cuh`.
const EIGHT: usize = 8;
/// `ACTIVATED_ROWS` of `rows.cu`.
const ACTIVATED_ROWS: usize = 4;

/// A layer normalisation's weights.
#[derive(Clone, Copy, Debug)]
pub struct NormSpans<'a> {
    /// Factors, in 32 bits.
    pub weight: Span<'a>,
    /// What is added, in 32 bits.
    pub bias: Span<'a>,
    /// What is added to a variance.
    pub eps: f32,
}

/// Rows of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Sequences.
    pub items: usize,
    /// Rows of a sequence.
    pub per: usize,
    /// Values of a row.
    pub width: usize,
}

impl Rows {
    pub(super) const fn counts(self) -> [usize; 3] {
        [self.items, self.per, self.width]
    }
}

/// The rows that a kernel sweeps over, and what it writes of each: the residual stream, and that normalised.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    /// How many rows there are.
    pub rows: Rows,
    /// What normalises them.
    pub norm: NormSpans<'a>,
    /// The residual stream, in 32 bits.
    pub x: Span<'a>,
    /// What the next product reads.
    pub h: Span<'a>,
}

impl<C: Compute> Kernels<'_, C> {
    /// Blocks of kernels that give a warp to each row.
    fn by_rows(rows: Rows) -> Result<[usize; 3]> {
        let all = rows.items.checked_mul(rows.per).ok_or_else(|| beyond("rows"))?;
        number("rows", all)?;
        Ok([all.div_ceil((THREADS / WARP) as usize), 1, 1])
    }

    /// Runs a kernel over rows of states. `own` are its first arguments; those that follow say what the states are, with the
    /// rows of a sequence among them where the kernel tells sequences apart.
    ///
    /// # Safety
    /// `own` are the first arguments of the kernel's source, and hold what its rows say.
    unsafe fn sweep(
        &self,
        kernel: &'static str,
        what: &str,
        own: &[Argument],
        tells_apart: bool,
        states: &States<'_>,
    ) -> Result<()> {
        let States { rows, norm, x, h } = *states;
        let grid = Self::by_rows(rows)?;
        let mut arguments = own.to_vec();
        arguments.extend([
            holds(what, norm.weight, &[rows.width], 4)?,
            holds(what, norm.bias, &[rows.width], 4)?,
            Argument::F32(norm.eps),
            Argument::U32(number(what, rows.items * rows.per)?),
        ]);
        if tells_apart {
            arguments.push(Argument::U32(number(what, rows.per)?));
        }
        arguments.extend([
            Argument::U32(number(what, rows.width)?),
            holds(what, x, &rows.counts(), 4)?,
            holds(what, h, &rows.counts(), 2)?,
        ]);
        // SAFETY: the states hold what the rows say, and the caller vouches for the rest.
        unsafe { self.launch(kernel, grid, THREADS, &arguments) }
    }

    /// The first states of pictures; see `rows.cu`.
    ///
    /// # Errors
    /// As [`product`](Self::product).
    #[allow(clippy::too_many_arguments)]
    pub fn embed_pictures(
        &self,
        format: Format,
        patches: Span<'_>,
        patch_bias: Option<Span<'_>>,
        first: Option<Span<'_>>,
        positions: Span<'_>,
        before: Option<NormSpans<'_>>,
        states: &States<'_>,
    ) -> Result<()> {
        let what = "pictures' first states";
        let Rows { items, per, width } = states.rows;
        let with_patch = per.checked_sub(usize::from(first.is_some())).ok_or_else(|| beyond(what))?;
        let vector =
            |span: Option<Span<'_>>| span.map_or(Ok(Argument::Address(0)), |s| holds(what, s, &[width], 4));
        let own = [
            holds(what, patches, &[items, with_patch, width], 2)?,
            vector(patch_bias)?,
            vector(first)?,
            holds(what, positions, &[per, width], 4)?,
            vector(before.map(|norm| norm.weight))?,
            vector(before.map(|norm| norm.bias))?,
        ];
        // SAFETY: every span holds what the rows say.
        unsafe { self.sweep(named!(format, "embed_pictures"), what, &own, true, states) }
    }

    /// The first states of texts.
    ///
    /// # Safety
    /// Every token in device memory is below `vocabulary`: the kernel reads its row.
    ///
    /// # Errors
    /// As [`product`](Self::product).
    pub unsafe fn embed_texts(
        &self,
        format: Format,
        tokens: Span<'_>,
        (table, vocabulary): (Span<'_>, usize),
        positions: Span<'_>,
        states: &States<'_>,
    ) -> Result<()> {
        let what = "texts' first states";
        let Rows { items, per, width } = states.rows;
        let own = [
            holds(what, tokens, &[items, per], 4)?,
            holds(what, table, &[vocabulary, width], 2)?,
            holds(what, positions, &[per, width], 4)?,
        ];
        // SAFETY: every span holds what the rows say, and the caller has looked at the tokens.
        unsafe { self.sweep(named!(format, "embed_texts"), what, &own, true, states) }
    }

    /// Adds a product and its bias to the residual stream and normalises it.
    ///
    /// # Errors
    /// As [`product`](Self::product).
    pub fn add_and_norm(
        &self,
        format: Format,
        product: Span<'_>,
        bias: Span<'_>,
        states: &States<'_>,
    ) -> Result<()> {
        let what = "residual stream";
        let Rows { width, .. } = states.rows;
        let own = [holds(what, product, &states.rows.counts(), 2)?, holds(what, bias, &[width], 4)?];
        // SAFETY: every span holds what the rows say.
        unsafe { self.sweep(named!(format, "add_and_norm"), what, &own, false, states) }
    }

    /// One row of each sequence, by its number among all rows.
    ///
    /// # Safety
    /// Every number in device memory is below `rows.items * rows.per`.
    ///
    /// # Errors
    /// As [`product`](Self::product).
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn pick(
        &self,
        format: Format,
        x: Span<'_>,
        attended: Span<'_>,
        wanted: Span<'_>,
        rows: Rows,
        x_out: Span<'_>,
        attended_out: Span<'_>,
    ) -> Result<()> {
        let what = "wanted rows";
        let Rows { items, width, .. } = rows;
        let picked = Rows { per: 1, ..rows };
        let arguments = [
            holds(what, x, &rows.counts(), 4)?,
            holds(what, attended, &rows.counts(), 2)?,
            holds(what, wanted, &[items], 4)?,
            Argument::U32(number(what, items)?),
            Argument::U32(number(what, width)?),
            holds(what, x_out, &picked.counts(), 4)?,
            holds(what, attended_out, &picked.counts(), 2)?,
        ];
        // SAFETY: every span holds what the rows say, and the caller has looked at what is wanted.
        unsafe { self.launch(named!(format, "pick"), Self::by_rows(picked)?, THREADS, &arguments) }
    }

    /// Adds a bias and applies an activation, in place.
    ///
    /// # Errors
    /// As [`product`](Self::product), and for an activation without a kernel.
    pub fn bias_and_activation(
        &self,
        format: Format,
        product: Span<'_>,
        bias: Span<'_>,
        activation: Activation,
        rows: Rows,
    ) -> Result<()> {
        let what = "activation";
        let Rows { items, per, width } = rows;
        let arguments = [
            holds(what, product, &rows.counts(), 2)?,
            holds(what, bias, &[width], 4)?,
            Argument::U32(match activation {
                Activation::QuickGelu => 0,
                Activation::Gelu => 1,
                Activation::GeluTanh => 2,
                other => return Err(Error::usage(format!("activation {other:?}"), "no kernel has it")),
            }),
            Argument::U32(number(what, items * per)?),
            Argument::U32(number(what, width)?),
        ];
        let kernel = if are_whole(width, &[product, bias]) {
            named!(format, "bias_and_activation_8")
        } else {
            named!(format, "bias_and_activation")
        };
        let columns = width.div_ceil(EIGHT).div_ceil(ROW_THREADS as usize);
        let grid = [(items * per).div_ceil(ACTIVATED_ROWS), columns, 1];
        // SAFETY: no thread leaves the rows or their width, and vectors are read where they may be.
        unsafe { self.launch(kernel, grid, ROW_THREADS, &arguments) }
    }
}
