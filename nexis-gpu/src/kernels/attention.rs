//! Attention of whole sequences: `attention.cu`.

use nexis_core::{Error, Result};

use super::{Kernels, Rows, holds, named, number};
use crate::compute::{Argument, Compute, Format, Span};

/// `QUERIES` of `attention.cu`.
const QUERIES: usize = 64;
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
        let kernel = match size {
            ..=32 => named!(format, "attend_32"),
            33..=64 => named!(format, "attend_64"),
            65..=80 => named!(format, "attend_80"),
            81..=96 => named!(format, "attend_96"),
            _ => named!(format, "attend_128"),
        };
        let (parts, queries) = if asking == Asking::One { (2, per.min(1)) } else { (3, per) };
        let arguments = [
            holds(what, qkv, &[items, per, parts, width], 2)?,
            holds(what, bias, &[3, width], 4)?,
            Argument::U32(number(what, per)?),
            Argument::U32(number(what, heads)?),
            Argument::U32(number(what, size)?),
            Argument::U32(asking as u32),
            Argument::F32(1.0 / (size as f32).sqrt()),
            holds(what, out, &[items, queries, width], 2)?,
        ];
        // SAFETY: both hold every row of every sequence, and the kernel looks at none beyond `per`.
        unsafe { self.launch(kernel, [queries.div_ceil(QUERIES), heads, items], 128, &arguments) }
    }
}
