//! What removing a model takes away: what came by our doing, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{HubRepository, LockedModel, ModelPlace, ModelPlaces, Records, find, is_mark};
use crate::error::{Error, Result};

/// What removing a model takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Files, in the order in which they go.
    pub files: Vec<PathBuf>,
    /// Bytes that are freed.
    pub bytes: u64,
    /// Why nothing is taken away, where there are no files.
    pub why_not: Option<String>,
    /// Whether something is on record of the model.
    pub recorded: bool,
    id: String,
    hub: Option<(String, String)>,
}

impl Removal {
    /// What would go if this model was removed.
    ///
    /// # Errors
    /// Those of [`find`]; [`Error::Io`] where the cache cannot be read.
    pub fn of(id: &str, places: &ModelPlaces) -> Result<Self> {
        let location = find(id, places)?;
        let lock = places.lock()?;
        let imported = location.place == ModelPlace::Imported;
        let source = location.entry.as_ref().and_then(|entry| entry.hub.as_ref()).filter(|_| !imported);
        let hub = source.map(|hub| (hub.repository.clone(), hub.revision.clone()));
        let locked = lock.find(id, hub.as_ref().map(|(repository, revision)| (&**repository, &**revision)));
        let (files, bytes) = match (locked, &places.hub) {
            (Some(locked), _) if imported => of_folder(&location.directory, locked.files.keys()),
            (Some(locked), Some(cache)) if hub.is_some() => of_cache(cache, locked)?,
            _ => Default::default(),
        };
        let why_not = files.is_empty().then(|| match location.place {
            _ if !location.present => "it is not here".to_owned(),
            ModelPlace::Root => format!("{} was put there by hand", location.directory.display()),
            _ => "it was in the cache before, and other programs may use it".to_owned(),
        });
        Ok(Self { files, bytes, why_not, recorded: locked.is_some(), id: id.to_owned(), hub })
    }

    /// Does it, and removes the folders that are empty then. With `forget`, what is on record goes too, so that other
    /// files may take the model's place; else it stays and holds for the next fetch.
    ///
    /// # Errors
    /// [`Error::Io`] where a file cannot be removed or the record not be written.
    pub fn run(&self, places: &ModelPlaces, forget: bool) -> Result<()> {
        for path in &self.files {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(path, e)),
                _ => {}
            }
            // Folders that are empty now, up to the repository's.
            for folder in path.ancestors().skip(1) {
                let last =
                    folder.file_name().is_none_or(|name| name.to_string_lossy().starts_with("models--"));
                if fs::remove_dir(folder).is_err() || last {
                    break;
                }
            }
        }
        let records = Records::new(places.home.as_deref())?;
        let hub = self.hub.as_ref().map(|(repository, revision)| (&**repository, &**revision));
        if forget { records.forget(&self.id, hub).map(|_| ()) } else { records.removed(&self.id, hub) }
    }
}

/// The imported files of a folder; the model's mark goes first, so that nobody takes half of it for a model.
fn of_folder<'a>(folder: &Path, names: impl Iterator<Item = &'a String>) -> (Vec<PathBuf>, u64) {
    let mut files: Vec<PathBuf> = names.map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
    files.sort_by_key(|path| !path.file_name().and_then(|name| name.to_str()).is_some_and(is_mark));
    let bytes = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    (files, bytes)
}

/// What of the cache goes with a fetched model: the files that we fetched, and their contents where no other commit has
/// them. What was there before us stays.
fn of_cache(cache: &Path, locked: &LockedModel) -> Result<(Vec<PathBuf>, u64)> {
    let Some(hub) = &locked.hub else { return Ok(Default::default()) };
    let repository = HubRepository::new(cache, &hub.repository);
    let snapshot = repository.snapshot(&hub.commit);
    let ours = locked.files.iter().filter(|(_, file)| file.fetched).map(|(name, _)| snapshot.join(name));
    let links: Vec<PathBuf> = ours.filter(|path| path.symlink_metadata().is_ok()).collect();
    let mut kept = Vec::new();
    files_below(&repository.snapshots(), &mut kept)?;
    let blobs = repository.blobs();
    let content = |link: &PathBuf| Some(blobs.join(fs::read_link(link).ok()?.file_name()?));
    let others: Vec<PathBuf> = kept.iter().filter(|path| !links.contains(path)).filter_map(content).collect();
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for link in &links {
        let file = content(link).filter(|content| !others.contains(content)).unwrap_or_else(|| link.clone());
        if file.symlink_metadata().is_ok_and(|m| m.is_file()) && !gone.contains(&file) {
            bytes += file.metadata().map_or(0, |m| m.len());
            if &file != link {
                gone.push(file);
            }
        }
    }
    if !kept.iter().any(|path| path.starts_with(&snapshot) && !links.contains(path)) {
        // A name for a commit that is not there would look like a damaged cache.
        let mut names = Vec::new();
        files_below(&repository.reference(""), &mut names)?;
        let ours = |name: &PathBuf| fs::read_to_string(name).is_ok_and(|commit| commit.trim() == hub.commit);
        gone.extend(names.into_iter().filter(ours));
    }
    // So would a link without its content: links go first.
    gone.splice(0..0, links);
    Ok((gone, bytes))
}

/// Every file below a folder, links not followed.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let local = |e: io::Error| Error::io(folder, e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(local(e)),
    };
    for entry in entries {
        let entry = entry.map_err(local)?;
        if entry.file_type().map_err(local)?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}
