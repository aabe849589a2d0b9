//! What the owner publishes of accepted submissions: manifest and kept rows, as a folder per miner.

use std::path::{Path, PathBuf};

use nexis_core::hash::Digest;
use nexis_core::package::{ClipRecord, rows_to_bytes};
use nexis_core::protocol::IntervalId;
use nexis_core::report::Report;
use nexis_core::verifier::Planned;
use nexis_core::{Error, Result};

/// The folder of an interval's bundles: `{hotkey}/manifest.json` and `{hotkey}/dataset.parquet` in it. It is there as
/// a whole or not at all, and is there before the interval is done in the state.
pub fn folder(data_dir: &Path, interval: IntervalId) -> PathBuf {
    data_dir.join("bundles").join(interval.to_string())
}

/// Writes the bundles of the accepted submissions that have rows left. The manifest is the miner's with the kept
/// rows' number and the new digest.
pub(super) fn write(data_dir: &Path, interval: IntervalId, planned: &Planned, report: &Report) -> Result<()> {
    let whole = folder(data_dir, interval);
    let partial = whole.with_extension("partial");
    remove(&partial)?;
    std::fs::create_dir_all(&partial).map_err(|e| Error::io(&partial, e))?;
    for (submission, decided) in planned.submissions().zip(&report.submissions) {
        let Some(manifest) = submission.manifest().filter(|_| decided.accepted) else { continue };
        let rows: Vec<ClipRecord> = submission.kept_rows().cloned().collect();
        if rows.is_empty() {
            continue;
        }
        let bytes = rows_to_bytes(&rows)?;
        let mut manifest = manifest.clone();
        manifest.record_count = rows.len() as u64;
        manifest.dataset_sha256 = Digest::of(&bytes).to_string();
        let folder = partial.join(submission.miner().as_str());
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        for (name, bytes) in [("manifest.json", manifest.to_json().into_bytes()), ("dataset.parquet", bytes)]
        {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
        }
    }
    remove(&whole)?;
    std::fs::rename(&partial, &whole).map_err(|e| Error::io(&whole, e))
}

/// Removes a folder that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// Removes the folders of intervals before one.
pub(super) fn forget_before(folder: &Path, first: u64) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(folder, e)),
    };
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let interval = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        if interval.is_some_and(|interval| interval < first) {
            remove(&path)?;
        }
    }
    Ok(())
}
