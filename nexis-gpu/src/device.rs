//! NVIDIA devices as their driver reports them.
//!
//! The driver's library is opened at run time, so a program with this crate starts on a machine that has
//! no driver. It is opened here by hand, so that a build without the CUDA path can say what is there too.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::time::Duration;

use libloading::Library;

/// The file name under which NVIDIA's driver installs its library.
#[cfg(not(windows))]
const DRIVER_LIBRARY: &str = "libcuda.so.1";
/// The file name under which NVIDIA's driver installs its library.
#[cfg(windows)]
const DRIVER_LIBRARY: &str = "nvcuda.dll";

/// `CUDA_SUCCESS` of `cuda.h`.
const SUCCESS: c_int = 0;
/// `CUDA_ERROR_NO_DEVICE` of `cuda.h`.
const NO_DEVICE: c_int = 100;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` of `cuda.h`.
const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR` of `cuda.h`.
const CAPABILITY_MINOR: c_int = 76;
/// Bytes given to the driver for a device's name, the closing zero included.
const NAME_BYTES: usize = 256;

/// One NVIDIA device that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDevice {
    /// The number in `cuda:N`. It counts the devices visible to this process, not those in the machine.
    pub index: u32,
    /// The maker's name for it.
    pub name: String,
    /// Its whole memory, in bytes.
    pub memory_bytes: u64,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
}

impl fmt::Display for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compute_capability;
        let mib = self.memory_bytes >> 20;
        write!(f, "cuda:{} {} ({mib} MiB, compute capability {major}.{minor})", self.index, self.name)
    }
}

/// A driver that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The newest CUDA version it supports, major and minor.
    pub cuda_version: (u32, u32),
    /// The devices visible to this process; there may be none.
    pub devices: Vec<CudaDevice>,
}

/// Why no NVIDIA driver can be asked. An ordinary state of a machine, not a fault of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoDriver {
    /// What was tried and what came of it, in words.
    pub why: String,
}

/// Asks the driver what devices this process may use.
///
/// # Errors
/// [`NoDriver`] where the driver's library is absent, is too old to have a function needed, or refuses.
pub fn devices() -> Result<Vec<CudaDevice>, NoDriver> {
    driver().map(|driver| driver.devices)
}

/// Asks the driver for its version and its devices.
///
/// # Errors
/// As [`devices`].
pub fn driver() -> Result<Driver, NoDriver> {
    Api::open(DRIVER_LIBRARY)?.survey()
}

/// What a survey found, in words.
pub(crate) fn describe(found: &Result<Driver, NoDriver>) -> String {
    match found {
        Err(no_driver) => no_driver.to_string(),
        Ok(driver) if driver.devices.is_empty() => "the NVIDIA driver sees no device".into(),
        Ok(driver) => {
            let names: Vec<String> = driver.devices.iter().map(ToString::to_string).collect();
            format!("devices found: {}", names.join(", "))
        }
    }
}

/// How long it took to set up decoders of a device's own, each up to where it has taken its first packet.
#[derive(Clone, Debug)]
pub struct DecoderSetUp {
    /// The first of a process's device context, with the driver's library.
    pub cold: Duration,
    /// Those after it.
    pub warm: Vec<Duration>,
}

/// The driver's functions used here, with the types of `cuda.h` (a device handle is an `int`).
struct Api {
    init: unsafe extern "C" fn(c_uint) -> c_int,
    version: unsafe extern "C" fn(*mut c_int) -> c_int,
    count: unsafe extern "C" fn(*mut c_int) -> c_int,
    get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    memory: unsafe extern "C" fn(*mut usize, c_int) -> c_int,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int,
    error_text: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
}

impl Api {
    #[allow(unsafe_code)]
    fn open(file: &str) -> Result<Self, NoDriver> {
        // SAFETY: opening a library runs its initialisers. This is the system's own driver library, which
        // every CUDA program on the machine opens under this name, and it asks nothing of its caller.
        let library = unsafe { Library::new(file) }
            .map_err(|e| NoDriver { why: format!("no NVIDIA driver: {file} cannot be loaded ({e})") })?;
        // SAFETY: each field has the C declaration of its function in `cuda.h` (the driver keeps a
        // function's type under its exported name for good); `symbol` infers its type from the field.
        let api = unsafe {
            Self {
                init: symbol(&library, file, "cuInit")?,
                version: symbol(&library, file, "cuDriverGetVersion")?,
                count: symbol(&library, file, "cuDeviceGetCount")?,
                get: symbol(&library, file, "cuDeviceGet")?,
                name: symbol(&library, file, "cuDeviceGetName")?,
                memory: symbol(&library, file, "cuDeviceTotalMem_v2")?,
                attribute: symbol(&library, file, "cuDeviceGetAttribute")?,
                error_text: symbol(&library, file, "cuGetErrorString")?,
            }
        };
        // The pointers above must stay valid, and a driver that has started threads must not be unloaded:
        // the library stays until the process ends.
        std::mem::forget(library);
        Ok(api)
    }

    #[allow(unsafe_code)]
    fn survey(&self) -> Result<Driver, NoDriver> {
        // SAFETY: the only value that cuInit defines for its flags is 0.
        let code = unsafe { (self.init)(0) };
        if code != NO_DEVICE {
            self.check("cuInit", code)?;
        }
        let mut version: c_int = 0;
        // SAFETY: a valid pointer to an int, which outlives the call.
        self.check("cuDriverGetVersion", unsafe { (self.version)(&raw mut version) })?;
        let version = u32::try_from(version).unwrap_or(0);
        let cuda_version = (version / 1000, version % 1000 / 10);
        if code == NO_DEVICE {
            return Ok(Driver { cuda_version, devices: Vec::new() });
        }

        let mut count: c_int = 0;
        // SAFETY: a valid pointer to an int, which outlives the call.
        self.check("cuDeviceGetCount", unsafe { (self.count)(&raw mut count) })?;
        let devices = (0..count).map(|ordinal| self.device(ordinal)).collect::<Result<_, _>>()?;
        Ok(Driver { cuda_version, devices })
    }

    #[allow(unsafe_code)]
    fn device(&self, ordinal: c_int) -> Result<CudaDevice, NoDriver> {
        let mut handle: c_int = 0;
        // SAFETY: a valid pointer to an int, which outlives the call; the ordinal is below the count.
        self.check("cuDeviceGet", unsafe { (self.get)(&raw mut handle, ordinal) })?;

        let mut name = [0_u8; NAME_BYTES];
        let room = c_int::try_from(NAME_BYTES - 1).unwrap_or(0);
        // SAFETY: the buffer is longer than the length passed, so a zero follows whatever is written;
        // u8 and c_char have one layout; the handle comes from cuDeviceGet.
        self.check("cuDeviceGetName", unsafe { (self.name)(name.as_mut_ptr().cast(), room, handle) })?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().trim().to_owned();

        let mut memory: usize = 0;
        // SAFETY: a valid pointer to a size_t, which outlives the call; the handle comes from cuDeviceGet.
        self.check("cuDeviceTotalMem_v2", unsafe { (self.memory)(&raw mut memory, handle) })?;

        Ok(CudaDevice {
            index: u32::try_from(ordinal).unwrap_or(0),
            name,
            memory_bytes: memory as u64,
            compute_capability: (
                self.attribute(CAPABILITY_MAJOR, handle)?,
                self.attribute(CAPABILITY_MINOR, handle)?,
            ),
        })
    }

    #[allow(unsafe_code)]
    fn attribute(&self, which: c_int, handle: c_int) -> Result<u32, NoDriver> {
        let mut value: c_int = 0;
        // SAFETY: a valid pointer to an int, which outlives the call; the attribute is one of `cuda.h`;
        // the handle comes from cuDeviceGet.
        let code = unsafe { (self.attribute)(&raw mut value, which, handle) };
        self.check("cuDeviceGetAttribute", code)?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    #[allow(unsafe_code)]
    fn check(&self, function: &str, code: c_int) -> Result<(), NoDriver> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: a valid pointer to a pointer, which outlives the call.
        let known = unsafe { (self.error_text)(code, &raw mut text) } == SUCCESS && !text.is_null();
        // SAFETY: on success the driver gives a zero-terminated string that is part of its library, which
        // is never unloaded (see `open`).
        let text =
            if known { unsafe { CStr::from_ptr(text) }.to_string_lossy() } else { "unknown error".into() };
        Err(NoDriver { why: format!("the NVIDIA driver does not work: {function} gave {code} ({text})") })
    }
}

/// One function of the driver.
///
/// # Safety
/// `T` must be the function's type in C.
#[allow(unsafe_code)]
unsafe fn symbol<T: Copy>(library: &Library, file: &str, name: &str) -> Result<T, NoDriver> {
    // SAFETY: that the type is right is this function's own condition; the copy taken stays valid,
    // because `open` keeps the library loaded once it has every function.
    unsafe { library.get::<T>(name.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|e| NoDriver { why: format!("the NVIDIA driver is too old: {file} has no {name} ({e})") })
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    // A driver of two devices, written against the declarations in `cuda.h`.

    extern "C" fn init_ok(flags: c_uint) -> c_int {
        if flags == 0 { SUCCESS } else { 1 }
    }

    extern "C" fn init_without_devices(_: c_uint) -> c_int {
        100
    }

    extern "C" fn init_mismatch(_: c_uint) -> c_int {
        803
    }

    extern "C" fn version(out: *mut c_int) -> c_int {
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = 13_010 };
        SUCCESS
    }

    extern "C" fn count(out: *mut c_int) -> c_int {
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = 2 };
        SUCCESS
    }

    // Handles differ from ordinals, so that a mix-up shows.
    extern "C" fn get(out: *mut c_int, ordinal: c_int) -> c_int {
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = 40 + ordinal };
        SUCCESS
    }

    extern "C" fn name(out: *mut c_char, len: c_int, handle: c_int) -> c_int {
        let text: &[u8] = match handle {
            40 => b"NVIDIA First\0",
            // As long as the buffer allows and not terminated: the worst that a driver may do.
            41 => &[b'x'; 255],
            _ => return 101,
        };
        let n = text.len().min(usize::try_from(len).unwrap());
        // SAFETY: the caller passes a buffer of at least `len` bytes.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), out, n) };
        SUCCESS
    }

    extern "C" fn memory(out: *mut usize, handle: c_int) -> c_int {
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = if handle == 40 { 85_520_809_984 } else { 1 << 30 } };
        SUCCESS
    }

    extern "C" fn attribute(out: *mut c_int, which: c_int, handle: c_int) -> c_int {
        let value = match (which, handle) {
            (75, 40) => 9,
            (76, 40) => 0,
            (75, 41) => 8,
            (76, 41) => 6,
            _ => return 1,
        };
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = value };
        SUCCESS
    }

    extern "C" fn error_text(code: c_int, out: *mut *const c_char) -> c_int {
        if code != 803 {
            return 1;
        }
        // SAFETY: the caller passes a valid pointer.
        unsafe { *out = c"driver and library differ".as_ptr() };
        SUCCESS
    }

    fn api() -> Api {
        Api { init: init_ok, version, count, get, name, memory, attribute, error_text }
    }

    #[test]
    fn lists_the_devices_that_the_driver_reports() {
        let driver = api().survey().unwrap();
        assert_eq!(driver.cuda_version, (13, 1));
        let first = CudaDevice {
            index: 0,
            name: "NVIDIA First".into(),
            memory_bytes: 85_520_809_984,
            compute_capability: (9, 0),
        };
        assert_eq!(driver.devices[0], first);
        assert_eq!(first.to_string(), "cuda:0 NVIDIA First (81559 MiB, compute capability 9.0)");
        assert_eq!(driver.devices.len(), 2);
        assert_eq!(driver.devices[1].index, 1);
        assert_eq!(driver.devices[1].name, "x".repeat(255));
        assert_eq!(driver.devices[1].compute_capability, (8, 6));
    }

    #[test]
    fn a_driver_without_devices_is_no_error() {
        let driver = Api { init: init_without_devices, ..api() }.survey().unwrap();
        assert_eq!(driver, Driver { cuda_version: (13, 1), devices: Vec::new() });
    }

    #[test]
    fn a_driver_that_refuses_is_explained() {
        let error = Api { init: init_mismatch, ..api() }.survey().unwrap_err();
        let expected = "the NVIDIA driver does not work: cuInit gave 803 (driver and library differ)";
        assert_eq!(error.why, expected);
        let error = Api { count: init_as_count, ..api() }.survey().unwrap_err();
        assert_eq!(error.why, "the NVIDIA driver does not work: cuDeviceGetCount gave 999 (unknown error)");
    }

    extern "C" fn init_as_count(_: *mut c_int) -> c_int {
        999
    }

    #[test]
    fn a_machine_without_the_library_is_explained() {
        let error = Api::open("libnexis-no-such-driver.so.1").err().unwrap();
        let start = "no NVIDIA driver: libnexis-no-such-driver.so.1 cannot be loaded (";
        assert!(error.why.starts_with(start), "{}", error.why);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_library_without_the_functions_is_explained() {
        let error = Api::open("libc.so.6").err().unwrap();
        let start = "the NVIDIA driver is too old: libc.so.6 has no cuInit (";
        assert!(error.why.starts_with(start), "{}", error.why);
    }

    #[test]
    fn this_machine_answers_one_way_or_the_other() {
        match driver() {
            Ok(driver) => {
                for (at, device) in driver.devices.iter().enumerate() {
                    assert_eq!(usize::try_from(device.index).unwrap(), at);
                    assert!(!device.name.is_empty() && device.memory_bytes > 0);
                    assert!(device.compute_capability.0 > 0);
                }
            }
            Err(NoDriver { why }) => assert!(why.contains("NVIDIA driver"), "{why}"),
        }
    }
}
