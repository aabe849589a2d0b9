//! `nexis replay`: recompute a record of evidence and say what differs.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use nexis_core::Error;
use nexis_core::evidence::Evidence;
use nexis_core::package::{DirectorySource, discover};
use nexis_core::verifier::replay;
use nexis_gpu::{EngineOptions, JudgeChoice};
use serde_json::json;

use super::{EngineArguments, JudgeArguments, OutputArguments};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED};

/// Recompute an evidence record from its package and say what differs
#[derive(Args)]
#[command(
    after_help = "Exit status: 0 nothing differs, 1 something differs, 2 could not check, 64 wrong use."
)]
pub(crate) struct Replay {
    /// A record written by nexis verify --evidence
    evidence: PathBuf,
    /// The interval folder, bucket, or folder of buckets that it was made from
    package: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    judge: JudgeArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let bytes = fs::read(&self.evidence).map_err(|e| Error::io(&self.evidence, e))?;
        let recorded = Evidence::parse(&self.evidence.display().to_string(), &bytes)?;
        let interval = recorded.package.interval_id;
        let miner = recorded.package.miner_hotkey.clone();
        let mut found = discover(&self.package, Some(interval), Some(&miner))?;
        found.retain(|f| f.bucket.join(interval.to_string()).is_dir());
        let [found] = found.as_slice() else {
            bail!(Error::usage(
                self.package.display().to_string(),
                format!(
                    "{} packages of {miner} for interval {interval} are here; give its bucket's folder",
                    found.len()
                ),
            ));
        };
        let source = Arc::new(DirectorySource::new(found.bucket.clone()));
        let mut options =
            EngineOptions { max_wall: recorded.limits.max_wall, ..self.judge.behind(&self.engine) };
        // A record names the judge that it was made with; one that was made without needs none.
        options.judge = recorded.environment.judge.as_ref().map(|used| JudgeChoice {
            id: options.judge.map_or_else(|| used.identity.model.id.clone(), |judge| judge.id),
            budget: used.budget,
        });
        let differences = self.engine.in_pool(|| {
            let judge = options.judge()?;
            let recomputed = replay(&judge, source, &recorded, chrono::Utc::now())?;
            Ok(recorded.differences(&recomputed)?)
        })?;
        let mut out = io::stdout().lock();
        if self.output.json {
            let digest = recorded.digest()?;
            serde_json::to_writer_pretty(
                &mut out,
                &json!({ "evidence": digest, "differences": differences }),
            )?;
            writeln!(out)?;
        } else if differences.is_empty() {
            writeln!(out, "{}: recomputed, nothing differs", recorded.digest()?)?;
        } else {
            writeln!(out, "{}: {} values differ", recorded.digest()?, differences.len())?;
            for d in &differences {
                let show = |v: &Option<serde_json::Value>| {
                    v.as_ref().map_or_else(|| "nothing".into(), ToString::to_string)
                };
                write!(
                    out,
                    "  {}: recorded {}, recomputed {}",
                    d.path,
                    show(&d.recorded),
                    show(&d.recomputed)
                )?;
                match d.magnitude() {
                    Some(m) => writeln!(out, " (relative {m:.1e})")?,
                    None => writeln!(out)?,
                }
            }
        }
        Ok(if differences.is_empty() { EXIT_ACCEPTED } else { EXIT_REJECTED })
    }
}
