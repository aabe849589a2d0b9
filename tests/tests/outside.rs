//! What a judge says outside of packages, held against what it says of the same clips inside, and against the
//! model asked by itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nexis_core::check::{FrameScores, category_decision, middle_three};
use nexis_core::media::tiles::clip_preprocess;
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::{ClipModel, ImageText, LoadOptions};
use nexis_core::package::{
    AssetSource, DirectorySource, ExpectedIdentity, ExpectedMiner, IntervalFolder, Opened, Package,
    PackageRules,
};
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::{FrameCategoryReport, RowReport, Verdict};
use nexis_core::synth::{Attack, ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::{RowJudge, Submission, Unobserved, Verifier, VerifierOptions};
use nexis_tests::{demo_model, judge};

const INTERVAL: IntervalId = IntervalId::new(7_756_900);

fn shared() -> &'static RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    JUDGE.get_or_init(|| judge(16))
}

fn write(attack: Option<Attack>, root: &Path) -> PathBuf {
    let plan = PackagePlan {
        hotkey: Hotkey::new("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"),
        interval: INTERVAL,
        created_at: "2026-04-10T12:00:00Z".parse().unwrap(),
        rows: [600_000, 600_001].map(|seed| RowPlan::new(seed, Category::Nature)).to_vec(),
        style: ClipStyle { fps: 6, ..ClipStyle::default() },
        attack,
    };
    let bucket = root.join(plan.hotkey.bucket_name());
    plan.write(&bucket, None, &|| {}).unwrap();
    bucket
}

fn package(bucket: &Path) -> Package {
    let expected = ExpectedIdentity { miner: ExpectedMiner::Anyone, interval: INTERVAL };
    let now = "2026-04-10T13:00:00Z".parse().unwrap();
    let source = Arc::new(DirectorySource::new(bucket));
    match Package::open(source, &expected, &PackageRules::default(), now).unwrap() {
        Opened::Package(package) => *package,
        Opened::Rejected { violation, .. } => panic!("{}", violation.code()),
    }
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
        let package = package(&bucket);
        let options = VerifierOptions { all_rows: true, ..VerifierOptions::default() };
        let submission = Submission {
            miner: ExpectedMiner::Anyone,
            interval: INTERVAL,
            label: "a miner".into(),
            source: Arc::clone(&package.source),
        };
        let now = "2026-04-10T13:00:00Z".parse().unwrap();
        let report = Verifier::new(judge(16), options).verify(&[submission], now, &Unobserved).unwrap();
        let inside: Vec<String> = report.submissions[0].rows.iter().cloned().map(of_the_row).collect();
        let folder = IntervalFolder::new(bucket.join(INTERVAL.to_string()), INTERVAL);
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
    for row in package(&bucket).rows {
        let clip = bucket.join(INTERVAL.to_string()).join(&row.clip_uri);
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
    let two = &six(&bucket.join(INTERVAL.to_string()).join(&package(&bucket).rows[0].clip_uri))[..2];
    let few = shared().classify_frames(two).unwrap();
    assert_eq!((few.labels.len(), few.decision, few.nature_score), (2, Verdict::Reject, None));
}

#[test]
fn embeddings_are_the_models_own() {
    let model = ClipModel::load(demo_model(), &LoadOptions::default()).unwrap();
    let frames: Vec<Frame> = [(320, 180), (180, 320), (64, 64)]
        .iter()
        .enumerate()
        .map(|(k, &(width, height))| {
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * (k as u32 + 3) / 7) as u8).collect();
            Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() }
        })
        .collect();
    let size = model.preprocess().size;
    let crops: Vec<_> = frames.iter().map(|frame| clip_preprocess(frame, size).unwrap()).collect();
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
        assert!(shared().encode_text(&[refused.to_owned()]).is_err());
    }
}
