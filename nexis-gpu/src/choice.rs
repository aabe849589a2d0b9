//! Where a verification runs: what was asked for, and what that comes to on this machine.

use std::fmt;
use std::str::FromStr;

use nexis_core::model::Precision;
use nexis_core::{Error, Result};

use crate::cuda;
use crate::device::{self, CudaDevice};

/// What an operator asks for: `auto`, `cpu`, `cuda:N`, several of these between commas, or `cuda:all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The one that the precision asks for: the processor, or the first NVIDIA device.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA devices of these numbers, and no others.
    Cuda(CudaIndices),
    /// All NVIDIA devices that are visible to this process.
    AllCuda,
}

/// Numbers of NVIDIA devices: at least one, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CudaIndices(Vec<u32>);

impl CudaIndices {
    /// One device.
    pub fn one(index: u32) -> Self {
        Self(vec![index])
    }

    /// The numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// From numbers in any order; `None` where there are none, or one comes twice.
    fn new(mut indices: Vec<u32>) -> Option<Self> {
        let count = indices.len();
        indices.sort_unstable();
        indices.dedup();
        (count > 0 && indices.len() == count).then_some(Self(indices))
    }
}

impl fmt::Display for CudaIndices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, index) in self.iter().enumerate() {
            write!(f, "{}cuda:{index}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(indices) => indices.fmt(f),
            Self::AllCuda => f.write_str("cuda:all"),
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
            "cuda:all" => return Ok(Self::AllCuda),
            "cuda" | "cuda:" | "gpu" => {
                return Err(refuse("a GPU is named with its number, for example cuda:0"));
            }
            _ => {}
        }
        let index = |name: &str| {
            let Some(number) = name.strip_prefix("cuda:") else {
                return Err(refuse(
                    "auto, cpu, cuda:N, several of these with commas between them, or cuda:all is expected, in lower case",
                ));
            };
            // One spelling per device: no sign, no leading zero, no white space.
            match number.parse::<u32>() {
                Ok(index) if index.to_string() == number => Ok(index),
                _ => Err(refuse("the number after cuda: counts devices from 0, for example cuda:0")),
            }
        };
        let indices = text.split(',').map(index).collect::<Result<Vec<_>>>()?;
        CudaIndices::new(indices).map(Self::Cuda).ok_or_else(|| refuse("name each device once"))
    }
}

/// What work can run on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// The NVIDIA devices of these numbers.
    Cuda(CudaIndices),
}

/// Where work will run, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device, or devices.
    pub kind: DeviceKind,
    /// Why it is this one, in words for a report.
    pub why: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda(indices) => indices.fmt(f),
        }
    }
}

/// What a choice comes to on this machine with this build. The precision decides where a device was left open (`auto`): it
/// is never changed for a device, and a device that was named is given or refused, never replaced. Several devices are of
/// one kind, or refused: a score would else depend on which of them took a clip.
///
/// # Errors
/// [`Error::Usage`] where the device named does not compute in the precision, or devices are not of one kind;
/// [`Error::Missing`] where a GPU is needed and cannot be used, with the reason.
pub fn resolve(choice: &DeviceChoice, precision: Precision) -> Result<Device> {
    let visible = || device::devices().map(|all| all.iter().map(|device| device.index).collect());
    resolve_among(choice, precision, cuda::usable, || visible().unwrap_or_default())
}

fn resolve_among(
    choice: &DeviceChoice,
    precision: Precision,
    usable: impl Fn(u32) -> Result<CudaDevice>,
    visible: impl Fn() -> Vec<u32>,
) -> Result<Device> {
    let on_gpu = matches!(precision, Precision::Bf16 | Precision::F16);
    let cpu = |why: String| Ok(Device { kind: DeviceKind::Cpu, why });
    let gpus = |indices: CudaIndices, why: &str| {
        let devices = indices.iter().map(&usable).collect::<Result<Vec<_>>>()?;
        of_one_kind(&devices)?;
        let names: Vec<String> = devices.iter().map(ToString::to_string).collect();
        Ok(Device { kind: DeviceKind::Cuda(indices), why: format!("{why}; {}", names.join(", ")) })
    };
    // Where there is none, the first is asked for, which says why.
    let all = || CudaIndices::new(visible()).unwrap_or_else(|| CudaIndices::one(0));
    let asked = format!("{choice} was asked for");
    match choice {
        DeviceChoice::Auto if on_gpu => {
            gpus(CudaIndices::one(0), &format!("precision {precision} runs on a GPU"))
        }
        DeviceChoice::Auto => cpu(format!("precision {precision} runs on the processor")),
        DeviceChoice::Cpu if on_gpu => Err(Error::usage(
            format!("precision {precision} on cpu"),
            "it runs on a GPU; choose cuda:N, or precision exact",
        )),
        DeviceChoice::Cpu => cpu(asked),
        DeviceChoice::Cuda(indices) if on_gpu => gpus(indices.clone(), &asked),
        DeviceChoice::AllCuda if on_gpu => gpus(all(), &asked),
        DeviceChoice::Cuda(_) | DeviceChoice::AllCuda => {
            // What stands in the way of the device comes first: another precision would not help.
            let indices = if let DeviceChoice::Cuda(indices) = choice { indices.clone() } else { all() };
            indices.iter().try_for_each(|index| usable(index).map(|_| ()))?;
            let why = "it runs on the processor; choose precision bf16 or f16, whose scores are others, or device cpu";
            Err(Error::usage(format!("precision {precision} on {choice}"), why))
        }
    }
}

/// That devices have one name and one compute capability, so that they compute the same.
fn of_one_kind(devices: &[CudaDevice]) -> Result<()> {
    let kind = |device: &CudaDevice| (device.name.clone(), device.compute_capability);
    let mut others = devices.windows(2).filter_map(|pair| match pair {
        [one, other] if kind(one) != kind(other) => Some((one, other)),
        _ => None,
    });
    match others.next() {
        None => Ok(()),
        Some((one, other)) => Err(Error::usage(
            format!("devices {one} and {other} together"),
            "they compute with other roundings, so that a score would depend on which of them took a clip; name devices of \
             one kind",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuda(indices: &[u32]) -> DeviceChoice {
        DeviceChoice::Cuda(CudaIndices::new(indices.to_vec()).unwrap())
    }

    fn device(index: u32) -> Result<CudaDevice> {
        let name = "NVIDIA Test".to_owned();
        Ok(CudaDevice { index, name, memory_bytes: 8 << 30, compute_capability: (9, 0) })
    }

    /// Two devices of every kind.
    fn unlike(index: u32) -> Result<CudaDevice> {
        let (name, compute_capability) = (format!("NVIDIA {}", index / 4), (8, index / 2));
        Ok(CudaDevice { name, compute_capability, ..device(index)? })
    }

    fn resolve_with(
        choice: &DeviceChoice,
        precision: Precision,
        usable: fn(u32) -> Result<CudaDevice>,
    ) -> Result<Device> {
        resolve_among(choice, precision, usable, || vec![0, 1])
    }

    fn none(index: u32) -> Result<CudaDevice> {
        Err(Error::Missing { what: format!("cuda:{index}"), remedy: "it is not there".into() })
    }

    #[test]
    fn every_choice_reads_back_as_it_is_written() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", cuda(&[0])),
            ("cuda:17", cuda(&[17])),
            ("cuda:0,cuda:1,cuda:10", cuda(&[0, 1, 10])),
            ("cuda:all", DeviceChoice::AllCuda),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!(DeviceChoice::default(), DeviceChoice::Auto);
        // Evidence names the same devices alike.
        assert_eq!("cuda:2,cuda:0".parse::<DeviceChoice>().unwrap().to_string(), "cuda:0,cuda:2");
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
        for text in [
            "",
            "CPU",
            " cpu",
            "CUDA:0",
            "mps",
            "cpu\0",
            "cudä:0",
            "cuda:0,",
            ",cuda:0",
            "cuda:0,cpu",
            "cuda:0,1",
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("auto, cpu, cuda:N, several"), "{error}");
        }
        for text in ["cuda:0, cuda:1", "cuda:0,cuda:all"] {
            text.parse::<DeviceChoice>().unwrap_err();
        }
        let error = "cuda:1,cuda:0,cuda:1".parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(error.ends_with("name each device once"), "{error}");
    }

    const ON_GPU: [Precision; 2] = [Precision::Bf16, Precision::F16];
    const ON_CPU: [Precision; 3] = [Precision::Exact, Precision::F32, Precision::Fast];

    #[test]
    fn the_processor_does_not_ask_the_driver() {
        for precision in ON_CPU {
            let device = resolve_with(&DeviceChoice::Cpu, precision, |_| unreachable!()).unwrap();
            assert_eq!((device.kind, device.why.as_str()), (DeviceKind::Cpu, "cpu was asked for"));
            let device = resolve_with(&DeviceChoice::Auto, precision, |_| unreachable!()).unwrap();
            assert_eq!(device.to_string(), "cpu");
            assert_eq!(device.why, format!("precision {precision} runs on the processor"));
        }
    }

    #[test]
    fn the_precision_decides_where_the_device_is_open() {
        for precision in ON_GPU {
            let found = resolve_with(&DeviceChoice::Auto, precision, device).unwrap();
            assert_eq!(found.to_string(), "cuda:0");
            assert!(
                found.why.ends_with("cuda:0 NVIDIA Test (8192 MiB, compute capability 9.0)"),
                "{}",
                found.why
            );
            let found = resolve_with(&cuda(&[3]), precision, device).unwrap();
            assert_eq!(found.kind, DeviceKind::Cuda(CudaIndices::one(3)));
            let found = resolve_with(&DeviceChoice::AllCuda, precision, device).unwrap();
            assert_eq!(found.to_string(), "cuda:0,cuda:1");
            assert!(found.why.contains("cuda:0 NVIDIA Test") && found.why.contains("cuda:1 NVIDIA Test"));
            // Never the processor instead.
            for choice in [DeviceChoice::Auto, cuda(&[1]), cuda(&[0, 1]), DeviceChoice::AllCuda] {
                let error = resolve_with(&choice, precision, none).unwrap_err();
                assert!(matches!(error, Error::Missing { .. }), "{error}");
                let error = resolve_among(&choice, precision, none, Vec::new).unwrap_err();
                assert!(matches!(error, Error::Missing { .. }), "{error}");
            }
            let error = resolve_with(&DeviceChoice::Cpu, precision, device).unwrap_err().to_string();
            assert!(error.starts_with(&format!("precision {precision} on cpu: it runs on a GPU")), "{error}");
        }
    }

    #[test]
    fn a_named_gpu_is_refused_and_never_replaced() {
        for precision in ON_CPU {
            let error = resolve_with(&cuda(&[1]), precision, device).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("precision {precision} on cuda:1: it runs on the proc")),
                "{error}"
            );
            for choice in [cuda(&[1]), cuda(&[0, 1]), DeviceChoice::AllCuda] {
                let error = resolve_with(&choice, precision, none).unwrap_err();
                assert!(matches!(error, Error::Missing { .. }), "{error}");
                resolve_with(&choice, precision, device).unwrap_err();
            }
        }
    }

    #[test]
    fn devices_that_compute_differently_do_not_share_clips() {
        for precision in ON_GPU {
            resolve_with(&cuda(&[4, 5]), precision, unlike).unwrap();
            // Another capability, and another name.
            for (indices, one, other) in [(&[1, 2], "cuda:1", "cuda:2"), (&[0, 8], "cuda:0", "cuda:8")] {
                let error = resolve_with(&cuda(indices), precision, unlike).unwrap_err();
                assert!(matches!(error, Error::Usage { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains(one) && text.contains(other) && text.contains("of one kind"), "{text}");
            }
            // All of them are no less refused.
            let error =
                resolve_among(&DeviceChoice::AllCuda, precision, unlike, || vec![0, 1, 2]).unwrap_err();
            assert!(error.to_string().contains("devices cuda:1"), "{error}");
            // One that is missing is not left out.
            let second = |index| if index == 1 { none(index) } else { device(index) };
            let error = resolve_among(&cuda(&[0, 1]), precision, second, Vec::new).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{error}");
        }
    }

    #[test]
    fn this_machine_resolves_auto() {
        assert_eq!(resolve(&DeviceChoice::Auto, Precision::Exact).unwrap().kind, DeviceKind::Cpu);
    }
}
