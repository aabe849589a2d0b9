//! Two encoders that decide together: what each says, what decides, and that nobody can tell their order from a verdict.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use nexis_core::check::Policy;
use nexis_core::evidence::{Evidence, to_canonical_json};
use nexis_core::media::jpeg::{StillLimits, read_still};
use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::model::card::DoubtBand;
use nexis_core::model::judge::{Answer, Ask, Judge, JudgeIdentity};
use nexis_core::model::{DualEncoder, LoadOptions, ModelIdentity};
use nexis_core::protocol::Hotkey;
use nexis_core::report::{AlignmentReport, CategoryReport, Decider, Report, RowReport, Verdict};
use nexis_core::synth::{Attack, ClipStyle, PackagePlan};
use nexis_core::verifier::{Embedded, FrameFiles, Observer, RowJudge, Verifier, VerifierOptions, replay};
use nexis_core::{Error, Result};
use nexis_tests::opinion::{Opinion, THRESHOLD, judge_with_opinion, opinionated};
use nexis_tests::packages::{ALICE, draw, interval_folder, now, plan, submission};
use nexis_tests::{demo_model, judge};

/// A decoder that counts the clips that it decodes.
#[derive(Default)]
struct Counting {
    inner: FfmpegDecoder,
    decoded: AtomicUsize,
}

impl MediaDecoder for Counting {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn probe(&self, path: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.inner.probe(path, limits)
    }

    fn decode(
        &self,
        path: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        self.decoded.fetch_add(1, Ordering::SeqCst);
        self.inner.decode(path, request, limits)
    }
}

/// A judge that says the same to everything, and counts what it is asked.
struct Says {
    identity: JudgeIdentity,
    answer: Answer,
    asked: AtomicUsize,
}

impl Says {
    fn new(answer: Answer) -> Arc<Self> {
        let model = ModelIdentity {
            id: "says".into(),
            architecture: "none".into(),
            digests: std::collections::BTreeMap::new(),
            precision: "none".into(),
            device: "cpu".into(),
        };
        let identity = JudgeIdentity { model, prompt: nexis_core::hash::Digest::of("") };
        Arc::new(Self { identity, answer, asked: AtomicUsize::new(0) })
    }
}

impl Judge for Says {
    fn identity(&self) -> &JudgeIdentity {
        &self.identity
    }

    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>> {
        self.asked.fetch_add(asks.len(), Ordering::SeqCst);
        Ok(vec![self.answer; asks.len()])
    }
}

/// Two opinionated encoders; the judge of the first alone, and of both.
fn both(first: Opinion, second: Opinion) -> RowJudge {
    let alone =
        judge_with_opinion(Arc::new(FfmpegDecoder::default()), opinionated("siglip_f32", first, |_| {}));
    let (model, card) = opinionated("quick_f32", second, |_| {});
    alone.with_ensemble(model, card).unwrap()
}

/// A miner's three rows.
fn package() -> &'static Path {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), None);
        root
    })
    .path()
}

fn write(root: &Path, attack: Option<Attack>) {
    let style = ClipStyle { fps: 4, ..ClipStyle::default() };
    draw(&PackagePlan { style, ..plan(ALICE, 620_000..620_003, attack) }, root);
}

/// Keeps evidence.
#[derive(Default)]
struct Kept(Mutex<Vec<Evidence>>);

impl Observer for Kept {
    fn evidence(&self, evidence: &Evidence) -> Result<()> {
        self.0.lock().unwrap().push(evidence.clone());
        Ok(())
    }
}

fn verify(judge: &RowJudge, root: &Path) -> (Report, Vec<Evidence>) {
    let kept = Kept::default();
    let options = VerifierOptions { policy: Policy::Network, ..VerifierOptions::default() };
    let report =
        Verifier::new(judge.clone(), options).verify(&[submission(root, ALICE)], now(), &kept).unwrap();
    (report, kept.0.into_inner().unwrap())
}

fn rows(report: &Report) -> impl Iterator<Item = (&RowReport, &AlignmentReport, &CategoryReport)> {
    let rows = report.submissions.iter().flat_map(|s| &s.rows);
    rows.map(|row| (row, row.alignment.as_ref().unwrap(), row.category.as_ref().unwrap()))
}

/// Frames of a clip of the package, and its caption.
fn clip() -> (PathBuf, String) {
    static CLIP: OnceLock<(PathBuf, String)> = OnceLock::new();
    CLIP.get_or_init(|| {
        let (report, _) = verify(&both(Opinion::YES, Opinion::YES), package());
        let row = &report.submissions[0].rows[0];
        let folder = interval_folder(&package().join(Hotkey::new(ALICE).bucket_name()));
        (folder.join("clips").join(format!("{}.mp4", row.clip_id)), row.caption.clone())
    })
    .clone()
}

/// Python: `max(-2, min(2, math.log(p / (1 - p)) - math.log(0.4 / 0.6)))` of 0.9, 0.2, 0.35 and 0.45; and from 0.72 of 0.95
/// and 0.3.
const LEADS: [(f64, f64); 4] = [
    (0.9, 2.0),
    (0.2, -0.980_829_253_011_726),
    (0.35, -0.213_574_100_298_059),
    (0.45, 0.204_794_412_646_013),
];
const NATURE_LEADS: [(f64, f64); 2] = [(0.95, 1.999_977_370_325_588), (0.3, -1.791_759_469_228_055)];

fn lead_of(p: f64, table: &[(f64, f64)]) -> f64 {
    table.iter().find(|(q, _)| *q == p).unwrap().1
}

#[test]
fn two_that_agree_decide_and_the_record_has_both() {
    for (says, verdict) in [(Opinion::YES, Verdict::Accept), (Opinion::NO, Verdict::Reject)] {
        let counting = Arc::new(Counting::default());
        let alone = judge_with_opinion(counting.clone(), opinionated("siglip_f32", says, |_| {}));
        let other = Opinion { caption: if says.caption > 0.5 { 0.7 } else { 0.1 }, ..says };
        let (model, card) = opinionated("quick_f32", other, |_| {});
        let with = alone.with_ensemble(model, Arc::clone(&card)).unwrap();
        let (report, records) = verify(&with, package());
        assert_eq!(counting.decoded.load(Ordering::SeqCst), 3, "each clip is decoded once");
        let second_alone =
            judge_with_opinion(Arc::new(FfmpegDecoder::default()), opinionated("quick_f32", other, |_| {}));
        let [(single, _), (second, _)] = [&alone, &second_alone].map(|judge| verify(judge, package()));
        for (((row, alignment, category), first), second) in
            rows(&report).zip(rows(&single)).zip(rows(&second))
        {
            let (said, nature) = (alignment.ensemble.as_ref().unwrap(), category.ensemble.as_ref().unwrap());
            for (cascade, decided) in
                [(alignment.cascade, alignment.verdict), (category.cascade, category.decision)]
            {
                let cascade = cascade.unwrap();
                assert_eq!((cascade.decided_by, cascade.yes), (Decider::Agreement, None));
                assert_eq!((cascade.encoder, decided), (verdict, verdict));
            }
            assert_eq!((said.first, said.second.verdict), (verdict, verdict));
            // Each says what it says alone, to the last bit.
            assert_eq!((&said.second, &nature.second), (second.1, second.2));
            let bare = AlignmentReport { cascade: None, ensemble: None, ..alignment.clone() };
            assert_eq!(&bare, first.1);
            let bare = CategoryReport { cascade: None, ensemble: None, ..category.clone() };
            assert_eq!(&bare, first.2);
            assert_eq!(row.failures, first.0.failures);
        }
        let used = report.environment.ensemble.as_ref().unwrap();
        assert_eq!(used.model.id, "quick_f32");
        assert!(used.model.digests.contains_key("model.safetensors"));
        assert_eq!(Some(used.card), second_alone.environment().card);
        let notice = report.environment.notice.as_deref().unwrap();
        assert_eq!(notice, "Random: siglip_f32. Random: quick_f32.");

        assert_eq!(records.len(), 3);
        for record in records {
            let text = to_canonical_json(&record).unwrap();
            assert_eq!(Evidence::parse("again", text.as_bytes()).unwrap(), record);
            let again = |judge: &RowJudge| replay(judge, submission(package(), ALICE).source, &record, now());
            assert_eq!(record.differences(&again(&with).unwrap()).unwrap(), []);
            let without = again(&alone).unwrap_err();
            assert!(matches!(without, Error::Missing { .. }), "{without}");
            assert!(without.to_string().contains("--ensemble"), "{without}");
            // Another second model is not the one that was asked.
            let (model, card) = opinionated("gelu_f16_legacy", other, |_| {});
            let differs = record.differences(&again(&alone.with_ensemble(model, card).unwrap()).unwrap());
            let differs: Vec<String> = differs.unwrap().into_iter().map(|d| d.path).collect();
            assert!(differs.contains(&"environment.ensemble.model.id".to_owned()), "{differs:?}");
        }
    }
}

#[test]
fn nothing_of_it_is_written_where_there_is_one() {
    let (alone, records) = verify(&judge(16), package());
    for text in [serde_json::to_string(&alone).unwrap(), to_canonical_json(&records[0]).unwrap()] {
        assert!(!text.contains("ensemble") && !text.contains("cascade"), "{text}");
    }
    // A record of one is recomputed by one, whatever there is.
    let (model, card) = opinionated("siglip_f32", Opinion::NO, |_| {});
    let with = judge(16).with_ensemble(model, card).unwrap();
    let again = replay(&with, submission(package(), ALICE).source, &records[0], now()).unwrap();
    assert_eq!(records[0].differences(&again).unwrap(), []);
    assert_eq!(with.without_ensemble().environment(), judge(16).environment());
}

#[test]
fn where_they_disagree_the_log_odds_from_each_threshold_decide() {
    let (clip, caption) = clip();
    let close = |said: f64, expected: f64| assert!((said - expected).abs() < 1e-7, "{said}, not {expected}");
    // (first, second): the surer prevails, and not the mean of the two.
    for (first, second) in [(0.9, 0.2), (0.2, 0.45), (0.35, 0.45), (0.45, 0.2)] {
        let of = |caption| Opinion { caption, ..Opinion::YES };
        let scores = both(of(first), of(second)).score(&clip, &caption).unwrap();
        let (alignment, said) = (&scores.alignment, scores.alignment.ensemble.as_ref().unwrap());
        let accepts = |p: f64| if p >= THRESHOLD { Verdict::Accept } else { Verdict::Reject };
        assert_eq!((said.first, said.second.verdict), (accepts(first), accepts(second)));
        let [a, b] = said.log_odds.unwrap();
        close(a, lead_of(first, &LEADS));
        close(b, lead_of(second, &LEADS));
        let sum = lead_of(first, &LEADS) + lead_of(second, &LEADS);
        let expected = if sum > 0.0 { Verdict::Accept } else { Verdict::Reject };
        let cascade = alignment.cascade.unwrap();
        assert_eq!((alignment.verdict, cascade.encoder), (expected, expected), "{first} {second}");
        assert_eq!((cascade.decided_by, cascade.yes), (Decider::LogOdds, None));
        assert_eq!(scores.category.cascade.unwrap().decided_by, Decider::Agreement);
        assert!(alignment.decided().unwrap().contains("both encoders' log-odds"));
    }
    // Labels in the same way, from the protocol's limit.
    for (first, second) in [(0.95, 0.3), (0.3, 0.95)] {
        let of = |nature| Opinion { nature, ..Opinion::YES };
        let scores = both(of(first), of(second)).score(&clip, &caption).unwrap();
        let said = scores.category.ensemble.as_ref().unwrap();
        let [a, b] = said.log_odds.unwrap();
        close(a, lead_of(first, &NATURE_LEADS));
        close(b, lead_of(second, &NATURE_LEADS));
        assert_eq!(scores.category.decision, Verdict::Accept);
        assert_eq!(scores.category.cascade.unwrap().decided_by, Decider::LogOdds);
        let (yes, no) = if first > second {
            (said.first, said.second.decision)
        } else {
            (said.second.decision, said.first)
        };
        assert_eq!((yes, no), (Verdict::Accept, Verdict::Reject));
    }
}

#[test]
fn whoever_is_sure_of_a_no_is_not_outvoted() {
    let (clip, caption) = clip();
    for (sure, other, accepted) in [(0.999_999_999, 0.05, false), (0.999_999_999, 0.2, true)] {
        let of = |p| Opinion { caption: p, ..Opinion::YES };
        for (first, second) in [(sure, other), (other, sure)] {
            let scores = both(of(first), of(second)).score(&clip, &caption).unwrap();
            assert_eq!(scores.alignment.verdict == Verdict::Accept, accepted, "{first} {second}");
        }
    }
    // A gate that rejects nothing knows nothing, and outvotes nobody.
    let open = |card: &mut nexis_core::model::card::ModelCard| card.category.gate.threshold = 0.0;
    let (model, card) = opinionated("quick_f32", Opinion { gate: 0.001, ..Opinion::YES }, open);
    let first = opinionated("siglip_f32", Opinion { gate: 0.39, ..Opinion::YES }, |_| {});
    let alone = judge_with_opinion(Arc::new(FfmpegDecoder::default()), first);
    let scores = alone.with_ensemble(model, card).unwrap().score(&clip, &caption).unwrap();
    assert_eq!(scores.category.decision, Verdict::Reject);
    let [own, nothing] = scores.category.ensemble.as_ref().unwrap().gate.unwrap();
    assert!(own < 0.0 && nothing == 0.0, "{own} {nothing}");
}

#[test]
fn what_each_rejects_for_another_reason_is_rejected() {
    let (clip, caption) = clip();
    // One rejects the caption's words and passes the frames, the other the other way round; either sum would accept.
    let words = Opinion { gate: 0.35, nature: 0.95, ..Opinion::YES };
    let frames = Opinion { gate: 0.9, nature: 0.6, ..Opinion::YES };
    for (first, second) in [(words, frames), (frames, words)] {
        let with = both(first, second);
        let judge = Says::new(Answer::Yes(1.0));
        for with in [with.clone(), with.with_judge(judge.clone(), 9)] {
            let scores = with.score(&clip, &caption).unwrap();
            let said = scores.category.ensemble.as_ref().unwrap();
            assert!(said.gate.unwrap().iter().sum::<f64>() > 0.0);
            assert!(said.log_odds.unwrap().iter().sum::<f64>() > 0.0);
            assert_eq!((said.first, said.second.decision), (Verdict::Reject, Verdict::Reject));
            assert_eq!(scores.category.decision, Verdict::Reject);
            assert_eq!(scores.category.cascade.unwrap().decided_by, Decider::Agreement);
            let found = with.violations("c", &caption, &scores.alignment, &scores.category).unwrap();
            assert_eq!(found[0].code(), "category_strict_reject:c");
        }
        assert_eq!(judge.asked.load(Ordering::SeqCst), 0);
        // What the one that passes the words leaves in doubt of the frames is its judge's, as behind it alone.
        let near = |card: &mut nexis_core::model::card::ModelCard| card.category.doubt = Some(0.3);
        let (model, card) = opinionated("quick_f32", frames, near);
        let alone =
            judge_with_opinion(Arc::new(FfmpegDecoder::default()), opinionated("siglip_f32", words, |_| {}));
        let with = alone.with_ensemble(model, card).unwrap();
        let scores = with.score(&clip, &caption).unwrap();
        assert_eq!(scores.category.decision, Verdict::Reject);
        assert!(scores.category.decided().unwrap().contains("each encoder rejects"));
        let scores = with.with_judge(judge.clone(), 9).score(&clip, &caption).unwrap();
        assert_eq!(scores.category.cascade.unwrap().decided_by, Decider::Judge);
        assert_eq!(scores.category.decision, Verdict::Accept);
        judge.asked.store(0, Ordering::SeqCst);
    }
}

#[test]
fn near_ties_of_both_are_borderline() {
    let (clip, caption) = clip();
    // Python: 1 / (1 + math.exp(-(2 * math.log(0.4 / 0.6) - math.log(0.6 / 0.4)))): as far below 0.4 as 0.6 is above it.
    let mirrored = 0.228_571_428_571;
    for (second, wide, near) in [(mirrored, 1e-3, true), (mirrored, 0.0, false), (0.2, 1e-3, false)] {
        let of = |name, caption| {
            opinionated(name, Opinion { caption, ..Opinion::YES }, |card| card.alignment.borderline = wide)
        };
        let alone = judge_with_opinion(Arc::new(FfmpegDecoder::default()), of("siglip_f32", 0.6));
        let (model, card) = of("quick_f32", second);
        let scores = alone.with_ensemble(model, card).unwrap().score(&clip, &caption).unwrap();
        assert_eq!(scores.alignment.borderline, near, "{second} {wide}");
    }
}

#[test]
fn one_in_its_band_leaves_it_to_a_judge_and_without_one_to_both() {
    let (clip, caption) = clip();
    let band = |card: &mut nexis_core::model::card::ModelCard| {
        card.alignment.doubt = Some(DoubtBand { from: 0.3, below: 0.95 });
        card.category.doubt = Some(0.3);
    };
    for in_band in [true, false] {
        let first = opinionated("siglip_f32", Opinion::YES, |card| {
            if in_band {
                band(card)
            }
        });
        let second = opinionated("quick_f32", Opinion::YES, |card| {
            if !in_band {
                band(card)
            }
        });
        let with = judge_with_opinion(Arc::new(FfmpegDecoder::default()), first);
        let with = with.with_ensemble(second.0, second.1).unwrap();
        let scores = with.score(&clip, &caption).unwrap();
        assert_eq!(scores.verdict(), Verdict::Accept);
        for cascade in [scores.alignment.cascade.unwrap(), scores.category.cascade.unwrap()] {
            assert_eq!(cascade.decided_by, Decider::LogOdds, "first in its band: {in_band}");
        }
        let judge = Says::new(Answer::Yes(0.25));
        let scores = with.with_judge(judge.clone(), 1).score(&clip, &caption).unwrap();
        assert_eq!((scores.alignment.verdict, scores.category.decision), (Verdict::Reject, Verdict::Reject));
        for cascade in [scores.alignment.cascade.unwrap(), scores.category.cascade.unwrap()] {
            assert_eq!((cascade.decided_by, cascade.yes), (Decider::Judge, Some(0.25)));
            assert_eq!(cascade.encoder, Verdict::Accept);
        }
        assert_eq!(judge.asked.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_judge_decides_between_two_and_its_budget_holds() {
    let with = both(Opinion::YES, Opinion::NO);
    let (alone, _) = verify(&with, package());
    for yes in [0.75, 0.25] {
        let judge = Says::new(Answer::Yes(yes));
        let (report, records) = verify(&with.with_judge(judge.clone(), 1000), package());
        assert_eq!(judge.asked.load(Ordering::SeqCst), 6, "three rows, two questions each");
        for (row, alignment, category) in rows(&report) {
            let expected = if yes >= 0.5 { Verdict::Accept } else { Verdict::Reject };
            assert_eq!((alignment.verdict, category.decision), (expected, expected));
            assert_eq!(alignment.cascade.unwrap().decided_by, Decider::Judge);
            assert_eq!(row.failures.is_empty(), yes >= 0.5, "{:?}", row.failures);
            // Both encoders' figures stay beside the judge's.
            assert_eq!(alignment.ensemble.as_ref().unwrap().second.verdict, Verdict::Reject);
        }
        for record in records {
            let again = replay(
                &with.with_judge(judge.clone(), 3),
                submission(package(), ALICE).source,
                &record,
                now(),
            );
            assert_eq!(record.differences(&again.unwrap()).unwrap(), []);
        }
    }
    // What the budget does not reach is decided as it is without a judge.
    for budget in [0, 1, 4] {
        let judge = Says::new(Answer::Yes(0.0));
        let (report, records) = verify(&with.with_judge(judge.clone(), budget), package());
        assert_eq!(judge.asked.load(Ordering::SeqCst), budget as usize);
        let mut spent = 0;
        for ((_, alignment, category), (_, before, nature)) in rows(&report).zip(rows(&alone)) {
            for (cascade, verdict, without) in [
                (alignment.cascade, alignment.verdict, before.verdict),
                (category.cascade, category.decision, nature.decision),
            ] {
                let cascade = cascade.unwrap();
                assert_eq!(cascade.encoder, without);
                match cascade.decided_by {
                    Decider::Judge => assert_eq!(verdict, Verdict::Reject),
                    Decider::BudgetSpent => {
                        spent += 1;
                        assert_eq!((verdict, cascade.yes), (without, None));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(spent, 6 - budget as usize);
        for record in records {
            let again = replay(
                &with.with_judge(judge.clone(), 9),
                submission(package(), ALICE).source,
                &record,
                now(),
            );
            assert_eq!(record.differences(&again.unwrap()).unwrap(), []);
        }
    }
    let long = Says::new(Answer::TooLong { tokens: 2000 });
    let (report, _) = verify(&with.with_judge(long, 1000), package());
    for ((_, alignment, _), (_, before, _)) in rows(&report).zip(rows(&alone)) {
        assert_eq!(alignment.cascade.unwrap().decided_by, Decider::TooLong);
        assert_eq!(alignment.verdict, before.verdict);
        assert!(alignment.decided().unwrap().starts_with("in doubt; longer than the judge reads, so both"));
    }
    // Where both are clear and agree, nobody is asked.
    let judge = Says::new(Answer::Yes(0.0));
    let (report, _) = verify(&both(Opinion::YES, Opinion::YES).with_judge(judge.clone(), 1000), package());
    assert_eq!((report.verdict(), judge.asked.load(Ordering::SeqCst)), (Verdict::Accept, 0));
}

#[test]
fn a_caption_that_speaks_to_the_judge_is_decided_by_both_encoders() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), Some(Attack::InjectedWords));
    let judge = Says::new(Answer::Yes(1.0));
    let agreed_labels = Opinion { nature: Opinion::YES.nature, ..Opinion::NO };
    let with = both(Opinion::YES, agreed_labels).with_judge(judge.clone(), 1000);
    let (report, _) = verify(&with, root.path());
    let spoken: Vec<_> = rows(&report)
        .filter(|(row, ..)| row.failures.iter().any(|f| f.starts_with("caption_semantic_injection_keyword:")))
        .map(|(_, alignment, _)| alignment.cascade.unwrap().decided_by)
        .collect();
    assert!(!spoken.is_empty() && spoken.iter().all(|by| *by == Decider::LogOdds), "{spoken:?}");
    assert_eq!(judge.asked.load(Ordering::SeqCst), 3 - spoken.len());
}

#[test]
fn gates_that_disagree_go_by_their_log_odds_and_no_judge_is_asked_about_them() {
    let (clip, caption) = clip();
    for (first, second, passes) in [(0.8, 0.3, true), (0.45, 0.2, false), (0.2, 0.9, true), (0.1, 0.2, false)]
    {
        let of = |gate| Opinion { gate, ..Opinion::YES };
        let with = both(of(first), of(second));
        let judge = Says::new(Answer::Yes(0.0));
        for with in [with.clone(), with.with_judge(judge.clone(), 10)] {
            let scores = with.score(&clip, &caption).unwrap();
            let category = &scores.category;
            let split = (first >= THRESHOLD) != (second >= THRESHOLD);
            let by = if split { Decider::LogOdds } else { Decider::Agreement };
            assert_eq!(category.cascade.unwrap().decided_by, by, "{first} {second}");
            assert_eq!(category.decision == Verdict::Accept, passes, "{first} {second}");
            let gate = category.ensemble.as_ref().unwrap().gate.unwrap();
            assert_eq!(gate.iter().sum::<f64>() > 0.0, passes);
            assert_eq!(category.decided().unwrap().contains("of the caption's gate"), split);
            let found = with.violations("c", &caption, &scores.alignment, category).unwrap();
            let codes: Vec<String> = found.iter().map(nexis_core::check::Violation::code).collect();
            let expected: &[&str] = if passes { &[] } else { &["category_caption_reject:c"] };
            assert_eq!(codes, expected);
            if let Some(violation) = found.first() {
                assert!(violation.detail.contains("by the second encoder"), "{}", violation.detail);
            }
        }
        assert_eq!(judge.asked.load(Ordering::SeqCst), 0);
    }
    // Behind gates that let it pass, frames on which both agree decide.
    let of = |gate| Opinion { gate, nature: Opinion::NO.nature, ..Opinion::YES };
    let with = both(of(0.8), of(0.3));
    let scores = with.score(&clip, &caption).unwrap();
    assert_eq!(scores.category.decision, Verdict::Reject);
    assert_eq!(scores.category.cascade.unwrap().decided_by, Decider::Agreement);
    let found = with.violations("c", &caption, &scores.alignment, &scores.category).unwrap();
    assert_eq!(found[0].code(), "category_strict_reject:c");
    assert!(found[0].detail.ends_with("clear; both encoders agree"), "{}", found[0].detail);
}

#[test]
fn the_order_of_the_two_and_the_threads_make_no_difference_to_a_verdict() {
    let values = [0.9, 0.45, 0.35, 0.2];
    let opinions: Vec<Opinion> = values
        .iter()
        .flat_map(|caption| {
            [(0.95, 0.8), (0.3, 0.45), (0.6, 0.2)].map(|(nature, gate)| Opinion {
                caption: *caption,
                nature,
                gate,
            })
        })
        .collect();
    let (clip, caption) = clip();
    let frames = judge(16).decode(&clip).unwrap().frames;
    let models = |name: &str| -> Vec<_> {
        let band = Some(DoubtBand { from: 0.38, below: 0.5 });
        opinions.iter().map(|says| opinionated(name, *says, |card| card.alignment.doubt = band)).collect()
    };
    let (siglip, clips) = (models("siglip_f32"), models("quick_f32"));
    let alone = |encoder| judge_with_opinion(Arc::new(FfmpegDecoder::default()), encoder);
    let mut by = [(); 2].map(|()| std::collections::BTreeSet::new());
    for (i, a) in opinions.iter().enumerate() {
        // Every fifth: so that the two differ in captions, in frames and in gates.
        for (j, b) in opinions.iter().enumerate().skip(i % 5).step_by(5) {
            let ((one, its), (other, card)) = (siglip[i].clone(), clips[j].clone());
            let ab = alone(siglip[i].clone()).with_ensemble(other, card).unwrap();
            let ba = alone(clips[j].clone()).with_ensemble(one, its).unwrap();
            for judge in [None, Some(Says::new(Answer::Yes(0.4)))] {
                let mut scored = |with: &RowJudge| {
                    let with = judge
                        .as_ref()
                        .map_or_else(|| with.clone(), |judge| with.with_judge(judge.clone(), 9));
                    let scores = with.score_frames(&frames, &caption).unwrap();
                    let cascades = [scores.alignment.cascade.unwrap(), scores.category.cascade.unwrap()];
                    for (by, cascade) in by.iter_mut().zip(cascades) {
                        by.insert(format!("{:?}", cascade.decided_by));
                    }
                    let codes = with.violations("c", &caption, &scores.alignment, &scores.category).unwrap();
                    let codes: Vec<_> = codes.iter().map(nexis_core::check::Violation::code).collect();
                    ((scores.alignment.verdict, scores.category.decision), cascades, codes)
                };
                assert_eq!(scored(&ab), scored(&ba), "{a:?} {b:?}");
            }
        }
    }
    for by in by {
        assert_eq!(by.into_iter().collect::<Vec<_>>(), ["Agreement", "Judge", "LogOdds"]);
    }

    // A real model and a random one, over a package.
    let tiny = || opinionated("siglip_f32", Opinion { caption: 0.35, nature: 0.6, gate: 0.8 }, |_| {});
    let demo = DualEncoder::load(demo_model(), &LoadOptions::default()).unwrap();
    let card = nexis_core::model::card::ModelCard::load(&demo_model().join("card.toml")).unwrap();
    let (model, its_card) = tiny();
    let ab = judge(16).with_ensemble(model, its_card).unwrap();
    let ba = alone(tiny()).with_ensemble(Arc::new(demo), Arc::new(card)).unwrap();
    let (report, records) = verify(&ab, package());
    let (other, _) = verify(&ba, package());
    for ((row, alignment, category), (mirror, reflected, nature)) in rows(&report).zip(rows(&other)) {
        assert_eq!((&row.failures, row.inconclusive.as_ref()), (&mirror.failures, None));
        assert_eq!((alignment.verdict, alignment.cascade), (reflected.verdict, reflected.cascade));
        assert_eq!((category.decision, category.cascade), (nature.decision, nature.cascade));
        let [a, b] = alignment.ensemble.as_ref().unwrap().log_odds.unwrap();
        assert_eq!(reflected.ensemble.as_ref().unwrap().log_odds, Some([b, a]));
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (_, mut again) = pool.install(|| verify(&ab, package()));
        let mut records = records.clone();
        for records in [&mut again, &mut records] {
            records.sort_by_key(|record| record.row.index);
        }
        assert_eq!(again, records, "{threads} threads");
    }
}

#[test]
fn frames_in_files_and_embeddings_are_judged_by_both() {
    let (clip, caption) = clip();
    let frames = judge(16).decode(&clip).unwrap().frames;
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = frames
        .iter()
        .enumerate()
        .map(|(i, frame)| {
            let path = folder.path().join(format!("{i}.png"));
            image::save_buffer(&path, &frame.rgb, frame.width, frame.height, image::ColorType::Rgb8).unwrap();
            path
        })
        .collect();
    let files = FrameFiles::new(&paths, None).unwrap();
    let stills: Vec<Frame> =
        paths.iter().map(|path| read_still(path, &StillLimits::default()).unwrap()).collect();
    let weak = Opinion { caption: 0.45, nature: 0.75, gate: 0.8 };
    for (first, second) in [(Opinion::YES, Opinion::NO), (weak, Opinion::NO), (Opinion::NO, weak)] {
        let with = both(first, second);
        let judge = Says::new(Answer::Yes(0.25));
        for with in [with.clone(), with.with_judge(judge, 0)] {
            let whole = with.score_frames(&stills, &caption).unwrap();
            // Embedded beforehand, the second's embeddings apart from the first's.
            let embedded = with.embed_all(&stills).unwrap();
            assert_eq!(embedded.first, with.embed(&stills).unwrap());
            assert_eq!(embedded.second, with.embed_second(&stills).unwrap());
            for category in [true, false] {
                let mut scores = with.score_embedded(&embedded, &caption).unwrap();
                let before = scores.category.clone();
                // Nobody has to see a picture again but a judge.
                let again =
                    || if with.has_judge() { Ok(stills.clone()) } else { panic!("pictures for nobody") };
                with.settle_embedded::<Error>(&caption, category, &mut scores, again).unwrap();
                assert_eq!(scores.alignment, whole.alignment);
                assert_eq!(&scores.category, if category { &whole.category } else { &before });
            }
            // Half of what both have seen would be one encoder's verdict.
            let half = Embedded { second: None, ..embedded };
            assert!(matches!(with.score_embedded(&half, &caption), Err(Error::Internal(_))));

            let mismatch = with.check_caption("c", &caption, &files).unwrap();
            assert_eq!(mismatch.is_some(), whole.alignment.verdict == Verdict::Reject);
            let strict = with.check_category("c", &caption, &files).unwrap();
            assert_eq!(strict.is_some(), whole.category.decision == Verdict::Reject);
            for violation in mismatch.iter().chain(&strict) {
                assert!(violation.detail.contains("by the second encoder"), "{}", violation.detail);
            }
        }
    }
    // Frames of several sizes: no judge looks at them, and both encoders do.
    let small = image::RgbImage::from_pixel(320, 180, image::Rgb([90, 120, 90]));
    let odd = folder.path().join("odd.png");
    small.save(&odd).unwrap();
    let mixed = FrameFiles::new(&[paths[0].clone(), odd, paths[1].clone()], None).unwrap();
    let judge = Says::new(Answer::Yes(0.0));
    let strict = |first, second| {
        both(first, second).with_judge(judge.clone(), 9).check_category("c", &caption, &mixed).unwrap()
    };
    assert!(strict(Opinion::YES, Opinion::NO).is_none());
    assert!(strict(weak, Opinion::NO).unwrap().detail.contains("log-odds"));
    assert_eq!(judge.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn the_same_weights_twice_are_no_ensemble() {
    let (model, card) = opinionated("siglip_f32", Opinion::YES, |_| {});
    let alone = judge_with_opinion(Arc::new(FfmpegDecoder::default()), (model, card));
    // Under another card and another name they are the same weights.
    let (model, card) = opinionated("siglip_f32", Opinion::NO, |card| card.model.id = "other".into());
    let error = alone.with_ensemble(model, card).err().unwrap();
    assert!(matches!(error, Error::Usage { .. }), "{error}");
    assert!(error.to_string().contains("the same weights as siglip_f32"), "{error}");
    // A card for other weights is refused as everywhere.
    let (model, _) = opinionated("quick_f32", Opinion::YES, |_| {});
    let (_, card) = opinionated("siglip_f32", Opinion::YES, |_| {});
    assert!(matches!(alone.with_ensemble(model, card), Err(Error::Model { .. })));
}

#[test]
fn a_caption_that_cannot_be_read_is_nobodys_doubt() {
    let (clip, _) = clip();
    let judge = Says::new(Answer::Yes(1.0));
    let wide = |card: &mut nexis_core::model::card::ModelCard| {
        card.alignment.doubt = Some(DoubtBand { from: 0.0, below: 1.0 });
    };
    let first = opinionated("siglip_f32", Opinion::YES, wide);
    let (model, card) = opinionated("quick_f32", Opinion::YES, wide);
    let with =
        judge_with_opinion(Arc::new(FfmpegDecoder::default()), first).with_ensemble(model, card).unwrap();
    let scores = with.with_judge(judge.clone(), 9).score(&clip, "  ").unwrap();
    assert_eq!(scores.verdict(), Verdict::Reject);
    for cascade in [scores.alignment.cascade.unwrap(), scores.category.cascade.unwrap()] {
        assert_eq!(cascade.decided_by, Decider::Agreement);
    }
    assert_eq!(judge.asked.load(Ordering::SeqCst), 0);
}
