//! What stands in for the CUDA path in a build without it: it says so.

use std::path::Path;
use std::sync::Arc;

use nexis_core::media::MediaDecoder;
use nexis_core::model::towers::{Blueprint, Towers};
use nexis_core::{Error, Result};

use crate::device::{self, CudaDevice, DecoderSetUp};
use crate::encode::{EncodeOptions, MemoryUse};

/// What this build has of the GPU path, in words.
pub fn build() -> &'static str {
    "none: this build computes on the processor only"
}

/// That this build has no CUDA path.
///
/// # Errors
/// Always; it names the devices found.
pub fn usable(index: u32) -> Result<CudaDevice> {
    Err(Error::Missing {
        what: format!("cuda:{index}: the CUDA path"),
        remedy: format!(
            "this build runs on cpu only (choose cpu or auto, or build with `make cuda`); {}",
            device::describe(&device::driver())
        ),
    })
}

/// As [`usable`].
///
/// # Errors
/// Always.
pub fn load_towers(index: u32, _: &Blueprint<'_>, _: EncodeOptions) -> Result<(Box<dyn Towers>, MemoryUse)> {
    usable(index)?;
    Err(Error::Internal("a build without a CUDA path found one".to_owned()))
}

/// As [`usable`].
///
/// # Errors
/// Always.
pub fn decoder(index: u32) -> Result<Arc<dyn MediaDecoder>> {
    usable(index)?;
    Err(Error::Internal("a build without a CUDA path found one".to_owned()))
}

/// As [`usable`].
///
/// # Errors
/// Always.
pub fn decoder_set_up(index: u32, _: &Path, _: usize) -> Result<DecoderSetUp> {
    usable(index)?;
    Err(Error::Internal("a build without a CUDA path found one".to_owned()))
}

/// As [`usable`].
///
/// # Errors
/// Always.
pub fn decoder_engines(index: u32) -> Result<Option<u32>> {
    usable(index).map(|_| None)
}

/// As [`usable`].
///
/// # Errors
/// Always.
pub fn memory_in_use(index: u32) -> Result<usize> {
    usable(index).map(|_| 0)
}
