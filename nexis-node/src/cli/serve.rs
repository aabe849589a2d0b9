//! `nexis serve`: judge over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nexis_core::Error;
use nexis_node::observe::{LogFormat, LogOptions, Metrics, init};
use nexis_node::serve::{ApiKeys, Limits, ServeOptions, Server, TILES_PER_REQUEST};

use super::validator::{runtime, stop_token};
use super::{EngineArguments, EnsembleArgument, JudgeArguments, in_terminal};
use crate::EXIT_ACCEPTED;

/// Keys by the environment, with commas between.
const KEYS: &str = "NEXIS_API_KEYS";

/// Answer validators, programs and people over HTTP
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8070")]
    bind: SocketAddr,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
    #[command(flatten)]
    judge: JudgeArguments,
    /// Longest time that a picture waits for others to go through the model with it, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=1000))]
    max_wait_ms: u64,
    /// Requests that may wait for a worker; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(0..=4096))]
    queue: u16,
    /// Requests that are worked on at once; by the threads and the batch where not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Folder whose files requests may name; may be given several times
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// File with the keys that open the server, one a line; also NEXIS_API_KEYS, with commas between
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Write one evidence record per verdict into this folder
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Pictures whose embeddings are remembered; 0 for none
    #[arg(long, value_name = "N", default_value_t = 4096)]
    remember: usize,
    /// Longest time for a request, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_seconds: u64,
    /// Largest JSON body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    max_body_mib: u64,
    /// Largest clip or archive that is uploaded, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65536))]
    max_upload_mib: u64,
    /// What is logged, in tracing-subscriber's directives
    #[arg(long, value_name = "FILTER", env = "NEXIS_LOG", default_value = "info")]
    log: String,
    /// Log lines as JSON
    #[arg(long)]
    log_json: bool,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let format = if self.log_json { LogFormat::Json } else { LogFormat::Text };
        init(&LogOptions { format, filter: self.log.clone(), colour: in_terminal() })
            .map_err(|e| Error::usage("--log", e.to_string()))?;
        let stop = stop_token()?;
        let options = self.options()?;
        // Pictures are decoded and cut on this pool; the model has one of its own.
        rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .build_global()
            .context("the pool that decodes pictures")?;
        runtime()?.block_on(async {
            let server = Server::bind(options, Metrics::new(), stop).await?;
            for notice in server.notices() {
                tracing::warn!("{notice}");
            }
            tracing::info!(address = %server.address(), "serving");
            server.serve().await;
            tracing::info!("stopped");
            Ok(EXIT_ACCEPTED)
        })
    }

    fn options(&self) -> anyhow::Result<ServeOptions> {
        let mut keys = match &self.api_key_file {
            Some(file) => ApiKeys::read(file)?,
            None => ApiKeys::default(),
        };
        if let Ok(text) = std::env::var(KEYS) {
            keys = keys.and(ApiKeys::parse(KEYS, &text)?);
        }
        let engine = self.ensemble.beside(self.judge.behind(&self.engine));
        let threads = self.engine.threads();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let busy = if threads == 0 { cores } else { threads };
        // Enough to fill a call of the model while others decode.
        let workers = self.workers.map_or(2 * busy + engine.batch.div_ceil(TILES_PER_REQUEST), usize::from);
        let mib = |mib: u64| mib << 20;
        let time = Duration::from_secs(self.timeout_seconds);
        let defaults = Limits::default();
        let limits = Limits {
            queue: usize::from(self.queue),
            workers,
            body_bytes: mib(self.max_body_mib),
            memory_bytes: defaults.memory_bytes.max(mib(self.max_body_mib)),
            upload_bytes: mib(self.max_upload_mib),
            disk_bytes: defaults.disk_bytes.max(mib(self.max_upload_mib)),
            request_time: time,
            verify_time: time.max(defaults.verify_time),
            grace: time,
            ..defaults
        };
        Ok(ServeOptions {
            threads,
            max_wait: Duration::from_millis(self.max_wait_ms),
            roots: self.root.clone(),
            keys,
            evidence: self.evidence.clone(),
            remembered_pictures: self.remember,
            limits,
            ..ServeOptions::new(self.bind, engine)
        })
    }
}
