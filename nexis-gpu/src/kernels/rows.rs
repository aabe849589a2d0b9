//! What the network does with rows of states between its products: `rows.cu`.

use nexis_core::model::towers::Activation;
use nexis_core::{Error, Result};

use super::{Kernels, are_whole, beyond, holds, named, number};
use crate::compute::{Argument, Compute, Format, Span};

/// Threads of a warp.
const WARP: u32 = 32;
/// Threads of a block in kernels whose threads hold many values.
const ROW_THREADS: u32 = 128;
/// `EIGHT` of `common.cuh`.
const EIGHT: usize = 8;
/// `ACTIVATED_ROWS` of `rows.cu`.
const ACTIVATED_ROWS: usize = 4;

/// A kernel for rows of whole vectors, or for any.
macro_rules! by_vectors {
    ($format:expr, $name:literal, $whole:expr) => {
        if $whole { named!($format, $name, "_8") } else { named!($format, $name) }
    };
}

/// A kernel for rows of any width, and those that keep 1, 2, ... vectors of a lane in registers.
macro_rules! by_width {
    ($format:expr, $name:literal) => {
        [
            named!($format, $name),
            named!($format, $name, "_1"),
            named!($format, $name, "_2"),
            named!($format, $name, "_3"),
            named!($format, $name, "_4"),
            named!($format, $name, "_5"),
            named!($format, $name, "_6"),
        ]
    };
}

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
    /// Runs that kernel of `kernels` over rows of states which their width and where they lie choose, a warp for each row. `own` are its first arguments; those that follow say what the states are, with the
    /// rows of a sequence among them where the kernel tells sequences apart.
    ///
    /// # Safety
    /// `own` are the first arguments of the kernels' source, and hold what its rows say.
    unsafe fn sweep(
        &self,
        kernels: [&'static str; 7],
        what: &str,
        own: &[Argument],
        tells_apart: bool,
        states: &States<'_>,
    ) -> Result<()> {
        let States { rows, norm, x, h } = *states;
        let all = rows.items.checked_mul(rows.per).ok_or_else(|| beyond(what))?;
        let mut arguments = own.to_vec();
        arguments.extend([
            holds(what, norm.weight, &[rows.width], 4)?,
            holds(what, norm.bias, &[rows.width], 4)?,
            Argument::F32(norm.eps),
            Argument::U32(number(what, all)?),
        ]);
        if tells_apart {
            arguments.push(Argument::U32(number(what, rows.per)?));
        }
        arguments.extend([
            Argument::U32(number(what, rows.width)?),
            holds(what, x, &rows.counts(), 4)?,
            holds(what, h, &rows.counts(), 2)?,
        ]);
        let [any, held @ ..] = kernels;
        let vectors = rows.width.div_ceil(EIGHT * WARP as usize);
        let held =
            vectors.checked_sub(1).and_then(|i| held.get(i)).filter(|_| are_whole(rows.width, &arguments));
        let grid = [all.div_ceil((ROW_THREADS / WARP) as usize), 1, 1];
        // SAFETY: the states hold what the rows say, and the caller vouches for the rest; vectors are read where they may be.
        unsafe { self.launch(held.copied().unwrap_or(any), grid, ROW_THREADS, &arguments) }
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
        unsafe { self.sweep(by_width!(format, "embed_pictures"), what, &own, true, states) }
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
        unsafe { self.sweep(by_width!(format, "embed_texts"), what, &own, true, states) }
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
        unsafe { self.sweep(by_width!(format, "add_and_norm"), what, &own, false, states) }
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
            Argument::U32(number(what, width)?),
            holds(what, x_out, &picked.counts(), 4)?,
            holds(what, attended_out, &picked.counts(), 2)?,
        ];
        let kernel = by_vectors!(format, "pick", are_whole(width, &arguments));
        // SAFETY: every span holds what the rows say, and the caller has looked at what is wanted.
        unsafe { self.launch(kernel, [items, 1, 1], ROW_THREADS, &arguments) }
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
        let kernel = by_vectors!(format, "bias_and_activation", are_whole(width, &arguments));
        let columns = width.div_ceil(EIGHT).div_ceil(ROW_THREADS as usize);
        let grid = [(items * per).div_ceil(ACTIVATED_ROWS), columns, 1];
        // SAFETY: no thread leaves the rows or their width, and vectors are read where they may be.
        unsafe { self.launch(kernel, grid, ROW_THREADS, &arguments) }
    }
}
