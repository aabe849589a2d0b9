//! One miner's files as the core reads them: what was fetched, and nothing else.
//!
//! The core is synchronous and asks by key. So everything is fetched first, and a question has one of three answers:
//!
//! | what came of fetching | what the core gets | what the core makes of it |
//! | --- | --- | --- |
//! | the file is here | the file | it is judged |
//! | there is none; or the bucket, its keys or an object that keeps changing withhold it | `None` | a missing file: the miner's fault |
//! | it has more bytes than the core takes | a file that long, without its content | too large: the miner's fault |
//! | the store did not answer, broke off or contradicted itself; our disk failed | an error | not judged: nobody's fault |
//! | nobody tried | an error | not judged; a defect of the caller's |

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nexis_core::Error;
use nexis_core::package::{Asset, AssetSource};
use nexis_core::protocol::IntervalId;
use tempfile::TempDir;

use super::{ObjectStore, StoreError, StoreErrorKind};

/// What came of fetching a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The file is here.
    Fetched {
        /// Its length in bytes.
        len: u64,
        /// Whether it had not to be transferred.
        cached: bool,
    },
    /// There is no such object.
    Absent,
    /// The bucket's owner keeps us from reading it: [`StoreErrorKind::is_the_owners`].
    Withheld {
        /// In which way.
        kind: StoreErrorKind,
        /// In words.
        why: String,
    },
    /// It has more bytes than are taken.
    TooLarge {
        /// In words.
        why: String,
    },
    /// It could not be had, which is not the miner's fault.
    Failed {
        /// In which way.
        kind: StoreErrorKind,
        /// In words.
        why: String,
    },
}

/// What came of fetching one key, for logs, metrics and evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRecord {
    /// The key.
    pub key: String,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) asset: Option<Asset>,
    pub(super) last_modified: Option<DateTime<Utc>>,
    pub(super) elapsed: Duration,
}

impl Answer {
    /// A failure of a store, told apart by whose it is.
    pub(super) fn failure(error: StoreError) -> Self {
        let StoreError { kind, what: why, .. } = error;
        let outcome = if kind.is_the_owners() {
            Outcome::Withheld { kind, why }
        } else {
            Outcome::Failed { kind, why }
        };
        Self { outcome, asset: None, last_modified: None, elapsed: Duration::ZERO }
    }
}

/// One miner's files of one interval. They are removed when this is dropped.
pub struct StoreSource {
    store: Arc<dyn ObjectStore>,
    interval: IntervalId,
    folder: TempDir,
    files: AtomicU64,
    answers: RwLock<BTreeMap<String, Answer>>,
}

impl StoreSource {
    pub(super) fn new(store: Arc<dyn ObjectStore>, interval: IntervalId, folder: TempDir) -> Self {
        Self { store, interval, folder, files: AtomicU64::new(0), answers: RwLock::default() }
    }

    /// The miner's bucket.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The interval.
    pub fn interval(&self) -> IntervalId {
        self.interval
    }

    /// What came of every key that was fetched, in the order of the keys.
    pub fn records(&self) -> Vec<FetchRecord> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        let record = |(key, answer): (&String, &Answer)| FetchRecord {
            key: key.clone(),
            outcome: answer.outcome.clone(),
            elapsed: answer.elapsed,
        };
        answers.iter().map(record).collect()
    }

    /// A name for a file of this run. It says nothing of the key, which is the miner's word.
    pub(super) fn new_path(&self) -> PathBuf {
        self.folder.path().join(self.files.fetch_add(1, Ordering::Relaxed).to_string())
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.answers.read().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    pub(super) fn set(&self, key: &str, answer: Answer) {
        self.answers.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), answer);
    }

    /// A file that is longer than `max_bytes`, and of which the length is all that there is: whoever reads it by its
    /// own, equal limit finds it too large. It takes no room on the disk.
    pub(super) fn too_large(&self, max_bytes: u64, why: String) -> Answer {
        let (path, len) = (self.new_path(), max_bytes.saturating_add(1));
        match File::create(&path).and_then(|file| file.set_len(len)) {
            Ok(()) => Answer {
                outcome: Outcome::TooLarge { why },
                asset: Some(Asset { path, len }),
                last_modified: None,
                elapsed: Duration::ZERO,
            },
            Err(error) => {
                let what = format!("{}: {error}", path.display());
                Answer::failure(StoreError::new(StoreErrorKind::Local, self.store.name(), what))
            }
        }
    }

    fn answer<T>(&self, key: &str, take: impl FnOnce(&Answer) -> Option<T>) -> nexis_core::Result<Option<T>> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        match answers.get(key) {
            None => Err(Error::Internal(format!("{key} was to be read and had not been fetched"))),
            Some(Answer { outcome: Outcome::Failed { kind, why }, .. }) => {
                let kind = match kind {
                    StoreErrorKind::TimedOut => io::ErrorKind::TimedOut,
                    _ => io::ErrorKind::Other,
                };
                Err(Error::io(self.store.name(), io::Error::new(kind, why.clone())))
            }
            Some(answer) => Ok(take(answer)),
        }
    }
}

impl AssetSource for StoreSource {
    fn get(&self, key: &str) -> nexis_core::Result<Option<Asset>> {
        self.answer(key, |answer| answer.asset.clone())
    }

    fn last_modified(&self, key: &str) -> nexis_core::Result<Option<DateTime<Utc>>> {
        self.answer(key, |answer| answer.last_modified)
    }
}

impl fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSource")
            .field("store", &self.store.name())
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
