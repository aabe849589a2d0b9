//! `nexis devnet`: a whole network on this machine.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use nexis_core::Error;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;
use nexis_node::config::Network;
use nexis_node::devnet::{self, FaultKind, IntervalOutcome, MAX_MINERS, Options, Outcome, Plan, Watch};
use nexis_node::engine;
use nexis_node::observe::{self, LogOptions};
use nexis_node::owner::Synced;
use tokio_util::sync::CancellationToken;

use super::{EngineArguments, EnsembleArgument, OutputArguments};
use crate::view::Progress;
use crate::{EXIT_ACCEPTED, EXIT_REJECTED};

/// Run a whole network on this machine: chain, S3 server, miners honest and not, validator, owner, weights
#[derive(Args)]
pub(crate) struct Devnet {
    /// Miners; two of five are not honest
    #[arg(long, value_name = "N", default_value_t = 35, value_parser = clap::value_parser!(u16).range(1..=MAX_MINERS as i64))]
    miners: u16,
    /// Intervals
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    intervals: u64,
    /// Rows of each package; up to three are judged
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=100))]
    rows: u64,
    /// What goes wrong on purpose: network, chain, disk
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    faults: Vec<FaultKind>,
    /// The subnet takes weights only committed, sealed to a later round of randomness, as the live network does
    #[arg(long)]
    commit_reveal: bool,
    /// Everything follows from it; the same seed gives the same outcome, faults or not
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder to run in, which is kept; a run that was ended there goes on. Without it nothing is kept
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of drawn clips, to be used again by other runs
    #[arg(long, value_name = "DIR")]
    clips: Option<PathBuf>,
    /// What is logged on standard error, as in info or nexis_node=debug; nothing where not given
    #[arg(long, value_name = "FILTER", env = "NEXIS_LOG")]
    log: Option<String>,
    /// Log lines as JSON
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
    #[command(flatten)]
    output: OutputArguments,
}

impl Devnet {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if let Some(filter) = &self.log {
            let format = if self.log_json { observe::LogFormat::Json } else { observe::LogFormat::Text };
            observe::init(&LogOptions { format, filter: filter.clone(), colour: false })
                .map_err(|e| Error::usage("--log", e.to_string()))?;
        }
        // Removed when this ends.
        let temporary = match &self.out {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("making a folder for the run")?),
        };
        let out = match (&self.out, &temporary) {
            (Some(out), _) => out.clone(),
            (None, Some(folder)) => folder.path().to_path_buf(),
            (None, None) => PathBuf::from("devnet-out"),
        };
        let plan = Plan {
            seed: self.seed,
            miners: usize::from(self.miners),
            intervals: self.intervals,
            rows: self.rows,
            commit_reveal: self.commit_reveal,
        };
        let options = Options {
            clips: self.clips.clone().unwrap_or_else(|| out.join("clips")),
            out,
            faults: self.faults.iter().copied().collect(),
            threads: self.engine.threads(),
        };
        let view =
            View { progress: self.output.progress(), intervals: self.intervals, table: !self.output.json };
        view.progress.stage("loading the model", 0);
        let judge = self.ensemble.beside(self.engine.options()).judge()?;
        engine::admit(&judge, Network::Devnet, &Default::default())?;
        let outcome = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("starting the async runtime")?
            .block_on(async {
                let stop = CancellationToken::new();
                let interrupted = stop.clone();
                tokio::spawn(async move {
                    if tokio::signal::ctrl_c().await.is_ok() {
                        interrupted.cancel();
                    }
                });
                devnet::run(&plan, &options, judge, &view, &stop).await
            })?;
        view.progress.finish();
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &outcome)?;
            writeln!(out)?;
        } else {
            write_outcome(&mut out, &outcome)?;
        }
        Ok(if outcome.surprises.is_empty() { EXIT_ACCEPTED } else { EXIT_REJECTED })
    }
}

/// Progress, and a line for each interval as soon as it is decided.
struct View {
    progress: Progress,
    intervals: u64,
    table: bool,
}

impl Watch for View {
    fn packing(&self, at: u64, interval: IntervalId) {
        self.progress.stage(&format!("interval {interval} ({} of {})", at + 1, self.intervals), 0);
    }

    fn decided(&self, at: u64, outcome: &IntervalOutcome, synced: Option<&Synced>) {
        if !self.table {
            return;
        }
        let mut out = io::stdout().lock();
        // Nobody reads where the pipe is closed; the end of the command says so.
        let _ = write_interval(&mut out, at, outcome, synced);
    }
}

fn write_interval(
    out: &mut dyn Write,
    at: u64,
    outcome: &IntervalOutcome,
    synced: Option<&Synced>,
) -> io::Result<()> {
    if at == 0 {
        writeln!(
            out,
            "interval   accepted  rejected  unchecked  rows passed  rows dropped  clips published"
        )?;
    }
    let count = |verdict| outcome.decisions.iter().filter(|d| d.verdict == verdict).count();
    let sum = |of: fn(&devnet::ShownDecision) -> usize| outcome.decisions.iter().map(of).sum::<usize>();
    writeln!(
        out,
        "{:<10} {:>8}  {:>8}  {:>9}  {:>11}  {:>12}  {:>15}",
        outcome.id,
        count(Verdict::Accept),
        count(Verdict::Reject),
        count(Verdict::Inconclusive),
        sum(|d| d.passed_sample_count),
        sum(|d| d.pruned_rows),
        synced.map_or("before".to_owned(), |synced| synced.clips.to_string()),
    )?;
    out.flush()
}

fn write_outcome(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let mut verdicts: BTreeMap<&Hotkey, String> = BTreeMap::new();
    for decision in outcome.intervals.iter().flat_map(|interval| &interval.decisions) {
        let sign = match decision.verdict {
            Verdict::Accept => char::from_digit(decision.passed_sample_count as u32, 36).unwrap_or('+'),
            Verdict::Reject => '-',
            Verdict::Inconclusive => '?',
        };
        verdicts.entry(&decision.hotkey).or_default().push(sign);
    }
    writeln!(out, "\nRows passed by interval (- rejected, ? not checked), and the weight on the chain:\n")?;
    for miner in &outcome.miners {
        let passed = verdicts.get(&miner.hotkey).map_or("", String::as_str);
        let weight = outcome.weights.get(&miner.uid).copied().unwrap_or_default();
        writeln!(out, "{:>3}  {}  {passed:<8} {weight:>6}  {}", miner.uid, miner.hotkey, miner.role)?;
    }
    let agree = if outcome.weights == outcome.expected_weights { "equal" } else { "DIFFER FROM" };
    writeln!(out, "\nWeights {agree} what follows from the decisions by a calculation apart.")?;
    writeln!(out, "Published: {} bundles, {} clips.", outcome.bundles, outcome.clips)?;
    writeln!(out, "Outcome:   {}", outcome.digest)?;
    for surprise in &outcome.surprises {
        writeln!(out, "UNEXPECTED: {surprise}")?;
    }
    Ok(())
}
