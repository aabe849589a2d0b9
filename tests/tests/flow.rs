//! Whole packages through the whole verifier, with the demonstration model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use nexis_core::check::{Policy, Violation, ViolationKind};
use nexis_core::evidence::{Evidence, to_canonical_json};
use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::package::{RefusedSource, dataset_key, manifest_key};
use nexis_core::protocol::{Category, Hotkey};
use nexis_core::report::{Report, Verdict};
use nexis_core::synth::{Attack, PackagePlan, RowPlan};
use nexis_core::verifier::{Observer, Submission, Unobserved, Verifier, VerifierOptions, replay};
use nexis_core::{Error, Result};
use nexis_tests::packages::{ALICE, BOB, INTERVAL, now, plan, submission, timeless};
use nexis_tests::{judge, judge_with};

/// Scenes of two honest miners, apart from every seed that the model was trained or calibrated on.
const ALICES: [u64; 3] = [600_000, 600_001, 600_002];
const BOBS: [u64; 3] = [600_003, 600_004, 600_005];

/// Clips are made once and shared by all tests of this file.
fn clips() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn alice(attack: Option<Attack>) -> PackagePlan {
    plan(ALICE, ALICES, attack)
}

/// Another miner with clips of its own.
fn bob(attack: Option<Attack>) -> PackagePlan {
    plan(BOB, BOBS, attack)
}

fn write(plan: &PackagePlan, root: &Path) -> Submission {
    plan.write(&root.join(plan.hotkey.bucket_name()), Some(clips()), &|| {}).unwrap();
    submission(root, plan.hotkey.as_str())
}

fn verifier(options: VerifierOptions, batch: usize) -> Verifier {
    Verifier::new(judge(batch), options)
}

fn verify(submissions: &[Submission], options: VerifierOptions) -> Report {
    verifier(options, 16).verify(submissions, now(), &Unobserved).unwrap()
}

fn strict() -> VerifierOptions {
    VerifierOptions { policy: Policy::Strict, ..VerifierOptions::default() }
}

#[test]
fn an_honest_miner_is_accepted_under_the_strict_policy() {
    let root = tempfile::tempdir().unwrap();
    let report = verify(&[write(&alice(None), root.path())], strict());
    let found = &report.submissions[0];
    assert_eq!(found.failures, Vec::<String>::new(), "{:#?}", found.reasons);
    assert_eq!((found.verdict, found.passed_sample_count, found.score), (Verdict::Accept, 3, 27.0));
    assert_eq!(report.weights[&Hotkey::new(ALICE)], 1.0);
    assert!(found.rows.iter().all(|r| r.frames.len() == 6 && r.evidence.is_some()));
}

#[test]
fn every_attack_earns_its_code_and_nobody_elses() {
    let honest_root = tempfile::tempdir().unwrap();
    let honest = write(&bob(None), honest_root.path());
    for &attack in Attack::ALL {
        let root = tempfile::tempdir().unwrap();
        let cheat = write(&alice(Some(attack)), root.path());
        let report = verify(&[cheat.clone(), honest.clone()], strict());
        let (honest_report, cheat_report): (Vec<_>, Vec<_>) =
            report.submissions.iter().partition(|s| s.miner_hotkey.as_str() == BOB);
        let has_code = |codes: &[String]| codes.iter().any(|f| f.split(':').next() == Some(attack.code()));
        assert!(has_code(&cheat_report[0].failures), "{attack:?}: {:?}", cheat_report[0].failures);
        assert_eq!(cheat_report[0].verdict, Verdict::Reject, "{attack:?}");
        assert_eq!(cheat_report[0].score, 0.0, "{attack:?}");
        assert!(honest_report[0].accepted, "{attack:?} harmed another: {:?}", honest_report[0].failures);
        if attack.strict_only() {
            let report = verify(&[cheat], VerifierOptions::default());
            let found = &report.submissions[0];
            assert!(found.accepted, "{attack:?} under the network's policy: {:?}", found.failures);
            let warnings: Vec<_> = found.warnings.iter().map(|w| w.code()).collect();
            assert!(has_code(&warnings), "{attack:?}: {warnings:?}");
        }
    }
}

#[test]
fn the_later_of_two_equal_packages_loses_its_rows_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let first = write(&alice(None), root.path());
    let mut copy = plan(BOB, ALICES, None);
    copy.created_at += chrono::Duration::minutes(5);
    let report = verify(&[write(&copy, root.path()), first], VerifierOptions::default());
    let of = |hotkey: &str| report.submissions.iter().find(|s| s.miner_hotkey.as_str() == hotkey).unwrap();
    assert_eq!((of(ALICE).pruned_rows, of(ALICE).score), (0, 27.0));
    assert_eq!((of(BOB).pruned_rows, of(BOB).sampled_rows, of(BOB).score), (3, 0, 0.0));
    assert_eq!(of(BOB).failures, Vec::<String>::new());
}

#[test]
fn threads_batches_and_order_do_not_show() {
    let root = tempfile::tempdir().unwrap();
    let submissions =
        [write(&alice(None), root.path()), write(&bob(Some(Attack::CaptionOfAnotherClip)), root.path())];
    let run = |threads: usize, batch: usize, submissions: &[Submission]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let verifier = verifier(VerifierOptions { all_rows: true, ..VerifierOptions::default() }, batch);
        timeless(&pool.install(|| verifier.verify(submissions, now(), &Unobserved)).unwrap())
    };
    let base = run(1, 16, &submissions);
    assert_eq!(base, run(2, 16, &submissions), "threads");
    assert_eq!(base, run(2, 1, &submissions), "batch 1");
    assert_eq!(base, run(3, 7, &[submissions[1].clone(), submissions[0].clone()]), "order of miners");

    // The same rows in another order: each clip's own results stay what they were.
    let shuffled_root = tempfile::tempdir().unwrap();
    let mut shuffled = alice(None);
    shuffled.rows.rotate_left(1);
    let report = run(2, 16, &[write(&shuffled, shuffled_root.path())]);
    let by_clip = |submission: &serde_json::Value| {
        let rows = submission["rows"].as_array().unwrap().clone();
        rows.into_iter()
            .map(|mut row| {
                let object = row.as_object_mut().unwrap();
                object.remove("row_index");
                // The record names the row's position and the dataset's digest, which did change.
                object.remove("evidence");
                (object["clip_id"].as_str().unwrap().to_owned(), row)
            })
            .collect::<BTreeMap<_, _>>()
    };
    let base_alice =
        base["submissions"].as_array().unwrap().iter().find(|s| s["miner_hotkey"] == ALICE).unwrap();
    assert_eq!(by_clip(base_alice), by_clip(&report["submissions"][0]));
}

#[derive(Default)]
struct Keep(Mutex<Vec<Evidence>>);

impl Observer for Keep {
    fn evidence(&self, evidence: &Evidence) -> Result<()> {
        self.0.lock().unwrap().push(evidence.clone());
        Ok(())
    }
}

#[test]
fn evidence_replays_and_tampering_shows() {
    let root = tempfile::tempdir().unwrap();
    let submission = write(&alice(None), root.path());
    let kept = Keep::default();
    let verifier = verifier(VerifierOptions::default(), 16);
    let report = verifier.verify(std::slice::from_ref(&submission), now(), &kept).unwrap();
    let kept = kept.0.into_inner().unwrap();
    assert_eq!(kept.len(), 3);
    let digests: Vec<_> = report.submissions[0].rows.iter().filter_map(|r| r.evidence).collect();
    for evidence in &kept {
        let text = to_canonical_json(evidence).unwrap();
        let read = Evidence::parse("test", text.as_bytes()).unwrap();
        assert!(digests.contains(&read.digest().unwrap()));
        let again = replay(&judge(3), Arc::clone(&submission.source), &read, now()).unwrap();
        assert_eq!(read.differences(&again).unwrap(), []);

        let mut tampered = read.clone();
        tampered.alignment.as_mut().unwrap().probability += 1e-9;
        tampered.frames[2].pts_seconds += 1.0;
        tampered.sampling.sampled_rows.pop();
        let paths: Vec<_> = tampered.differences(&again).unwrap().into_iter().map(|d| d.path).collect();
        assert_eq!(paths, ["alignment.probability", "frames.2.pts_seconds", "sampling.sampled_rows.2"]);
    }
}

/// Does as it is told the first time that it is asked, and works after that.
struct Failing {
    real: FfmpegDecoder,
    calls: AtomicUsize,
    panics: bool,
}

impl MediaDecoder for Failing {
    fn name(&self) -> String {
        "failing".into()
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.real.probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        if self.calls.fetch_add(1, Ordering::SeqCst) != 0 {
            return self.real.decode(clip, request, limits);
        }
        assert!(!self.panics, "something nobody thought of");
        Err(MediaFailure::Ours(Error::Decoder("out of memory".into())))
    }
}

fn with_failing_decoder(panics: bool) -> Report {
    let root = tempfile::tempdir().unwrap();
    let submissions = [write(&alice(None), root.path()), write(&bob(None), root.path())];
    let decoder = Failing { real: FfmpegDecoder::default(), calls: AtomicUsize::new(0), panics };
    let judge = judge_with(Arc::new(decoder), 16);
    let verifier = Verifier::new(judge, VerifierOptions::default());
    // One thread: exactly one row meets the trouble.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| verifier.verify(&submissions, now(), &Unobserved)).unwrap()
}

#[test]
fn trouble_of_ours_punishes_nobody() {
    let report = with_failing_decoder(false);
    let verdicts: Vec<_> = report.submissions.iter().map(|s| (s.verdict, s.failures.len())).collect();
    assert!(verdicts.contains(&(Verdict::Inconclusive, 0)) && verdicts.contains(&(Verdict::Accept, 0)));
    let unchecked = report.submissions.iter().find(|s| s.verdict == Verdict::Inconclusive).unwrap();
    assert!(unchecked.inconclusive[0].contains("out of memory"));
    assert_eq!(unchecked.score, 0.0);
}

#[test]
fn the_unforeseen_stays_with_its_miner() {
    let report = with_failing_decoder(true);
    let failures: Vec<_> = report.submissions.iter().map(|s| s.failures.clone()).collect();
    assert!(failures.contains(&vec!["validation_exception".to_owned()]), "{failures:?}");
    assert!(failures.contains(&vec![]), "{failures:?}");
}

/// Copies a file of a package into another bucket.
fn carry(from: &Path, to: &Path, key: &str) {
    std::fs::create_dir_all(to.join(key).parent().unwrap()).unwrap();
    std::fs::copy(from.join(key), to.join(key)).unwrap();
}

#[test]
fn a_plan_names_exactly_the_files_that_judging_reads() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plan = alice(None);
    // More rows than are sampled, so that some clips are never needed.
    plan.rows.extend((600_006..600_009).map(|seed| RowPlan::new(seed, Category::Nature)));
    let whole = [write(&plan, far.path()), write(&bob(Some(Attack::UnsafeUri)), far.path())];
    let verifier = verifier(VerifierOptions::default(), 16);
    let expected = timeless(&verifier.verify(&whole, now(), &Unobserved).unwrap());

    // First only what a plan needs, then only what the plan asks for.
    let hotkeys = [Hotkey::new(ALICE), Hotkey::new(BOB)];
    let bucket = |root: &Path, hotkey: &Hotkey| root.join(hotkey.bucket_name());
    for hotkey in &hotkeys {
        for key in [manifest_key(INTERVAL), dataset_key(INTERVAL)] {
            carry(&bucket(far.path(), hotkey), &bucket(near.path(), hotkey), &key);
        }
    }
    let fetched: Vec<_> = hotkeys.iter().map(|h| submission(near.path(), h.as_str())).collect();
    let planned = verifier.plan(&fetched, now());
    assert_eq!(planned.sampled_rows(), 5, "two of six rows, and all of three");
    let assets = planned.assets();
    assert_eq!(
        assets.iter().map(|(h, i, _)| (h.as_str(), *i)).collect::<Vec<_>>(),
        [(BOB, INTERVAL), (ALICE, INTERVAL)]
    );
    // Unsafe URIs name no key; the pictures beside them are still read.
    assert_eq!(assets[0].2.len(), 3);
    assert_eq!(assets[1].2.len(), 4);
    for (hotkey, _, wanted) in &assets {
        for asset in wanted {
            carry(&bucket(far.path(), hotkey), &bucket(near.path(), hotkey), &asset.key);
        }
    }
    assert_eq!(timeless(&verifier.judge(&planned, now(), &Unobserved).unwrap()), expected);
    let alices = planned.submissions().last().unwrap();
    assert_eq!(alices.kept_rows().count(), 6);
    assert_eq!(alices.manifest().unwrap().record_count, 6);
}

#[test]
fn a_package_that_its_miner_withholds_has_that_code() {
    let code = Violation::new(ViolationKind::MissingCommittedReadCredentials);
    let submission = Submission { source: Arc::new(RefusedSource(code)), ..submission(Path::new(""), ALICE) };
    let report = verify(&[submission], VerifierOptions::default());
    assert_eq!(report.submissions[0].failures, ["missing_committed_read_credentials"]);
    assert_eq!(report.submissions[0].verdict, Verdict::Reject);
}

#[test]
fn an_interrupted_run_says_so() {
    struct Stop;
    impl Observer for Stop {
        fn interrupted(&self) -> bool {
            true
        }
    }
    let root = tempfile::tempdir().unwrap();
    let submissions = [write(&alice(None), root.path())];
    let stopped = verifier(VerifierOptions::default(), 16).verify(&submissions, now(), &Stop);
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
