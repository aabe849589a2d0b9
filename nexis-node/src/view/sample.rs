//! A report with everything in it, hostile text included, for the tests of this module.

use std::collections::BTreeMap;

use chrono::DateTime;
use nexis_core::check::{Policy, Violation, ViolationKind};
use nexis_core::hash::Digest;
use nexis_core::media::{ClipProbe, Frame};
use nexis_core::model::ModelIdentity;
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::{
    AlignmentReport, CategoryReport, Environment, FrameCategoryReport, FrameReport, Report, RowReport,
    SubmissionReport, UnitReport, Verdict,
};

use super::pictures::RowPictures;

/// Markup, quotes, an escape sequence and a reversing control, as a miner might write them.
pub(super) const HOSTILE: &str = "</script><img src=x onerror=alert(1)> \"quoted\" 'single' & \u{1b}[31mred\u{1b}[0m \u{202e}desrever\u{202c}";

/// One of each kind of violation.
pub(super) fn every_violation() -> Vec<ViolationKind> {
    use ViolationKind as V;
    let clip = || "0a1b2c3d4e5f60718293a4b5".to_owned();
    vec![
        V::MissingCommittedReadCredentials,
        V::MissingSubmissionFiles,
        V::ManifestSchemaInvalid,
        V::ManifestIdentityMismatch,
        V::UnknownSpec { spec: "video_v9".into() },
        V::IncompatibleSpecVersion {
            spec: "video_v1".into(),
            protocol: "9.0.0".into(),
            schema: "1.0.0".into(),
        },
        V::SpecNotEnabled { spec: "video_v1".into() },
        V::MissingCategoryMetadata,
        V::UnsupportedCategory { category: "urban".into() },
        V::DatasetSha256Mismatch,
        V::DatasetSchemaInvalid,
        V::ManifestRecordCountMismatch,
        V::NonYoutubeSource { clip: clip() },
        V::OverlapLt5s { source: "dQw4w9WgXcQ".into(), clip_a: clip(), clip_b: "ffff".into() },
        V::EmptyCaption { clip: clip() },
        V::ShortCaption { clip: clip() },
        V::UrlLikeCaption { clip: clip() },
        V::ClipStartGt5000 { clip: clip() },
        V::InvalidAssetUri { uri: "../../etc/passwd".into() },
        V::MissingClipAsset { clip: clip() },
        V::ClipSha256Mismatch { clip: clip() },
        V::InvalidResolution { clip: clip(), width: 640, height: 360 },
        V::MissingFirstFrameAsset { clip: clip() },
        V::FirstFrameSha256Mismatch { clip: clip() },
        V::CaptionSemanticInjectionKeyword { clip: clip() },
        V::CaptionSemanticMismatch { clip: clip() },
        V::CategoryCaptionReject { clip: clip() },
        V::CategoryStrictFramesMissing { clip: clip() },
        V::CategoryStrictReject { clip: clip() },
        V::UndecodableClip { clip: clip() },
        V::ValidationException,
        V::FirstFrameContentMismatch { clip: clip() },
        V::RowMetadataMismatch { clip: clip(), field: "fps".into() },
        V::CaptionHygiene { clip: clip(), what: "hidden characters".into() },
        V::DuplicateClipId { clip: clip() },
    ]
}

/// A submission with a verdict and nothing else.
pub(super) fn submission(hotkey: &str, verdict: Verdict, reasons: Vec<Violation>) -> SubmissionReport {
    let accepted = verdict == Verdict::Accept;
    SubmissionReport {
        miner_hotkey: Hotkey::new(hotkey),
        interval_id: IntervalId::new(6_412_300),
        verdict,
        accepted,
        failures: reasons.iter().map(Violation::code).collect(),
        reasons,
        warnings: Vec::new(),
        inconclusive: Vec::new(),
        record_count: 120,
        pruned_rows: 4,
        sampled_rows: 3,
        sampled_clip_ids: Vec::new(),
        passed_sample_count: if accepted { 3 } else { 0 },
        score: if accepted { 27.0 } else { 0.0 },
        checked_at: DateTime::from_timestamp(1_775_000_000, 0).unwrap_or_default(),
        notes: BTreeMap::new(),
        rows: Vec::new(),
    }
}

/// A judged row whose probability is given.
pub(super) fn row(clip: &str, row_index: usize, caption: &str, probability: f64) -> RowReport {
    let match_verdict = |yes| if yes { Verdict::Accept } else { Verdict::Reject };
    let units = caption
        .split_inclusive(['.', ','])
        .enumerate()
        .map(|(unit, text)| {
            let per_frame: Vec<_> =
                (0..6).map(|f| probability * 0.3 + 0.02 * f64::from((unit as i32 * 5 + f * 3) % 7)).collect();
            UnitReport {
                text: text.trim().to_owned(),
                similarity: per_frame.iter().sum::<f64>() / 6.0,
                per_frame,
            }
        })
        .collect();
    let (nature, rival): (f64, f64) = if probability > 0.3 { (0.87, 0.08) } else { (0.21, 0.74) };
    let frames = (2..5)
        .map(|frame_index| {
            let (winner, second) = if nature > 0.5 {
                (Category::Nature, Category::People)
            } else {
                (Category::People, Category::Nature)
            };
            let scores = Category::ALL.map(|label| match label {
                label if label == winner => (label, nature.max(rival)),
                label if label == second => (label, nature.min(rival)),
                label => (label, 0.01),
            });
            FrameCategoryReport { frame_index, winner, scores: scores.into() }
        })
        .collect();
    RowReport {
        clip_id: clip.to_owned(),
        row_index,
        caption: caption.to_owned(),
        probe: Some(ClipProbe {
            width: 1280,
            height: 720,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            fps: 25.0,
            duration_seconds: 5.0,
            frame_count: Some(125),
            rotation: 0,
            has_audio: true,
        }),
        frames: (0..6)
            .map(|k| FrameReport {
                pts_seconds: (f64::from(k) + 0.5) * 5.0 / 6.0,
                rgb_sha256: Digest::of([k as u8]),
            })
            .collect(),
        alignment: Some(AlignmentReport {
            probability,
            threshold: 0.5,
            verdict: match_verdict(probability >= 0.5),
            borderline: (probability - 0.5).abs() < 0.01,
            units,
            features: [("mean", 0.241), ("min", 0.187), ("spread", 0.03)]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            cascade: None,
            ensemble: None,
        }),
        category: Some(CategoryReport {
            caption_nature: 0.93,
            frames,
            decision: match_verdict(nature > 0.72),
            borderline: false,
            nature_score: Some(nature),
            rival_score: Some(rival),
            margin: Some(nature - rival),
            cascade: None,
            ensemble: None,
        }),
        failures: Vec::new(),
        inconclusive: None,
        evidence: Some(Digest::of(clip)),
        timings_ms: [("decode", 41.3), ("forward", 220.8)].map(|(k, v)| (k.to_owned(), v)).into(),
    }
}

/// What made the sample.
pub(super) fn environment() -> Environment {
    Environment {
        nexis: "0.1.0".into(),
        device: "cpu".into(),
        decoder: "ffmpeg-cpu 59.27.100".into(),
        preprocessing: "1".into(),
        model: Some(ModelIdentity {
            id: "nexis-demo".into(),
            architecture: "clip".into(),
            digests: [("model.safetensors".to_owned(), Digest::of("weights"))].into(),
            precision: "f32".into(),
            device: "cpu".into(),
        }),
        card: Some(Digest::of("card")),
        notice: Some("This is a demonstration model trained on drawn scenes; its verdicts say nothing about real footage.".into()),
        ensemble: None,
        judge: None,
    }
}

/// Four miners: accepted, rejected with every code, hostile, and not judged.
pub(super) fn report() -> Report {
    const HONEST: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    const GREEDY: &str = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty";
    const UNLUCKY: &str = "5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y";
    let caption = "A wide mountain lake lies still in the morning light, dark pines stand along the far shore. \
                   Thin clouds drift slowly from left to right above the snowy ridge.";

    let mut honest = submission(HONEST, Verdict::Accept, Vec::new());
    honest.rows = vec![row("8d2f0c6b1a9e4d7750c3b2a1", 3, caption, 0.93), row("aa02", 41, caption, 0.504)];
    honest.warnings = vec![Violation::explained(
        ViolationKind::RowMetadataMismatch { clip: "aa02".into(), field: "fps".into() },
        "the row says 30, the stream 25",
    )];
    honest.notes =
        [("overlap".to_owned(), "4 rows start within 4.5 s of the global index".to_owned())].into();

    let all =
        every_violation().into_iter().map(|kind| Violation::explained(kind, "seen in the sample")).collect();
    let mut greedy = submission(GREEDY, Verdict::Reject, all);
    let mut bad = row("0a1b2c3d4e5f60718293a4b5", 0, caption, 0.12);
    bad.failures = vec![
        "caption_semantic_mismatch:0a1b2c3d4e5f60718293a4b5".into(),
        "category_strict_reject:0a1b2c3d4e5f60718293a4b5".into(),
    ];
    greedy.rows = vec![bad];

    let kind = ViolationKind::InvalidAssetUri { uri: HOSTILE.into() };
    let mut hostile =
        submission(&format!("5Evil{HOSTILE}"), Verdict::Reject, vec![Violation::explained(kind, HOSTILE)]);
    let mut stopped = row(HOSTILE, 9, &format!("{HOSTILE} {}", "wide ".repeat(60)), 0.4);
    stopped.failures.clone_from(&hostile.failures);
    hostile.rows = vec![stopped];

    let mut unlucky = submission(UNLUCKY, Verdict::Inconclusive, Vec::new());
    unlucky.inconclusive = vec!["the decoder ran out of memory".into()];
    let mut unjudged = row("bb01", 5, caption, 0.0);
    unjudged.alignment = None;
    unjudged.category = None;
    unjudged.evidence = None;
    unjudged.inconclusive = Some("the decoder ran out of memory".into());
    unlucky.rows = vec![unjudged];

    let weights = [(HONEST, 1.0), (GREEDY, 0.0), (UNLUCKY, 0.0)];
    Report {
        environment: environment(),
        policy: Policy::Network,
        submissions: vec![honest, greedy, hostile, unlucky],
        weights: weights.map(|(hotkey, weight)| (Hotkey::new(hotkey), weight)).into(),
    }
}

/// Drawn hills under a moving sun, for each row that was judged.
pub(super) fn pictures(report: &Report) -> RowPictures {
    let pictures = RowPictures::default();
    for submission in &report.submissions {
        for row in submission.rows.iter().filter(|row| row.alignment.is_some()) {
            let frames: Vec<_> = (0..6).map(|k| hills(k, row.row_index)).collect();
            pictures
                .keep(&submission.miner_hotkey, submission.interval_id, row.row_index, &frames)
                .expect("the frames are whole");
        }
    }
    pictures
}

/// One drawn frame.
pub(super) fn hills(k: u32, variant: usize) -> Frame {
    let (width, height) = (640_u32, 360_u32);
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let (fx, fy) = (f64::from(x), f64::from(y));
            let ridge = 190.0 + 50.0 * ((fx + variant as f64 * 90.0) / 75.0).sin() + 18.0 * (fx / 23.0).sin();
            let sun = (fx - 90.0 - 90.0 * f64::from(k)).hypot(fy - 80.0) < 34.0;
            rgb.extend(match (fy > ridge + 60.0, fy > ridge, sun) {
                (true, ..) => [52, 94, 58],
                (_, true, _) => [88, 104, 128],
                (_, _, true) => [252, 226, 140],
                _ => [120 + (y / 4) as u8, 170, 222],
            });
        }
    }
    Frame { width, height, pts_seconds: (f64::from(k) + 0.5) * 5.0 / 6.0, rgb: rgb.into() }
}
