//! Pairs of a clip and a caption with what people said of them, for calibration and measurement.
//!
//! A file of pairs is streamed: JSON lines and CSV line by line, Parquet batch by batch, so that memory does not grow
//! with the number of pairs (a Parquet file itself is held, up to a limit). Three published formats are read as they
//! were published. Clips and pictures are named by paths that lead nowhere outside of one folder.

mod delimited;
mod pickle;
mod published;
mod record;

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::protocol::Category;
use crate::score::align::CAPTION_LIMIT;

/// Most pictures of one pair.
pub const MOST_FRAMES: usize = 64;
/// Most ratings of one pair.
pub const MOST_RATINGS: usize = 16;
/// Longest path, in bytes.
const LONGEST_PATH: usize = 4096;
/// Longest name of a group or subset, in bytes.
const LONGEST_NAME: usize = 256;

/// What is looked at, as the file names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// A video file, by its path below the root.
    Clip(String),
    /// Picture files of one clip in order of time, by their paths below the root.
    Frames(Vec<String>),
}

impl Shown {
    /// The paths.
    pub fn keys(&self) -> &[String] {
        match self {
            Self::Clip(key) => std::slice::from_ref(key),
            Self::Frames(keys) => keys,
        }
    }
}

/// A caption set against a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Where it stands in its file: the line, or the row counted from 1.
    pub row: u64,
    /// The clip or its frames.
    pub shown: Shown,
    /// The caption.
    pub caption: String,
    /// What people said: 1 for a caption that fits and 0 for one that does not, or ratings, greater for better. One
    /// number from each person, none where nobody said anything.
    pub ratings: Vec<f64>,
    /// Pairs of one group are not independent of each other: the same source, the same clip.
    pub group: Option<String>,
    /// What tables break down by.
    pub subset: Option<String>,
    /// What the clip mainly shows.
    pub category: Option<Category>,
}

impl Pair {
    /// The mean of the ratings; `None` of none.
    pub fn rating(&self) -> Option<f64> {
        (!self.ratings.is_empty()).then(|| crate::score::mean(&self.ratings))
    }
}

/// The format of a file of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairFormat {
    /// Columns of a Parquet file.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// `ExpertAnnotations.txt` with `Flickr8k.token.txt` beside it.
    Flickr8kExpert,
    /// `examples.jsonl` with a folder `images` beside it.
    Winoground,
    /// A folder with `candidates_list.pkl`, `human_scores.pkl` and `video_ids.pkl`.
    VatexEval,
}

impl PairFormat {
    const NAMES: [(&'static str, Self); 6] = [
        ("parquet", Self::Parquet),
        ("csv", Self::Csv),
        ("jsonl", Self::Jsonl),
        ("flickr8k-expert", Self::Flickr8kExpert),
        ("winoground", Self::Winoground),
        ("vatex-eval", Self::VatexEval),
    ];

    /// The name of the format.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

impl FromStr for PairFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format).ok_or_else(|| {
            let known = Self::NAMES.map(|(name, _)| name).join(", ");
            Error::usage(format!("format {name:?}"), format!("one of {known} is expected"))
        })
    }
}

/// What reading pairs may cost; every limit is a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairLimits {
    /// Most pairs.
    pub max_pairs: u64,
    /// Largest file of lines, in bytes; it is streamed.
    pub max_bytes: u64,
    /// Longest line, in bytes.
    pub max_line: usize,
    /// Largest Parquet or pickle file, in bytes; it is held in memory while it is read.
    pub max_held_bytes: u64,
}

impl Default for PairLimits {
    fn default() -> Self {
        Self { max_pairs: 1_000_000, max_bytes: 4 << 30, max_line: 1 << 20, max_held_bytes: 256 << 20 }
    }
}

/// How a file of pairs is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairOptions {
    /// The format; by the file's name and first line where not given.
    pub format: Option<PairFormat>,
    /// The folder that paths are relative to and stay within; the file's own where not given.
    pub root: Option<PathBuf>,
    /// What stands between several paths or ratings of one CSV field.
    pub separator: Separator,
    /// The part to read; all of it where not given.
    pub part: Option<Part>,
    /// What it may cost.
    pub limits: PairLimits,
}

/// One of several parts that share no group: to fit on one and to measure on another. Which part a group is in follows
/// from its name alone (of a pair without a group, from its paths).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: u64,
    of: u64,
}

impl Part {
    fn holds(self, pair: &Pair) -> bool {
        let digest = match &pair.group {
            Some(group) => Digest::of(group),
            None => Digest::of(pair.shown.keys().join("\n")),
        };
        digest.seed_int() % self.of == self.number - 1
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text
            .split_once('/')
            .and_then(|(number, of)| Some(Self { number: number.parse().ok()?, of: of.parse().ok()? }));
        parsed.filter(|part| (1..=part.of).contains(&part.number) && part.of <= 1000).ok_or_else(|| {
            Error::usage(format!("part {text:?}"), "one of several parts is expected, for example 1/2")
        })
    }
}

/// What stands between the items of a list in one CSV field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator(pub char);

impl Default for Separator {
    fn default() -> Self {
        Self(';')
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairsRead {
    /// Pairs that were given out.
    pub pairs: u64,
    /// Pairs of a published format that its users leave out: captions that were written for the very picture.
    pub left_out: u64,
    /// SHA-256 of the file; of all files one after another where the format has several.
    pub sha256: Digest,
}

/// A file of pairs, ready to be streamed as often as needed.
#[derive(Clone, Debug)]
pub struct PairSource {
    path: PathBuf,
    format: PairFormat,
    /// As given.
    root: PathBuf,
    /// Without links.
    true_root: PathBuf,
    separator: char,
    part: Option<Part>,
    limits: PairLimits,
}

/// Takes each pair in turn; an error ends the reading.
pub type Visit<'a> = &'a mut dyn FnMut(Pair) -> Result<()>;

impl PairSource {
    /// Finds out the format and the root.
    ///
    /// # Errors
    /// [`Error::Usage`] where the file or root is not there or the format cannot be told.
    pub fn open(path: &Path, options: &PairOptions) -> Result<Self> {
        let name = path.display().to_string();
        if !path.exists() {
            return Err(Error::usage(name, "there is no such file"));
        }
        let (path, format) = match options.format {
            Some(format) => (published::file_of(path, format), format),
            None => detect(path)?,
        };
        let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = options.root.clone().unwrap_or_else(|| match format {
            PairFormat::VatexEval => path.clone(),
            _ => beside.to_path_buf(),
        });
        let true_root =
            root.canonicalize().ok().filter(|root| root.is_dir()).ok_or_else(|| {
                Error::usage(root.display().to_string(), "the root of the paths is no folder")
            })?;
        Ok(Self {
            path,
            format,
            root,
            true_root,
            separator: options.separator.0,
            part: options.part,
            limits: options.limits,
        })
    }

    /// The file, or the folder of a format with several files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format.
    pub fn format(&self) -> PairFormat {
        self.format
    }

    /// The part that is read, where it is not all.
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    /// The folder that paths stay within.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Gives every pair in the order of the file.
    ///
    /// # Errors
    /// [`Error::Usage`] with the line or row where something is wrong; whatever `visit` gives.
    pub fn each(&self, visit: Visit<'_>) -> Result<PairsRead> {
        let mut gate = Gate { source: self, pairs: 0, visit };
        let (left_out, sha256) = match self.format {
            PairFormat::Csv => (0, delimited::csv(self, &mut gate)?),
            PairFormat::Jsonl => (0, delimited::jsonl(self, &mut gate)?),
            PairFormat::Parquet => (0, record::parquet(self, &mut gate)?),
            PairFormat::Flickr8kExpert => published::flickr8k_expert(self, &mut gate)?,
            PairFormat::Winoground => (0, published::winoground(self, &mut gate)?),
            PairFormat::VatexEval => (0, published::vatex_eval(self, &mut gate)?),
        };
        let pairs = gate.pairs;
        if pairs == 0 {
            return Err(Error::usage(self.path.display().to_string(), "there is no pair in it"));
        }
        Ok(PairsRead { pairs, left_out, sha256 })
    }

    /// Where a path of a pair leads; `Err` in words where there is no such file, or a link leads outside of the root.
    ///
    /// # Errors
    /// In words, for the list of what could not be used.
    pub fn locate(&self, key: &str) -> Result<PathBuf, String> {
        let path = self.true_root.join(key);
        let found = path.canonicalize().map_err(|_| format!("{key}: there is no such file"))?;
        if !found.starts_with(&self.true_root) {
            return Err(format!("{key}: a link leads outside of {}", self.root.display()));
        }
        if found.is_file() { Ok(found) } else { Err(format!("{key}: it is no file")) }
    }

    fn error(&self, row: u64, why: impl std::fmt::Display) -> Error {
        let unit = match self.format {
            PairFormat::Parquet | PairFormat::VatexEval => "row",
            _ => "line",
        };
        Error::usage(format!("{}, {unit} {row}", self.path.display()), why.to_string())
    }
}

/// What every format's pairs go through: bounds that hold for all of them.
struct Gate<'a> {
    source: &'a PairSource,
    pairs: u64,
    visit: Visit<'a>,
}

impl Gate<'_> {
    fn give(&mut self, pair: Pair) -> Result<()> {
        let row = pair.row;
        checked(&pair).map_err(|why| self.source.error(row, why))?;
        if self.source.part.is_some_and(|part| !part.holds(&pair)) {
            return Ok(());
        }
        self.pairs += 1;
        if self.pairs > self.source.limits.max_pairs {
            let most = self.source.limits.max_pairs;
            return Err(self.source.error(row, format!("there are more than {most} pairs")));
        }
        (self.visit)(pair)
    }
}

fn checked(pair: &Pair) -> Result<(), String> {
    let keys = pair.shown.keys();
    if keys.is_empty() || keys.len() > MOST_FRAMES {
        return Err(format!("{} frames; 1 to {MOST_FRAMES} are allowed", keys.len()));
    }
    for key in keys {
        if key.is_empty() || key.len() > LONGEST_PATH || key.contains('\0') {
            return Err(format!("a path has {} bytes or a null; 1 to {LONGEST_PATH} are allowed", key.len()));
        }
        let inside =
            Path::new(key).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(format!(
                "the path {key:?} leads outside of the root; name a folder above it with --root, and write paths \
                 relative to it"
            ));
        }
    }
    if pair.caption.trim().is_empty() {
        return Err("the caption is empty".into());
    }
    if pair.caption.len() > CAPTION_LIMIT {
        return Err(format!(
            "the caption has {} bytes; at most {CAPTION_LIMIT} are read",
            pair.caption.len()
        ));
    }
    if pair.ratings.len() > MOST_RATINGS {
        return Err(format!("{} ratings; at most {MOST_RATINGS} are allowed", pair.ratings.len()));
    }
    if let Some(rating) = pair.ratings.iter().find(|rating| !rating.is_finite()) {
        return Err(format!("the label {rating} is no finite number"));
    }
    for name in pair.group.iter().chain(&pair.subset) {
        if name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(format!(
                "a group or subset has {} bytes or a null; at most {LONGEST_NAME} are allowed",
                name.len()
            ));
        }
    }
    Ok(())
}

fn detect(path: &Path) -> Result<(PathBuf, PairFormat)> {
    if path.is_dir() {
        return published::in_folder(path).ok_or_else(|| {
            let why = "it is a folder without examples.jsonl, ExpertAnnotations.txt or candidates_list.pkl; name a \
                       file of pairs";
            Error::usage(path.display().to_string(), why)
        });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let format = match ending {
        "parquet" => PairFormat::Parquet,
        "csv" => PairFormat::Csv,
        "jsonl" | "ndjson" if published::is_winoground(path) => PairFormat::Winoground,
        "jsonl" | "ndjson" => PairFormat::Jsonl,
        "pkl" => return Ok((published::file_of(path, PairFormat::VatexEval), PairFormat::VatexEval)),
        _ if name == "expertannotations.txt" => PairFormat::Flickr8kExpert,
        _ => {
            let why =
                "its format cannot be told by its name; .parquet, .csv and .jsonl can, others with --format";
            return Err(Error::usage(path.display().to_string(), why));
        }
    };
    Ok((path.to_path_buf(), format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str) -> Pair {
        Pair {
            row: 7,
            shown: Shown::Clip(key.into()),
            caption: "a red car".into(),
            ratings: vec![1.0],
            group: None,
            subset: None,
            category: None,
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["a.mp4", "./a/b.mp4", "a b/c;d.png"] {
            assert_eq!(checked(&pair(good)), Ok(()), "{good}");
        }
        for bad in ["", "../a.mp4", "a/../../b.mp4", "/etc/passwd", "a\0b"] {
            assert!(checked(&pair(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let long = Pair { caption: "a ".repeat(CAPTION_LIMIT), ..pair("a") };
        assert!(checked(&long).unwrap_err().contains("at most 16384"));
        let many = Pair { shown: Shown::Frames(vec!["a".into(); 65]), ..pair("a") };
        assert!(checked(&many).unwrap_err().contains("1 to 64"));
        assert!(checked(&Pair { ratings: vec![f64::NAN], ..pair("a") }).is_err());
        assert!(checked(&Pair { ratings: vec![0.0; 17], ..pair("a") }).is_err());
        assert!(checked(&Pair { caption: " \n".into(), ..pair("a") }).is_err());
    }

    #[test]
    fn formats_read_back_as_they_are_written() {
        for (name, format) in PairFormat::NAMES {
            assert_eq!((name.parse::<PairFormat>().unwrap(), format.as_str()), (format, name));
        }
        assert!("tsv".parse::<PairFormat>().unwrap_err().to_string().contains("vatex-eval"));
    }
}
