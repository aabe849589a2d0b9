//! `nexis models remove`: takes away what was fetched or imported, and nothing else.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use nexis_core::Error;
use nexis_core::model::registry::{ModelPlace, find};
use nexis_node::hub::{self, Records, Removal};
use serde_json::json;

use super::super::OutputArguments;
use super::{PlacesArguments, megabytes};
use crate::{EXIT_ACCEPTED, EXIT_UNCHECKED};

/// Remove a model that was fetched or imported
///
/// Files that were in the cache before the model was fetched stay, and so do contents that other commits have, and a
/// card that was made here. What is on record stays as well and holds for the next fetch, unless --forget is given.
#[derive(Args)]
pub(crate) struct Remove {
    /// An id of `nexis models list`
    id: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Also forget its digests, so that other files may take its place
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    places: PlacesArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Remove {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let places = self.places.places();
        let location = find(&self.id, &places)?;
        let lock = places.lock()?;
        let source = location.entry.as_ref().and_then(|entry| entry.hub.as_ref());
        let source = source.map(|hub| (hub.repository.as_str(), hub.revision.as_str()));
        let imported = location.place == ModelPlace::Imported;
        let key = if imported { None } else { source };
        let locked = lock.find(&self.id, key);
        let removal = match (locked, &places.hub) {
            (Some(locked), _) if imported => of_folder(&location.directory, locked.files.keys()),
            (Some(locked), Some(cache)) if key.is_some() => hub::removal(cache, locked)?,
            _ => Removal::default(),
        };
        let mut out = io::stdout().lock();
        if removal.files.is_empty() && !(self.forget && locked.is_some()) {
            let why = match location.place {
                _ if !location.present => "it is not here".to_owned(),
                ModelPlace::Root => format!("{} was put there by hand", location.directory.display()),
                _ => "it was in the cache before, and other programs may use it".to_owned(),
            };
            if self.output.json {
                writeln!(out, "{}", json!({ "id": self.id, "removed": [], "why": why }))?;
            } else {
                writeln!(out, "{}: nothing is removed: {why}", self.id)?;
            }
            return Ok(EXIT_ACCEPTED);
        }
        if !self.yes && !removal.files.is_empty() {
            for file in &removal.files {
                writeln!(out, "{}", file.display())?;
            }
            if !self.agreed(&mut out, &removal)? {
                return Ok(EXIT_UNCHECKED);
            }
        }
        removal.run()?;
        let records = Records::new(places.home.as_deref())?;
        if self.forget {
            records.forget(&self.id, key)?;
        } else {
            records.removed(&self.id, key)?;
        }
        if self.output.json {
            writeln!(out, "{}", json!({ "id": self.id, "removed": removal.files, "bytes": removal.bytes }))?;
        } else {
            let (files, size) = (removal.files.len(), megabytes(removal.bytes));
            writeln!(out, "{}: {files} files removed, {size} freed", self.id)?;
        }
        Ok(EXIT_ACCEPTED)
    }

    /// Asks who sits at the terminal.
    fn agreed(&self, out: &mut impl Write, removal: &Removal) -> anyhow::Result<bool> {
        if !io::stdin().is_terminal() || self.output.json {
            let why = "nobody is there to be asked; --yes removes these files without asking";
            return Err(Error::usage(self.id.clone(), why).into());
        }
        write!(out, "Remove these {} files ({})? [y/N] ", removal.files.len(), megabytes(removal.bytes))?;
        out.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// The imported files of a folder; the model's mark goes first, so that nobody takes half of it for a model.
fn of_folder<'a>(folder: &std::path::Path, names: impl Iterator<Item = &'a String>) -> Removal {
    let mut files: Vec<PathBuf> = names.map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
    files.sort_by_key(|path| !path.ends_with("config.json"));
    let bytes = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    Removal { files, bytes }
}
