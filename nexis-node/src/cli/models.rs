//! `nexis models`: which models there are.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use nexis_core::model::registry::list;
use serde_json::json;

use crate::EXIT_ACCEPTED;
use crate::roots::models_roots;

/// List the models of the registry
#[derive(Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// What the registry knows, and whether it is here
    List {
        /// Folder that holds registry.toml
        #[arg(long, value_name = "DIR", env = "NEXIS_MODELS")]
        models_dir: Option<std::path::PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Models {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let ModelsCommand::List { models_dir: given, json } = self.command;
        let models = list(&models_roots(given.as_deref()))?;
        let mut out = io::stdout().lock();
        if json {
            let models: Vec<_> = models
                .iter()
                .map(|m| {
                    let entry = m.entry.as_ref();
                    json!({
                        "id": m.id,
                        "directory": m.directory,
                        "present": m.present,
                        "demonstration": m.demonstration(),
                        "licence": entry.map(|e| &e.licence),
                        "note": entry.map(|e| &e.note),
                    })
                })
                .collect();
            serde_json::to_writer_pretty(&mut out, &models)?;
            writeln!(out)?;
            return Ok(EXIT_ACCEPTED);
        }
        for model in models {
            let state = if model.present { "here" } else { "not here" };
            let entry = model.entry.as_ref();
            let licence = entry.map_or("", |e| e.licence.as_str());
            writeln!(out, "{:<20} {:<9} {:<12} {}", model.id, state, licence, model.directory.display())?;
            if let Some(entry) = entry {
                writeln!(out, "    {}", entry.note)?;
            }
        }
        Ok(EXIT_ACCEPTED)
    }
}
