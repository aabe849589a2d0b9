//! Phases 1 to 3: from the files of one submission to validated rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::layout::{dataset_key, manifest_key};
use super::rows::{RowLimits, read_file, rows_from_bytes};
use super::{Asset, AssetSource, ClipRecord, Manifest};
use crate::check::integrity::{check_dataset_digest, check_record_count};
use crate::check::{Violation, ViolationKind};
use crate::error::Result;
use crate::hash::Digest;
use crate::protocol::{Hotkey, IntervalId};
use crate::spec::{DatasetSpec, SpecRegistry};

/// Whose package it is supposed to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedMiner {
    /// Anybody's: the manifest's word is taken.
    Anyone,
    /// This miner's, to the letter.
    Hotkey(Hotkey),
    /// That of a bucket, which is named after the hotkey in lower case.
    Bucket(String),
}

impl ExpectedMiner {
    /// From the name of a folder of packages: a name without capitals is a bucket's, since a hotkey has
    /// some; any other is a hotkey.
    pub fn from_folder_name(name: &str) -> Self {
        let name = name.trim();
        if name.to_lowercase() == name {
            Self::Bucket(name.to_owned())
        } else {
            Self::Hotkey(Hotkey::new(name))
        }
    }

    fn is(&self, hotkey: &Hotkey) -> bool {
        match self {
            Self::Anyone => true,
            Self::Hotkey(expected) => expected == hotkey,
            Self::Bucket(name) => *name == hotkey.bucket_name(),
        }
    }
}

/// What a package must say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedIdentity {
    /// The miner.
    pub miner: ExpectedMiner,
    /// The interval asked for.
    pub interval: IntervalId,
}

/// What the operator takes, and what reading may cost.
#[derive(Clone, Debug, Default)]
pub struct PackageRules {
    /// The specs known.
    pub registry: SpecRegistry,
    /// Ids of the specs enabled; `None` for all that are known.
    pub enabled_specs: Option<BTreeSet<String>>,
    /// The category that packages must claim; `None` for the spec's own.
    pub category: Option<String>,
    /// Limits on the dataset.
    pub limits: RowLimits,
}

/// One submission after phases 1 to 3.
#[derive(Clone)]
pub struct Package {
    /// What the miner says.
    pub manifest: Manifest,
    /// The spec that the manifest names.
    pub spec: Arc<dyn DatasetSpec>,
    /// The rows, in file order.
    pub rows: Vec<ClipRecord>,
    /// SHA-256 of `manifest.json`.
    pub manifest_digest: Digest,
    /// SHA-256 of `dataset.parquet`.
    pub dataset_digest: Digest,
    /// The store's last-modified time of the manifest, where it keeps one that means something.
    pub manifest_last_modified: Option<DateTime<Utc>>,
    /// Where the assets are.
    pub source: Arc<dyn AssetSource>,
}

/// What became of opening a submission.
#[derive(Clone, Debug)]
pub enum Opened {
    /// Phases 1 to 3 passed.
    Package(Box<Package>),
    /// The first thing that was wrong, with the manifest where that far it held.
    Rejected {
        /// The miner's fault.
        violation: Violation,
        /// The manifest, where it could be read.
        manifest: Option<Box<Manifest>>,
    },
}

impl Package {
    /// Fetches and checks a submission: the files are there; the manifest holds and names the expected
    /// miner, interval, spec and category; the dataset has its digest, its rows hold and are as many as
    /// claimed. Stops at the first failure. `now` stands in for a missing `created_at`.
    ///
    /// # Errors
    /// Where a file could not be read, which is ours.
    pub fn open(
        source: Arc<dyn AssetSource>,
        expected: &ExpectedIdentity,
        rules: &PackageRules,
        now: DateTime<Utc>,
    ) -> Result<Opened> {
        if let Some(violation) = source.refused() {
            return Ok(rejected(violation, None));
        }
        let (manifest_key, dataset_key) = (manifest_key(expected.interval), dataset_key(expected.interval));
        let (Some(manifest_file), Some(dataset_file)) =
            (source.get(&manifest_key)?, source.get(&dataset_key)?)
        else {
            return Ok(rejected(Violation::new(ViolationKind::MissingSubmissionFiles), None));
        };
        let invalid =
            |why: String| rejected(Violation::explained(ViolationKind::ManifestSchemaInvalid, why), None);
        let Some(bytes) = read_asset(&manifest_file, Manifest::MAX_BYTES)? else {
            return Ok(invalid(format!("larger than {} bytes", Manifest::MAX_BYTES)));
        };
        let manifest = match Manifest::parse(&bytes, now) {
            Ok(manifest) => manifest,
            Err(e) => return Ok(invalid(e.to_string())),
        };
        let spec = match check_manifest(&manifest, expected, rules) {
            Ok(spec) => spec,
            Err(violation) => return Ok(rejected(violation, Some(manifest))),
        };
        let Some(dataset) = read_asset(&dataset_file, rules.limits.max_file_bytes)? else {
            let why = format!("larger than {} bytes", rules.limits.max_file_bytes);
            let violation = Violation::explained(ViolationKind::DatasetSchemaInvalid, why);
            return Ok(rejected(violation, Some(manifest)));
        };
        // The bytes that are hashed are the bytes that are parsed.
        let dataset_digest = Digest::of(&dataset);
        let rows = check_dataset_digest(&dataset_digest, &manifest.dataset_sha256)
            .and_then(|()| {
                rows_from_bytes(dataset, &spec.row_rules(), &rules.limits)
                    .map_err(|why| Violation::explained(ViolationKind::DatasetSchemaInvalid, why))
            })
            .and_then(|rows| check_record_count(rows.len(), manifest.record_count).map(|()| rows));
        match rows {
            Ok(rows) => Ok(Opened::Package(Box::new(Self {
                spec,
                rows,
                manifest_digest: Digest::of(&bytes),
                dataset_digest,
                manifest_last_modified: source.last_modified(&manifest_key)?,
                source,
                manifest,
            }))),
            Err(violation) => Ok(rejected(violation, Some(manifest))),
        }
    }

    /// When the package was made, for the order among miners: the store's word, else the miner's.
    pub fn made_at(&self) -> DateTime<Utc> {
        self.manifest_last_modified.unwrap_or_else(|| self.manifest.created_at.instant())
    }

    /// The same package with only some of its rows, in the order given; what phase 8 leaves.
    #[must_use]
    pub fn with_rows(&self, kept: &[usize]) -> Self {
        let rows = kept.iter().filter_map(|i| self.rows.get(*i)).cloned().collect();
        Self { rows, ..self.clone() }
    }
}

/// A file's bytes, or `None` where it is larger than is taken: by its announced length, or when it is read.
fn read_asset(asset: &Asset, max_bytes: u64) -> Result<Option<Bytes>> {
    if asset.len > max_bytes { Ok(None) } else { read_file(&asset.path, max_bytes) }
}

fn rejected(violation: Violation, manifest: Option<Manifest>) -> Opened {
    Opened::Rejected { violation, manifest: manifest.map(Box::new) }
}

/// Phase 2 after the schema: identity, spec, category.
fn check_manifest(
    manifest: &Manifest,
    expected: &ExpectedIdentity,
    rules: &PackageRules,
) -> std::result::Result<Arc<dyn DatasetSpec>, Violation> {
    if !expected.miner.is(&manifest.miner_hotkey) || manifest.interval_id != expected.interval {
        let why = format!("it says miner {}, interval {}", manifest.miner_hotkey, manifest.interval_id);
        return Err(Violation::explained(ViolationKind::ManifestIdentityMismatch, why));
    }
    let spec = rules.registry.find(
        &manifest.spec_id,
        &manifest.protocol_version,
        &manifest.schema_version,
        rules.enabled_specs.as_ref(),
    )?;
    let wanted = rules.category.as_deref().unwrap_or_else(|| spec.category());
    match &manifest.category {
        None => Err(Violation::new(ViolationKind::MissingCategoryMetadata)),
        Some(category) if category != wanted => {
            Err(Violation::new(ViolationKind::UnsupportedCategory { category: category.clone() }))
        }
        Some(_) => Ok(spec),
    }
}

impl std::fmt::Debug for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Package")
            .field("manifest", &self.manifest)
            .field("rows", &self.rows.len())
            .field("dataset_digest", &self.dataset_digest)
            .finish_non_exhaustive()
    }
}
