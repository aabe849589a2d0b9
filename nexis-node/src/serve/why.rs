//! A verdict in sentences.

use nexis_core::check::{Violation, ViolationKind};
use nexis_core::report::{AlignmentReport, CategoryReport, Decider, Verdict};
use nexis_core::verifier::Classification;

/// Why a caption passes phase 6.
pub(super) fn caption_fits(alignment: &AlignmentReport) -> String {
    if let (Some(ensemble), Some(decided)) = (&alignment.ensemble, alignment.decided()) {
        return format!(
            "The caption describes the frames: P(match) {:.3} against {:.3}, by the second encoder {:.3} against {:.3}, \
             {decided}.",
            alignment.probability,
            alignment.threshold,
            ensemble.second.probability,
            ensemble.second.threshold
        );
    }
    if let Some(cascade) = alignment.cascade.filter(|cascade| cascade.decided_by == Decider::Judge) {
        return format!(
            "The caption describes the frames: P(match) {:.3} against {:.3}, {}.",
            alignment.probability,
            alignment.threshold,
            cascade.words()
        );
    }
    let near = if alignment.borderline { ", narrowly" } else { "" };
    format!(
        "The caption describes the frames: P(match) {:.3} reaches {:.3}{near}.",
        alignment.probability, alignment.threshold
    )
}

/// Why frames pass the rule of phase 7.
pub(super) fn nature_passes(category: &CategoryReport) -> Option<String> {
    let (nature, margin) = category.nature_score.zip(category.margin)?;
    if let (Some(ensemble), Some(decided)) = (&category.ensemble, category.decided()) {
        let second = ensemble.second.nature_score.unwrap_or_default();
        return Some(format!(
            "Natural scenery is the main subject: {nature:.3} on the middle three frames, by the second encoder \
             {second:.3}, {decided}."
        ));
    }
    let judged = category.cascade.filter(|cascade| cascade.decided_by == Decider::Judge);
    Some(match judged {
        Some(cascade) => format!(
            "Natural scenery is the main subject: {nature:.3} on the middle three frames, {margin:+.3} against the best \
             rival, {}.",
            cascade.words()
        ),
        None => nature_leads(nature, margin),
    })
}

fn nature_leads(nature: f64, margin: f64) -> String {
    format!(
        "Natural scenery is the main subject: {nature:.3} on the middle three frames, {margin:.3} above the best rival."
    )
}

/// What was found, as a sentence.
pub(super) fn found(violation: &Violation) -> String {
    let sentence = match &violation.kind {
        ViolationKind::CaptionSemanticInjectionKeyword { .. } => {
            "The caption has `match` or `true` as a word, which speaks to a judge"
        }
        ViolationKind::CaptionSemanticMismatch { .. } => "The caption does not describe the frames",
        ViolationKind::CategoryCaptionReject { .. } => {
            "The caption alone says that it is not about natural scenery"
        }
        ViolationKind::CategoryStrictFramesMissing { .. } => "Three frames are needed to judge the category",
        ViolationKind::CategoryStrictReject { .. } => "Natural scenery is not clearly the main subject",
        ViolationKind::UndecodableClip { .. } => "The clip cannot be decoded",
        other => {
            return format!(
                "{other}: {}",
                if violation.detail.is_empty() { other.remedy() } else { &violation.detail }
            );
        }
    };
    match violation.detail.as_str() {
        "" => format!("{sentence}."),
        detail => format!("{sentence}: {detail}."),
    }
}

/// A classification in a sentence, and the code where it is none of nature.
pub(super) fn of_classification(found: &Classification) -> (Vec<&'static str>, String) {
    match (found.decision, found.nature_score, found.rival_score, found.margin) {
        (Verdict::Accept, Some(nature), _, Some(margin)) => (Vec::new(), nature_leads(nature, margin)),
        (_, Some(nature), Some(rival), _) => (
            vec!["category_strict_reject"],
            format!(
                "Natural scenery is not clearly the main subject: nature {nature:.3}, best rival {rival:.3} over the \
                 middle three frames."
            ),
        ),
        _ => (
            vec!["category_strict_frames_missing"],
            "Three frames are needed to judge the category.".to_owned(),
        ),
    }
}
