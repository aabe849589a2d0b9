//! The kernels of `../kernels` as functions: every size is checked here, before a launch, so that no index leaves its memory.

#![allow(unsafe_code)]

use nexis_core::media::resize::{Resample, Taps};
use nexis_core::media::tiles::MAX_TILES;
use nexis_core::media::yuv::Coefficients;
use nexis_core::model::towers::Activation;
use nexis_core::{Error, Result};

use crate::compute::{Argument, Compute, Format, Launch, Product, Span};

/// Threads of a block in most kernels.
const THREADS: u32 = 256;
/// Threads of a warp.
const WARP: u32 = 32;
/// Most blocks along the second and third axis of a grid.
const MAX_BLOCKS: usize = 65_535;
/// `ROW_PIXELS` of `pixels.cu`.
pub const ROW_PIXELS: u32 = 4096;
/// `QUERIES` of `attention.cu`.
const QUERIES: usize = 64;
/// Largest head that `attention.cu` takes.
pub const MAX_HEAD: usize = 128;

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
    width: u32,
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
    width: u32,
}

impl<M> DeviceTaps<M> {
    /// Uploads the taps that take `inputs` samples to `outputs` samples.
    ///
    /// # Errors
    /// [`Error::Usage`] for sizes that are not resized; where the device has no room or fails.
    pub fn upload<C: Compute<Memory = M>>(compute: &C, inputs: u32, outputs: u32) -> Result<Self> {
        let taps = Taps::between(inputs, outputs, Resample::Bicubic)?;
        let words = |values: &[usize]| values.iter().map(|&x| x as u32).collect::<Vec<_>>();
        let (starts, counts) = (words(taps.starts()), words(taps.counts()));
        let weights = taps.weights().iter().map(|&w| w.cast_unsigned());
        let bytes: Vec<u8> =
            starts.iter().chain(&counts).copied().chain(weights).flat_map(u32::to_le_bytes).collect();
        let memory = compute.allocate(bytes.len())?.ok_or_else(|| no_room("taps", bytes.len()))?;
        compute.upload(&bytes, C::span(&memory))?;
        Ok(Self { memory, inputs, outputs, width: number("taps", taps.width())? })
    }

    /// Samples that come out.
    pub const fn outputs(&self) -> u32 {
        self.outputs
    }

    fn argument<C: Compute<Memory = M>>(&self) -> TapsArgument {
        let (starts, column) = (C::span(&self.memory).address(), u64::from(self.outputs) * 4);
        TapsArgument {
            starts,
            counts: starts + column,
            weights: starts + 2 * column,
            width: self.width,
            outputs: self.outputs,
        }
    }
}

/// Says that the device's memory is used up.
pub(crate) fn no_room(what: &str, bytes: usize) -> Error {
    Error::Unavailable {
        what: format!("{bytes} bytes of the device's memory for {what}"),
        why: "there is no room; stop what else runs there, or choose a smaller batch".to_owned(),
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
    const fn counts(self) -> [usize; 3] {
        [self.items, self.per, self.width]
    }
}

/// The name of a kernel in one of the two formats.
macro_rules! named {
    ($format:expr, $name:literal) => {
        match $format {
            Format::Bf16 => concat!($name, "_bf16"),
            Format::F16 => concat!($name, "_f16"),
        }
    };
}

/// What the network's input is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// 32 bits.
    F32,
    /// 16 bits.
    Short(Format),
}

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

    /// Converts a picture and resizes its rows, `[height, taps.outputs(), 3]`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb); also above [`ROW_PIXELS`] columns.
    pub fn rows_from_yuv(
        &self,
        yuv: &DeviceYuv<'_>,
        taps: &DeviceTaps<C::Memory>,
        out: Span<'_>,
    ) -> Result<()> {
        if yuv.width > ROW_PIXELS || taps.inputs != yuv.width {
            return Err(Error::Internal(format!("rows of {} pixels for taps of {}", yuv.width, taps.inputs)));
        }
        let height = yuv.height as usize;
        let arguments = [
            Argument::Yuv(yuv.argument()?),
            Argument::Taps(taps.argument::<C>()),
            holds("resized rows", out, &[height, taps.outputs as usize, 3], 1)?,
        ];
        // SAFETY: as above; the row fits the block's memory, and the taps were made for its width.
        unsafe { self.launch("rows_from_yuv", [height, 1, 1], THREADS, &arguments) }
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
            Argument::Taps(taps.argument::<C>()),
            holds("resized rows", out, &[height, taps.outputs as usize, 3], 1)?,
        ];
        // SAFETY: both hold what the taps read and write.
        unsafe { self.launch("rows_from_rgb", [height, 1, 1], THREADS, &arguments) }
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
        let mut tiles = TilesArgument {
            size: plan.size,
            patch,
            grid,
            row: plan.row,
            width: plan.width,
            picture: u64::from(plan.width) * u64::from(taps.inputs) * 3,
            count: number(what, plan.corners.len())?,
            left: [0; 8],
            top: [0; 8],
        };
        for (i, (left, top)) in plan.corners.iter().enumerate() {
            if let (Some(x), Some(y)) = (tiles.left.get_mut(i), tiles.top.get_mut(i)) {
                (*x, *y) = (*left, *top);
            }
        }
        let all = pictures.checked_mul(plan.corners.len()).ok_or_else(|| beyond(what))?;
        let (kernel, bytes) = match format {
            InputFormat::F32 => ("columns_to_input_f32", 4),
            InputFormat::Short(format) => (named!(format, "columns_to_input"), 2),
        };
        let arguments = [
            holds("rows", rows, &[pictures, taps.inputs as usize, plan.width as usize, 3], 1)?,
            Argument::Taps(taps.argument::<C>()),
            Argument::Tiles(tiles),
            holds("levels", levels, &[3, 256], 4)?,
            holds("input", out, &[all, (grid * grid) as usize, plan.row as usize], bytes)?,
        ];
        // SAFETY: the rows hold what the taps read, each tile lies within what comes out, and so do its patches.
        unsafe { self.launch(kernel, [(grid * patch) as usize, all, 1], THREADS, &arguments) }
    }

    /// A product, once its spans are found to hold it.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    pub fn product(&self, product: &Product<'_>) -> Result<()> {
        let Product { items, rows, columns, depth, .. } = *product;
        holds("product", product.left, &[items, rows, depth], 2)?;
        holds("product", product.right, &[columns, depth], 2)?;
        holds("product", product.out, &[items, rows, columns], if product.wide { 4 } else { 2 })?;
        // SAFETY: checked above.
        unsafe { self.0.product(product) }
    }

    /// Blocks of kernels that give a warp to each row, and the arguments that say how many rows there are.
    fn by_rows(rows: Rows) -> Result<[usize; 3]> {
        let all = rows.items.checked_mul(rows.per).ok_or_else(|| beyond("rows"))?;
        number("rows", all)?;
        Ok([all.div_ceil((THREADS / WARP) as usize), 1, 1])
    }

    /// The first states of pictures; see `rows.cu`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    #[allow(clippy::too_many_arguments)]
    pub fn embed_pictures(
        &self,
        format: Format,
        patches: Span<'_>,
        patch_bias: Option<Span<'_>>,
        first: Option<Span<'_>>,
        positions: Span<'_>,
        before: Option<NormSpans<'_>>,
        norm: NormSpans<'_>,
        rows: Rows,
        x: Span<'_>,
        h: Span<'_>,
    ) -> Result<()> {
        let what = "pictures' first states";
        let Rows { items, per, width } = rows;
        let with_patch = per.checked_sub(usize::from(first.is_some())).ok_or_else(|| beyond(what))?;
        let vector =
            |span: Option<Span<'_>>| span.map_or(Ok(Argument::Address(0)), |s| holds(what, s, &[width], 4));
        let arguments = [
            holds(what, patches, &[items, with_patch, width], 2)?,
            vector(patch_bias)?,
            vector(first)?,
            holds(what, positions, &[per, width], 4)?,
            vector(before.map(|norm| norm.weight))?,
            vector(before.map(|norm| norm.bias))?,
            vector(Some(norm.weight))?,
            vector(Some(norm.bias))?,
            Argument::F32(norm.eps),
            Argument::U32(number(what, items * per)?),
            Argument::U32(number(what, per)?),
            Argument::U32(number(what, width)?),
            holds(what, x, &rows.counts(), 4)?,
            holds(what, h, &rows.counts(), 2)?,
        ];
        // SAFETY: every span holds what the rows say.
        unsafe { self.launch(named!(format, "embed_pictures"), Self::by_rows(rows)?, THREADS, &arguments) }
    }

    /// The first states of texts.
    ///
    /// # Safety
    /// Every token in device memory is below `vocabulary`: the kernel reads its row.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn embed_texts(
        &self,
        format: Format,
        tokens: Span<'_>,
        (table, vocabulary): (Span<'_>, usize),
        positions: Span<'_>,
        norm: NormSpans<'_>,
        rows: Rows,
        x: Span<'_>,
        h: Span<'_>,
    ) -> Result<()> {
        let what = "texts' first states";
        let Rows { items, per, width } = rows;
        let arguments = [
            holds(what, tokens, &[items, per], 4)?,
            holds(what, table, &[vocabulary, width], 2)?,
            holds(what, positions, &[per, width], 4)?,
            holds(what, norm.weight, &[width], 4)?,
            holds(what, norm.bias, &[width], 4)?,
            Argument::F32(norm.eps),
            Argument::U32(number(what, items * per)?),
            Argument::U32(number(what, per)?),
            Argument::U32(number(what, width)?),
            holds(what, x, &rows.counts(), 4)?,
            holds(what, h, &rows.counts(), 2)?,
        ];
        // SAFETY: every span holds what the rows say, and the caller has looked at the tokens.
        unsafe { self.launch(named!(format, "embed_texts"), Self::by_rows(rows)?, THREADS, &arguments) }
    }

    /// Adds a product and its bias to the residual stream `x` and normalises it into `h`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
    #[allow(clippy::too_many_arguments)]
    pub fn add_and_norm(
        &self,
        format: Format,
        product: Span<'_>,
        bias: Span<'_>,
        norm: NormSpans<'_>,
        rows: Rows,
        x: Span<'_>,
        h: Span<'_>,
    ) -> Result<()> {
        let what = "residual stream";
        let Rows { items, per, width } = rows;
        let arguments = [
            holds(what, product, &rows.counts(), 2)?,
            holds(what, bias, &[width], 4)?,
            holds(what, norm.weight, &[width], 4)?,
            holds(what, norm.bias, &[width], 4)?,
            Argument::F32(norm.eps),
            Argument::U32(number(what, items * per)?),
            Argument::U32(number(what, width)?),
            holds(what, x, &rows.counts(), 4)?,
            holds(what, h, &rows.counts(), 2)?,
        ];
        // SAFETY: every span holds what the rows say.
        unsafe { self.launch(named!(format, "add_and_norm"), Self::by_rows(rows)?, THREADS, &arguments) }
    }

    /// One row of each sequence, by its number among all rows.
    ///
    /// # Safety
    /// Every number in device memory is below `rows.items * rows.per`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb).
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
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb), and for an odd width or an activation without a kernel.
    pub fn bias_and_activation(
        &self,
        format: Format,
        product: Span<'_>,
        bias: Span<'_>,
        activation: Activation,
        rows: Rows,
    ) -> Result<()> {
        let what = "activation";
        let pairs = rows.items * rows.per * rows.width / 2;
        let arguments = [
            holds(what, product, &rows.counts(), 2)?,
            holds(what, bias, &[rows.width], 4)?,
            Argument::U32(match activation {
                Activation::QuickGelu => 0,
                Activation::Gelu => 1,
                Activation::GeluTanh => 2,
                other => return Err(Error::usage(format!("activation {other:?}"), "no kernel has it")),
            }),
            Argument::U64(pairs as u64),
            Argument::U32(number(what, rows.width)?),
        ];
        if !rows.width.is_multiple_of(2) {
            return Err(Error::usage(format!("width {}", rows.width), "an even one is expected on a GPU"));
        }
        let blocks = pairs.div_ceil(THREADS as usize);
        // SAFETY: a thread takes two values of the product, whose number is even.
        unsafe { self.launch(named!(format, "bias_and_activation"), [blocks, 1, 1], THREADS, &arguments) }
    }

    /// Attention of sequences, from `[items, per, 3 * width]` to `[items, per, width]`.
    ///
    /// # Errors
    /// As [`yuv_to_rgb`](Self::yuv_to_rgb), and for heads without a kernel.
    #[allow(clippy::too_many_arguments)]
    pub fn attend(
        &self,
        format: Format,
        qkv: Span<'_>,
        bias: Span<'_>,
        rows: Rows,
        heads: usize,
        causal: bool,
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
        let arguments = [
            holds(what, qkv, &[items, per, 3, width], 2)?,
            holds(what, bias, &[3, width], 4)?,
            Argument::U32(number(what, per)?),
            Argument::U32(number(what, heads)?),
            Argument::U32(number(what, size)?),
            Argument::U32(u32::from(causal)),
            Argument::F32(1.0 / (size as f32).sqrt()),
            holds(what, out, &rows.counts(), 2)?,
        ];
        // SAFETY: both hold every row of every sequence, and the kernel looks at none beyond `per`.
        unsafe { self.launch(kernel, [per.div_ceil(QUERIES), heads, items], 128, &arguments) }
    }
}
