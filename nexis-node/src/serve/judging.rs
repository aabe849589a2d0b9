//! Judging what a request brings: a clip or pictures, with a caption or without. All of it blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{DateTime, Utc};
use nexis_core::check::{Violation, ViolationKind};
use nexis_core::hash::Digest;
use nexis_core::media::jpeg::decode_still;
use nexis_core::media::{ClipProbe, Frame, MediaFailure};
use nexis_core::report::{
    AlignmentReport, CategoryReport, Environment, FrameCategoryReport, FrameReport, Verdict,
};
use nexis_core::score::FrameEmbeddings;
use nexis_core::verifier::frame_reports;
use nexis_core::{Error, Result};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::app::{Parts, verdict_now};
use super::desk::Stop;
use super::error::{Answer, Refusal};
use super::pictures::{Read, small_picture};
use super::record::{Kind, ScoreRecord};
use super::verdicts::RecentVerdict;
use super::why;
use crate::observe::code_label;

/// What is to be judged.
pub(super) enum Input {
    /// A clip below a root.
    Clip(PathBuf),
    /// A clip that was uploaded; it goes when this does.
    Upload(NamedTempFile),
    /// Pictures of one clip, as files.
    Frames(Vec<Vec<u8>>),
}

/// A frame in an answer.
#[derive(Debug, Serialize)]
pub(super) struct FrameOut {
    index: usize,
    #[serde(flatten)]
    report: FrameReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
}

/// The answer of `/v1/score`.
#[derive(Debug, Serialize)]
pub(super) struct ScoreAnswer {
    id: Digest,
    created_at: DateTime<Utc>,
    verdict: Verdict,
    failures: Vec<String>,
    why: Vec<String>,
    caption: String,
    probe: Option<ClipProbe>,
    frames: Vec<FrameOut>,
    alignment: Option<AlignmentReport>,
    category: Option<CategoryReport>,
    environment: Environment,
    timings_ms: BTreeMap<&'static str, f64>,
}

/// The answer of `/v1/classify`.
#[derive(Debug, Serialize)]
pub(super) struct ClassifyAnswer {
    id: Digest,
    created_at: DateTime<Utc>,
    verdict: Verdict,
    failures: Vec<String>,
    why: Vec<String>,
    probe: Option<ClipProbe>,
    frames: Vec<FrameOut>,
    labels: Vec<FrameCategoryReport>,
    nature_score: Option<f64>,
    rival_score: Option<f64>,
    margin: Option<f64>,
    borderline: bool,
    environment: Environment,
    timings_ms: BTreeMap<&'static str, f64>,
}

/// Frames that were decoded and embedded.
struct Seen {
    probe: Option<ClipProbe>,
    /// Of the clip's file.
    clip: Option<Digest>,
    reports: Vec<FrameReport>,
    /// Runs of one size.
    embedded: Vec<FrameEmbeddings>,
    /// Small pictures, where they were asked for.
    small: Vec<String>,
}

/// Frames, or why the clip has none, with the digest of its file.
enum Looked {
    Seen(Box<Seen>),
    Undecodable(Digest, String),
}

type Timings = BTreeMap<&'static str, f64>;

fn timed<T>(timings: &mut Timings, step: &'static str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    *timings.entry(step).or_default() += started.elapsed().as_secs_f64() * 1e3;
    done
}

/// A picture that cannot be judged was sent by the caller.
fn unusable(failure: MediaFailure) -> Refusal {
    match failure {
        MediaFailure::Clip(why) => Refusal::invalid("frames", why),
        MediaFailure::Ours(error) => error.into(),
    }
}

/// Only a regular file is opened: reading a pipe would never end. Nor would a file of any size, below a root.
fn digest_of(clip: &Path, most: u64) -> Answer<Digest> {
    let io = |e| Refusal::from(Error::io(clip, e));
    let file = std::fs::metadata(clip).map_err(io)?;
    if !file.is_file() {
        return Err(Refusal::invalid("clip", "it is no file"));
    }
    if file.len() > most {
        let why = format!("clip: {} bytes; at most {most} are read", file.len());
        return Err(Refusal::too_large(why).at("clip"));
    }
    File::open(clip).and_then(Digest::of_reader).map_err(io)
}

impl Parts {
    fn look(
        &self,
        input: &Input,
        pictures: bool,
        one_size: bool,
        stop: &Stop,
        timings: &mut Timings,
    ) -> Answer<Looked> {
        match input {
            Input::Clip(clip) => self.look_at_clip(clip, pictures, stop, timings),
            Input::Upload(clip) => self.look_at_clip(clip.path(), pictures, stop, timings),
            Input::Frames(files) => self.look_at_frames(files, pictures, one_size, stop, timings),
        }
    }

    fn look_at_clip(
        &self,
        clip: &Path,
        pictures: bool,
        stop: &Stop,
        timings: &mut Timings,
    ) -> Answer<Looked> {
        let digest = timed(timings, "digest", || digest_of(clip, self.admission.limits.upload_bytes))?;
        stop.check()?;
        let mut decoded = match timed(timings, "decode", || self.judge.decode(clip)) {
            Ok(decoded) => decoded,
            Err(MediaFailure::Clip(why)) => return Ok(Looked::Undecodable(digest, why)),
            Err(MediaFailure::Ours(error)) => return Err(error.into()),
        };
        stop.check()?;
        let embedded = match timed(timings, "encode", || self.judge.embed(&decoded.frames)) {
            Ok(embedded) => embedded,
            Err(MediaFailure::Clip(why)) => return Ok(Looked::Undecodable(digest, why)),
            Err(MediaFailure::Ours(error)) => return Err(error.into()),
        };
        decoded.frames.iter_mut().for_each(Frame::leave_device);
        let reports = timed(timings, "digest", || frame_reports(&decoded.frames));
        Ok(Looked::Seen(Box::new(Seen {
            probe: Some(decoded.probe),
            clip: Some(digest),
            reports,
            embedded: vec![embedded],
            small: if pictures { small(&decoded.frames)? } else { Vec::new() },
        })))
    }

    fn look_at_frames(
        &self,
        files: &[Vec<u8>],
        pictures: bool,
        one_size: bool,
        stop: &Stop,
        timings: &mut Timings,
    ) -> Answer<Looked> {
        let reads =
            timed(timings, "decode", || self.pictures.read(files, &self.admission.limits.still, pictures))?;
        for (index, read) in reads.iter().enumerate() {
            if let Read::Broken(why) = read {
                return Err(Refusal::invalid(format!("frames[{index}]"), why));
            }
        }
        let sizes: Vec<_> = reads.iter().filter_map(Read::size).collect();
        if one_size && sizes.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
            return Err(Refusal::invalid("frames", "frames of one clip have one size, and these do not"));
        }
        stop.check()?;
        let embedded =
            timed(timings, "encode", || self.pictures.embed(&self.judge, &reads)).map_err(unusable)?;
        let frames = |read: &Read| match read {
            Read::New(frame, _) => Some(frame.clone()),
            _ => None,
        };
        let frames: Vec<Frame> =
            if pictures { reads.iter().filter_map(frames).collect() } else { Vec::new() };
        Ok(Looked::Seen(Box::new(Seen {
            probe: None,
            clip: None,
            reports: embedded.iter().map(|seen| seen.report.clone()).collect(),
            embedded: embedded.iter().map(|seen| seen.embeddings.clone()).collect(),
            small: small(&frames)?,
        })))
    }

    /// The frames of what was looked at before: they are not kept, for a judge hardly ever has to see them. A second
    /// encoder always has to, at the price of decoding them again.
    fn frames_again(&self, input: &Input) -> Answer<Vec<Frame>> {
        let clip = |path: &Path| Ok(self.judge.decode(path).map_err(unusable)?.frames);
        match input {
            Input::Clip(path) => clip(path),
            Input::Upload(file) => clip(file.path()),
            Input::Frames(files) => self.pictures_again(&files.iter().collect::<Vec<_>>()),
        }
    }

    /// The same of picture files.
    pub(super) fn pictures_again(&self, files: &[&Vec<u8>]) -> Answer<Vec<Frame>> {
        let limits = &self.admission.limits.still;
        files.iter().map(|file| decode_still(file, limits).map_err(unusable)).collect()
    }

    /// A caption against a clip or frames: phases 6 and 7.
    pub(super) fn score(
        &self,
        input: &Input,
        caption: &str,
        pictures: bool,
        stop: &Stop,
    ) -> Answer<ScoreAnswer> {
        let mut timings = Timings::new();
        let environment = self.judge.environment();
        let (seen, clip) = match self.look(input, pictures, true, stop, &mut timings)? {
            Looked::Seen(seen) => (seen, None),
            Looked::Undecodable(digest, why) => (Box::new(Seen::none()), Some((digest, why))),
        };
        let (alignment, category, violations) = if let Some((_, why)) = &clip {
            let kind = ViolationKind::UndecodableClip { clip: String::new() };
            (None, None, vec![Violation::explained(kind, why.clone())])
        } else {
            stop.check()?;
            timed(&mut timings, "score", || -> Answer<_> {
                let frames = FrameEmbeddings::join(&seen.embedded)?;
                let mut scores = self.judge.score_embedded(&frames, caption)?;
                self.judge.settle_embedded(caption, true, &mut scores, || {
                    stop.check()?;
                    self.frames_again(input)
                })?;
                let violations = self.judge.violations("", caption, &scores.alignment, &scores.category)?;
                Ok((Some(scores.alignment), Some(scores.category), violations))
            })?
        };
        let verdict = if violations.is_empty() { Verdict::Accept } else { Verdict::Reject };
        let failures = codes(&violations);
        let mut why: Vec<String> = violations.iter().map(why::found).collect();
        if let (true, Some(alignment), Some(category)) = (violations.is_empty(), &alignment, &category) {
            why.push(why::caption_fits(alignment));
            why.extend(why::nature_passes(category));
        }
        let mut record = ScoreRecord::new(Kind::Score, environment, &seen.reports, &failures)
            .caption(caption)
            .scores(alignment.as_ref(), category.as_ref());
        if let Some(digest) = seen.clip.or(clip.as_ref().map(|(digest, _)| *digest)) {
            record = record.clip(self.judge.limits(), digest, seen.probe.as_ref());
        }
        let (id, text) = record.text()?;
        let recent = RecentVerdict {
            caption: Some(caption.to_owned()),
            probability: alignment.as_ref().map(|alignment| alignment.probability),
            threshold: alignment.as_ref().map(|alignment| alignment.threshold),
            nature_score: category.as_ref().and_then(|category| category.nature_score),
            frames: seen.reports.len(),
            ..verdict_now(Kind::Score, id, verdict, &why, &failures)
        };
        let created_at = recent.created_at;
        self.conclude(recent, text)?;
        Ok(ScoreAnswer {
            id,
            created_at,
            verdict,
            failures,
            why,
            caption: caption.to_owned(),
            probe: seen.probe.clone(),
            frames: seen.frames(),
            alignment,
            category,
            environment: environment.clone(),
            timings_ms: timings,
        })
    }

    /// The category of a clip or frames, without a caption.
    pub(super) fn classify(&self, input: &Input, pictures: bool, stop: &Stop) -> Answer<ClassifyAnswer> {
        let mut timings = Timings::new();
        let environment = self.labelling();
        let (seen, clip) = match self.look(input, pictures, false, stop, &mut timings)? {
            Looked::Seen(seen) => (seen, None),
            Looked::Undecodable(digest, why) => (Box::new(Seen::none()), Some((digest, why))),
        };
        let found = timed(&mut timings, "score", || {
            self.judge.classify_embedded(&seen.embedded, seen.reports.clone())
        })?;
        let (codes, sentence) = match &clip {
            None => why::of_classification(&found),
            Some((_, why)) => (vec!["undecodable_clip"], format!("The clip cannot be decoded: {why}.")),
        };
        let failures: Vec<String> = codes.into_iter().map(str::to_owned).collect();
        let verdict = if failures.is_empty() { Verdict::Accept } else { Verdict::Reject };
        let mut record =
            ScoreRecord::new(Kind::Classify, environment, &seen.reports, &failures).labels(&found.labels);
        if let Some(digest) = seen.clip.or(clip.as_ref().map(|(digest, _)| *digest)) {
            record = record.clip(self.judge.limits(), digest, seen.probe.as_ref());
        }
        let (id, text) = record.text()?;
        let why = vec![sentence];
        let recent = RecentVerdict {
            nature_score: found.nature_score,
            frames: seen.reports.len(),
            ..verdict_now(Kind::Classify, id, verdict, &why, &failures)
        };
        let created_at = recent.created_at;
        self.conclude(recent, text)?;
        Ok(ClassifyAnswer {
            id,
            created_at,
            verdict,
            failures,
            why,
            probe: seen.probe.clone(),
            frames: seen.frames(),
            labels: found.labels,
            nature_score: found.nature_score,
            rival_score: found.rival_score,
            margin: found.margin,
            borderline: found.borderline,
            environment: environment.clone(),
            timings_ms: timings,
        })
    }
}

impl Seen {
    fn none() -> Self {
        Self { probe: None, clip: None, reports: Vec::new(), embedded: Vec::new(), small: Vec::new() }
    }

    fn frames(&self) -> Vec<FrameOut> {
        let small = self.small.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let frames = self.reports.iter().cloned().zip(small).enumerate();
        frames.map(|(index, (report, picture))| FrameOut { index, report, picture }).collect()
    }
}

/// Small pictures of frames.
fn small(frames: &[Frame]) -> Result<Vec<String>> {
    frames.iter().map(small_picture).collect()
}

/// Codes without the clip, which has no name here.
pub(super) fn codes(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(|violation| code_label(&violation.code()).to_owned()).collect()
}
