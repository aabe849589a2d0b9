//! A device that is emulated: the kernels of `kernels/`, compiled for the processor, over memory of this process. What
//! runs over it is what runs over a GPU, but for the driver's calls and the library of large products.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nexis_core::{Error, Result};
use nexis_gpu::compute::{Compute, Launch, Product, Span};
use nexis_gpu::parts;
use rayon::prelude::*;

unsafe extern "C" {
    fn nexis_emulated_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        arguments: *mut *mut c_void,
        backwards: i32,
    ) -> *const c_char;
    fn nexis_emulated_bf16(x: f32) -> u16;
    fn nexis_emulated_f16(x: f32) -> u16;
}

/// The emulator's own rounding to bfloat16 and half, to be compared with another.
pub fn rounded(x: f32) -> (u16, u16) {
    // SAFETY: functions of a number.
    unsafe { (nexis_emulated_bf16(x), nexis_emulated_f16(x)) }
}

/// Bytes on either side of a memory that nobody may write.
const GUARD: usize = 64;
/// Bytes that go over at once: parts end within them, and begin.
const PIECE: usize = 100_003;
/// What the guards hold, and what fresh memory holds: as numbers, no numbers.
const FILL: u8 = 0xff;

/// An emulated device. A clone is the same device, opened once more.
#[derive(Clone, Debug, Default)]
pub struct Emulated {
    backwards: bool,
    other_sums: bool,
    room: usize,
    used: Arc<AtomicUsize>,
    allocations: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    products: Arc<AtomicUsize>,
    chosen: Arc<Mutex<BTreeSet<[usize; 3]>>>,
    uploaded: Arc<AtomicUsize>,
    busy: Arc<AtomicBool>,
    lacks: Option<&'static str>,
    kernels: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Emulated {
    /// One whose blocks run from the last to the first.
    #[must_use]
    pub fn backwards() -> Self {
        Self { backwards: true, ..Self::default() }
    }

    /// One whose products are added up from the last number to the first, as another kind of device might.
    #[must_use]
    pub fn with_other_sums() -> Self {
        Self { other_sums: true, ..Self::default() }
    }

    /// Once set, whatever is asked of the device fails.
    pub fn broken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.broken)
    }

    /// How many products it has computed.
    pub fn products(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.products)
    }

    /// What a library of products chose algorithms for: rows, columns and depth of each kind that it was asked for.
    pub fn chosen(&self) -> Arc<Mutex<BTreeSet<[usize; 3]>>> {
        Arc::clone(&self.chosen)
    }

    /// How often memory was asked for.
    pub fn allocations(&self) -> usize {
        self.allocations.load(Ordering::SeqCst)
    }

    /// How many bytes were copied to it.
    pub fn uploaded(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.uploaded)
    }

    /// Whether something was launched that nobody has waited for.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    /// The same device without one of the kernels: to launch that fails.
    #[must_use]
    pub fn lacking(&self, kernel: &'static str) -> Self {
        Self { lacks: Some(kernel), ..self.clone() }
    }

    /// Which kernels it has launched.
    pub fn kernels(&self) -> Arc<Mutex<BTreeSet<&'static str>>> {
        Arc::clone(&self.kernels)
    }

    fn is_whole(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                what: self.name(),
                why: "it has fallen off the bus".to_owned(),
            });
        }
        Ok(())
    }

    /// One that has so many bytes, and no more once they were given.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }
}

/// Memory of it.
#[derive(Debug)]
pub struct EmulatedMemory {
    // Long words, so that every kind of number is aligned, and vectors of them.
    words: Box<[std::cell::UnsafeCell<u128>]>,
    bytes: usize,
    used: Arc<AtomicUsize>,
}

// SAFETY: only copies and launches touch it, and the GPU path does these one after another.
unsafe impl Send for EmulatedMemory {}
// SAFETY: as above.
unsafe impl Sync for EmulatedMemory {}

impl EmulatedMemory {
    fn start(&self) -> *mut u8 {
        self.words.as_ptr().cast_mut().cast::<u8>().wrapping_add(GUARD)
    }
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::SeqCst);
        let words = self.words.iter_mut().map(|word| *word.get_mut());
        let bytes: Vec<u8> = words.flat_map(u128::to_ne_bytes).collect();
        let (before, rest) = bytes.split_at(GUARD);
        let (_, after) = rest.split_at(self.bytes);
        let whole = before.iter().chain(after).all(|byte| *byte == FILL);
        assert!(whole || std::thread::panicking(), "something wrote outside of {} bytes", self.bytes);
    }
}

/// Writes bytes that a memory was found to have room for.
fn write(bytes: &[u8], to: Span<'_>) {
    // SAFETY: a span has as many bytes as it says.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.address() as *mut u8, bytes.len()) };
}

impl Compute for Emulated {
    type Memory = EmulatedMemory;

    fn name(&self) -> String {
        "emulated".to_owned()
    }

    fn allocate(&self, bytes: usize) -> Result<Option<EmulatedMemory>> {
        self.is_whole()?;
        self.allocations.fetch_add(1, Ordering::SeqCst);
        let used = self.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if self.room > 0 && used > self.room {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            return Ok(None);
        }
        let words = (bytes + 2 * GUARD).div_ceil(16);
        let words = (0..words).map(|_| u128::from_ne_bytes([FILL; 16]).into()).collect();
        Ok(Some(EmulatedMemory { words, bytes, used: Arc::clone(&self.used) }))
    }

    fn reaches(&self, memory: &EmulatedMemory) -> bool {
        Arc::ptr_eq(&self.used, &memory.used)
    }

    fn span(memory: &EmulatedMemory) -> Span<'_> {
        // SAFETY: the memory is there as long as it is borrowed.
        unsafe { Span::new(memory.start() as u64, memory.bytes) }
    }

    fn upload_parts(&self, parts: &[&[u8]], to: Span<'_>) -> Result<()> {
        self.is_whole()?;
        let bytes = parts::fitting(parts, to)?;
        self.uploaded.fetch_add(bytes, Ordering::SeqCst);
        parts::by_several(2, bytes.div_ceil(PIECE), |piece| {
            let at = piece * PIECE;
            let mut staged = vec![FILL; PIECE.min(bytes - at)];
            parts::gather(parts, at, &mut staged);
            // SAFETY: a span has as many bytes as it says, and pieces do not overlap.
            unsafe {
                let to = (to.address() as *mut u8).wrapping_add(at);
                std::ptr::copy_nonoverlapping(staged.as_ptr(), to, staged.len());
            }
            Ok(())
        })
    }

    fn download(&self, from: Span<'_>, bytes: &mut [u8]) -> Result<()> {
        self.is_whole()?;
        if bytes.len() > from.bytes() {
            return Err(Error::Internal("a download beyond its memory".to_owned()));
        }
        self.busy.store(false, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe {
            std::ptr::copy_nonoverlapping(from.address() as *const u8, bytes.as_mut_ptr(), bytes.len())
        };
        Ok(())
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.is_whole()?;
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).insert(launch.kernel);
        let internal = |why: &str| Error::Internal(format!("{}: {why}", launch.kernel));
        if self.lacks == Some(launch.kernel) {
            return Err(internal("the device lacks it"));
        }
        self.busy.store(true, Ordering::SeqCst);
        let name = CString::new(launch.kernel).map_err(|_| internal("no name"))?;
        let mut pointers: Vec<*mut c_void> = launch.arguments.iter().map(|a| a.pointer()).collect();
        // SAFETY: handed on to the caller; the kernel reads its arguments and no more.
        let broken = unsafe {
            nexis_emulated_launch(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.threads,
                pointers.as_mut_ptr(),
                self.backwards.into(),
            )
        };
        if broken.is_null() {
            return Ok(());
        }
        // SAFETY: the emulator gives literals.
        Err(internal(&unsafe { CStr::from_ptr(broken) }.to_string_lossy()))
    }

    unsafe fn product(&self, product: &Product<'_>) -> Result<()> {
        self.is_whole()?;
        self.products.fetch_add(1, Ordering::SeqCst);
        let Product { format, left, right, out, wide, columns, depth, .. } = *product;
        let kind = [product.usual * product.rows, columns, depth];
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        let rows = product.items * product.rows;
        let numbers = |span: Span<'_>, count: usize| -> Vec<f32> {
            // SAFETY: the caller has seen to it that there are as many.
            let bits = unsafe { std::slice::from_raw_parts(span.address() as *const u16, count) };
            bits.iter().map(|bits| format.value(*bits)).collect()
        };
        let (left, right) = (numbers(left, rows * depth), numbers(right, columns * depth));
        let sum = |row: &[f32], column: &[f32]| -> f32 {
            let products = row.iter().zip(column).map(|(a, b)| a * b);
            if self.other_sums { products.rev().sum() } else { products.sum() }
        };
        let result: Vec<f32> = left
            .par_chunks_exact(depth)
            .flat_map_iter(|row| right.chunks_exact(depth).map(move |column| sum(row, column)))
            .collect();
        let bytes: Vec<u8> = if wide {
            result.iter().flat_map(|x| x.to_le_bytes()).collect()
        } else {
            result.iter().flat_map(|x| format.rounded(*x).to_le_bytes()).collect()
        };
        if bytes.len() > out.bytes() {
            return Err(Error::Internal("a product beyond its memory".to_owned()));
        }
        write(&bytes, out);
        Ok(())
    }
}
