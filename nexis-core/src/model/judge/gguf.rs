//! Weights in a GGUF file: a header that names the tensors, then their bytes.
//!
//! The header is read here and not by candle, which divides by an alignment of zero, multiplies sizes unchecked, lets the
//! second of two tensors of one name win, and keeps 32 bytes for every byte of a list that nobody wants. A tensor's bytes
//! become candle's when they are taken, in the format in which they are stored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use super::checkpoint::{Tensors, all_finite};
use super::layers::Matrix;
use crate::error::{Error, Result};

/// Largest file. Its bytes are in memory beside the tensors until the last one is taken.
pub(super) const MAX_GGUF: u64 = 4 << 30;

const MAGIC: &[u8] = b"GGUF";
const MAX_TENSORS: u64 = 4096;
const MAX_ENTRIES: u64 = 4096;
const MAX_NAME: u64 = 256;
const MAX_RANK: u32 = 4;
/// Where the file does not say.
const ALIGNMENT: u64 = 32;

/// How numbers of a tensor are stored.
struct Format {
    number: u32,
    name: &'static str,
    dtype: GgmlDType,
    /// Numbers of a block, and its bytes.
    block: (usize, usize),
    /// Where in a block of quantised numbers the halves stand by which they are multiplied.
    scales: &'static [usize],
}

/// What is read. Others would be as easy, had they been compared with anything.
const FORMATS: [Format; 8] = [
    Format { number: 0, name: "f32", dtype: GgmlDType::F32, block: (1, 4), scales: &[] },
    Format { number: 1, name: "f16", dtype: GgmlDType::F16, block: (1, 2), scales: &[] },
    Format { number: 2, name: "q4_0", dtype: GgmlDType::Q4_0, block: (32, 18), scales: &[0] },
    Format { number: 8, name: "q8_0", dtype: GgmlDType::Q8_0, block: (32, 34), scales: &[0] },
    Format { number: 12, name: "q4_k", dtype: GgmlDType::Q4K, block: (256, 144), scales: &[0, 2] },
    Format { number: 13, name: "q5_k", dtype: GgmlDType::Q5K, block: (256, 176), scales: &[0, 2] },
    Format { number: 14, name: "q6_k", dtype: GgmlDType::Q6K, block: (256, 210), scales: &[208] },
    Format { number: 30, name: "bf16", dtype: GgmlDType::BF16, block: (1, 2), scales: &[] },
];

impl Format {
    /// Whether every number, or every scale of a block, is finite.
    fn finite(&self, data: &[u8]) -> bool {
        match self.dtype {
            GgmlDType::F32 => all_finite::<4>(data, 0x7f80_0000),
            GgmlDType::F16 => all_finite::<2>(data, 0x7c00),
            GgmlDType::BF16 => all_finite::<2>(data, 0x7f80),
            _ => data.chunks_exact(self.block.1).all(|block| {
                self.scales
                    .iter()
                    .all(|at| block.get(*at..*at + 2).is_some_and(|x| all_finite::<2>(x, 0x7c00)))
            }),
        }
    }

    /// Its type outside of blocks.
    const fn plain(&self) -> Option<DType> {
        match self.dtype {
            GgmlDType::F32 => Some(DType::F32),
            GgmlDType::F16 => Some(DType::F16),
            GgmlDType::BF16 => Some(DType::BF16),
            _ => None,
        }
    }
}

/// A tensor that the header names, whose bytes lie in the file.
struct Stored {
    shape: Vec<usize>,
    format: &'static Format,
    start: usize,
    end: usize,
}

/// A file whose header was read.
pub(super) struct Gguf {
    model: String,
    file: String,
    bytes: Vec<u8>,
    /// The metadata: whole numbers, and what is there as something else.
    entries: BTreeMap<String, Option<u64>>,
    tensors: BTreeMap<String, Stored>,
    /// The formats of the matrices that were taken.
    formats: BTreeSet<&'static str>,
}

impl Gguf {
    pub(super) fn parse(model: &str, file: &str, bytes: Vec<u8>) -> Result<Self> {
        let header = Header::read(&bytes);
        let (entries, tensors) = header.map_err(|why| Error::model(model, format!("{file}: {why}")))?;
        Ok(Self {
            model: model.to_owned(),
            file: file.to_owned(),
            bytes,
            entries,
            tensors,
            formats: BTreeSet::new(),
        })
    }

    pub(super) fn error(&self, why: impl std::fmt::Display) -> Error {
        Error::model(&self.model, format!("{}: {why}", self.file))
    }

    /// A whole number of the metadata, where it is there. What is there as something else is refused.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>> {
        whole_number(&self.entries, key).map_err(|why| self.error(why))
    }

    /// The shape of a tensor, outputs first.
    pub(super) fn shape<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK]> {
        let stored = self.tensors.get(name).ok_or_else(|| self.missing(&[name]))?;
        stored.shape.as_slice().try_into().map_err(|_| {
            self.error(format!("{name} has shape {:?} where {RANK} numbers are expected", stored.shape))
        })
    }

    /// How many blocks there are whose tensors are called `prefix`, a number, and more.
    pub(super) fn depth(&self, prefix: &str) -> usize {
        let number = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        let last = self.tensors.keys().filter_map(|name| number(name)).max();
        last.map_or(0, |last| last.saturating_add(1))
    }

    /// That all of these tensors are there.
    pub(super) fn has_all<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let missing: Vec<&str> = names.filter(|name| !self.tensors.contains_key(*name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(self.missing(&missing)) }
    }

    fn missing(&self, names: &[&str]) -> Error {
        let named = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let has = self.tensors.keys().next().map_or_else(String::new, |name| format!(", such as {name}"));
        self.error(format!(
            "has no tensor {named}{more}; it has {} others{has}: is it another model's, or of another converter?",
            self.tensors.len()
        ))
    }

    /// The formats of the matrices that were taken, in the order of their names.
    pub(super) fn formats(&self) -> String {
        self.formats.iter().copied().collect::<Vec<_>>().join("+")
    }

    /// A tensor's bytes; it has to have this shape.
    fn stored(&self, name: &str, shape: &[usize]) -> Result<(&Stored, &[u8])> {
        let stored = self.tensors.get(name).ok_or_else(|| self.missing(&[name]))?;
        if stored.shape != shape {
            let why = format!("{name} has shape {:?} where its neighbours ask for {shape:?}", stored.shape);
            return Err(self.error(why));
        }
        let data = self.bytes.get(stored.start..stored.end);
        let data = data.ok_or_else(|| self.error(format!("the bytes of {name} are missing")))?;
        if !stored.format.finite(data) {
            return Err(self.error(format!("{name} holds values that are not finite; fetch the file again")));
        }
        Ok((stored, data))
    }

    fn quantised(&self, name: &str, stored: &Stored, data: &[u8]) -> Result<QTensor> {
        // Blocks hold halves, and candle reads them where they lie.
        let mut moved = Vec::new();
        let data = if data.as_ptr().align_offset(align_of::<u16>()) == 0 {
            data
        } else {
            moved.resize(data.len() + 1, 0);
            let start = moved.as_ptr().align_offset(align_of::<u16>());
            let room = moved.get_mut(start..start.saturating_add(data.len()));
            let room = room.ok_or_else(|| self.error(format!("no room for {name}")))?;
            room.copy_from_slice(data);
            &*room
        };
        QStorage::from_data(Cow::Borrowed(data), &Device::Cpu, stored.format.dtype)
            .and_then(|storage| QTensor::new(storage, stored.shape.as_slice()))
            .map_err(|e| self.error(format!("{name}: {e}")))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (stored, data) = self.stored(name, shape)?;
        let tensor = match stored.format.plain() {
            Some(dtype) => Tensor::from_raw_buffer(data, dtype, shape, &Device::Cpu)
                .and_then(|tensor| tensor.to_dtype(DType::F32)),
            None => self.quantised(name, stored, data)?.dequantize(&Device::Cpu),
        };
        tensor.map_err(|e| self.error(format!("{name}: {e}")))
    }
}

impl Tensors for Gguf {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensor(name, shape)?;
        self.tensors.remove(name);
        Ok(tensor)
    }

    fn take_matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let (stored, data) = self.stored(name, &shape)?;
        let format = stored.format;
        let matrix = match format.plain() {
            Some(_) => Matrix::Plain(self.tensor(name, &shape)?),
            None => Matrix::Quantised(self.quantised(name, stored, data)?),
        };
        self.formats.insert(format.name);
        self.tensors.remove(name);
        Ok(matrix)
    }

    fn take_kernel(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.take(name, shape)?.flatten_from(1).map_err(|e| self.error(format!("{name}: {e}")))
    }
}

type Names = (BTreeMap<String, Option<u64>>, BTreeMap<String, Stored>);

fn whole_number(entries: &BTreeMap<String, Option<u64>>, key: &str) -> Result<Option<u64>, String> {
    match entries.get(key) {
        Some(None) => Err(format!("{key} is no whole number from 0 on")),
        found => Ok(found.copied().flatten()),
    }
}

/// What is left of a header that is being read.
struct Header<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(whole: &'a [u8]) -> Result<Names, String> {
        let mut header = Self { whole, rest: whole };
        if header.bytes(4)? != MAGIC {
            return Err("is no GGUF file".to_owned());
        }
        let version = header.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("is GGUF of version {version}; versions 2 and 3 are read"));
        }
        let (tensors, entries) = (header.u64()?, header.u64()?);
        for (what, count, most) in [("tensors", tensors, MAX_TENSORS), ("entries", entries, MAX_ENTRIES)] {
            if count > most {
                return Err(format!("says that it has {count} {what}; at most {most} are read"));
            }
        }
        let mut values = BTreeMap::new();
        for _ in 0..entries {
            let key = header.name()?;
            let kind = header.u32()?;
            let value = header.value(kind, &key)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(format!("{key} is there twice"));
            }
        }
        let alignment = whole_number(&values, "general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() || !(8..=1 << 16).contains(&alignment) {
            return Err(format!(
                "general.alignment is {alignment}; a power of two from 8 to 65536 is expected"
            ));
        }
        let found = (0..tensors).map(|_| header.tensor()).collect::<Result<Vec<_>, _>>()?;
        let read = (whole.len() - header.rest.len()) as u64;
        let data = read.next_multiple_of(alignment);
        let mut named = BTreeMap::new();
        for (name, shape, format, offset) in found {
            let stored = place(whole.len(), data, alignment, shape, format, offset)
                .map_err(|why| format!("{name}: {why}"))?;
            if named.insert(name.clone(), stored).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        apart(&named)?;
        Ok((values, named))
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| {
            format!("is damaged or incomplete (it ends in its header, at {} bytes)", self.whole.len())
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.bytes(N)?.try_into().map_err(|_| "its header cannot be read".to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        self.bytes(usize::try_from(count).unwrap_or(usize::MAX)).map(|_| ())
    }

    fn name(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        if length == 0 || length > MAX_NAME {
            return Err(format!("has a name of {length} bytes; 1 to {MAX_NAME} are read"));
        }
        let bytes = self.bytes(length as usize)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "has a name that is no text".to_owned())
    }

    /// A value of the metadata, where it is a whole number from 0 on. Everything else is passed over.
    fn value(&mut self, kind: u32, key: &str) -> Result<Option<u64>, String> {
        Ok(match kind {
            0 => Some(self.fixed().map(u8::from_le_bytes)?.into()),
            1 => u64::try_from(self.fixed().map(i8::from_le_bytes)?).ok(),
            2 => Some(self.fixed().map(u16::from_le_bytes)?.into()),
            3 => u64::try_from(self.fixed().map(i16::from_le_bytes)?).ok(),
            4 => Some(self.u32()?.into()),
            5 => u64::try_from(self.fixed().map(i32::from_le_bytes)?).ok(),
            10 => Some(self.u64()?),
            11 => u64::try_from(self.fixed().map(i64::from_le_bytes)?).ok(),
            8 => {
                let length = self.u64()?;
                self.skip(length)?;
                None
            }
            9 => {
                let (of, count) = (self.u32()?, self.u64()?);
                if of == 8 {
                    for _ in 0..count {
                        let length = self.u64()?;
                        self.skip(length)?;
                    }
                } else {
                    let size = size_of_value(of).ok_or_else(|| format!("{key} is a list of type {of}"))?;
                    self.skip(count.saturating_mul(size))?;
                }
                None
            }
            other => {
                let size = size_of_value(other).ok_or_else(|| format!("{key} is of type {other}"))?;
                self.skip(size)?;
                None
            }
        })
    }

    fn tensor(&mut self) -> Result<(String, Vec<usize>, &'static Format, u64), String> {
        let name = self.name()?;
        let rank = self.u32()?;
        if rank == 0 || rank > MAX_RANK {
            return Err(format!("{name} has {rank} dimensions; 1 to {MAX_RANK} are read"));
        }
        let mut shape = Vec::with_capacity(rank as usize);
        for _ in 0..rank {
            let size = self.u64()?;
            let size = usize::try_from(size).ok().filter(|size| *size > 0);
            shape.push(size.ok_or_else(|| format!("{name} has a dimension of no size, or of too much"))?);
        }
        // The innermost comes first in the file.
        shape.reverse();
        let number = self.u32()?;
        let format = FORMATS.iter().find(|format| format.number == number).ok_or_else(|| {
            let known = FORMATS.map(|format| format.name).join(", ");
            format!("{name} is of type {number}; {known} are supported")
        })?;
        Ok((name, shape, format, self.u64()?))
    }
}

/// Bytes of a value of a fixed size.
const fn size_of_value(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Where a tensor's bytes are, all of them in the file.
fn place(
    length: usize,
    data: u64,
    alignment: u64,
    shape: Vec<usize>,
    format: &'static Format,
    offset: u64,
) -> Result<Stored, String> {
    let (of, bytes) = format.block;
    if !shape.last().is_some_and(|inner| inner.is_multiple_of(of)) {
        return Err(format!("shape {shape:?} in blocks of {of} ({})", format.name));
    }
    if !offset.is_multiple_of(alignment) {
        return Err(format!("begins at {offset}, which is no multiple of {alignment}"));
    }
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let range = count.and_then(|count| (count / of).checked_mul(bytes)).and_then(|size| {
        let start = usize::try_from(data.checked_add(offset)?).ok()?;
        Some((start, start.checked_add(size)?))
    });
    match range.filter(|(_, end)| *end <= length) {
        Some((start, end)) => Ok(Stored { shape, format, start, end }),
        None => Err(format!(
            "is damaged or incomplete (shape {shape:?} as {} at {offset} does not lie within the file's {length} bytes); \
             fetch the file again",
            format.name
        )),
    }
}

/// That no byte is of two tensors, so that the size of the file bounds what all of them take in memory.
fn apart(tensors: &BTreeMap<String, Stored>) -> Result<(), String> {
    let mut placed: Vec<_> = tensors.iter().map(|(name, stored)| (stored.start, stored.end, name)).collect();
    placed.sort_unstable();
    for ((_, end, one), (start, _, other)) in placed.iter().zip(placed.iter().skip(1)) {
        if start < end {
            return Err(format!("{one} and {other} share bytes; fetch the file again"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with these tensors: name, sizes with the innermost last, number of the format, bytes.
    fn file(tensors: &[(&str, &[usize], u32, Vec<u8>)]) -> Vec<u8> {
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
        text(&mut bytes, "a.text");
        bytes.extend(8_u32.to_le_bytes());
        text(&mut bytes, "random");
        text(&mut bytes, "some.texts");
        bytes.extend([9_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
        bytes.extend(2_u64.to_le_bytes());
        text(&mut bytes, "one");
        text(&mut bytes, "");
        text(&mut bytes, "some.numbers");
        bytes.extend([9_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat());
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend([7; 12]);
        text(&mut bytes, "a.number");
        bytes.extend([4_u32.to_le_bytes(), 12_u32.to_le_bytes()].concat());
        text(&mut bytes, "general.alignment");
        bytes.extend([4_u32.to_le_bytes(), 64_u32.to_le_bytes()].concat());
        let mut data = Vec::new();
        for (name, shape, format, content) in tensors {
            text(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            bytes.extend(shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes()));
            bytes.extend(format.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(content);
            data.resize(data.len().next_multiple_of(64), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.extend(data);
        bytes
    }

    /// Numbers of both signs, of the size of weights.
    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next() + next()).collect()
    }

    /// A matrix of random numbers in a format, as candle quantises it.
    fn stored(format: &Format, outputs: usize, inputs: usize) -> Vec<u8> {
        let numbers = Tensor::from_vec(random(outputs * inputs, 7), (outputs, inputs), &Device::Cpu).unwrap();
        QTensor::quantize(&numbers, format.dtype).unwrap().data().unwrap().into_owned()
    }

    #[test]
    fn blocks_are_those_of_candle() {
        for format in &FORMATS {
            assert_eq!(
                format.block,
                (format.dtype.block_size(), format.dtype.type_size()),
                "{}",
                format.name
            );
        }
    }

    #[test]
    fn values_are_those_of_gguf() {
        // `tests/fixtures/judges/make_blocks.py`: random blocks, and what the `gguf` package makes of them.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/judges/blocks.json");
        let blocks: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let bytes = |hex: &serde_json::Value| -> Vec<u8> {
            let hex = hex.as_str().unwrap();
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        // f32 is what it is stored as.
        for format in FORMATS.iter().filter(|format| format.dtype != GgmlDType::F32) {
            let (stored, expected) = (&blocks[format.name]["bytes"], &blocks[format.name]["values"]);
            let expected: Vec<f32> = bytes(expected)
                .chunks_exact(4)
                .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
                .collect();
            let file = file(&[("w", &[expected.len()], format.number, bytes(stored))]);
            let taken = Gguf::parse("tiny", "tiny.gguf", file).unwrap().take("w", &[expected.len()]).unwrap();
            assert_eq!(taken.to_vec1::<f32>().unwrap(), expected, "{}", format.name);
            assert!(expected.len() >= 64, "{}", format.name);
        }
    }

    #[test]
    fn every_format_multiplies_and_gives_its_rows() {
        let (rows, outputs, inputs) = (5, 18, 512);
        let x = random(rows * inputs, 1);
        for format in &FORMATS {
            let content = stored(format, outputs, inputs);
            let bytes = file(&[("w", &[outputs, inputs], format.number, content)]);
            let mut gguf = Gguf::parse("tiny", "tiny.gguf", bytes.clone()).unwrap();
            assert_eq!(gguf.number("a.number").unwrap(), Some(12));
            assert_eq!(gguf.number("another.number").unwrap(), None);
            for key in ["a.text", "some.texts", "some.numbers"] {
                let error = gguf.number(key).unwrap_err().to_string();
                assert!(error.contains(&format!("{key} is no whole number")), "{error}");
            }
            let plain =
                Gguf::parse("tiny", "tiny.gguf", bytes).unwrap().take("w", &[outputs, inputs]).unwrap();
            let matrix = gguf.take_matrix("w", [outputs, inputs]).unwrap();
            assert_eq!(gguf.formats(), format.name);
            let weights: Vec<Vec<f32>> = plain.to_vec2().unwrap();
            let ids = Tensor::from_slice(&[17_u32, 0, 3], 3, &Device::Cpu).unwrap();
            let taken: Vec<Vec<f32>> = matrix.rows(&ids).unwrap().to_vec2().unwrap();
            assert_eq!(taken, [17, 0, 3].map(|row: usize| weights[row].clone()), "{}", format.name);

            let input = Tensor::from_slice(&x, (rows, inputs), &Device::Cpu).unwrap();
            let product: Vec<Vec<f32>> = matrix.product(&input).unwrap().to_vec2().unwrap();
            let (mut error, mut size) = (0.0, 0.0);
            for (found, x) in product.iter().zip(x.chunks(inputs)) {
                for (found, w) in found.iter().zip(&weights) {
                    let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    error += (f64::from(*found) - exact).powi(2);
                    size += exact.powi(2);
                }
            }
            // Inputs in eight bits, or f32.
            let bound = if format.plain().is_some() { 1e-6 } else { 1e-2 };
            assert!((error / size).sqrt() < bound, "{}: {}", format.name, (error / size).sqrt());
        }
    }

    #[test]
    fn blocks_are_read_wherever_they_lie() {
        let format = &FORMATS[2];
        let content = stored(format, 4, 64);
        let gguf = Gguf::parse("tiny", "tiny.gguf", file(&[])).unwrap();
        let place = Stored { shape: vec![4, 64], format, start: 0, end: 0 };
        let read = |data: &[u8]| {
            let tensor = gguf.quantised("w", &place, data).unwrap().dequantize(&Device::Cpu).unwrap();
            tensor.to_vec2::<f32>().unwrap()
        };
        let mut shifted = vec![0; content.len() + 2];
        let even = read(&content);
        for start in [0, 1, 2] {
            shifted[start..start + content.len()].copy_from_slice(&content);
            assert_eq!(read(&shifted[start..start + content.len()]), even, "{start}");
        }
    }

    /// Two tensors, read and taken as far as that goes.
    fn attempt(bytes: Vec<u8>) -> Result<()> {
        let mut gguf = Gguf::parse("tiny", "tiny.gguf", bytes)?;
        let _ = gguf.depth("blocks.");
        let shape = gguf.shape::<2>("blocks.1.w")?;
        gguf.take_matrix("blocks.1.w", shape)?;
        gguf.take("b", &[8])?;
        Ok(())
    }

    fn small() -> Vec<u8> {
        let blocks = stored(&FORMATS[2], 2, 64);
        file(&[("blocks.1.w", &[2, 64], 2, blocks), ("b", &[8], 0, vec![0; 32])])
    }

    #[test]
    fn a_file_that_ends_anywhere_is_refused() {
        let good = small();
        attempt(good.clone()).unwrap();
        for length in 0..good.len() - 32 {
            assert!(attempt(good[..length].to_vec()).is_err(), "{length}");
        }
    }

    #[test]
    fn tensors_that_share_bytes_are_refused() {
        // `b` begins at 128, behind the 72 bytes of `blocks.1.w`.
        let good = small();
        let at = good.windows(8).position(|window| window == 128_u64.to_le_bytes()).unwrap();
        for (start, says) in [(0, "b and blocks.1.w share"), (64, "blocks.1.w and b share")] {
            let mut bytes = good.clone();
            bytes[at] = start;
            let error = attempt(bytes).unwrap_err().to_string();
            assert!(error.contains("tiny.gguf") && error.contains(says), "{error}");
        }
        // Every tensor is the whole of the data.
        let content = vec![0; 4 * 64];
        let names: Vec<String> = (0..100).map(|i| format!("t{i}")).collect();
        let mut tensors: Vec<_> =
            names.iter().map(|name| (name.as_str(), &[64_usize][..], 0, Vec::new())).collect();
        tensors.push(("whole", &[64], 0, content));
        let error = Gguf::parse("tiny", "tiny.gguf", file(&tensors)).err().unwrap().to_string();
        assert!(error.contains("t0 and t1 share bytes"), "{error}");
        // What lies end to end, in whatever order, shares none.
        let (one, other) = (vec![0; 4 * 16], vec![0; 4 * 32]);
        let end_to_end = file(&[("b", &[16], 0, one), ("a", &[32], 0, other)]);
        Gguf::parse("tiny", "tiny.gguf", end_to_end).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn no_damage_to_a_file_is_more_than_an_error(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(),
            whole in any::<bool>(),
        ) {
            let mut bytes = small();
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = attempt(bytes);
        }
    }
}
