//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::error::{Error, Result};
use crate::hash::Digest;

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// A file beside the one that it will be, with the usual rights: a service under another name may have to read it.
fn beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().unwrap_or(path);
    make_folder(folder)?;
    tempfile::Builder::new()
        .prefix(".fresh-")
        .make_in(folder, |path| File::options().write(true).create_new(true).open(path))
        .map_err(|e| Error::io(path, e))
}

/// Writes a small file.
///
/// # Errors
/// [`Error::Io`] where it cannot be written; what was there stays then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let local = |e: io::Error| Error::io(path, e);
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(local)?;
    file.as_file().sync_all().map_err(local)?;
    file.into_temp_path().persist(path).map_err(|e| local(e.error))
}

/// Copies a file of this digest, and reads the copy back.
///
/// # Errors
/// [`Error::Io`] where it cannot be read or written, or is another by now.
pub(super) fn copy_whole(from: &Path, to: &Path, expected: Digest) -> Result<()> {
    let local = |e: io::Error| Error::io(to, e);
    let mut source = File::open(from).map_err(|e| Error::io(from, e))?;
    let mut fresh = beside(to)?;
    io::copy(&mut source, fresh.as_file_mut()).map_err(local)?;
    let path = fresh.into_temp_path();
    let copied = File::open(&path).and_then(Digest::of_reader).map_err(local)?;
    if copied != expected {
        return Err(local(io::Error::other(format!("{} changed while it was copied", from.display()))));
    }
    path.persist(to).map_err(|e| local(e.error))
}
