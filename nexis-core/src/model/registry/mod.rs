//! Finds models by name, and holds them to the digests that are known of them.
//!
//! A root is a folder of models with a `registry.toml`:
//!
//! ```toml
//! [[model]]
//! id = "demo"
//! kind = "clip"
//! directory = "demo"           # below the root; the id where absent
//! licence = "Apache-2.0"
//! note = "Trained on rendered scenes; not a judge of real footage."
//! demonstration = true         # optional, false where absent
//!
//! [[model]]
//! id = "maker/small"
//! kind = "clip"
//! licence = "MIT"
//! note = "Photographs."
//! [model.hub]                  # `nexis models fetch` gets it from the Hugging Face hub
//! repository = "maker/small"
//! revision = "main"            # better a commit
//! files = [{ name = "config.json" }, { name = "model.safetensors", bytes = 12, sha256 = "..." }]
//! ```
//!
//! Files of a model are looked for in the root, then among the imported ones, then in the cache of Hugging Face's
//! clients. Nothing here fetches anything.

mod entry;
mod files;
mod hub;
mod import;
mod lock;
mod outside;
mod records;
mod removal;
mod report;
mod verify;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

pub use entry::{HubFile, HubSource, ModelEntry, ModelKind, ModelRole, is_id, parse};
pub use files::write_whole;
pub use hub::{HubRepository, Lookup, expanded, hub_cache, hub_home, is_commit, nexis_home};
pub use import::{Imported, import};
pub use lock::{LOCK, LockedFile, LockedModel, LockedRevision, ModelLock};
pub use outside::{Wanted, WantedFile, record_fetched};
pub use records::Records;
pub use removal::Removal;
pub use report::ModelReport;
pub use verify::{FileCheck, FileState, verify};

use super::open_clip::CONFIG as OPEN_CLIP;
use crate::error::{Error, Result};
use crate::hash::Digest;

/// Name of the list of models in a root.
pub const REGISTRY: &str = "registry.toml";

/// Folder of imported models and of cards made here, in the folder of the user's own models.
const IMPORTED: &str = "models";

const MAX_REGISTRY: u64 = 1 << 20;

/// Where models are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPlaces {
    /// Folders with a `registry.toml` and models, in order.
    pub roots: Vec<PathBuf>,
    /// Folder of the user's own: imported models, cards that were made here, `models.lock`.
    pub home: Option<PathBuf>,
    /// Cache of Hugging Face's clients.
    pub hub: Option<PathBuf>,
}

impl From<Vec<PathBuf>> for ModelPlaces {
    fn from(roots: Vec<PathBuf>) -> Self {
        Self { roots, home: None, hub: None }
    }
}

impl ModelPlaces {
    /// Everything that is locked. What a root's own lock says holds before what this user fetched first.
    ///
    /// # Errors
    /// As [`ModelLock::read`].
    pub fn lock(&self) -> Result<ModelLock> {
        let mut all = ModelLock::default();
        for folder in self.roots.iter().chain(&self.home) {
            all.adopt(ModelLock::read(&folder.join(LOCK))?);
        }
        Ok(all)
    }

    /// The folder of an imported model.
    pub fn imported(&self, id: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(IMPORTED).join(id))
    }
}

/// In which kind of place a model's files are, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// A folder that no registry lists.
    Unlisted,
    /// Below a root.
    Root,
    /// Among the imported ones.
    Imported,
    /// In the cache of Hugging Face's clients, as this commit.
    Hub {
        /// The commit.
        commit: String,
    },
}

/// A model that is known, wherever its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLocation {
    /// Its id, or the directory's name where it is in no registry.
    pub id: String,
    /// What loads it.
    pub kind: ModelKind,
    /// Where its files are, or would be put by hand.
    pub directory: PathBuf,
    /// In which kind of place that is.
    pub place: ModelPlace,
    /// Its card, or where one belongs.
    pub card: PathBuf,
    /// Whether its files are there.
    pub present: bool,
    /// What the registry says about it; `None` for a model that is in no registry.
    pub entry: Option<ModelEntry>,
    /// What its files have to be, by name, as far as the registry or a lock says.
    pub expected: BTreeMap<String, Digest>,
}

impl ModelLocation {
    fn of(root: &Path, entry: ModelEntry, places: &ModelPlaces, lock: &ModelLock) -> Self {
        let folder = root.join(&entry.directory);
        let imported = places.imported(&entry.id);
        let in_cache = entry.hub.as_ref().and_then(|source| {
            let hub = (source.repository.as_str(), source.revision.as_str());
            let repository = HubRepository::new(places.hub.as_ref()?, &source.repository);
            let locked = lock.find(&entry.id, Some(hub)).and_then(|model| model.hub.as_ref());
            let commit =
                locked.map(|hub| hub.commit.clone()).or_else(|| repository.commit(&source.revision))?;
            let snapshot = repository.snapshot(&commit);
            let whole = source.files.iter().all(|file| snapshot.join(&file.name).is_file());
            (whole || snapshot.is_dir()).then_some((snapshot, commit, whole))
        });
        let (directory, place, present) = if is_model(&folder) {
            (folder.clone(), ModelPlace::Root, true)
        } else if let Some(directory) = imported.clone().filter(|directory| is_model(directory)) {
            (directory, ModelPlace::Imported, true)
        } else if let Some((directory, commit, whole)) = in_cache {
            (directory, ModelPlace::Hub { commit }, whole)
        } else {
            (folder.clone(), ModelPlace::Root, false)
        };

        let mut expected: BTreeMap<String, Digest> = BTreeMap::new();
        if let Some(source) = &entry.hub {
            let stated = source.files.iter().filter_map(|file| Some((file.name.clone(), file.sha256?)));
            expected.extend(stated);
            let hub = (source.repository.as_str(), source.revision.as_str());
            match place {
                ModelPlace::Hub { .. } => expect(&mut expected, lock.find(&entry.id, Some(hub))),
                ModelPlace::Imported => expect(&mut expected, lock.find(&entry.id, None)),
                ModelPlace::Root | ModelPlace::Unlisted => {}
            }
        }
        let here = [Some(&folder), imported.as_ref(), Some(&directory)].into_iter().flatten();
        let card = here.map(|folder| folder.join(CARD)).find(|card| card.is_file()).unwrap_or_else(|| {
            // Nothing of ours goes into the cache of other programs.
            let own = if place == ModelPlace::Root { None } else { imported.as_ref() };
            own.unwrap_or(&folder).join(CARD)
        });
        Self {
            id: entry.id.clone(),
            kind: entry.kind,
            directory,
            place,
            card,
            present,
            entry: Some(entry),
            expected,
        }
    }

    fn unlisted(directory: &Path) -> Self {
        let name = directory.file_name().unwrap_or(directory.as_os_str());
        Self {
            id: name.to_string_lossy().into_owned(),
            kind: kind_of(directory).unwrap_or(ModelKind::Clip),
            directory: directory.to_path_buf(),
            place: ModelPlace::Unlisted,
            card: directory.join(CARD),
            present: true,
            entry: None,
            expected: BTreeMap::new(),
        }
    }

    /// An imported model that no registry lists.
    fn imported(locked: &LockedModel, directory: PathBuf) -> Self {
        let mut expected = BTreeMap::new();
        expect(&mut expected, Some(locked));
        Self {
            id: locked.id.clone(),
            kind: locked.kind,
            place: ModelPlace::Imported,
            card: directory.join(CARD),
            present: is_model(&directory),
            directory,
            entry: None,
            expected,
        }
    }

    /// Whether results have to say that a demonstration model made them.
    pub fn demonstration(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.demonstration)
    }

    /// Why this version cannot run it; `None` where it can.
    pub fn obstacle(&self) -> Option<String> {
        let of_the_hub = !self.present || matches!(self.place, ModelPlace::Hub { .. });
        self.entry.as_ref().filter(|_| of_the_hub)?.obstacle.clone()
    }

    /// That files which were read are the ones that are expected.
    ///
    /// # Errors
    /// [`Error::Model`] naming the first file that is another.
    pub fn check(&self, read: &BTreeMap<String, Digest>) -> Result<()> {
        for (name, found) in read {
            if let Some(expected) = self.expected.get(name).filter(|expected| *expected != found) {
                let why = format!(
                    "{name} has SHA-256 {found}, but {expected} is on record; `nexis models verify {}` says more",
                    self.id
                );
                return Err(Error::model(&self.id, why));
            }
        }
        Ok(())
    }

    /// That it can be loaded.
    fn usable(self) -> Result<Self> {
        if let Some(obstacle) = self.obstacle() {
            return Err(Error::model(&self.id, format!("this version cannot run it: {obstacle}")));
        }
        if self.present {
            return Ok(self);
        }
        let hub = self.entry.as_ref().and_then(|entry| entry.hub.as_ref());
        let remedy = match hub {
            Some(_) => format!("run `nexis models fetch {}`", self.id),
            None => {
                let source = self.entry.as_ref().and_then(|entry| entry.source.as_deref());
                let from = source.map(|source| format!(" (from {source})")).unwrap_or_default();
                format!("put its files into {}{from}", self.directory.display())
            }
        };
        Err(Error::Missing { what: format!("model {}", self.id), remedy })
    }
}

/// Name of a model's card.
const CARD: &str = "card.toml";

/// Adds what a lock says, where nothing is said yet.
fn expect(expected: &mut BTreeMap<String, Digest>, locked: Option<&LockedModel>) {
    for (name, file) in locked.iter().flat_map(|model| &model.files) {
        expected.entry(name.clone()).or_insert(file.sha256);
    }
}

/// What says of most models what they are.
const CONFIG: &str = "config.json";

/// End of the name of a file with a model's weights and sizes in one.
const GGUF: &str = ".gguf";

/// Whether a file of this name makes a folder a model's.
fn is_mark(name: &str) -> bool {
    name == CONFIG || name == OPEN_CLIP || name.ends_with(GGUF)
}

fn is_model(directory: &Path) -> bool {
    [CONFIG, OPEN_CLIP].iter().any(|mark| directory.join(mark).is_file()) || is_gguf_model(directory)
}

/// Whether a directory has a model without a configuration: a GGUF file, and its tokenizer.
fn is_gguf_model(directory: &Path) -> bool {
    let is_gguf = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.ends_with(GGUF) && !name.starts_with('.'))
            && entry.path().is_file()
    };
    directory.join("tokenizer.json").is_file()
        && std::fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(is_gguf))
}

/// What a model directory says it is, in its `config.json` or its `open_clip_config.json`, or else by its GGUF file; `None`
/// where that is nothing that is known here.
pub fn kind_of(directory: &Path) -> Option<ModelKind> {
    let read = |name: &str| -> Option<serde_json::Value> {
        let path = directory.join(name);
        // Opening a pipe would wait for who writes to it.
        let file = path.is_file().then(|| std::fs::File::open(&path).ok())??;
        serde_json::from_reader(std::io::Read::take(file, MAX_REGISTRY)).ok()
    };
    let said = read(CONFIG);
    let model_type = said.as_ref().and_then(|config| config.get("model_type")?.as_str());
    match model_type {
        Some("clip") => Some(ModelKind::Clip),
        Some("siglip" | "siglip2") => Some(ModelKind::Siglip),
        Some("qwen3_vl") => Some(ModelKind::Qwen3Vl),
        Some("moondream1") => Some(ModelKind::Moondream),
        // Of OpenCLIP's models, these are the ones that are known.
        _ if directory.join(OPEN_CLIP).is_file() => {
            read(OPEN_CLIP)?.get("model_cfg").map(|_| ModelKind::Mobileclip)
        }
        // The only kind that comes without a configuration. Another's file has other tensors, which loading says.
        None if !directory.join(CONFIG).exists() && is_gguf_model(directory) => Some(ModelKind::Moondream),
        _ => None,
    }
}

/// Every model that is known: those that the registries of the roots name, root by root, in their order, then those
/// that were imported under another id. A root without a `registry.toml` has none; an id of an earlier root hides the
/// same id of a later one.
///
/// # Errors
/// [`Error::Io`], [`Error::Model`] or [`Error::Corrupt`] where a registry or a lock cannot be read.
pub fn list(places: &ModelPlaces) -> Result<Vec<ModelLocation>> {
    let lock = places.lock()?;
    let mut found: Vec<ModelLocation> = Vec::new();
    for root in &places.roots {
        let path = root.join(REGISTRY);
        match std::fs::metadata(&path) {
            Ok(file) if file.len() > MAX_REGISTRY => {
                let why = format!("{} bytes; a registry has at most {MAX_REGISTRY}", file.len());
                return Err(Error::model(path.display().to_string(), why));
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&path, e)),
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        for entry in parse(&path, &text)? {
            if found.iter().all(|other| other.id != entry.id) {
                found.push(ModelLocation::of(root, entry, places, &lock));
            }
        }
    }
    for locked in lock.models().iter().filter(|model| model.hub.is_none()) {
        if let Some(directory) = places.imported(&locked.id)
            && found.iter().all(|other| other.id != locked.id)
        {
            found.push(ModelLocation::imported(locked, directory));
        }
    }
    Ok(found)
}

/// The known model of this id, whether its files are there or not, and whether this version can run it or not.
///
/// # Errors
/// [`Error::Missing`] where no such model is known, listing the known ids; the errors of [`list`].
pub fn find(id: &str, places: &ModelPlaces) -> Result<ModelLocation> {
    let mut known = list(places)?;
    match known.iter().position(|location| location.id == id) {
        Some(at) => Ok(known.swap_remove(at)),
        None if id.trim().is_empty() => Err(nameless(id, &known, places)),
        None => Err(Error::Missing {
            what: format!("model {id}"),
            remedy: format!("the known ids are: {}", ids(&known, places)),
        }),
    }
}

/// The model of this id, or the model directory at this path, to be loaded.
///
/// A known id comes first; a directory of the same name is meant by `./name`. After that come
/// directories: the path itself, then one of that name in a root that no registry lists.
///
/// # Errors
/// [`Error::Usage`] where the name is empty; [`Error::Missing`] where there is no such model, listing the known ids, or where
/// a known one's files are not there, with the command that gets them; [`Error::Model`] where this version cannot run it; the errors of
/// [`list`].
pub fn resolve(id_or_dir: &str, places: &ModelPlaces) -> Result<ModelLocation> {
    let mut known = list(places)?;
    if let Some(at) = known.iter().position(|location| location.id == id_or_dir) {
        return known.swap_remove(at).usable();
    }
    if id_or_dir.trim().is_empty() {
        return Err(nameless(id_or_dir, &known, places));
    }
    let path = Path::new(id_or_dir);
    let name =
        path.components().count() == 1 && matches!(path.components().next(), Some(Component::Normal(_)));
    let below = places.roots.iter().filter(|_| name).map(|root| root.join(path));
    let mut candidates = std::iter::once(path.to_path_buf()).chain(below);
    if let Some(directory) = candidates.find(|directory| is_model(directory)) {
        return ModelLocation::unlisted(&directory).usable();
    }
    let ids = ids(&known, places);
    let remedy = if path.is_dir() {
        format!(
            "{id_or_dir} is a directory without {CONFIG} or {OPEN_CLIP}, and without a GGUF file and its tokenizer.json, so \
             not a model; known ids: {ids}"
        )
    } else {
        format!("give a directory with a CLIP, a SigLIP or a MobileCLIP, or one of the known ids: {ids}")
    };
    Err(Error::Missing { what: format!("model {id_or_dir}"), remedy })
}

/// The error of a name that is none, as a variable of a script that was never set makes it.
fn nameless(name: &str, known: &[ModelLocation], places: &ModelPlaces) -> Error {
    let why =
        format!("this names no model; give a directory, or one of the known ids: {}", ids(known, places));
    Error::usage(format!("model {name:?}"), why)
}

/// The known ids; where there is none, where a registry was looked for, since that is what is amiss then.
fn ids(known: &[ModelLocation], places: &ModelPlaces) -> String {
    if known.is_empty() {
        let roots: Vec<String> = places.roots.iter().map(|root| root.display().to_string()).collect();
        let roots = if roots.is_empty() { "no folder of models here".to_owned() } else { roots.join(", ") };
        return format!("none ({roots}: no registry.toml; --models-dir or NEXIS_MODELS names its folder)");
    }
    let ids: Vec<&str> = known.iter().map(|location| location.id.as_str()).collect();
    ids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        [[model]]
        id = "demo"
        kind = "clip"
        directory = "demo"
        licence = "Apache-2.0"
        note = "rendered scenes only"
        demonstration = true

        [[model]]
        id = "large"
        kind = "clip"
        directory = "big/large"
        licence = "MIT"
        note = "photographs"
        source = "https://example.org/large"
    "#;

    fn root() -> (tempfile::TempDir, ModelPlaces) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(REGISTRY), TWO).unwrap();
        for model in ["demo", "own"] {
            std::fs::create_dir(dir.path().join(model)).unwrap();
            std::fs::write(dir.path().join(model).join("config.json"), "{}").unwrap();
        }
        let roots = vec![dir.path().join("absent"), dir.path().to_path_buf()];
        (dir, roots.into())
    }

    #[test]
    fn ids_directories_and_unlisted_models() {
        let (dir, roots) = root();
        let demo = resolve("demo", &roots).unwrap();
        assert_eq!(demo.directory, dir.path().join("demo"));
        assert!(demo.demonstration() && demo.present);

        let own = resolve("own", &roots).unwrap();
        assert_eq!((own.id.as_str(), own.entry.is_none()), ("own", true));
        let path = dir.path().join("own");
        assert_eq!(resolve(path.to_str().unwrap(), &ModelPlaces::default()).unwrap().directory, path);

        let listed = list(&roots).unwrap();
        let listed: Vec<_> = listed.iter().map(|l| (l.id.as_str(), l.present)).collect();
        assert_eq!(listed, [("demo", true), ("large", false)]);
    }

    #[test]
    fn errors_say_what_would_help() {
        let (dir, roots) = root();
        let error = resolve("nothing", &roots).unwrap_err().to_string();
        assert!(error.contains("demo, large"), "{error}");
        let error = resolve("large", &roots).unwrap_err().to_string();
        assert!(error.contains("https://example.org/large") && error.contains("big/large"), "{error}");
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let error = resolve(empty.to_str().unwrap(), &roots).unwrap_err().to_string();
        assert!(error.contains("without config.json"), "{error}");
        assert!(resolve("../demo", &roots).is_err());
        assert!(resolve("", &ModelPlaces::default()).is_err());
    }

    #[test]
    fn registries_that_cannot_be_used() {
        let path = Path::new("models/registry.toml");
        let twice = format!("{TWO}{TWO}");
        let outside = TWO.replace("\"demo\"\n        licence", "\"../demo\"\n        licence");
        let absolute = TWO.replace("\"big/large\"", "\"/big/large\"");
        let kind = TWO.replacen("\"clip\"", "\"resnet\"", 1);
        let id = TWO.replacen("\"demo\"", "\"de mo\"", 1);
        let field = TWO.replacen("note", "nota", 1);
        for text in [twice.as_str(), &outside, &absolute, &kind, &id, &field, "model = 3", "["] {
            assert_ne!(text, TWO);
            let error = parse(path, text).unwrap_err().to_string();
            assert!(error.contains("registry.toml"), "{error}");
        }
        assert!(parse(path, "").unwrap().is_empty());
    }

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const FETCHED: &str = r#"
        [[model]]
        id = "maker/small"
        kind = "clip"
        licence = "MIT"
        note = "photographs"
        [model.hub]
        repository = "maker/small"
        revision = "main"
        files = [{ name = "config.json" }, { name = "model.safetensors" }]

        [[model]]
        id = "maker/mobile"
        kind = "mobileclip"
        licence = "MIT"
        note = "phones"
        [model.hub]
        repository = "maker/mobile"
        revision = "main"
        files = [{ name = "config.json" }]
    "#;

    /// A root whose registry has two models of the hub, a home, and a cache with nothing in them.
    fn fetched() -> (tempfile::TempDir, ModelPlaces) {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| dir.path().join(name);
        for name in ["root", "home", "hub"] {
            std::fs::create_dir(of(name)).unwrap();
        }
        std::fs::write(of("root").join(REGISTRY), FETCHED).unwrap();
        let places = ModelPlaces { roots: vec![of("root")], home: Some(of("home")), hub: Some(of("hub")) };
        (dir, places)
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_model_of_the_hub_is_found_in_its_cache_and_missing_ones_name_the_command() {
        let (_dir, places) = fetched();
        let error = resolve("maker/small", &places).unwrap_err().to_string();
        assert!(error.contains("nexis models fetch maker/small"), "{error}");

        let repository = HubRepository::new(places.hub.as_ref().unwrap(), "maker/small");
        write(&repository.reference("main"), COMMIT);
        write(&repository.snapshot(COMMIT).join("config.json"), "{}");
        let half = find("maker/small", &places).unwrap();
        assert_eq!((half.present, half.directory), (false, repository.snapshot(COMMIT)));
        assert!(resolve("maker/small", &places).is_err(), "not whole yet");
        write(&repository.snapshot(COMMIT).join("model.safetensors"), "weights");
        let location = resolve("maker/small", &places).unwrap();
        assert_eq!(location.directory, repository.snapshot(COMMIT));
        assert_eq!(location.place, ModelPlace::Hub { commit: COMMIT.into() });
        assert_eq!(location.card, places.imported("maker/small").unwrap().join("card.toml"));
        assert!(location.expected.is_empty());

        let registry = places.roots[0].join(REGISTRY);
        let why = FETCHED.replacen("note = \"phones\"", "obstacle = \"no proof\"\nnote = \"phones\"", 1);
        std::fs::write(&registry, why).unwrap();
        let error = resolve("maker/mobile", &places).unwrap_err().to_string();
        assert!(error.contains("cannot run it: no proof"), "{error}");
        let mobile = find("maker/mobile", &places).unwrap();
        assert_eq!((mobile.present, mobile.kind.role()), (false, ModelRole::Encoder));
    }

    #[test]
    fn a_locked_commit_and_its_digests_hold_whatever_the_branch_says_now() {
        let (_dir, places) = fetched();
        let repository = HubRepository::new(places.hub.as_ref().unwrap(), "maker/small");
        let newer = "f".repeat(40);
        for commit in [COMMIT, &newer] {
            write(&repository.snapshot(commit).join("config.json"), "{}");
            write(&repository.snapshot(commit).join("model.safetensors"), "weights");
        }
        write(&repository.reference("main"), &newer);
        let file = |text: &str| LockedFile { bytes: 2, sha256: Digest::of(text), fetched: true };
        let mut lock = ModelLock::default();
        lock.put(LockedModel {
            id: "maker/small".into(),
            kind: ModelKind::Clip,
            hub: Some(LockedRevision {
                repository: "maker/small".into(),
                revision: "main".into(),
                commit: COMMIT.into(),
            }),
            files: [("config.json".into(), file("{}")), ("model.safetensors".into(), file("weights"))].into(),
        });
        write(&places.home.as_ref().unwrap().join(LOCK), &lock.to_toml().unwrap());
        let location = resolve("maker/small", &places).unwrap();
        assert_eq!(location.place, ModelPlace::Hub { commit: COMMIT.into() });
        let read = |text: &str| BTreeMap::from([("config.json".to_owned(), Digest::of(text))]);
        location.check(&read("{}")).unwrap();
        let error = location.check(&read("{ }")).unwrap_err().to_string();
        assert!(
            error.contains("config.json") && error.contains("nexis models verify maker/small"),
            "{error}"
        );
    }

    #[test]
    fn an_obstacle_is_about_the_hubs_files_alone() {
        let (_dir, places) = fetched();
        let registry = places.roots[0].join(REGISTRY);
        std::fs::write(&registry, FETCHED.replacen("note =", "obstacle = \"a pickle\"\nnote =", 1)).unwrap();
        let listed = list(&places).unwrap();
        assert_eq!(listed[0].obstacle().as_deref(), Some("a pickle"));
        let report = ModelReport::from(&listed[0]);
        assert_eq!((report.runs, report.obstacle.as_deref()), (false, Some("a pickle")));
        let error = resolve("maker/small", &places).unwrap_err().to_string();
        assert!(error.ends_with("this version cannot run it: a pickle"), "{error}");
        write(&places.imported("maker/small").unwrap().join("config.json"), "{}");
        assert_eq!(resolve("maker/small", &places).unwrap().obstacle(), None);
    }

    #[test]
    fn a_folder_in_either_format_is_a_model() {
        let (dir, places) = fetched();
        let of = |name: &str| dir.path().join(name);
        for (folder, file, text, kind) in [
            ("clip", "config.json", r#"{"model_type": "clip"}"#, Some(ModelKind::Clip)),
            ("mobile", "open_clip_config.json", r#"{"model_cfg": {}}"#, Some(ModelKind::Mobileclip)),
            ("nothing", "open_clip_config.json", r#"{"model": 3}"#, None),
            ("damaged", "open_clip_config.json", "{", None),
            ("unknown", "config.json", r#"{"model_type": "resnet"}"#, None),
        ] {
            write(&of(folder).join(file), text);
            assert_eq!(kind_of(&of(folder)), kind, "{folder}");
            assert!(is_model(&of(folder)));
        }
        // What Hugging Face's format says comes first.
        write(&of("clip").join("open_clip_config.json"), r#"{"model_cfg": {}}"#);
        assert_eq!(kind_of(&of("clip")), Some(ModelKind::Clip));
        write(&of("unknown").join("open_clip_config.json"), r#"{"model_cfg": {}}"#);
        assert_eq!(kind_of(&of("unknown")), Some(ModelKind::Mobileclip));

        let path = of("mobile");
        let unlisted = resolve(path.to_str().unwrap(), &places).unwrap();
        assert_eq!((unlisted.kind, unlisted.obstacle()), (ModelKind::Mobileclip, None));
        let imported = import(&path, "own/mobile", None, &places).unwrap();
        assert_eq!(imported.kind, ModelKind::Mobileclip);
        let found = resolve("own/mobile", &places).unwrap();
        assert_eq!((found.place.clone(), found.kind), (ModelPlace::Imported, ModelKind::Mobileclip));
        assert_eq!(found.expected["open_clip_config.json"], Digest::of(r#"{"model_cfg": {}}"#));
    }

    #[test]
    fn imported_models_are_found_under_their_id() {
        let (_dir, places) = fetched();
        for id in ["maker/small", "own/model"] {
            write(&places.imported(id).unwrap().join("config.json"), "{}");
        }
        let mut lock = ModelLock::default();
        let file = LockedFile { bytes: 2, sha256: Digest::of("{}"), fetched: false };
        lock.put(LockedModel {
            id: "own/model".into(),
            kind: ModelKind::Clip,
            hub: None,
            files: [("config.json".into(), file)].into(),
        });
        write(&places.home.as_ref().unwrap().join(LOCK), &lock.to_toml().unwrap());
        let known = resolve("maker/small", &places).unwrap();
        assert_eq!((known.place, known.expected.len()), (ModelPlace::Imported, 0));
        let own = resolve("own/model", &places).unwrap();
        assert_eq!((own.place.clone(), own.entry.is_none()), (ModelPlace::Imported, true));
        assert_eq!(own.expected["config.json"], Digest::of("{}"));
        let listed: Vec<_> = list(&places).unwrap().into_iter().map(|l| l.id).collect();
        assert_eq!(listed, ["maker/small", "maker/mobile", "own/model"]);
    }
}
