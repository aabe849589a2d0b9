//! From a decoder's picture to the network's input: `pixels.cu`.

use nexis_core::media::resize::{Resample, Taps};
use nexis_core::media::tiles::MAX_TILES;
use nexis_core::media::yuv::Coefficients;
use nexis_core::{Error, Result};

use super::{Kernels, THREADS, beyond, holds, named, no_room, number};
use crate::compute::{Argument, Compute, Format, Span};

/// `RESIZED_ROWS` of `pixels.cu`.
const RESIZED_ROWS: usize = 4;
/// `KEPT_BYTES` of `pixels.cu`.
const KEPT_BYTES: u32 = 26_624;

/// `Yuv` of `pixels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct YuvArgument {
    planes: [u64; 3],
    width: u32,
    height: u32,
    stride: u32,
    chroma_stride: u32,
    sample_bytes: u32,
    down: u32,
    log2_x: u32,
    log2_y: u32,
    coefficients: [i32; 8],
}

/// `Taps` of `pixels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TapsArgument {
    starts: u64,
    counts: u64,
    weights: u64,
    outputs: u32,
}

/// `Tiles` of `pixels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TilesArgument {
    size: u32,
    patch: u32,
    grid: u32,
    row: u32,
    width: u32,
    picture: u64,
    count: u32,
    left: [u32; 8],
    top: [u32; 8],
    kept: u32,
    as_is: u32,
}

/// The chroma of a picture in device memory.
#[derive(Clone, Copy, Debug)]
pub enum DeviceChroma<'a> {
    /// None: a grey picture.
    None,
    /// U and V in planes of their own, of one stride.
    Planar(Span<'a>, Span<'a>),
    /// U and V alternating (NV12, P010).
    Interleaved(Span<'a>),
}

/// A picture as a decoder holds it, in device memory; the names are those of [`nexis_core::media::yuv::Yuv`].
#[derive(Clone, Copy, Debug)]
pub struct DeviceYuv<'a> {
    /// Width in samples.
    pub width: u32,
    /// Height in rows.
    pub height: u32,
    /// Bytes of a sample: 1 or 2.
    pub sample_bytes: u32,
    /// Bits to shift a sample right by: 6 where ten bits lie in the upper end (P010).
    pub down: u32,
    /// Log2 of the horizontal chroma subsampling.
    pub log2_x: u32,
    /// Log2 of the vertical chroma subsampling.
    pub log2_y: u32,
    /// Luma.
    pub luma: Span<'a>,
    /// Bytes from a row of luma to the next.
    pub stride: u32,
    /// Chroma.
    pub chroma: DeviceChroma<'a>,
    /// Bytes from a row of chroma to the next.
    pub chroma_stride: u32,
    /// The integers of the conversion.
    pub coefficients: Coefficients,
}

impl DeviceYuv<'_> {
    /// The kernel's argument, once every plane is found to hold what the size says.
    fn argument(&self) -> Result<YuvArgument> {
        let what = "picture";
        let (width, height) = (self.width as usize, self.height as usize);
        if width == 0
            || height == 0
            || self.log2_x > 1
            || self.log2_y > 1
            || ![1, 2].contains(&self.sample_bytes)
        {
            return Err(Error::Internal(format!("{what}: {width}x{height} of this layout is not converted")));
        }
        let sample = self.sample_bytes as usize;
        let plane = |span: Span<'_>, stride: u32, row_bytes: usize, rows: usize| {
            let last = (rows - 1).checked_mul(stride as usize).and_then(|at| at.checked_add(row_bytes));
            // Samples of two bytes are read whole.
            let aligned =
                (span.address() as usize).is_multiple_of(sample) && (stride as usize).is_multiple_of(sample);
            match last {
                Some(needed) if needed <= span.bytes() && row_bytes <= stride as usize && aligned => {
                    Ok(span.address())
                }
                _ => Err(beyond(what)),
            }
        };
        let y = plane(self.luma, self.stride, width * sample, height)?;
        let chroma_row = width.div_ceil(1 << self.log2_x) * sample;
        let chroma_rows = height.div_ceil(1 << self.log2_y);
        let (u, v) = match self.chroma {
            DeviceChroma::None => (0, 0),
            DeviceChroma::Planar(u, v) => (
                plane(u, self.chroma_stride, chroma_row, chroma_rows)?,
                plane(v, self.chroma_stride, chroma_row, chroma_rows)?,
            ),
            DeviceChroma::Interleaved(both) => {
                (plane(both, self.chroma_stride, chroma_row * 2, chroma_rows)?, 0)
            }
        };
        let k = self.coefficients;
        Ok(YuvArgument {
            planes: [y, u, v],
            width: self.width,
            height: self.height,
            stride: self.stride,
            chroma_stride: self.chroma_stride,
            sample_bytes: self.sample_bytes,
            down: self.down,
            log2_x: self.log2_x,
            log2_y: self.log2_y,
            coefficients: [
                k.cy,
                k.crv,
                k.cgu,
                k.cgv,
                k.cbu,
                k.y0,
                k.c0,
                i32::try_from(k.shift).unwrap_or(16),
            ],
        })
    }
}

/// Taps in device memory.
pub struct DeviceTaps<M> {
    memory: M,
    inputs: u32,
    outputs: u32,
}

impl<M> DeviceTaps<M> {
    /// Uploads the taps that take `inputs` samples to `outputs` samples.
    ///
    /// # Errors
    /// [`Error::Usage`] for sizes that are not resized; where the device has no room or fails.
    pub fn upload<C: Compute<Memory = M>>(
        compute: &C,
        inputs: u32,
        outputs: u32,
        resample: Resample,
    ) -> Result<Self> {
        let taps = Taps::between(inputs, outputs, resample)?;
        let words = |values: &[usize]| values.iter().map(|&x| x as u32).collect::<Vec<_>>();
        let (starts, counts) = (words(taps.starts()), words(taps.counts()));
        // The first weight of every output, the second of every one, ...
        let width = taps.width();
        let weights = (0..width).flat_map(|k| taps.weights().iter().skip(k).step_by(width));
        let weights = weights.map(|&w| w.cast_unsigned());
        let bytes: Vec<u8> =
            starts.iter().chain(&counts).copied().chain(weights).flat_map(u32::to_le_bytes).collect();
        let memory = compute.allocate(bytes.len())?.ok_or_else(|| no_room("taps", bytes.len()))?;
        compute.upload(&bytes, C::span(&memory))?;
        Ok(Self { memory, inputs, outputs })
    }

    fn argument<C: Compute<Memory = M>>(&self) -> TapsArgument {
        let (starts, column) = (C::span(&self.memory).address(), u64::from(self.outputs) * 4);
        TapsArgument { starts, counts: starts + column, weights: starts + 2 * column, outputs: self.outputs }
    }
}

/// Where the tiles of pictures lie, and how the network wants them.
#[derive(Clone, Debug)]
pub struct TilePlan {
    /// Edge of a tile.
    pub size: u32,
    /// Edge of a patch; as large as the tile where the whole picture is wanted, channel by channel.
    pub patch: u32,
    /// Values from a patch to the next.
    pub row: u32,
    /// Size of the picture whose columns are to be resized: width, and height before and after.
    pub width: u32,
    /// Left and upper edge of each tile, at most seven.
    pub corners: Vec<(u32, u32)>,
}

/// What the network's input is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// 32 bits.
    F32,
    /// 16 bits.
    Short(Format),
}

impl<C: Compute> Kernels<'_, C> {
    /// Packed RGB of a picture, turned clockwise by `turns` right angles.
    ///
    /// # Errors
    /// Where a span is too small, or the device refuses.
    pub fn yuv_to_rgb(&self, yuv: &DeviceYuv<'_>, turns: u32, out: Span<'_>) -> Result<()> {
        let (width, height) = (yuv.width as usize, yuv.height as usize);
        let arguments = [
            Argument::Yuv(yuv.argument()?),
            Argument::U32(turns),
            holds("RGB", out, &[width, height, 3], 1)?,
        ];
        let grid = [width.div_ceil(THREADS as usize), height, 1];
        // SAFETY: the planes and the result hold what the size says; a thread writes the pixel that it reads.
        unsafe { self.launch("yuv_to_rgb", grid, THREADS, &arguments) }
    }

    /// Resizes the rows of `height` rows of packed RGB.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    pub fn rows_from_rgb(
        &self,
        rgb: Span<'_>,
        height: usize,
        taps: &DeviceTaps<C::Memory>,
        out: Span<'_>,
    ) -> Result<()> {
        let arguments = [
            holds("RGB", rgb, &[height, taps.inputs as usize, 3], 1)?,
            Argument::U32(taps.inputs),
            Argument::U32(number("rows", height)?),
            Argument::Taps(taps.argument::<C>()),
            holds("resized rows", out, &[height, taps.outputs as usize, 3], 1)?,
        ];
        let values = (taps.outputs as usize * 3).div_ceil(THREADS as usize);
        // SAFETY: both hold what the taps read and write.
        unsafe {
            self.launch("rows_from_rgb", [height.div_ceil(RESIZED_ROWS), values, 1], THREADS, &arguments)
        }
    }

    /// Resizes the columns of `[.., width, 3]`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    pub fn columns_to_bytes(
        &self,
        rows: Span<'_>,
        width: usize,
        taps: &DeviceTaps<C::Memory>,
        out: Span<'_>,
    ) -> Result<()> {
        let arguments = [
            holds("rows", rows, &[taps.inputs as usize, width, 3], 1)?,
            Argument::U32(number("columns", width)?),
            Argument::Taps(taps.argument::<C>()),
            holds("resized columns", out, &[taps.outputs as usize, width, 3], 1)?,
        ];
        let grid = [(width * 3).div_ceil(THREADS as usize), taps.outputs as usize, 1];
        // SAFETY: both hold what the taps read and write.
        unsafe { self.launch("columns_to_bytes", grid, THREADS, &arguments) }
    }

    /// Resizes the columns of `pictures` pictures `[taps.inputs, plan.width, 3]` that lie one after another, cuts the
    /// tiles and writes the network's input, `[pictures, tiles, patches, plan.row]`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    #[allow(clippy::too_many_arguments)]
    pub fn columns_to_input(
        &self,
        rows: Span<'_>,
        pictures: usize,
        taps: &DeviceTaps<C::Memory>,
        plan: &TilePlan,
        levels: Span<'_>,
        format: InputFormat,
        out: Span<'_>,
    ) -> Result<()> {
        let what = "tiles";
        let patch = plan.patch;
        let edges = |&(left, top): &(u32, u32)| {
            let inside = |at: u32, edge: u32| at.checked_add(plan.size).is_some_and(|end| end <= edge);
            inside(left, plan.width) && inside(top, taps.outputs)
        };
        let used = (patch as usize).checked_mul(patch as usize).and_then(|n| n.checked_mul(3));
        if patch == 0
            || patch > plan.size
            || used.is_none_or(|used| used > plan.row as usize)
            || plan.corners.is_empty()
            || plan.corners.len() > MAX_TILES as usize
            || !plan.corners.iter().all(edges)
        {
            return Err(beyond(what));
        }
        let grid = plan.size / patch;
        let (lines, step) = (u64::from(taps.inputs), u64::from(plan.width) * 3);
        let mut tiles = TilesArgument {
            size: plan.size,
            patch,
            grid,
            row: plan.row,
            width: plan.width,
            picture: step * lines,
            count: number(what, plan.corners.len())?,
            left: [0; 8],
            top: [0; 8],
            kept: 0,
            as_is: 0,
        };
        for (i, (left, top)) in plan.corners.iter().enumerate() {
            if let (Some(x), Some(y)) = (tiles.left.get_mut(i), tiles.top.get_mut(i)) {
                (*x, *y) = (*left, *top);
            }
        }
        let all = pictures.checked_mul(plan.corners.len()).ok_or_else(|| beyond(what))?;
        // Lines of patches that a block can keep go out as whole vectors, and come in as such where nothing is resized.
        let whole = |x: u64| x.is_multiple_of(16);
        let kept = (grid * patch).saturating_mul(3).div_ceil(16) | 1;
        let fits =
            kept.checked_mul(16).and_then(|line| line.checked_mul(patch)).is_some_and(|n| n <= KEPT_BYTES);
        let vectors = fits && plan.row.is_multiple_of(8) && whole(out.address());
        if vectors {
            let lefts = plan.corners.iter().all(|(left, _)| whole(u64::from(*left) * 3));
            tiles.kept = kept * 16;
            tiles.as_is =
                (taps.inputs == taps.outputs && lefts && whole(step) && whole(rows.address())).into();
        }
        let (kernel, bytes, blocks) = match format {
            InputFormat::F32 => ("columns_to_input_f32", 4, grid * patch),
            InputFormat::Short(format) if vectors => (named!(format, "patches_to_input"), 2, grid),
            InputFormat::Short(format) => (named!(format, "columns_to_input"), 2, grid * patch),
        };
        // A frame's tiles have few lines of patches, and much to add up for each.
        let threads = if vectors && tiles.as_is == 0 { 2 * THREADS } else { THREADS };
        let arguments = [
            holds("rows", rows, &[pictures, taps.inputs as usize, plan.width as usize, 3], 1)?,
            Argument::Taps(taps.argument::<C>()),
            Argument::Tiles(tiles),
            holds("levels", levels, &[3, 256], 4)?,
            holds("input", out, &[all, (grid * grid) as usize, plan.row as usize], bytes)?,
        ];
        // SAFETY: the rows hold what the taps read, each tile lies within what comes out, and so do its patches; what a block
        // keeps has room, and vectors are read and written where they may be: one that a line begins, the line ends.
        unsafe { self.launch(kernel, [blocks as usize, all, 1], threads, &arguments) }
    }
}
