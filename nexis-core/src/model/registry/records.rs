//! The user's `models.lock`, written so that programs at work side by side lose nothing.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::files::{make_folder, write_whole};
use super::{LOCK, LockedModel, ModelLock};
use crate::error::{Error, Result};

/// The lock file in a folder.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The lock file of the user's own folder.
    ///
    /// # Errors
    /// [`Error::Missing`] where no such folder is known.
    pub fn new(home: Option<&Path>) -> Result<Self> {
        let folder = home.ok_or_else(|| Error::Missing {
            what: format!("a folder for {LOCK}"),
            remedy: "set HOME, or NEXIS_HOME".to_owned(),
        })?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// Writes down a model, in the place of what was known of the same one. A file that another program fetched
    /// meanwhile stays one that was fetched.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn put(&self, mut model: LockedModel) -> Result<()> {
        self.change(|lock| {
            let hub = model.hub.as_ref().map(|hub| (hub.repository.as_str(), hub.revision.as_str()));
            let before = lock.find(&model.id, hub).map(|before| before.files.clone()).unwrap_or_default();
            for (name, file) in &mut model.files {
                file.fetched |= before.get(name).is_some_and(|before| before.fetched);
            }
            lock.put(model);
            true
        })
        .map(|_| ())
    }

    /// Writes down that none of a model's files are there by our doing any more; its digests stay.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn removed(&self, id: &str, hub: Option<(&str, &str)>) -> Result<()> {
        self.change(|lock| {
            let Some(mut model) = lock.find(id, hub).cloned() else { return false };
            model.files.values_mut().for_each(|file| file.fetched = false);
            lock.put(model);
            true
        })
        .map(|_| ())
    }

    /// Forgets a model. Returns whether anything was known.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn forget(&self, id: &str, hub: Option<(&str, &str)>) -> Result<bool> {
        self.change(|lock| lock.forget(id, hub))
    }

    fn change(&self, change: impl FnOnce(&mut ModelLock) -> bool) -> Result<bool> {
        make_folder(&self.folder)?;
        let path = self.folder.join(LOCK);
        let guard_path = self.folder.join(".models.lock.guard");
        let local = |e: std::io::Error| Error::io(&guard_path, e);
        let guard =
            File::options().create(true).truncate(false).write(true).open(&guard_path).map_err(local)?;
        guard.lock().map_err(local)?;
        let mut lock = ModelLock::read(&path)?;
        let changed = change(&mut lock);
        if changed {
            write_whole(&path, lock.to_toml()?.as_bytes())?;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LockedFile, ModelKind};
    use super::*;
    use crate::hash::Digest;

    fn model(id: String) -> LockedModel {
        let file = LockedFile { bytes: 1, sha256: Digest::of(&id), fetched: false };
        LockedModel { id, kind: ModelKind::Clip, hub: None, files: [("config.json".to_owned(), file)].into() }
    }

    #[test]
    fn writers_side_by_side_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("not there yet");
        let records = Records::new(Some(&home)).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let records = &records;
                scope.spawn(move || {
                    for n in 0..5 {
                        records.put(model(format!("own/{writer}-{n}"))).unwrap();
                    }
                });
            }
        });
        assert_eq!(ModelLock::read(&home.join(LOCK)).unwrap().models().len(), 40);
        assert!(records.forget("own/3-3", None).unwrap());
        assert!(!records.forget("own/3-3", None).unwrap());
        assert_eq!(ModelLock::read(&home.join(LOCK)).unwrap().models().len(), 39);
        assert!(Records::new(None).is_err());
    }

    #[test]
    fn a_damaged_lock_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        std::fs::write(&path, "version = 7").unwrap();
        let error = Records::new(Some(folder.path())).unwrap().put(model("own".into())).unwrap_err();
        assert!(error.to_string().contains(LOCK), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "version = 7");
    }
}
