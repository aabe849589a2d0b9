//! `nexis models remove`: takes away what was fetched or imported, and nothing else.

use std::io::{self, IsTerminal as _, Write};

use clap::Args;
use nexis_core::Error;
use nexis_core::model::registry::Removal;
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
        let removal = Removal::of(&self.id, &places)?;
        let mut out = io::stdout().lock();
        if let Some(why) = removal.why_not.as_ref().filter(|_| !(self.forget && removal.recorded)) {
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
        removal.run(&places, self.forget)?;
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
