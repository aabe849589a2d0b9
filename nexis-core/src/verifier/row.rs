//! Phases 5 to 7 on one row.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ndarray::Array2;
use rayon::prelude::*;

use super::cascade::{Cascade, Turn};
use super::encoder::Encoder;
use super::ensemble::{Gates, Readings};
use crate::check::{
    FrameScores, Violation, ViolationKind, caption_hygiene, check_assets, has_injection_keyword, row_metadata,
};
use crate::error::{Error, Result};
use crate::evidence::{
    EVIDENCE_VERSION, Evidence, PackageEvidence, RowEvidence, SamplingEvidence, canonical_digest,
};
use crate::media::jpeg::{SAME_PICTURE, StillLimits, first_frame_similarity, read_still};
use crate::media::tiles::own_view;
use crate::media::{ClipProbe, DecodedClip, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
use crate::model::ImageText;
use crate::model::card::ModelCard;
use crate::package::{Asset, AssetSource, ClipRecord, Package};
use crate::protocol::{Category, IntervalId};
use crate::report::{
    AlignmentReport, CategoryReport, Environment, FrameCategoryReport, FrameReport, RowReport, Verdict,
};
use crate::score::FrameEmbeddings;
use crate::score::align::CAPTION_LIMIT;
use crate::score::category::{FrameCategory, score_of};
use crate::spec::DatasetSpec;

/// Version of the steps from decoded pictures to the model's input: colour conversion, resizing,
/// tiling. A change of any byte they produce changes this.
pub const PREPROCESSING_VERSION: &str = "1";

/// Frames that are judged per clip.
pub const FRAMES_PER_CLIP: usize = 6;

/// Judges rows: decodes, encodes, scores. A clone shares the models.
#[derive(Clone)]
pub struct RowJudge {
    pub(super) decoder: Arc<dyn MediaDecoder>,
    pub(super) first: Encoder,
    pub(super) second: Option<Encoder>,
    pub(super) limits: MediaLimits,
    pub(super) batch: usize,
    pub(super) environment: Environment,
    pub(super) cascade: Option<Cascade>,
}

/// What was found in one row.
#[derive(Clone, Debug)]
pub struct RowOutcome {
    /// For the report.
    pub report: RowReport,
    /// Phase and violation, in order.
    pub violations: Vec<(u8, Violation)>,
    /// The record of how the scores came about, where the row was decoded.
    pub evidence: Option<Evidence>,
}

/// Scores of one clip and caption.
#[derive(Clone, Debug)]
pub struct ClipScores {
    /// The clip and the frames that were judged.
    pub decoded: DecodedClip,
    /// Caption against frames.
    pub alignment: AlignmentReport,
    /// Category.
    pub category: CategoryReport,
    /// Time spent, by step, in milliseconds.
    pub timings_ms: BTreeMap<String, f64>,
}

impl ClipScores {
    /// Whether both the caption and the category pass.
    pub fn verdict(&self) -> Verdict {
        let passes = |verdict| verdict == Verdict::Accept;
        if passes(self.alignment.verdict) && passes(self.category.decision) {
            Verdict::Accept
        } else {
            Verdict::Reject
        }
    }

    /// The scores as a row of a report that names the clip so.
    pub fn row(&self, clip: &str, caption: &str) -> RowReport {
        RowReport {
            clip_id: clip.to_owned(),
            row_index: 0,
            caption: caption.to_owned(),
            probe: Some(self.decoded.probe.clone()),
            frames: frame_reports(&self.decoded.frames),
            alignment: Some(self.alignment.clone()),
            category: Some(self.category.clone()),
            failures: Vec::new(),
            inconclusive: None,
            evidence: None,
            timings_ms: self.timings_ms.clone(),
        }
    }
}

/// What `nexis inspect` shows of one clip.
#[derive(Clone, Debug)]
pub struct ClipInspection {
    /// The clip and its frames.
    pub decoded: DecodedClip,
    /// The labels of every frame.
    pub categories: Vec<FrameCategoryReport>,
    /// Caption against frames, where a caption was given.
    pub alignment: Option<AlignmentReport>,
}

/// Embeds frames: every tile of every frame, at most `batch` pictures in one call of the model.
///
/// # Errors
/// [`MediaFailure::Clip`] where the picture's shape is too extreme to be tiled.
pub fn embed_frames(
    model: &dyn ImageText,
    frames: &[Frame],
    batch: usize,
) -> Result<FrameEmbeddings, MediaFailure> {
    let data = model.encode_tiles(frames, batch)?;
    let tiles = data.nrows().checked_div(frames.len()).unwrap_or(0);
    Ok(FrameEmbeddings::new(frames.len(), tiles, data)?)
}

/// A frame's labels in the shape that the protocol's rule takes.
pub fn frame_scores(frame: &FrameCategory) -> FrameScores {
    let score = |label| score_of(&frame.scores, label);
    FrameScores {
        winner: frame.winner.as_str().to_owned(),
        nature_score: score(Category::Nature),
        people_score: score(Category::People),
        animal_score: score(Category::Animal),
        vehicle_score: score(Category::Vehicle),
        urban_score: score(Category::Urban),
        indoor_score: score(Category::Indoor),
    }
}

pub(super) fn frame_category(frame: &FrameCategory) -> FrameCategoryReport {
    let scores = Category::ALL.into_iter().map(|label| (label, score_of(&frame.scores, label))).collect();
    FrameCategoryReport { frame_index: frame.frame_index, winner: frame.winner, scores }
}

/// Times and digests of frames.
pub fn frame_reports(frames: &[Frame]) -> Vec<FrameReport> {
    let report = |f: &Frame| FrameReport { pts_seconds: f.pts_seconds, rgb_sha256: f.digest() };
    frames.par_iter().map(report).collect()
}

impl RowOutcome {
    /// The outcome of a row in which something went wrong that nobody foresaw.
    pub(super) fn unforeseen(package: &Package, row: usize, violation: Violation) -> Self {
        let record = package.rows.get(row);
        let report = RowReport {
            clip_id: record.map(|r| r.clip_id.clone()).unwrap_or_default(),
            row_index: row,
            caption: record.map(|r| r.caption.clone()).unwrap_or_default(),
            probe: None,
            frames: Vec::new(),
            alignment: None,
            category: None,
            failures: vec![violation.code()],
            inconclusive: None,
            evidence: None,
            timings_ms: BTreeMap::new(),
        };
        Self { report, violations: vec![(5, violation)], evidence: None }
    }
}

impl RowJudge {
    /// A judge from its parts: `batch` pictures go to the model at once, which changes speed and memory
    /// and never a score.
    ///
    /// # Errors
    /// Where the card is for other weights than the model's, or the model fails on the card's texts.
    pub fn new(
        decoder: Arc<dyn MediaDecoder>,
        model: Arc<dyn ImageText>,
        card: Arc<ModelCard>,
        limits: MediaLimits,
        batch: usize,
    ) -> Result<Self> {
        let identity = model.identity().clone();
        let environment = Environment {
            nexis: env!("CARGO_PKG_VERSION").to_owned(),
            device: identity.device.clone(),
            decoder: decoder.name(),
            preprocessing: PREPROCESSING_VERSION.to_owned(),
            notice: (!card.model.notice.is_empty()).then(|| card.model.notice.clone()),
            card: Some(canonical_digest(card.as_ref())?),
            model: Some(identity),
            ensemble: None,
            judge: None,
        };
        Ok(Self {
            decoder,
            first: Encoder::new(model, card)?,
            second: None,
            limits,
            batch: batch.max(1),
            environment,
            cascade: None,
        })
    }

    /// The same judge under other limits on clips.
    #[must_use]
    pub fn with_limits(&self, limits: MediaLimits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The limits on clips.
    pub fn limits(&self) -> &MediaLimits {
        &self.limits
    }

    /// The card that turns similarities into verdicts; of two encoders, the first's.
    pub fn card(&self) -> &ModelCard {
        self.first.card()
    }

    /// What keeps the device's decoder from its work, if anything; see [`MediaDecoder::trouble`].
    pub fn trouble(&self) -> Option<String> {
        self.decoder.trouble()
    }

    /// What makes this judge's results.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Judges one row of a package: phases 5 to 7. Also returns the frames, for pictures. A judge behind the encoder is
    /// asked about what is in doubt, whatever its budget.
    pub fn judge(
        &self,
        package: &Package,
        row: usize,
        sampling: &SamplingEvidence,
    ) -> (RowOutcome, Vec<Frame>) {
        self.judge_in_turn(package, row, sampling, Turn::BOTH)
    }

    /// The same, with the questions that may go to the judge.
    pub(super) fn judge_in_turn(
        &self,
        package: &Package,
        row: usize,
        sampling: &SamplingEvidence,
        turn: Turn,
    ) -> (RowOutcome, Vec<Frame>) {
        let Some(record) = package.rows.get(row) else {
            let missing = Violation::explained(ViolationKind::ValidationException, format!("no row {row}"));
            return (RowOutcome::unforeseen(package, row, missing), Vec::new());
        };
        let mut found = Found::default();
        let (spec, source) = (package.spec.as_ref(), package.source.as_ref());
        let interval = package.manifest.interval_id;
        let frames = match self.phases(record, interval, spec, source, turn, &mut found) {
            Ok(frames) => frames,
            Err(ours) => {
                found.inconclusive = Some(ours.to_string());
                Vec::new()
            }
        };
        let failures = found.failures();
        let frame_reports = frame_reports(&frames);
        let mut environment = self.environment.clone();
        if let Some(decoder) = &found.decoder {
            environment.decoder.clone_from(decoder);
        }
        let evidence = (found.alignment.is_some() || found.category.is_some()).then(|| Evidence {
            evidence_version: EVIDENCE_VERSION,
            environment,
            limits: self.limits.clone(),
            package: PackageEvidence {
                miner_hotkey: package.manifest.miner_hotkey.clone(),
                interval_id: package.manifest.interval_id,
                manifest_sha256: package.manifest_digest,
                dataset_sha256: package.dataset_digest,
                record_count: package.rows.len(),
            },
            sampling: sampling.clone(),
            row: RowEvidence {
                index: row,
                clip_id: record.clip_id.clone(),
                clip_sha256: record.clip_sha256.clone(),
                caption: record.caption.clone(),
            },
            probe: found.probe.clone(),
            frames: frame_reports.clone(),
            alignment: found.alignment.clone(),
            category: found.category.clone(),
            failures: failures.clone(),
        });
        let report = RowReport {
            clip_id: record.clip_id.clone(),
            row_index: row,
            caption: record.caption.clone(),
            probe: found.probe,
            frames: frame_reports,
            alignment: found.alignment,
            category: found.category,
            failures,
            inconclusive: found.inconclusive,
            evidence: None,
            timings_ms: found.timings_ms,
        };
        (RowOutcome { report, violations: found.violations, evidence }, frames)
    }

    /// The six frames of a clip that are judged.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the clip cannot be decoded within the limits.
    pub fn decode(&self, clip: &Path) -> Result<DecodedClip, MediaFailure> {
        let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: false };
        self.decoder.decode(clip, &request, &self.limits)
    }

    /// How many tokens the model's tokenizer makes of a text, begin and end not counted; of two encoders, the first's.
    ///
    /// # Errors
    /// Where the tokenizer fails, or the text is too long for it.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        self.first.measurer().count_tokens(text)
    }

    /// Scores one clip against a caption, outside any package.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the clip cannot be decoded within the limits.
    pub fn score(&self, clip: &Path, caption: &str) -> Result<ClipScores, MediaFailure> {
        let mut timings_ms = BTreeMap::new();
        let started = Instant::now();
        let mut decoded = self.decode(clip)?;
        add_time(&mut timings_ms, "decode", started);
        let reading = self.read_caption(caption)?;
        let (alignment, category) =
            self.scores(caption, &reading, &mut decoded.frames, Turn::BOTH, &mut timings_ms)?;
        Ok(ClipScores { decoded, alignment, category, timings_ms })
    }

    /// What the models say. The frames are off the device behind it, before a judge takes its time: who gets them next shows or
    /// keeps them.
    fn scores(
        &self,
        caption: &str,
        reading: &Readings,
        frames: &mut [Frame],
        turn: Turn,
        timings_ms: &mut BTreeMap<String, f64>,
    ) -> Result<(AlignmentReport, CategoryReport), MediaFailure> {
        let started = Instant::now();
        let embeddings = self.embed_all(frames)?;
        frames.iter_mut().for_each(Frame::leave_device);
        add_time(timings_ms, "encode", started);
        let started = Instant::now();
        let mut alignment = self.alignment(reading, &embeddings)?;
        let mut category = self.category(reading, &embeddings)?;
        add_time(timings_ms, "score", started);
        if self.cascade.is_some() {
            let started = Instant::now();
            self.settle((caption, reading), frames, turn, &mut alignment, &mut category)?;
            add_time(timings_ms, "judge", started);
        }
        Ok((alignment, category))
    }

    /// Embeds frames of one size; of two encoders, with the first.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the shape is too extreme; else the model's failure.
    pub fn embed(&self, frames: &[Frame]) -> Result<FrameEmbeddings, MediaFailure> {
        self.first.embed(frames, self.batch)
    }

    /// What phases 6 and 7 find in a caption and its scores: the violations of a row with these, under the
    /// network's policy. `clip` stands in their codes.
    ///
    /// # Errors
    /// Where the model fails.
    pub fn violations(
        &self,
        clip: &str,
        caption: &str,
        alignment: &AlignmentReport,
        category: &CategoryReport,
    ) -> Result<Vec<Violation>> {
        let reading = self.read_caption(caption)?;
        let gates = self.gates(&reading);
        let mut found = Found::default();
        found.caption(clip, caption, &reading, &gates);
        found.scores(clip, alignment, category, &gates);
        found.violations.sort_by_key(|(phase, _)| *phase);
        Ok(found.violations.into_iter().map(|(_, v)| v).filter(|v| !v.kind.strict_only()).collect())
    }

    /// The frames of one clip with the labels of every one of them, and a caption's alignment where one
    /// is given, by the first encoder alone.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the clip cannot be decoded within the limits.
    pub fn inspect(&self, clip: &Path, caption: Option<&str>) -> Result<ClipInspection, MediaFailure> {
        let mut decoded = self.decode(clip)?;
        let embeddings = self.embed(&decoded.frames)?;
        decoded.frames.iter_mut().for_each(Frame::leave_device);
        let alignment = match caption {
            Some(caption) => Some(self.first.alignment(&self.first.read(caption)?, &embeddings)?),
            None => None,
        };
        let labels = self.first.label_embedded(std::slice::from_ref(&embeddings))?;
        let categories = labels.iter().map(frame_category).collect();
        Ok(ClipInspection { decoded, categories, alignment })
    }

    /// Judges a row that belongs to no package, so that no evidence is made: phases 5 to 7, on assets that the
    /// source has under the interval's keys. `index` is the row's number in the report.
    pub fn judge_record(
        &self,
        record: &ClipRecord,
        index: usize,
        interval: IntervalId,
        spec: &dyn DatasetSpec,
        source: &dyn AssetSource,
    ) -> RowReport {
        let mut found = Found::default();
        let phases = self.phases(record, interval, spec, source, Turn::BOTH, &mut found);
        let frames = phases.unwrap_or_else(|ours| {
            found.inconclusive = Some(ours.to_string());
            Vec::new()
        });
        RowReport {
            clip_id: record.clip_id.clone(),
            row_index: index,
            caption: record.caption.clone(),
            failures: found.failures(),
            probe: found.probe,
            frames: frame_reports(&frames),
            alignment: found.alignment,
            category: found.category,
            inconclusive: found.inconclusive,
            evidence: None,
            timings_ms: found.timings_ms,
        }
    }

    /// Embeddings of frames as the model's own processor sees them (CLIP's: the centre square of each; SigLIP's: the
    /// whole, squeezed): `[N, D]`, each row of unit length. Of two encoders, the first's; so for
    /// [`encode_text`](Self::encode_text).
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a picture's shape is too extreme; else the model's failure.
    pub fn encode_image(&self, frames: &[Frame]) -> Result<Array2<f32>, MediaFailure> {
        let model = self.first.model();
        let spec = model.preprocess();
        let crops = frames.iter().map(|frame| own_view(frame, spec)).collect::<Result<Vec<_>, _>>()?;
        let rows =
            crops.chunks(self.batch).map(|part| model.encode_image(part)).collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
        ndarray::concatenate(ndarray::Axis(0), &views)
            .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")).into())
    }

    /// Embeddings of captions: `[N, D]`, each row of unit length. A caption longer than the model reads at once
    /// gets the centre of its sentences and clauses; none is cut.
    ///
    /// # Errors
    /// [`Error::Usage`] for a caption without words or too long to be read at all; else the model's failure.
    pub fn encode_text(&self, captions: &[String]) -> Result<Array2<f32>> {
        let rows =
            captions.par_iter().map(|caption| self.encode_caption(caption)).collect::<Result<Vec<_>>>()?;
        let width = rows.first().map_or(0, Vec::len);
        Array2::from_shape_vec((rows.len(), width), rows.concat())
            .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")))
    }

    fn encode_caption(&self, caption: &str) -> Result<Vec<f32>> {
        let texts = self.first.texts();
        let short = caption.len() <= CAPTION_LIMIT && !caption.trim().is_empty();
        if short && texts.fits(caption)? {
            return Ok(texts.embed(&[caption])?.first().map(|row| row.to_vec()).unwrap_or_default());
        }
        let reading = self.first.read(caption)?;
        match reading.refused() {
            None => Ok(reading.embedding()),
            Some(why) => {
                let beginning: String = caption.chars().take(40).collect();
                Err(Error::usage(format!("the caption that begins {beginning:?}"), why))
            }
        }
    }

    fn phases(
        &self,
        record: &ClipRecord,
        interval: IntervalId,
        spec: &dyn DatasetSpec,
        source: &dyn AssetSource,
        turn: Turn,
        found: &mut Found,
    ) -> Result<Vec<Frame>> {
        let clip = || record.clip_id.clone();

        // Phase 5.
        let started = Instant::now();
        let assets = check_assets(record, interval, spec, source, self.decoder.as_ref(), &self.limits)?;
        found.time("assets", started);
        // A clip whose digest or size is wrong is not the clip that was promised: it is not judged.
        let promised =
            assets.clip.filter(|_| !assets.violations.iter().any(|v| concerns_the_clip(&v.kind, record)));
        found.extend(5, assets.violations);
        found.probe = assets.probe;

        // Phases 6 and 7 need no clip for what they ask of the caption alone.
        let started = Instant::now();
        let reading = self.read_caption(&record.caption)?;
        let gates = self.gates(&reading);
        found.time("caption", started);
        found.caption(&record.clip_id, &record.caption, &reading, &gates);
        let Some(asset) = promised else { return Ok(Vec::new()) };

        let started = Instant::now();
        let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: true };
        let mut decoded = match self.decoder.decode(&asset.path, &request, &self.limits) {
            Ok(decoded) => decoded,
            Err(MediaFailure::Clip(why)) => {
                found.push(5, ViolationKind::UndecodableClip { clip: clip() }, why);
                return Ok(Vec::new());
            }
            Err(MediaFailure::Ours(error)) => return Err(error),
        };
        found.time("decode", started);
        found.decoder = Some(decoded.decoder.clone());
        if let (Some(first), Some(still)) = (decoded.first.take(), &assets.first_frame)
            && let Some(why) = compare_first_frame(&first, still)?
        {
            found.push(5, ViolationKind::FirstFrameContentMismatch { clip: clip() }, why);
        }
        found.extend(5, row_metadata(record, &decoded.probe));

        let scores = self.scores(&record.caption, &reading, &mut decoded.frames, turn, &mut found.timings_ms);
        let (alignment, category) = match scores {
            Ok(scores) => scores,
            Err(MediaFailure::Clip(why)) => {
                found.push(5, ViolationKind::UndecodableClip { clip: clip() }, why);
                return Ok(Vec::new());
            }
            Err(MediaFailure::Ours(error)) => return Err(error),
        };
        found.scores(&record.clip_id, &alignment, &category, &gates);
        found.alignment = Some(alignment);
        found.category = Some(category);
        Ok(decoded.frames)
    }
}

#[derive(Default)]
struct Found {
    violations: Vec<(u8, Violation)>,
    probe: Option<ClipProbe>,
    decoder: Option<String>,
    alignment: Option<AlignmentReport>,
    category: Option<CategoryReport>,
    inconclusive: Option<String>,
    timings_ms: BTreeMap<String, f64>,
}

impl Found {
    fn push(&mut self, phase: u8, kind: ViolationKind, detail: impl Into<String>) {
        self.violations.push((phase, Violation::explained(kind, detail)));
    }

    /// What phases 6 and 7 ask of the caption alone.
    fn caption(&mut self, clip: &str, caption: &str, reading: &Readings, gates: &Gates) {
        let clip = || clip.to_owned();
        if has_injection_keyword(caption) {
            self.push(6, ViolationKind::CaptionSemanticInjectionKeyword { clip: clip() }, "");
        }
        for what in caption_hygiene(caption) {
            self.push(6, ViolationKind::CaptionHygiene { clip: clip(), what: what.to_owned() }, "");
        }
        if gates.rejected {
            let why = match reading.refused() {
                Some(why) => why.to_owned(),
                None => format!("the caption is about something else: {}", gates.nature()),
            };
            self.push(7, ViolationKind::CategoryCaptionReject { clip: clip() }, why);
        }
    }

    /// What phases 6 and 7 ask of the scores. A caption that the gate rejects has its code already.
    fn scores(&mut self, clip: &str, alignment: &AlignmentReport, category: &CategoryReport, gates: &Gates) {
        let clip = || clip.to_owned();
        if alignment.verdict == Verdict::Reject {
            self.push(6, ViolationKind::CaptionSemanticMismatch { clip: clip() }, alignment.mismatch());
        }
        if gates.rejected {
            return;
        }
        match category.nature_score {
            None => self.push(7, ViolationKind::CategoryStrictFramesMissing { clip: clip() }, ""),
            Some(_) if category.decision == Verdict::Reject => {
                self.push(7, ViolationKind::CategoryStrictReject { clip: clip() }, category.rejection());
            }
            Some(_) => {}
        }
    }

    fn extend(&mut self, phase: u8, violations: impl IntoIterator<Item = Violation>) {
        self.violations.extend(violations.into_iter().map(|v| (phase, v)));
    }

    /// The codes under the network's policy.
    fn failures(&self) -> Vec<String> {
        let kept = self.violations.iter().map(|(_, v)| v).filter(|v| !v.kind.strict_only());
        kept.map(Violation::code).collect()
    }

    fn time(&mut self, step: &str, started: Instant) {
        add_time(&mut self.timings_ms, step, started);
    }
}

fn add_time(timings_ms: &mut BTreeMap<String, f64>, step: &str, started: Instant) {
    *timings_ms.entry(step.to_owned()).or_default() += started.elapsed().as_secs_f64() * 1e3;
}

/// Whether a violation of phase 5 means that the clip is not what its row promised.
fn concerns_the_clip(kind: &ViolationKind, record: &ClipRecord) -> bool {
    match kind {
        ViolationKind::InvalidAssetUri { uri } => *uri == record.clip_uri,
        ViolationKind::MissingClipAsset { .. }
        | ViolationKind::ClipSha256Mismatch { .. }
        | ViolationKind::InvalidResolution { .. }
        | ViolationKind::UndecodableClip { .. } => true,
        _ => false,
    }
}

/// Why a still is not the clip's first frame; `None` where it is.
fn compare_first_frame(first: &Frame, still: &Asset) -> Result<Option<String>> {
    let similarity = read_still(&still.path, &StillLimits::default())
        .and_then(|still| first_frame_similarity(first, &still));
    match similarity {
        Ok(similarity) if similarity >= SAME_PICTURE => Ok(None),
        Ok(similarity) => Ok(Some(format!("similarity {similarity:.3}, {SAME_PICTURE} is needed"))),
        Err(MediaFailure::Clip(why)) => Ok(Some(why)),
        Err(MediaFailure::Ours(error)) => Err(error),
    }
}
