//! A judge's files: small ones read whole, weights from one file or from several. Those of GGUF are [`super::gguf`]'s.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::layers::Matrix;
use crate::error::{Error, Result};
use crate::model::files::ModelFiles;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

const MAX_JSON: u64 = 16 << 20;
const MAX_SHARD: u64 = 16 << 30;
const MAX_SHARDS: usize = 64;

/// Bytes of all files with weights together. What is kept of them is in memory as f32, twice as much for stored halves.
const MAX_WEIGHTS: u64 = 32 << 30;

impl ModelFiles {
    /// A small file, whole.
    pub(super) fn small(&mut self, name: &str) -> Result<Vec<u8>> {
        self.whole(name, MAX_JSON)
    }

    fn whole(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(name, limit)?.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        let why = format!("{name} is missing from {}; fetch the model again", self.directory.display());
        Error::model(&self.id, why)
    }

    /// The one file whose name ends so, whole, and its name.
    pub(super) fn only(&mut self, end: &str, limit: u64) -> Result<(String, Vec<u8>)> {
        let local = |e| Error::io(&self.directory, e);
        let mut found: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(local)? {
            let name = entry.map_err(local)?.file_name();
            found.extend(
                name.to_str().filter(|name| name.ends_with(end) && !name.starts_with('.')).map(str::to_owned),
            );
        }
        found.sort_unstable();
        match found.as_slice() {
            [name] => Ok((name.clone(), self.whole(name, limit)?)),
            [] => Err(self.missing(&format!("the file of weights (*{end})"))),
            [one, other, ..] => {
                let why = format!(
                    "{one} and {other} are both there, of which one is to be read; move the other away"
                );
                Err(Error::model(&self.id, why))
            }
        }
    }

    /// The names of the files that hold the weights.
    fn shards(&mut self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        if self.directory.join(WEIGHTS).exists() || !self.directory.join(INDEX).exists() {
            return Ok(vec![WEIGHTS.to_owned()]);
        }
        let index: Index = serde_json::from_slice(&self.small(INDEX)?)
            .map_err(|e| Error::model(&self.id, format!("{INDEX} cannot be read ({e})")))?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        let plain = |name: &String| {
            name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(['/', '\\'])
        };
        if shards.is_empty() || shards.len() > MAX_SHARDS || !shards.iter().all(plain) {
            let why =
                format!("{INDEX} names no files, more than {MAX_SHARDS}, or others than plain .safetensors");
            return Err(Error::model(&self.id, why));
        }
        Ok(shards.into_iter().collect())
    }

    /// The weights that were asked for, on a device, in the format in which they are stored. One file is in memory at a
    /// time beside the tensors; of the files together no more than [`MAX_WEIGHTS`] is read, and what nobody asks for is
    /// not kept.
    pub(super) fn weights(&mut self, device: &Device, asked: &Asked) -> Result<Weights> {
        let mut tensors = BTreeMap::new();
        let shards = self.shards()?;
        let mut total = 0_u64;
        for shard in &shards {
            let size = self.size(shard, MAX_SHARD)?;
            total = total.saturating_add(size.ok_or_else(|| self.missing(shard))?);
        }
        if total > MAX_WEIGHTS {
            let why = format!(
                "its {} files of weights have {total} bytes; at most {MAX_WEIGHTS} are read",
                shards.len()
            );
            return Err(Error::model(&self.id, why));
        }
        for shard in shards {
            let bytes = self.whole(&shard, MAX_SHARD)?;
            let wrong = |why: String| Error::model(&self.id, format!("{shard}: {why}"));
            let parsed = SafeTensors::deserialize(&bytes)
                .map_err(|e| wrong(format!("is damaged or incomplete ({e}); fetch the file again")))?;
            for (name, view) in parsed.iter() {
                let Some(shape) = asked.shapes.get(name) else { continue };
                if view.shape() != shape {
                    let why = format!("has shape {:?} where config.json asks for {shape:?}", view.shape());
                    return Err(wrong(format!("{name} {why}")));
                }
                let (dtype, finite) = match view.dtype() {
                    Dtype::F32 => (DType::F32, all_finite::<4>(view.data(), 0x7f80_0000)),
                    Dtype::F16 => (DType::F16, all_finite::<2>(view.data(), 0x7c00)),
                    Dtype::BF16 => (DType::BF16, all_finite::<2>(view.data(), 0x7f80)),
                    other => {
                        return Err(wrong(format!("{name} is {other:?}; F32, F16 and BF16 are supported")));
                    }
                };
                if !finite {
                    return Err(wrong(format!(
                        "{name} holds values that are not finite; fetch the file again"
                    )));
                }
                let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), device)
                    .map_err(|e| wrong(format!("{name}: {e}")))?;
                if tensors.insert(name.to_owned(), tensor).is_some() {
                    return Err(wrong(format!("{name} is in another file too")));
                }
            }
        }
        Ok(Weights { model: self.id.clone(), tensors })
    }
}

/// Whether no little-endian number has all bits of its exponent set.
pub(super) fn all_finite<const BYTES: usize>(data: &[u8], exponent: u32) -> bool {
    data.as_chunks::<BYTES>().0.iter().all(|bytes| {
        let number = bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        number & exponent != exponent
    })
}

/// Where a network takes its tensors from.
pub(super) trait Tensors {
    /// Takes a tensor out, as f32. It has to have this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor>;

    /// Takes a matrix out, of so many outputs and inputs.
    fn take_matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        Ok(Matrix::Plain(self.take(name, &shape)?))
    }

    /// Takes a convolution's kernel out as a matrix: one row of inputs per output.
    fn take_kernel(&mut self, name: &str, shape: &[usize]) -> Result<Tensor>;
}

/// What a network asks for: one that is built from this has no weights and is thrown away, and what it asked for is
/// known before a file is opened.
#[derive(Default)]
pub(super) struct Asked {
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Asked {
    /// The names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }
}

impl Tensors for Asked {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.shapes.insert(name.to_owned(), shape.to_vec());
        // A single number stands in for all of them.
        Tensor::zeros(1, DType::F32, &Device::Cpu)
            .map_err(|e| Error::Internal(format!("a stand-in for weights: {e}")))
    }

    fn take_kernel(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.take(name, shape)
    }
}

/// The tensors of a model that have not been taken yet.
pub(super) struct Weights {
    model: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    fn error(&self, name: &str, why: impl std::fmt::Display) -> Error {
        Error::model(&self.model, format!("the weights: {name} {why}"))
    }
}

impl Tensors for Weights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(self.error(name, "is in no file"));
        };
        if tensor.dims() != shape {
            let why = format!("has shape {:?} where config.json asks for {shape:?}", tensor.dims());
            return Err(self.error(name, why));
        }
        tensor.to_dtype(DType::F32).map_err(|e| self.error(name, e))
    }

    fn take_kernel(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let kernel = self.take(name, shape)?;
        kernel.flatten_from(1).map_err(|e| self.error(name, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [0_u8; 24];
        let view =
            |shape: Vec<usize>| safetensors::tensor::TensorView::new(Dtype::F32, shape, &bytes).unwrap();
        let stored = [("wanted", view(vec![2, 3])), ("spare", view(vec![6]))];
        std::fs::write(folder.path().join(WEIGHTS), safetensors::serialize(stored, None).unwrap()).unwrap();
        let read = |shape: &[usize]| {
            let mut asked = Asked::default();
            asked.take("wanted", shape).unwrap();
            ModelFiles::new(None, folder.path()).weights(&Device::Cpu, &asked)
        };
        let kept = read(&[2, 3]).unwrap();
        assert_eq!(kept.tensors.keys().collect::<Vec<_>>(), ["wanted"]);
        let other = read(&[3, 2]).err().unwrap().to_string();
        assert!(other.contains("wanted has shape [2, 3] where config.json asks for [3, 2]"), "{other}");
    }

    #[test]
    fn infinities_and_nans_are_found_in_every_format() {
        let of = |values: [f32; 2]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        assert!(all_finite::<4>(&of([1.0, f32::MAX]), 0x7f80_0000));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!all_finite::<4>(&of([1.0, bad]), 0x7f80_0000));
            let half =
                |bits: u16| [0x3c00_u16, bits].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let brain = (bad.to_bits() >> 16) as u16;
            assert!(!all_finite::<2>(&half(brain), 0x7f80));
            assert!(!all_finite::<2>(&half(0x7c00 | u16::from(bad.is_nan())), 0x7c00));
        }
        assert!(all_finite::<2>(&[0xff, 0x7b], 0x7c00), "the largest half");
    }
}
