//! How a model is loaded: its device, its precision, its name.

use std::fmt;
use std::str::FromStr;

use super::exact::{Bf16Instructions, InstructionSet};
use crate::error::{Error, Result};

/// Where a model's forward pass runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelDevice {
    /// The processor.
    #[default]
    Cpu,
}

/// Number format of a model's forward pass; stored weights of any supported format are converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point in a written order of operations (`models/EXACT.md`): the same bits on every processor.
    #[default]
    Exact,
    /// 32-bit floating point, composed of candle's operations: bits that differ between processors in the last places.
    /// A second implementation to compare with.
    F32,
    /// The passes of `Exact` with weights and activations rounded to bfloat16 before large products, for a first look:
    /// about twice as fast, and other scores. Only where the processor multiplies bfloat16 (AVX512-BF16).
    Fast,
    /// A GPU's bfloat16: weights and activations in 16 bits, sums, normalisation and the residual stream in 32.
    Bf16,
    /// The same in IEEE half precision.
    F16,
}

impl Precision {
    /// Its name in evidence: `exact-f32`, `f32`, `fast-bf16`, `bf16` or `f16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact-f32",
            Self::F32 => "f32",
            Self::Fast => "fast-bf16",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::F32 => "f32",
            Self::Fast => "fast",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Exact, Self::Fast, Self::F32, Self::Bf16, Self::F16]
            .into_iter()
            .find(|precision| precision.to_string() == text)
            .ok_or_else(|| {
                let expected = "exact, fast or f32 is expected, or bf16 or f16 on a GPU";
                Error::usage(format!("precision {text:?}"), expected)
            })
    }
}

/// Those that precision fast needs.
pub(super) fn instructions() -> Result<Bf16Instructions> {
    Bf16Instructions::detect().ok_or_else(|| Error::Missing {
        what: "a processor that multiplies bfloat16 (AVX512-BF16), which precision fast needs,".to_owned(),
        remedy: "use precision exact".to_owned(),
    })
}

/// How to load a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Device of the forward pass.
    pub device: ModelDevice,
    /// Precision of the forward pass.
    pub precision: Precision,
    /// Instructions of the exact forward pass; the fastest that the processor has where absent.
    pub instructions: Option<InstructionSet>,
    /// Name in evidence and messages; the directory's own name where absent.
    pub id: Option<String>,
}
