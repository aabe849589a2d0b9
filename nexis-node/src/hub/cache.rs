//! Writing into the cache of Hugging Face's clients, and taking out again what was put there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexis_core::model::registry::{HubRepository, LockedModel};

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
    write_whole(&repository.reference(revision), commit.as_bytes())
}

/// Writes a small file, which is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    make_folder(folder)?;
    let local = |e: io::Error| HubError::local(path, &e);
    let mut file = tempfile::Builder::new()
        .prefix(".fresh-")
        .make_in(folder, |path| File::options().write(true).create_new(true).open(path))
        .map_err(local)?;
    io::Write::write_all(&mut file, bytes).map_err(local)?;
    file.as_file().sync_all().map_err(local)?;
    file.into_temp_path().persist(path).map_err(|e| local(e.error))
}

/// What removing a model takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Files, in the order in which they go.
    pub files: Vec<PathBuf>,
    /// Bytes that are freed.
    pub bytes: u64,
}

/// What removing a fetched model would take away: the files that we fetched, and their contents where no other commit
/// in the cache has them. What was there before us stays.
///
/// # Errors
/// Where the cache cannot be read.
pub fn removal(cache: &Path, locked: &LockedModel) -> Result<Removal> {
    let Some(hub) = &locked.hub else { return Ok(Removal::default()) };
    let repository = HubRepository::new(cache, &hub.repository);
    let snapshot = repository.snapshot(&hub.commit);
    let ours = locked.files.iter().filter(|(_, file)| file.fetched).map(|(name, _)| snapshot.join(name));
    let links: Vec<PathBuf> = ours.filter(|path| path.symlink_metadata().is_ok()).collect();
    let mut kept = Vec::new();
    files_below(&repository.snapshots(), &mut kept)?;
    let blobs = repository.blobs();
    let content = |link: &PathBuf| Some(blobs.join(fs::read_link(link).ok()?.file_name()?));
    let others: Vec<PathBuf> = kept.iter().filter(|path| !links.contains(path)).filter_map(content).collect();
    let mut removal = Removal::default();
    for link in &links {
        let file = content(link).filter(|content| !others.contains(content)).unwrap_or_else(|| link.clone());
        if file.symlink_metadata().is_ok_and(|m| m.is_file()) && !removal.files.contains(&file) {
            removal.bytes += file.metadata().map_or(0, |m| m.len());
            if &file != link {
                removal.files.push(file);
            }
        }
    }
    if !kept.iter().any(|path| path.starts_with(&snapshot) && !links.contains(path)) {
        // A name for a commit that is not there would look like a damaged cache.
        let mut names = Vec::new();
        files_below(&repository.reference(""), &mut names)?;
        let ours = |name: &PathBuf| fs::read_to_string(name).is_ok_and(|commit| commit.trim() == hub.commit);
        removal.files.extend(names.into_iter().filter(ours));
    }
    // So would a link without its content: links go first.
    removal.files.splice(0..0, links);
    Ok(removal)
}

impl Removal {
    /// Does it, and removes the folders that are empty then.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn run(&self) -> Result<()> {
        for path in &self.files {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(HubError::local(path, &e)),
                _ => {}
            }
            // Folders that are empty now, up to the repository's.
            for folder in path.ancestors().skip(1) {
                let last =
                    folder.file_name().is_none_or(|name| name.to_string_lossy().starts_with("models--"));
                if fs::remove_dir(folder).is_err() || last {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Every file below a folder, links not followed.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let local = |e: &io::Error| HubError::local(folder, e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(local(&e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| local(&e))?;
        if entry.file_type().map_err(|e| local(&e))?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}
