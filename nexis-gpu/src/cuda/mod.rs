//! [`Compute`] on an NVIDIA device: the driver's own interface for memory and kernels, cuBLASLt for large products. Both are
//! opened when they are first needed, so that a program with this module starts on a machine that has neither.
//!
//! What is above the seam runs in the tests on an emulated device, too.

#![allow(unsafe_code)]

mod decoding;
mod landing;
mod mark;
mod products;
mod recording;
mod results;
mod staging;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{DriverError, result, sys};
use nexis_core::media::MediaDecoder;
use nexis_core::media::hardware::NvdecDecoder;
use nexis_core::model::towers::{Blueprint, Towers};
use nexis_core::{Error, Result};

use crate::compute::{Compute, Launch, Product, Span, is_recording};
use crate::device::{self, CudaDevice};
use crate::encode::{DeviceTowers, EncodeOptions, MemoryUse};
use crate::parts;
use crate::pictures::Pictures;
use crate::resident::Pool;
use landing::Landing;
use mark::Mark;
use products::Products;
use recording::Recording;
use results::Results;
use staging::Staging;

pub use decoding::{decoder_engines, decoder_set_up};

/// A compiled kernel file, aligned as the driver reads it.
#[repr(C, align(16))]
struct Image<const N: usize>([u8; N]);

/// The kernel files, each for several kinds of device, and as PTX for those to come.
static PIXELS: &Image<{ include_bytes!(concat!(env!("OUT_DIR"), "/pixels.fatbin")).len() }> =
    &Image(*include_bytes!(concat!(env!("OUT_DIR"), "/pixels.fatbin")));
static ROWS: &Image<{ include_bytes!(concat!(env!("OUT_DIR"), "/rows.fatbin")).len() }> =
    &Image(*include_bytes!(concat!(env!("OUT_DIR"), "/rows.fatbin")));
static ATTENTION: &Image<{ include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin")).len() }> =
    &Image(*include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin")));

/// Least compute capability that the kernels are compiled for.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// Pictures of a decoder that are converted and copied to the host at once: more threads than that seldom come together, for
/// decoding takes most of a clip's time.
const LANES: usize = 4;

/// Most bytes of a device for pictures on their way from its decoder to its encoder: 256 of 720p, in pieces of 4 MiB, the
/// judged frames of 36 clips.
const MOST_FOR_PICTURES: usize = 1 << 30;

/// The share of free memory that they may take at most is one of so many parts: the rest is the decoder's own and whoever
/// else's.
const PART_FOR_PICTURES: usize = 8;

/// What this build has of the GPU path, in words.
pub fn build() -> &'static str {
    "kernels for compute capability 8.0, 8.9 and 9.0, and PTX for later ones"
}

/// That a device can be computed on: a driver, the device, its capability and cuBLASLt.
///
/// # Errors
/// [`Error::Missing`], saying which of them it is and what to do.
pub fn usable(index: u32) -> Result<CudaDevice> {
    let missing = |what: String, remedy: &str| Error::Missing { what, remedy: remedy.to_owned() };
    let driver = device::driver().map_err(|none| {
        missing(
            format!("cuda:{index}: an NVIDIA driver"),
            &format!("choose device cpu, or install one; {none}"),
        )
    })?;
    let Some(device) = driver.devices.iter().find(|device| device.index == index).cloned() else {
        return Err(missing(format!("cuda:{index}"), &device::describe(&Ok(driver))));
    };
    if device.compute_capability < LEAST_CAPABILITY {
        return Err(missing(
            format!("cuda:{index}: a device of compute capability 8.0"),
            &format!("choose device cpu; {device} is older"),
        ));
    }
    if driver.cuda_version < (13, 0) {
        let (major, minor) = driver.cuda_version;
        return Err(missing(
            format!("cuda:{index}: a driver for CUDA 13.0"),
            &format!("update it (580 or later); this one is for {major}.{minor}"),
        ));
    }
    let remedy =
        "install CUDA 13's libraries, or name the folder of PyTorch's (nvidia/cu13/lib) in LD_LIBRARY_PATH";
    match products::version() {
        None => Err(missing(format!("cuda:{index}: libcublasLt.so.13"), remedy)),
        Some(found) if found < products::LEAST_VERSION => Err(missing(
            format!("cuda:{index}: cuBLASLt 13.0"),
            &format!("{remedy}; what was found first is {found}"),
        )),
        Some(_) => Ok(device),
    }
}

/// Loads both towers of a model onto a device.
///
/// # Errors
/// As [`usable`] and [`DeviceTowers::load`].
pub fn load_towers(
    index: u32,
    plan: &Blueprint<'_>,
    options: EncodeOptions,
) -> Result<(Box<dyn Towers>, MemoryUse)> {
    let towers = DeviceTowers::load(Cuda::open(index)?, plan, options)?;
    let memory = towers.memory();
    Ok((Box::new(towers), memory))
}

/// Bytes of a device's memory that are taken, by this process and others.
///
/// # Errors
/// As [`usable`].
pub fn memory_in_use(index: u32) -> Result<usize> {
    // The context alone: what products and copies take would be counted with the rest.
    let context = Context::open(usable(index)?)?;
    context.enter()?;
    let (free, whole) = result::mem_get_info().map_err(|e| failed(context.label(), e))?;
    Ok(whole.saturating_sub(free))
}

/// A decoder that uses the device's own.
///
/// # Errors
/// As [`usable`], and where FFmpeg was built without it.
pub fn decoder(index: u32) -> Result<Arc<dyn MediaDecoder>> {
    Ok(Arc::new(nvdec(index)?))
}

fn nvdec(index: u32) -> Result<NvdecDecoder> {
    let lanes = (0..LANES).map(|_| Cuda::for_pictures(index)).collect::<Result<Vec<_>>>()?;
    let free = result::mem_get_info().map_err(|e| failed(format!("cuda:{index}"), e))?.0;
    let pool = Pool::new(MOST_FOR_PICTURES.min(free / PART_FOR_PICTURES));
    let pictures = Arc::new(Pictures::new(lanes, Cuda::wait_for_default_stream, pool)?);
    NvdecDecoder::open(index, pictures)
}

/// An event for whoever waits for a copy. They sleep: what stands before it may take milliseconds, in which others decode.
fn waited_for() -> Result<sys::CUevent, DriverError> {
    let flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32
        | sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
    let mut event = std::ptr::null_mut();
    // SAFETY: the result has room for the event.
    unsafe { sys::cuEventCreate(&raw mut event, flags) }.result()?;
    Ok(event)
}

fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    Error::Unavailable { what: what.to_string(), why: error.to_string() }
}

/// One device with a stream of its own: what is asked of it is done in order.
pub struct Cuda {
    context: Arc<Context>,
    /// Made when they are first needed, as the next two: what encodes needs these two, what converts pictures the third.
    products: Mutex<Option<Products>>,
    staging: Mutex<Option<Arc<Staging>>>,
    landing: Mutex<Landing>,
    /// Of the library that computes the products: another may choose other algorithms, and so other bits.
    library: products::Version,
}

/// A device's primary context and the loaded kernels.
struct Primary {
    device: CudaDevice,
    handle: sys::CUdevice,
    context: sys::CUcontext,
    modules: Vec<sys::CUmodule>,
    functions: Mutex<HashMap<&'static str, sys::CUfunction>>,
}

/// The same with a stream.
struct Context {
    primary: Arc<Primary>,
    stream: sys::CUstream,
    /// Whether the stream records at the moment.
    recording: AtomicBool,
}

// SAFETY: the driver's handles may be used from any thread once the context is current there, which `enter` sees to.
unsafe impl Send for Primary {}
// SAFETY: as above; the driver locks what it shares.
unsafe impl Sync for Primary {}
// SAFETY: as for `Primary`.
unsafe impl Send for Context {}
// SAFETY: as for `Primary`.
unsafe impl Sync for Context {}

impl Primary {
    fn open(device: CudaDevice) -> Result<Arc<Self>> {
        let what = format!("cuda:{}", device.index);
        let fail = |error: DriverError| failed(&what, error);
        result::init().map_err(fail)?;
        let ordinal = i32::try_from(device.index).map_err(|_| failed(&what, "no such number"))?;
        let handle = result::device::get(ordinal).map_err(fail)?;
        // FFmpeg's decoder takes part in a context that is active only where its flags are these.
        let blocking = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: the device was just given by the driver; nothing but its settings changes.
        match unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(handle, blocking) }.result() {
            // Somebody else in this process opened it. Computing works all the same, and the decoder says that it does not.
            Ok(()) | Err(DriverError(sys::CUresult::CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE)) => {}
            Err(error) => return Err(fail(error)),
        }
        // SAFETY: the device was just given by the driver; what is retained is released when `opened` is dropped, also
        // where a later step fails.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(fail)?;
        let mut opened = Self { device, handle, context, modules: Vec::new(), functions: Mutex::default() };
        opened.enter()?;
        for image in [PIXELS.0.as_ptr(), ROWS.0.as_ptr(), ATTENTION.0.as_ptr()] {
            // SAFETY: a file that nvcc made, whole, which says its own length.
            opened.modules.push(unsafe { result::module::load_data(image.cast()) }.map_err(fail)?);
        }
        Ok(Arc::new(opened))
    }

    /// Makes the context current on this thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| failed(self.label(), e))
    }

    fn label(&self) -> String {
        format!("cuda:{}", self.device.index)
    }

    fn function(&self, name: &'static str) -> Result<sys::CUfunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let c_name = CString::new(name).map_err(|_| failed(name, "no name of a kernel"))?;
        let mut error = None;
        for module in &self.modules {
            // SAFETY: the module is loaded as long as `self` lives.
            match unsafe { result::module::get_function(*module, c_name.clone()) } {
                Ok(function) => {
                    functions.insert(name, function);
                    return Ok(function);
                }
                Err(e) => error = Some(e),
            }
        }
        Err(failed(format!("kernel {name}"), error.map_or_else(String::new, |e| e.to_string())))
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the driver cleans up behind a process.
        let _ = self.enter();
        // SAFETY: each was made by `open`, and nothing that uses them outlives `self`.
        unsafe {
            for module in self.modules.drain(..) {
                let _ = result::module::unload(module);
            }
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}

impl Context {
    fn open(device: CudaDevice) -> Result<Arc<Self>> {
        Self::of(Primary::open(device)?)
    }

    /// Another stream of the same context.
    fn of(primary: Arc<Primary>) -> Result<Arc<Self>> {
        primary.enter()?;
        // What FFmpeg does on the default stream is not waited for, and does not wait.
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| failed(primary.label(), e))?;
        Ok(Arc::new(Self { primary, stream, recording: AtomicBool::new(false) }))
    }

    /// Makes the context current on this thread.
    fn enter(&self) -> Result<()> {
        self.primary.enter()
    }

    /// The same for what has no place in a recording.
    fn enter_outside_of_recordings(&self, what: &str) -> Result<()> {
        if self.recording.load(Ordering::SeqCst) {
            return Err(is_recording(what));
        }
        self.enter()
    }

    fn label(&self) -> String {
        self.primary.label()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.enter();
        // SAFETY: made by `of`, and nothing that uses it outlives `self`.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
        }
    }
}

/// Memory of a device.
pub struct CudaMemory {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        if self.bytes > 0 && self.context.enter().is_ok() {
            // SAFETY: it was allocated there and is freed once, behind what its own stream was asked for; for other streams, whoever
            // lets go of it has waited. The driver may wait for all of them, and does not promise it.
            unsafe {
                // To wait for it would break a recording, which is of launches that are not under way.
                if !self.context.recording.load(Ordering::SeqCst) {
                    let _ = result::stream::synchronize(self.context.stream);
                }
                let _ = result::free_sync(self.address);
            }
        }
    }
}

impl Cuda {
    /// Opens a device.
    ///
    /// # Errors
    /// As [`usable`], and where the driver refuses.
    pub fn open(index: u32) -> Result<Self> {
        let opened = Self::for_pictures(index)?;
        // Who computes hears at once that it cannot.
        *lock(&opened.products) = Some(Products::new(&opened.context)?);
        *lock(&opened.staging) = Some(Arc::new(Staging::new(&opened.context)?));
        Ok(opened)
    }

    /// The same without what only an encoder needs.
    fn for_pictures(index: u32) -> Result<Self> {
        let context = Context::open(usable(index)?)?;
        let library =
            products::version().ok_or_else(|| failed(context.label(), "cuBLASLt was there and is gone"))?;
        let landing = Mutex::new(Landing::new(&context));
        Ok(Self { context, products: Mutex::default(), staging: Mutex::default(), landing, library })
    }

    /// Waits for the context's default stream, on which FFmpeg copies its pictures. Streams of ours are not among what it
    /// waits for.
    fn wait_for_default_stream(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the default stream is always there.
        unsafe { result::stream::synchronize(result::stream::null()) }
            .map_err(|e| failed(self.context.label(), e))
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn allocate(context: &Arc<Context>, bytes: usize) -> Result<Option<CudaMemory>> {
    context.enter_outside_of_recordings("an allocation")?;
    if bytes == 0 {
        return Ok(Some(CudaMemory { context: Arc::clone(context), address: 0, bytes }));
    }
    // SAFETY: the memory is freed once, by the value that holds it.
    match unsafe { result::malloc_sync(bytes) } {
        Ok(address) => Ok(Some(CudaMemory { context: Arc::clone(context), address, bytes })),
        Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
        Err(e) => Err(failed(format!("{}: {bytes} bytes", context.label()), e)),
    }
}

impl Compute for Cuda {
    type Memory = CudaMemory;
    type Recording = Recording;
    type Mark = Mark;
    type Landing = Results;

    fn name(&self) -> String {
        format!("{} {}, cuBLASLt {}", self.context.label(), self.context.primary.device.name, self.library)
    }

    fn beside(&self) -> Result<Self> {
        let context = Context::of(Arc::clone(&self.context.primary))?;
        let landing = Mutex::new(Landing::new(&context));
        // Of its own: what the other queue uploads, tokens of a text, does not wait for a piece that holds pictures.
        let staging = Mutex::new(Some(Arc::new(Staging::new(&context)?)));
        Ok(Self { context, products: Mutex::default(), staging, landing, library: self.library })
    }

    fn allocate(&self, bytes: usize) -> Result<Option<CudaMemory>> {
        allocate(&self.context, bytes)
    }

    fn reaches(&self, memory: &CudaMemory) -> bool {
        // A device has one primary context, which all of ours are.
        let at = |context: &Context| (context.primary.handle, context.primary.context);
        at(&self.context) == at(&memory.context)
    }

    fn span(memory: &CudaMemory) -> Span<'_> {
        // SAFETY: the memory is there as long as it is borrowed.
        unsafe { Span::new(memory.address, memory.bytes) }
    }

    fn upload_parts(&self, parts: &[&[u8]], to: Span<'_>) -> Result<()> {
        let bytes = parts::fitting(parts, to)?;
        self.context.enter_outside_of_recordings("an upload")?;
        let staging = {
            let mut staging = lock(&self.staging);
            match &*staging {
                Some(staging) => Arc::clone(staging),
                None => Arc::clone(staging.insert(Arc::new(Staging::new(&self.context)?))),
            }
        };
        // SAFETY: the span has room for them.
        unsafe { staging.upload(&self.context, parts, bytes, to.address()) }
    }

    fn download(&self, from: Span<'_>, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() > from.bytes() {
            return Err(Error::Internal("a download beyond its memory".to_owned()));
        }
        self.context.enter_outside_of_recordings("a download")?;
        let fail = |e| failed(format!("{}: what was asked of it before", self.context.label()), e);
        let stream = self.context.stream;
        // SAFETY: both have as many bytes, and the copy is waited for, also where it failed. One of no bytes is left out, for the
        // address of none is nothing that a driver has to know.
        unsafe {
            let copied = match bytes {
                [] => Ok(()),
                bytes => result::memcpy_dtoh_async(bytes, from.address(), stream),
            };
            let waited = result::stream::synchronize(stream);
            copied.and(waited).map_err(fail)
        }
    }

    fn landing(&self, bytes: usize) -> Result<Results> {
        Results::new(&self.context, bytes)
    }

    fn land(&self, from: Span<'_>, to: &mut Results) -> Result<()> {
        to.begin(&self.context, from)
    }

    fn landed<'a>(&self, landing: &'a mut Results) -> Result<&'a [u8]> {
        landing.wait()
    }

    fn mark(&self) -> Result<Mark> {
        Mark::here(&self.context)
    }

    fn follow(&self, mark: &Mark) -> Result<()> {
        mark.precede(&self.context)
    }

    fn fetch(&self, from: Span<'_>) -> Result<Arc<[u8]>> {
        self.context.enter_outside_of_recordings("a download")?;
        let landed = lock(&self.landing).fetch(from.address(), from.bytes());
        landed.unwrap_or_else(|| {
            let mut bytes = vec![0; from.bytes()];
            self.download(from, &mut bytes)?;
            Ok(bytes.into())
        })
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.context.enter()?;
        let function = self.context.primary.function(launch.kernel)?;
        let mut pointers: Vec<*mut c_void> = launch.arguments.iter().map(|a| a.pointer()).collect();
        let [x, y, z] = launch.grid;
        // SAFETY: handed on to the caller; the driver copies the arguments before it returns.
        unsafe {
            let (grid, block) = ((x, y, z), (launch.threads, 1, 1));
            result::launch_kernel(function, grid, block, 0, self.context.stream, &mut pointers)
        }
        .map_err(|e| failed(format!("{}: kernel {}", self.context.label(), launch.kernel), e))
    }

    unsafe fn product(&self, product: &Product<'_>) -> Result<()> {
        self.context.enter()?;
        let mut products = lock(&self.products);
        let products = match &mut *products {
            Some(products) => products,
            none => none.insert(Products::new(&self.context)?),
        };
        // SAFETY: handed on to the caller.
        unsafe { products.run(&self.context, product) }
    }

    fn record(&self, pass: &mut dyn FnMut() -> Result<()>) -> Option<Recording> {
        Recording::of(&self.context, pass)
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<()> {
        // SAFETY: handed on to the caller.
        unsafe { recording.launch(&self.context) }
    }
}
