//! What the GPU path asks of a device: memory, kernels of `../kernels`, and large products.
//!
//! Everything above this seam is the same code for every device: what is uploaded, which kernels run over which memory
//! with which numbers, in which order. The tests run it over an emulated device (`tests/emulator`), so that a machine without
//! a GPU sees what a GPU computes, but for the driver's own calls.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;

use nexis_core::{Error, Result};

use crate::kernels::{TapsArgument, TilesArgument, YuvArgument};

/// Number format of weights and of what products read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Format {
    /// Its name, in evidence and at the end of kernels' names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The nearest number, ties to even, as its bits.
    pub fn rounded(self, x: f32) -> u16 {
        match self {
            Self::Bf16 => half::bf16::from_f32(x).to_bits(),
            Self::F16 => half::f16::from_f32(x).to_bits(),
        }
    }

    /// The number of these bits.
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Self::Bf16 => half::bf16::from_bits(bits).to_f32(),
            Self::F16 => half::f16::from_bits(bits).to_f32(),
        }
    }
}

/// A stretch of device memory that somebody else owns.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    address: u64,
    bytes: usize,
    owner: PhantomData<&'a ()>,
}

impl<'a> Span<'a> {
    /// A stretch of memory at an address of the device.
    ///
    /// # Safety
    /// The device has `bytes` bytes there, which nothing but launches and copies on this device touches, and which
    /// live as long as `'a`.
    #[allow(unsafe_code)]
    pub const unsafe fn new(address: u64, bytes: usize) -> Self {
        Self { address, bytes, owner: PhantomData }
    }

    /// Its first byte.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// How many bytes there are.
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// The part that begins `at` bytes from the beginning, `None` where it would leave the span.
    pub const fn part(self, at: usize, bytes: usize) -> Option<Self> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.bytes => {
                Some(Self { address: self.address + at as u64, bytes, owner: PhantomData })
            }
            _ => None,
        }
    }
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A pointer.
    Address(u64),
    /// A 32-bit number.
    U32(u32),
    /// A 64-bit number.
    U64(u64),
    /// A floating-point number.
    F32(f32),
    /// A picture as a decoder holds it.
    Yuv(YuvArgument),
    /// The taps of a resize.
    Taps(TapsArgument),
    /// Where tiles lie.
    Tiles(TilesArgument),
}

impl Argument {
    /// Where the value lies, as drivers take it; it is only read.
    pub const fn pointer(&self) -> *mut c_void {
        let pointer: *const c_void = match self {
            Self::Address(x) | Self::U64(x) => (&raw const *x).cast(),
            Self::U32(x) => (&raw const *x).cast(),
            Self::F32(x) => (&raw const *x).cast(),
            Self::Yuv(x) => (&raw const *x).cast(),
            Self::Taps(x) => (&raw const *x).cast(),
            Self::Tiles(x) => (&raw const *x).cast(),
        };
        pointer.cast_mut()
    }
}

/// A kernel on a grid.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Its name in the sources.
    pub kernel: &'static str,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// In the order of the sources.
    pub arguments: &'a [Argument],
}

/// `out = left * right^T`, all of them row by row: `[rows, depth]` times `[columns, depth]`, added up in 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Format of `left` and `right`.
    pub format: Format,
    /// Activations.
    pub left: Span<'a>,
    /// Weights.
    pub right: Span<'a>,
    /// Results, in `format`, or in 32 bits where `wide`.
    pub out: Span<'a>,
    /// Whether the results are 32-bit numbers.
    pub wide: bool,
    /// Items of a batch.
    pub items: usize,
    /// Items that the algorithm is chosen for, whatever `items` is, so that how a row is added up does not depend on how many
    /// there are.
    pub usual: usize,
    /// Rows of an item.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Numbers that are added up.
    pub depth: usize,
}

/// A queue of a device that computes. What is asked of it is done in that order; only [`download`](Self::download),
/// [`fetch`](Self::fetch) and [`landed`](Self::landed) wait for it.
pub trait Compute: Sized + Send + Sync + 'static {
    /// Memory of the device, freed when dropped, behind what was asked of the queue that it was taken by. For other queues, whoever
    /// drops it has waited.
    type Memory: Send + Sync;

    /// Launches that were recorded.
    type Recording: Send + Sync;

    /// How far a queue had come.
    type Mark: Send + Sync;

    /// Memory of the processor that results come into.
    type Landing: Send;

    /// What the device is, for evidence, for example `cuda:0 NVIDIA H100 80GB HBM3, cuBLASLt 13.1.0`.
    fn name(&self) -> String;

    /// Another queue of the same device, with the same memory: what is asked of it is done beside what is asked of this one.
    ///
    /// # Errors
    /// Where the device fails.
    fn beside(&self) -> Result<Self>;

    /// Memory whose contents are left open; `None` where the device has not got as much.
    ///
    /// # Errors
    /// Where the device fails otherwise.
    fn allocate(&self, bytes: usize) -> Result<Option<Self::Memory>>;

    /// Whether what is launched here may read this memory: it is of the same device, whoever took it there.
    fn reaches(&self, memory: &Self::Memory) -> bool;

    /// The whole of a memory.
    fn span(memory: &Self::Memory) -> Span<'_>;

    /// Copies parts to the device, one behind another; the bytes may change afterwards.
    ///
    /// # Errors
    /// Where they do not fit, before anything is copied, or the device fails.
    fn upload_parts(&self, parts: &[&[u8]], to: Span<'_>) -> Result<()>;

    /// Copies to the device; the bytes may change afterwards.
    ///
    /// # Errors
    /// As [`upload_parts`](Self::upload_parts).
    fn upload(&self, bytes: &[u8], to: Span<'_>) -> Result<()> {
        self.upload_parts(&[bytes], to)
    }

    /// Waits for everything before, and copies from the device.
    ///
    /// # Errors
    /// Where there is less, or the device fails; also for what was launched before.
    fn download(&self, from: Span<'_>, bytes: &mut [u8]) -> Result<()>;

    /// As [`download`](Self::download), into memory of its own.
    ///
    /// # Errors
    /// As there.
    fn fetch(&self, from: Span<'_>) -> Result<Arc<[u8]>> {
        let mut bytes = vec![0; from.bytes()];
        self.download(from, &mut bytes)?;
        Ok(bytes.into())
    }

    /// Room for results of up to so many bytes.
    ///
    /// # Errors
    /// Where there is none, or the device fails.
    fn landing(&self, bytes: usize) -> Result<Self::Landing>;

    /// Copies from the device without waiting.
    ///
    /// # Errors
    /// Where there is not as much room, or the device fails.
    fn land(&self, from: Span<'_>, to: &mut Self::Landing) -> Result<()>;

    /// Waits for what was last sent to a landing.
    ///
    /// # Errors
    /// Where the device fails; also for what was launched before.
    fn landed<'a>(&self, landing: &'a mut Self::Landing) -> Result<&'a [u8]>;

    /// Marks what was asked for so far.
    ///
    /// # Errors
    /// Where the device fails.
    fn mark(&self) -> Result<Self::Mark>;

    /// Has what is asked for from here on done after what is marked, of this queue or of another of the device.
    ///
    /// # Errors
    /// Where the device fails.
    fn follow(&self, mark: &Self::Mark) -> Result<()>;

    /// Launches a kernel.
    ///
    /// # Safety
    /// The arguments are those of the kernel's source, and with them and this grid it stays within memory that is there.
    ///
    /// # Errors
    /// Where the device refuses it.
    #[allow(unsafe_code)]
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// Launches a product. Sizes are checked by the caller, [`Kernels::product`](crate::kernels::Kernels::product).
    ///
    /// # Safety
    /// The spans hold as much as the sizes say.
    ///
    /// # Errors
    /// Where the device refuses it.
    #[allow(unsafe_code)]
    unsafe fn product(&self, product: &Product<'_>) -> Result<()>;

    /// Records what `pass` launches, instead of doing it; `None` where that does not succeed, after which all is as before. The
    /// launches have been done once, so that nothing is loaded or chosen any more. They may not allocate, copy or mark, which fails
    /// meanwhile, and nobody else asks anything of this queue until this returns: it might become a part of the recording.
    fn record(&self, pass: &mut dyn FnMut() -> Result<()>) -> Option<Self::Recording>;

    /// Does what was recorded on this device.
    ///
    /// # Safety
    /// The memory that the recorded launches name is still there.
    ///
    /// # Errors
    /// Where the device refuses it.
    #[allow(unsafe_code)]
    unsafe fn replay(&self, recording: &Self::Recording) -> Result<()>;
}

/// Says that something which waits or has effects of its own was asked for during a recording, which is a defect.
pub fn is_recording(what: &str) -> Error {
    Error::Internal(format!("{what} during a recording"))
}
