//! Where a verification runs: what was asked for, and what that comes to on this machine.

use std::fmt;
use std::str::FromStr;

use nexis_core::{Error, Result};

use crate::device::{self, Driver, NoDriver};

/// What an operator asks for: `auto`, `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The best device that this build can use.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA device of this number, and no other.
    Cuda(u32),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::usage(format!("device {text:?}"), why);
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" | "cuda:" | "gpu" => {
                return Err(refuse("a GPU is named with its number, for example cuda:0"));
            }
            _ => {}
        }
        let Some(number) = text.strip_prefix("cuda:") else {
            return Err(refuse("auto, cpu or cuda:N is expected, in lower case"));
        };
        // One spelling per device: no sign, no leading zero, no white space.
        match number.parse::<u32>() {
            Ok(index) if index.to_string() == number => Ok(Self::Cuda(index)),
            _ => Err(refuse("the number after cuda: counts devices from 0, for example cuda:0")),
        }
    }
}

/// A device that this build can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
}

/// Where work will run, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub kind: DeviceKind,
    /// Why it is this one, in words for a report.
    pub why: String,
}

impl Device {
    /// The name under which results report it.
    pub const fn as_str(&self) -> &'static str {
        match self.kind {
            DeviceKind::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a choice comes to on this machine with this build. Only a device that was left open (`auto`) is
/// chosen here; one that was named is given or refused, never replaced.
///
/// # Errors
/// [`Error::Missing`] for `cuda:N`, for this build has no CUDA path; it names the devices found.
pub fn resolve(choice: DeviceChoice) -> Result<Device> {
    resolve_among(choice, device::driver)
}

fn resolve_among(
    choice: DeviceChoice,
    survey: impl FnOnce() -> std::result::Result<Driver, NoDriver>,
) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device { kind: DeviceKind::Cpu, why: "cpu was asked for".into() }),
        DeviceChoice::Auto => Ok(Device {
            kind: DeviceKind::Cpu,
            why: format!("this build has no CUDA path; {}", describe(&survey())),
        }),
        DeviceChoice::Cuda(_) => Err(Error::Missing {
            what: format!("{choice}: the CUDA path"),
            remedy: format!("this build runs on cpu only (choose cpu or auto); {}", describe(&survey())),
        }),
    }
}

fn describe(found: &std::result::Result<Driver, NoDriver>) -> String {
    match found {
        Err(no_driver) => no_driver.to_string(),
        Ok(driver) if driver.devices.is_empty() => "the NVIDIA driver sees no device".into(),
        Ok(driver) => {
            let names: Vec<String> = driver.devices.iter().map(ToString::to_string).collect();
            format!("devices found: {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::CudaDevice;

    fn two_devices() -> std::result::Result<Driver, NoDriver> {
        let device = |index| CudaDevice {
            index,
            name: "NVIDIA Test".into(),
            memory_bytes: 8 << 30,
            compute_capability: (9, 0),
        };
        Ok(Driver { cuda_version: (13, 0), devices: vec![device(0), device(1)] })
    }

    fn no_driver() -> std::result::Result<Driver, NoDriver> {
        Err(NoDriver { why: "no NVIDIA driver: it is not there".into() })
    }

    #[test]
    fn every_choice_reads_back_as_it_is_written() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:17", DeviceChoice::Cuda(17)),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!(DeviceChoice::default(), DeviceChoice::Auto);
    }

    #[test]
    fn anything_else_is_refused_with_advice() {
        for text in ["cuda", "cuda:", "gpu"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("with its number, for example cuda:0"), "{error}");
        }
        for text in ["cuda:-1", "cuda:+1", "cuda:01", "cuda: 1", "cuda:x", "cuda:4294967296"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("device {text:?}: the number after cuda:")), "{error}");
        }
        for text in ["", "CPU", " cpu", "CUDA:0", "mps", "cpu\0", "cudä:0"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.ends_with("auto, cpu or cuda:N is expected, in lower case"), "{error}");
        }
    }

    #[test]
    fn cpu_does_not_ask_the_driver() {
        let device = resolve_among(DeviceChoice::Cpu, || unreachable!()).unwrap();
        assert_eq!((device.kind, device.why.as_str()), (DeviceKind::Cpu, "cpu was asked for"));
    }

    #[test]
    fn auto_gives_the_cpu_and_says_why() {
        let device = resolve_among(DeviceChoice::Auto, no_driver).unwrap();
        assert_eq!(device.to_string(), "cpu");
        assert_eq!(device.why, "this build has no CUDA path; no NVIDIA driver: it is not there");
        let device = resolve_among(DeviceChoice::Auto, two_devices).unwrap();
        assert_eq!(device.kind, DeviceKind::Cpu);
        assert!(device.why.contains("cuda:1 NVIDIA Test (8192 MiB"), "{}", device.why);
    }

    #[test]
    fn a_named_gpu_is_refused_and_never_replaced() {
        let error = resolve_among(DeviceChoice::Cuda(1), two_devices).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }));
        let text = error.to_string();
        assert!(text.starts_with("cuda:1: the CUDA path is missing; this build runs on cpu only"), "{text}");
        assert!(
            text.contains("devices found: cuda:0 NVIDIA Test (8192 MiB, compute capability 9.0), cuda:1")
        );
        let text = resolve_among(DeviceChoice::Cuda(0), no_driver).unwrap_err().to_string();
        assert!(text.ends_with("no NVIDIA driver: it is not there"), "{text}");
    }

    #[test]
    fn this_machine_resolves_auto() {
        assert_eq!(resolve(DeviceChoice::Auto).unwrap().as_str(), "cpu");
    }
}
