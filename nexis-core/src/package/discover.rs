//! From a folder to the submissions in it.

use std::path::{Path, PathBuf};

use super::ExpectedMiner;
use crate::error::{Error, Result};
use crate::protocol::{Hotkey, IntervalId};

/// A package found on disk: a bucket's folder and an interval in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bucket's folder, the root of every key.
    pub bucket: PathBuf,
    /// The interval.
    pub interval: IntervalId,
    /// The miner that the manifest must name: the caller's, or the one that the bucket is named after.
    pub miner: ExpectedMiner,
}

impl Found {
    /// A name for the miner before its manifest is read.
    pub fn label(&self) -> String {
        match &self.miner {
            ExpectedMiner::Hotkey(hotkey) => hotkey.to_string(),
            ExpectedMiner::Bucket(name) => name.clone(),
            ExpectedMiner::Anyone => {
                self.bucket.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        }
    }
}

/// Finds the packages under a path: an interval folder, a bucket folder, or a folder of buckets.
///
/// A folder whose name is an address (or `hotkey`, where given) binds the manifests below it to that
/// address; links are not followed, so that a package cannot borrow another's files.
///
/// # Errors
/// [`Error::Usage`] where the path is none of the three, with what was seen.
pub fn discover(path: &Path, interval: Option<IntervalId>, hotkey: Option<&Hotkey>) -> Result<Vec<Found>> {
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::usage(
            path.display().to_string(),
            "there is no such folder; give an interval folder, a bucket folder or a folder of buckets",
        ),
        _ => Error::io(path, e),
    })?;
    if !metadata.is_dir() {
        return Err(Error::usage(
            path.display().to_string(),
            "this is a file; give the folder that holds manifest.json, the bucket's folder above it, or the \
             folder of all buckets (to score one clip: nexis score)",
        ));
    }
    // The last part of `.` or `a/..` is no name: identities come from the real path.
    let path = &std::fs::canonicalize(path).map_err(|e| Error::io(path, e))?;

    if let Some(found) = as_interval_folder(path, interval, hotkey) {
        return found.map(|f| vec![f]);
    }
    let intervals = interval_folders(path)?;
    if !intervals.is_empty() {
        return bucket(path, &intervals, interval, hotkey);
    }
    let mut found = Vec::new();
    let (mut others, mut met) = (false, false);
    for folder in folders(path)? {
        let intervals = interval_folders(&folder)?;
        let named = is_address(&folder);
        if intervals.is_empty() && !named {
            continue;
        }
        if hotkey.is_some_and(|h| named && name_of(&folder).to_lowercase() != h.bucket_name()) {
            others = true;
            continue;
        }
        met |= named;
        found.extend(bucket(&folder, &intervals, interval, hotkey)?);
    }
    if found.is_empty() {
        return Err(Error::usage(
            path.display().to_string(),
            match (hotkey, interval) {
                (Some(hotkey), _) if others && !met => format!("no bucket of {hotkey} is here, only other miners'"),
                (_, Some(id)) => format!("no bucket here has an interval {id}"),
                _ => "no manifest.json, no interval folder (named by its number) and no bucket with one is here"
                    .to_owned(),
            },
        ));
    }
    Ok(found)
}

fn as_interval_folder(
    path: &Path,
    interval: Option<IntervalId>,
    hotkey: Option<&Hotkey>,
) -> Option<Result<Found>> {
    let numbered = interval_of(path);
    let has_files =
        ["manifest.json", "dataset.parquet"].iter().any(|f| path.join(f).symlink_metadata().is_ok());
    if !has_files && numbered.is_none() {
        return None;
    }
    let (Some(bucket), Some(id)) = (path.parent(), numbered) else {
        return Some(Err(Error::usage(
            path.display().to_string(),
            "a package's folder is named by its interval, as in 5Fh.../7756900/manifest.json; rename it",
        )));
    };
    if interval.is_some_and(|asked| asked != id) {
        return Some(Err(Error::usage(
            path.display().to_string(),
            format!("this folder holds interval {id}, not the interval asked for"),
        )));
    }
    Some(Ok(Found { bucket: bucket.to_path_buf(), interval: id, miner: expected(bucket, hotkey) }))
}

fn bucket(
    folder: &Path,
    intervals: &[IntervalId],
    interval: Option<IntervalId>,
    hotkey: Option<&Hotkey>,
) -> Result<Vec<Found>> {
    let miner = expected(folder, hotkey);
    // An interval that was asked for is judged even where the bucket lacks it: that is a failure
    // of its miner, not something to pass over.
    let wanted = interval.map_or_else(|| intervals.to_vec(), |id| vec![id]);
    Ok(wanted
        .into_iter()
        .map(|interval| Found { bucket: folder.to_path_buf(), interval, miner: miner.clone() })
        .collect())
}

/// The real folders directly below a folder, sorted by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let entry = entry.map_err(|e| Error::io(path, e))?;
        if entry.file_type().map_err(|e| Error::io(entry.path(), e))?.is_dir() {
            out.push(entry.path());
        }
    }
    out.sort();
    Ok(out)
}

fn interval_folders(path: &Path) -> Result<Vec<IntervalId>> {
    let mut intervals: Vec<_> = folders(path)?.iter().filter_map(|f| interval_of(f)).collect();
    intervals.sort();
    Ok(intervals)
}

fn interval_of(path: &Path) -> Option<IntervalId> {
    let name = path.file_name()?.to_str()?;
    let plain = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_digit())
        && (name == "0" || !name.starts_with('0'));
    if !plain {
        return None;
    }
    name.parse().ok().map(IntervalId::new)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether a folder is named like an address: base58 of the usual length, in any case.
fn is_address(path: &Path) -> bool {
    let name = name_of(path);
    (46..=49).contains(&name.len())
        && name.starts_with('5')
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn expected(bucket: &Path, hotkey: Option<&Hotkey>) -> ExpectedMiner {
    match hotkey {
        Some(hotkey) => ExpectedMiner::Hotkey(hotkey.clone()),
        None if is_address(bucket) => ExpectedMiner::from_folder_name(name_of(bucket)),
        None => ExpectedMiner::Anyone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "5fhneww8ezcrrmkuxvj8dtk1ggcwqtf9gqyp9vf6pmgqa5kd";
    const B: &str = "5grwvaef5zxb26fz9rcqpdws57cterhpnehxcpcnohgkutqy";

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        root
    }

    #[test]
    fn finds_all_three_forms() {
        let root = tree(&[
            &format!("{A}/100/manifest.json"),
            &format!("{A}/200/manifest.json"),
            &format!("{B}/200/dataset.parquet"),
        ]);
        let names =
            |found: Vec<Found>| found.iter().map(|f| (f.label(), f.interval.get())).collect::<Vec<_>>();
        assert_eq!(
            names(discover(root.path(), None, None).unwrap()),
            [(A.to_owned(), 100), (A.to_owned(), 200), (B.to_owned(), 200)]
        );
        assert_eq!(
            names(discover(&root.path().join(A), None, None).unwrap()),
            [(A.to_owned(), 100), (A.to_owned(), 200)]
        );
        assert_eq!(
            names(discover(&root.path().join(A).join("100"), None, None).unwrap()),
            [(A.to_owned(), 100)]
        );
    }

    #[test]
    fn a_bucket_without_the_interval_asked_for_is_still_judged() {
        let root = tree(&[&format!("{A}/100/manifest.json"), &format!("{B}/200/manifest.json")]);
        let found = discover(root.path(), Some(IntervalId::new(100)), None).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|f| f.interval.get() == 100));
    }

    #[test]
    fn says_what_is_wrong_with_a_path() {
        let root = tree(&["readme.txt"]);
        let message = |path: &Path| discover(path, None, None).unwrap_err().to_string();
        assert!(message(root.path()).contains("no manifest.json"));
        assert!(message(&root.path().join("readme.txt")).contains("this is a file"));
        assert!(message(&root.path().join("nowhere")).contains("no such folder"));
        let unnamed = tree(&["mine/manifest.json"]);
        assert!(message(&unnamed.path().join("mine")).contains("named by its interval"));
    }

    #[cfg(unix)]
    #[test]
    fn does_not_follow_links() {
        let root = tree(&[&format!("{A}/100/manifest.json")]);
        std::os::unix::fs::symlink(root.path().join(A), root.path().join(B)).unwrap();
        let found = discover(root.path(), None, None).unwrap();
        assert_eq!(found.len(), 1);
    }
}
