//! Files that were fetched, by the SHA-256 of their content, within a limit of bytes.
//!
//! A file leaves the cache when it is the one that was not used for longest and room is needed. Whoever uses a file
//! has a name of its own for it (a hard link in a folder of the run's), so that nothing in use is ever taken away. What
//! a crash leaves behind is removed at the next start, and a file is hashed before it is given out again: a disk that
//! lost or turned a bit must not make a miner a liar.
//!
//! ```text
//! lock             held while a process uses the cache
//! files/ab/abcd..  content by its digest
//! seen/..          for a store and a key, the version that was last seen there and the digest of its content
//! runs/..          folders of the runs that are going on
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, FileTimes, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nexis_core::hash::Digest;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{ObjectMeta, Result, StoreError, StoreErrorKind};

/// A cache. Clones are the same cache.
#[derive(Clone, Debug)]
pub struct Cache {
    at: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    max_bytes: u64,
    files: Mutex<Files>,
    /// Locked as long as it is open.
    _lock: File,
}

/// What there is, and in which order it goes.
#[derive(Debug, Default)]
struct Files {
    by_digest: HashMap<Digest, Entry>,
    /// Last use to file; the number tells apart what was used at the same instant.
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    len: u64,
    used: u64,
    /// The notes about where this content was seen; they go with it.
    seen: BTreeSet<PathBuf>,
}

impl Files {
    fn use_now(&mut self, digest: Digest, len: u64) {
        let seen = self.forget(&digest);
        self.uses += 1;
        self.by_digest.insert(digest, Entry { len, used: self.uses, seen });
        self.by_use.insert(self.uses, digest);
        self.bytes = self.bytes.saturating_add(len);
    }

    /// Takes a file out; gives the notes about it.
    fn forget(&mut self, digest: &Digest) -> BTreeSet<PathBuf> {
        let Some(entry) = self.by_digest.remove(digest) else { return BTreeSet::new() };
        self.by_use.remove(&entry.used);
        self.bytes = self.bytes.saturating_sub(entry.len);
        entry.seen
    }
}

/// A version of an object that was seen, and what it held.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    etag: String,
    len: u64,
    sha256: Digest,
}

impl Cache {
    /// Opens a cache over a folder, which is made where it is not there, and removes what an earlier process left
    /// unfinished.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`] where the folder cannot be used, or another process uses it.
    pub fn open(root: impl Into<PathBuf>, max_bytes: u64) -> Result<Self> {
        let root = root.into();
        let fail = |what: String| StoreError::new(StoreErrorKind::Local, name(&root), what);
        let prepared = || -> io::Result<File> {
            for folder in ["files", "seen", "runs"] {
                fs::create_dir_all(root.join(folder))?;
            }
            File::create(root.join("lock"))
        };
        let lock = prepared().map_err(|error| fail(error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(fail("another process uses it; give each its own folder".into()));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error.to_string())),
        }
        let files = recover(&root).map_err(|error| fail(error.to_string()))?;
        let place = Place { root, max_bytes, files: Mutex::new(files), _lock: lock };
        place.make_room();
        Ok(Self { at: Arc::new(place) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.at.root
    }

    /// Bytes that it holds, those in use only by a run not counted.
    pub fn bytes(&self) -> u64 {
        self.at.lock().bytes
    }

    /// A new folder for the files of one run; it goes, with all in it, when the value is dropped.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`].
    pub fn run_folder(&self) -> Result<TempDir> {
        let runs = self.at.root.join("runs");
        tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&runs)
            .map_err(|error| self.at.local(&runs, &error))
    }

    /// Puts content under a name of the caller's, where the cache has it and it is still what it was. Blocks while it
    /// is hashed.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`] where the name cannot be made.
    pub fn give(&self, digest: &Digest, to: &Path) -> Result<Option<u64>> {
        let kept = self.at.path(digest);
        if !self.at.lock().by_digest.contains_key(digest) {
            return Ok(None);
        }
        // From here on it stays, whatever becomes of the cache's own name.
        match link(&kept, to) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.at.drop_file(&mut self.at.lock(), digest);
                return Ok(None);
            }
            Err(error) => return Err(self.at.local(to, &error)),
        }
        let read = File::open(to).and_then(|file| {
            // The order of use outlives the process in the files' times. Failing at that harms nobody.
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
            Ok((file.metadata()?.len(), Digest::of_reader(file)?))
        });
        let (len, found) = read.map_err(|error| self.at.local(to, &error))?;
        if found == *digest {
            self.at.lock().use_now(*digest, len);
            return Ok(Some(len));
        }
        tracing::warn!(%digest, "a file in the cache has changed and is dropped");
        self.at.drop_file(&mut self.at.lock(), digest);
        fs::remove_file(to).map_err(|error| self.at.local(to, &error))?;
        Ok(None)
    }

    /// Keeps a file of the given content; the caller's own name for it stays. Content that is larger than the whole
    /// cache is not kept.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`].
    pub fn keep(&self, digest: &Digest, file: &Path, len: u64) -> Result<()> {
        if len > self.at.max_bytes {
            return Ok(());
        }
        let kept = self.at.path(digest);
        let linked = kept.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| link(file, &kept));
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(self.at.local(&kept, &error)),
        }
        self.at.lock().use_now(*digest, len);
        self.at.make_room();
        Ok(())
    }

    /// Remembers that a store had this content under a key, as long as the content is kept.
    ///
    /// # Errors
    /// [`StoreErrorKind::Local`].
    pub fn remember(&self, store: &str, key: &str, etag: &str, len: u64, digest: &Digest) -> Result<()> {
        let path = self.at.seen(store, key);
        match self.at.lock().by_digest.get_mut(digest) {
            Some(entry) => entry.seen.insert(path.clone()),
            None => return Ok(()),
        };
        let text =
            serde_json::to_vec(&Seen { etag: etag.to_owned(), len, sha256: *digest }).unwrap_or_default();
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.at.root.join("runs"))?;
            io::Write::write_all(&mut file, &text)?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error| self.at.local(&path, &error))
    }

    /// Whether this store had something kept under this key when it was last read.
    pub fn knows(&self, store: &str, key: &str) -> bool {
        self.at.read_seen(store, key).is_some_and(|seen| self.at.lock().by_digest.contains_key(&seen.sha256))
    }

    /// The content of exactly this version of an object, where it was read before. Another store's word for a
    /// version, or another key's, never counts: a miner who has not got a file must not pass with another's.
    pub fn digest_of(&self, store: &str, object: &ObjectMeta) -> Option<Digest> {
        let etag = object.etag.as_ref()?;
        let seen = self.at.read_seen(store, &object.key)?;
        (seen.etag == *etag && seen.len == object.len).then_some(seen.sha256)
    }
}

fn name(root: &Path) -> String {
    format!("cache {}", root.display())
}

/// A second name for a file, or a copy where the file system has no second names.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unsupported
                    | ErrorKind::CrossesDevices
                    | ErrorKind::TooManyLinks
                    | ErrorKind::PermissionDenied
            ) =>
        {
            let folder = to.parent().unwrap_or(Path::new("."));
            let mut copy = tempfile::NamedTempFile::new_in(folder)?;
            io::copy(&mut File::open(from)?, copy.as_file_mut())?;
            copy.persist_noclobber(to).map(drop).map_err(|error| error.error)
        }
        done => done,
    }
}

/// What an earlier process left: finished files are taken over in the order of their last use, everything else goes.
fn recover(root: &Path) -> io::Result<Files> {
    for run in fs::read_dir(root.join("runs"))? {
        remove(&run?.path())?;
    }
    let mut found: Vec<(SystemTime, Digest, u64)> = Vec::new();
    for folder in fs::read_dir(root.join("files"))? {
        let folder = folder?.path();
        if !fs::symlink_metadata(&folder)?.is_dir() {
            remove(&folder)?;
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let metadata = file.metadata()?;
            match file.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) {
                Some(digest) if metadata.is_file() => {
                    found.push((metadata.modified()?, digest, metadata.len()));
                }
                _ => remove(&file.path())?,
            }
        }
    }
    found.sort_unstable();
    let mut files = Files::default();
    for (_, digest, len) in found {
        files.use_now(digest, len);
    }
    for note in fs::read_dir(root.join("seen"))? {
        let path = note?.path();
        match read_seen(&path).and_then(|seen| files.by_digest.get_mut(&seen.sha256)) {
            Some(entry) => {
                entry.seen.insert(path);
            }
            None => remove(&path)?,
        }
    }
    Ok(files)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn read_seen(path: &Path) -> Option<Seen> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

impl Place {
    fn lock(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn local(&self, path: &Path, error: &io::Error) -> StoreError {
        StoreError::new(StoreErrorKind::Local, name(&self.root), format!("{}: {error}", path.display()))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let first: String = name.chars().take(2).collect();
        self.root.join("files").join(first).join(name)
    }

    fn seen(&self, store: &str, key: &str) -> PathBuf {
        self.root.join("seen").join(Digest::of(format!("{store}\0{key}")).to_string())
    }

    fn read_seen(&self, store: &str, key: &str) -> Option<Seen> {
        read_seen(&self.seen(store, key))
    }

    /// Removes what was not used for longest until the rest is within the limit.
    fn make_room(&self) {
        let mut files = self.lock();
        while files.bytes > self.max_bytes {
            let Some(digest) = files.by_use.first_key_value().map(|(_, digest)| *digest) else { return };
            self.drop_file(&mut files, &digest);
        }
    }

    /// Removes a file and the notes about it. What cannot be removed is looked at again at the next start.
    fn drop_file(&self, files: &mut Files, digest: &Digest) {
        let notes = files.forget(digest);
        for path in notes.into_iter().chain([self.path(digest)]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a file cannot be removed from the cache");
                }
                _ => {}
            }
        }
    }
}
