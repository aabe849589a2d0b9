//! Evidence: for every judged row one record of everything that led to its scores, and the
//! comparison that `nexis replay` makes.

mod canonical;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use canonical::{canonical_digest, to_canonical_json};

use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::{ClipProbe, MediaLimits};
use crate::protocol::{Hotkey, IntervalId};
use crate::report::{AlignmentReport, CategoryReport, Environment, FrameReport};

/// Version of the record's shape.
pub const EVIDENCE_VERSION: u32 = 1;

/// Everything that led to the scores of one row; nothing that varies from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`EVIDENCE_VERSION`].
    pub evidence_version: u32,
    /// What made the scores.
    pub environment: Environment,
    /// Limits of the decoder.
    pub limits: MediaLimits,
    /// The package that the row belongs to.
    pub package: PackageEvidence,
    /// How the row came to be judged.
    pub sampling: SamplingEvidence,
    /// The row.
    pub row: RowEvidence,
    /// The stream.
    pub probe: Option<ClipProbe>,
    /// The frames that were judged.
    pub frames: Vec<FrameReport>,
    /// Caption against frames.
    pub alignment: Option<AlignmentReport>,
    /// Category.
    pub category: Option<CategoryReport>,
    /// Codes of this row.
    pub failures: Vec<String>,
}

/// A package by its digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEvidence {
    /// The miner.
    pub miner_hotkey: Hotkey,
    /// The interval.
    pub interval_id: IntervalId,
    /// SHA-256 of `manifest.json`.
    pub manifest_sha256: Digest,
    /// SHA-256 of `dataset.parquet`.
    pub dataset_sha256: Digest,
    /// Rows in the dataset.
    pub record_count: usize,
}

/// The inputs and the outcome of row sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingEvidence {
    /// Seed of the interval.
    pub interval_seed: String,
    /// The validator whose sample it is, where one was given.
    pub validator_hotkey: Option<Hotkey>,
    /// Whether every row was judged instead of a sample.
    pub all_rows: bool,
    /// Positions in the dataset of the rows that were left after pruning, where any were pruned.
    pub kept_rows: Option<Vec<usize>>,
    /// Positions in the dataset of the rows that were judged.
    pub sampled_rows: Vec<usize>,
}

/// The row as its dataset gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowEvidence {
    /// Position in the dataset.
    pub index: usize,
    /// The clip.
    pub clip_id: String,
    /// Digest of the clip as the row gives it, and as it was found to be.
    pub clip_sha256: String,
    /// The caption.
    pub caption: String,
}

impl Evidence {
    /// Reads a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the text is no evidence of a version that this program knows.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let corrupt = |why: String| Error::Corrupt { what: format!("evidence {name}"), why };
        let value: Value = serde_json::from_slice(bytes).map_err(|e| corrupt(format!("no JSON: {e}")))?;
        let version = value.get("evidence_version").and_then(Value::as_u64);
        if version != Some(u64::from(EVIDENCE_VERSION)) {
            return Err(corrupt(match version {
                Some(v) => format!("its version is {v}; this program reads version {EVIDENCE_VERSION}"),
                None => "it has no evidence_version: is this an evidence file?".to_owned(),
            }));
        }
        serde_json::from_value(value).map_err(|e| corrupt(e.to_string()))
    }

    /// Writes the record into a folder, under its own digest as name (a clip id is the miner's word and no file
    /// name), never half of it, and gives the path.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.json", self.digest()?));
        let partial = path.with_extension("partial");
        std::fs::write(&partial, to_canonical_json(self)?).map_err(|e| Error::io(&partial, e))?;
        std::fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
        Ok(path)
    }

    /// SHA-256 of the canonical text: the record's name.
    ///
    /// # Errors
    /// As [`to_canonical_json`].
    pub fn digest(&self) -> Result<Digest> {
        canonical_digest(self)
    }

    /// Compares a record with a recomputed one: every leaf that differs, by its path.
    ///
    /// # Errors
    /// As [`to_canonical_json`].
    pub fn differences(&self, recomputed: &Self) -> Result<Vec<Difference>> {
        let leaves = |evidence: &Self| -> Result<BTreeMap<String, Value>> {
            let value =
                serde_json::to_value(evidence).map_err(|e| Error::Internal(format!("evidence: {e}")))?;
            let mut out = BTreeMap::new();
            flatten(String::new(), value, &mut out);
            Ok(out)
        };
        let mut recomputed = leaves(recomputed)?;
        let mut differences = Vec::new();
        for (path, recorded) in leaves(self)? {
            let found = recomputed.remove(&path);
            if found.as_ref() != Some(&recorded) {
                differences.push(Difference { path, recorded: Some(recorded), recomputed: found });
            }
        }
        differences.extend(recomputed.into_iter().map(|(path, value)| Difference {
            path,
            recorded: None,
            recomputed: Some(value),
        }));
        differences.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(differences)
    }
}

/// One leaf in which a record and its recomputation differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where, as `frames.2.rgb_sha256`.
    pub path: String,
    /// What the record says.
    pub recorded: Option<Value>,
    /// What this machine found.
    pub recomputed: Option<Value>,
}

impl Difference {
    /// The relative size of a numeric difference, to tell another device's rounding from another
    /// input.
    pub fn magnitude(&self) -> Option<f64> {
        let a = self.recorded.as_ref()?.as_f64()?;
        let b = self.recomputed.as_ref()?.as_f64()?;
        Some((a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE))
    }
}

fn flatten(path: String, value: Value, out: &mut BTreeMap<String, Value>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(join(&key), value, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, value) in items.into_iter().enumerate() {
                flatten(join(&i.to_string()), value, out);
            }
        }
        leaf => {
            out.insert(path, leaf);
        }
    }
}
