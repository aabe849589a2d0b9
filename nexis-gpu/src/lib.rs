//! NVIDIA devices: finding them, choosing where a verification runs, and computing there.
//!
//! [`compute`] is the seam: what is asked of a device, and [`parts`] what its uploads share. Above it, [`kernels`] checks and
//! launches, [`encode`] holds both towers of a model, [`pictures`] and [`resident`] what is between a decoder and these, and
//! [`watched`] a decoder that may fail;
//! below it is [`cuda`], with the feature of this name. Without the feature, [`cuda`] says that the build has no CUDA path.
//! [`resolve`] never falls back quietly from a device that was named.

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
pub mod parts;
pub mod pictures;
pub mod resident;
mod several;
pub mod watched;

pub use choice::{CudaIndices, Device, DeviceChoice, DeviceKind, resolve};
pub use device::{CudaDevice, DecoderSetUp, Driver, NoDriver, devices, driver};
pub use engine::{ChosenDecoder, EngineOptions, JudgeChoice};
pub use several::Several;
