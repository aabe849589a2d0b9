//! Object storage: what miners upload to and validators read from.
//!
//! An [`ObjectStore`] is one bucket. Failures say what the caller can do: a missing object is `None`, never an
//! error; [`StoreErrorKind`] tells a refusal from an outage, because a miner answers for the one and not
//! for the other.
//!
//! [`s3`] is the network's kind of store, [`local`] a folder. [`download`] streams an object to disk and takes it up
//! again after a broken connection, [`cache`] keeps what was fetched, and [`fetch`] brings a miner's files to the
//! core, which reads them through [`source::StoreSource`]. [`server`] is an S3 server for the devnet and the tests.

pub mod cache;
pub mod download;
pub mod faults;
pub mod fetch;
mod key;
pub mod local;
pub mod s3;
mod s3_failure;
pub mod server;
pub mod source;

use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;

/// Result of a store's operations.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a store could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The credentials are wrong or do not allow this (HTTP 401, 403).
    Denied,
    /// The bucket is not there.
    NoBucket,
    /// Nobody answered: no route, refused, reset, or a server error that stayed after retries.
    Unreachable,
    /// No answer, or no progress, within the time allowed.
    TimedOut,
    /// More bytes than the caller allows, announced or sent.
    TooLarge,
    /// The answer contradicts itself: another length than announced, a malformed listing.
    Misbehaved,
    /// The object was replaced or removed while it was read, again and again.
    Changed,
    /// Refused because this machine's clock and the store's differ by minutes.
    Clock,
    /// A file of ours could not be read or written.
    Local,
    /// The key, bucket, endpoint or credentials are not well formed.
    Invalid,
}

impl StoreErrorKind {
    /// Whether the owner of the bucket answers for it: credentials that do not open the bucket, a bucket that is not
    /// there, files that do not stay the same. Everything else is an outage, or ours.
    pub const fn is_the_owners(self) -> bool {
        matches!(self, Self::Denied | Self::NoBucket | Self::Changed)
    }

    /// Whether asking again may help.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut)
    }
}

/// A failure of a store. Holds no secret and no signed address.
#[derive(Debug, thiserror::Error)]
#[error("{store}: {what}")]
pub struct StoreError {
    /// What the caller can do about it.
    pub kind: StoreErrorKind,
    /// The store, as [`ObjectStore::name`] gives it.
    pub store: String,
    /// What was being done and what came of it.
    pub what: String,
}

impl StoreError {
    /// A failure of a store, by its name.
    pub fn new(kind: StoreErrorKind, store: impl Into<String>, what: impl Into<String>) -> Self {
        Self { kind, store: store.into(), what: what.into() }
    }
}

/// What a store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its length in bytes, as announced.
    pub len: u64,
    /// When it was last written, by the store's clock.
    pub last_modified: Option<DateTime<Utc>>,
    /// The store's tag of this version of the object.
    pub etag: Option<String>,
}

/// An object on its way.
pub struct ObjectBody {
    /// What the store says of the whole object; `len` is the whole length, also where a range was asked for.
    pub meta: ObjectMeta,
    /// The bytes asked for.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

/// One bucket of an object store.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// The store for messages: endpoint and bucket, or folder. Never a secret.
    fn name(&self) -> &str;

    /// What there is under a key, or `None` where nothing is. An S3 server does not say here whether the bucket is
    /// there, so that this may be `None` where [`get`](Self::get) says [`StoreErrorKind::NoBucket`].
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>>;

    /// An object, or a range of its bytes, or `None` where there is no such object. Nothing is read ahead. A range
    /// that begins at or after the object's end is [`StoreErrorKind::Invalid`]; one that ends after it is cut short.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<ObjectBody>>;

    /// Writes an object from memory, as a whole or not at all.
    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<()>;

    /// Writes an object from a file, streamed, as a whole or not at all.
    async fn put_file(&self, key: &str, path: &Path, content_type: &str) -> Result<()>;

    /// Objects whose keys start with `prefix`, in the order of their keys, page after page. The keys are the owner's
    /// words: check them before they become paths.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>>;

    /// Removes an object; nothing happens where there is none.
    async fn delete(&self, key: &str) -> Result<()>;
}
