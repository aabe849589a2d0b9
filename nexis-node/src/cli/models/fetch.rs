//! `nexis models fetch`: from the hub into the cache that Hugging Face's clients use.

use std::io::{self, Write};

use clap::Args;
use nexis_core::Error;
use nexis_core::model::registry::{ModelPlace, find};
use nexis_node::hub::{self, FetchObserver, Fetched, How, HubSettings};

use super::super::OutputArguments;
use super::super::validator::runtime;
use super::{PlacesArguments, megabytes};
use crate::EXIT_ACCEPTED;
use crate::view::Progress;

/// Fetch models of the registry from the Hugging Face hub
///
/// Files go into the cache of Hugging Face's clients, and digests into models.lock. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
/// HF_TOKEN and HF_HUB_OFFLINE mean what they mean to those clients. A fetch that broke off goes on where it was.
#[derive(Args)]
pub(crate) struct Fetch {
    /// Ids of `nexis models list`
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Also what this version cannot run
    #[arg(long)]
    anyway: bool,
    #[command(flatten)]
    places: PlacesArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Fetch {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let places = self.places.places();
        let settings = HubSettings::from_environment(&|name| std::env::var(name).ok())?;
        let progress = self.output.progress();
        let mut fetched = Vec::new();
        for id in &self.ids {
            let location = find(id, &places)?;
            if location.present && !matches!(location.place, ModelPlace::Hub { .. }) {
                progress.note(&format!("{id} is in {} already", location.directory.display()));
                continue;
            }
            if let Some(obstacle) = location.obstacle().filter(|_| !self.anyway) {
                let why = format!("this version cannot run it: {obstacle}. --anyway fetches it all the same");
                return Err(Error::usage(id, why).into());
            }
            let Some(entry) = &location.entry else { continue };
            let shown = Shown { id, progress: &progress };
            fetched.push(runtime()?.block_on(async {
                tokio::select! {
                    fetched = hub::fetch(entry, &places, &settings, &shown) => {
                        fetched.map_err(anyhow::Error::from)
                    }
                    stopped = tokio::signal::ctrl_c() => {
                        stopped?;
                        Err(anyhow::anyhow!("interrupted; `nexis models fetch {id}` goes on from here"))
                    }
                }
            })?);
            progress.finish();
        }
        self.print(&fetched)?;
        Ok(EXIT_ACCEPTED)
    }

    fn print(&self, fetched: &[Fetched]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, fetched)?;
            writeln!(out)?;
            return Ok(());
        }
        for model in fetched {
            writeln!(out, "{} at commit {}", model.id, model.commit)?;
            for file in &model.files {
                let how = match file.how {
                    How::Present => "was here",
                    How::Downloaded => "fetched",
                    How::Resumed => "fetched, the rest",
                };
                writeln!(out, "  {:<28} {:>10}  {}  {how}", file.name, megabytes(file.bytes), file.sha256)?;
            }
            writeln!(out, "  in {}", model.directory.display())?;
            if model.recorded {
                writeln!(out, "  Its digests are on record now and hold from here on.")?;
            }
        }
        Ok(())
    }
}

/// Progress of one model.
struct Shown<'a> {
    id: &'a str,
    progress: &'a Progress,
}

impl FetchObserver for Shown<'_> {
    fn planned(&self, bytes: u64) {
        self.progress.bytes(&format!("Fetching {}", self.id), bytes);
    }

    fn arrived(&self, bytes: u64) {
        self.progress.reach(bytes);
    }

    fn note(&self, text: &str) {
        self.progress.note(text);
    }
}
