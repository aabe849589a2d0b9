//! `nexis models`: which models there are, and getting, checking and removing them.

mod fetch;
mod import;
mod list;
mod remove;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nexis_core::model::registry::ModelPlaces;

use crate::roots::models_roots;

/// List, fetch, import, verify and remove models
#[derive(Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand)]
enum ModelsCommand {
    List(list::List),
    Fetch(fetch::Fetch),
    Import(import::Import),
    Verify(verify::Verify),
    Remove(remove::Remove),
}

impl Models {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            ModelsCommand::List(command) => command.run(),
            ModelsCommand::Fetch(command) => command.run(),
            ModelsCommand::Import(command) => command.run(),
            ModelsCommand::Verify(command) => command.run(),
            ModelsCommand::Remove(command) => command.run(),
        }
    }
}

/// Where models are.
#[derive(Args)]
struct PlacesArguments {
    /// Folder that holds registry.toml; also NEXIS_MODELS; searched for where not given
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl PlacesArguments {
    fn places(&self) -> ModelPlaces {
        models_roots(self.models_dir.as_deref())
    }
}

/// Bytes for people: `577.1 MB`.
fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
