//! `nexis calibrate PAIRS --model ID`: the card of a model, from pairs that people have judged.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use nexis_core::Error;
use nexis_core::bench::align::Survey;
use nexis_core::bench::fit::{Distractors, Draft, FitOptions, Fitted, fit_pairs, prompts_from_json};
use nexis_core::bench::{EmbeddingStore, Opener};
use nexis_core::media::jpeg::StillLimits;
use nexis_core::model::registry::{ModelLocation, write_whole};
use nexis_core::pairs::PairSource;
use nexis_core::score::text::TextEncoder;
use nexis_gpu::EngineOptions;

use super::bench::{PairArguments, Seen, write_report};
use super::{OutputArguments, interrupt_flag};
use crate::EXIT_ACCEPTED;
use crate::view::{Prices, Progress, write_bench_text};

/// What only a calibration on pairs takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "With PAIRS and --model")]
pub(crate) struct PairsCalibration {
    #[command(flatten)]
    reading: PairArguments,
    /// The share of captions that fit which may be rejected
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    false_rejection: f64,
    /// Folds of the cross-validation
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100))]
    folds: u16,
    /// Folder for the report behind the card
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Folder of embeddings and measures that are kept between runs; none where not given
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|share: &f64| (0.0..0.5).contains(share));
    parsed.ok_or_else(|| "a share from 0 to below 0.5 is expected".to_owned())
}

/// What the calibration was called with beside that.
pub(crate) struct Called<'a> {
    pub(crate) pairs: &'a Path,
    pub(crate) engine: EngineOptions,
    pub(crate) prompts: Option<&'a Path>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) id: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) threads: usize,
    pub(crate) output: OutputArguments,
}

impl PairsCalibration {
    /// One of these options that was given and has no default; without pairs it would do nothing.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let reading = &self.reading;
        let options = [
            ("--root", reading.root.is_some()),
            ("--format", reading.format.is_some()),
            ("--part", reading.part.is_some()),
            ("--positive-from", reading.positive_from.is_some()),
            ("--report", self.report.is_some()),
            ("--cache", self.cache.is_some()),
        ];
        options.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    pub(crate) fn run(&self, called: &Called<'_>) -> anyhow::Result<u8> {
        let interrupted = interrupt_flag()?;
        let progress = called.output.progress();
        let source = self.reading.open(called.pairs)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(called.threads).build()?;
        let (fitted, location, page) = pool.install(|| self.fit(called, &source, &progress, &interrupted))?;
        let path = called.out.clone().unwrap_or(location.card);
        write_whole(&path, fitted.card.to_toml()?.as_bytes())?;
        progress.finish();
        let mut out = io::stdout().lock();
        if called.output.json {
            let value =
                serde_json::json!({ "card": fitted.card, "fit": fitted.facts, "report": fitted.report });
            serde_json::to_writer_pretty(&mut out, &value)?;
            writeln!(out)?;
            return Ok(EXIT_ACCEPTED);
        }
        write_bench_text(&mut out, &fitted.report, Prices::default())?;
        let facts = &fitted.facts;
        write!(out, "threshold {:.4}", facts.threshold)?;
        if let Some(i) = facts.threshold_interval {
            write!(out, " [{:.4}, {:.4}]", i.low, i.high)?;
        }
        write!(out, " for at most {:.1} % false rejections", facts.target * 100.0)?;
        if let Some(i) = facts.expected_false_rejections {
            write!(out, "; expect {:.1} % to {:.1} % on other groups", i.low * 100.0, i.high * 100.0)?;
        }
        writeln!(out)?;
        if let Some(category) = &facts.category {
            writeln!(
                out,
                "labels: {:.1} % of frames right on {} clips, {} prompts dropped",
                category.accuracy * 100.0,
                category.clips,
                category.dropped.len()
            )?;
        }
        if let Some(page) = page {
            writeln!(out, "{}", page.display())?;
        }
        writeln!(out, "{}", path.display())?;
        Ok(EXIT_ACCEPTED)
    }

    /// The command as it would be typed, for the card's record.
    fn typed(&self, called: &Called<'_>) -> String {
        let mut text = format!(
            "nexis calibrate {} --model {} --false-rejection {} --folds {}{}",
            quoted(&called.pairs.display().to_string()),
            quoted(&called.engine.model),
            self.false_rejection,
            self.folds,
            self.reading.typed()
        );
        if let Some(prompts) = called.prompts {
            text.push_str(&format!(" --prompts {}", quoted(&prompts.display().to_string())));
        }
        if let Some(id) = &called.id {
            text.push_str(&format!(" --id {}", quoted(id)));
        }
        text
    }

    fn fit(
        &self,
        called: &Called<'_>,
        source: &PairSource,
        progress: &Progress,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<(Fitted, ModelLocation, Option<PathBuf>)> {
        progress.stage("reading the pairs", 0);
        let survey = Survey::of(source)?;
        progress.stage("loading the model", 0);
        let (model, location) = called.engine.load_model()?;
        let decoder = called.engine.decoder();
        let limits = called.engine.limits();
        let store = self.cache.as_deref().map(EmbeddingStore::open).transpose()?;
        let opener =
            Opener { source, decoder: decoder.as_ref(), limits: &limits, still: StillLimits::default() };
        let distractors = Distractors::choose(source, &TextEncoder::new(Arc::clone(&model)))?;
        let draft = Draft {
            id: called.id.clone(),
            prompts: called.prompts.map(prompts).transpose()?,
            date: called.date.clone().unwrap_or_else(|| chrono::Utc::now().format("%Y-%m-%d").to_string()),
            command: self.typed(called),
        }
        .card(&location, model.as_ref(), &distractors, &survey)?;
        let options = FitOptions {
            folds: usize::from(self.folds),
            false_rejection: self.false_rejection,
            report: self.reading.report(called.engine.batch),
            ..FitOptions::default()
        };
        progress.stage("scoring pairs", survey.pairs);
        let seen = Seen { progress, interrupted };
        let fitted =
            fit_pairs(&model, &draft, &distractors, &opener, store.as_ref(), &survey, &options, &seen)?;
        let title = format!("Calibration of {}", fitted.card.model.id);
        let page = match &self.report {
            Some(folder) => {
                let (report, scores) = (&fitted.report, &fitted.scores);
                let facts = Some(&fitted.facts);
                Some(write_report(
                    folder,
                    &title,
                    report,
                    scores,
                    facts,
                    Prices::default(),
                    &opener,
                    progress,
                )?)
            }
            None => None,
        };
        Ok((fitted, location, page))
    }
}

/// A word as a shell would have it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prompts per label from a file: a JSON object of seven lists.
pub(super) fn prompts(path: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let text = fs::read(path).map_err(|e| Error::io(path, e))?;
    Ok(prompts_from_json(&text, &path.display().to_string())?)
}
