//! Where a verification runs: what was asked for, and what that comes to on this machine.

use std::fmt;
use std::str::FromStr;

use nexis_core::model::Precision;
use nexis_core::{Error, Result};

use crate::cuda;
use crate::device::CudaDevice;

/// What an operator asks for: `auto`, `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The one that the precision asks for: the processor, or the first NVIDIA device.
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

/// A device that work can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// The NVIDIA device of this number.
    Cuda(u32),
}

/// Where work will run, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub kind: DeviceKind,
    /// Why it is this one, in words for a report.
    pub why: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// What a choice comes to on this machine with this build. The precision decides where a device was left open (`auto`): it
/// is never changed for a device, and a device that was named is given or refused, never replaced.
///
/// # Errors
/// [`Error::Usage`] where the device named does not compute in the precision; [`Error::Missing`] where a GPU is needed and
/// cannot be used, with the reason.
pub fn resolve(choice: DeviceChoice, precision: Precision) -> Result<Device> {
    resolve_among(choice, precision, cuda::usable)
}

fn resolve_among(
    choice: DeviceChoice,
    precision: Precision,
    usable: impl Fn(u32) -> Result<CudaDevice>,
) -> Result<Device> {
    let on_gpu = matches!(precision, Precision::Bf16 | Precision::F16);
    let cpu = |why: String| Ok(Device { kind: DeviceKind::Cpu, why });
    let gpu = |index, why: &str| {
        let device = usable(index)?;
        Ok(Device { kind: DeviceKind::Cuda(index), why: format!("{why}; {device}") })
    };
    match choice {
        DeviceChoice::Auto if on_gpu => gpu(0, &format!("precision {precision} runs on a GPU")),
        DeviceChoice::Auto => cpu(format!("precision {precision} runs on the processor")),
        DeviceChoice::Cpu if on_gpu => Err(Error::usage(
            format!("precision {precision} on cpu"),
            "it runs on a GPU; choose cuda:N, or precision exact",
        )),
        DeviceChoice::Cpu => cpu("cpu was asked for".to_owned()),
        DeviceChoice::Cuda(index) if on_gpu => gpu(index, &format!("{choice} was asked for")),
        DeviceChoice::Cuda(index) => {
            // What stands in the way of the device comes first: another precision would not help.
            usable(index)?;
            let why = "it runs on the processor; choose precision bf16 or f16, whose scores are others, or device cpu";
            Err(Error::usage(format!("precision {precision} on {choice}"), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn device(index: u32) -> Result<CudaDevice> {
        let name = "NVIDIA Test".to_owned();
        Ok(CudaDevice { index, name, memory_bytes: 8 << 30, compute_capability: (9, 0) })
    }

    fn none(index: u32) -> Result<CudaDevice> {
        Err(Error::Missing { what: format!("cuda:{index}"), remedy: "it is not there".into() })
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

    const ON_GPU: [Precision; 2] = [Precision::Bf16, Precision::F16];
    const ON_CPU: [Precision; 3] = [Precision::Exact, Precision::F32, Precision::Fast];

    #[test]
    fn the_processor_does_not_ask_the_driver() {
        for precision in ON_CPU {
            let device = resolve_among(DeviceChoice::Cpu, precision, |_| unreachable!()).unwrap();
            assert_eq!((device.kind, device.why.as_str()), (DeviceKind::Cpu, "cpu was asked for"));
            let device = resolve_among(DeviceChoice::Auto, precision, |_| unreachable!()).unwrap();
            assert_eq!(device.to_string(), "cpu");
            assert_eq!(device.why, format!("precision {precision} runs on the processor"));
        }
    }

    #[test]
    fn the_precision_decides_where_the_device_is_open() {
        for precision in ON_GPU {
            let found = resolve_among(DeviceChoice::Auto, precision, device).unwrap();
            assert_eq!((found.kind, found.to_string().as_str()), (DeviceKind::Cuda(0), "cuda:0"));
            assert!(
                found.why.ends_with("cuda:0 NVIDIA Test (8192 MiB, compute capability 9.0)"),
                "{}",
                found.why
            );
            let found = resolve_among(DeviceChoice::Cuda(3), precision, device).unwrap();
            assert_eq!(found.kind, DeviceKind::Cuda(3));
            // Never the processor instead.
            for choice in [DeviceChoice::Auto, DeviceChoice::Cuda(1)] {
                let error = resolve_among(choice, precision, none).unwrap_err();
                assert!(matches!(error, Error::Missing { .. }), "{error}");
            }
            let error = resolve_among(DeviceChoice::Cpu, precision, device).unwrap_err().to_string();
            assert!(error.starts_with(&format!("precision {precision} on cpu: it runs on a GPU")), "{error}");
        }
    }

    #[test]
    fn a_named_gpu_is_refused_and_never_replaced() {
        for precision in ON_CPU {
            let error = resolve_among(DeviceChoice::Cuda(1), precision, device).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("precision {precision} on cuda:1: it runs on the proc")),
                "{error}"
            );
            let error = resolve_among(DeviceChoice::Cuda(1), precision, none).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{error}");
        }
    }

    #[test]
    fn this_machine_resolves_auto() {
        assert_eq!(resolve(DeviceChoice::Auto, Precision::Exact).unwrap().kind, DeviceKind::Cpu);
    }
}
