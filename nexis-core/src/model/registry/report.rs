//! What is known of a model, as the program and the Python package print it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ModelKind, ModelLocation, ModelPlace, ModelRole};
use crate::hash::Digest;

/// A model, for people and programs to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelReport {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: ModelKind,
    /// What it is for.
    pub role: ModelRole,
    /// Whether this version can run it.
    pub runs: bool,
    /// Why it cannot.
    pub obstacle: Option<String>,
    /// Whether its files are there.
    pub present: bool,
    /// Where they are, or would be put by hand.
    pub directory: PathBuf,
    /// In which kind of place they are: `unlisted`, `root`, `imported` or `hub`.
    pub place: Option<&'static str>,
    /// The commit, in the cache of Hugging Face's clients.
    pub commit: Option<String>,
    /// Its card, where there is one.
    pub card: Option<PathBuf>,
    /// Size of what is there, or else of what the registry knows the size of.
    pub bytes: Option<u64>,
    /// The digests that its files are held to.
    pub digests: BTreeMap<String, Digest>,
    /// Whether it is a demonstration and not a judge of real footage.
    pub demonstration: bool,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// What it is and what it is not for.
    pub note: Option<String>,
    /// Most tokens of a text that it reads.
    pub context: Option<u32>,
    /// Edge of the pictures that it reads, in pixels.
    pub image: Option<u32>,
    /// Devices that it is meant for.
    pub devices: Vec<String>,
    /// Its repository on the hub.
    pub repository: Option<String>,
    /// The revision that the registry names.
    pub revision: Option<String>,
}

impl From<&ModelLocation> for ModelReport {
    fn from(model: &ModelLocation) -> Self {
        let entry = model.entry.as_ref();
        let hub = entry.and_then(|entry| entry.hub.as_ref());
        let (place, commit) = match &model.place {
            ModelPlace::Unlisted => ("unlisted", None),
            ModelPlace::Root => ("root", None),
            ModelPlace::Imported => ("imported", None),
            ModelPlace::Hub { commit } => ("hub", Some(commit.clone())),
        };
        let obstacle = model.obstacle();
        Self {
            id: model.id.clone(),
            kind: model.kind,
            role: model.kind.role(),
            runs: obstacle.is_none(),
            obstacle,
            present: model.present,
            directory: model.directory.clone(),
            place: model.present.then_some(place),
            commit,
            card: model.card.is_file().then(|| model.card.clone()),
            bytes: bytes(model),
            digests: model.expected.clone(),
            demonstration: model.demonstration(),
            licence: entry.map(|entry| entry.licence.clone()),
            note: entry.map(|entry| entry.note.clone()),
            context: entry.and_then(|entry| entry.context),
            image: entry.and_then(|entry| entry.image),
            devices: entry.map(|entry| entry.devices.clone()).unwrap_or_default(),
            repository: hub.map(|hub| hub.repository.clone()),
            revision: hub.map(|hub| hub.revision.clone()),
        }
    }
}

fn bytes(model: &ModelLocation) -> Option<u64> {
    let hub = model.entry.as_ref().and_then(|entry| entry.hub.as_ref());
    if !model.present {
        return hub.map(|hub| hub.known_bytes()).filter(|bytes| *bytes > 0);
    }
    let size =
        |path: &Path| fs::metadata(path).ok().filter(|file| file.is_file()).map_or(0, |file| file.len());
    Some(match hub {
        Some(hub) => hub.files.iter().map(|file| size(&model.directory.join(&file.name))).sum(),
        None => fs::read_dir(&model.directory).ok()?.flatten().map(|entry| size(&entry.path())).sum(),
    })
}
