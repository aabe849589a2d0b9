//! The record behind a verdict that belongs to no package, and its name: the SHA-256 of its canonical text.

use nexis_core::Result;
use nexis_core::evidence::to_canonical_json;
use nexis_core::hash::Digest;
use nexis_core::media::{ClipProbe, MediaLimits};
use nexis_core::report::{AlignmentReport, CategoryReport, Environment, FrameCategoryReport, FrameReport};
use serde::Serialize;

/// Version of the record's shape.
const RECORD_VERSION: u32 = 1;

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A clip or frames, against a caption.
    Score,
    /// A caption against frames alone, asked as a chat.
    Match,
    /// The category of frames.
    Classify,
    /// One miner's submission.
    Verify,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Match => "match",
            Self::Classify => "classify",
            Self::Verify => "verify",
        }
    }
}

/// Everything that led to a verdict; nothing that varies from run to run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ScoreRecord<'a> {
    record_version: u32,
    kind: Kind,
    environment: &'a Environment,
    /// Of the decoder, where a clip was decoded.
    limits: Option<&'a MediaLimits>,
    clip_sha256: Option<Digest>,
    caption: Option<&'a str>,
    probe: Option<&'a ClipProbe>,
    frames: &'a [FrameReport],
    alignment: Option<&'a AlignmentReport>,
    category: Option<&'a CategoryReport>,
    /// Every frame's labels, where they were asked for.
    labels: Option<&'a [FrameCategoryReport]>,
    failures: &'a [String],
    /// Pictures that were no witnesses, in words.
    left_out: &'a [String],
}

impl<'a> ScoreRecord<'a> {
    /// A record of frames; the rest is filled in by whoever has it.
    pub(super) fn new(
        kind: Kind,
        environment: &'a Environment,
        frames: &'a [FrameReport],
        failures: &'a [String],
    ) -> Self {
        Self {
            record_version: RECORD_VERSION,
            kind,
            environment,
            limits: None,
            clip_sha256: None,
            caption: None,
            probe: None,
            frames,
            alignment: None,
            category: None,
            labels: None,
            failures,
            left_out: &[],
        }
    }

    #[must_use]
    pub(super) fn clip(self, limits: &'a MediaLimits, digest: Digest, probe: Option<&'a ClipProbe>) -> Self {
        Self { limits: Some(limits), clip_sha256: Some(digest), probe, ..self }
    }

    #[must_use]
    pub(super) fn caption(self, caption: &'a str) -> Self {
        Self { caption: Some(caption), ..self }
    }

    #[must_use]
    pub(super) fn scores(
        self,
        alignment: Option<&'a AlignmentReport>,
        category: Option<&'a CategoryReport>,
    ) -> Self {
        Self { alignment, category, ..self }
    }

    #[must_use]
    pub(super) fn labels(self, labels: &'a [FrameCategoryReport]) -> Self {
        Self { labels: Some(labels), ..self }
    }

    #[must_use]
    pub(super) fn left_out(self, left_out: &'a [String]) -> Self {
        Self { left_out, ..self }
    }

    /// Its canonical text and its name.
    pub(super) fn text(&self) -> Result<(Digest, String)> {
        canonical(self)
    }
}

/// A record's canonical text and its name.
pub(super) fn canonical(record: &impl Serialize) -> Result<(Digest, String)> {
    let text = to_canonical_json(record)?;
    Ok((Digest::of(&text), text))
}
