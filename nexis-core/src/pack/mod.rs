//! From clips and captions on disk to a correct interval package (protocol page, 2 and 4).
//!
//! A clip that is of the size and length asked for is copied byte for byte. Any other is refused, or, where the
//! caller says so, cut, scaled and encoded anew. The package is put together in a folder beside its place and
//! renamed at the end, its manifest written last: whoever looks sees a whole package or none.
//!
//! Packing decides what a row says of its clip. It does not decide whether a validator would take the row: that is
//! the verifier's, and [`Advice`] brings what it found back to the rows, each with what to do about it.

mod advice;
mod fit;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use advice::{Advice, Problem};
pub use fit::Fit;

use self::fit::Cut;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::demux::Demuxed;
use crate::media::encode::{ClipOptions, encode_clip, write_jpeg};
use crate::media::{ClipProbe, FfmpegDecoder, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
use crate::overlap::source::source_identity_key;
use crate::package::{
    ClipRecord, Manifest, RowLimits, RowRules, Timestamp, clip_id, validate_row, write_rows,
};
use crate::protocol::{Hotkey, IntervalId};
use crate::python;
use crate::spec::{DatasetSpec, VideoSpec};
use crate::verifier::FRAMES_PER_CLIP;

/// Quality of first-frame pictures, 1 to 100.
const JPEG_QUALITY: u8 = 92;

/// Items named one by one in an error.
const NAMED_ITEMS: usize = 20;

/// The digest of a file that is not written yet.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Tells apart those who pack into one folder at the same time.
static PACKERS: AtomicU64 = AtomicU64::new(0);

/// One row to be packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackItem {
    /// The video file.
    pub clip: PathBuf,
    /// What the clip shows.
    pub caption: String,
    /// Address of the video that the clip was taken from.
    pub source_video_url: String,
    /// That video's id; taken from the address where absent.
    #[serde(default)]
    pub source_video_id: Option<String>,
    /// Start of the clip in that video, in seconds.
    pub clip_start_sec: f64,
    /// Start of the clip in the file, in seconds from its first frame: 0 where the file is the clip.
    #[serde(default)]
    pub file_start_sec: f64,
    /// `train` where absent.
    #[serde(default)]
    pub split: Option<String>,
    /// Further facts about the source, for `source_proof`.
    #[serde(default)]
    pub source_proof: BTreeMap<String, String>,
}

/// How a package is made.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The miner.
    pub hotkey: Hotkey,
    /// The interval.
    pub interval: IntervalId,
    /// When the manifest says it was made.
    pub created_at: DateTime<Utc>,
    /// The subnet.
    pub netuid: u64,
    /// What becomes of clips of another size or length.
    pub fit: Fit,
    /// Whether a package that is already there may be replaced.
    pub overwrite: bool,
    /// What a package must be.
    pub spec: VideoSpec,
    /// Limits on a clip in the package: those of the validators.
    pub clip_limits: MediaLimits,
    /// Limits on a file that a clip is cut from. The video in it is held in memory.
    pub source_limits: MediaLimits,
    /// How clips are encoded; the frame rate is the file's.
    pub encoding: ClipOptions,
}

impl PackOptions {
    /// With the defaults: netuid 70, clips that do not fit are refused, nothing is replaced; files of up to
    /// 1 GiB and half an hour.
    pub fn new(hotkey: Hotkey, interval: IntervalId, created_at: DateTime<Utc>) -> Self {
        Self {
            hotkey,
            interval,
            created_at,
            netuid: 70,
            fit: Fit::default(),
            overwrite: false,
            spec: VideoSpec::default(),
            clip_limits: MediaLimits::default(),
            source_limits: MediaLimits {
                max_bytes: 1 << 30,
                max_duration_seconds: 1800.0,
                max_frames: 108_000,
                max_wall: Duration::from_secs(600),
                ..MediaLimits::default()
            },
            encoding: ClipOptions { crf: 20, ..ClipOptions::default() },
        }
    }
}

/// Why one item cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The clip's path leads nowhere.
    NotFound,
    /// The file is no video that can be decoded within the limits.
    Undecodable,
    /// Size, length or container are not as asked for, and clips are not made to fit.
    DoesNotFit,
    /// What the row would say does not hold.
    InvalidRow,
    /// Another item has the same source and start.
    Duplicate,
}

/// An item that cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemProblem {
    /// Its place in the list, from 0.
    pub item: usize,
    /// Its file.
    pub clip: PathBuf,
    /// The kind of trouble.
    pub obstacle: Obstacle,
    /// The trouble in words, and what would help.
    pub why: String,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum PackFailure {
    /// The items' fault: all of them that cannot be packed, in order.
    #[error("{}", in_words(.0))]
    Items(Vec<ItemProblem>),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

fn in_words(problems: &[ItemProblem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(NAMED_ITEMS)
        .map(|p| format!("item {} ({}): {}", p.item, p.clip.display(), p.why))
        .collect();
    if problems.len() > NAMED_ITEMS {
        lines.push(format!("and {} more", problems.len() - NAMED_ITEMS));
    }
    lines.join("\n")
}

/// How a clip came into the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// Byte for byte.
    Copied,
    /// Cut, scaled or both.
    Encoded,
}

/// A row of the package.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PackedRow {
    /// The row as it stands in the dataset.
    pub record: ClipRecord,
    /// The file that the clip came from.
    pub clip: PathBuf,
    /// How it came into the package.
    pub treatment: Treatment,
    /// What did not fit, where it was encoded.
    pub reasons: Vec<String>,
}

/// A package that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Packed {
    /// `{out}/{interval}`, with `manifest.json` in it.
    pub folder: PathBuf,
    /// What the manifest says.
    pub manifest: Manifest,
    /// The rows, in the order of the items.
    pub rows: Vec<PackedRow>,
}

impl Packed {
    /// The rows as they stand in the dataset.
    pub fn records(&self) -> Vec<ClipRecord> {
        self.rows.iter().map(|row| row.record.clone()).collect()
    }
}

/// Sees packing as it goes, from several threads.
pub trait PackObserver: Sync {
    /// So many rows of so many are done.
    fn packed(&self, _done: usize, _total: usize) {}

    /// Whether to stop; looked at before every frame that is encoded.
    fn interrupted(&self) -> bool {
        false
    }
}

/// An observer that sees nothing.
pub struct Unobserved;

impl PackObserver for Unobserved {}

/// An item that can be packed.
struct Planned<'a> {
    item: &'a PackItem,
    record: ClipRecord,
    cut: Option<Cut>,
    reasons: Vec<String>,
}

/// What goes wrong with one item: its own fault, or the end of everything.
enum Refusal {
    Item(Obstacle, String),
    Ours(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<MediaFailure> for Refusal {
    fn from(failure: MediaFailure) -> Self {
        match failure {
            MediaFailure::Clip(why) => {
                Self::Item(Obstacle::Undecodable, format!("it cannot be decoded as video: {why}"))
            }
            MediaFailure::Ours(Error::Io { path, source })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::Item(Obstacle::NotFound, format!("there is no file {}", path.display()))
            }
            MediaFailure::Ours(error) => Self::Ours(error),
        }
    }
}

/// Packs `items` into `{out}/{interval}`, `out` being the miner's bucket. Every item is looked at before anything
/// is written. Runs in the current rayon pool; the package does not depend on the number of threads.
///
/// # Errors
/// [`PackFailure::Items`] with every item that cannot be packed; [`Error::Usage`] where there are no items or too
/// many, the hotkey or the interval is none, or the folder is already there (or, with `overwrite`, holds
/// something else than a package); [`Error::Io`] where something cannot be written; [`Error::Interrupted`]. Whatever
/// the error, nothing of the package is left.
pub fn pack(
    items: &[PackItem],
    out: &Path,
    options: &PackOptions,
    decoder: &FfmpegDecoder,
    observer: &dyn PackObserver,
) -> Result<Packed, PackFailure> {
    let folder = out.join(options.interval.to_string());
    check_call(items, &folder, options)?;
    let planned = gather(items, items, |item| {
        if observer.interrupted() {
            return Err(Error::Interrupted.into());
        }
        plan(item, options, decoder)
    })?;
    refuse_duplicates(items, &planned)?;

    let partial = Partial::new(out, options.interval)?;
    let done = AtomicUsize::new(0);
    let rows = gather(items, &planned, |planned| {
        let row = write_row(planned, &partial.path, options, decoder, observer)?;
        observer.packed(done.fetch_add(1, Ordering::Relaxed) + 1, items.len());
        Ok(row)
    })?;
    let records: Vec<ClipRecord> = rows.iter().map(|row| row.record.clone()).collect();
    let dataset = partial.path.join("dataset.parquet");
    write_rows(&dataset, &records)?;
    let manifest = Manifest {
        protocol_version: options.spec.protocol_version.clone(),
        schema_version: options.spec.schema_version.clone(),
        spec_id: options.spec.id.clone(),
        category: Some(options.spec.category.clone()),
        netuid: options.netuid,
        miner_hotkey: options.hotkey.clone(),
        interval_id: options.interval,
        created_at: Timestamp::from_utc(options.created_at),
        record_count: records.len() as u64,
        dataset_sha256: digest_of(&dataset)?.to_string(),
    };
    let path = partial.path.join("manifest.json");
    fs::write(&path, manifest.to_json()).map_err(|e| Error::io(&path, e))?;
    if observer.interrupted() {
        return Err(Error::Interrupted.into());
    }
    partial.publish(&folder)?;
    Ok(Packed { folder, manifest, rows })
}

fn check_call(items: &[PackItem], folder: &Path, options: &PackOptions) -> Result<()> {
    let most = RowLimits::default().max_rows;
    if items.is_empty() || items.len() > most {
        return Err(Error::usage(format!("{} items", items.len()), format!("1 to {most} are expected")));
    }
    let hotkey = options.hotkey.as_str();
    if hotkey.is_empty() || hotkey.chars().any(char::is_whitespace) {
        return Err(Error::usage(format!("hotkey {hotkey:?}"), "a miner's SS58 address is expected"));
    }
    if !options.interval.get().is_multiple_of(IntervalId::BLOCKS) {
        let begin = IntervalId::containing(options.interval.get());
        return Err(Error::usage(
            format!("interval {}", options.interval),
            format!("it is named by its first block, a multiple of {}, here {begin}", IntervalId::BLOCKS),
        ));
    }
    match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(folder, e)),
        Ok(_) if !options.overwrite => Err(Error::usage(
            folder.display().to_string(),
            "it is already there; allow overwriting it, or choose another folder or interval",
        )),
        // Nothing but a package is ever deleted.
        Ok(found) if found.is_dir() && is_package(folder)? => Ok(()),
        Ok(_) => Err(Error::usage(
            folder.display().to_string(),
            "it is no package (there is no manifest.json in it), so it is not overwritten",
        )),
    }
}

fn is_package(folder: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    Ok(folder.join("manifest.json").is_file() || entries.next().is_none())
}

/// Runs `work` side by side on what there is for each item, and gives either all results, in order, or all items
/// at fault.
fn gather<'a, T: Sync, R: Send>(
    items: &[PackItem],
    inputs: &'a [T],
    work: impl Fn(&'a T) -> Result<R, Refusal> + Sync + Send,
) -> Result<Vec<R>, PackFailure> {
    let outcomes: Vec<_> = inputs.par_iter().map(work).collect();
    let mut results = Vec::with_capacity(items.len());
    let mut problems = Vec::new();
    for (item, (given, outcome)) in items.iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(result) => results.push(result),
            Err(Refusal::Ours(error)) => return Err(error.into()),
            Err(Refusal::Item(obstacle, why)) => {
                problems.push(ItemProblem { item, clip: given.clip.clone(), obstacle, why });
            }
        }
    }
    if problems.is_empty() { Ok(results) } else { Err(PackFailure::Items(problems)) }
}

/// Looks at an item: what its row will say, and what has to be done to its clip.
fn plan<'a>(
    item: &'a PackItem,
    options: &PackOptions,
    decoder: &FfmpegDecoder,
) -> Result<Planned<'a>, Refusal> {
    let spec = &options.spec;
    let from = item.file_start_sec;
    if !(from.is_finite() && from >= 0.0) {
        return Err(invalid(format!("file_start_sec: {from} is no number of 0 or more")));
    }
    let probe = decoder.probe(&item.clip, &options.source_limits)?;
    let reasons = fit::objections(&probe, fit::is_mp4(&item.clip)?, from, spec);
    let cut = if reasons.is_empty() {
        None
    } else if options.fit == Fit::Refuse {
        let what = reasons.join("; ");
        let remedy = "choose the fit letterbox or crop to have it cut and scaled";
        return Err(Refusal::Item(Obstacle::DoesNotFit, format!("{what}; {remedy}")));
    } else {
        Some(fit::cut(&probe, from, spec).map_err(|why| Refusal::Item(Obstacle::DoesNotFit, why))?)
    };
    let record = draft(item, &probe, cut.as_ref(), spec)?;
    Ok(Planned { item, record, cut, reasons })
}

fn invalid(why: String) -> Refusal {
    Refusal::Item(Obstacle::InvalidRow, why)
}

/// The row, all but its digests.
fn draft(
    item: &PackItem,
    probe: &ClipProbe,
    cut: Option<&Cut>,
    spec: &VideoSpec,
) -> Result<ClipRecord, Refusal> {
    let url = python::strip(&item.source_video_url).to_owned();
    let given = item.source_video_id.as_deref().map(python::strip).filter(|id| !id.is_empty());
    let source = given.map_or_else(|| source_identity_key(&url), str::to_owned);
    let (width, height) = spec.frame_size();
    let duration_sec = fit::to_milliseconds(cut.map_or(probe.duration_seconds, Cut::seconds));
    let id = clip_id(&source, item.clip_start_sec, duration_sec);
    let counted = || (probe.fps * probe.duration_seconds).round() as i64;
    let frames = || probe.frame_count.and_then(|n| i64::try_from(n).ok()).unwrap_or_else(counted);
    let mut proof: BTreeMap<String, Value> =
        item.source_proof.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    proof.entry("source_video_id".to_owned()).or_insert_with(|| json!(source));
    let record = ClipRecord {
        clip_uri: format!("clips/{id}.mp4"),
        first_frame_uri: format!("frames/{id}.jpg"),
        clip_id: id,
        clip_sha256: NO_DIGEST.to_owned(),
        first_frame_sha256: NO_DIGEST.to_owned(),
        split_group_id: format!("{source}:1"),
        source_video_id: source,
        split: item.split.clone().unwrap_or_else(|| "train".to_owned()),
        clip_start_sec: item.clip_start_sec,
        duration_sec,
        width: i64::from(width),
        height: i64::from(height),
        fps: cut.map_or(probe.fps, |cut| f64::from(cut.fps)),
        num_frames: cut.map_or_else(frames, |cut| i64::from(cut.frames)),
        has_audio: cut.is_none() && probe.has_audio,
        caption: item.caption.clone(),
        source_video_url: url,
        source_proof: proof,
    };
    valid(&record, &spec.row_rules()).map_err(invalid)
}

/// The row as a validator would read it: one row that does not hold makes the whole dataset invalid.
fn valid(record: &ClipRecord, rules: &RowRules) -> Result<ClipRecord, String> {
    match serde_json::to_value(record) {
        Ok(Value::Object(map)) => validate_row(&map, rules).map_err(|e| e.to_string()),
        Ok(_) => Err("it is no row".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// Two rows with one clip id would share their files.
fn refuse_duplicates(items: &[PackItem], planned: &[Planned<'_>]) -> Result<(), PackFailure> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for (item, (given, planned)) in items.iter().zip(planned).enumerate() {
        let earlier = *first.entry(&planned.record.clip_id).or_insert(item);
        if earlier != item {
            let why = format!(
                "it has the source {} and the start {} of item {earlier}; drop one of the two",
                planned.record.source_video_id, planned.record.clip_start_sec
            );
            let clip = given.clip.clone();
            problems.push(ItemProblem { item, clip, obstacle: Obstacle::Duplicate, why });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(PackFailure::Items(problems)) }
}

fn write_row(
    planned: &Planned<'_>,
    folder: &Path,
    options: &PackOptions,
    decoder: &FfmpegDecoder,
    observer: &dyn PackObserver,
) -> Result<PackedRow, Refusal> {
    if observer.interrupted() {
        return Err(Error::Interrupted.into());
    }
    let mut record = planned.record.clone();
    let (clip, jpeg) = (folder.join(&record.clip_uri), folder.join(&record.first_frame_uri));
    match &planned.cut {
        None => {
            fs::copy(&planned.item.clip, &clip).map(drop).map_err(|e| Error::io(&planned.item.clip, e))?
        }
        Some(cut) => encode(planned.item, cut, &clip, options, decoder, observer)?,
    }
    // Decoded as a validator does, out of the package itself.
    let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: true };
    let decoded = decoder.decode(&clip, &request, &options.clip_limits)?;
    let again = fit::objections(&decoded.probe, true, 0.0, &options.spec);
    if !again.is_empty() {
        let why = format!("the clip in the package does not fit: {}", again.join("; "));
        return Err(match planned.cut {
            Some(_) => Error::Internal(why).into(),
            // Somebody wrote to the file meanwhile.
            None => Refusal::Item(Obstacle::DoesNotFit, why),
        });
    }
    let Some(first) = decoded.first else {
        return Err(Error::Internal("a clip came without its first frame".to_owned()).into());
    };
    write_jpeg(&jpeg, first.width, first.height, &first.rgb, JPEG_QUALITY)?;
    record.clip_sha256 = digest_of(&clip)?.to_string();
    record.first_frame_sha256 = digest_of(&jpeg)?.to_string();
    let treatment = if planned.cut.is_some() { Treatment::Encoded } else { Treatment::Copied };
    Ok(PackedRow { record, clip: planned.item.clip.clone(), treatment, reasons: planned.reasons.clone() })
}

/// Writes a part of a file as a clip of the size asked for.
fn encode(
    item: &PackItem,
    cut: &Cut,
    clip: &Path,
    options: &PackOptions,
    decoder: &FfmpegDecoder,
    observer: &dyn PackObserver,
) -> Result<(), Refusal> {
    let (width, height) = options.spec.frame_size();
    let source = Demuxed::read(&item.clip, &options.source_limits)?;
    let mut stream = decoder.stream(&source, cut.instants(), &options.source_limits)?;
    let mut next = || -> Result<Option<Vec<u8>>, Refusal> {
        if observer.interrupted() {
            return Err(Error::Interrupted.into());
        }
        let Some(frame) = stream.next_frame()? else { return Ok(None) };
        Ok(Some(fit::scale(&frame, width, height, options.fit)?))
    };
    // The encoder pulls frames and knows nothing of decoders: what ends them early is kept here.
    let mut trouble = None;
    let mut frames = std::iter::from_fn(|| match next() {
        Ok(frame) => frame,
        Err(refusal) => {
            trouble = Some(refusal);
            None
        }
    })
    .fuse();
    let encoding = ClipOptions { fps: cut.fps, ..options.encoding };
    let written = encode_clip(clip, width, height, &mut frames, &encoding);
    match (trouble, written) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(_)) => Ok(()),
    }
}

fn digest_of(path: &Path) -> Result<Digest> {
    let file = fs::File::open(path).map_err(|e| Error::io(path, e))?;
    Digest::of_reader(file).map_err(|e| Error::io(path, e))
}

/// A package that is being put together beside its place; deleted unless it is published.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn new(out: &Path, interval: IntervalId) -> Result<Self> {
        fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
        let partial = Self { path: beside(out, interval, "partial") };
        for part in ["clips", "frames"] {
            let path = partial.path.join(part);
            fs::create_dir_all(&path).map_err(|e| Error::io(path, e))?;
        }
        Ok(partial)
    }

    /// Takes its place, moving away what stands there.
    fn publish(self, folder: &Path) -> Result<()> {
        let failed = |e| Error::io(folder, e);
        if fs::symlink_metadata(folder).is_err() {
            return fs::rename(&self.path, folder).map_err(failed);
        }
        let old = self.path.with_extension("replaced");
        fs::rename(folder, &old).map_err(failed)?;
        if let Err(error) = fs::rename(&self.path, folder) {
            // The one before is better than none.
            let _ = fs::rename(&old, folder);
            return Err(failed(error));
        }
        fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing there is nothing here any more.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A name beside an interval's folder that nobody else uses. It begins with a dot, so that it is no interval's.
fn beside(out: &Path, interval: IntervalId, what: &str) -> PathBuf {
    let packer = PACKERS.fetch_add(1, Ordering::Relaxed);
    out.join(format!(".{interval}-{what}-{}-{packer}", std::process::id()))
}
