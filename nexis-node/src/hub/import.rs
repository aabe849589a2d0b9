//! Models that came another way: a folder's files are copied to where they are found, and their digests written down.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nexis_core::hash::Digest;
use nexis_core::model::registry::{
    HubFile, LockedFile, LockedModel, ModelEntry, ModelKind, ModelPlaces, is_id, kind_of,
};

use super::cache::make_folder;
use super::file::Content;
use super::records::Records;
use super::{HubError, HubErrorKind, Result};

/// Most files of a model.
const MAX_FILES: usize = 64;
/// Ends of the names of files that models are made of.
const OF_MODELS: [&str; 6] = [".json", ".safetensors", ".gguf", ".txt", ".model", ".toml"];
/// What makes a folder a model's, and so comes last.
const MARK: &str = "config.json";

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
    let local = |why: String| HubError::new(HubErrorKind::Local, why);
    if !is_id(id) {
        return Err(local(format!(
            "{id:?}: an id has letters, digits, '-', '_' and '.', with at most one '/'"
        )));
    }
    let Some(to) = places.imported(id) else {
        return Err(local("no folder for models is known: set HOME, or NEXIS_HOME".to_owned()));
    };
    // Where the hub's files are of no use, others are meant.
    let stated = entry.filter(|entry| entry.obstacle.is_none()).and_then(|entry| entry.hub.as_ref());
    let stated = stated.map(|hub| hub.files.as_slice());
    let names = match stated {
        Some(files) => files.iter().map(|file| file.name.clone()).collect(),
        None => names_in(folder)?,
    };
    if stated.is_none() && !names.iter().any(|name| name == MARK) {
        return Err(local(format!("{}: there is no {MARK}, so it is no model's folder", folder.display())));
    }
    let kind = entry.map(|entry| entry.kind).or_else(|| kind_of(folder));
    let kind = kind.ok_or_else(|| {
        local(format!("{}: the model_type in its {MARK} is not known here", folder.display()))
    })?;
    let lock = places.lock().map_err(|e| local(e.to_string()))?;
    let on_record = lock.find(id, None);

    let mut contents = BTreeMap::new();
    for name in &names {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(local(format!("{}: it is missing, and the model needs it", path.display())));
        }
        let content = Content::of(&path).map_err(|e| HubError::local(&path, &e))?;
        let stated = stated.and_then(|files| files.iter().find(|file| file.name == *name));
        let recorded = on_record.and_then(|model| model.files.get(name)).map(|file| file.sha256);
        accept(&path, &content, stated, recorded)?;
        contents.insert(name.clone(), content);
    }
    make_folder(&to)?;
    // The mark comes last: until then, nobody takes the folder for a model's.
    let (marks, others): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| *name == MARK);
    for name in others.into_iter().chain(marks) {
        let content = contents.get(name).map(|content| content.sha256);
        copy(&folder.join(name), &to.join(name), content)?;
    }
    let files = contents.iter().map(|(name, content)| {
        (name.clone(), LockedFile { bytes: content.bytes, sha256: content.sha256, fetched: false })
    });
    let locked = LockedModel { id: id.to_owned(), kind, hub: None, files: files.collect() };
    Records::new(places.home.as_deref())?.put(locked)?;
    let files = contents.into_iter().map(|(name, content)| (name, content.sha256)).collect();
    Ok(Imported { id: id.to_owned(), kind, directory: to, files })
}

fn accept(path: &Path, content: &Content, stated: Option<&HubFile>, recorded: Option<Digest>) -> Result<()> {
    let changed = |why: String| HubError::new(HubErrorKind::Changed, format!("{}: {why}", path.display()));
    if let Some(bytes) = stated.and_then(|file| file.bytes).filter(|bytes| *bytes != content.bytes) {
        return Err(changed(format!("it has {} bytes, where the registry states {bytes}", content.bytes)));
    }
    if let Some(digest) = stated.and_then(|file| file.sha256).filter(|digest| *digest != content.sha256) {
        return Err(changed(format!(
            "it has SHA-256 {}, where the registry states {digest}",
            content.sha256
        )));
    }
    match recorded.filter(|digest| *digest != content.sha256) {
        Some(digest) => Err(changed(format!(
            "it has SHA-256 {}, but {digest} is on record of an earlier import; if the change is meant, run \
             `nexis models remove --forget` first",
            content.sha256
        ))),
        None => Ok(()),
    }
}

/// The files of a folder that models are made of.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let local = |e: io::Error| HubError::local(folder, &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(local)? {
        let name = entry.map_err(local)?.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if OF_MODELS.iter().any(|end| name.ends_with(end)) && folder.join(name).is_file() {
            names.push(name.to_owned());
        }
    }
    if names.len() > MAX_FILES {
        let what = format!("{}: {} files; a model has at most {MAX_FILES}", folder.display(), names.len());
        return Err(HubError::new(HubErrorKind::Local, what));
    }
    names.sort_unstable();
    Ok(names)
}

/// Copies a file, whole or not at all, and reads the copy back.
fn copy(from: &Path, to: &Path, expected: Option<Digest>) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    make_folder(folder)?;
    let local = |e: io::Error| HubError::local(to, &e);
    let mut source = File::open(from).map_err(|e| HubError::local(from, &e))?;
    // With the usual rights: a service under another name may have to read it.
    let mut fresh = tempfile::Builder::new()
        .prefix(".copy-")
        .make_in(folder, |path| File::options().write(true).create_new(true).open(path))
        .map_err(local)?;
    io::copy(&mut source, fresh.as_file_mut()).map_err(local)?;
    let path = fresh.into_temp_path();
    let copied = Content::of(&path).map_err(local)?;
    if expected.is_some_and(|digest| digest != copied.sha256) {
        return Err(local(io::Error::other(format!("{} changed while it was copied", from.display()))));
    }
    path.persist(to).map_err(|e| local(e.error))
}
