//! What stands at the end of a long caption counts: no word is beyond what the encoder reads.

use std::path::Path;
use std::sync::Arc;

use nexis_core::media::{FfmpegDecoder, MediaLimits};
use nexis_core::model::ImageText;
use nexis_core::model::card::{CardModel, ModelCard};
use nexis_core::protocol::Category;
use nexis_core::report::{AlignmentReport, Verdict};
use nexis_core::score::features::Feature;
use nexis_core::score::swaps::SwapBudget;
use nexis_core::synth::{ClipStyle, GENERIC_CAPTIONS, RowPlan, TemplateSet, render_clip};
use nexis_core::verifier::RowJudge;
use nexis_tests::{judge, parity};

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

const PLANTED: &str = "A kitchen with two blue chairs beside a table.";

/// Draws a scene's clip.
fn draw(clip: &Path) -> RowPlan {
    let row = RowPlan::new(610_002, Category::Nature);
    let style = ClipStyle { fps: 4, ..ClipStyle::default() };
    render_clip(&row.scene, &style, clip, &clip.with_extension("jpg")).unwrap();
    row
}

#[test]
fn a_contradiction_at_the_end_of_eighty_words_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    let row = draw(&clip);

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

/// A judge with a SigLIP that has learned nothing: its verdicts mean nothing, but follow from whatever it read. Its card
/// weighs the sentences of a caption alike.
fn siglip_judge(name: &str) -> (RowJudge, usize) {
    let (model, _) = parity::load(name, nexis_core::model::Precision::Exact);
    let context = model.context_length();
    let about = CardModel {
        id: name.to_owned(),
        demonstration: true,
        notice: "Random weights.".to_owned(),
        digests: model.identity().digests.clone(),
    };
    let texts: Vec<String> = GENERIC_CAPTIONS.iter().map(|text| (*text).to_owned()).collect();
    let prompts = Category::ALL.iter().map(|label| vec![format!("a picture of {label}")]).collect();
    let mut card = ModelCard::draft(about, texts.clone(), texts, SwapBudget::default(), prompts).unwrap();
    for feature in &mut card.alignment.features {
        feature.coefficient = f64::from(u8::from(feature.name == Feature::UnitsMean));
    }
    let decoder = Arc::new(FfmpegDecoder::default());
    let judge = RowJudge::new(decoder, Arc::new(model), Arc::new(card), MediaLimits::default(), 16).unwrap();
    (judge, context)
}

#[test]
fn a_siglip_reads_what_stands_at_the_end_of_eighty_words() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    let row = draw(&clip);
    let honest = truth(&row, 80);
    let last = row.scene.caption(TemplateSet::Train, 1_000);
    for name in ["siglip_f32", "siglip2_bf16"] {
        let (judge, context) = siglip_judge(name);
        let score = |caption: &str| -> AlignmentReport { judge.score(&clip, caption).unwrap().alignment };
        let (true_end, planted) = (score(&format!("{honest} {last}")), score(&format!("{honest} {PLANTED}")));
        assert_ne!(true_end.probability.to_bits(), planted.probability.to_bits(), "{name}");
        // Every word is in a unit, and every unit is read whole.
        for (alignment, end) in [(&true_end, last.as_str()), (&planted, PLANTED)] {
            let units: Vec<&str> = alignment.units.iter().map(|unit| unit.text.as_str()).collect();
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let read: Vec<String> = units.iter().flat_map(|unit| words(unit)).collect();
            assert_eq!(read, words(&format!("{honest} {end}")), "{name}");
            assert!(units.iter().all(|unit| judge.count_tokens(unit).unwrap() < context), "{name}");
        }
        // What stands before it is measured as it was.
        let before = true_end.units.iter().zip(&planted.units).take_while(|(a, b)| a.text == b.text).count();
        assert!(before > 0, "{name}");
        assert_eq!(true_end.units[..before], planted.units[..before], "{name}");
    }
}
