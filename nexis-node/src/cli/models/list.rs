//! `nexis models list`: what is known, what is here, and what can run.

use std::io::{self, Write};

use clap::Args;
use nexis_core::model::registry::{ModelReport, list};

use super::{PlacesArguments, megabytes};
use crate::EXIT_ACCEPTED;

/// What the registry knows, what is here, and what this version can run
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    places: PlacesArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let models: Vec<ModelReport> = list(&self.places.places())?.iter().map(ModelReport::from).collect();
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &models)?;
            writeln!(out)?;
            return Ok(EXIT_ACCEPTED);
        }
        let width = models.iter().map(|model| model.id.len()).max().unwrap_or(0).max("model".len());
        let [kind, runs, state, size, licence] = ["kind", "runs", "state", "size", "licence"];
        writeln!(out, "{:<width$}  {kind:<10} {runs:<8} {state:<9} {size:>9}  {licence}", "model")?;
        for model in &models {
            let runs = if model.runs { "yes" } else { "not yet" };
            let state = if model.present { "here" } else { "not here" };
            let (kind, size) = (model.kind.name(), model.bytes.map(megabytes).unwrap_or_default());
            let licence = model.licence.as_deref().unwrap_or_default();
            writeln!(out, "{:<width$}  {kind:<10} {runs:<8} {state:<9} {size:>9}  {licence}", model.id)?;
            if let Some(note) = &model.note {
                writeln!(out, "    {note}")?;
            }
            if let Some(obstacle) = &model.obstacle {
                writeln!(out, "    Does not run: {obstacle}.")?;
            }
        }
        Ok(EXIT_ACCEPTED)
    }
}
