//! Faults of the disk: for a while, something stands where the node wants to write.

use std::fs;
use std::path::PathBuf;

/// A file in the place of a folder; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Obstacle(PathBuf);

impl Obstacle {
    /// Puts it there, unless something is there already.
    pub(super) fn put(path: PathBuf) -> Option<Self> {
        if fs::symlink_metadata(&path).is_ok() {
            return None;
        }
        fs::create_dir_all(path.parent()?).ok()?;
        fs::write(&path, b"in the way").ok()?;
        Some(Self(path))
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        // What is left of a killed run is removed by the next one.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes what a killed run left in the way.
pub(super) fn clear(path: &std::path::Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        let _ = fs::remove_file(path);
    }
}
