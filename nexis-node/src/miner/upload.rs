//! Puts a package into the miner's bucket, its manifest last: a validator that looks meanwhile finds no package rather
//! than half of one.
//!
//! What was sent is noted in a journal beside the package, so that an upload that broke off goes on where it stopped:
//! an object is skipped where the bucket still has the very version that was sent.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use futures_util::StreamExt;
use futures_util::stream;
use nexis_core::Error;
use nexis_core::hash::Digest;
use nexis_core::package::{
    AssetSource, DirectorySource, ExpectedIdentity, ExpectedMiner, Manifest, Opened, Package, PackageRules,
    asset_key, dataset_key, manifest_key,
};
use nexis_core::protocol::{Hotkey, IntervalId};
use serde::{Deserialize, Serialize};

use super::MinerError;
use crate::store::{ObjectMeta, ObjectStore};

/// Longest line of a journal that is read, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// How a package is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// Objects on their way at once.
    pub concurrency: usize,
    /// Whether another package of the same interval may be replaced.
    pub replace: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self { concurrency: 4, replace: false }
    }
}

/// What an upload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Objects that were sent.
    pub sent: usize,
    /// Objects that were there already.
    pub skipped: usize,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes of the whole package.
    pub bytes: u64,
}

/// A package that was looked at and can be sent.
#[derive(Debug)]
pub struct Upload {
    interval: IntervalId,
    /// Assets by key, then the dataset.
    files: Vec<LocalFile>,
    manifest: Bytes,
    journal: PathBuf,
}

#[derive(Clone, Debug)]
struct LocalFile {
    key: String,
    path: PathBuf,
    len: u64,
    sha256: Digest,
}

/// A line of the journal: this version of an object was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    store: String,
    key: String,
    len: u64,
    sha256: Digest,
    etag: Option<String>,
}

impl Upload {
    /// Opens the package of an interval in a bucket's folder as a validator would, and checks every asset that a row
    /// names against the row's digest.
    ///
    /// # Errors
    /// [`MinerError::Package`] where a validator would refuse it; [`MinerError::Ours`] where it cannot be read.
    pub fn plan(bucket: &Path, interval: IntervalId, hotkey: &Hotkey) -> Result<Self, MinerError> {
        let folder = bucket.join(interval.to_string());
        let refuse = |why: String| MinerError::Package { package: folder.display().to_string(), why };
        let source = Arc::new(DirectorySource::new(bucket));
        let expected = ExpectedIdentity { miner: ExpectedMiner::Hotkey(hotkey.clone()), interval };
        let package = match Package::open(source.clone(), &expected, &PackageRules::default(), Utc::now())? {
            Opened::Package(package) => package,
            Opened::Rejected { violation, .. } => {
                return Err(refuse(
                    format!("{} {}", violation.code(), violation.detail).trim_end().to_owned(),
                ));
            }
        };
        let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
        for row in &package.rows {
            for (uri, digest) in
                [(&row.clip_uri, &row.clip_sha256), (&row.first_frame_uri, &row.first_frame_sha256)]
            {
                let key = asset_key(interval, uri).map_err(|violation| refuse(violation.code()))?;
                if wanted.insert(key.clone(), digest).is_some_and(|other| other != digest) {
                    return Err(refuse(format!("two rows give {key} different digests")));
                }
            }
        }
        let mut files = Vec::with_capacity(wanted.len() + 1);
        for (key, digest) in wanted {
            let file =
                local_file(source.as_ref(), &key)?.ok_or_else(|| refuse(format!("{key} is missing")))?;
            if !file.sha256.to_string().eq_ignore_ascii_case(digest) {
                return Err(refuse(format!("{key} has another digest than its row says")));
            }
            files.push(file);
        }
        let missing = || refuse("its files changed while they were read".to_owned());
        let dataset = local_file(source.as_ref(), &dataset_key(interval))?.ok_or_else(missing)?;
        let manifest = source.get(&manifest_key(interval))?.ok_or_else(missing)?.path;
        let manifest = fs::read(&manifest).map_err(|e| Error::io(&manifest, e))?;
        if dataset.sha256 != package.dataset_digest || Digest::of(&manifest) != package.manifest_digest {
            return Err(missing());
        }
        files.push(dataset);
        Ok(Self {
            interval,
            files,
            manifest: manifest.into(),
            journal: bucket.join(format!(".{interval}-upload.jsonl")),
        })
    }

    /// Objects of the package, the manifest included.
    pub fn objects(&self) -> usize {
        self.files.len() + 1
    }

    /// Bytes of the package, the manifest included.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum::<u64>() + self.manifest.len() as u64
    }

    /// Sends what the bucket has not got, looks whether all of it has arrived, and then sends the manifest. After an
    /// error the same call goes on where this one stopped. `progress` is told of each object, with its bytes.
    ///
    /// # Errors
    /// The store's; [`MinerError::Occupied`]; [`MinerError::NotThere`]; [`MinerError::Ours`] for the journal.
    pub async fn run(
        &self,
        store: &dyn ObjectStore,
        options: &UploadOptions,
        progress: &(dyn Fn(&str, u64) + Sync),
    ) -> Result<Uploaded, MinerError> {
        let manifest_key = manifest_key(self.interval);
        let there = read_small(store, &manifest_key).await?;
        let same = there.as_ref().is_some_and(|there| *there == self.manifest);
        if there.is_some() && !same {
            if !options.replace {
                let (store, interval) = (store.name().to_owned(), self.interval.get());
                return Err(MinerError::Occupied { store, interval });
            }
            // The old manifest goes first: it would not fit the files that now change under it.
            store.delete(&manifest_key).await?;
        }
        let journal = Journal::open(&self.journal, store.name())?;
        let mut uploaded = Uploaded { bytes: self.bytes(), ..Uploaded::default() };
        let journal = &journal;
        let mut sending = stream::iter(&self.files)
            .map(|file| async move {
                let sent = send(store, file, journal).await?;
                Ok::<_, MinerError>((file, sent))
            })
            .buffer_unordered(options.concurrency.max(1));
        while let Some(done) = sending.next().await {
            let (file, sent) = done?;
            if sent {
                uploaded.sent += 1;
                uploaded.sent_bytes += file.len;
            } else {
                uploaded.skipped += 1;
            }
            progress(&file.key, file.len);
        }
        drop(sending);
        self.check(store).await?;
        if same {
            uploaded.skipped += 1;
        } else {
            store.put(&manifest_key, self.manifest.clone(), "application/json").await?;
            uploaded.sent += 1;
            uploaded.sent_bytes += self.manifest.len() as u64;
        }
        progress(&manifest_key, self.manifest.len() as u64);
        Ok(uploaded)
    }

    /// Compares what the bucket lists with what was sent.
    async fn check(&self, store: &dyn ObjectStore) -> Result<(), MinerError> {
        let mut missing: BTreeMap<&str, u64> =
            self.files.iter().map(|file| (file.key.as_str(), file.len)).collect();
        let prefix = format!("{}/", self.interval);
        let mut listed = store.list(&prefix);
        while let Some(object) = listed.next().await {
            let object = object?;
            if missing.get(object.key.as_str()) == Some(&object.len) {
                missing.remove(object.key.as_str());
            }
        }
        match missing.into_iter().next() {
            None => Ok(()),
            Some((key, len)) => Err(MinerError::NotThere {
                store: store.name().to_owned(),
                key: key.to_owned(),
                why: format!("there is no object of this name with {len} bytes"),
            }),
        }
    }
}

/// A file of ours with its digest.
fn local_file(source: &DirectorySource, key: &str) -> Result<Option<LocalFile>, Error> {
    let Some(asset) = source.get(key)? else { return Ok(None) };
    let file = File::open(&asset.path).map_err(|e| Error::io(&asset.path, e))?;
    let sha256 = Digest::of_reader(file).map_err(|e| Error::io(&asset.path, e))?;
    Ok(Some(LocalFile { key: key.to_owned(), path: asset.path, len: asset.len, sha256 }))
}

/// Sends a file, unless the bucket has the version that was sent before. Whether it was sent.
async fn send(store: &dyn ObjectStore, file: &LocalFile, journal: &Journal) -> Result<bool, MinerError> {
    if journal.has(file)
        && let Some(there) = store.head(&file.key).await?
        && journal.sent_this(file, &there)
    {
        return Ok(false);
    }
    store.put_file(&file.key, &file.path, content_type(&file.key)).await?;
    let there = store.head(&file.key).await?;
    let etag = match there {
        Some(there) if there.len == file.len => there.etag,
        there => {
            return Err(MinerError::NotThere {
                store: store.name().to_owned(),
                key: file.key.clone(),
                why: there.map_or("nothing is there".into(), |there| format!("it has {} bytes", there.len)),
            });
        }
    };
    journal.note(file, etag)?;
    Ok(true)
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("mp4") => "video/mp4",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("json") => "application/json",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    }
}

/// An object of at most the size of a manifest; one that is larger is none of ours and reads as empty.
pub(super) async fn read_small(store: &dyn ObjectStore, key: &str) -> Result<Option<Bytes>, MinerError> {
    let Some(mut body) = store.get(key, None).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(part) = body.bytes.next().await {
        bytes.extend_from_slice(&part?);
        if bytes.len() as u64 > Manifest::MAX_BYTES {
            return Ok(Some(Bytes::new()));
        }
    }
    Ok(Some(bytes.into()))
}

/// What was sent to one store, in a file of one line each.
struct Journal {
    path: PathBuf,
    store: String,
    known: BTreeMap<String, Sent>,
    file: Mutex<File>,
}

impl Journal {
    fn open(path: &Path, store: &str) -> Result<Self, Error> {
        let failed = |e| Error::io(path, e);
        let mut known = BTreeMap::new();
        match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    // A line that was torn by a crash says nothing; its object is sent again.
                    let Ok(line) = line else { break };
                    let Ok(sent) = serde_json::from_str::<Sent>(&line) else { continue };
                    if sent.store == store && line.len() <= LONGEST_LINE {
                        known.insert(sent.key.clone(), sent);
                    }
                }
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        // Ends a torn line, so that the next one stands alone.
        file.write_all(b"\n").map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), store: store.to_owned(), known, file: Mutex::new(file) })
    }

    fn has(&self, file: &LocalFile) -> bool {
        self.known.get(&file.key).is_some_and(|sent| sent.sha256 == file.sha256)
    }

    /// Whether the object is the very version that was sent. A store without tags is judged by the length.
    fn sent_this(&self, file: &LocalFile, there: &ObjectMeta) -> bool {
        let sent = self.known.get(&file.key);
        sent.is_some_and(|sent| sent.len == there.len && sent.len == file.len && sent.etag == there.etag)
    }

    fn note(&self, file: &LocalFile, etag: Option<String>) -> Result<(), Error> {
        let LocalFile { key, len, sha256, .. } = file.clone();
        let sent = Sent { store: self.store.clone(), key, len, sha256, etag };
        let mut line = serde_json::to_vec(&sent).map_err(|e| Error::Internal(format!("journal: {e}")))?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).and_then(|()| file.flush()).map_err(|e| Error::io(&self.path, e))
    }
}
