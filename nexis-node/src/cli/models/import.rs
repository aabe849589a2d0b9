//! `nexis models import`: a folder that came another way.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use nexis_core::Error;
use nexis_core::model::registry::{import, is_id, list};

use super::super::OutputArguments;
use super::PlacesArguments;
use crate::EXIT_ACCEPTED;

/// Copy a model's folder to the user's own models, and put its digests on record
#[derive(Args)]
pub(crate) struct Import {
    /// The folder
    dir: PathBuf,
    /// The id to find it by; one that the registry knows, or a new one. The folder's name where not given
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    places: PlacesArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Import {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if !self.dir.is_dir() {
            return Err(Error::usage(self.dir.display().to_string(), "there is no such folder").into());
        }
        let named = self.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_str()?.to_owned()));
        let id = self.id.or(named).unwrap_or_default();
        if !is_id(&id) {
            let why = "letters, digits, '-', '_' and '.' are expected, with at most one '/'; give another with --id";
            return Err(Error::usage(format!("id {id:?}"), why).into());
        }
        let places = self.places.places();
        let known = list(&places)?.into_iter().find(|location| location.id == id);
        let progress = self.output.progress();
        progress.stage(&format!("Copying {id}"), 0);
        let imported = import(&self.dir, &id, known.and_then(|known| known.entry).as_ref(), &places)?;
        progress.finish();
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &imported)?;
            writeln!(out)?;
            return Ok(EXIT_ACCEPTED);
        }
        writeln!(out, "{id} is in {}", imported.directory.display())?;
        for (name, digest) in &imported.files {
            writeln!(out, "  {name:<28} {digest}")?;
        }
        Ok(EXIT_ACCEPTED)
    }
}
