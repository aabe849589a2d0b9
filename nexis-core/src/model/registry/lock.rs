//! `models.lock`: the digests of what was fetched or imported first.
//!
//! A registry states digests only where they are known for certain. What it leaves open is settled by the first fetch,
//! is written down here, and holds from then on: for later fetches, for `verify`, and whenever the model is loaded.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entry::{ModelKind, is_id};
use crate::error::{Error, Result};
use crate::hash::Digest;

/// Name of the file, in a root and in the folder of the user's own models.
pub const LOCK: &str = "models.lock";

const MAX_LOCK: u64 = 4 << 20;
const VERSION: u32 = 1;

/// A file as it was first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
    /// Whether `nexis models fetch` put it into the cache, rather than found it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetched: bool,
}

/// Which version of a hub repository was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRevision {
    /// `owner/name`.
    pub repository: String,
    /// The revision that the registry names.
    pub revision: String,
    /// The commit that it was.
    pub commit: String,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: ModelKind,
    /// Where it was fetched from; absent where a folder was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<LockedRevision>,
    /// Its files, by name.
    pub files: BTreeMap<String, LockedFile>,
}

impl LockedModel {
    /// Whether this is about the same thing: the same revision of the hub, or an import.
    fn same(&self, id: &str, hub: Option<(&str, &str)>) -> bool {
        let own = self.hub.as_ref().map(|hub| (hub.repository.as_str(), hub.revision.as_str()));
        self.id == id && own == hub
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelLock {
    models: Vec<LockedModel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    version: u32,
    #[serde(default, rename = "model")]
    models: Vec<LockedModel>,
}

impl ModelLock {
    /// Reads a lock file; one that is not there is empty.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Corrupt`] where it is no lock file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Error::io(path, e)),
        };
        let mut text = String::new();
        file.take(MAX_LOCK + 1).read_to_string(&mut text).map_err(|e| Error::io(path, e))?;
        let wrong = |why: String| Error::Corrupt { what: path.display().to_string(), why };
        if text.len() as u64 > MAX_LOCK {
            return Err(wrong(format!("more than {MAX_LOCK} bytes")));
        }
        let file: LockFile = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if file.version != VERSION {
            return Err(wrong(format!("version {} is not known; {VERSION} is", file.version)));
        }
        match file.models.iter().find(|model| !is_id(&model.id)) {
            Some(model) => Err(wrong(format!("{:?} is no model's id", model.id))),
            None => Ok(Self { models: file.models }),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written down.
    pub fn to_toml(&self) -> Result<String> {
        let file = LockFile { version: VERSION, models: self.models.clone() };
        let text = toml::to_string_pretty(&file).map_err(|e| Error::Internal(format!("{LOCK}: {e}")))?;
        Ok(format!("# Written by `nexis models`: the digests that models are held to.\n{text}"))
    }

    /// Every model, in the order in which they came.
    pub fn models(&self) -> &[LockedModel] {
        &self.models
    }

    /// What is known of a model: as fetched from this repository and revision, or as imported.
    pub fn find(&self, id: &str, hub: Option<(&str, &str)>) -> Option<&LockedModel> {
        self.models.iter().find(|model| model.same(id, hub))
    }

    /// Writes down a model, in the place of what was known of the same one.
    pub fn put(&mut self, model: LockedModel) {
        self.forget(
            &model.id,
            model.hub.as_ref().map(|hub| (hub.repository.as_str(), hub.revision.as_str())),
        );
        self.models.push(model);
    }

    /// Forgets a model. Returns whether anything was known.
    pub fn forget(&mut self, id: &str, hub: Option<(&str, &str)>) -> bool {
        let before = self.models.len();
        self.models.retain(|model| !model.same(id, hub));
        self.models.len() < before
    }

    /// Adds what another lock knows and this one does not.
    pub(super) fn adopt(&mut self, other: Self) {
        for model in other.models {
            let hub = model.hub.as_ref().map(|hub| (hub.repository.as_str(), hub.revision.as_str()));
            if self.find(&model.id, hub).is_none() {
                self.models.push(model);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str, revision: Option<&str>, content: &str) -> LockedModel {
        let hub = revision.map(|revision| LockedRevision {
            repository: "maker/small".into(),
            revision: revision.into(),
            commit: "0".repeat(40),
        });
        let file = LockedFile { bytes: 3, sha256: Digest::of(content), fetched: hub.is_some() };
        LockedModel {
            id: id.into(),
            kind: ModelKind::Clip,
            hub,
            files: [("config.json".into(), file)].into(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_revisions_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        assert_eq!(ModelLock::read(&path).unwrap(), ModelLock::default());
        let mut lock = ModelLock::default();
        lock.put(model("maker/small", Some("main"), "one"));
        lock.put(model("maker/small", Some("v2"), "two"));
        lock.put(model("maker/small", None, "three"));
        lock.put(model("maker/small", Some("main"), "four"));
        std::fs::write(&path, lock.to_toml().unwrap()).unwrap();
        let read = ModelLock::read(&path).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.models().len(), 3);
        let digest = |hub| read.find("maker/small", hub).map(|model| model.files["config.json"].sha256);
        assert_eq!(digest(Some(("maker/small", "main"))), Some(Digest::of("four")));
        assert_eq!(digest(None), Some(Digest::of("three")));
        assert_eq!(digest(Some(("maker/other", "main"))), None);
        let mut first = ModelLock::default();
        first.put(model("maker/small", Some("main"), "of a team"));
        first.adopt(read);
        assert_eq!(first.models().len(), 3);
        let kept = &first.find("maker/small", Some(("maker/small", "main"))).unwrap().files["config.json"];
        assert_eq!(kept.sha256, Digest::of("of a team"));
    }

    #[test]
    fn what_is_no_lock_file_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let mut lock = ModelLock::default();
        lock.put(model("maker/small", None, "one"));
        let good = lock.to_toml().unwrap();
        for bad in [
            good.replace("version = 1", "version = 2"),
            good.replace("\"maker/small\"", "\"../small\""),
            good.replace("bytes = 3", "bytes = -3"),
            good.replace("kind = \"clip\"", "kind = \"clop\""),
            "[".to_owned(),
        ] {
            assert_ne!(bad, good);
            std::fs::write(&path, bad).unwrap();
            let error = ModelLock::read(&path).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(LOCK), "{error}");
        }
    }
}
