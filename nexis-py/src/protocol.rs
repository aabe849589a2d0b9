//! The protocol's pure functions, so that a miner's own code agrees with ours. Arguments and results have the
//! shapes of the network's published input and output pairs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nexis_core::check;
use nexis_core::commitment::Credentials;
use nexis_core::overlap::{self, OverlapIndex, PruneInput};
use nexis_core::package::{self, ClipRecord, Manifest, Timestamp};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::sample;
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_core::weights as core_weights;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::convert::{read, read_rows, whole};
use crate::errors::{ours, raised};

/// Lower-case hex SHA-256 of `interval:{id}`.
#[pyfunction]
#[pyo3(signature = (interval_id: "int"))]
pub(crate) fn interval_seed(interval_id: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(IntervalId::new(whole(interval_id, "interval_id")?).seed())
}

/// First block of the interval that holds a block.
#[pyfunction]
#[pyo3(signature = (block: "int"))]
pub(crate) fn current_interval_start(block: &Bound<'_, PyAny>) -> PyResult<u64> {
    Ok(IntervalId::containing(whole(block, "block")?).get())
}

/// Latest interval that may be validated at a block; `None` before there is one.
#[pyfunction]
#[pyo3(signature = (block: "int"))]
pub(crate) fn latest_eligible_interval(block: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    Ok(IntervalId::latest_eligible(whole(block, "block")?).map(IntervalId::get))
}

/// Miners that are validated in an interval, in the order of their draw.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // extracted from Python
pub(crate) fn select_miners(hotkeys: Vec<String>, interval_seed: &str) -> Vec<String> {
    let hotkeys: Vec<Hotkey> = hotkeys.iter().map(Hotkey::new).collect();
    sample::select_miners(interval_seed, &hotkeys).iter().map(ToString::to_string).collect()
}

/// Rows that a validator looks at, ascending; an empty `validator_hotkey` is none.
#[pyfunction]
#[pyo3(signature = (total_rows: "int", miner_hotkey, interval_seed, validator_hotkey=None))]
pub(crate) fn select_row_indices(
    total_rows: &Bound<'_, PyAny>,
    miner_hotkey: &str,
    interval_seed: &str,
    validator_hotkey: Option<&str>,
) -> PyResult<Vec<usize>> {
    /// The draw shuffles all rows: a larger number is a mistake and would only cost memory.
    const MOST: usize = 50_000_000;
    let total_rows: usize = whole(total_rows, "total_rows")?;
    if total_rows > MOST {
        return Err(PyValueError::new_err(format!("total_rows: at most {MOST}, not {total_rows}")));
    }
    let validator = validator_hotkey.map(Hotkey::new);
    Ok(sample::select_row_indices(total_rows, &Hotkey::new(miner_hotkey), validator.as_ref(), interval_seed))
}

/// Id of a clip: 24 hex digits that follow from its source, start and duration.
#[pyfunction]
pub(crate) fn clip_id(source_video_id: &str, clip_start_sec: f64, duration_sec: f64) -> String {
    package::clip_id(source_video_id, clip_start_sec, duration_sec)
}

/// Whether a URL is a source that the network takes.
#[pyfunction]
pub(crate) fn is_allowed_source(url: &str) -> bool {
    overlap::is_allowed_source(url)
}

/// The canonical key of a source: its video id where the URL has one, else the trimmed URL. The protocol derives it
/// from the URL alone; `source_video_id` is taken so that calls look alike.
#[pyfunction]
#[pyo3(signature = (url, source_video_id=""))]
pub(crate) fn source_identity_key(url: &str, source_video_id: &str) -> String {
    let _ = source_video_id;
    overlap::source_identity_key(url)
}

/// Keys under which the global index may know a source.
#[pyfunction]
pub(crate) fn overlap_index_keys(url: &str, source_video_id: &str) -> Vec<String> {
    overlap::overlap_index_keys(url, source_video_id)
}

/// The key under which accepted clips of a source are written to the global index.
#[pyfunction]
pub(crate) fn record_info_key(url: &str) -> String {
    overlap::record_info_key(url)
}

/// A manifest as the network reads it; raises `InvalidManifest` where it does not hold.
#[pyfunction]
#[pyo3(signature = (text: "str | bytes") -> "dict[str, Any]")]
pub(crate) fn parse_manifest<'py>(py: Python<'py>, text: Text) -> PyResult<Bound<'py, PyAny>> {
    let bytes = text.into_bytes();
    if bytes.len() as u64 > Manifest::MAX_BYTES {
        let why = format!("{} bytes; at most {} are read", bytes.len(), Manifest::MAX_BYTES);
        return Err(raised(py, "InvalidManifest", ("", why)));
    }
    let manifest = Manifest::parse(&bytes, Utc::now())
        .map_err(|invalid| raised(py, "InvalidManifest", (invalid.field, invalid.why)))?;
    let written: Value = serde_json::from_str(&manifest.to_json())
        .map_err(|e| raised(py, "CouldNotCheck", (e.to_string(),)))?;
    Ok(pythonize::pythonize(py, &written)?)
}

/// A row as the network reads it; raises `InvalidRow` where it does not hold.
#[pyfunction]
#[pyo3(signature = (row: "Mapping[str, Any]") -> "dict[str, Any]")]
pub(crate) fn validate_row<'py>(py: Python<'py>, row: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let row: Map<String, Value> = read_rows(row, "row")?;
    let record = package::validate_row(&row, &VideoSpec::default().row_rules())
        .map_err(|invalid| raised(py, "InvalidRow", (invalid.field, invalid.why)))?;
    Ok(pythonize::pythonize(py, &record)?)
}

/// Codes of phase 4 over validated rows, in the protocol's order.
#[pyfunction]
#[pyo3(signature = (rows: "Sequence[Mapping[str, Any]]") -> "list[str]")]
pub(crate) fn hard_checks(py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let rows: Vec<Map<String, Value>> = read_rows(rows, "rows")?;
    let rows = records(py, rows, &Map::new())?;
    Ok(VideoSpec::default().hard_checks(&rows).iter().map(check::Violation::code).collect())
}

/// Whether a caption has words that are meant for the judge.
#[pyfunction]
pub(crate) fn has_injection_keyword(caption: &str) -> bool {
    check::has_injection_keyword(caption)
}

/// Which three of `n` frames the category is decided on; `None` below three.
#[pyfunction]
#[pyo3(signature = (n: "int"))]
pub(crate) fn middle_three(n: &Bound<'_, PyAny>) -> PyResult<Option<Vec<usize>>> {
    Ok(check::middle_three(whole(n, "n")?).map(|indices| indices.to_vec()))
}

/// The strict category rule on three frames' scores; `None` unless there are three.
#[pyfunction]
#[pyo3(signature = (frames: "Sequence[Mapping[str, Any]]") -> "dict[str, Any] | None")]
pub(crate) fn category_decision<'py>(
    py: Python<'py>,
    frames: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let frames: Vec<check::FrameScores> = read(frames, "frames")?;
    let decided = check::category_decision(&frames).map(|d| {
        json!({
            "decision": if d.accept { "accept" } else { "reject" },
            "nature_score": d.nature_score,
            "rival_score": d.rival_score,
            "margin": d.margin,
        })
    });
    Ok(pythonize::pythonize(py, &decided)?)
}

/// Score of an accepted interval: the cube of the sampled rows that passed.
#[pyfunction]
#[pyo3(signature = (passed_sample_count: "int"))]
pub(crate) fn score(passed_sample_count: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(core_weights::interval_score(true, whole(passed_sample_count, "passed_sample_count")?))
}

/// Weights that sum to 1 from interval scores (`miner_hotkey`, `accepted`, `passed_sample_count` each).
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // extracted from Python
#[pyo3(signature = (previous_interval_accepted, scores: "Sequence[Mapping[str, Any]]") -> "dict[str, float]")]
pub(crate) fn weights<'py>(
    py: Python<'py>,
    previous_interval_accepted: BTreeMap<String, bool>,
    scores: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let scores: Vec<core_weights::IntervalScore> = read(scores, "scores")?;
    let previous = previous_interval_accepted.iter().map(|(h, ok)| (Hotkey::new(h), *ok)).collect();
    // In order of first appearance, in which `dense_weights` adds them up: a sorted map would change the last bits.
    let weights = PyDict::new(py);
    for (hotkey, weight) in core_weights::normalized_weights(&scores, &previous) {
        weights.set_item(hotkey.as_str(), weight)?;
    }
    Ok(weights)
}

/// A weight for every UID of the metagraph.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // extracted from Python
#[pyo3(signature = (hotkeys, uids: "Sequence[int]", weights: "dict[str, float]") -> "dict[str, Any]")]
pub(crate) fn dense_weights<'py>(
    py: Python<'py>,
    hotkeys: Vec<String>,
    uids: Vec<Bound<'py, PyAny>>,
    weights: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    if hotkeys.len() != uids.len() {
        let (n, m) = (hotkeys.len(), uids.len());
        return Err(PyValueError::new_err(format!("{n} hotkeys and {m} uids; as many of each are needed")));
    }
    let uids: Vec<u16> = uids.iter().map(|uid| whole(uid, "uids")).collect::<PyResult<_>>()?;
    let mut given = Vec::with_capacity(weights.len());
    for (hotkey, weight) in weights {
        given.push((Hotkey::new(hotkey.extract::<String>()?), weight.extract::<f64>()?));
    }
    let metagraph: Vec<_> = hotkeys.iter().map(Hotkey::new).zip(uids).collect();
    Ok(pythonize::pythonize(py, &core_weights::dense_weights(&given, &metagraph))?)
}

/// The 128 characters of a commitment.
#[pyfunction]
pub(crate) fn encode_commitment(
    py: Python<'_>,
    account_id: &str,
    read_access_key: &str,
    read_secret_key: &str,
) -> PyResult<String> {
    let credentials = Credentials::new(account_id, read_access_key, read_secret_key);
    Ok(credentials.map_err(|e| ours(py, e))?.encode())
}

/// The parts of a commitment; `None` where the text is none.
#[pyfunction]
#[pyo3(signature = (text) -> "dict[str, str] | None")]
pub(crate) fn decode_commitment<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let parts = Credentials::decode(text).map(|c| {
        json!({
            "account_id": c.account_id(),
            "read_access_key": c.read_access_key(),
            "read_secret_key": c.read_secret_key(),
        })
    });
    Ok(pythonize::pythonize(py, &parts)?)
}

/// Clip starts by source, from any shape of `record_info.json` that the network has written.
#[pyfunction]
#[pyo3(signature = (text: "str | bytes") -> "dict[str, list[float]]")]
pub(crate) fn parse_record_info<'py>(py: Python<'py>, text: Text) -> PyResult<Bound<'py, PyAny>> {
    let parsed = OverlapIndex::parse(&text.into_bytes());
    let index: Map<String, Value> =
        parsed.index.iter().map(|(key, starts)| (key.to_owned(), json!(starts))).collect();
    Ok(pythonize::pythonize(py, &index)?)
}

/// `record_info.json` as the network writes it, from clip starts by source.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // extracted from Python
#[pyo3(signature = (index: "dict[str, list[float]]") -> "str")]
pub(crate) fn serialize_record_info(index: BTreeMap<String, Vec<f64>>) -> String {
    known(index).to_json()
}

/// One miner's rows, as far as pruning looks at them.
#[derive(Deserialize)]
struct PrunedSubmission {
    hotkey: String,
    #[serde(default)]
    manifest_last_modified: Option<Value>,
    #[serde(default)]
    created_at: Option<Value>,
    records: Vec<Map<String, Value>>,
}

/// Phase 8: rows that overlap the global index, or another miner's earlier rows, are dropped.
///
/// A submission is `{"hotkey", "manifest_last_modified", "created_at", "records"}`; of a record only `clip_id`,
/// `source_video_id`, `source_video_url` and `clip_start_sec` matter. Gives clip ids by hotkey in
/// `kept_after_global` and `kept`, and counts in `global_pruned` and `cross_miner_pruned`.
#[pyfunction]
#[pyo3(signature = (submissions: "Sequence[Mapping[str, Any]]",
    global_index: "dict[str, list[float]] | None" = None) -> "dict[str, Any]")]
pub(crate) fn prune_overlaps<'py>(
    py: Python<'py>,
    submissions: &Bound<'py, PyAny>,
    global_index: Option<BTreeMap<String, Vec<f64>>>,
) -> PyResult<Bound<'py, PyAny>> {
    let given: Vec<PrunedSubmission> = read_rows(submissions, "submissions")?;
    let Value::Object(unnamed) = json!({
        "clip_uri": "", "clip_sha256": "", "first_frame_uri": "", "first_frame_sha256": "",
        "split_group_id": "", "split": "", "duration_sec": 5.0, "width": 1280, "height": 720,
        "fps": 30.0, "num_frames": 150, "has_audio": false, "caption": "", "source_proof": {},
    }) else {
        return Err(PyValueError::new_err("no object"));
    };
    let mut miners: Vec<(Hotkey, DateTime<Utc>, Vec<ClipRecord>)> = Vec::with_capacity(given.len());
    for submission in given {
        let time = submission.manifest_last_modified.filter(|v| !v.is_null()).or(submission.created_at);
        let Some(made_at) = time.as_ref().and_then(Timestamp::from_json) else {
            let why = format!(
                "submission of {}: neither manifest_last_modified nor created_at is a time",
                submission.hotkey
            );
            return Err(PyValueError::new_err(why));
        };
        let rows = records(py, submission.records, &unnamed)?;
        miners.push((Hotkey::new(submission.hotkey), made_at.instant(), rows));
    }
    let inputs: Vec<PruneInput<'_>> =
        miners.iter().map(|(hotkey, made_at, rows)| PruneInput { hotkey, made_at: *made_at, rows }).collect();
    let index = known(global_index.unwrap_or_default());
    let distance = VideoSpec::default().min_start_distance_seconds();
    let ids = |rows: &[ClipRecord], kept: &[usize]| -> Value {
        json!(kept.iter().filter_map(|&k| rows.get(k)).map(|r| r.clip_id.clone()).collect::<Vec<_>>())
    };
    let (mut global, mut cross) = (Map::new(), Map::new());
    let (mut after_global, mut kept) = (Map::new(), Map::new());
    for (input, pruned) in inputs.iter().zip(overlap::prune(&inputs, &index, distance)) {
        let who = input.hotkey.to_string();
        if pruned.global > 0 {
            global.insert(who.clone(), json!(pruned.global));
        }
        if pruned.cross_miner > 0 {
            cross.insert(who.clone(), json!(pruned.cross_miner));
        }
        let left = overlap::prune_global(input.rows, &index, distance);
        after_global.insert(who.clone(), ids(input.rows, &left));
        kept.insert(who, ids(input.rows, &pruned.kept));
    }
    let result = json!({
        "global_pruned": global,
        "kept_after_global": after_global,
        "cross_miner_pruned": cross,
        "kept": kept,
    });
    Ok(pythonize::pythonize(py, &result)?)
}

fn known(index: BTreeMap<String, Vec<f64>>) -> OverlapIndex {
    index.iter().map(|(key, starts)| (key.as_str(), starts.clone())).collect()
}

/// Rows as records, missing columns taken from `defaults`. What is not of a column's type goes through the
/// network's conversions, which name the column that does not hold.
fn records(
    py: Python<'_>,
    rows: Vec<Map<String, Value>>,
    defaults: &Map<String, Value>,
) -> PyResult<Vec<ClipRecord>> {
    let rules = VideoSpec::default().row_rules();
    rows.into_iter()
        .enumerate()
        .map(|(i, row)| {
            let mut full = defaults.clone();
            full.extend(row);
            match serde_json::from_value(Value::Object(full.clone())) {
                Ok(record) => Ok(record),
                Err(_) => package::validate_row(&full, &rules)
                    .map_err(|invalid| raised(py, "InvalidRow", (invalid.field, invalid.why, i))),
            }
        })
        .collect()
}

/// Text or bytes.
#[derive(FromPyObject)]
pub(crate) enum Text {
    #[pyo3(transparent, annotation = "str")]
    Text(String),
    #[pyo3(transparent, annotation = "bytes")]
    Bytes(Vec<u8>),
}

impl Text {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}
