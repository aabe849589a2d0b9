//! Finds model directories by name.
//!
//! A root is a folder of models with a `registry.toml`:
//!
//! ```toml
//! [[model]]
//! id = "demo"
//! kind = "clip"
//! directory = "demo"           # below the root
//! licence = "Apache-2.0"
//! note = "Trained on rendered scenes; not a judge of real footage."
//! demonstration = true         # optional, false where absent
//! source = "https://..."       # optional: where to fetch it from
//! ```
//!
//! Nothing here fetches anything.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// Name of the list of models in a root.
pub const REGISTRY: &str = "registry.toml";

const MAX_REGISTRY: u64 = 1 << 20;

/// What a model is, and with that what loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModelKind {
    /// A Hugging Face CLIP directory: [`ClipModel`](super::ClipModel).
    Clip,
}

/// One model of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Name to ask for it by: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// What loads it.
    pub kind: ModelKind,
    /// Directory below the root.
    pub directory: PathBuf,
    /// Licence of the weights.
    pub licence: String,
    /// What it is and what it is not for.
    pub note: String,
    /// Whether it is a demonstration and not a judge of real footage.
    #[serde(default)]
    pub demonstration: bool,
    /// Where to fetch it from.
    #[serde(default)]
    pub source: Option<String>,
}

/// A model directory that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLocation {
    /// Its id, or the directory's name where it is in no registry.
    pub id: String,
    /// What loads it.
    pub kind: ModelKind,
    /// Where it is.
    pub directory: PathBuf,
    /// Whether its files are there (its `config.json`, to be exact).
    pub present: bool,
    /// What the registry says about it; `None` for a directory that is in no registry.
    pub entry: Option<ModelEntry>,
}

impl ModelLocation {
    fn of(root: &Path, entry: ModelEntry) -> Self {
        let directory = root.join(&entry.directory);
        let present = is_model(&directory);
        Self { id: entry.id.clone(), kind: entry.kind, directory, present, entry: Some(entry) }
    }

    fn unlisted(directory: &Path) -> Self {
        let name = directory.file_name().unwrap_or(directory.as_os_str());
        Self {
            id: name.to_string_lossy().into_owned(),
            kind: ModelKind::Clip,
            directory: directory.to_path_buf(),
            present: true,
            entry: None,
        }
    }

    /// Whether results have to say that a demonstration model made them.
    pub fn demonstration(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.demonstration)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    #[serde(default)]
    model: Vec<ModelEntry>,
}

fn is_model(directory: &Path) -> bool {
    directory.join("config.json").is_file()
}

/// The entries of one registry file.
///
/// # Errors
/// [`Error::Model`] naming the file where it cannot be read as a registry.
pub fn parse(path: &Path, text: &str) -> Result<Vec<ModelEntry>> {
    let wrong = |why: String| Error::model(path.display().to_string(), why);
    let file: RegistryFile = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let mut seen = std::collections::BTreeSet::new();
    for entry in &file.model {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if entry.id.is_empty() || entry.id.starts_with('.') || !entry.id.chars().all(plain) {
            return Err(wrong(format!("id {:?}: letters, digits, '-', '_' and '.' are expected", entry.id)));
        }
        if !seen.insert(entry.id.as_str()) {
            return Err(wrong(format!("id {:?} is there twice", entry.id)));
        }
        if !entry.directory.components().all(|c| matches!(c, Component::Normal(_))) {
            let why = format!("{}: directory {:?} has to be below the root", entry.id, entry.directory);
            return Err(wrong(why));
        }
    }
    Ok(file.model)
}

/// Every model that the registries of these roots name, root by root, in their order. A root without a
/// `registry.toml` has none; an id of an earlier root hides the same id of a later one.
///
/// # Errors
/// [`Error::Io`] or [`Error::Model`] where a registry cannot be read.
pub fn list(roots: &[PathBuf]) -> Result<Vec<ModelLocation>> {
    let mut found: Vec<ModelLocation> = Vec::new();
    for root in roots {
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
                found.push(ModelLocation::of(root, entry));
            }
        }
    }
    Ok(found)
}

/// The model of this id, or the model directory at this path.
///
/// An id of a registry comes first; a directory of the same name is meant by `./name`. After that come
/// directories: the path itself, then one of that name in a root that no registry lists.
///
/// # Errors
/// [`Error::Missing`] where there is no such model, listing the known ids, or where a known one's files
/// are not there; the errors of [`list`].
pub fn resolve(id_or_dir: &str, roots: &[PathBuf]) -> Result<ModelLocation> {
    let known = list(roots)?;
    if let Some(location) = known.iter().find(|location| location.id == id_or_dir) {
        if location.present {
            return Ok(location.clone());
        }
        let source = location.entry.as_ref().and_then(|entry| entry.source.as_deref());
        let from = source.map(|source| format!(" (from {source})")).unwrap_or_default();
        return Err(Error::Missing {
            what: format!("model {id_or_dir}"),
            remedy: format!("put its files into {}{from}", location.directory.display()),
        });
    }
    let path = Path::new(id_or_dir);
    let name =
        path.components().count() == 1 && matches!(path.components().next(), Some(Component::Normal(_)));
    let below = roots.iter().filter(|_| name).map(|root| root.join(path));
    let mut candidates = std::iter::once(path.to_path_buf()).chain(below);
    if let Some(directory) = candidates.find(|directory| is_model(directory)) {
        return Ok(ModelLocation::unlisted(&directory));
    }
    let ids: Vec<&str> = known.iter().map(|location| location.id.as_str()).collect();
    let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    let remedy = if path.is_dir() {
        format!("{id_or_dir} is a directory without config.json, so not a model; known ids: {ids}")
    } else {
        format!("give a directory with a Hugging Face CLIP, or one of the known ids: {ids}")
    };
    Err(Error::Missing { what: format!("model {id_or_dir}"), remedy })
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

    fn root() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(REGISTRY), TWO).unwrap();
        for model in ["demo", "own"] {
            std::fs::create_dir(dir.path().join(model)).unwrap();
            std::fs::write(dir.path().join(model).join("config.json"), "{}").unwrap();
        }
        let roots = vec![dir.path().join("absent"), dir.path().to_path_buf()];
        (dir, roots)
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
        assert_eq!(resolve(path.to_str().unwrap(), &[]).unwrap().directory, path);

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
        assert!(resolve("", &[]).is_err());
    }

    #[test]
    fn registries_that_cannot_be_used() {
        let path = Path::new("models/registry.toml");
        let twice = format!("{TWO}{TWO}");
        let outside = TWO.replace("\"demo\"\n        licence", "\"../demo\"\n        licence");
        let absolute = TWO.replace("\"big/large\"", "\"/big/large\"");
        let kind = TWO.replacen("\"clip\"", "\"siglip\"", 1);
        let id = TWO.replacen("\"demo\"", "\"de mo\"", 1);
        let field = TWO.replacen("note", "nota", 1);
        for text in [twice.as_str(), &outside, &absolute, &kind, &id, &field, "model = 3", "["] {
            assert_ne!(text, TWO);
            let error = parse(path, text).unwrap_err().to_string();
            assert!(error.contains("registry.toml"), "{error}");
        }
        assert!(parse(path, "").unwrap().is_empty());
    }
}
