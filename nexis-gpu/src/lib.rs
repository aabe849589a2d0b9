//! NVIDIA devices: finding them, and choosing where a verification runs.
//!
//! This version finds and names devices; it has no CUDA path for decoding, preparing pictures or running
//! a model. [`resolve`] therefore always answers with the processor, or says why it cannot give what was
//! asked for. It never falls back quietly from a device that was named.

mod choice;
pub mod compute;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
pub mod cuda;
mod device;
pub mod encode;
mod engine;
pub mod kernels;

pub use choice::{Device, DeviceChoice, DeviceKind, resolve};
pub use device::{CudaDevice, Driver, NoDriver, devices, driver};
pub use engine::{EngineOptions, JudgeChoice};
