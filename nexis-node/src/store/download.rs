//! Objects to disk or, where they are small, to memory: within a limit, hashed on the way, and taken up again after a
//! broken connection.
//!
//! What a store says of an object is held against what it sends: every part that is taken up again must be of the
//! same version, and in the end the length must be the one announced. Nothing is held in memory but the part on its
//! way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{BoxStream, StreamExt};
use nexis_core::hash::Digest;
use rand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreError, StoreErrorKind};

/// What a download may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadLimits {
    /// Most bytes; an object that is larger is not begun.
    pub max_bytes: u64,
    /// Most time for all of it.
    pub deadline: Duration,
    /// How often it is taken up again without a byte of progress in between.
    pub fruitless_resumptions: u32,
    /// How often it is begun anew where the object was replaced meanwhile.
    pub restarts: u32,
    /// Pause before it is taken up again; it doubles while there is no progress, and a random part of it is taken.
    pub pause: Duration,
}

impl DownloadLimits {
    /// Limits for one object: five resumptions without progress, two restarts.
    pub const fn new(max_bytes: u64, deadline: Duration) -> Self {
        Self { max_bytes, deadline, fruitless_resumptions: 5, restarts: 2, pause: Duration::from_millis(250) }
    }
}

/// An object on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// When it was last written, by the store's clock.
    pub last_modified: Option<DateTime<Utc>>,
    /// The store's tag of this version.
    pub etag: Option<String>,
    /// How often the connection broke on the way.
    pub resumptions: u32,
}

/// Fetches an object into a file, which is there whole or not at all; one that is there is replaced. `None` where
/// there is no such object.
///
/// # Errors
/// The store's own; besides [`StoreErrorKind::TooLarge`], [`StoreErrorKind::TimedOut`] past the deadline,
/// [`StoreErrorKind::Changed`], [`StoreErrorKind::Misbehaved`] where the store sends another length than it announces,
/// and [`StoreErrorKind::Local`] for the file.
pub async fn download(
    store: &dyn ObjectStore,
    key: &str,
    to: &Path,
    limits: &DownloadLimits,
) -> Result<Option<Downloaded>> {
    let local = |error: io::Error| local(store, to, &error);
    let folder = to.parent().unwrap_or(Path::new("."));
    let unfinished =
        tempfile::Builder::new().prefix(".partial-").tempfile_in(folder).map_err(local)?.into_parts();
    let (file, path) = unfinished;
    let mut sink = Sink::File(BufWriter::with_capacity(256 << 10, File::from_std(file)));
    let Some(fetched) = within(store, key, limits, &mut sink).await? else { return Ok(None) };
    sink.finish().await.map_err(local)?;
    path.persist(to).map_err(|error| local(error.error))?;
    let Fetched { meta, sha256, resumptions } = fetched;
    Ok(Some(Downloaded {
        path: to.to_path_buf(),
        len: meta.len,
        sha256,
        last_modified: meta.last_modified,
        etag: meta.etag,
        resumptions,
    }))
}

/// Fetches a small object into memory. `None` where there is no such object.
///
/// # Errors
/// As [`download`].
pub async fn read(
    store: &dyn ObjectStore,
    key: &str,
    limits: &DownloadLimits,
) -> Result<Option<(Bytes, ObjectMeta)>> {
    let mut sink = Sink::Memory(Vec::new());
    let Some(fetched) = within(store, key, limits, &mut sink).await? else { return Ok(None) };
    match sink {
        Sink::Memory(bytes) => Ok(Some((bytes.into(), fetched.meta))),
        Sink::File(_) => Ok(None),
    }
}

/// Where the bytes go.
enum Sink {
    File(BufWriter<File>),
    Memory(Vec<u8>),
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes).await,
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Forgets all that was written.
    async fn restart(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.flush().await?;
                file.seek(io::SeekFrom::Start(0)).await?;
                file.get_mut().set_len(0).await
            }
            Self::Memory(all) => {
                all.clear();
                Ok(())
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush().await,
            Self::Memory(_) => Ok(()),
        }
    }
}

struct Fetched {
    meta: ObjectMeta,
    sha256: Digest,
    resumptions: u32,
}

async fn within(
    store: &dyn ObjectStore,
    key: &str,
    limits: &DownloadLimits,
    sink: &mut Sink,
) -> Result<Option<Fetched>> {
    let fetch = Fetch { store, key, limits, sink, known: None, have: 0, hasher: Sha256::new() };
    match tokio::time::timeout(limits.deadline, fetch.run()).await {
        Ok(fetched) => fetched,
        Err(_) => {
            let what = format!("reading {key:?}: not done within {:?}", limits.deadline);
            Err(StoreError::new(StoreErrorKind::TimedOut, store.name(), what))
        }
    }
}

fn local(store: &dyn ObjectStore, path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Local, store.name(), format!("{}: {error}", path.display()))
}

/// A download and how far it has come.
struct Fetch<'a> {
    store: &'a dyn ObjectStore,
    key: &'a str,
    limits: &'a DownloadLimits,
    sink: &'a mut Sink,
    /// What the store said of the version that is being fetched.
    known: Option<ObjectMeta>,
    have: u64,
    hasher: Sha256,
}

/// How an answer's body ended.
enum Ended {
    Whole,
    Early(StoreError),
}

impl Fetch<'_> {
    async fn run(mut self) -> Result<Option<Fetched>> {
        let (mut fruitless, mut restarts, mut resumptions) = (0, 0, 0);
        loop {
            let had = self.have;
            let early = match self.ask().await? {
                Asked::Nothing => return Ok(None),
                Asked::Changed(why) => {
                    restarts += 1;
                    if restarts > self.limits.restarts {
                        return Err(self.error(StoreErrorKind::Changed, why));
                    }
                    self.restart().await?;
                    continue;
                }
                Asked::Failed(error) => error,
                Asked::Body(bytes, len) => match self.take(bytes, len).await? {
                    Ended::Whole => break,
                    // It answers, announces, and again gives nothing: that is no bad connection.
                    Ended::Early(error)
                        if error.kind == StoreErrorKind::Unreachable
                            && self.have == had
                            && fruitless >= self.limits.fruitless_resumptions =>
                    {
                        let what =
                            format!("it announces {len} bytes and gives {}: {}", self.have, error.what);
                        return Err(self.error(StoreErrorKind::Misbehaved, what));
                    }
                    Ended::Early(error) => error,
                },
            };
            fruitless = if self.have > had { 0 } else { fruitless + 1 };
            if fruitless > self.limits.fruitless_resumptions {
                return Err(early);
            }
            resumptions += 1;
            let longest = self.limits.pause.saturating_mul(1 << fruitless.min(6));
            let pause = longest.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::time::sleep(pause).await;
        }
        let Self { known: Some(meta), hasher, .. } = self else { return Ok(None) };
        let sha256 = Digest::from_bytes(hasher.finalize().into());
        Ok(Some(Fetched { meta, sha256, resumptions }))
    }

    fn error(&self, kind: StoreErrorKind, what: impl std::fmt::Display) -> StoreError {
        StoreError::new(kind, self.store.name(), format!("reading {:?}: {what}", self.key))
    }

    async fn restart(&mut self) -> Result<()> {
        self.known = None;
        self.have = 0;
        self.hasher = Sha256::new();
        self.sink.restart().await.map_err(|error| local(self.store, Path::new(self.key), &error))
    }

    /// Asks for what is still missing.
    async fn ask(&mut self) -> Result<Asked> {
        // A store that does not tell versions apart is asked for all of it again.
        if self.known.as_ref().is_some_and(|known| known.etag.is_none()) {
            self.restart().await?;
        }
        let range = self.known.as_ref().filter(|_| self.have > 0).map(|known| self.have..known.len);
        let resumed = self.known.is_some();
        let ObjectBody { meta, bytes } = match self.store.get(self.key, range).await {
            Ok(Some(body)) => body,
            Ok(None) if resumed => return Ok(Asked::Changed("it was removed while it was read")),
            Ok(None) => return Ok(Asked::Nothing),
            // A shorter object has no such range.
            Err(error) if resumed && error.kind == StoreErrorKind::Invalid => {
                return Ok(Asked::Changed("it was replaced while it was read"));
            }
            Err(error) if resumed && error.kind.is_transient() => return Ok(Asked::Failed(error)),
            // The store has tried again by itself.
            Err(error) => return Err(error),
        };
        if let Some(known) = &self.known
            && (known.etag != meta.etag || known.len != meta.len)
        {
            return Ok(Asked::Changed("it was replaced while it was read"));
        }
        let len = meta.len;
        if len > self.limits.max_bytes {
            let what = format!("it has {len} bytes, more than {}", self.limits.max_bytes);
            return Err(self.error(StoreErrorKind::TooLarge, what));
        }
        self.known = Some(meta);
        Ok(Asked::Body(bytes, len))
    }

    /// Takes what comes, until all is there or nothing more comes.
    async fn take(&mut self, mut bytes: BoxStream<'static, Result<Bytes>>, len: u64) -> Result<Ended> {
        while self.have < len {
            match bytes.next().await {
                Some(Ok(part)) => self.keep(&part, len).await?,
                Some(Err(error)) if error.kind.is_transient() => return Ok(Ended::Early(error)),
                Some(Err(error)) => return Err(error),
                None => {
                    let what = format!("it ends after {} of {len} bytes", self.have);
                    return Ok(Ended::Early(self.error(StoreErrorKind::Unreachable, what)));
                }
            }
        }
        // Nothing may follow; asking also lets the connection be used again.
        match bytes.next().await {
            Some(Ok(part)) => self.keep(&part, len).await.map(|()| Ended::Whole),
            _ => Ok(Ended::Whole),
        }
    }

    async fn keep(&mut self, part: &[u8], len: u64) -> Result<()> {
        let have = self.have.saturating_add(part.len() as u64);
        if have > len {
            let what = format!("it announces {len} bytes and gives more");
            return Err(self.error(StoreErrorKind::Misbehaved, what));
        }
        self.hasher.update(part);
        self.sink.write(part).await.map_err(|error| local(self.store, Path::new(self.key), &error))?;
        self.have = have;
        Ok(())
    }
}

/// What came of asking.
enum Asked {
    Nothing,
    Changed(&'static str),
    Failed(StoreError),
    /// What is still missing, and the object's whole length.
    Body(BoxStream<'static, Result<Bytes>>, u64),
}
