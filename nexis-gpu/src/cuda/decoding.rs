//! What is measured of NVIDIA's decoder alone: how long one is set up, and how many engines there are for it.

use std::ffi::{c_int, c_uint};
use std::path::Path;

use libloading::Library;
use nexis_core::media::MediaLimits;
use nexis_core::{Error, Result};

use super::{Context, failed, nvdec, usable};
use crate::device::DecoderSetUp;

/// The library that decodes.
const LIBRARY: &str = "libnvcuvid.so.1";

/// `CUVIDDECODECAPS` of `cuviddec.h`: what is asked, and the answer.
#[repr(C)]
#[derive(Default)]
struct Capabilities {
    codec: c_int,
    chroma: c_int,
    depth_minus_8: c_uint,
    reserved: [c_uint; 3],
    supported: u8,
    engines: u8,
    formats: u16,
    largest: [c_uint; 3],
    least: [u16; 2],
    histogram: [u8; 2],
    bins: u16,
    reserved_too: [c_uint; 10],
}

const _: () = assert!(size_of::<Capabilities>() == 88, "the size that the C structure has");

/// Sets up decoders for a clip on a device of its own: the first of them, and as many more as are asked for, one after the other.
///
/// # Errors
/// As [`super::decoder`], and where the device does not take the clip.
pub fn decoder_set_up(index: u32, clip: &Path, more: usize) -> Result<DecoderSetUp> {
    let decoder = nvdec(index)?;
    let limits = MediaLimits::default();
    let one = || {
        decoder.set_up(clip, &limits).map_err(|why| failed(format_args!("cuda:{index}: its decoder"), why))
    };
    Ok(DecoderSetUp { cold: one()?, warm: (0..more).map(|_| one()).collect::<Result<_>>()? })
}

/// How many of a device's engines decode H.264 at once; `None` where the driver does not say.
///
/// # Errors
/// As [`usable`], and where the driver's decoder is missing.
pub fn decoder_engines(index: u32) -> Result<Option<u32>> {
    let context = Context::open(usable(index)?)?;
    context.enter()?;
    // SAFETY: the driver's own library, which FFmpeg opens under this name as well.
    let library = unsafe { Library::new(LIBRARY) }.map_err(|e| Error::Missing {
        what: format!("{LIBRARY} ({e})"),
        remedy: "install the driver's decoder".to_owned(),
    })?;
    // H.264 is 4, 4:2:0 is 1.
    let mut asked = Capabilities { codec: 4, chroma: 1, ..Capabilities::default() };
    // SAFETY: the function's declaration in `cuviddec.h`; the structure has the size that is declared there, and outlives the call;
    // a context is current.
    let code = unsafe {
        library
            .get::<unsafe extern "C" fn(*mut Capabilities) -> c_int>(b"cuvidGetDecoderCaps")
            .map(|ask| ask(&raw mut asked))
    }
    .map_err(|e| failed(LIBRARY, e))?;
    // It may have started threads: it stays until the process ends.
    std::mem::forget(library);
    if code != 0 {
        return Err(failed(LIBRARY, format_args!("cuvidGetDecoderCaps gave {code}")));
    }
    Ok(Some(u32::from(asked.engines)).filter(|engines| asked.supported != 0 && *engines > 0))
}
