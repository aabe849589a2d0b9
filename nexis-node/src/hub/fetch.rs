//! A whole model: what is there, what is missing, what comes, and whether all of it is what it has to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nexis_core::hash::Digest;
use nexis_core::model::registry::{
    HubFile, HubRepository, HubSource, LockedFile, LockedModel, LockedRevision, ModelEntry, ModelPlaces,
    Records,
};

use super::client::HubClient;
use super::file::{Content, RemoteFile, Target, announced, download};
use super::{HubError, HubErrorKind, HubSettings, Result, cache};

/// Hears how a fetch goes.
pub trait FetchObserver: Sync {
    /// So many bytes are to come.
    fn planned(&self, bytes: u64);
    /// So many of them are there.
    fn arrived(&self, bytes: u64);
    /// Something that is worth a line.
    fn note(&self, text: &str);
}

/// How a file came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It was there.
    Present,
    /// All of it came now.
    Downloaded,
    /// Its beginning was there from a fetch that broke off.
    Resumed,
}

/// A file that is there now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FetchedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
    /// How it came.
    pub how: How,
}

/// A model that is there now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fetched {
    /// Its id.
    pub id: String,
    /// The commit that its revision is.
    pub commit: String,
    /// Where it is.
    pub directory: PathBuf,
    /// Its files.
    pub files: Vec<FetchedFile>,
    /// Whether digests were written down now that were not on record before.
    pub recorded: bool,
}

/// Brings a model of the registry into the cache, and writes down its digests where none are on record.
///
/// Files that are there are read and compared, and fetched again where they are damaged. With everything there and a
/// commit that is known, nothing is asked of the hub.
///
/// # Errors
/// Whatever keeps a file from being there whole and being the one that it has to be. What has come of it by then stays,
/// and the next call goes on from there.
pub async fn fetch(
    entry: &ModelEntry,
    places: &ModelPlaces,
    settings: &HubSettings,
    observer: &dyn FetchObserver,
) -> Result<Fetched> {
    let local = |what: String| HubError::new(HubErrorKind::Local, what);
    let Some(source) = &entry.hub else {
        return Err(local(format!("{}: the registry does not say where to fetch it from", entry.id)));
    };
    let cache = places.hub.as_deref().ok_or_else(|| {
        local("no folder for models is known: set HOME, or HF_HOME to a folder with room for them".to_owned())
    })?;
    let lock = places.lock()?;
    let locked = lock.find(&entry.id, Some((&source.repository, &source.revision)));
    let fetch = Fetch {
        entry,
        source,
        locked,
        cache,
        repository: HubRepository::new(cache, &source.repository),
        settings,
        observer,
    };
    fetch.run(&Records::new(places.home.as_deref())?).await
}

struct Fetch<'a> {
    entry: &'a ModelEntry,
    source: &'a HubSource,
    /// What is on record of it.
    locked: Option<&'a LockedModel>,
    cache: &'a Path,
    repository: HubRepository,
    settings: &'a HubSettings,
    observer: &'a dyn FetchObserver,
}

impl Fetch<'_> {
    async fn run(&self, records: &Records) -> Result<Fetched> {
        let on_record = self.locked.and_then(|model| model.hub.as_ref()).map(|hub| hub.commit.as_str());
        let revision = on_record.unwrap_or(&self.source.revision);
        let mut hub = None;
        let commit = match self.known_commit(revision) {
            Some(commit) => commit,
            // A branch or tag: the hub says what it is today.
            None => self.ask(&mut hub, revision, self.first()?).await?.commit,
        };
        let (mut files, missing) = self.present(&commit).await?;
        if !missing.is_empty() {
            let mut remote = Vec::new();
            for file in missing {
                let announced = self.ask(&mut hub, &commit, file).await?;
                if announced.commit != commit {
                    let what = format!(
                        "{} of {}: the server calls commit {commit} {}",
                        file.name, self.source.repository, announced.commit
                    );
                    return Err(HubError::new(HubErrorKind::Misbehaved, what));
                }
                self.bounded(file, &announced)?;
                remote.push((file, announced));
            }
            let hub = self.hub(&mut hub)?;
            files.extend(self.download(hub, &remote).await?);
        }
        if on_record.is_none() || self.repository.commit(&self.source.revision).is_none() {
            // A name that another program has moved on since stays where it is.
            cache::refer(&self.repository, &self.source.revision, &commit)?;
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let recorded = self.record(records, &commit, &files)?;
        let directory = self.repository.snapshot(&commit);
        Ok(Fetched { id: self.entry.id.clone(), commit, directory, files, recorded })
    }

    fn first(&self) -> Result<&HubFile> {
        let none = || HubError::new(HubErrorKind::Local, format!("{}: it has no files", self.entry.id));
        self.source.files.first().ok_or_else(none)
    }

    /// The commit of a revision without asking anybody: it is one, or no connection may be opened and the cache knows.
    fn known_commit(&self, revision: &str) -> Option<String> {
        let known = self.repository.commit(revision);
        known.filter(|commit| self.settings.offline || commit == revision)
    }

    fn hub<'h>(&self, hub: &'h mut Option<HubClient>) -> Result<&'h HubClient> {
        if self.settings.offline {
            let what = format!(
                "{}: files are missing from {}, and HF_HUB_OFFLINE forbids connections; run `nexis models fetch {}` \
                 without it, or bring a folder with them and run `nexis models import DIR --id {}`",
                self.entry.id,
                self.repository.folder().display(),
                self.entry.id,
                self.entry.id
            );
            return Err(HubError::new(HubErrorKind::Offline, what));
        }
        Ok(match hub {
            Some(hub) => hub,
            None => hub.insert(HubClient::new(self.settings)?),
        })
    }

    async fn ask(&self, hub: &mut Option<HubClient>, revision: &str, file: &HubFile) -> Result<RemoteFile> {
        announced(self.hub(hub)?, &self.source.repository, revision, &file.name).await
    }

    /// What a file has to be, as far as the registry or the record says, and who says it.
    fn expected(&self, name: &str) -> Vec<(&'static str, Digest)> {
        let stated = self.source.files.iter().find(|file| file.name == name).and_then(|file| file.sha256);
        let recorded = self.locked.and_then(|model| model.files.get(name)).map(|file| file.sha256);
        let stated = stated.map(|digest| ("the registry states", digest));
        stated.into_iter().chain(recorded.map(|digest| ("is on record (models.lock)", digest))).collect()
    }

    fn is_expected(&self, name: &str, content: &Content) -> bool {
        self.expected(name).iter().all(|(_, digest)| *digest == content.sha256)
    }

    /// Files that are there and are what they have to be, and those that are to be fetched.
    async fn present(&self, commit: &str) -> Result<(Vec<FetchedFile>, Vec<&HubFile>)> {
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for file in &self.source.files {
            let path = self.repository.snapshot(commit).join(&file.name);
            if !path.is_file() {
                missing.push(file);
                continue;
            }
            let content = content(&path).await?;
            let etag = std::fs::read_link(&path).ok();
            let etag = etag.as_ref().and_then(|to| to.file_name()).and_then(|name| name.to_str());
            if self.is_expected(&file.name, &content) && etag.is_none_or(|etag| content.is_tagged(etag)) {
                let (bytes, sha256) = (content.bytes, content.sha256);
                files.push(FetchedFile { name: file.name.clone(), bytes, sha256, how: How::Present });
            } else {
                self.observer
                    .note(&format!("{} is in the cache, but damaged; it is fetched again", file.name));
                missing.push(file);
            }
        }
        Ok((files, missing))
    }

    fn bounded(&self, file: &HubFile, remote: &RemoteFile) -> Result<()> {
        let Some(bytes) = remote.bytes else { return Ok(()) };
        let (bound, name, repository) = (file.bound(), &file.name, &self.source.repository);
        if bytes > bound {
            let what =
                format!("{name} of {repository}: it has {bytes} bytes, where the registry allows {bound}");
            return Err(HubError::new(HubErrorKind::TooLarge, what));
        }
        if let Some(stated) = file.bytes.filter(|stated| *stated != bytes) {
            let what = format!(
                "{name} of {repository}: it has {bytes} bytes, where the registry states {stated}: it is another file"
            );
            return Err(HubError::new(HubErrorKind::Changed, what));
        }
        Ok(())
    }

    async fn download(&self, hub: &HubClient, files: &[(&HubFile, RemoteFile)]) -> Result<Vec<FetchedFile>> {
        let blobs = self.repository.blobs();
        cache::make_folder(&blobs)?;
        let size = |(file, remote): &(&HubFile, RemoteFile)| remote.bytes.or(file.bytes).unwrap_or(0);
        let planned: u64 = files.iter().map(size).sum();
        let kept = |(_, remote): &(&HubFile, RemoteFile)| {
            std::fs::metadata(incomplete(&blobs, &remote.etag)).map_or(0, |file| file.len())
        };
        room_for(&blobs, planned.saturating_sub(files.iter().map(kept).sum()))?;
        self.observer.planned(planned);
        let mut before = 0;
        let mut fetched = Vec::new();
        for file in files {
            fetched.push(self.one(hub, &blobs, file, before).await?);
            before += size(file);
            self.observer.arrived(before);
        }
        Ok(fetched)
    }

    async fn one(
        &self,
        hub: &HubClient,
        blobs: &Path,
        (file, remote): &(&HubFile, RemoteFile),
        before: u64,
    ) -> Result<FetchedFile> {
        let blob = blobs.join(&remote.etag);
        let waiting =
            || self.observer.note(&format!("{} is being fetched by another program; waiting", remote.name));
        let held = cache::lock(self.cache, &self.source.repository, &remote.etag, &waiting).await?;
        // The same content may be there, of another commit or by another program.
        let there = if blob.is_file() { Some(content(&blob).await?) } else { None };
        let usable =
            |content: &Content| self.is_expected(&remote.name, content) && content.is_tagged(&remote.etag);
        let (content, how) = match there.filter(usable) {
            Some(content) => (content, How::Present),
            None => {
                let incomplete = incomplete(blobs, &remote.etag);
                let progress = |bytes| self.observer.arrived(before + bytes);
                let target = Target {
                    repository: &self.source.repository,
                    incomplete: &incomplete,
                    bound: file.bound(),
                    progress: &progress,
                };
                let kept = download(hub, remote, &target).await?;
                let content = content(&incomplete).await?;
                if let Err(error) = self.accept(remote, &content) {
                    let _ = std::fs::remove_file(&incomplete);
                    return Err(error);
                }
                std::fs::rename(&incomplete, &blob).map_err(|e| HubError::local(&blob, &e))?;
                (content, if kept > 0 { How::Resumed } else { How::Downloaded })
            }
        };
        cache::link(&self.repository, &remote.commit, &remote.name, &remote.etag)?;
        drop(held);
        Ok(FetchedFile { name: remote.name.clone(), bytes: content.bytes, sha256: content.sha256, how })
    }

    /// That what came is what was announced, stated and recorded.
    fn accept(&self, remote: &RemoteFile, content: &Content) -> Result<()> {
        let changed = |why: String| {
            let what = format!("{} of {}: {why}", remote.name, self.source.repository);
            HubError::new(HubErrorKind::Changed, what)
        };
        if !content.is_tagged(&remote.etag) {
            let why = "what came is not what the hub announced, something on the way changed it; nothing of it is \
                       kept, try again";
            return Err(changed(why.to_owned()));
        }
        for (who, digest) in self.expected(&remote.name) {
            if digest != content.sha256 {
                let why =
                    format!("it has SHA-256 {}, but {digest} {who}; nothing of it is kept", content.sha256);
                return Err(changed(why));
            }
        }
        Ok(())
    }

    /// Writes down what is there, where that is news.
    fn record(&self, records: &Records, commit: &str, files: &[FetchedFile]) -> Result<bool> {
        let before = self.locked.map(|model| &model.files);
        let files: BTreeMap<String, LockedFile> = files
            .iter()
            .map(|file| {
                let was = before.and_then(|files| files.get(&file.name)).is_some_and(|file| file.fetched);
                let fetched = was || file.how != How::Present;
                (file.name.clone(), LockedFile { bytes: file.bytes, sha256: file.sha256, fetched })
            })
            .collect();
        if before == Some(&files) {
            return Ok(false);
        }
        let news = before.is_none_or(|before| files.keys().any(|name| !before.contains_key(name)));
        let (repository, revision) = (self.source.repository.clone(), self.source.revision.clone());
        let hub = Some(LockedRevision { repository, revision, commit: commit.to_owned() });
        records.put(LockedModel { id: self.entry.id.clone(), kind: self.entry.kind, hub, files })?;
        Ok(news)
    }
}

/// Keeps what has come of a content.
fn incomplete(blobs: &Path, etag: &str) -> PathBuf {
    blobs.join(format!("{etag}.incomplete"))
}

/// Reads a file through, beside the other work.
async fn content(path: &Path) -> Result<Content> {
    let owned = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || Content::of(&owned)).await;
    read.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(|e| HubError::local(path, &e))
}

/// That there is room for what is to come, as far as the system says.
#[cfg(unix)]
fn room_for(folder: &Path, bytes: u64) -> Result<()> {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let what = format!(
        "{}: {} MB are to come and {} MB are free; free some space, or set HF_HOME to a folder on another disk",
        folder.display(),
        bytes.div_ceil(1_000_000),
        free / 1_000_000
    );
    Err(HubError::new(HubErrorKind::Local, what))
}

#[cfg(not(unix))]
fn room_for(_folder: &Path, _bytes: u64) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_disk_without_room_is_told_before_the_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        room_for(folder.path(), 1).unwrap();
        let error = room_for(folder.path(), u64::MAX / 2).unwrap_err();
        assert_eq!(error.kind, HubErrorKind::Local);
        assert!(error.to_string().contains("HF_HOME"), "{error}");
    }
}
