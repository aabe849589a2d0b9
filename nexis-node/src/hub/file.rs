//! One file of a repository: what the hub says of it, its bytes onto the disk, and what they turn out to be.
//!
//! Bytes go to a file that keeps what has come, whatever happens: the next try asks for the rest. In the end the whole
//! file is read back and hashed, so that what is checked is what is on the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use hyper::{StatusCode, header};
use nexis_core::hash::Digest;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use url::Url;

use super::client::{Asking, HubClient, causes, unreachable};
use super::{HubError, HubErrorKind, Result};

/// A file as the hub announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its path in the repository.
    pub(super) name: String,
    /// The commit that it is of.
    pub(super) commit: String,
    /// The tag of its content, which names it in the cache.
    pub(super) etag: String,
    /// Its size.
    pub(super) bytes: Option<u64>,
}

/// What a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// Git's name of it: SHA-1 of a header and the content.
    git: String,
}

impl Content {
    /// Reads a file through.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let (mut sha256, mut git) = (Sha256::new(), Sha1::new());
        git.update(format!("blob {bytes}\0"));
        let mut buffer = vec![0_u8; 256 << 10];
        let mut read = 0_u64;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let part = buffer.get(..n).unwrap_or_default();
            sha256.update(part);
            git.update(part);
            read += n as u64;
        }
        if read != bytes {
            return Err(io::Error::other("it changed while it was read"));
        }
        Ok(Self {
            bytes,
            sha256: Digest::from_bytes(sha256.finalize().into()),
            git: hex::encode(git.finalize()),
        })
    }

    /// Whether this is what a tag names. Tags are the SHA-256 of large files and Git's SHA-1 of others; what has
    /// neither form says nothing.
    pub(super) fn is_tagged(&self, etag: &str) -> bool {
        let digits = etag.bytes().all(|b| b.is_ascii_hexdigit());
        match etag.len() {
            64 if digits => self.sha256.to_string().eq_ignore_ascii_case(etag),
            40 if digits => self.git.eq_ignore_ascii_case(etag),
            _ => true,
        }
    }
}

/// Asks the hub about a file of a revision.
pub(super) async fn announced(
    hub: &HubClient,
    repository: &str,
    revision: &str,
    name: &str,
) -> Result<RemoteFile> {
    let what = format!("{name} of {repository} at {revision}");
    let url = hub.address(repository, revision, name)?;
    let mut failed = 0;
    let facts = loop {
        match hub.ask(&what, &url, Asking::About).await {
            Ok(answer) => break answer.facts,
            Err(failure) => {
                failed += 1;
                hub.pause(failure, failed).await?;
            }
        }
    };
    let misbehaved = |why: &str| {
        let what = format!("{what}: the server {why}; if HF_ENDPOINT is set, see that it is a hub");
        HubError::new(HubErrorKind::Misbehaved, what)
    };
    let commit = facts.commit.ok_or_else(|| misbehaved("does not say which commit that is"))?;
    // It becomes a file's name.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let etag = facts
        .etag
        .filter(|tag| (1..=128).contains(&tag.len()) && !tag.starts_with('.') && tag.chars().all(plain));
    let etag = etag.ok_or_else(|| misbehaved("gives the file no usable tag"))?;
    Ok(RemoteFile { name: name.to_owned(), commit, etag, bytes: facts.bytes })
}

/// Where a download goes, and how large it may become.
pub(super) struct Target<'a> {
    pub(super) repository: &'a str,
    /// Keeps what has come so far.
    pub(super) incomplete: &'a Path,
    /// Most bytes.
    pub(super) bound: u64,
    /// Told how many bytes of the file are there.
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

/// Brings a file onto the disk, from where it broke off last time. Returns how many bytes were there already.
pub(super) async fn download(hub: &HubClient, remote: &RemoteFile, target: &Target<'_>) -> Result<u64> {
    let download = Download {
        hub,
        remote,
        target,
        what: format!("{} of {}", remote.name, target.repository),
        url: hub.address(target.repository, &remote.commit, &remote.name)?,
    };
    let kept = download.have().await?;
    let mut failed = 0;
    loop {
        let had = download.have().await?;
        (target.progress)(had);
        if remote.bytes == Some(had) {
            return Ok(kept);
        }
        let ended = download.attempt(had).await;
        let failure = match ended {
            Ok(()) => return Ok(kept),
            Err(failure) => failure,
        };
        failed = if download.have().await? > had { 1 } else { failed + 1 };
        hub.pause(failure, failed).await?;
    }
}

struct Download<'a> {
    hub: &'a HubClient,
    remote: &'a RemoteFile,
    target: &'a Target<'a>,
    what: String,
    url: Url,
}

impl Download<'_> {
    fn local(&self, error: &io::Error) -> HubError {
        HubError::local(self.target.incomplete, error)
    }

    fn misbehaved(&self, why: impl std::fmt::Display) -> HubError {
        HubError::new(HubErrorKind::Misbehaved, format!("{}: {why}", self.what))
    }

    fn too_large(&self, bytes: u64) -> HubError {
        let bound = self.target.bound;
        let what = format!("{}: {bytes} bytes or more, where the registry allows {bound}", self.what);
        HubError::new(HubErrorKind::TooLarge, what)
    }

    /// How much is there. What is there is of no use where it is more than there can be.
    async fn have(&self) -> Result<u64> {
        let length = match tokio::fs::metadata(self.target.incomplete).await {
            Ok(file) => file.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(self.local(&e)),
        };
        let most = self.remote.bytes.unwrap_or(self.target.bound);
        if length > most {
            self.discard().await?;
            return Ok(0);
        }
        Ok(length)
    }

    async fn discard(&self) -> Result<()> {
        match tokio::fs::remove_file(self.target.incomplete).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.local(&e)),
            _ => Ok(()),
        }
    }

    /// Asks for what is missing, and takes what comes.
    async fn attempt(&self, have: u64) -> Result<()> {
        let answer = self.hub.ask(&self.what, &self.url, Asking::From(have)).await?;
        if answer.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(self.misbehaved("it comes compressed, though that was not asked for"));
        }
        let (from, whole) = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let (from, whole) = range(&answer.headers)
                    .ok_or_else(|| self.misbehaved("a part comes without saying which"))?;
                if from != have {
                    return Err(self.misbehaved(format!("bytes from {from} come where {have} was asked for")));
                }
                (from, whole)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                // What is there is no beginning of this file.
                self.discard().await?;
                return Err(unreachable(&self.what, &self.url, "the server has nothing from there on"));
            }
            // It does not do ranges: all of it comes again.
            _ => (0, number(&answer.headers, &CONTENT_LENGTH)),
        };
        if let Some(whole) = whole {
            if whole > self.target.bound {
                return Err(self.too_large(whole));
            }
            if let Some(announced) = self.remote.bytes.filter(|announced| *announced != whole) {
                let why = format!("{announced} bytes were announced, and it has {whole}");
                return Err(self.misbehaved(why));
            }
        }
        let have = self.take(answer.body, from, self.remote.bytes.or(whole)).await?;
        match self.remote.bytes.or(whole).filter(|whole| *whole > have) {
            Some(whole) => {
                let why = format!("it ends after {have} of {whole} bytes");
                Err(unreachable(&self.what, &self.url, &why))
            }
            None => Ok(()),
        }
    }

    /// Takes a body from one byte of the file on. Returns how much is there then.
    async fn take(&self, mut body: Incoming, from: u64, whole: Option<u64>) -> Result<u64> {
        let file = tokio::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(from == 0)
            .append(from > 0)
            .open(self.target.incomplete)
            .await
            .map_err(|e| self.local(&e))?;
        let mut file = BufWriter::with_capacity(256 << 10, file);
        let most = whole.unwrap_or(self.target.bound);
        let mut have = from;
        let ended = loop {
            let stall = self.hub.settings.stall_timeout;
            let frame = match tokio::time::timeout(stall, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => break Err(unreachable(&self.what, &self.url, &causes(&error))),
                Ok(None) => break Ok(()),
                Err(_) => {
                    let why = format!("nothing comes for {} s", stall.as_secs());
                    break Err(unreachable(&self.what, &self.url, &why));
                }
            };
            let Ok(part) = frame.into_data() else { continue };
            have = have.saturating_add(part.len() as u64);
            if have > most {
                drop(file);
                self.discard().await?;
                return Err(match whole {
                    Some(whole) => self.misbehaved(format!("{whole} bytes were announced, and more come")),
                    None => self.too_large(have),
                });
            }
            file.write_all(&part).await.map_err(|e| self.local(&e))?;
            (self.target.progress)(have);
        };
        // What has come is kept, however it ended.
        file.flush().await.map_err(|e| self.local(&e))?;
        ended.map(|()| have)
    }
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// First byte and whole length of `bytes 5-9/10`; the length may be unknown.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (part, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = part.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((from.parse().ok()?, whole))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn tags_are_compared_where_they_say_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        let content = Content::of(&path).unwrap();
        // `git hash-object` and `sha256sum` of the same file.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert!(content.is_tagged(git) && content.is_tagged(sha256) && content.is_tagged("v1-7"));
        assert!(!content.is_tagged(&git.replace('c', "d")) && !content.is_tagged(&sha256.replace('5', "6")));
        assert_eq!((content.bytes, content.sha256.to_string().as_str()), (6, sha256));
    }

    #[test]
    fn ranges_are_read_strictly() {
        let of = |text: &'static str| {
            range(&HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(text))]))
        };
        assert_eq!(of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        for text in ["bytes */10", "bytes 5-9", "5-9/10", "bytes a-9/10", "bytes 5-9/x"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
