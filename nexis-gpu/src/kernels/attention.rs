//! Attention of whole sequences: `attention.cu`.

use nexis_core::{Error, Result};

use super::{Kernels, Rows, holds, named, number};
use crate::compute::{Argument, Compute, Format, Span};

/// Queries of a tile, and warps of a block, which take one tile each or two: `attention.cu`.
const TILE: usize = 16;
const WARPS: usize = 4;
/// Largest head of which a warp takes two tiles, where there are more than it has warps.
const MAX_HEAD_OF_TWO: usize = 80;
/// Largest head that `attention.cu` takes.
pub const MAX_HEAD: usize = 128;

/// Who asks in an attention; numbered as in `attention.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Every row, of all rows of its sequence.
    Each = 0,
    /// Every row, of itself and the rows before it.
    Causal = 1,
    /// One query, the same for every sequence, of all rows. It stands in the place of its bias.
    One = 2,
}

impl<C: Compute> Kernels<'_, C> {
    /// Attention of sequences, from `[items, per, 3 * width]` to `[items, per, width]`; of [`Asking::One`], from keys and
    /// values `[items, per, 2 * width]` to `[items, width]`.
    ///
    /// # Errors
    /// As [`product`](Self::product), and for heads without a kernel.
    #[allow(clippy::too_many_arguments)]
    pub fn attend(
        &self,
        format: Format,
        qkv: Span<'_>,
        bias: Span<'_>,
        rows: Rows,
        heads: usize,
        asking: Asking,
        out: Span<'_>,
    ) -> Result<()> {
        let what = "attention";
        let Rows { items, per, width } = rows;
        let size = width.checked_div(heads).unwrap_or(0);
        if size == 0 || size * heads != width || !size.is_multiple_of(2) || size > MAX_HEAD {
            let why = format!("even heads of up to {MAX_HEAD} values are expected on a GPU");
            return Err(Error::usage(format!("{heads} heads of {width} values"), why));
        }
        if !(qkv.address() | out.address()).is_multiple_of(4) {
            return Err(Error::Internal(format!("{what}: its memory begins within a pair of values")));
        }
        let (parts, queries) = if asking == Asking::One { (2, per.min(1)) } else { (3, per) };
        let short = queries <= TILE * WARPS;
        let kernel = match size {
            ..=32 if short => named!(format, "attend_32_short"),
            ..=32 => named!(format, "attend_32"),
            33..=64 if short => named!(format, "attend_64_short"),
            33..=64 => named!(format, "attend_64"),
            65..=80 if short => named!(format, "attend_80_short"),
            65..=80 => named!(format, "attend_80"),
            81..=96 => named!(format, "attend_96"),
            _ => named!(format, "attend_128"),
        };
        let tiles = if size <= MAX_HEAD_OF_TWO && !short { 2 * WARPS } else { WARPS };
        // Rows begin where the memory does and at multiples of a head.
        let pieces = size.is_multiple_of(8) && qkv.address().is_multiple_of(16);
        let arguments = [
            holds(what, qkv, &[items, per, parts, width], 2)?,
            holds(what, bias, &[3, width], 4)?,
            Argument::U32(number(what, per)?),
            Argument::U32(number(what, heads)?),
            Argument::U32(number(what, size)?),
            Argument::U32(asking as u32),
            Argument::U32(pieces.into()),
            Argument::F32(1.0 / (size as f32).sqrt()),
            holds(what, out, &[items, queries, width], 2)?,
        ];
        let grid = [queries.div_ceil(TILE).div_ceil(tiles), heads, items];
        // SAFETY: both hold every row of every sequence, and the kernel looks at none beyond `per`; no block has more tiles
        // than its warps take.
        unsafe { self.launch(kernel, grid, 128, &arguments) }
    }
}
