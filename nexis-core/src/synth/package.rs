//! Whole interval packages from scenes: honest ones, and ones that are bad in exactly one way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::attack::Attack;
use super::{Scene, TemplateSet};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::encode::{ClipOptions, encode_clip, write_jpeg};
use crate::package::{ClipRecord, clip_id, write_rows};
use crate::protocol::{Category, Hotkey, IntervalId};

/// Tells apart those who put a clip into a cache at the same time.
static MAKERS: AtomicU64 = AtomicU64::new(0);

/// One row to be made.
#[derive(Clone, Debug)]
pub struct RowPlan {
    /// What the clip shows.
    pub scene: Scene,
    /// What the row says it shows.
    pub caption: String,
    /// The eleven characters of the source video.
    pub source_video_id: String,
    /// Start in the source, in seconds.
    pub clip_start_sec: f64,
}

impl RowPlan {
    /// A row about a scene, with a true caption from the templates that no model was trained on, and
    /// a source that belongs to its seed alone.
    pub fn new(seed: u64, category: Category) -> Self {
        let scene = Scene::with_category(seed, category);
        let caption = scene.caption(TemplateSet::HeldOut, seed);
        Self { scene, caption, source_video_id: source_video_id(seed), clip_start_sec: (seed % 600) as f64 }
    }
}

/// How the clips of a package are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipStyle {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Length in seconds.
    pub seconds: f64,
}

impl Default for ClipStyle {
    /// What the protocol asks for, at a frame rate that keeps packages quick to make.
    fn default() -> Self {
        Self { width: 1280, height: 720, fps: 15, seconds: 5.0 }
    }
}

impl ClipStyle {
    /// Number of frames.
    pub fn frames(&self) -> u64 {
        (self.seconds * f64::from(self.fps)).round() as u64
    }
}

/// One miner's package for one interval.
#[derive(Clone, Debug)]
pub struct PackagePlan {
    /// The miner.
    pub hotkey: Hotkey,
    /// The interval.
    pub interval: IntervalId,
    /// When the manifest says it was made.
    pub created_at: DateTime<Utc>,
    /// The rows.
    pub rows: Vec<RowPlan>,
    /// How the clips are made.
    pub style: ClipStyle,
    /// What is wrong with the package.
    pub attack: Option<Attack>,
}

/// A package while it is put together: an attack changes any part of it.
pub(super) struct Draft {
    pub(super) folder: PathBuf,
    pub(super) rows: Vec<ClipRecord>,
    pub(super) manifest: serde_json::Map<String, Value>,
}

impl PackagePlan {
    /// Writes `{bucket}/{interval}/...`. Clips are taken from `cache`, where one is given and has
    /// them, and put there otherwise: the same scene in the same style is always the same file.
    ///
    /// # Errors
    /// Where a file cannot be written or a clip cannot be encoded.
    pub fn write(&self, bucket: &Path, cache: Option<&Path>, progress: &(dyn Fn() + Sync)) -> Result<()> {
        let folder = bucket.join(self.interval.to_string());
        for part in ["clips", "frames"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(|e| Error::io(path, e))?;
        }
        let mut plan = self.clone();
        if let Some(attack) = self.attack {
            attack.before_rendering(&mut plan);
        }
        let rows = plan
            .rows
            .iter()
            .map(|row| {
                let record = plan.write_row(&folder, row, cache);
                progress();
                record
            })
            .collect::<Result<Vec<_>>>()?;
        let mut draft = Draft { folder, rows, manifest: serde_json::Map::new() };
        if let Some(attack) = self.attack {
            attack.on_rows(&mut draft)?;
        }
        let dataset = draft.folder.join("dataset.parquet");
        write_rows(&dataset, &draft.rows)?;
        draft.manifest = self.manifest(draft.rows.len(), &digest_of(&dataset)?);
        if let Some(attack) = self.attack {
            attack.on_manifest(&mut draft)?;
        }
        let manifest = draft.folder.join("manifest.json");
        let text = serde_json::to_string_pretty(&draft.manifest)
            .map_err(|e| Error::Internal(format!("manifest: {e}")))?;
        fs::write(&manifest, text).map_err(|e| Error::io(&manifest, e))?;
        if let Some(attack) = self.attack {
            attack.on_files(&draft)?;
        }
        Ok(())
    }

    fn write_row(&self, folder: &Path, row: &RowPlan, cache: Option<&Path>) -> Result<ClipRecord> {
        let duration_sec = self.style.seconds;
        let id = clip_id(&row.source_video_id, row.clip_start_sec, duration_sec);
        let clip_uri = format!("clips/{id}.mp4");
        let first_frame_uri = format!("frames/{id}.jpg");
        let (clip, jpeg) = (folder.join(&clip_uri), folder.join(&first_frame_uri));
        match cache {
            None => render_clip(&row.scene, &self.style, &clip, &jpeg)?,
            Some(cache) => {
                fs::create_dir_all(cache).map_err(|e| Error::io(cache, e))?;
                let key = Digest::of(format!("{:?} {:?}", row.scene, self.style)).to_string();
                let (kept_clip, kept_jpeg) =
                    (cache.join(format!("{key}.mp4")), cache.join(format!("{key}.jpg")));
                if !kept_clip.is_file() || !kept_jpeg.is_file() {
                    // Written beside and renamed, so that two makers at once never see half a file.
                    let maker = MAKERS.fetch_add(1, Ordering::Relaxed);
                    let partial = cache.join(format!("{key}.{}.{maker}.mp4", std::process::id()));
                    let partial_jpeg = partial.with_extension("jpg");
                    render_clip(&row.scene, &self.style, &partial, &partial_jpeg)?;
                    fs::rename(&partial, &kept_clip).map_err(|e| Error::io(&kept_clip, e))?;
                    fs::rename(&partial_jpeg, &kept_jpeg).map_err(|e| Error::io(&kept_jpeg, e))?;
                }
                fs::copy(&kept_clip, &clip).map_err(|e| Error::io(&clip, e))?;
                fs::copy(&kept_jpeg, &jpeg).map_err(|e| Error::io(&jpeg, e))?;
            }
        }
        let url = format!("https://www.youtube.com/watch?v={}", row.source_video_id);
        Ok(ClipRecord {
            clip_id: id,
            clip_sha256: digest_of(&clip)?,
            first_frame_sha256: digest_of(&jpeg)?,
            clip_uri,
            first_frame_uri,
            split_group_id: format!("{}:1", row.source_video_id),
            split: "train".into(),
            clip_start_sec: row.clip_start_sec,
            duration_sec,
            width: i64::from(self.style.width),
            height: i64::from(self.style.height),
            fps: f64::from(self.style.fps),
            num_frames: self.style.frames() as i64,
            has_audio: false,
            caption: row.caption.clone(),
            source_proof: BTreeMap::from([
                ("extractor".to_owned(), json!("synthetic")),
                ("source_video_id".to_owned(), json!(row.source_video_id)),
            ]),
            source_video_id: row.source_video_id.clone(),
            source_video_url: url,
        })
    }

    fn manifest(&self, record_count: usize, dataset_sha256: &str) -> serde_json::Map<String, Value> {
        let mut manifest = serde_json::Map::new();
        let fields = [
            ("protocol_version", json!("1.0.0")),
            ("schema_version", json!("1.0.0")),
            ("spec_id", json!("video_v1")),
            ("dataset_type", json!("video_v1")),
            ("category", json!("nature_landscape_scenery")),
            ("netuid", json!(70)),
            ("miner_hotkey", json!(self.hotkey)),
            ("interval_id", json!(self.interval)),
            ("created_at", json!(self.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))),
            ("record_count", json!(record_count)),
            ("dataset_sha256", json!(dataset_sha256)),
        ];
        manifest.extend(fields.map(|(key, value)| (key.to_owned(), value)));
        manifest
    }
}

/// Renders a scene as a clip and its first-frame JPEG.
///
/// # Errors
/// Where a file cannot be written or the clip cannot be encoded.
pub fn render_clip(scene: &Scene, style: &ClipStyle, clip: &Path, first_frame: &Path) -> Result<()> {
    let options = ClipOptions { fps: style.fps, ..ClipOptions::default() };
    let at = |k: u64| scene.render(style.width, style.height, k as f64 / f64::from(style.fps));
    encode_clip(clip, style.width, style.height, &mut (0..style.frames()).map(|k| at(k).data), &options)?;
    write_jpeg(first_frame, style.width, style.height, &at(0).data, 92)
}

/// Eleven characters of a video id that belong to one seed.
pub fn source_video_id(seed: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digest = Digest::of(format!("synthetic source {seed}"));
    digest
        .as_bytes()
        .iter()
        .take(11)
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 64)))
        .map(|&byte| char::from(byte))
        .collect()
}

pub(super) fn digest_of(path: &Path) -> Result<String> {
    let file = fs::File::open(path).map_err(|e| Error::io(path, e))?;
    Ok(Digest::of_reader(file).map_err(|e| Error::io(path, e))?.to_string())
}
