//! One body of a test for several devices, and what it puts there.

use nexis_gpu::compute::Compute;

/// Memory of a device that holds these bytes.
pub fn on<C: Compute>(compute: &C, values: impl Iterator<Item = u8>) -> C::Memory {
    let bytes: Vec<u8> = values.collect();
    let memory = compute.allocate(bytes.len()).unwrap().unwrap();
    compute.upload(&bytes, C::span(&memory)).unwrap();
    memory
}

/// Makes, of each function `fn name<C: Compute>(open: impl Fn() -> C)`, a test on the emulated device and one on a GPU, which
/// shows as ignored unless the tests were built with `NEXIS_REQUIRE_GPU=1`, and fails where it is run without one.
#[macro_export]
macro_rules! device_tests {
    ($($name:ident),* $(,)?) => {
        mod emulated {
            $(#[test]
            fn $name() {
                // One device, opened as often as is asked for, as the GPU is.
                let device = $crate::emulated::Emulated::default();
                super::$name(|| device.clone());
            })*
        }

        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test]
            #[cfg_attr(not(nexis_require_gpu), ignore = "needs a GPU")]
            fn $name() {
                super::$name(|| nexis_gpu::cuda::Cuda::open(0).unwrap());
            })*
        }
    };
}
