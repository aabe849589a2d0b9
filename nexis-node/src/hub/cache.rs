//! Writing into the cache of Hugging Face's clients.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use nexis_core::model::registry::{HubRepository, write_whole};

use super::{HubError, Result};

/// A file that only one program at a time may write; others wait. It is the official client's lock.
pub(super) struct BlobLock {
    _file: File,
}

/// Takes the lock of a content. `waiting` is called once where somebody else has it.
pub(super) async fn lock(
    cache: &Path,
    repository: &str,
    etag: &str,
    waiting: &(dyn Fn() + Sync),
) -> Result<BlobLock> {
    let folder = cache.join(".locks").join(HubRepository::folder_name(repository));
    make_folder(&folder)?;
    let path = folder.join(format!("{etag}.lock"));
    let local = |e: &io::Error| HubError::local(&path, e);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| local(&e))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(BlobLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => {
                if !told {
                    waiting();
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(fs::TryLockError::Error(e)) => return Err(local(&e)),
        }
    }
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| HubError::local(folder, &e))
}

/// Makes a file of a commit: a link to its content, in the place of what was there.
pub(super) fn link(repository: &HubRepository, commit: &str, name: &str, etag: &str) -> Result<()> {
    let pointer = repository.snapshot(commit).join(name);
    let folder = pointer.parent().unwrap_or(&pointer);
    make_folder(folder)?;
    // Relative, so that the cache can be moved: up to the repository's folder, over `snapshots` and the commit.
    let up = "../".repeat(2 + name.matches('/').count());
    let target = format!("{up}blobs/{etag}");
    let local = |e: io::Error| HubError::local(&pointer, &e);
    let fresh = tempfile::Builder::new()
        .prefix(".link-")
        .make_in(folder, |path| make_link(Path::new(&target), &repository.blobs().join(etag), path))
        .map_err(local)?;
    fresh.into_temp_path().persist(&pointer).map_err(|e| local(e.error))
}

#[cfg(unix)]
fn make_link(target: &Path, _content: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

/// Where links need rights that programs do not have, the official client copies as well.
#[cfg(not(unix))]
fn make_link(_target: &Path, content: &Path, at: &Path) -> io::Result<()> {
    fs::copy(content, at).map(|_| ())
}

/// Writes down which commit a branch or tag is.
pub(super) fn refer(repository: &HubRepository, revision: &str, commit: &str) -> Result<()> {
    if revision == commit || repository.commit(revision).as_deref() == Some(commit) {
        return Ok(());
    }
    Ok(write_whole(&repository.reference(revision), commit.as_bytes())?)
}
