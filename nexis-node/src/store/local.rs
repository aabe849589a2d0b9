//! A folder as a store: an owner's or miner's bucket on disk.
//!
//! A key is a path below the folder. Links are not followed, and nothing outside is ever touched. A file is written
//! beside its name, under `.tmp`, and renamed when it is whole.

use std::cmp::Ordering;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use nexis_core::package::{AssetSource, DirectorySource};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreError, StoreErrorKind, key};

/// Where files are while they are written; no key begins so.
const UNFINISHED: &str = ".tmp";

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// A folder as a store.
#[derive(Clone, Debug)]
pub struct LocalStore {
    at: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    name: String,
    files: DirectorySource,
}

impl LocalStore {
    /// The store over a folder. A folder that is not there is a bucket that is not there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let name = root.display().to_string();
        Self { at: Arc::new(Place { files: DirectorySource::new(&root), root, name }) }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.at.root
    }

    /// Runs blocking work away from the async threads.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let at = Arc::clone(&self.at);
        tokio::task::spawn_blocking(move || work(&at)).await.unwrap_or_else(|stopped| {
            Err(StoreError::new(StoreErrorKind::Local, self.at.name.clone(), stopped.to_string()))
        })
    }
}

impl Place {
    fn local(&self, path: &Path, error: &io::Error) -> StoreError {
        StoreError::new(StoreErrorKind::Local, self.name.clone(), format!("{}: {error}", path.display()))
    }

    fn check(&self, key: &str) -> Result<()> {
        key::check(&self.name, key)?;
        if key == UNFINISHED || key.strip_prefix(UNFINISHED).is_some_and(|rest| rest.starts_with('/')) {
            let what = format!("keys that begin with {UNFINISHED} are the store's own");
            return Err(StoreError::new(StoreErrorKind::Invalid, self.name.clone(), what));
        }
        if self.root.is_dir() {
            return Ok(());
        }
        Err(StoreError::new(StoreErrorKind::NoBucket, self.name.clone(), "there is no such folder"))
    }

    /// The file of a key, links not followed.
    fn find(&self, key: &str) -> Result<Option<(PathBuf, Metadata)>> {
        self.check(key)?;
        let found = self
            .files
            .get(key)
            .map_err(|error| StoreError::new(StoreErrorKind::Local, self.name.clone(), error.to_string()))?;
        let Some(asset) = found else { return Ok(None) };
        match fs::symlink_metadata(&asset.path) {
            Ok(metadata) if metadata.is_file() => Ok(Some((asset.path, metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.local(&asset.path, &error)),
        }
    }

    /// Opens the file of a key at the start of a range; `None` where there is no such file.
    fn open(&self, key: &str, range: Option<&Range<u64>>) -> Result<Option<(File, ObjectMeta, u64)>> {
        let Some((path, _)) = self.find(key)? else { return Ok(None) };
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.local(&path, &error)),
        };
        let meta = describe(key, &metadata);
        let count = match range {
            None => meta.len,
            Some(range) if range.is_empty() || range.start >= meta.len => {
                let what = format!("reading {key:?}: the range lies outside of its {} bytes", meta.len);
                return Err(StoreError::new(StoreErrorKind::Invalid, self.name.clone(), what));
            }
            Some(range) => range.end.min(meta.len) - range.start,
        };
        Ok(Some((file, meta, count)))
    }

    /// Writes through a file of another name, so that nobody ever sees half of it.
    fn write(&self, key: &str, from: &mut dyn Read) -> Result<()> {
        self.check(key)?;
        let target = self.root.join(key);
        let mut written = || -> io::Result<()> {
            let unfinished = self.root.join(UNFINISHED);
            make_folder(&self.root, Path::new(UNFINISHED))?;
            let mut file = tempfile::NamedTempFile::new_in(&unfinished)?;
            io::copy(from, file.as_file_mut())?;
            file.as_file_mut().flush()?;
            file.as_file().sync_all()?;
            if let Some(folder) = Path::new(key).parent() {
                make_folder(&self.root, folder)?;
            }
            // A link of this name is replaced, not followed.
            file.persist(&target).map_err(|error| error.error)?;
            // The file is there after a power failure only if its folder was written as well.
            target.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        written().map_err(|error| self.local(&target, &error))
    }
}

/// Makes a folder below a root, part by part, refusing whatever else stands there.
fn make_folder(root: &Path, relative: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in relative.components() {
        path.push(part);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&path)?.is_dir() {
                    return Err(io::Error::new(ErrorKind::NotADirectory, "a file or a link is in the way"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn describe(key: &str, metadata: &Metadata) -> ObjectMeta {
    let modified = metadata.modified().ok();
    let nanos = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    ObjectMeta {
        key: key.to_owned(),
        len: metadata.len(),
        last_modified: modified.map(DateTime::<Utc>::from),
        etag: nanos.map(|age| format!("\"{:x}-{:x}\"", metadata.len(), age.as_nanos())),
    }
}

/// A folder or a file on the way through the tree.
struct Entry {
    key: String,
    metadata: Metadata,
}

impl Entry {
    /// Compares as the keys below it do: a folder counts as if its name ended in a slash.
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |entry: &Self| {
            let slash = entry.metadata.is_dir().then_some(b'/');
            entry.key.bytes().chain(slash).collect::<Vec<u8>>()
        };
        bytes(self).cmp(&bytes(other))
    }
}

impl Place {
    /// What a folder holds that can lead to the prefix, last first.
    fn entries(&self, folder: &str, prefix: &str) -> Result<Vec<Entry>> {
        let path = self.root.join(folder);
        let mut entries = Vec::new();
        let listed = match fs::read_dir(&path) {
            Ok(listed) => listed,
            // Removed while the tree was walked.
            Err(error) if error.kind() == ErrorKind::NotFound && !folder.is_empty() => return Ok(entries),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = "there is no such folder";
                return Err(StoreError::new(StoreErrorKind::NoBucket, self.name.clone(), what));
            }
            Err(error) => return Err(self.local(&path, &error)),
        };
        for entry in listed {
            let entry = entry.map_err(|error| self.local(&path, &error))?;
            // A name that is no text is no key.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if folder.is_empty() && name == UNFINISHED {
                continue;
            }
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let Ok(metadata) = entry.metadata() else { continue };
            let leads = if metadata.is_dir() {
                let below = format!("{key}/");
                below.starts_with(prefix) || prefix.starts_with(&below)
            } else {
                metadata.is_file() && key.starts_with(prefix)
            };
            if leads && key::check(&self.name, &key).is_ok() {
                entries.push(Entry { key, metadata });
            }
        }
        entries.sort_by(|a, b| b.cmp(a));
        Ok(entries)
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    fn name(&self) -> &str {
        &self.at.name
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let key = key.to_owned();
        self.aside(move |at| Ok(at.find(&key)?.map(|(_, metadata)| describe(&key, &metadata)))).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<ObjectBody>> {
        let (wanted, asked) = (key.to_owned(), range.clone());
        let opened = self.aside(move |at| at.open(&wanted, asked.as_ref())).await?;
        let Some((file, meta, count)) = opened else { return Ok(None) };
        let mut file = tokio::fs::File::from_std(file);
        let at = Arc::clone(&self.at);
        if let Some(range) = range {
            file.seek(io::SeekFrom::Start(range.start))
                .await
                .map_err(|error| at.local(Path::new(key), &error))?;
        }
        let key = key.to_owned();
        let bytes = ReaderStream::with_capacity(file.take(count), CHUNK)
            .map_err(move |error| at.local(Path::new(&key), &error));
        Ok(Some(ObjectBody { meta, bytes: bytes.boxed() }))
    }

    async fn put(&self, key: &str, bytes: Bytes, _content_type: &str) -> Result<()> {
        let key = key.to_owned();
        self.aside(move |at| at.write(&key, &mut bytes.as_ref())).await
    }

    async fn put_file(&self, key: &str, path: &Path, _content_type: &str) -> Result<()> {
        let (key, path) = (key.to_owned(), path.to_path_buf());
        self.aside(move |at| {
            let mut file = File::open(&path).map_err(|error| at.local(&path, &error))?;
            at.write(&key, &mut file)
        })
        .await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        // The folders that are still to be read, and the files that are still to be given; the next is the last.
        let prefix = prefix.to_owned();
        stream::try_unfold(None, move |pending: Option<Vec<Entry>>| {
            let prefix = prefix.clone();
            async move {
                let step = self
                    .aside(move |at| {
                        let mut pending = match pending {
                            Some(pending) => pending,
                            None => at.entries("", &prefix)?,
                        };
                        while let Some(entry) = pending.pop() {
                            if entry.metadata.is_file() {
                                return Ok(Some((describe(&entry.key, &entry.metadata), Some(pending))));
                            }
                            pending.extend(at.entries(&entry.key, &prefix)?);
                        }
                        Ok(None)
                    })
                    .await?;
                Ok(step)
            }
        })
        .boxed()
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.aside(move |at| match at.find(&key)? {
            None => Ok(()),
            Some((path, _)) => match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(at.local(&path, &error)),
                _ => Ok(()),
            },
        })
        .await
    }
}
