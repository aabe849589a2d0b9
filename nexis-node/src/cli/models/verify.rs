//! `nexis models verify`: whether files are what is on record.

use std::io::{self, Write};

use clap::Args;
use nexis_core::model::registry::{FileCheck, FileState, ModelLocation, find, list, verify};
use serde_json::{Value, json};

use super::super::OutputArguments;
use super::PlacesArguments;
use crate::{EXIT_ACCEPTED, EXIT_REJECTED, EXIT_UNCHECKED};

/// Compare the digests of models' files with those on record
///
/// Exit status 0: all are the ones on record. 1: one is another. 2: something is missing, or nothing is on record.
#[derive(Args)]
pub(crate) struct Verify {
    /// Ids of `nexis models list`; all fetched and imported ones where not given
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    places: PlacesArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let places = self.places.places();
        let models: Vec<ModelLocation> = if self.ids.is_empty() {
            let known = list(&places)?.into_iter();
            known.filter(|model| model.present && !model.expected.is_empty()).collect()
        } else {
            self.ids.iter().map(|id| find(id, &places)).collect::<nexis_core::Result<_>>()?
        };
        if models.is_empty() && !self.output.json {
            writeln!(io::stderr(), "nothing to compare: no model was fetched or imported")?;
        }
        let progress = self.output.progress();
        let mut status = EXIT_ACCEPTED;
        let mut results: Vec<Value> = Vec::new();
        let mut out = io::stdout().lock();
        for model in &models {
            progress.bytes(&format!("Reading {}", model.id), 0);
            let checks = verify(model, &|bytes| progress.advance(bytes))?;
            progress.finish();
            if checks.is_empty() {
                status = worse(status, EXIT_UNCHECKED);
            }
            for check in &checks {
                status = worse(
                    status,
                    match check.state {
                        FileState::Same => EXIT_ACCEPTED,
                        FileState::Differs { .. } => EXIT_REJECTED,
                        _ => EXIT_UNCHECKED,
                    },
                );
            }
            if self.output.json {
                results.push(json!({ "id": model.id, "directory": model.directory, "files": checks }));
                continue;
            }
            writeln!(out, "{} in {}", model.id, model.directory.display())?;
            if checks.is_empty() {
                writeln!(
                    out,
                    "  nothing is on record of it: the registry states no digests, and it was not fetched"
                )?;
            }
            for FileCheck { name, state } in &checks {
                let said = match state {
                    FileState::Same => "as on record".to_owned(),
                    FileState::Missing => "missing".to_owned(),
                    FileState::Unrecorded { found } => format!("nothing on record; it has SHA-256 {found}"),
                    FileState::Differs { expected, found } => {
                        format!("another: SHA-256 {found}, and {expected} on record")
                    }
                };
                writeln!(out, "  {name:<28} {said}")?;
            }
            let fetchable = model.entry.as_ref().is_some_and(|entry| entry.hub.is_some());
            if fetchable && checks.iter().any(|check| check.state != FileState::Same) {
                writeln!(out, "  `nexis models fetch {}` gets what is missing or damaged", model.id)?;
            }
        }
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &results)?;
            writeln!(out)?;
        }
        Ok(status)
    }
}

/// The status that says more: another file counts for more than a missing one.
fn worse(a: u8, b: u8) -> u8 {
    let weight = |status| match status {
        EXIT_REJECTED => 2,
        EXIT_UNCHECKED => 1,
        _ => 0,
    };
    if weight(b) > weight(a) { b } else { a }
}
