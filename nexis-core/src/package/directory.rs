//! A miner's package as a plain folder.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use chrono::{DateTime, Utc};

use super::{Asset, AssetSource};
use crate::error::{Error, Result};
use crate::protocol::IntervalId;

/// The files below a folder whose sub-folders are intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySource {
    root: PathBuf,
}

impl DirectorySource {
    /// A source over the files below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl AssetSource for DirectorySource {
    /// Walks from part to part and stops at the first that is a link, so that nothing outside the folder
    /// is ever opened. Only regular files are given, and only under their exact name, also where the
    /// file system ignores case.
    fn get(&self, key: &str) -> Result<Option<Asset>> {
        let relative = Path::new(key);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
        if key.is_empty() || key.contains('\0') || !plain {
            return Ok(None);
        }
        let mut path = self.root.clone();
        let mut parts = relative.components().peekable();
        while let Some(part) = parts.next() {
            let name = part.as_os_str();
            if !spelled_so(&path, name)? {
                return Ok(None);
            }
            path.push(name);
            let Some(metadata) = metadata(&path)? else {
                return Ok(None);
            };
            let kind = metadata.file_type();
            let wanted = if parts.peek().is_some() { kind.is_dir() } else { kind.is_file() };
            if !wanted {
                return Ok(None);
            }
            if parts.peek().is_none() {
                return Ok(Some(Asset { path, len: metadata.len() }));
            }
        }
        Ok(None)
    }

    /// None: copying a folder changes its files' times, so that they say nothing about who was first.
    /// The manifest's own `created_at` is used instead.
    fn last_modified(&self, _key: &str) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
}

/// One interval's folder by itself: `clips/c1.mp4` and `{interval}/clips/c1.mp4` are the same file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalFolder {
    folder: DirectorySource,
    prefix: String,
}

impl IntervalFolder {
    /// The files below `folder`, under the keys of this interval.
    pub fn new(folder: impl Into<PathBuf>, interval: IntervalId) -> Self {
        Self { folder: DirectorySource::new(folder), prefix: format!("{interval}/") }
    }
}

impl AssetSource for IntervalFolder {
    fn get(&self, key: &str) -> Result<Option<Asset>> {
        match key.strip_prefix(&self.prefix) {
            Some(relative) => self.folder.get(relative),
            None => Ok(None),
        }
    }

    fn last_modified(&self, _key: &str) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
}

/// What stands at a path, links not followed; `None` where there is nothing (a name that the system does
/// not take included).
fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) => match e.kind() {
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput => Ok(None),
            _ => Err(Error::io(path, e)),
        },
    }
}

/// Whether a folder lists exactly this name. Only systems that fold case can answer otherwise, so only
/// there is the folder read.
fn spelled_so(folder: &Path, name: &OsStr) -> Result<bool> {
    if !cfg!(any(windows, target_vendor = "apple")) {
        return Ok(true);
    }
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() == name))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(folder, e)),
    }
}
