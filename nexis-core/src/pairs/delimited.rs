//! Lines: JSON objects, and CSV with a header.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::record::{FIELDS, pair, unreadable};
use super::{Gate, PairSource};
use crate::error::{Error, Result};
use crate::hash::Digest;

/// A file that is hashed as it is read, and refuses to give more than its limit.
pub(super) struct Hashed {
    file: File,
    hasher: Sha256,
    left: u64,
    /// Bytes given since somebody last set it to 0.
    given: Rc<Cell<u64>>,
    /// Most bytes until it is set to 0 again.
    most: u64,
}

impl Hashed {
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if size > max_bytes {
            let why = format!("it has {size} bytes; at most {max_bytes} are read");
            return Err(Error::usage(path.display().to_string(), why));
        }
        Ok(Self { file, hasher: Sha256::new(), left: max_bytes, given: Rc::default(), most: u64::MAX })
    }

    /// The digest of everything that was read.
    pub(super) fn digest(self) -> Digest {
        Digest::from_bytes(self.hasher.finalize().into())
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given.get() > self.most {
            return Err(std::io::Error::other(format!("a record is longer than {} bytes", self.most)));
        }
        let n = self.file.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::other("the file grew beyond the limit while it was read"))?;
        self.given.set(self.given.get().saturating_add(n as u64));
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Every line of a file with its number from 1, without its end.
pub(super) fn lines(
    source: &PairSource,
    path: &Path,
    each: &mut dyn FnMut(u64, &str) -> Result<()>,
) -> Result<Digest> {
    let limits = &source.limits;
    let mut reader = BufReader::new(Hashed::open(path, limits.max_bytes)?);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let longest = limits.max_line as u64;
        let n = reader.by_ref().take(longest + 1).read_until(b'\n', &mut line);
        if n.map_err(|e| Error::io(path, e))? == 0 {
            break;
        }
        number += 1;
        if line.len() as u64 > longest {
            return Err(source.error(number, format!("it is longer than {longest} bytes")));
        }
        let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        let text = std::str::from_utf8(bytes).map_err(|_| source.error(number, "it is not UTF-8"))?;
        each(number, text.trim_end_matches(['\n', '\r']))?;
    }
    Ok(reader.into_inner().digest())
}

/// One JSON object a line; empty lines are passed over.
pub(super) fn jsonl(source: &PairSource, gate: &mut Gate<'_>) -> Result<Digest> {
    lines(source, &source.path, &mut |number, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let record: Map<String, Value> =
            serde_json::from_str(line).map_err(|e| source.error(number, format!("no JSON object: {e}")))?;
        gate.give(pair(number, &record).map_err(|why| source.error(number, why))?)
    })
}

/// CSV by RFC 4180: a header with the fields' names, in any order.
pub(super) fn csv(source: &PairSource, gate: &mut Gate<'_>) -> Result<Digest> {
    /// The parser reads ahead by as much.
    const BUFFER: usize = 64 << 10;
    let mut file = Hashed::open(&source.path, source.limits.max_bytes)?;
    let given = Rc::clone(&file.given);
    file.most = (source.limits.max_line + BUFFER) as u64;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(BUFFER).from_reader(file);
    let refuse = |error: csv::Error| {
        let line = error.position().map_or(0, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(error) if error.get_ref().is_none() => unreadable(source, error),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                source.error(line, format!("it has {len} fields, and the header has {expected_len}"))
            }
            csv::ErrorKind::Utf8 { .. } => source.error(line, "it is not UTF-8"),
            csv::ErrorKind::Io(error) => source.error(line, error),
            _ => source.error(line, "it is no CSV"),
        }
    };
    let header = reader.headers().map_err(refuse)?.clone();
    let mut places = Vec::new();
    for name in FIELDS {
        let mut found = header
            .iter()
            .enumerate()
            .filter(|(_, column)| column.trim_start_matches('\u{feff}').trim() == name);
        places.extend(found.next().map(|(place, _)| (name, place)));
        if found.next().is_some() {
            return Err(source.error(1, format!("two columns are named {name}")));
        }
    }
    if !places.iter().any(|(name, _)| *name == "caption") {
        let known = FIELDS.join(", ");
        return Err(source.error(1, format!("the header has no caption; the columns are {known}")));
    }
    let mut record = csv::StringRecord::new();
    loop {
        given.set(0);
        if !reader.read_record(&mut record).map_err(refuse)? {
            break;
        }
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields = Map::new();
        for (name, place) in &places {
            let Some(text) = record.get(*place).filter(|text| !text.is_empty()) else { continue };
            let several = *name == "frames" || *name == "label" && text.contains(source.separator);
            let value = if several {
                text.split(source.separator).map(|part| Value::from(part.trim())).collect()
            } else {
                Value::from(text)
            };
            fields.insert((*name).to_owned(), value);
        }
        gate.give(pair(line, &fields).map_err(|why| source.error(line, why))?)?;
    }
    Ok(reader.into_inner().digest())
}
