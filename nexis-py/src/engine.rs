//! A loaded model and what judges with it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use nexis_core::check::{Policy, Violation};
use nexis_core::evidence::Evidence;
use nexis_core::media::{Frame, MediaFailure};
use nexis_core::model::Precision;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::{IntervalFolder, discover, validate_row};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::RowReport;
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_core::verifier::{
    ClipScores, FrameFiles, JUDGE_BUDGET, Observer, RowJudge, Submission, Verifier, VerifierOptions,
    frame_reports,
};
use nexis_core::{Error, Result};
use nexis_gpu::{EngineOptions, JudgeChoice};
use numpy::ndarray::{Array2, Axis, concatenate};
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray4};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::convert::{address, read_rows, whole};
use crate::errors::{media, ours, raised};
use crate::media::frames;
use crate::models::places;
use crate::work::beside;

/// Most frames in one call of the model's front.
const MAX_FRAMES: usize = 4096;
/// Most captions in one call.
const MAX_CAPTIONS: usize = 65_536;
/// Most rows judged outside a package in one call.
const MAX_ROWS: usize = 100_000;

/// Decoder, models, cards and threads. Everything it gives is a plain Python value.
#[pyclass(frozen, module = "nexis._nexis")]
pub(crate) struct Engine {
    pub(crate) judge: Arc<RowJudge>,
    pub(crate) pool: Arc<rayon::ThreadPool>,
}

#[pymethods]
impl Engine {
    /// Loads a model: `models_roots` are the folders that may hold it, `threads` is 0 for all cores. `ensemble` is a second
    /// one that decides together with it, `judge` decides what they leave in doubt.
    #[new]
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (model, models_roots, device="auto", batch=16, threads=0, max_wall_s=20.0,
        precision="exact", ensemble=None, judge=None))]
    fn new(
        py: Python<'_>,
        model: String,
        models_roots: Vec<PathBuf>,
        device: &str,
        batch: usize,
        threads: usize,
        max_wall_s: f64,
        precision: &str,
        ensemble: Option<String>,
        judge: Option<String>,
    ) -> PyResult<Self> {
        if !(1..=4096).contains(&batch) {
            return Err(PyValueError::new_err(format!("batch: 1 to 4096 is expected, not {batch}")));
        }
        if threads > 1024 {
            return Err(PyValueError::new_err(format!("threads: at most 1024, not {threads}")));
        }
        if !(max_wall_s > 0.0 && max_wall_s <= 3600.0) {
            return Err(PyValueError::new_err(format!("max_wall_s: 0 to 3600 seconds, not {max_wall_s}")));
        }
        let precision: Precision = precision.parse().map_err(|e| ours(py, e))?;
        // Asked first and by itself: a device that cannot be had is another problem than a model that cannot.
        let choice: nexis_gpu::DeviceChoice = device.parse().map_err(|e| ours(py, e))?;
        nexis_gpu::resolve(&choice, precision)
            .map_err(|e| raised(py, "DeviceUnavailable", (e.to_string(),)))?;
        let max_wall = Duration::from_secs_f64(max_wall_s);
        let models_roots = places(models_roots);
        let device = device.to_owned();
        let options = EngineOptions {
            model,
            models_roots,
            device,
            precision,
            batch,
            max_wall,
            ensemble,
            judge: judge.map(|id| JudgeChoice { id, budget: JUDGE_BUDGET }),
        };
        let made = beside(py, move |_| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .map_err(|e| Error::Internal(format!("no thread pool: {e}")))?;
            let judge = pool.install(|| options.judge())?;
            Ok((Arc::new(judge), Arc::new(pool)))
        })?;
        let (judge, pool) = made.map_err(|error| match error {
            Error::Internal(_) => ours(py, error),
            // Whatever stands between a caller and the model: it is not there, damaged, or made for other weights.
            other => raised(py, "ModelUnavailable", (other.to_string(),)),
        })?;
        Ok(Self { judge, pool })
    }

    /// What makes the results.
    #[pyo3(signature = () -> "dict[str, Any]")]
    fn environment<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize::pythonize(py, self.judge.environment())?)
    }

    /// Judges the packages under a path: the report, as `nexis verify --json` prints it. `progress` is called as
    /// `progress(judged, rows)`. `judge_budget` needs a judge.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (path, *, interval: "int | None" = None, hotkey=None, validator_hotkey=None,
        record_info: "bytes | None" = None, all_rows=false, policy="network", evidence=None,
        progress: "Callable[[int, int], object] | None" = None, judge_budget=None) -> "dict[str, Any]")]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        interval: Option<&Bound<'_, PyAny>>,
        hotkey: Option<String>,
        validator_hotkey: Option<String>,
        record_info: Option<Vec<u8>>,
        all_rows: bool,
        policy: &str,
        evidence: Option<PathBuf>,
        progress: Option<Py<PyAny>>,
        judge_budget: Option<u32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let policy: Policy = policy.parse().map_err(|e| ours(py, e))?;
        let interval = interval.map(|interval| whole(interval, "interval")).transpose()?.map(IntervalId::new);
        let hotkey = hotkey.map(|text| address(py, "hotkey", &text)).transpose()?;
        let validator_hotkey =
            validator_hotkey.map(|text| address(py, "validator_hotkey", &text)).transpose()?;
        let judge = match judge_budget {
            Some(_) if !self.judge.has_judge() => {
                return Err(PyValueError::new_err("judge_budget: there is no judge; name one in judge"));
            }
            Some(budget) => self.judge.with_budget(budget),
            None => self.judge.as_ref().clone(),
        };
        let report = self.pooled(py, move |interrupted| {
            let overlap_index = match record_info {
                Some(bytes) => known_clips(&bytes)?,
                None => OverlapIndex::default(),
            };
            let found = discover(&path, interval, hotkey.as_ref())?;
            let submissions: Vec<Submission> = found.into_iter().map(Submission::from).collect();
            if let Some(folder) = &evidence {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
            }
            let options =
                VerifierOptions { policy, all_rows, validator_hotkey, overlap_index, ..Default::default() };
            let watch = Watch { interrupted, evidence, progress, counts: Mutex::default() };
            let verifier = Verifier::new(judge, options);
            verifier.verify(&submissions, Utc::now(), &watch)
        })?;
        Ok(pythonize::pythonize(py, &report.map_err(|e| ours(py, e))?)?)
    }

    /// Judges every one of these rows (dicts of the 18 columns) on the assets below `asset_root`, an interval's
    /// folder: phases 5 to 7, one dict a row, in their order.
    #[pyo3(signature = (rows: "Sequence[Mapping[str, Any]]", asset_root, interval=0) -> "list[dict[str, Any]]")]
    fn verify_rows<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyAny>,
        asset_root: PathBuf,
        interval: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let spec = VideoSpec::default();
        let given: Vec<Map<String, Value>> = read_rows(rows, "rows")?;
        if given.len() > MAX_ROWS {
            return Err(PyValueError::new_err(format!("rows: at most {MAX_ROWS} in one call")));
        }
        let rules = spec.row_rules();
        let mut records = Vec::with_capacity(given.len());
        for (i, row) in given.iter().enumerate() {
            records.push(
                validate_row(row, &rules)
                    .map_err(|invalid| raised(py, "InvalidRow", (invalid.field, invalid.why, i)))?,
            );
        }
        let judge = Arc::clone(&self.judge);
        let reports = self.pooled(py, move |interrupted| {
            let interval = IntervalId::new(interval);
            let source = IntervalFolder::new(asset_root, interval);
            records
                .par_iter()
                .enumerate()
                .map(|(i, record)| {
                    if interrupted.load(Ordering::SeqCst) {
                        return Err(Error::Interrupted);
                    }
                    Ok(judge.judge_record(record, i, interval, &spec, &source))
                })
                .collect::<Result<Vec<RowReport>>>()
        })?;
        Ok(pythonize::pythonize(py, &reports.map_err(|e| ours(py, e))?)?)
    }

    /// Scores clips against captions, pair by pair. A clip that cannot be decoded gives `{"undecodable": why}`.
    #[pyo3(signature = (clips, captions) -> "list[dict[str, Any]]")]
    fn score_many<'py>(
        &self,
        py: Python<'py>,
        clips: Vec<PathBuf>,
        captions: Vec<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if clips.len() != captions.len() {
            let (n, m) = (clips.len(), captions.len());
            return Err(PyValueError::new_err(format!(
                "{n} clips and {m} captions; as many of each are needed"
            )));
        }
        let judge = Arc::clone(&self.judge);
        let scored = self.pooled(py, move |interrupted| {
            clips
                .par_iter()
                .zip(&captions)
                .map(|(clip, caption)| {
                    if interrupted.load(Ordering::SeqCst) {
                        return Err(Error::Interrupted);
                    }
                    match judge.score(clip, caption) {
                        Ok(scores) => Ok(score_value(&scores, &judge)?),
                        Err(MediaFailure::Clip(why)) => Ok(json!({ "undecodable": why })),
                        Err(MediaFailure::Ours(error)) => Err(error),
                    }
                })
                .collect::<Result<Vec<Value>>>()
        })?;
        Ok(pythonize::pythonize(py, &scored.map_err(|e| ours(py, e))?)?)
    }

    /// The labels of a clip's six frames, by the first model alone.
    #[pyo3(signature = (clip) -> "dict[str, Any]")]
    fn classify<'py>(&self, py: Python<'py>, clip: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        let judge = self.labelling();
        let classified = self.pooled(py, move |_| {
            let value = judge.classify(&clip)?;
            with_environment(&value, &judge).map_err(MediaFailure::from)
        })?;
        Ok(pythonize::pythonize(py, &classified.map_err(|e| media(py, e))?)?)
    }

    /// The labels of frames `[N, H, W, 3]`, by the first model alone.
    #[pyo3(signature = (frames_rgb: "NDArray[numpy.uint8]") -> "dict[str, Any]")]
    fn classify_frames<'py>(
        &self,
        py: Python<'py>,
        frames_rgb: PyReadonlyArray4<'py, u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = frames(&frames_rgb, MAX_FRAMES)?;
        let judge = self.labelling();
        let classified = self.pooled(py, move |_| {
            let value = judge.classify_frames(&given)?;
            with_environment(&value, &judge).map_err(MediaFailure::from)
        })?;
        Ok(pythonize::pythonize(py, &classified.map_err(|e| unusable(py, e))?)?)
    }

    /// Scores a caption against frames `[N, H, W, 3]`.
    #[pyo3(signature = (frames_rgb: "NDArray[numpy.uint8]", caption) -> "dict[str, Any]")]
    fn score_frames<'py>(
        &self,
        py: Python<'py>,
        frames_rgb: PyReadonlyArray4<'py, u8>,
        caption: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = frames(&frames_rgb, MAX_FRAMES)?;
        let judge = Arc::clone(&self.judge);
        let scored = self.pooled(py, move |_| {
            let scores = judge.score_frames(&given, &caption)?;
            Ok(json!({
                "environment": judge.environment(),
                "verdict": scores.verdict(),
                "probe": null,
                "frames": frame_reports(&given),
                "alignment": scores.alignment,
                "category": scores.category,
                "timings_ms": {},
            }))
        })?;
        Ok(pythonize::pythonize(py, &scored.map_err(|e| ours(py, e))?)?)
    }

    /// Phase 6 on frames in files: `{"code", "detail"}`, or `None` where nothing is wrong.
    #[pyo3(signature = (clip_id, caption, paths, first_frame_uri=None) -> "dict[str, str] | None")]
    fn check_caption<'py>(
        &self,
        py: Python<'py>,
        clip_id: String,
        caption: String,
        paths: Vec<PathBuf>,
        first_frame_uri: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_files(py, RowJudge::check_caption, clip_id, caption, paths, first_frame_uri)
    }

    /// Phase 7 on frames in files: as `check_caption`.
    #[pyo3(signature = (clip_id, caption, paths, first_frame_uri=None) -> "dict[str, str] | None")]
    fn check_category<'py>(
        &self,
        py: Python<'py>,
        clip_id: String,
        caption: String,
        paths: Vec<PathBuf>,
        first_frame_uri: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_files(py, RowJudge::check_category, clip_id, caption, paths, first_frame_uri)
    }

    /// Embeddings of frames `[N, H, W, 3]`: float32 `[N, D]`, each row of unit length.
    #[pyo3(signature = (frames_rgb: "NDArray[numpy.uint8]") -> "NDArray[numpy.float32]")]
    fn encode_image<'py>(
        &self,
        py: Python<'py>,
        frames_rgb: PyReadonlyArray4<'py, u8>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let given = frames(&frames_rgb, MAX_FRAMES)?;
        if given.is_empty() {
            return Err(PyValueError::new_err("frames: at least one is needed"));
        }
        let judge = Arc::clone(&self.judge);
        let encoded = self
            .pooled(py, move |interrupted| in_parts(&given, interrupted, |part| judge.encode_image(part)))?;
        Ok(encoded.map_err(|e| unusable(py, e))?.into_pyarray(py))
    }

    /// Embeddings of captions: float32 `[N, D]`, each row of unit length.
    #[pyo3(signature = (captions) -> "NDArray[numpy.float32]")]
    fn encode_text<'py>(
        &self,
        py: Python<'py>,
        captions: Vec<String>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        if captions.is_empty() || captions.len() > MAX_CAPTIONS {
            return Err(PyValueError::new_err(format!("captions: 1 to {MAX_CAPTIONS} in one call")));
        }
        let judge = Arc::clone(&self.judge);
        let encoded = self.pooled(py, move |interrupted| {
            in_parts(&captions, interrupted, |part| judge.encode_text(part))
        })?;
        Ok(encoded.map_err(|e| ours(py, e))?.into_pyarray(py))
    }
}

impl Engine {
    /// What makes labels: the first model, in whose results no other is named.
    fn labelling(&self) -> RowJudge {
        self.judge.without_judge().without_ensemble()
    }

    /// One of the network's checks on frames in files: `{"code", "detail"}`, or `None` where nothing is wrong.
    fn check_files<'py>(
        &self,
        py: Python<'py>,
        check: fn(&RowJudge, &str, &str, &FrameFiles) -> Result<Option<Violation>>,
        clip_id: String,
        caption: String,
        paths: Vec<PathBuf>,
        first_frame_uri: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let judge = Arc::clone(&self.judge);
        let found = self.pooled(py, move |_| {
            let files = FrameFiles::new(&paths, first_frame_uri.as_deref())?;
            check(&judge, &clip_id, &caption, &files)
        })?;
        let found = found.map_err(|e| ours(py, e))?;
        Ok(pythonize::pythonize(py, &found.map(|v| json!({ "code": v.code(), "detail": v.detail })))?)
    }

    /// Work on this engine's threads.
    fn pooled<T: Send + 'static>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> PyResult<T> {
        let pool = Arc::clone(&self.pool);
        beside(py, move |interrupted| pool.install(|| job(interrupted)))
    }
}

/// Rows of embeddings, a few inputs at a time, so that an interrupt is noticed in between. A row does not depend on
/// its neighbours.
fn in_parts<T, E: From<Error>>(
    inputs: &[T],
    interrupted: &AtomicBool,
    encode: impl Fn(&[T]) -> Result<Array2<f32>, E>,
) -> Result<Array2<f32>, E> {
    const PART: usize = 32;
    let mut rows = Vec::with_capacity(inputs.len().div_ceil(PART));
    for part in inputs.chunks(PART) {
        if interrupted.load(Ordering::SeqCst) {
            return Err(Error::Interrupted.into());
        }
        rows.push(encode(part)?);
    }
    let views: Vec<_> = rows.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views)
        .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")).into())
}

/// Frames that the caller gave and that cannot be used.
fn unusable(py: Python<'_>, failure: MediaFailure) -> PyErr {
    match failure {
        MediaFailure::Clip(why) => PyValueError::new_err(format!("frames: {why}")),
        MediaFailure::Ours(error) => ours(py, error),
    }
}

fn with_environment(value: &impl serde::Serialize, judge: &RowJudge) -> Result<Value> {
    let internal = |e: serde_json::Error| Error::Internal(e.to_string());
    let mut value = serde_json::to_value(value).map_err(internal)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("environment".into(), serde_json::to_value(judge.environment()).map_err(internal)?);
    }
    Ok(value)
}

fn score_value(scores: &ClipScores, judge: &RowJudge) -> Result<Value> {
    with_environment(
        &json!({
            "verdict": scores.verdict(),
            "probe": scores.decoded.probe,
            "frames": frame_reports(&scores.decoded.frames),
            "alignment": scores.alignment,
            "category": scores.category,
            "timings_ms": scores.timings_ms,
        }),
        judge,
    )
}

/// As the program does: an index that cannot be read is an error, not an empty one.
fn known_clips(bytes: &[u8]) -> Result<OverlapIndex> {
    let parsed = OverlapIndex::parse(bytes);
    match parsed.problem {
        Some(why) => Err(Error::Corrupt { what: "record_info".into(), why }),
        None => Ok(parsed.index),
    }
}

/// Sees a run for the caller.
struct Watch<'a> {
    interrupted: &'a Arc<AtomicBool>,
    evidence: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
    /// Rows judged, rows in all.
    counts: Mutex<(usize, usize)>,
}

impl Watch<'_> {
    fn tell(&self, change: impl FnOnce(&mut (usize, usize))) {
        let Some(progress) = &self.progress else { return };
        let (done, rows) = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut counts);
            *counts
        };
        // Progress that fails is the caller's to see in its log; the verdicts do not depend on it.
        Python::attach(|py| {
            if let Err(error) = progress.call1(py, (done, rows)) {
                error.write_unraisable(py, None);
            }
        });
    }
}

impl Observer for Watch<'_> {
    fn rows_sampled(&self, rows: usize) {
        self.tell(|counts| counts.1 = rows);
    }

    fn row_judged(&self, _: &Hotkey, _: IntervalId, _: &RowReport, _: &[Frame]) {
        self.tell(|counts| counts.0 += 1);
    }

    fn evidence(&self, evidence: &Evidence) -> Result<()> {
        let Some(folder) = &self.evidence else { return Ok(()) };
        evidence.write(folder).map(drop)
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
