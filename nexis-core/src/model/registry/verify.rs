//! Whether a model's files are what is on record.

use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;

use super::ModelLocation;
use crate::error::{Error, Result};
use crate::hash::Digest;

/// What was found of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum FileState {
    /// It is the one on record.
    Same,
    /// It is not there.
    Missing,
    /// It is another.
    Differs {
        /// The digest on record.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// Nothing is on record of it.
    Unrecorded {
        /// The digest that it has.
        found: Digest,
    },
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCheck {
    /// Its name.
    pub name: String,
    /// What was found.
    #[serde(flatten)]
    pub state: FileState,
}

/// Reads every file that a model needs or that something is on record of, and compares digests. `advance` is told how
/// many bytes were read.
///
/// # Errors
/// [`Error::Io`] where a file that is there cannot be read.
pub fn verify(location: &ModelLocation, advance: &dyn Fn(u64)) -> Result<Vec<FileCheck>> {
    let hub = location.entry.as_ref().and_then(|entry| entry.hub.as_ref());
    let needed = hub.iter().flat_map(|hub| &hub.files).map(|file| file.name.clone());
    let names: std::collections::BTreeSet<String> = location.expected.keys().cloned().chain(needed).collect();
    names
        .into_iter()
        .map(|name| {
            let expected = location.expected.get(&name).copied();
            let state = match (digest(&location.directory.join(&name), advance)?, expected) {
                (None, _) => FileState::Missing,
                (Some(found), None) => FileState::Unrecorded { found },
                (Some(found), Some(expected)) if found == expected => FileState::Same,
                (Some(found), Some(expected)) => FileState::Differs { expected, found },
            };
            Ok(FileCheck { name, state })
        })
        .collect()
}

/// A file's digest; `None` where it is not there.
fn digest(path: &Path, advance: &dyn Fn(u64)) -> Result<Option<Digest>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    Digest::of_reader(Counted { inner: file, advance }).map(Some).map_err(|e| Error::io(path, e))
}

/// A reader that tells how far it has come.
struct Counted<'a, R> {
    inner: R,
    advance: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        (self.advance)(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{ModelKind, ModelPlace};
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "one"), ("b", "two"), ("d", "four")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let expected = [("a", "one"), ("b", "zwei"), ("c", "three")];
        let location = ModelLocation {
            id: "own".into(),
            kind: ModelKind::Clip,
            directory: folder.path().to_path_buf(),
            place: ModelPlace::Imported,
            card: folder.path().join("card.toml"),
            present: true,
            entry: None,
            expected: expected.map(|(name, text)| (name.to_owned(), Digest::of(text))).into(),
        };
        let read = Cell::new(0);
        let checks = verify(&location, &|n| read.set(read.get() + n)).unwrap();
        let states: Vec<FileState> = checks.into_iter().map(|check| check.state).collect();
        let differs = FileState::Differs { expected: Digest::of("zwei"), found: Digest::of("two") };
        assert_eq!(states, [FileState::Same, differs, FileState::Missing]);
        assert_eq!(read.get(), 6);
    }
}
