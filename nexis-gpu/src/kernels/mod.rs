//! The kernels of `../kernels` as functions: every size is checked here, before a launch, so that no index leaves its memory.

#![allow(unsafe_code)]

mod attention;
mod pixels;
mod rows;

use nexis_core::{Error, Result};

use crate::compute::{Argument, Compute, Launch, Product, Span};

pub use attention::{Asking, MAX_HEAD};
pub use pixels::{
    DeviceChroma, DeviceTaps, DeviceYuv, InputFormat, TapsArgument, TilePlan, TilesArgument, YuvArgument,
};
pub use rows::{NormSpans, Rows, States};

/// Threads of a block in most kernels.
const THREADS: u32 = 256;
/// Most blocks along the second and third axis of a grid.
const MAX_BLOCKS: usize = 65_535;

/// Says that a launch would leave its memory, which is a defect.
fn beyond(what: &str) -> Error {
    Error::Internal(format!("{what}: the memory is smaller than the sizes say"))
}

fn number(what: &str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Internal(format!("{what}: {value} is too large for a kernel")))
}

/// That a span holds `count` values of `bytes` each.
fn holds(what: &str, span: Span<'_>, counts: &[usize], bytes: usize) -> Result<Argument> {
    let needed = counts.iter().try_fold(bytes, |product, count| product.checked_mul(*count));
    match needed {
        Some(needed) if needed <= span.bytes() => Ok(Argument::Address(span.address())),
        _ => Err(beyond(what)),
    }
}

/// Whether rows of `width` values of two or four bytes consist of vectors of sixteen bytes, wherever these arguments point. Where
/// they do not, a kernel takes value by value, in the same order.
fn are_whole(width: usize, arguments: &[Argument]) -> bool {
    let split = |argument: &Argument| matches!(argument, Argument::Address(at) if !at.is_multiple_of(16));
    width.is_multiple_of(8) && !arguments.iter().any(split)
}

/// Says that the device's memory is used up.
pub(crate) fn no_room(what: &str, bytes: usize) -> Error {
    Error::Unavailable {
        what: format!("{bytes} bytes of the device's memory for {what}"),
        why: "there is no room; stop what else runs there, or choose a smaller batch (--batch, model.batch)"
            .to_owned(),
    }
}

/// The name of a kernel, from its parts, in one of the two formats.
macro_rules! named {
    ($format:expr, $($name:literal),+) => {
        match $format {
            Format::Bf16 => concat!($($name,)+ "_bf16"),
            Format::F16 => concat!($($name,)+ "_f16"),
        }
    };
}
use named;

/// The kernels on one device.
pub struct Kernels<'c, C>(pub &'c C);

impl<C: Compute> Kernels<'_, C> {
    /// Runs `kernel`.
    ///
    /// # Safety
    /// As [`Compute::launch`].
    unsafe fn launch(
        &self,
        kernel: &'static str,
        grid: [usize; 3],
        threads: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        let [x, y, z] = grid;
        if y > MAX_BLOCKS || z > MAX_BLOCKS {
            return Err(Error::Internal(format!("{kernel}: a grid of {x}x{y}x{z} blocks")));
        }
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let grid = [number(kernel, x)?, number(kernel, y)?, number(kernel, z)?];
        // SAFETY: handed on to the caller.
        unsafe { self.0.launch(&Launch { kernel, grid, threads, arguments }) }
    }

    /// A product, once its spans are found to hold it.
    ///
    /// # Errors
    /// Where a span is too small, or the device refuses.
    pub fn product(&self, product: &Product<'_>) -> Result<()> {
        let Product { items, rows, columns, depth, .. } = *product;
        holds("product", product.left, &[items, rows, depth], 2)?;
        holds("product", product.right, &[columns, depth], 2)?;
        holds("product", product.out, &[items, rows, columns], if product.wide { 4 } else { 2 })?;
        // SAFETY: checked above.
        unsafe { self.0.product(product) }
    }
}
