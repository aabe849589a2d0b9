//! `nexis verify`: judge the packages under a path.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use nexis_core::evidence::Evidence;
use nexis_core::media::Frame;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::discover;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::{Report, RowReport};
use nexis_core::verifier::{Observer, Submission, Verifier, VerifierOptions};
use nexis_core::{Error, Result};
use nexis_gpu::EngineOptions;

use super::{
    EngineArguments, EnsembleArgument, JudgeArguments, OutputArguments, PolicyArgument, address, exit_code,
    interrupt_flag, interval, read_named,
};
use crate::view::{PageOptions, Progress, RowPictures, TextOptions, write_page, write_report};

/// Judge a package, a bucket, or a folder of buckets
#[derive(Args)]
pub(crate) struct Verify {
    /// An interval folder, a bucket folder, or a folder of buckets named by hotkey
    path: PathBuf,
    /// Judge this interval only
    #[arg(long, value_name = "ID", value_parser = interval)]
    interval: Option<IntervalId>,
    /// The miner that the manifests must name
    #[arg(long, value_name = "SS58")]
    hotkey: Option<String>,
    /// Draw the rows that this validator would draw
    #[arg(long, value_name = "SS58")]
    validator_hotkey: Option<String>,
    /// Global index of accepted clips (record_info.json)
    #[arg(long, value_name = "FILE")]
    record_info: Option<PathBuf>,
    /// Judge every row instead of the protocol's sample
    #[arg(long)]
    all_rows: bool,
    /// Which checks reject
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyArgument,
    /// Write one evidence record per judged row into this folder
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Write an HTML report with contact sheets
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
    #[command(flatten)]
    judge: JudgeArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if let Some(path) = &self.html {
            check_page_path(path)?;
        }
        let options = VerifierOptions {
            policy: self.policy.into(),
            all_rows: self.all_rows,
            validator_hotkey: address("--validator-hotkey", self.validator_hotkey.as_deref())?,
            overlap_index: self.record_info.as_deref().map(read_record_info).transpose()?.unwrap_or_default(),
            ..VerifierOptions::default()
        };
        let hotkey = address("--hotkey", self.hotkey.as_deref())?;
        let found = discover(&self.path, self.interval, hotkey.as_ref())?;
        let submissions: Vec<Submission> = found.into_iter().map(Submission::from).collect();
        let run = Run {
            progress: self.output.progress(),
            evidence: self.evidence.clone(),
            pictures: self.html.is_some().then(RowPictures::default),
            interrupted: interrupt_flag()?,
        };
        let judging = self.ensemble.beside(self.judge.behind(&self.engine));
        let report = run.verify(&self.engine, &judging, options, &submissions)?;
        // Neither a full disk nor a closed pipe must cost the other of the two.
        let printed = self.print(&report);
        if let (Some(path), Some(pictures)) = (&self.html, &run.pictures) {
            write_html(path, &report, pictures)?;
        }
        printed?;
        Ok(exit_code(report.verdict()))
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        } else {
            write_report(&mut out, report, &TextOptions::for_stdout())?;
        }
        Ok(out.flush()?)
    }
}

/// Unlike on the network, where an unreadable index counts as an empty one, an operator who names a
/// file is told that it cannot be read.
fn read_record_info(path: &Path) -> Result<OverlapIndex> {
    let bytes = read_named(path)?;
    let parsed = OverlapIndex::parse(&bytes);
    match parsed.problem {
        Some(why) => Err(Error::Corrupt { what: path.display().to_string(), why }),
        None => Ok(parsed.index),
    }
}

/// Says before anything is judged where a page can never be written.
fn check_page_path(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let why = if path.is_dir() {
        "it is a folder; name the file of the report"
    } else if folder.is_some_and(|folder| !folder.is_dir()) {
        "its folder is not there; make it first"
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("--html {}", path.display()), why))
}

/// Writes the report as a page.
pub(super) fn write_html(path: &Path, report: &Report, pictures: &RowPictures) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(writing)?);
    let options = PageOptions { made_at: Some(chrono::Utc::now()), ..PageOptions::default() };
    write_page(&mut file, report, pictures, &options).with_context(writing)?;
    file.flush().with_context(writing)
}

/// One run of the verifier with everything that watches it.
pub(crate) struct Run {
    /// Where progress goes.
    pub(crate) progress: Progress,
    /// Where evidence goes.
    pub(crate) evidence: Option<PathBuf>,
    /// Pictures for a report, where one is wanted.
    pub(crate) pictures: Option<RowPictures>,
    /// Raised by Ctrl-C.
    pub(crate) interrupted: Arc<AtomicBool>,
}

impl Run {
    /// Loads what judges and judges, on the engine's threads.
    pub(crate) fn verify(
        &self,
        engine: &EngineArguments,
        judging: &EngineOptions,
        options: VerifierOptions,
        submissions: &[Submission],
    ) -> anyhow::Result<Report> {
        if let Some(folder) = &self.evidence {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        engine.in_pool(|| {
            self.progress.stage("loading the model", 0);
            let judge = judging.judge()?;
            let verifier = Verifier::new(judge, options);
            // How many are read is not reported; the rows of the next stage are.
            self.progress.stage(&format!("reading packages ({})", submissions.len()), 0);
            let report = verifier.verify(submissions, chrono::Utc::now(), self)?;
            self.progress.finish();
            Ok(report)
        })
    }
}

impl Observer for Run {
    fn rows_sampled(&self, rows: usize) {
        self.progress.stage("judging rows", rows as u64);
    }

    fn row_judged(&self, miner: &Hotkey, interval: IntervalId, row: &RowReport, frames: &[Frame]) {
        if let Some(pictures) = &self.pictures {
            // A row without pictures is still in the report.
            if pictures.keep(miner, interval, row.row_index, frames).is_err() {
                self.progress.note(&format!("no pictures of row {}", row.row_index));
            }
        }
        self.progress.advance(1);
    }

    fn evidence(&self, evidence: &Evidence) -> Result<()> {
        let Some(folder) = &self.evidence else { return Ok(()) };
        evidence.write(folder).map(drop)
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
