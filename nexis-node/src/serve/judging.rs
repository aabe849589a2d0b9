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
use nexis_core::verifier::{Embedded, frame_reports};
use nexis_core::{Error, Result};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::app::{Parts, verdict_now};
use super::desk::Stop;
use super::error::{Answer, Refusal};
use super::figure::Figure;
use super::pictures::{Read, Wanted, small_picture};
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

impl Input {
    /// The picture files, where it is those.
    fn files(&self) -> Vec<&Vec<u8>> {
        match self {
            Self::Frames(files) => files.iter().collect(),
            Self::Clip(_) | Self::Upload(_) => Vec::new(),
        }
    }
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

/// What is asked about frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Whether a caption fits them. They have one size, and every encoder sees them, and the judge if it is in doubt.
    Caption,
    /// Their labels, which are the first encoder's.
    Labels,
}

/// Frames that were decoded and embedded.
struct Seen {
    probe: Option<ClipProbe>,
    /// Of the clip's file.
    clip: Option<Digest>,
    reports: Vec<FrameReport>,
    /// Runs of one size.
    first: Vec<FrameEmbeddings>,
    /// The same by the second encoder, where it was asked.
    second: Vec<FrameEmbeddings>,
    /// The frames as far as they were decoded, where a judge may have to see them.
    pixels: Vec<Option<Frame>>,
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
        asked: Asked,
        pictures: bool,
        stop: &Stop,
        timings: &mut Timings,
    ) -> Answer<Looked> {
        match input {
            Input::Clip(clip) => self.look_at_clip(clip, asked, pictures, stop, timings),
            Input::Upload(clip) => self.look_at_clip(clip.path(), asked, pictures, stop, timings),
            Input::Frames(files) => self.look_at_frames(files, asked, pictures, stop, timings),
        }
    }

    /// Decodes a clip, once: every encoder is shown the same frames, and so is a judge.
    fn look_at_clip(
        &self,
        clip: &Path,
        asked: Asked,
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
        let embedded = timed(timings, "encode", || match asked {
            Asked::Caption => self.judge.embed_all(&decoded.frames),
            Asked::Labels => Ok(Embedded { first: self.judge.embed(&decoded.frames)?, second: None }),
        });
        let embedded = match embedded {
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
            first: vec![embedded.first],
            second: embedded.second.into_iter().collect(),
            small: if pictures { small(&decoded.frames)? } else { Vec::new() },
            pixels: if self.shows(asked) {
                decoded.frames.into_iter().map(Some).collect()
            } else {
                Vec::new()
            },
        })))
    }

    fn look_at_frames(
        &self,
        files: &[Vec<u8>],
        asked: Asked,
        pictures: bool,
        stop: &Stop,
        timings: &mut Timings,
    ) -> Answer<Looked> {
        let second = asked == Asked::Caption && self.judge.has_ensemble();
        let wanted = Wanted { second, pixels: pictures };
        let reads =
            timed(timings, "decode", || self.pictures.read(files, &self.admission.limits.still, wanted))?;
        for (index, read) in reads.iter().enumerate() {
            if let Read::Broken(why) = read {
                return Err(Refusal::invalid(format!("frames[{index}]"), why));
            }
        }
        let sizes: Vec<_> = reads.iter().filter_map(Read::size).collect();
        if asked == Asked::Caption && sizes.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
            return Err(Refusal::invalid("frames", "frames of one clip have one size, and these do not"));
        }
        stop.check()?;
        let embedded = timed(timings, "encode", || self.pictures.embed(&self.judge, &reads, wanted))
            .map_err(unusable)?;
        let frames = || reads.iter().map(|read| read.frame().cloned());
        Ok(Looked::Seen(Box::new(Seen {
            probe: None,
            clip: None,
            reports: embedded.iter().map(|seen| seen.report.clone()).collect(),
            first: embedded.iter().map(|seen| seen.first.clone()).collect(),
            second: embedded.iter().filter_map(|seen| seen.second.clone()).filter(|_| second).collect(),
            small: if pictures { small(&frames().flatten().collect::<Vec<_>>())? } else { Vec::new() },
            pixels: if self.shows(asked) { frames().collect() } else { Vec::new() },
        })))
    }

    /// Whether a judge may have to see the frames of such a question.
    fn shows(&self, asked: Asked) -> bool {
        asked == Asked::Caption && self.judge.has_judge()
    }

    /// The pixels of frames, for a judge: pictures of which everything else was remembered are decoded for it.
    pub(super) fn pixels(&self, known: Vec<Option<Frame>>, files: &[&Vec<u8>]) -> Answer<Vec<Frame>> {
        let limits = &self.admission.limits.still;
        let frame = |(index, known): (usize, Option<Frame>)| match (known, files.get(index)) {
            (Some(frame), _) => Ok(frame),
            (None, Some(file)) => decode_still(file, limits).map_err(unusable),
            (None, None) => Err(Refusal::defect("a frame was not kept for the judge")),
        };
        known.into_iter().enumerate().map(frame).collect()
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
        let (mut seen, clip) = match self.look(input, Asked::Caption, pictures, stop, &mut timings)? {
            Looked::Seen(seen) => (seen, None),
            Looked::Undecodable(digest, why) => (Box::new(Seen::none()), Some((digest, why))),
        };
        let (alignment, category, violations) = if let Some((_, why)) = &clip {
            let kind = ViolationKind::UndecodableClip { clip: String::new() };
            (None, None, vec![Violation::explained(kind, why.clone())])
        } else {
            stop.check()?;
            timed(&mut timings, "score", || -> Answer<_> {
                let mut scores = self.judge.score_embedded(&joined(&seen.first, &seen.second)?, caption)?;
                let pixels = std::mem::take(&mut seen.pixels);
                self.judge.settle_embedded(caption, true, &mut scores, || {
                    stop.check()?;
                    self.pixels(pixels, &input.files())
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
            frames: seen.reports.len(),
            ..verdict_now(Kind::Score, id, verdict, &why, &failures)
        };
        let recent = recent.decided(
            alignment.as_ref().map(Figure::of_caption),
            category.as_ref().and_then(Figure::of_category),
        );
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
        let (seen, clip) = match self.look(input, Asked::Labels, pictures, stop, &mut timings)? {
            Looked::Seen(seen) => (seen, None),
            Looked::Undecodable(digest, why) => (Box::new(Seen::none()), Some((digest, why))),
        };
        let found =
            timed(&mut timings, "score", || self.judge.classify_embedded(&seen.first, seen.reports.clone()))?;
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
        Self {
            probe: None,
            clip: None,
            reports: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
            pixels: Vec::new(),
            small: Vec::new(),
        }
    }

    fn frames(&self) -> Vec<FrameOut> {
        let small = self.small.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let frames = self.reports.iter().cloned().zip(small).enumerate();
        frames.map(|(index, (report, picture))| FrameOut { index, report, picture }).collect()
    }
}

/// Frames of one size as the encoders see them, from each frame's embeddings.
pub(super) fn joined(first: &[FrameEmbeddings], second: &[FrameEmbeddings]) -> Result<Embedded> {
    let second = if second.is_empty() { None } else { Some(FrameEmbeddings::join(second)?) };
    Ok(Embedded { first: FrameEmbeddings::join(first)?, second })
}

/// Small pictures of frames.
fn small(frames: &[Frame]) -> Result<Vec<String>> {
    frames.iter().map(small_picture).collect()
}

/// Codes without the clip, which has no name here.
pub(super) fn codes(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(|violation| code_label(&violation.code()).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nexis_core::media::MediaLimits;
    use nexis_core::model::ModelIdentity;
    use nexis_core::model::card::DoubtBand;
    use nexis_core::model::judge::{Answer as Judged, Ask, Judge, JudgeIdentity};
    use nexis_core::verifier::RowJudge;

    use super::super::second;
    use super::super::trial::{Watched, loaded, parts, repository};
    use super::*;

    /// A judge that says yes to everything, and counts the frames that it was shown.
    struct Yes(JudgeIdentity, AtomicUsize);

    impl Judge for Yes {
        fn identity(&self) -> &JudgeIdentity {
            &self.0
        }

        fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Judged>> {
            self.1.fetch_add(asks.iter().map(|ask| ask.frames.len()).sum(), Ordering::SeqCst);
            Ok(vec![Judged::Yes(0.75); asks.len()])
        }
    }

    #[test]
    fn a_clip_is_decoded_once_for_a_question_whoever_looks_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let (model, mut card) = loaded(&repository().join("models/demo"));
        card.alignment.doubt = Some(DoubtBand { from: 0.0, below: 1.0 });
        let decoder = Arc::new(Watched::default());
        let decodes = || std::mem::take(&mut *decoder.threads.lock().unwrap()).len();
        let limits = MediaLimits::default();
        let alone = RowJudge::new(decoder.clone(), model, Arc::new(card), limits, 64).unwrap();
        let (model, card) = loaded(Path::new(&second::tiny(folder.path(), 0.9)));
        let both = alone.with_ensemble(model, Arc::new(card)).unwrap();
        let identity = ModelIdentity {
            id: "yes".into(),
            architecture: "none".into(),
            digests: BTreeMap::new(),
            precision: "none".into(),
            device: "cpu".into(),
        };
        let yes =
            Arc::new(Yes(JudgeIdentity { model: identity, prompt: Digest::of("") }, AtomicUsize::new(0)));
        let clip = repository().join("tests/fixtures/media/clips/h264-bframes.mp4");
        let caption = "a calm lake below green hills";
        for judge in
            [alone.clone(), alone.with_judge(yes.clone(), 0), both.clone(), both.with_judge(yes.clone(), 0)]
        {
            let expected = judge.score(&clip, caption).unwrap();
            let shown = yes.1.swap(0, Ordering::SeqCst);
            assert_eq!((decodes(), shown > 0), (1, judge.has_judge()));
            let parts = parts(judge, &[]);
            let mut upload = NamedTempFile::new().unwrap();
            std::io::copy(&mut File::open(&clip).unwrap(), &mut upload).unwrap();
            for input in [Input::Clip(clip.clone()), Input::Upload(upload)] {
                let scored = parts.score(&input, caption, true, &Stop::default()).unwrap();
                assert_eq!(decodes(), 1);
                assert_eq!(yes.1.swap(0, Ordering::SeqCst), shown);
                assert_eq!(scored.alignment.as_ref(), Some(&expected.alignment));
                assert_eq!(scored.category.as_ref(), Some(&expected.category));
                parts.classify(&input, false, &Stop::default()).unwrap();
                assert_eq!(decodes(), 1);
            }
        }
    }
}
