//! A model's weights: read once, hashed and parsed from the same bytes.

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::error::{Error, Result};

/// Name of the file with the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// What the files are called, to complain about them.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// The file with the weights.
    pub(super) weights: &'static str,
    /// The one that says what shapes they have.
    pub(super) config: &'static str,
    /// What else the weights could be, where a tensor is missing.
    pub(super) whole: &'static str,
}

/// Hugging Face's.
const TRANSFORMERS: Names = Names {
    weights: WEIGHTS,
    config: super::config::CONFIG,
    whole: "a whole model (CLIPModel or SiglipModel, save_pretrained) is expected",
};

/// The tensors of one model file, converted to f32 as they are asked for.
pub(super) struct Weights<'a> {
    model: &'a str,
    names: Names,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    /// Parses the header; offsets and sizes are checked against the bytes.
    pub(super) fn parse(model: &'a str, bytes: &'a [u8]) -> Result<Self> {
        Self::parse_named(model, bytes, TRANSFORMERS)
    }

    /// The same for files of other names.
    pub(super) fn parse_named(model: &'a str, bytes: &'a [u8], names: Names) -> Result<Self> {
        let file = names.weights;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| {
            Error::model(model, format!("{file} is damaged or incomplete ({e}); fetch the file again"))
        })?;
        Ok(Self { model, names, tensors })
    }

    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>> {
        let missing = |_| self.error(name, format_args!("is not in the file; {}", self.names.whole));
        let view = self.tensors.tensor(name).map_err(missing)?;
        if view.shape() != shape {
            let why = format!("has shape {:?} where {} asks for {shape:?}", view.shape(), self.names.config);
            return Err(self.error(name, why));
        }
        Ok(view)
    }

    /// A complaint about a tensor.
    pub(super) fn error(&self, name: &str, why: impl std::fmt::Display) -> Error {
        Error::model(self.model, format!("{}: {name} {why}", self.names.weights))
    }

    /// The values of one tensor, which has to have this shape and to be finite.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        use safetensors::Dtype;
        let view = self.view(name, shape)?;
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => return Err(self.error(name, format!("is {other:?}; F32, F16 and BF16 are supported"))),
        };
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = Tensor::from_raw_buffer(view.data(), dtype, &[count], &Device::Cpu)
            .and_then(|stored| stored.to_dtype(DType::F32)?.to_vec1())
            .map_err(|e| self.error(name, e))?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(
                self.error(name, "holds values that are not finite; fetch or export the weights again")
            );
        }
        Ok(values)
    }

    /// A tensor as it is stored.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let values = self.values(name, shape)?;
        Tensor::from_vec(values, shape, &Device::Cpu).map_err(|e| self.error(name, e))
    }

    /// A single number, stored without dimensions or as one element.
    pub(super) fn scalar(&self, name: &str) -> Result<f32> {
        let values = self.values(name, &[]).or_else(|e| self.values(name, &[1]).map_err(|_| e))?;
        values.first().copied().ok_or_else(|| self.error(name, "is empty"))
    }

    /// Weights of linear layers with `inputs` inputs, side by side and transposed: `[inputs, sum of outputs]`.
    ///
    /// Products of a few rows with such a matrix read it in order; the stored form, `[outputs, inputs]`,
    /// would be repacked at every product.
    pub(super) fn transposed(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Tensor> {
        const BLOCK: usize = 32;
        let columns = outputs.saturating_mul(names.len());
        let parts: Vec<Vec<f32>> =
            names.iter().map(|name| self.matrix(name, inputs, outputs)).collect::<Result<_>>()?;
        let mut all = vec![0.0_f32; inputs.saturating_mul(columns)];
        for (part, values) in parts.iter().enumerate() {
            for block in (0..outputs).step_by(BLOCK) {
                let rows = values.chunks_exact(inputs).enumerate().skip(block).take(BLOCK);
                for (output, row) in rows {
                    let at = part * outputs + output;
                    for (to, from) in all.iter_mut().skip(at).step_by(columns).zip(row) {
                        *to = *from;
                    }
                }
            }
        }
        let name = names.first().map_or("", String::as_str);
        Tensor::from_vec(all, (inputs, columns), &Device::Cpu).map_err(|e| self.error(name, e))
    }

    /// `[outputs, inputs]`, where a convolution's kernel counts as one row of inputs per output.
    pub(super) fn matrix(&self, name: &str, inputs: usize, outputs: usize) -> Result<Vec<f32>> {
        let shape = self.tensors.tensor(name).map(|view| view.shape().to_vec()).unwrap_or_default();
        if let [out, 3, height, width] = *shape.as_slice()
            && out == outputs
            && height == width
            && height.checked_mul(width).and_then(|n| n.checked_mul(3)) == Some(inputs)
        {
            return self.values(name, &shape);
        }
        self.values(name, &[outputs, inputs])
    }

    /// Vectors end to end.
    pub(super) fn joined(&self, names: &[String], length: usize) -> Result<Tensor> {
        let mut all = Vec::new();
        for name in names {
            all.extend(self.values(name, &[length])?);
        }
        let name = names.first().map_or("", String::as_str);
        let total = all.len();
        Tensor::from_vec(all, total, &Device::Cpu).map_err(|e| self.error(name, e))
    }
}
