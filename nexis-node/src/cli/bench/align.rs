//! `nexis bench align`: what models' scores are worth on pairs that people have judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::Args;
use image::codecs::jpeg::JpegEncoder;
use nexis_core::Error;
use nexis_core::bench::align::{AlignOptions, Survey, pairs_at};
use nexis_core::bench::fit::FitFacts;
use nexis_core::bench::{
    BenchModel, BenchReport, BenchScores, EmbeddingStore, Opener, ScoreBy, Watch, align,
};
use nexis_core::media::jpeg::StillLimits;
use nexis_core::media::{Frame, MediaDecoder, MediaLimits};
use nexis_core::pairs::{PairFormat, PairOptions, PairSource, Part, Separator, Shown};
use nexis_core::score::bootstrap::Bootstrap;
use nexis_core::score::features::Feature;

use super::super::calibrate_pairs::quoted;
use super::super::{MachineArguments, OutputArguments, interrupt_flag};
use crate::EXIT_ACCEPTED;
use crate::view::{
    BenchPage, MistakePicture, Prices, Progress, SheetOptions, contact_sheet, write_bench, write_bench_text,
};

/// Frames of a mistake on its sheet, at most.
const SHEET_FRAMES: usize = 6;
const JPEG_QUALITY: u8 = 78;

/// A file of pairs, and how it is read.
#[derive(Args, Clone, Debug)]
pub(crate) struct PairArguments {
    /// Folder that the paths of clips and pictures are relative to and stay within; that of the file where not given
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Format of the pairs: parquet, csv, jsonl, flickr8k-expert, winoground or vatex-eval; by the name where not given
    #[arg(long)]
    pub(crate) format: Option<PairFormat>,
    /// What stands between several paths or ratings of one CSV field
    #[arg(long, value_name = "CHARACTER", default_value = ";")]
    separator: char,
    /// Read one of several parts that share no group, for example 1/2
    #[arg(long, value_name = "K/N")]
    pub(crate) part: Option<Part>,
    /// The mean rating from which on a caption fits; labels of 0 and 1 need none
    #[arg(long, value_name = "RATING")]
    pub(crate) positive_from: Option<f64>,
    /// Resamples of groups for the intervals
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    resamples: u32,
    /// First seed of the resamples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many of the worst mistakes of each kind are shown
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(0..=200))]
    mistakes: u16,
}

impl PairArguments {
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<PairSource> {
        if self.positive_from.is_some_and(|rating| !rating.is_finite()) {
            bail!(Error::usage("--positive-from", "a finite number is expected"));
        }
        let options = PairOptions {
            format: self.format,
            root: self.root.clone(),
            separator: Separator(self.separator),
            part: self.part,
            ..PairOptions::default()
        };
        Ok(PairSource::open(path, &options)?)
    }

    pub(crate) fn report(&self, batch: usize) -> AlignOptions {
        AlignOptions {
            positive_from: self.positive_from,
            bootstrap: Bootstrap { seed: self.seed, resamples: self.resamples },
            mistakes: usize::from(self.mistakes),
            batch,
            ..AlignOptions::default()
        }
    }

    /// These arguments as they would be typed, for a card's record.
    pub(crate) fn typed(&self) -> String {
        let mut text = String::new();
        if let Some(root) = &self.root {
            text.push_str(&format!(" --root {}", quoted(&root.display().to_string())));
        }
        if let Some(format) = self.format {
            text.push_str(&format!(" --format {}", format.as_str()));
        }
        if self.separator != Separator::default().0 {
            text.push_str(&format!(" --separator {}", quoted(&self.separator.to_string())));
        }
        if let Some(part) = self.part {
            text.push_str(&format!(" --part {part}"));
        }
        if let Some(rating) = self.positive_from {
            text.push_str(&format!(" --positive-from {rating}"));
        }
        text.push_str(&format!(" --resamples {} --seed {}", self.resamples, self.seed));
        text
    }
}

/// Score every pair with every model and report what the scores are worth
#[derive(Args)]
pub(crate) struct Align {
    /// The pairs: Parquet, CSV or JSON lines, or the folder of a published benchmark
    pairs: PathBuf,
    /// The models, apart by commas: ids of `nexis models list` or folders, each with @CARD where another card is meant
    #[arg(long, value_name = "ID,ID", required = true, value_delimiter = ',')]
    models: Vec<String>,
    #[command(flatten)]
    reading: PairArguments,
    /// Take one feature for the score instead of the card's probability, for example whole or units_min
    #[arg(long, value_name = "FEATURE")]
    score: Option<Feature>,
    /// Folder of the report
    #[arg(long, short, value_name = "DIR", default_value = "nexis-bench")]
    out: PathBuf,
    /// Folder of embeddings and measures that are kept between runs; `cache` in the report's where not given
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Price of this machine for an hour, in any currency
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_per_hour: Option<f64>,
    /// Price of 1,000 clips with the API to compare with, in the same currency
    #[arg(long, value_name = "PRICE", value_parser = price)]
    api_price: Option<f64>,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    output: OutputArguments,
}

fn price(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    parsed.ok_or_else(|| "a price is a number, 0 or more".to_owned())
}

/// Sees a measurement for the terminal.
pub(crate) struct Seen<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) interrupted: &'a AtomicBool,
}

impl Watch for Seen<'_> {
    fn advanced(&self, pairs: u64) {
        self.progress.advance(pairs);
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

impl Align {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let interrupted = interrupt_flag()?;
        let progress = self.output.progress();
        let source = self.reading.open(&self.pairs)?;
        let prices = Prices { per_hour: self.price_per_hour, api_per_1000: self.api_price };
        let (report, pages) =
            self.machine.in_pool(|| self.measure(&source, prices, &progress, &interrupted))?;
        progress.finish();
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write_bench_text(&mut out, &report, prices)?;
            writeln!(out, "{}", pages.display())?;
        }
        Ok(EXIT_ACCEPTED)
    }

    fn measure(
        &self,
        source: &PairSource,
        prices: Prices,
        progress: &Progress,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<(BenchReport, PathBuf)> {
        progress.stage("reading the pairs", 0);
        let survey = Survey::of(source)?;
        progress.stage("loading the models", self.models.len() as u64);
        let mut models = Vec::with_capacity(self.models.len());
        let mut decoder: Option<Arc<dyn MediaDecoder>> = None;
        let mut limits = MediaLimits::default();
        for name in &self.models {
            let (id, card) = BenchModel::named(name);
            let options = self.machine.options(id);
            let (model, location) = options.load_model()?;
            let card = BenchModel::card_of(card, &location)?;
            limits = options.limits();
            let decoder = decoder.get_or_insert_with(|| options.decoder());
            models.push(BenchModel::new(name, model, card, &decoder.name())?);
            progress.advance(1);
        }
        let Some(decoder) = decoder else { bail!(Error::usage("--models", "name one at least")) };
        fs::create_dir_all(&self.out).with_context(|| format!("making {}", self.out.display()))?;
        let cache = self.cache.clone().unwrap_or_else(|| self.out.join("cache"));
        let store = EmbeddingStore::open(&cache)?;
        let opener =
            Opener { source, decoder: decoder.as_ref(), limits: &limits, still: StillLimits::default() };
        let mut options = self.reading.report(self.machine.batch());
        options.score = self.score.map_or(ScoreBy::Card, ScoreBy::Feature);
        progress.stage("scoring pairs", survey.pairs);
        let seen = Seen { progress, interrupted };
        let (report, scores) = align(&models, &opener, Some(&store), &survey, &options, &seen)?;
        let title = "What alignment scores are worth";
        let page = write_report(&self.out, title, &report, &scores, None, prices, &opener, progress)?;
        Ok((report, page))
    }
}

/// Writes the page, the figures and the scores into a folder, and says where the page is.
#[allow(clippy::too_many_arguments)]
pub(crate) fn write_report(
    folder: &Path,
    title: &str,
    report: &BenchReport,
    scores: &BenchScores,
    facts: Option<&FitFacts>,
    prices: Prices,
    opener: &Opener<'_>,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mistakes = mistakes(report, opener, progress)?;
    progress.stage("writing the report", 0);
    let create = |name: &str| -> anyhow::Result<(PathBuf, BufWriter<File>)> {
        let path = folder.join(name);
        let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok((path, BufWriter::new(file)))
    };
    let (_, mut out) = create("report.json")?;
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)?;
    out.flush()?;
    let (_, out) = create("measures.csv")?;
    write_measures(out, report)?;
    let (_, out) = create("scores.csv")?;
    write_scores(out, report, scores)?;
    let (path, mut out) = create("report.html")?;
    let made_at = Some(chrono::Utc::now());
    let page = BenchPage { title, made_at, report, facts, prices, mistakes: &mistakes };
    write_bench(&mut out, &page)?;
    out.flush().with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The worst mistakes with their texts and pictures.
fn mistakes(
    report: &BenchReport,
    opener: &Opener<'_>,
    progress: &Progress,
) -> anyhow::Result<Vec<MistakePicture>> {
    let named =
        || report.models.iter().enumerate().flat_map(|(m, model)| model.mistakes.iter().map(move |x| (m, x)));
    let indices: BTreeSet<u64> = named().map(|(_, mistake)| mistake.index).collect();
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = pairs_at(opener.source, &report.data.survey, &indices)?;
    let shown: BTreeSet<&Shown> = pairs.values().map(|pair| &pair.shown).collect();
    progress.stage("drawing the worst mistakes", shown.len() as u64);
    let mut sheets: BTreeMap<&Shown, Vec<u8>> = BTreeMap::new();
    for shown in shown {
        // A picture that has gone since it was scored leaves its mistake without one.
        if let Ok(frames) = opener.frames(&first(shown)) {
            sheets.insert(shown, sheet(&frames)?);
        }
        progress.advance(1);
    }
    Ok(named()
        .filter_map(|(model, mistake)| {
            let pair = pairs.get(&mistake.index)?;
            let sheet = sheets.get(&pair.shown).cloned();
            Some(MistakePicture { model, mistake: *mistake, pair: pair.clone(), sheet })
        })
        .collect())
}

/// What of a clip is on its sheet: the pictures behind that are not even decoded.
fn first(shown: &Shown) -> Shown {
    match shown {
        Shown::Clip(key) => Shown::Clip(key.clone()),
        Shown::Frames(keys) => Shown::Frames(keys.iter().take(SHEET_FRAMES).cloned().collect()),
    }
}

fn sheet(frames: &[Frame]) -> anyhow::Result<Vec<u8>> {
    let columns = if frames.len() == 1 { 1 } else { 2 };
    let options = SheetOptions { columns, cell_width: 320 / columns as u32, scale: 1, title: Vec::new() };
    let shown = frames.get(..frames.len().min(SHEET_FRAMES)).unwrap_or(frames);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode_image(&contact_sheet(shown, &[], &options))
        .context("encoding a contact sheet")?;
    Ok(jpeg)
}

/// One line a figure: model, subset, key, value and interval.
fn write_measures(out: impl Write, report: &BenchReport) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["model", "subset", "measure", "name", "value", "low", "high"])?;
    for model in &report.models {
        let parts = model.subsets.iter().map(|subset| (subset.name.as_str(), &subset.measures));
        for (subset, measures) in std::iter::once(("", &model.measures)).chain(parts) {
            for m in measures {
                let (low, high) =
                    m.interval.map_or_else(Default::default, |i| (i.low.to_string(), i.high.to_string()));
                // Empty where there is none.
                let value = m.value.as_ref().map(ToString::to_string).unwrap_or_default();
                csv.write_record([&model.name, subset, &m.key, &m.name, &value, &low, &high])?;
            }
        }
    }
    csv.flush()?;
    Ok(())
}

/// One line a pair: where it stands, its label, and each model's score and decision. Names stand as the data has them,
/// whatever a spreadsheet makes of them, so that lines can be joined to the pairs again; captions are not repeated.
fn write_scores(out: impl Write, report: &BenchReport, scores: &BenchScores) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let mut header: Vec<String> =
        ["index", "row", "label", "ratings", "group", "subset"].map(str::to_owned).into();
    for model in &report.models {
        header.push(format!("{} score", model.name));
        if model.probability {
            header.push(format!("{} logit", model.name));
        }
        header.push(format!("{} accepted", model.name));
    }
    csv.write_record(&header)?;
    let shown: Vec<Vec<f64>> = (0..report.models.len()).map(|m| scores.shown(report, m)).collect();
    for (i, pair) in scores.pairs.iter().enumerate() {
        let ratings: Vec<String> = pair.ratings.iter().map(ToString::to_string).collect();
        // A pair without a group is one of what it shows, which has no name.
        let group = scores.groups.get(pair.group as usize).filter(|name| !name.starts_with('\0'));
        let subset = pair.subset.and_then(|place| scores.subsets.get(place as usize));
        let mut line = vec![
            pair.index.to_string(),
            pair.row.to_string(),
            pair.rating().map_or_else(String::new, |rating| rating.to_string()),
            ratings.join(";"),
            group.cloned().unwrap_or_default(),
            subset.cloned().unwrap_or_default(),
        ];
        for ((model, raw), shown) in report.models.iter().zip(&scores.raw).zip(&shown) {
            let (Some(raw), Some(shown)) = (raw.get(i), shown.get(i)) else { continue };
            line.push(shown.to_string());
            if model.probability {
                line.push(raw.to_string());
            }
            line.push(model.threshold.map_or_else(String::new, |t| u8::from(*shown >= t).to_string()));
        }
        csv.write_record(&line)?;
    }
    csv.flush()?;
    Ok(())
}
