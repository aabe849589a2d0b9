//! Scores on judged pairs, and cards from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use nexis_core::bench::align::{AlignOptions, Survey};
use nexis_core::bench::fit::{Distractors, Draft, FitOptions, fit_pairs, prompts_from_json};
use nexis_core::bench::{
    BenchModel, BenchReport, BenchScores, EmbeddingStore, Opener, ScoreBy, Watch, align,
};
use nexis_core::media::jpeg::StillLimits;
use nexis_core::model::registry::ModelPlaces;
use nexis_core::pairs::{PairOptions, PairSource, Separator};
use nexis_core::score::bootstrap::Bootstrap;
use nexis_core::score::text::TextEncoder;
use nexis_core::{Error, Result};
use nexis_gpu::EngineOptions;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::convert::read;
use crate::errors::ours;
use crate::models::places;
use crate::work::beside;

/// Longest wall time for one clip.
const MAX_WALL: Duration = Duration::from_secs(20);

/// What both functions take, by the names of the Python functions' arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    root: Option<PathBuf>,
    format: Option<String>,
    separator: char,
    part: Option<String>,
    positive_from: Option<f64>,
    score: Option<String>,
    cache: Option<PathBuf>,
    resamples: u32,
    seed: u64,
    mistakes: usize,
    device: String,
    precision: String,
    threads: Option<usize>,
    batch: usize,
    #[serde(default)]
    false_rejection: f64,
    #[serde(default)]
    folds: usize,
    prompts: Option<String>,
    id: Option<String>,
}

impl Settings {
    fn checked(self) -> Result<Self> {
        let bounds = [
            ("resamples", u64::from(self.resamples), 10, 100_000),
            ("batch", self.batch as u64, 1, 4096),
            ("threads", self.threads.unwrap_or(0) as u64, 0, 1024),
            ("mistakes", self.mistakes as u64, 0, 200),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(Error::usage(name, format!("{least} to {most} is expected, not {value}")));
            }
        }
        if self.positive_from.is_some_and(|rating| !rating.is_finite()) {
            return Err(Error::usage("positive_from", "a finite number is expected"));
        }
        Ok(self)
    }

    fn source(&self, pairs: &Path) -> Result<PairSource> {
        let options = PairOptions {
            format: self.format.as_deref().map(str::parse).transpose()?,
            root: self.root.clone(),
            separator: Separator(self.separator),
            part: self.part.as_deref().map(str::parse).transpose()?,
            ..PairOptions::default()
        };
        PairSource::open(pairs, &options)
    }

    fn engine(&self, model: &str, places: &ModelPlaces) -> Result<EngineOptions> {
        Ok(EngineOptions {
            model: model.to_owned(),
            models_roots: places.clone(),
            device: self.device.clone(),
            precision: self.precision.parse()?,
            batch: self.batch,
            max_wall: MAX_WALL,
            ensemble: None,
            judge: None,
        })
    }

    fn report(&self) -> Result<AlignOptions> {
        Ok(AlignOptions {
            score: match &self.score {
                Some(feature) => ScoreBy::Feature(feature.parse()?),
                None => ScoreBy::Card,
            },
            positive_from: self.positive_from,
            bootstrap: Bootstrap { seed: self.seed, resamples: self.resamples },
            batch: self.batch,
            mistakes: self.mistakes,
        })
    }

    /// The call that fits a card, as it would be written, for the card's record.
    fn called(&self, pairs: &Path, model: &str) -> String {
        // JSON's texts, and its object of lists of texts, are Python's too.
        let text = |text: &str| Value::from(text).to_string();
        let mut call = format!(
            "nexis.calibrate({}, {}, false_rejection={}, folds={}",
            text(&pairs.display().to_string()),
            text(model),
            self.false_rejection,
            self.folds
        );
        let root = self.root.as_ref().map(|root| root.display().to_string());
        let separator = (self.separator != Separator::default().0).then(|| self.separator.to_string());
        let given = [
            ("root", root.as_deref().map(text)),
            ("format", self.format.as_deref().map(text)),
            ("separator", separator.as_deref().map(text)),
            ("part", self.part.as_deref().map(text)),
            ("positive_from", self.positive_from.map(|rating| rating.to_string())),
            ("prompts", self.prompts.clone()),
            ("id", self.id.as_deref().map(text)),
        ];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            call.push_str(&format!(", {name}={value}"));
        }
        call.push_str(&format!(", resamples={}, seed={})", self.resamples, self.seed));
        call
    }

    fn pool(&self) -> Result<rayon::ThreadPool> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.unwrap_or(0))
            .build()
            .map_err(|e| Error::Internal(format!("no thread pool: {e}")))
    }
}

/// Tells the caller how far it is.
struct Seen<'a> {
    interrupted: &'a AtomicBool,
    progress: Option<Py<PyAny>>,
    done: AtomicU64,
    pairs: u64,
}

impl Watch for Seen<'_> {
    fn advanced(&self, pairs: u64) {
        let done = self.done.fetch_add(pairs, Ordering::SeqCst) + pairs;
        let Some(progress) = &self.progress else { return };
        // Progress that fails is the caller's to see in its log; the figures do not depend on it.
        Python::attach(|py| {
            if let Err(error) = progress.call1(py, (done, self.pairs)) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

/// Columns of one row a pair.
fn columns(report: &BenchReport, scores: &BenchScores) -> Value {
    let of_pairs = |value: &dyn Fn(&nexis_core::bench::align::ScoredPair) -> Value| -> Value {
        scores.pairs.iter().map(value).collect()
    };
    let name = |names: &[String], place: Option<u32>| -> Value {
        // A group that the file does not name has a name that begins with a null.
        let found = place.and_then(|place| names.get(place as usize)).filter(|name| !name.starts_with('\0'));
        found.map_or(Value::Null, |name| Value::from(name.as_str()))
    };
    let mut columns = json!({
        "index": of_pairs(&|pair| pair.index.into()),
        "row": of_pairs(&|pair| pair.row.into()),
        "label": of_pairs(&|pair| pair.rating().into()),
        "group": of_pairs(&|pair| name(&scores.groups, Some(pair.group))),
        "subset": of_pairs(&|pair| name(&scores.subsets, pair.subset)),
    });
    if let Value::Object(columns) = &mut columns {
        for (m, (model, raw)) in report.models.iter().zip(&scores.raw).enumerate() {
            if model.probability {
                columns.insert(model.name.clone(), scores.shown(report, m).into());
                columns.insert(format!("{} logit", model.name), raw.clone().into());
            } else {
                columns.insert(model.name.clone(), raw.clone().into());
            }
        }
    }
    columns
}

/// Scores the pairs of a file with models: `{"report", "scores"}`, the scores as columns. `settings` are the arguments
/// of `nexis.bench` by name. `progress` is called as `progress(done, pairs)`.
#[pyfunction]
#[pyo3(signature = (pairs, models, models_roots, settings: "dict[str, Any]", *,
    progress: "Callable[[int, int], object] | None" = None) -> "dict[str, Any]")]
pub(crate) fn bench_align<'py>(
    py: Python<'py>,
    pairs: PathBuf,
    models: Vec<String>,
    models_roots: Vec<PathBuf>,
    settings: &Bound<'py, PyDict>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let settings: Settings = read(settings.as_any(), "settings")?;
    let made = beside(py, move |interrupted: &Arc<AtomicBool>| -> Result<Value> {
        let settings = settings.checked()?;
        let places = places(models_roots);
        let source = settings.source(&pairs)?;
        settings.pool()?.install(|| {
            let survey = Survey::of(&source)?;
            let mut loaded = Vec::with_capacity(models.len());
            let mut opened = None;
            for name in &models {
                let (id, card) = BenchModel::named(name);
                let engine = settings.engine(id, &places)?;
                let (model, location) = engine.load_model()?;
                let card = BenchModel::card_of(card, &location)?;
                let (decoder, _) = opened.get_or_insert_with(|| (engine.decoder(), engine.limits()));
                loaded.push(BenchModel::new(name.as_str(), model, card, &decoder.name())?);
            }
            let (decoder, limits) = opened.ok_or_else(|| Error::usage("models", "name one at least"))?;
            let store = settings.cache.as_deref().map(EmbeddingStore::open).transpose()?;
            let still = StillLimits::default();
            let opener = Opener { source: &source, decoder: decoder.as_ref(), limits: &limits, still };
            let seen = Seen { interrupted, progress, done: AtomicU64::new(0), pairs: survey.pairs };
            let (report, scores) =
                align(&loaded, &opener, store.as_ref(), &survey, &settings.report()?, &seen)?;
            Ok(json!({ "scores": columns(&report, &scores), "report": report }))
        })
    })?;
    Ok(pythonize::pythonize(py, &made.map_err(|e| ours(py, e))?)?)
}

/// Fits a model's card on the pairs of a file: `{"card", "fit", "report", "scores"}`, the card as TOML. `settings` are
/// the arguments of `nexis.calibrate` by name, the prompts as JSON. `progress` is called as `progress(done, pairs)`.
#[pyfunction]
#[pyo3(signature = (pairs, model, models_roots, settings: "dict[str, Any]", *,
    progress: "Callable[[int, int], object] | None" = None) -> "dict[str, Any]")]
pub(crate) fn calibrate_pairs<'py>(
    py: Python<'py>,
    pairs: PathBuf,
    model: String,
    models_roots: Vec<PathBuf>,
    settings: &Bound<'py, PyDict>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let settings: Settings = read(settings.as_any(), "settings")?;
    let made = beside(py, move |interrupted: &Arc<AtomicBool>| -> Result<Value> {
        let settings = settings.checked()?;
        if !(0.0..0.5).contains(&settings.false_rejection) || !(2..=100).contains(&settings.folds) {
            let why = "false_rejection is a share from 0 to below 0.5, and folds are 2 to 100";
            return Err(Error::usage("calibrate", why));
        }
        let source = settings.source(&pairs)?;
        let engine = settings.engine(&model, &places(models_roots))?;
        settings.pool()?.install(|| {
            let survey = Survey::of(&source)?;
            let (loaded, location) = engine.load_model()?;
            let decoder = engine.decoder();
            let limits = engine.limits();
            let store = settings.cache.as_deref().map(EmbeddingStore::open).transpose()?;
            let still = StillLimits::default();
            let opener = Opener { source: &source, decoder: decoder.as_ref(), limits: &limits, still };
            let distractors = Distractors::choose(&source, &TextEncoder::new(Arc::clone(&loaded)))?;
            let prompts = settings.prompts.as_ref();
            let draft = Draft {
                id: settings.id.clone(),
                prompts: prompts.map(|text| prompts_from_json(text.as_bytes(), "prompts")).transpose()?,
                date: Utc::now().format("%Y-%m-%d").to_string(),
                command: settings.called(&pairs, &model),
            }
            .card(&location, loaded.as_ref(), &distractors, &survey)?;
            let options = FitOptions {
                folds: settings.folds,
                false_rejection: settings.false_rejection,
                report: settings.report()?,
                ..FitOptions::default()
            };
            let seen = Seen { interrupted, progress, done: AtomicU64::new(0), pairs: survey.pairs };
            let fitted =
                fit_pairs(&loaded, &draft, &distractors, &opener, store.as_ref(), &survey, &options, &seen)?;
            Ok(json!({
                "card": fitted.card.to_toml()?,
                "fit": fitted.facts,
                "scores": columns(&fitted.report, &fitted.scores),
                "report": fitted.report,
            }))
        })
    })?;
    Ok(pythonize::pythonize(py, &made.map_err(|e| ours(py, e))?)?)
}
