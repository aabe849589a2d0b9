//! What all endpoints share.

use std::sync::Arc;

use chrono::Utc;
use nexis_core::Result;
use nexis_core::hash::Digest;
use nexis_core::report::{Environment, Verdict};
use nexis_core::verifier::RowJudge;
use tokio_util::sync::CancellationToken;

use super::auth::{ApiKeys, Names};
use super::limits::Admission;
use super::pictures::Pictures;
use super::record::Kind;
use super::roots::Roots;
use super::verdicts::{RecentVerdict, Verdicts};
use crate::observe::{Metrics, code_label};

/// The server's parts. A clone is the same server.
#[derive(Clone)]
pub(super) struct App(Arc<Parts>);

/// See [`App`].
pub(super) struct Parts {
    pub(super) judge: RowJudge,
    /// Where packages are verified: a row holds its thread until it is judged, and what decodes pictures for other requests
    /// would wait behind all rows.
    pub(super) verifying: rayon::ThreadPool,
    /// The judge's environment with the first encoder alone.
    pub(super) labelling: Environment,
    pub(super) pictures: Pictures,
    pub(super) admission: Admission,
    pub(super) keys: ApiKeys,
    pub(super) names: Names,
    pub(super) roots: Roots,
    pub(super) verdicts: Verdicts,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
    /// When the server started, for a field of OpenAI's.
    pub(super) started: i64,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Parts {
    /// The model's id.
    pub(super) fn model_id(&self) -> String {
        let model = self.judge.environment().model.as_ref();
        model.map(|model| model.id.clone()).unwrap_or_default()
    }

    /// What makes labels: neither a judge nor a second encoder, which decide captions and the category beside one.
    pub(super) fn labelling(&self) -> &Environment {
        &self.labelling
    }

    /// Counts, lists and logs a verdict, and keeps its evidence.
    ///
    /// # Errors
    /// Where the evidence cannot be written.
    pub(super) fn conclude(&self, verdict: RecentVerdict, evidence: String) -> Result<()> {
        self.verdicts.keep(verdict.id, evidence)?;
        self.metrics.answer(verdict.kind.as_str(), verdict.verdict);
        // What stands behind a code's colon is a miner's.
        let codes: Vec<&str> = verdict.failures.iter().map(|code| code_label(code)).collect();
        tracing::info!(
            kind = verdict.kind.as_str(),
            verdict = ?verdict.verdict,
            id = %verdict.id,
            failures = %codes.join(","),
            "judged"
        );
        self.verdicts.add(verdict);
        Ok(())
    }
}

/// A verdict of this moment; the rest is filled in by whoever has it.
pub(super) fn verdict_now(
    kind: Kind,
    id: Digest,
    verdict: Verdict,
    why: &[String],
    failures: &[String],
) -> RecentVerdict {
    RecentVerdict {
        sequence: 0,
        id,
        created_at: Utc::now(),
        kind,
        verdict,
        why: why.to_vec(),
        failures: failures.to_vec(),
        caption: None,
        hotkey: None,
        interval_id: None,
        probability: None,
        threshold: None,
        decided_by: None,
        nature_score: None,
        nature_decided_by: None,
        frames: 0,
    }
}

#[cfg(test)]
mod tests {
    use nexis_core::media::{FfmpegDecoder, MediaLimits};

    use super::super::trial::{loaded, parts, repository};
    use super::*;
    use crate::observe::{LogOptions, logged};

    #[test]
    fn what_a_miner_wrote_is_not_logged() {
        let (model, card) = loaded(&repository().join("models/demo"));
        let decoder = Arc::new(FfmpegDecoder::default());
        let judge = RowJudge::new(decoder, model, Arc::new(card), MediaLimits::default(), 64).unwrap();
        let failures = ["short_caption:x\n2026-04-10 ERROR forged".to_owned()];
        let verdict = verdict_now(Kind::Verify, Digest::of("x"), Verdict::Reject, &[], &failures);
        let parts = parts(judge, &[]);
        let logged = logged(&LogOptions::default(), || {
            parts.conclude(verdict, "{}".to_owned()).unwrap();
        });
        assert!(logged.contains("failures=short_caption") && !logged.contains("forged"), "{logged}");
        assert_eq!(logged.lines().count(), 1, "{logged}");
    }
}
