//! `nexis owner`: publish what a validator on this machine accepted.

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, Subcommand};
use nexis_core::Error;
use nexis_core::protocol::IntervalId;
use nexis_node::config::Config;
use nexis_node::observe::Metrics;
use nexis_node::owner::source::{SourceError, accepted, committed, decided};
use nexis_node::owner::{Owner, OwnerOptions};
use nexis_node::parts::{self, Patience};
use nexis_node::state::State;
use nexis_node::store::ObjectStore;
use nexis_node::store::s3::{S3Connector, S3Settings};
use serde_json::json;

use super::OutputArguments;
use super::config::ConfigArguments;
use super::validator::{log, runtime};
use crate::EXIT_ACCEPTED;

/// Publish accepted bundles, the global index and verified clips
#[derive(Args)]
pub(crate) struct OwnerCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Publish every decided interval that is not published yet, oldest first. The validator on this machine must keep
    /// bundles (validator.bundles = true). Bundles and index go to index.bucket, clips to storage.bucket, both with the
    /// write keys of storage. It can be stopped anywhere and goes on
    Sync {
        #[command(flatten)]
        config: ConfigArguments,
        /// Publish no clips
        #[arg(long)]
        no_clips: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
}

impl OwnerCommand {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            What::Sync { config, no_clips, output } => sync(&config.load()?, no_clips, output),
        }
    }
}

fn sync(config: &Config, no_clips: bool, output: OutputArguments) -> anyhow::Result<u8> {
    log(config)?;
    let state = State::look(parts::state_path(config))?;
    let progress = output.progress();
    let done = runtime()?.block_on(async {
        let owner = owner(config, no_clips)?;
        let published = owner.published().await?;
        let waiting: Vec<IntervalId> =
            decided(&state)?.into_iter().filter(|id| !published.contains(id)).collect();
        if waiting.is_empty() {
            return anyhow::Ok(Vec::new());
        }
        progress.stage("publishing", waiting.len() as u64);
        let chain = parts::chain(config, Patience::Bounded)?;
        let head = chain.finalized_head().await?;
        let committed = committed(chain.as_ref(), config.netuid, &head).await?;
        let buckets = parts::stores(config)?.buckets;
        let mut done = Vec::new();
        for interval in waiting {
            let accepted = accepted(&config.data_dir, &state, interval, &committed, buckets.as_ref());
            let accepted = match accepted {
                Ok(accepted) => accepted,
                // Decided before bundles were kept: nothing will ever be there to publish.
                Err(SourceError::Ours(error @ Error::Missing { .. })) => {
                    tracing::warn!(interval = interval.get(), %error, "not published");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            done.extend(owner.sync(interval, &accepted).await?.map(|synced| (interval, synced)));
            progress.advance(1);
        }
        Ok(done)
    })?;
    progress.finish();
    let mut out = io::stdout().lock();
    if output.json {
        let shown: Vec<_> =
            done.iter().map(|(id, synced)| json!({ "interval": id, "published": synced })).collect();
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
    } else if done.is_empty() {
        writeln!(out, "nothing is left to publish")?;
    } else {
        for (interval, synced) in &done {
            let (bundles, starts, clips) = (synced.bundles, synced.index_starts, synced.clips);
            writeln!(
                out,
                "{interval}: {bundles} bundles, {starts} starts, {clips} clips, {} lost",
                synced.lost.len()
            )?;
        }
    }
    Ok(EXIT_ACCEPTED)
}

fn owner(config: &Config, no_clips: bool) -> anyhow::Result<Owner> {
    let named = |bucket: &Option<String>, key: &str| {
        bucket.clone().ok_or_else(|| Error::usage(key, "the owner publishes there, and it is not set"))
    };
    let connector = S3Connector::new(S3Settings::default());
    let storage = &config.storage;
    let open = |account: &Option<String>, bucket: &str| {
        let account = account.as_ref().or(storage.account_id.as_ref()).cloned().unwrap_or_default();
        parts::open_bucket(&connector, storage, &account, bucket, storage.write.as_ref())
    };
    let record_info = open(&config.index.account_id, &named(&config.index.bucket, "index.bucket")?)?;
    let dataset: Option<Arc<dyn ObjectStore>> = if no_clips {
        None
    } else {
        Some(open(&storage.account_id, &named(&storage.bucket, "storage.bucket")?)?)
    };
    let options = OwnerOptions {
        index_key: config.index.key.clone(),
        max_clip_bytes: config.validator.max_clip_bytes,
        ..OwnerOptions::new(config.data_dir.join("publishing"))
    };
    Ok(Owner::new(record_info, dataset, options, Metrics::new()))
}
