//! What stands at the end of a long caption counts: no word is beyond what the encoder reads.

use nexis_core::protocol::Category;
use nexis_core::report::{AlignmentReport, Verdict};
use nexis_core::synth::{ClipStyle, RowPlan, TemplateSet, render_clip};
use nexis_tests::judge;

/// True sentences about a scene, at least so many words.
fn truth(row: &RowPlan, words: usize) -> String {
    let mut text = row.caption.clone();
    for seed in 0.. {
        if text.split_whitespace().count() >= words {
            break;
        }
        let another = row.scene.caption(TemplateSet::Train, seed);
        if !text.contains(&another) {
            text = format!("{text} {another}");
        }
    }
    text
}

#[test]
fn a_contradiction_at_the_end_of_eighty_words_is_found() {
    const PLANTED: &str = "A kitchen with two blue chairs beside a table.";
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    let row = RowPlan::new(610_002, Category::Nature);
    let style = ClipStyle { fps: 4, ..ClipStyle::default() };
    render_clip(&row.scene, &style, &clip, &clip.with_extension("jpg")).unwrap();

    let judge = judge(16);
    let score = |caption: &str| -> AlignmentReport { judge.score(&clip, caption).unwrap().alignment };
    let honest = truth(&row, 80);
    let planted = format!("{honest} {PLANTED}");
    assert!(planted.split_whitespace().count() >= 80);
    let (honest, planted) = (score(&honest), score(&planted));
    assert!(honest.probability > planted.probability, "{} {}", honest.probability, planted.probability);
    assert_eq!(planted.verdict, Verdict::Reject, "{}", planted.probability);
    // It is not lost in the mean of many true sentences: of all units, it is the one that fits worst.
    let weakest = planted.units.iter().min_by(|a, b| a.similarity.total_cmp(&b.similarity)).unwrap();
    assert!(PLANTED.contains(weakest.text.as_str()), "{}", weakest.text);
    // The whole is longer than what the encoder reads at once, so that a cut would have hidden it.
    assert!(planted.units.iter().all(|unit| unit.text.split_whitespace().count() < 80));
}
