//! Weights on their way to a device.

use nexis_core::model::towers::{Blueprint, TowerSizes};
use nexis_core::{Error, Result};

use crate::compute::{Compute, Format};
use crate::kernels::NormSpans;

/// Uploads weights and counts their bytes.
pub(super) struct Uploader<'a, C> {
    compute: &'a C,
    plan: &'a Blueprint<'a>,
    format: Format,
    bytes: usize,
}

impl<'a, C: Compute> Uploader<'a, C> {
    pub(super) const fn new(compute: &'a C, plan: &'a Blueprint<'a>, format: Format) -> Self {
        Self { compute, plan, format, bytes: 0 }
    }

    /// What was uploaded so far.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<C::Memory> {
        let memory = super::memory(self.compute, "weights", bytes.len())?;
        self.compute.upload(bytes, C::span(&memory))?;
        self.bytes += bytes.len();
        Ok(memory)
    }

    /// Numbers in 32 bits.
    pub(super) fn floats(&mut self, values: &[f32]) -> Result<C::Memory> {
        self.upload(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
    }

    /// A tensor in 32 bits.
    pub(super) fn wide(&mut self, name: &str, shape: &[usize]) -> Result<C::Memory> {
        let values = self.plan.values(name, shape)?;
        self.floats(&values)
    }

    /// Vectors end to end, in 32 bits.
    pub(super) fn joined(&mut self, names: &[String], length: usize) -> Result<C::Memory> {
        let mut all = Vec::with_capacity(names.len() * length);
        for name in names {
            all.extend(self.plan.values(name, &[length])?);
        }
        self.floats(&all)
    }

    /// The value of each byte.
    pub(super) fn levels(&mut self) -> Result<C::Memory> {
        let levels = self.plan.levels();
        self.floats(levels.as_flattened())
    }

    /// `[outputs, inputs]` in the format of the weights, each row filled up with zeros to `row` values.
    pub(super) fn padded(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        row: usize,
    ) -> Result<C::Memory> {
        self.stacked(&[name.to_owned()], inputs, outputs, row)
    }

    /// Matrices one below the other.
    pub(super) fn stacked(
        &mut self,
        names: &[String],
        inputs: usize,
        outputs: usize,
        row: usize,
    ) -> Result<C::Memory> {
        let mut bytes = Vec::with_capacity(names.len() * outputs * row * 2);
        for name in names {
            let values = self.plan.matrix(name, inputs, outputs)?;
            self.round(name, &values, inputs, row, &mut bytes)?;
        }
        self.upload(&bytes)
    }

    /// Rows of values, which are those of `name` or a part of them.
    pub(super) fn rows(&mut self, name: &str, values: &[f32], inputs: usize) -> Result<C::Memory> {
        let mut bytes = Vec::with_capacity(values.len() * 2);
        self.round(name, values, inputs, inputs, &mut bytes)?;
        self.upload(&bytes)
    }

    /// Values in the format of the weights.
    fn round(
        &self,
        name: &str,
        values: &[f32],
        inputs: usize,
        row: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        for values in values.chunks_exact(inputs.max(1)) {
            for value in values {
                let bits = self.format.rounded(*value);
                if !self.format.value(bits).is_finite() {
                    let why = format!("{value} is beyond the numbers of {}; choose bf16", self.format.name());
                    return Err(Error::usage(format!("weights {name}"), why));
                }
                bytes.extend(bits.to_le_bytes());
            }
            bytes.resize(bytes.len() + (row - inputs) * 2, 0);
        }
        Ok(())
    }

    /// The values of a tensor, which stay on the processor.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.plan.values(name, shape)
    }
}

/// A layer normalisation.
pub(super) struct Norm<M> {
    weight: M,
    bias: M,
    eps: f32,
}

impl<M> Norm<M> {
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &TowerSizes,
    ) -> Result<Self> {
        Ok(Self {
            weight: uploader.wide(&format!("{name}.weight"), &[sizes.width])?,
            bias: uploader.wide(&format!("{name}.bias"), &[sizes.width])?,
            eps: sizes.eps,
        })
    }

    pub(super) fn spans<C: Compute<Memory = M>>(&self) -> NormSpans<'_> {
        NormSpans { weight: C::span(&self.weight), bias: C::span(&self.bias), eps: self.eps }
    }
}
