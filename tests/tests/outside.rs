//! What a judge says outside of packages, held against what it says of the same clips inside, and against the
//! model asked by itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nexis_core::Error;
use nexis_core::check::{FrameScores, category_decision, middle_three};
use nexis_core::media::tiles::own_view;
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::{DualEncoder, ImageText, LoadOptions};
use nexis_core::package::{AssetSource, IntervalFolder};
use nexis_core::protocol::Category;
use nexis_core::report::{FrameCategoryReport, RowReport, Verdict};
use nexis_core::synth::Attack;
use nexis_core::verifier::{RowJudge, Unobserved, Verifier, VerifierOptions};
use nexis_tests::packages::{ALICE, INTERVAL, draw, interval_folder, now, opened, plan, submission};
use nexis_tests::{demo_model, judge};

fn shared() -> &'static RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    JUDGE.get_or_init(|| judge(16))
}

fn write(attack: Option<Attack>, root: &Path) -> PathBuf {
    draw(&plan(ALICE, [600_000, 600_001], attack), root)
}

/// What does not depend on the package around the row.
fn of_the_row(mut report: RowReport) -> String {
    report.evidence = None;
    report.timings_ms.clear();
    serde_json::to_string(&report).unwrap()
}

#[test]
fn a_row_by_itself_is_judged_as_in_its_package() {
    for attack in [None, Some(Attack::WrongClipDigest), Some(Attack::MissingClip), Some(Attack::UnsafeUri)] {
        let root = tempfile::tempdir().unwrap();
        let bucket = write(attack, root.path());
        let package = opened(&bucket);
        let options = VerifierOptions { all_rows: true, ..VerifierOptions::default() };
        let submissions = [submission(root.path(), ALICE)];
        let report = Verifier::new(judge(16), options).verify(&submissions, now(), &Unobserved).unwrap();
        let inside: Vec<String> = report.submissions[0].rows.iter().cloned().map(of_the_row).collect();
        let folder = IntervalFolder::new(interval_folder(&bucket), INTERVAL);
        let outside: Vec<String> = package
            .rows
            .iter()
            .enumerate()
            .map(|(i, row)| shared().judge_record(row, i, INTERVAL, package.spec.as_ref(), &folder))
            .map(of_the_row)
            .collect();
        assert_eq!(inside.len(), 2);
        assert_eq!(outside, inside, "{attack:?}");
    }
}

#[test]
fn an_intervals_folder_has_the_files_of_its_keys_and_no_others() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("7756900");
    std::fs::create_dir_all(folder.join("clips")).unwrap();
    std::fs::write(folder.join("clips/c1.mp4"), "clip").unwrap();
    std::fs::write(root.path().join("outside"), "no").unwrap();
    let source = IntervalFolder::new(&folder, INTERVAL);
    assert_eq!(source.get("7756900/clips/c1.mp4").unwrap().unwrap().len, 4);
    for key in [
        "clips/c1.mp4",
        "7756901/clips/c1.mp4",
        "77569001/clips/c1.mp4",
        "7756900/clips/c2.mp4",
        "7756900/../outside",
        "7756900//clips/c1.mp4/..",
        "7756900/",
        "7756900",
        "",
    ] {
        assert_eq!(source.get(key).unwrap(), None, "{key}");
    }
    assert_eq!(source.last_modified("7756900/clips/c1.mp4").unwrap(), None);
}

fn six(clip: &Path) -> Vec<Frame> {
    let request = FrameRequest::Spread { count: 6, first: false };
    FfmpegDecoder::default().decode(clip, &request, &MediaLimits::default()).unwrap().frames
}

fn for_the_rule(label: &FrameCategoryReport) -> FrameScores {
    let score = |category| label.scores[&category];
    FrameScores {
        winner: label.winner.as_str().to_owned(),
        nature_score: score(Category::Nature),
        people_score: score(Category::People),
        animal_score: score(Category::Animal),
        vehicle_score: score(Category::Vehicle),
        urban_score: score(Category::Urban),
        indoor_score: score(Category::Indoor),
    }
}

#[test]
fn a_clip_is_classified_by_the_labels_that_its_scores_have() {
    let root = tempfile::tempdir().unwrap();
    let bucket = write(None, root.path());
    for row in opened(&bucket).rows {
        let clip = interval_folder(&bucket).join(&row.clip_uri);
        let found = shared().classify(&clip).unwrap();
        let inspected = shared().inspect(&clip, None).unwrap();
        assert_eq!(found.labels, inspected.categories);
        assert_eq!(found.probe.as_ref(), Some(&inspected.decoded.probe));
        let middle: Vec<FrameScores> =
            middle_three(6).unwrap().iter().map(|i| for_the_rule(&found.labels[*i])).collect();
        let decided = category_decision(&middle).unwrap();
        assert_eq!(found.decision == Verdict::Accept, decided.accept);
        assert_eq!(found.nature_score, Some(decided.nature_score));
        assert_eq!(found.rival_score, Some(decided.rival_score));
        assert_eq!(found.margin, Some(decided.margin));
        let of_frames = shared().classify_frames(&six(&clip)).unwrap();
        assert_eq!(of_frames.labels, found.labels);
        assert_eq!(of_frames.decision, found.decision);
    }
    let two = &six(&interval_folder(&bucket).join(&opened(&bucket).rows[0].clip_uri))[..2];
    let few = shared().classify_frames(two).unwrap();
    assert_eq!((few.labels.len(), few.decision, few.nature_score), (2, Verdict::Reject, None));
}

#[test]
fn embeddings_are_the_models_own() {
    let model = DualEncoder::load(demo_model(), &LoadOptions::default()).unwrap();
    let frames: Vec<Frame> = [(320, 180), (180, 320), (64, 64)]
        .iter()
        .enumerate()
        .map(|(k, &(width, height))| {
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * (k as u32 + 3) / 7) as u8).collect();
            Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() }
        })
        .collect();
    let crops: Vec<_> = frames.iter().map(|frame| own_view(frame, model.preprocess()).unwrap()).collect();
    assert_eq!(shared().encode_image(&frames).unwrap(), model.encode_image(&crops).unwrap());

    let short = ["a lake", "a mountain under clouds", "a lake"].map(String::from);
    let texts: Vec<&str> = short.iter().map(String::as_str).collect();
    assert_eq!(shared().encode_text(&short).unwrap(), model.encode_text(&texts).unwrap());
}

#[test]
fn a_long_caption_is_embedded_whole() {
    let sentence =
        |what: &str| format!("A wide {what} lies under a bright sky while soft clouds drift slowly by.");
    let long = |last: &str| ["lake", "river", "hill", "field", "wood", last].map(sentence).join(" ");
    let captions = [long("beach"), long("dune")];
    let rows = shared().encode_text(&captions).unwrap();
    for row in rows.rows() {
        let length: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    // The last sentence counts: nothing was cut off.
    assert_ne!(rows.row(0), rows.row(1));
    for refused in ["", "  ", &"x".repeat(20_000)] {
        let error = shared().encode_text(&[refused.to_owned()]).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
    }
}
