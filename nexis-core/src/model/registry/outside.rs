//! Models that another client of the hub brings into the cache: what it is to bring, and what it brought.
//!
//! Nothing here fetches anything. `nexis models fetch` has a client of its own; the Python package asks the official one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    HubFile, HubRepository, HubSource, LockedFile, LockedModel, LockedRevision, ModelEntry, ModelLocation,
    ModelPlaces, Records, find, is_commit,
};
use crate::error::{Error, Result};
use crate::hash::Digest;

/// A file to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WantedFile {
    /// Its path in the repository.
    pub name: String,
    /// Its size, where that is known for certain.
    pub bytes: Option<u64>,
    /// Most bytes that it may have.
    pub at_most: u64,
}

/// What to bring, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// `owner/name`.
    pub repository: String,
    /// The commit that is on record, or else the revision that the registry names.
    pub revision: String,
    /// The cache.
    pub cache: PathBuf,
    /// The files.
    pub files: Vec<WantedFile>,
}

impl Wanted {
    /// What makes this model whole.
    ///
    /// # Errors
    /// Those of [`find`]; [`Error::Usage`] where the registry names no repository; [`Error::Missing`] where no cache is
    /// known.
    pub fn of(id: &str, places: &ModelPlaces) -> Result<Self> {
        let location = find(id, places)?;
        let (entry, source, cache) = parts(&location, places)?;
        let lock = places.lock()?;
        let locked = lock.find(&entry.id, Some((&source.repository, &source.revision)));
        let commit = locked.and_then(|model| model.hub.as_ref()).map(|hub| hub.commit.clone());
        let wanted =
            |file: &HubFile| WantedFile { name: file.name.clone(), bytes: file.bytes, at_most: file.bound() };
        Ok(Self {
            repository: source.repository.clone(),
            revision: commit.unwrap_or_else(|| source.revision.clone()),
            cache: cache.to_path_buf(),
            files: source.files.iter().map(wanted).collect(),
        })
    }
}

fn parts<'a>(
    location: &'a ModelLocation,
    places: &'a ModelPlaces,
) -> Result<(&'a ModelEntry, &'a HubSource, &'a Path)> {
    let entry = location.entry.as_ref();
    let source = entry.and_then(|entry| Some((entry, entry.hub.as_ref()?)));
    let (entry, source) = source
        .ok_or_else(|| Error::usage(&location.id, "the registry does not say where to fetch it from"))?;
    let cache = places.hub.as_deref().ok_or_else(|| Error::Missing {
        what: "a folder for models".to_owned(),
        remedy: "set HOME, or HF_HOME to a folder with room for them".to_owned(),
    })?;
    Ok((entry, source, cache))
}

/// Holds what was brought, as this commit, to what the registry states and what is on record, and puts on record what
/// was not. `fetched` names the files that were not there before.
///
/// # Errors
/// [`Error::Model`] naming a file that is missing or another than it has to be; nothing is put on record then.
/// Otherwise as [`Wanted::of`], and [`Error::Io`].
pub fn record_fetched(
    id: &str,
    places: &ModelPlaces,
    commit: &str,
    fetched: &BTreeSet<String>,
) -> Result<()> {
    let location = find(id, places)?;
    let (entry, source, cache) = parts(&location, places)?;
    if !is_commit(commit) {
        return Err(Error::usage(id, format!("{commit:?} is no commit: 40 hexadecimal digits are expected")));
    }
    let hub = (source.repository.as_str(), source.revision.as_str());
    let lock = places.lock()?;
    let locked = lock.find(&entry.id, Some(hub));
    if let Some(on_record) = locked.and_then(|model| model.hub.as_ref()).filter(|hub| hub.commit != commit) {
        let why = format!("{commit} was fetched, where commit {} is on record", on_record.commit);
        return Err(Error::model(id, why));
    }
    let snapshot = HubRepository::new(cache, &source.repository).snapshot(commit);
    let mut files = BTreeMap::new();
    for file in &source.files {
        let recorded = locked.and_then(|model| model.files.get(&file.name));
        let path = snapshot.join(&file.name);
        let found = look(&path, file, recorded).map_err(|error| match error {
            Found::Io(e) => Error::io(&path, e),
            Found::Another(why) => {
                let why = format!(
                    "{} in {}: {why}; nothing is put on record; `nexis models fetch {id}` replaces a damaged file",
                    file.name,
                    snapshot.display()
                );
                Error::model(id, why)
            }
        })?;
        let fetched = recorded.is_some_and(|before| before.fetched) || fetched.contains(&file.name);
        files.insert(file.name.clone(), LockedFile { fetched, ..found });
    }
    let hub = Some(LockedRevision {
        repository: source.repository.clone(),
        revision: source.revision.clone(),
        commit: commit.to_owned(),
    });
    Records::new(places.home.as_deref())?.put(LockedModel {
        id: entry.id.clone(),
        kind: entry.kind,
        hub,
        files,
    })
}

enum Found {
    Io(std::io::Error),
    Another(String),
}

/// A file that is what it has to be.
fn look(path: &Path, stated: &HubFile, recorded: Option<&LockedFile>) -> Result<LockedFile, Found> {
    let bytes = match fs::metadata(path) {
        Ok(file) => file.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Found::Another("it is missing".to_owned()));
        }
        Err(e) => return Err(Found::Io(e)),
    };
    if stated.bytes.is_some_and(|stated| stated != bytes) || bytes > stated.bound() {
        let allowed = if stated.bytes.is_some() { "states" } else { "allows" };
        return Err(Found::Another(format!(
            "it has {bytes} bytes, where the registry {allowed} {}",
            stated.bound()
        )));
    }
    let sha256 = File::open(path).and_then(Digest::of_reader).map_err(Found::Io)?;
    let said = stated.sha256.map(|digest| ("the registry states", digest));
    let on_record = recorded.map(|file| ("models.lock has", file.sha256));
    match said.into_iter().chain(on_record).find(|(_, digest)| *digest != sha256) {
        Some((who, digest)) => Err(Found::Another(format!("it has SHA-256 {sha256}, where {who} {digest}"))),
        None => Ok(LockedFile { bytes, sha256, fetched: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LOCK, ModelLock, REGISTRY};
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn places(folder: &Path) -> ModelPlaces {
        let registry = format!(
            "[[model]]\nid = \"maker/small\"\nkind = \"clip\"\nlicence = \"MIT\"\nnote = \"x\"\n[model.hub]\nrepository = \
             \"maker/small\"\nrevision = \"main\"\nfiles = [{{ name = \"config.json\" }}, {{ name = \"sub/w\", bytes = 3, \
             sha256 = \"{ABC}\" }}]\n"
        );
        fs::write(folder.join(REGISTRY), registry).unwrap();
        ModelPlaces {
            roots: vec![folder.to_path_buf()],
            home: Some(folder.join("home")),
            hub: Some(folder.join("hub")),
        }
    }

    fn bring(places: &ModelPlaces, commit: &str, files: [(&str, &str); 2]) {
        let snapshot = HubRepository::new(places.hub.as_ref().unwrap(), "maker/small").snapshot(commit);
        for (name, text) in files {
            let path = snapshot.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn what_was_brought_first_holds_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let wanted = Wanted::of("maker/small", &places).unwrap();
        assert_eq!((wanted.revision.as_str(), wanted.files.len()), ("main", 2));
        assert_eq!((wanted.files[1].bytes, wanted.files[1].at_most), (Some(3), 3));
        bring(&places, COMMIT, [("config.json", "{}"), ("sub/w", "abc")]);
        let new = BTreeSet::from(["sub/w".to_owned()]);
        record_fetched("maker/small", &places, COMMIT, &new).unwrap();
        let lock = ModelLock::read(&folder.path().join("home").join(LOCK)).unwrap();
        let files = &lock.models()[0].files;
        assert!(files["sub/w"].fetched && !files["config.json"].fetched);
        assert_eq!(files["config.json"].sha256, Digest::of("{}"));
        assert_eq!(Wanted::of("maker/small", &places).unwrap().revision, COMMIT);

        // Another configuration, then another commit of the same branch.
        bring(&places, COMMIT, [("config.json", "{ }"), ("sub/w", "abc")]);
        let refused = record_fetched("maker/small", &places, COMMIT, &new).unwrap_err().to_string();
        assert!(refused.contains("config.json") && refused.contains("models.lock"), "{refused}");
        let later = "f".repeat(40);
        bring(&places, &later, [("config.json", "{}"), ("sub/w", "abc")]);
        let refused = record_fetched("maker/small", &places, &later, &new).unwrap_err().to_string();
        assert!(refused.contains(COMMIT), "{refused}");
        assert_eq!(ModelLock::read(&folder.path().join("home").join(LOCK)).unwrap(), lock);
    }

    #[test]
    fn what_is_not_what_the_registry_states_is_not_recorded() {
        for (weights, why) in [("abd", "registry states"), ("abcd", "4 bytes")] {
            let folder = tempfile::tempdir().unwrap();
            let places = places(folder.path());
            bring(&places, COMMIT, [("config.json", "{}"), ("sub/w", weights)]);
            let refused =
                record_fetched("maker/small", &places, COMMIT, &BTreeSet::new()).unwrap_err().to_string();
            assert!(refused.contains("sub/w") && refused.contains(why), "{refused}");
            assert!(!folder.path().join("home").exists());
        }
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        assert!(record_fetched("maker/small", &places, "../../main", &BTreeSet::new()).is_err());
        let missing = record_fetched("maker/small", &places, COMMIT, &BTreeSet::new()).unwrap_err();
        assert!(missing.to_string().contains("missing"), "{missing}");
    }
}
