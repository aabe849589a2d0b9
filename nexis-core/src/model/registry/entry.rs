//! What a `registry.toml` says of its models.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::Digest;

/// Largest file of a hub repository whose size the registry does not state: tokenizers are the largest of those.
const UNSTATED_FILE: u64 = 64 << 20;

/// What a model is, and with that what loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ModelKind {
    /// A Hugging Face CLIP directory: [`DualEncoder`](crate::model::DualEncoder).
    Clip,
    /// A Hugging Face SigLIP directory, SigLIP 2 of fixed resolution included: [`DualEncoder`](crate::model::DualEncoder).
    Siglip,
    /// MobileCLIP in OpenCLIP's format: [`OpenClipModel`](crate::model::OpenClipModel).
    Mobileclip,
    /// Qwen3-VL, a vision-language model.
    Qwen3Vl,
    /// Moondream 2, a small vision-language model, in a GGUF file as candle writes it.
    Moondream,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    /// Puts pictures and texts into one space.
    Encoder,
    /// Answers a question about pictures.
    Judge,
}

impl ModelKind {
    /// Its name in a registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Siglip => "siglip",
            Self::Mobileclip => "mobileclip",
            Self::Qwen3Vl => "qwen3-vl",
            Self::Moondream => "moondream",
        }
    }

    /// What it is for.
    pub const fn role(self) -> ModelRole {
        match self {
            Self::Clip | Self::Siglip | Self::Mobileclip => ModelRole::Encoder,
            Self::Qwen3Vl | Self::Moondream => ModelRole::Judge,
        }
    }
}

/// One file of a hub repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// Its path in the repository.
    pub name: String,
    /// Its size, where it is known for certain.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// A bound on its size, where that is not known.
    #[serde(default)]
    pub at_most: Option<u64>,
    /// Its digest, where it is known for certain.
    #[serde(default)]
    pub sha256: Option<Digest>,
}

impl HubFile {
    /// Most bytes that are taken for it.
    pub fn bound(&self) -> u64 {
        self.bytes.or(self.at_most).unwrap_or(UNSTATED_FILE)
    }
}

/// Where a model's files are on the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repository: String,
    /// A commit; or a branch or tag, which moves: then the commit that was fetched first is kept to.
    pub revision: String,
    /// The files that are needed.
    pub files: Vec<HubFile>,
}

impl HubSource {
    /// Bytes of all files, as far as their sizes are known for certain.
    pub fn known_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// One model of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Name to ask for it by: letters, digits, `-`, `_` and `.`, with at most one `/`.
    pub id: String,
    /// What loads it.
    pub kind: ModelKind,
    /// Directory below the root, of its files or of its card alone; the id where absent.
    #[serde(default)]
    pub directory: PathBuf,
    /// Licence of the weights.
    pub licence: String,
    /// What it is and what it is not for.
    pub note: String,
    /// Whether it is a demonstration and not a judge of real footage.
    #[serde(default)]
    pub demonstration: bool,
    /// Why this version cannot run the hub's files.
    #[serde(default)]
    pub obstacle: Option<String>,
    /// Most tokens of a text that it reads.
    #[serde(default)]
    pub context: Option<u32>,
    /// Edge of the pictures that it reads, in pixels.
    #[serde(default)]
    pub image: Option<u32>,
    /// Devices that it is meant for: `cpu`, `cuda`.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Where to fetch it from, for people; a model of the hub has `hub` instead.
    #[serde(default)]
    pub source: Option<String>,
    /// Where `nexis models fetch` gets it.
    #[serde(default)]
    pub hub: Option<HubSource>,
}

impl ModelEntry {
    /// What is wrong with it.
    fn objection(&self) -> Option<String> {
        if !is_id(&self.id) {
            return Some("letters, digits, '-', '_' and '.' are expected, with at most one '/'".to_owned());
        }
        if !self.directory.components().all(|c| matches!(c, Component::Normal(_))) {
            return Some(format!("directory {:?} has to be below the root", self.directory));
        }
        let hub = self.hub.as_ref()?;
        if !is_id(&hub.repository) {
            return Some(format!("repository {:?}: owner/name is expected", hub.repository));
        }
        if !is_path(&hub.revision) {
            return Some(format!("revision {:?}: a commit, a branch or a tag is expected", hub.revision));
        }
        let mut names = BTreeSet::new();
        match hub.files.iter().find(|file| !is_path(&file.name) || !names.insert(file.name.as_str())) {
            Some(file) => Some(format!("file {:?} is there twice, or is no plain path", file.name)),
            None if hub.files.is_empty() => Some("hub has no files".to_owned()),
            None => None,
        }
    }
}

/// Whether a name is of plain characters: nothing that a path, a shell or a URL reads as something else.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 96 && !name.starts_with('.') && name.chars().all(plain)
}

/// Whether a text can be a model's id: one name, or two with a `/` between.
pub fn is_id(id: &str) -> bool {
    is_path(id) && id.matches('/').count() <= 1
}

/// Whether a path is relative and of plain names.
fn is_path(path: &str) -> bool {
    path.split('/').all(is_name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    #[serde(default)]
    model: Vec<ModelEntry>,
}

/// The entries of one registry file.
///
/// # Errors
/// [`Error::Model`] naming the file where it cannot be read as a registry.
pub fn parse(path: &Path, text: &str) -> Result<Vec<ModelEntry>> {
    let wrong = |why: String| Error::model(path.display().to_string(), why);
    let mut file: RegistryFile = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let mut seen = BTreeSet::new();
    for entry in &mut file.model {
        if let Some(objection) = entry.objection() {
            return Err(wrong(format!("model {:?}: {objection}", entry.id)));
        }
        if !seen.insert(entry.id.clone()) {
            return Err(wrong(format!("id {:?} is there twice", entry.id)));
        }
        if entry.directory.as_os_str().is_empty() {
            entry.directory = PathBuf::from(&entry.id);
        }
    }
    Ok(file.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCHED: &str = r#"
        [[model]]
        id = "maker/small"
        kind = "clip"
        licence = "MIT"
        note = "photographs"
        context = 77
        devices = ["cpu"]
        [model.hub]
        repository = "maker/small-clip"
        revision = "refs/pr/15"
        files = [
            { name = "config.json" },
            { name = "sub/model.safetensors", bytes = 12, sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
            { name = "more.safetensors", at_most = 99 },
        ]
    "#;

    fn parsed(text: &str) -> Result<Vec<ModelEntry>> {
        parse(Path::new("models/registry.toml"), text)
    }

    #[test]
    fn hub_models_have_bounds_and_a_default_directory() {
        let entries = parsed(FETCHED).unwrap();
        let entry = &entries[0];
        assert_eq!(entry.directory, Path::new("maker/small"));
        let hub = entry.hub.as_ref().unwrap();
        let bounds: Vec<u64> = hub.files.iter().map(HubFile::bound).collect();
        assert_eq!(bounds, [64 << 20, 12, 99]);
        assert_eq!(hub.known_bytes(), 12);
    }

    #[test]
    fn hostile_names_are_refused() {
        for (from, to) in [
            ("maker/small-clip", "maker/../small"),
            ("maker/small-clip", "a/b/c"),
            ("maker/small-clip", ""),
            ("refs/pr/15", "../main"),
            ("refs/pr/15", "main?x=y"),
            ("\"maker/small\"", "\"/small\""),
            ("\"maker/small\"", "\"maker/.small\""),
            ("sub/model.safetensors", "/etc/passwd"),
            ("sub/model.safetensors", "sub/../../x"),
            ("sub/model.safetensors", "config.json"),
            ("sub/model.safetensors", "a\\\\b"),
        ] {
            let text = FETCHED.replacen(from, to, 1);
            assert_ne!(text, FETCHED);
            let error = parsed(&text).unwrap_err().to_string();
            assert!(error.contains("registry.toml"), "{to}: {error}");
        }
    }
}
