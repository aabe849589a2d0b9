//! Models that came another way: a folder's files are copied to where they are found, and their digests written down.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::files::{copy_whole, make_folder};
use super::{
    CONFIG, GGUF, HubFile, LockedFile, LockedModel, ModelEntry, ModelKind, ModelPlaces, OPEN_CLIP, Records,
    is_id, is_mark, is_model, kind_of,
};
use crate::error::{Error, Result};
use crate::hash::Digest;

/// Most files of a model.
const MAX_FILES: usize = 64;
/// Ends of the names of files that models are made of.
const OF_MODELS: [&str; 6] = [".json", ".safetensors", ".gguf", ".txt", ".model", ".toml"];

/// A model that was imported.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: ModelKind,
    /// Where it is now.
    pub directory: PathBuf,
    /// Its files and their digests.
    pub files: BTreeMap<String, Digest>,
}

/// Copies a model's folder to the user's own models, under an id. Where the registry knows the id, the files are those
/// that it names, and have to be what it states; else they are all files of the folder that models are made of.
///
/// # Errors
/// Where the folder is no model's, a file is another than the one that is stated or on record, or cannot be copied.
pub fn import(folder: &Path, id: &str, entry: Option<&ModelEntry>, places: &ModelPlaces) -> Result<Imported> {
    let wrong = |why: String| Error::usage(folder.display().to_string(), why);
    if !is_id(id) {
        let why = "an id has letters, digits, '-', '_' and '.', with at most one '/'";
        return Err(Error::usage(format!("id {id:?}"), why));
    }
    let to = places.imported(id).ok_or_else(|| Error::Missing {
        what: "a folder for models".to_owned(),
        remedy: "set HOME, or NEXIS_HOME".to_owned(),
    })?;
    // Where the hub's files are of no use, others are meant.
    let stated = entry.filter(|entry| entry.obstacle.is_none()).and_then(|entry| entry.hub.as_ref());
    let stated = stated.map(|hub| hub.files.as_slice());
    let names = match stated {
        Some(files) => files.iter().map(|file| file.name.clone()).collect(),
        None => names_in(folder)?,
    };
    if stated.is_none() && !is_model(folder) {
        let why = format!(
            "there is no {CONFIG} in it, no {OPEN_CLIP}, and no file *{GGUF} with its tokenizer.json, so it is no model's \
             folder"
        );
        return Err(wrong(why));
    }
    let kind = entry.map(|entry| entry.kind).or_else(|| kind_of(folder));
    let kind = kind.ok_or_else(|| {
        wrong(format!("the model_type in its {CONFIG}, or what its {OPEN_CLIP} says, is not known here"))
    })?;
    let weights: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.ends_with(GGUF)).collect();
    if let (ModelKind::Moondream, [one, other, ..]) = (kind, weights.as_slice()) {
        return Err(wrong(format!(
            "{one} and {other} are both there, and one file *{GGUF} is read; leave that one"
        )));
    }
    let lock = places.lock()?;
    let on_record = lock.find(id, None);
    // What was imported before stays where it is, and would be taken for a part of this one.
    if let Some(name) = on_record.and_then(|model| model.files.keys().find(|name| !names.contains(name))) {
        let why = format!(
            "{name} is on record of an earlier import, and is not in {}; if the change is meant, run `nexis models \
             remove --forget` first",
            folder.display()
        );
        return Err(Error::model(id, why));
    }

    let mut files = BTreeMap::new();
    for name in &names {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(wrong(format!("{name} is missing, and the model needs it")));
        }
        let local = |e| Error::io(&path, e);
        let bytes = fs::metadata(&path).map_err(local)?.len();
        let sha256 = File::open(&path).and_then(Digest::of_reader).map_err(local)?;
        let content = LockedFile { bytes, sha256, fetched: false };
        let stated = stated.and_then(|files| files.iter().find(|file| file.name == *name));
        let recorded = on_record.and_then(|model| model.files.get(name)).map(|file| file.sha256);
        accept(&content, stated, recorded).map_err(|why| Error::model(id, format!("{name}: {why}")))?;
        files.insert(name.clone(), content);
    }
    make_folder(&to)?;
    // The mark comes last: until then, nobody takes the folder for a model's.
    let (marks, others): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| is_mark(name));
    for name in others.into_iter().chain(marks) {
        if let Some(file) = files.get(name) {
            copy_whole(&folder.join(name), &to.join(name), file.sha256)?;
        }
    }
    let digests = files.iter().map(|(name, file)| (name.clone(), file.sha256)).collect();
    Records::new(places.home.as_deref())?.put(LockedModel { id: id.to_owned(), kind, hub: None, files })?;
    Ok(Imported { id: id.to_owned(), kind, directory: to, files: digests })
}

/// That a file is the one that it has to be, or why it is not.
fn accept(file: &LockedFile, stated: Option<&HubFile>, recorded: Option<Digest>) -> Result<(), String> {
    if let Some(bytes) = stated.and_then(|stated| stated.bytes).filter(|bytes| *bytes != file.bytes) {
        return Err(format!("it has {} bytes, where the registry states {bytes}", file.bytes));
    }
    if let Some(digest) = stated.and_then(|stated| stated.sha256).filter(|digest| *digest != file.sha256) {
        return Err(format!("it has SHA-256 {}, where the registry states {digest}", file.sha256));
    }
    match recorded.filter(|digest| *digest != file.sha256) {
        Some(digest) => Err(format!(
            "it has SHA-256 {}, but {digest} is on record of an earlier import; if the change is meant, run `nexis \
             models remove --forget` first",
            file.sha256
        )),
        None => Ok(()),
    }
}

/// The files of a folder that models are made of.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let local = |e| Error::io(folder, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(local)? {
        let name = entry.map_err(local)?.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if OF_MODELS.iter().any(|end| name.ends_with(end)) && folder.join(name).is_file() {
            names.push(name.to_owned());
        }
    }
    if names.len() > MAX_FILES {
        let why = format!("{} files; a model has at most {MAX_FILES}", names.len());
        return Err(Error::usage(folder.display().to_string(), why));
    }
    names.sort_unstable();
    Ok(names)
}
