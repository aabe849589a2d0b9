//! `nexis miner`: pack, upload, commit, and look at what validators will find.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use chrono::Utc;
use clap::{Args, Subcommand};
use nexis_core::Error;
use nexis_core::commitment::Credentials;
use nexis_core::media::{FfmpegDecoder, Frame};
use nexis_core::pack::{self, Advice, PackFailure, PackItem, PackObserver, PackOptions};
use nexis_core::package::{DirectorySource, ExpectedMiner};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::RowReport;
use nexis_core::verifier::{Observer, Submission, Verifier, VerifierOptions};
use nexis_node::config::Config;
use nexis_node::miner::{
    CommitOptions, CommitOutcome, Committed, Upload, UploadOptions, bucket_status, chain_status, commit,
};
use nexis_node::parts::{self, Patience};
use nexis_node::store::ObjectStore;
use nexis_node::store::s3::{S3Connector, S3Settings};
use serde_json::json;

use super::config::ConfigArguments;
use super::validator::runtime;
use super::{
    EngineArguments, EnsembleArgument, OutputArguments, PolicyArgument, address, interrupt_flag, interval,
    read_named, unread,
};
use crate::view::{Progress, complain, printable};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED, EXIT_UNCHECKED};

/// Largest list of items that is read, in bytes.
const MAX_ITEMS_BYTES: u64 = 256 << 20;

/// Pack clips, upload packages, commit read credentials, and see what validators will find
#[derive(Args)]
pub(crate) struct MinerCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    Pack(Pack),
    /// Put a package into the bucket, its manifest last; what is there already is not sent again
    Upload {
        /// Folder of the bucket, in which the interval's folder is
        bucket: PathBuf,
        /// The interval
        #[arg(long, value_name = "ID", value_parser = interval)]
        interval: IntervalId,
        /// Replace another package of the same interval
        #[arg(long)]
        replace: bool,
        /// Files on their way at once
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
        concurrency: u8,
        #[command(flatten)]
        config: ConfigArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Commit the bucket's read credentials on chain, unless they are there
    Commit {
        #[command(flatten)]
        config: ConfigArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// What is in the bucket for an interval, and whether the chain's commitment is what is configured
    Status {
        /// The interval; the present one where not given
        #[arg(long, value_name = "ID", value_parser = interval)]
        interval: Option<IntervalId>,
        #[command(flatten)]
        config: ConfigArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// Make a package of clips and captions
#[derive(Args)]
struct Pack {
    /// JSON array of items, each with clip, caption, source_video_url and clip_start_sec; clips are found beside it
    items: PathBuf,
    /// Folder of the bucket, in which the interval's folder is made
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The interval
    #[arg(long, value_name = "ID", value_parser = interval)]
    interval: IntervalId,
    /// The miner; the wallet's hotkey where not given
    #[arg(long, value_name = "SS58")]
    hotkey: Option<String>,
    /// What becomes of clips of another size or length: refuse, letterbox or crop
    #[arg(long, default_value = "refuse")]
    fit: String,
    /// Replace a package that is already there
    #[arg(long)]
    overwrite: bool,
    /// Judge every row of the result, and say what a validator would reject
    #[arg(long)]
    check: bool,
    /// Which checks reject, with --check
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyArgument,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl MinerCommand {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            What::Pack(pack) => pack.run(),
            What::Upload { bucket, interval, replace, concurrency, config, output } => {
                let options = UploadOptions { concurrency: usize::from(concurrency), replace };
                upload(&config.load()?, &bucket, interval, &options, output)
            }
            What::Commit { config, output } => commit_credentials(&config.load()?, output),
            What::Status { interval, config, output } => status(&config.load()?, interval, output),
        }
    }
}

impl Pack {
    fn run(self) -> anyhow::Result<u8> {
        let config = self.config.load()?;
        let hotkey = address("--hotkey", self.hotkey.as_deref())?;
        let items = read_items(&self.items)?;
        let hotkey = match hotkey {
            Some(hotkey) => hotkey,
            None => own_hotkey(&config)?,
        };
        let mut options = PackOptions::new(hotkey.clone(), self.interval, Utc::now());
        options.fit = self.fit.parse()?;
        options.overwrite = self.overwrite;
        options.netuid = u64::from(config.netuid);
        let watch = Watch { progress: self.output.progress(), interrupted: interrupt_flag()? };
        let made = self.engine.in_pool(|| {
            watch.progress.stage("packing", items.len() as u64);
            let packed = match pack::pack(&items, &self.out, &options, &FfmpegDecoder::default(), &watch) {
                Ok(packed) => packed,
                Err(PackFailure::Items(problems)) => {
                    complain(&anyhow::Error::msg(PackFailure::Items(problems).to_string()));
                    return Ok(None);
                }
                Err(PackFailure::Other(error)) => return Err(error.into()),
            };
            let records = packed.records();
            if !self.check {
                return Ok(Some((Advice::of_rows(&records, &options.spec), packed)));
            }
            watch.progress.stage("judging rows", records.len() as u64);
            let verifier_options =
                VerifierOptions { policy: self.policy.into(), all_rows: true, ..VerifierOptions::default() };
            let submission = Submission {
                miner: ExpectedMiner::Hotkey(hotkey.clone()),
                interval: packed.manifest.interval_id,
                label: hotkey.to_string(),
                source: Arc::new(DirectorySource::new(&self.out)),
            };
            let verifier =
                Verifier::new(self.ensemble.beside(self.engine.options()).judge()?, verifier_options);
            let report = verifier.verify(&[submission], Utc::now(), &watch)?;
            let found = report.submissions.first().context("no decision on the package")?;
            if let Some(why) = found.inconclusive.first() {
                bail!("the package is made, and could not be checked: {why}");
            }
            Ok(Some((Advice::new(&records, &found.reasons, &found.warnings), packed)))
        })?;
        watch.progress.finish();
        let Some((advice, packed)) = made else { return Ok(EXIT_REJECTED) };
        let problems = || advice.package.iter().chain(advice.rows.iter().flatten());
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(
                &mut out,
                &json!({ "folder": packed.folder, "manifest": packed.manifest, "rows": packed.rows, "advice": advice }),
            )?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}: {} rows", packed.folder.display(), packed.rows.len())?;
            for problem in problems() {
                let what = if problem.rejects { "rejected" } else { "warning" };
                let text = format!("{what}: {}: {}", problem.code, problem.remedy);
                writeln!(out, "  {}", printable(&text))?;
            }
        }
        Ok(if problems().any(|problem| problem.rejects) { EXIT_REJECTED } else { EXIT_ACCEPTED })
    }
}

/// Items from a JSON array. Their clips are found beside it.
fn read_items(path: &Path) -> anyhow::Result<Vec<PackItem>> {
    let size = std::fs::metadata(path).map_err(|e| unread(path, e))?.len();
    if size > MAX_ITEMS_BYTES {
        return Err(Error::usage(path.display().to_string(), "it is too large for a list of items").into());
    }
    let bytes = read_named(path)?;
    let mut items: Vec<PackItem> = serde_json::from_slice(&bytes).map_err(|e| {
        Error::usage(path.display().to_string(), format!("a JSON array of items is expected: {e}"))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for item in &mut items {
        item.clip = folder.join(&item.clip);
    }
    Ok(items)
}

/// Sees packing and judging.
struct Watch {
    progress: Progress,
    interrupted: Arc<AtomicBool>,
}

impl PackObserver for Watch {
    fn packed(&self, _: usize, _: usize) {
        self.progress.advance(1);
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

impl Observer for Watch {
    fn row_judged(&self, _: &Hotkey, _: IntervalId, _: &RowReport, _: &[Frame]) {
        self.progress.advance(1);
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

fn own_hotkey(config: &Config) -> anyhow::Result<Hotkey> {
    let (pair, notes) = parts::signer(config)?;
    for note in notes {
        complain(&anyhow::Error::msg(note));
    }
    Ok(pair.hotkey().clone())
}

/// The miner's own bucket, with the keys that write it.
fn own_bucket(config: &Config, hotkey: &Hotkey) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let storage = &config.storage;
    let bucket = storage.bucket.clone().unwrap_or_else(|| hotkey.bucket_name());
    let account = match (&storage.folder, &storage.account_id) {
        (None, None) if storage.endpoint.contains("{account_id}") => {
            return Err(Error::usage("storage.account_id", "it is not set; set R2_ACCOUNT_ID").into());
        }
        (_, account) => account.clone().unwrap_or_default(),
    };
    let connector = S3Connector::new(S3Settings::default());
    let keys = storage.write.as_ref().or(storage.read.as_ref());
    Ok(parts::open_bucket(&connector, storage, &account, &bucket, keys)?)
}

/// The read credentials that are configured.
fn read_credentials(config: &Config) -> anyhow::Result<Option<Credentials>> {
    let storage = &config.storage;
    let (Some(account), Some(keys)) = (&storage.account_id, &storage.read) else { return Ok(None) };
    Ok(Some(Credentials::new(account, keys.access_key.expose(), keys.secret_key.expose())?))
}

fn upload(
    config: &Config,
    folder: &Path,
    interval: IntervalId,
    options: &UploadOptions,
    output: OutputArguments,
) -> anyhow::Result<u8> {
    if !folder.is_dir() {
        return Err(Error::usage(folder.display().to_string(), "there is no such folder").into());
    }
    let hotkey = own_hotkey(config)?;
    let upload = Upload::plan(folder, interval, &hotkey)?;
    let progress = output.progress();
    progress.stage("uploading", upload.objects() as u64);
    let done = runtime()?.block_on(async {
        let store = own_bucket(config, &hotkey)?;
        upload.run(store.as_ref(), options, &|_, _| progress.advance(1)).await.map_err(anyhow::Error::from)
    })?;
    progress.finish();
    let mut out = io::stdout().lock();
    if output.json {
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
    } else {
        let (sent, skipped, bytes) = (done.sent, done.skipped, done.sent_bytes);
        writeln!(out, "interval {interval}: {sent} files sent ({bytes} bytes), {skipped} were there")?;
    }
    Ok(EXIT_ACCEPTED)
}

fn commit_credentials(config: &Config, output: OutputArguments) -> anyhow::Result<u8> {
    let Some(credentials) = read_credentials(config)? else {
        let why = "set R2_ACCOUNT_ID, R2_READ_ACCESS_KEY_ID and R2_READ_SECRET_ACCESS_KEY";
        return Err(Error::usage("read credentials of the bucket", why).into());
    };
    let (signer, notes) = parts::signer(config)?;
    for note in notes {
        complain(&anyhow::Error::msg(note));
    }
    let outcome = runtime()?.block_on(async {
        let chain = parts::chain(config, Patience::Bounded)?;
        commit(chain.as_ref(), &signer, config.netuid, &credentials, &CommitOptions::default())
            .await
            .map_err(anyhow::Error::from)
    })?;
    let mut out = io::stdout().lock();
    match (output.json, outcome) {
        (true, CommitOutcome::Unchanged) => writeln!(out, "{}", json!({ "changed": false }))?,
        (true, CommitOutcome::Committed { block }) => {
            writeln!(out, "{}", json!({ "changed": true, "block": block }))?;
        }
        (false, CommitOutcome::Unchanged) => writeln!(out, "the chain has these credentials already")?,
        (false, CommitOutcome::Committed { block }) => writeln!(out, "committed, seen in block {block}")?,
    }
    Ok(EXIT_ACCEPTED)
}

fn status(config: &Config, interval: Option<IntervalId>, output: OutputArguments) -> anyhow::Result<u8> {
    let hotkey = own_hotkey(config)?;
    let configured = read_credentials(config)?;
    let (interval, bucket, on_chain) = runtime()?.block_on(async {
        let chain = parts::chain(config, Patience::Bounded)?;
        let on_chain = chain_status(chain.as_ref(), config.netuid, &hotkey, configured.as_ref()).await?;
        let interval = interval.unwrap_or_else(|| IntervalId::containing(on_chain.block));
        let store = own_bucket(config, &hotkey)?;
        let bucket = bucket_status(store.as_ref(), interval, &hotkey).await?;
        anyhow::Ok((interval, bucket, on_chain))
    })?;
    let well = bucket.is_whole() && on_chain.uid.is_some() && on_chain.commitment == Committed::Same;
    let mut out = io::stdout().lock();
    if output.json {
        let shown = json!({ "hotkey": hotkey, "interval": interval, "bucket": bucket, "chain": on_chain });
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
    } else {
        writeln!(out, "hotkey      {hotkey}")?;
        match on_chain.uid {
            Some(uid) => writeln!(out, "registered  as uid {uid} in subnet {}", config.netuid)?,
            None => writeln!(out, "registered  NO, not in subnet {}", config.netuid)?,
        }
        let commitment = match on_chain.commitment {
            Committed::Same => "the configured credentials",
            Committed::Different => "OTHER credentials than those configured; run nexis miner commit",
            Committed::Malformed => "NO credentials; run nexis miner commit",
            Committed::Nothing => "NOTHING; run nexis miner commit",
        };
        writeln!(out, "committed   {commitment}")?;
        let rows = bucket.rows.map_or("no".to_owned(), |rows| rows.to_string());
        writeln!(
            out,
            "interval    {interval}: {rows} rows, {} files, {} bytes",
            bucket.objects, bucket.bytes
        )?;
        if let Some(at) = bucket.submitted_at {
            writeln!(out, "submitted   {at}")?;
        }
        for problem in &bucket.problems {
            writeln!(out, "problem     {}", printable(problem))?;
        }
    }
    Ok(if well { EXIT_ACCEPTED } else { EXIT_UNCHECKED })
}
