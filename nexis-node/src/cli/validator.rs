//! `nexis validator`: judge the network's miners, and pay by what was found.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use nexis_core::Error;
use nexis_core::protocol::IntervalId;
use nexis_core::report::Verdict;
use nexis_node::config::Config;
use nexis_node::engine;
use nexis_node::observe::{Condition, Health, LogFormat, LogOptions, Metrics, Server, init};
use nexis_node::parts::{self, Patience};
use nexis_node::state::{Identity, State, WeightState};
use nexis_node::validator::{NoHook, Parts, Settings, SystemClock, Validator};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::config::ConfigArguments;
use super::{in_terminal, interval};
use crate::roots::models_roots;
use crate::view::{TextOptions, printable, write_report};
use crate::{EXIT_ACCEPTED, EXIT_UNCHECKED};

/// Longest time between two signs of life: an interval of slow clips takes minutes.
const MAX_SILENCE: Duration = Duration::from_secs(45 * 60);

/// Judge the network's miners interval by interval, and set weights
#[derive(Args)]
pub(crate) struct ValidatorCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Follow the chain until stopped
    Run {
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Judge one interval now; weights are not touched. It ends with 2 where each node of the chain was tried in vain as
    /// often as chain.attempts says, 5 times unless set otherwise, or for two minutes
    Once {
        #[command(flatten)]
        config: ConfigArguments,
        /// The interval: the number of its first block
        #[arg(long, value_name = "ID", value_parser = interval)]
        interval: IntervalId,
        /// Print what would be decided, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What was decided and paid, also while a validator runs
    Status {
        #[command(flatten)]
        config: ConfigArguments,
        /// So many intervals, the latest
        #[arg(long, default_value_t = 10)]
        last: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ValidatorCommand {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            What::Run { config } => run(&config.load()?),
            What::Once { config, interval, dry_run, json } => once(&config.load()?, interval, dry_run, json),
            What::Status { config, last, json } => status(&config.load()?, last, json),
        }
    }
}

/// Log lines on standard error, in the configured form.
pub(super) fn log(config: &Config) -> anyhow::Result<()> {
    let format = if config.log.json { LogFormat::Json } else { LogFormat::Text };
    Ok(init(&LogOptions { format, filter: config.log.filter.clone(), colour: in_terminal() })?)
}

pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Cancelled by SIGTERM or Ctrl-C; a second one ends the process at once, which loses nothing either.
pub(super) fn stop_token() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let raised = stop.clone();
    ctrlc::set_handler(move || {
        if raised.is_cancelled() {
            std::process::exit(130);
        }
        raised.cancel();
    })?;
    Ok(stop)
}

fn run(config: &Config) -> anyhow::Result<u8> {
    log(config)?;
    let stop = stop_token()?;
    let metrics = Metrics::new();
    let needed = [Condition::Chain, Condition::Model, Condition::State, Condition::Hotkey];
    let health = Health::new(MAX_SILENCE, needed);
    // The model first: a node with the wrong one is to stop before it asks anybody for anything.
    let judge = engine::load(config, models_roots(config.model.dir.as_deref()))?;
    health.holds(Condition::Model);
    let (signer, remarks) = parts::signer(config)?;
    for remark in remarks {
        tracing::warn!(%remark, "wallet");
    }
    let hotkey = signer.hotkey().clone();
    health.holds(Condition::Hotkey);
    let state = Arc::new(State::open(parts::state_path(config), &identity(config, Some(hotkey.clone())))?);
    let settings = Settings::new(config, Some(hotkey));
    runtime()?.block_on(async {
        let chain = parts::chain(config, Patience::Following)?;
        let stores = parts::stores(config)?;
        let server = match config.log.metrics {
            Some(address) => Some(Server::bind(address, metrics.clone(), health.clone()).await?),
            None => None,
        };
        let validator = Validator::new(
            Parts {
                signer: Some(signer),
                chain,
                buckets: stores.buckets,
                index: stores.index,
                judge,
                state,
                clock: Arc::new(SystemClock),
                hook: Arc::new(NoHook),
                metrics,
                health,
            },
            settings,
        )?;
        let pages = server.map(|server| {
            tracing::info!(address = %server.address(), "serving metrics and health");
            tokio::spawn(server.serve(stop.clone().cancelled_owned()))
        });
        validator.run(&stop).await?;
        if let Some(pages) = pages {
            pages.await??;
        }
        Ok(EXIT_ACCEPTED)
    })
}

fn once(config: &Config, interval: IntervalId, dry_run: bool, json: bool) -> anyhow::Result<u8> {
    log(config)?;
    let stop = stop_token()?;
    let judge = engine::load(config, models_roots(config.model.dir.as_deref()))?;
    // A hotkey decides whose sample is drawn. Without one, the sample is the one without a validator.
    let hotkey = match parts::signer(config) {
        Ok((signer, _)) => Some(signer.hotkey().clone()),
        Err(e) if dry_run => {
            tracing::warn!(error = %e, "no hotkey; the sample is drawn without a validator");
            None
        }
        Err(e) => return Err(e.into()),
    };
    // A dry run must not touch what a running validator holds, so it gets a state that is thrown away.
    let scratch = if dry_run { Some(tempfile::tempdir()?) } else { None };
    let path =
        scratch.as_ref().map_or_else(|| parts::state_path(config), |folder| folder.path().join("state.redb"));
    let state = Arc::new(State::open(path, &identity(config, hotkey.clone()))?);
    let mut settings = Settings::new(config, hotkey);
    if let Some(folder) = &scratch {
        settings.data_dir = folder.path().to_path_buf();
    }
    runtime()?.block_on(async {
        let chain = parts::chain(config, Patience::Bounded)?;
        let stores = parts::stores(config)?;
        let validator = Validator::new(
            Parts {
                chain: Arc::clone(&chain),
                buckets: stores.buckets,
                index: stores.index,
                judge,
                state: Arc::clone(&state),
                signer: None,
                clock: Arc::new(SystemClock),
                hook: Arc::new(NoHook),
                metrics: Metrics::new(),
                health: Health::new(MAX_SILENCE, []),
            },
            settings,
        )?;
        let head = chain.finalized_head().await?;
        closed(interval, head.number)?;
        let mut out = io::stdout().lock();
        if dry_run {
            let report = validator.dry_run(interval, &stop).await?.report;
            if json {
                serde_json::to_writer_pretty(&mut out, &report)?;
                writeln!(out)?;
            } else {
                write_report(&mut out, &report, &TextOptions::for_stdout())?;
            }
        } else {
            validator.decide(interval, &head, &stop).await?;
            write_decisions(&mut out, &state, interval, json)?;
        }
        Ok(EXIT_ACCEPTED)
    })
}

/// Whether an interval may be judged at a block.
fn closed(interval: IntervalId, block: u64) -> Result<(), Error> {
    match IntervalId::latest_eligible(block) {
        Some(latest) if interval <= latest => Ok(()),
        Some(latest) => {
            let why = format!("it is not closed at block {block}; the latest that may be judged is {latest}");
            Err(Error::usage(format!("interval {interval}"), why))
        }
        None => Err(Error::usage(format!("interval {interval}"), "no interval is closed yet")),
    }
}

fn write_decisions(
    out: &mut impl Write,
    state: &State,
    interval: IntervalId,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &state.reports(interval)?)?;
        writeln!(out)?;
        return Ok(());
    }
    for decision in state.decisions(interval)? {
        let verdict = match decision.verdict {
            Verdict::Accept => "accept",
            Verdict::Reject => "reject",
            Verdict::Inconclusive => "inconclusive",
        };
        let why = if decision.failures.is_empty() { &decision.inconclusive } else { &decision.failures };
        writeln!(
            out,
            "{:<48} {verdict:<12} {:>5}  {}",
            decision.miner_hotkey,
            decision.score,
            printable(&why.join(", "))
        )?;
    }
    Ok(())
}

fn status(config: &Config, last: usize, json: bool) -> anyhow::Result<u8> {
    let state = State::look(parts::state_path(config))?;
    let intervals = state.intervals()?;
    let shown = intervals.get(intervals.len().saturating_sub(last)..).unwrap_or_default();
    let weights = state.weights()?;
    let paid = weights.last();
    let mut out = io::stdout().lock();
    if json {
        let shown: Vec<_> =
            shown.iter().map(|(id, record)| json!({ "interval": id, "record": record })).collect();
        let found = json!({
            "identity": state.identity()?,
            "start": state.start()?,
            "next": state.next()?,
            "intervals": shown,
            "weights": paid,
        });
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        let identity = state.identity()?;
        let hotkey = identity.hotkey.map_or_else(|| "no hotkey".to_owned(), |hotkey| hotkey.to_string());
        writeln!(out, "{hotkey} on subnet {} of {}", identity.netuid, identity.network)?;
        if let Some(next) = state.next()? {
            writeln!(out, "next interval {next}")?;
        }
        for (id, record) in shown {
            let status = format!("{:?}", record.status).to_lowercase();
            writeln!(
                out,
                "{id:<10} {status:<8} {} accepted, {} rejected, {} not checked",
                record.accepted, record.rejected, record.inconclusive
            )?;
        }
        match paid {
            None => writeln!(out, "no weights submitted yet")?,
            Some(record) => {
                let state = match &record.outcome {
                    WeightState::Prepared => format!("not taken yet, {} tries", record.tries),
                    WeightState::InFlight(sent) => format!("sent at block {}, not seen yet", sent.sent_at),
                    WeightState::Committed(p) => format!("committed in block {}, not revealed yet", p.block),
                    WeightState::Confirmed { block } => format!("in force since block {block}"),
                    WeightState::Failed { why } => format!("failed: {}", printable(why)),
                };
                writeln!(
                    out,
                    "weights of block {} for intervals up to {}: {state}",
                    record.slot, record.upto
                )?;
            }
        }
    }
    let failed = paid.is_some_and(|record| matches!(record.outcome, WeightState::Failed { .. }));
    Ok(if failed { EXIT_UNCHECKED } else { EXIT_ACCEPTED })
}

fn identity(config: &Config, hotkey: Option<nexis_core::protocol::Hotkey>) -> Identity {
    Identity { network: config.network.to_string(), netuid: config.netuid, hotkey }
}
