//! A model's directory: every file is read once, up to a limit, and its digest is of the bytes that were parsed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hash::Digest;

/// Most bytes of an encoder's configuration, tokenizer and weights.
pub(super) const MAX_JSON: u64 = 1 << 20;
pub(super) const MAX_TOKENIZER: u64 = 64 << 20;
pub(super) const MAX_WEIGHTS: u64 = 8 << 30;

/// What to do about a file that is missing: its name, and whether another one is there.
pub(super) type Remedy = fn(&str, &dyn Fn(&str) -> bool) -> &'static str;

/// A directory that is being read.
pub(super) struct ModelFiles {
    /// The model's name in evidence and messages.
    pub(super) id: String,
    pub(super) directory: PathBuf,
    digests: BTreeMap<String, Digest>,
}

impl ModelFiles {
    /// The directory of a model that its caller calls so; where it has no name, the directory's own stands for it.
    pub(super) fn new(id: Option<&String>, directory: &Path) -> Self {
        let own = || directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().into_owned();
        let id = id.cloned().unwrap_or_else(own);
        Self { id, directory: directory.to_path_buf(), digests: BTreeMap::new() }
    }

    /// Bytes of one file, which has to be a file of at most `limit`; `None` where it is not there. Nothing is opened:
    /// opening a pipe would wait for who writes to it.
    pub(super) fn size(&self, name: &str, limit: u64) -> Result<Option<u64>> {
        let path = self.directory.join(name);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, e)),
        };
        if !metadata.is_file() {
            return Err(Error::model(&self.id, format!("{name} is not a file")));
        }
        if metadata.len() > limit {
            let why = format!("{name} has {} bytes; at most {limit} are read", metadata.len());
            return Err(Error::model(&self.id, why));
        }
        Ok(Some(metadata.len()))
    }

    /// One file whole, up to a limit; `None` where it is not there.
    pub(super) fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(size) = self.size(name, limit)? else { return Ok(None) };
        let path = self.directory.join(name);
        let io = |e| Error::io(&path, e);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        File::open(&path).map_err(io)?.take(limit).read_to_end(&mut bytes).map_err(io)?;
        self.digests.insert(name.to_owned(), Digest::of(&bytes));
        Ok(Some(bytes))
    }

    /// One file whole, which has to be there. Where it is not, `remedy` says what to do, by the file's name and by what
    /// else is there: often the directory holds the same thing in another form.
    pub(super) fn required(&mut self, name: &str, limit: u64, remedy: Remedy) -> Result<Vec<u8>> {
        if let Some(bytes) = self.read(name, limit)? {
            return Ok(bytes);
        }
        let directory = &self.directory;
        if !directory.is_dir() {
            return Err(Error::model(&self.id, format!("there is no directory {}", directory.display())));
        }
        let remedy = remedy(name, &|other| directory.join(other).exists());
        Err(Error::model(&self.id, format!("{name} is missing from {}; {remedy}", directory.display())))
    }

    /// The digests of everything that was read, by file name.
    pub(super) fn digests(self) -> BTreeMap<String, Digest> {
        self.digests
    }
}
