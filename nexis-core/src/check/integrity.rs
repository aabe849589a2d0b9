//! Phase 3: the dataset is the one that the manifest describes.

use super::{Violation, ViolationKind};
use crate::hash::Digest;

/// Compares digests as the network does: the manifest's text with 64 lower-case digits.
///
/// # Errors
/// `dataset_sha256_mismatch`.
pub fn check_dataset_digest(actual: &Digest, claimed: &str) -> Result<(), Violation> {
    if actual.to_string() == claimed {
        return Ok(());
    }
    Err(Violation::explained(ViolationKind::DatasetSha256Mismatch, format!("it is {actual}")))
}

/// Compares the number of rows with the manifest's.
///
/// # Errors
/// `manifest_record_count_mismatch`.
pub fn check_record_count(rows: usize, claimed: u64) -> Result<(), Violation> {
    if rows as u64 == claimed {
        return Ok(());
    }
    let why = format!("{rows} rows, the manifest says {claimed}");
    Err(Violation::explained(ViolationKind::ManifestRecordCountMismatch, why))
}
