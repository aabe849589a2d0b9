//! Behaviour of the scores in a toy space where it is known what a picture shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::FrameEmbeddings;
use super::align::{Aligner, CAPTION_LIMIT, Measurer};
use super::category::{CategoryScorer, score_of};
use super::concept::{ConceptSpace, film};
use super::evaluate::{CalibrationPlan, calibrate, evaluate};
use super::features::Feature;
use super::swaps::{Attribute, SwapBudget};
use super::text::TextEncoder;
use super::trials::{SwappedCaption, TrialClip, TrialPlan, View};
use crate::model::ImageText;
use crate::model::card::{CardModel, ModelCard};
use crate::protocol::Category;

const GENERIC: [&str; 2] =
    ["some nice things to look at in a place", "an ordinary scene with things happening somewhere"];

fn measurer(context: usize) -> Measurer {
    let model: Arc<dyn ImageText> = Arc::new(ConceptSpace::new(context));
    let bank = ["a yellow kite over a lake", "nine grey whales in the ocean", "a purple sofa in an office"];
    Measurer::new(
        Arc::new(TextEncoder::new(model)),
        &GENERIC.map(String::from),
        &bank.map(String::from),
        SwapBudget::default(),
    )
    .unwrap()
}

fn feature(measurer: &Measurer, caption: &str, clip: &FrameEmbeddings, feature: Feature) -> f64 {
    measurer.measure(&measurer.read(caption).unwrap(), clip).unwrap().features.get(feature)
}

#[test]
fn a_swapped_colour_shows_in_the_margin_of_colours_alone() {
    let measurer = measurer(77);
    let clip = film(&["two red cars street"; 3], 3);
    let (honest, swapped) = ("two red cars on a street", "two purple cars on a street");
    let at = |caption, name| feature(&measurer, caption, &clip, name);
    assert!(at(honest, Feature::SwapColour) > 0.05);
    assert!(at(swapped, Feature::SwapColour) < at(honest, Feature::SwapColour) - 0.05);
    assert!((at(honest, Feature::SwapObject) > 0.0) && (at(swapped, Feature::SwapObject) > 0.0));
    assert!(at(honest, Feature::Whole) > at(swapped, Feature::Whole));
    assert!(at(honest, Feature::SwapMarginMin) <= at(honest, Feature::SwapColour));
    assert_eq!(at(honest, Feature::SwapWeather), 0.0); // nothing is said of the weather
}

#[test]
fn the_true_alternative_is_found_among_the_swaps_of_a_false_caption() {
    let measurer = measurer(77);
    let clip = film(&["three dogs meadow"; 2], 1);
    let reading = measurer.read("two dogs in a meadow").unwrap();
    let measured = measurer.measure(&reading, &clip).unwrap();
    let found = measured.swaps.iter().find(|s| s.text == "three dogs in a meadow").unwrap();
    assert_eq!(found.attribute, Attribute::Number);
    assert!(found.margin < 0.0);
    assert!(measured.features.get(Feature::SwapNumber) <= found.margin);
}

#[test]
fn a_false_last_sentence_shows_in_the_minimum_over_units() {
    let measurer = measurer(77);
    let clip = film(&["brown horses graze fenced pasture snow falls wooden barn"; 2], 2);
    let honest = "Brown horses graze in a fenced pasture. Snow falls on a wooden barn.";
    let partly = "Brown horses graze in a fenced pasture. Purple helicopters land near a casino.";
    let at = |caption, name| feature(&measurer, caption, &clip, name);
    assert_eq!(at(honest, Feature::UnitCount), 2.0);
    assert!(at(honest, Feature::UnitsMin) > at(partly, Feature::UnitsMin) + 0.3);
    assert!(at(honest, Feature::UnitsMinMargin) > at(partly, Feature::UnitsMinMargin));
}

#[test]
fn a_generic_caption_has_no_specificity() {
    let measurer = measurer(77);
    let clip = film(&["red car street rain"; 2], 1);
    let at = |caption, name| feature(&measurer, caption, &clip, name);
    let specific = at("a red car on a street in the rain", Feature::Specificity);
    assert!(specific > 0.5 && at("some nice things to look at in a place", Feature::Specificity) <= 0.0);
    assert!(at("some nice things to look at here", Feature::GenericLikeness) > 0.8);
    assert!(at("a red car on a street in the rain", Feature::GenericLikeness) < 0.3);
    let usual = at("a yellow kite over a lake", Feature::BankLikeness); // one of the bank's three
    assert!(usual > 0.3 && at("seven noisy parrots argue", Feature::BankLikeness) < usual - 0.2);
}

#[test]
fn frames_and_tiles_are_pooled_as_documented() {
    let measurer = measurer(77);
    let clip = film(&["red car street", "purple sofa"], 1);
    let at = |name| feature(&measurer, "red car street", &clip, name);
    let (best, worst) = (at(Feature::WholeBestFrame), at(Feature::WholeWorstFrame));
    assert!((best - 1.0).abs() < 1e-5 && worst < 0.4);
    assert!((at(Feature::Whole) - (best + worst) / 2.0).abs() < 1e-9);
    assert!((at(Feature::FrameSpread) - (best - worst) / 2.0).abs() < 1e-9);
    assert_eq!(at(Feature::WholeBestTile), at(Feature::Whole)); // one tile
    let bank = at(Feature::BankMarginMean);
    assert!(at(Feature::BankMarginMax) < bank && bank < at(Feature::Whole) + 1.0);
    assert!(at(Feature::BankLogShare) < 0.0);
}

#[test]
fn captions_beyond_the_context_are_read_in_parts_and_score_alike() {
    let caption = "Two brown horses graze in a pasture. Heavy snow falls on the wooden barn.";
    let clip = film(&["two brown horses graze pasture heavy snow falls wooden barn"; 2], 1);
    let (wide, narrow) = (measurer(77), measurer(12));
    assert_eq!(wide.read(caption).unwrap().units().count(), 3);
    assert_eq!(narrow.read(caption).unwrap().units().count(), 2);
    let whole = feature(&narrow, caption, &clip, Feature::Whole);
    assert!(whole > 0.5 && whole < feature(&wide, caption, &clip, Feature::Whole));
    // Swaps are made of the unit that holds them.
    let measured = narrow.measure(&narrow.read(caption).unwrap(), &clip).unwrap();
    assert!(measured.swaps.iter().any(|s| s.attribute == Attribute::Colour && s.text.ends_with("pasture.")));
    assert!(measured.swaps.iter().all(|s| s.margin > 0.0), "{:?}", measured.swaps);
}

#[test]
fn words_in_pieces_raise_the_tokens_per_word() {
    let measurer = measurer(77);
    let clip = film(&["red car"], 1);
    assert_eq!(feature(&measurer, "a red car", &clip, Feature::TokensPerWord), 1.0);
    assert!(feature(&measurer, "a red antidisestablishment car", &clip, Feature::TokensPerWord) > 4.0);
}

const KINDS: [(Category, [&str; 3], [&str; 3]); 7] = [
    (Category::Nature, ["trees", "flowers", "rocks"], ["meadow", "forest", "canyon"]),
    (Category::People, ["dancers", "children", "runners"], ["stage", "plaza", "park"]),
    (Category::Animal, ["dogs", "horses", "rabbits"], ["pasture", "farmyard", "pond"]),
    (Category::Vehicle, ["cars", "trucks", "trains"], ["road", "railway", "harbour"]),
    (Category::Urban, ["towers", "benches", "fountains"], ["street", "skyline", "square"]),
    (Category::Indoor, ["chairs", "sofas", "beds"], ["kitchen", "bedroom", "office"]),
    (Category::Other, ["circles", "stars", "bars"], ["chart", "grid", "starfield"]),
];

/// Clips of seven categories that differ in object, colour, number and setting.
fn world(first: usize, count: usize) -> Vec<TrialClip> {
    let colours = ["red", "blue", "yellow", "green", "purple", "black"];
    let numbers = ["two", "three", "four", "five"];
    (first..first + count)
        .map(|n| {
            let (category, objects, places) = &KINDS[n % 7];
            let object = objects[n / 7 % 3];
            let place = places[n / 3 % 3];
            let colour = colours[n / 5 % 6];
            let number = numbers[n / 2 % 4];
            let say = |number: &str, colour: &str, object: &str| {
                format!("There are {number} {colour} {object} in the {place}. Snow falls on the {place}.")
            };
            let shown = format!("{number} {colour} {object} {place} {place} snow {category} {category}");
            TrialClip {
                category: *category,
                caption: say(number, colour, object),
                swapped: vec![
                    SwappedCaption {
                        attribute: "colour".into(),
                        text: say(number, colours[(n / 5 + 2) % 6], object),
                    },
                    SwappedCaption {
                        attribute: "count".into(),
                        text: say(numbers[(n / 2 + 1) % 4], colour, object),
                    },
                    SwappedCaption {
                        attribute: "object".into(),
                        text: say(number, colour, objects[(n / 7 + 1) % 3]),
                    },
                ],
                views: BTreeMap::from([
                    (View::Clean, film(&[shown.as_str(); 3], 3)),
                    (View::Grey, film(&[shown.replace(colour, "faint").as_str(); 3], 3)),
                ]),
            }
        })
        .collect()
}

fn draft(model: &ConceptSpace) -> ModelCard {
    let identity = model.identity();
    ModelCard::draft(
        CardModel {
            id: identity.id.clone(),
            demonstration: true,
            notice: "a toy".into(),
            digests: identity.digests.clone(),
        },
        GENERIC.map(String::from).to_vec(),
        vec!["Seven grey whales swim in the ocean.".into(), "One pink lamp stands in a living room.".into()],
        SwapBudget { per_attribute: 6, total: 40 },
        Category::ALL
            .into_iter()
            .zip(KINDS)
            .map(|(label, (_, objects, places))| {
                vec![format!("a video of {label}"), objects.join(" and "), places.join(" and ")]
            })
            .collect(),
    )
    .unwrap()
}

fn plan() -> CalibrationPlan {
    let generic = vec!["things to look at somewhere in an ordinary place".into()];
    CalibrationPlan { trials: TrialPlan { generic, ..TrialPlan::default() }, ..CalibrationPlan::default() }
}

fn calibrated() -> (Aligner, CategoryScorer) {
    let model = ConceptSpace::new(77);
    let draft = draft(&model);
    let texts = Arc::new(TextEncoder::new(Arc::new(model)));
    let card = Arc::new(calibrate(&texts, &draft, &world(0, 84), &plan()).unwrap());
    let scorer = CategoryScorer::new(&texts, Arc::clone(&card)).unwrap();
    (Aligner::with_texts(texts, card).unwrap(), scorer)
}

#[test]
fn a_card_fitted_on_some_clips_judges_others() {
    let (aligner, scorer) = calibrated();
    let card = aligner.card();
    assert_eq!(ModelCard::from_toml(&card.to_toml().unwrap()).unwrap(), **card);
    assert_eq!(card.calibration.counts["clips"], 84);
    let fresh = world(1000, 84);
    let passes = |frames: &[super::category::FrameCategory]| {
        frames.iter().filter(|f| f.winner == Category::Nature).count() >= 2
            && frames.iter().all(|f| score_of(&f.scores, Category::Nature) > 0.72)
    };
    let evaluation = evaluate(&aligner, &scorer, &fresh, &plan().trials, &passes).unwrap();
    let rate = |name: &str| evaluation.rate(name).unwrap_or_else(|| panic!("{name} is not measured"));
    assert!(rate("another category, equal error rate") < 0.01);
    assert!(rate("colour swapped, true caption ahead") > 0.95);
    assert!(rate("object swapped, true caption ahead") > 0.95);
    assert!(rate("count swapped, true caption ahead") > 0.95);
    assert!(rate("seven labels, one frame") > 0.99);
    assert!(rate("nature rule, true accepts") > 0.99 && rate("nature rule, false accepts") == 0.0);
    assert!(rate("accepted at the threshold: true") > 0.95);
    assert!(rate("accepted at the threshold: generic") < 0.05);
    assert!(rate("accepted at the threshold: other category") < 0.05);
    assert!(evaluation.rate("grey: another category, equal error rate").is_some());
    assert_eq!(evaluation.figures().len(), evaluation.measures.len());
    assert_eq!(evaluation.confusion.counts.iter().flatten().sum::<u64>(), 84 * 3);
}

#[test]
fn scores_do_not_depend_on_the_cache_or_on_company() {
    let model = ConceptSpace::new(77);
    let card = Arc::new(draft(&model));
    let model: Arc<ConceptSpace> = Arc::new(model);
    let clips = world(5, 6);
    let run = |capacity: usize| {
        let texts = Arc::new(TextEncoder::with_capacity(model.clone(), capacity));
        let aligner = Aligner::with_texts(texts, Arc::clone(&card)).unwrap();
        let forth: Vec<_> =
            clips.iter().map(|c| aligner.align(&c.caption, &c.views[&View::Clean]).unwrap()).collect();
        let back: Vec<_> =
            clips.iter().rev().map(|c| aligner.align(&c.caption, &c.views[&View::Clean]).unwrap()).collect();
        assert!(forth.iter().eq(back.iter().rev()));
        forth
    };
    assert_eq!(run(0), run(8192));
    assert_eq!(run(3), run(8192));
}

#[test]
fn the_cache_spares_the_model() {
    let model = Arc::new(ConceptSpace::new(77));
    let texts = TextEncoder::with_capacity(model.clone(), 2);
    texts.embed(&["a", "b", "a"]).unwrap();
    assert_eq!(model.encoded.load(Ordering::Relaxed), 2);
    texts.embed(&["b", "a"]).unwrap();
    assert_eq!(model.encoded.load(Ordering::Relaxed), 2);
    texts.embed(&["c"]).unwrap();
    texts.embed(&["a"]).unwrap(); // the oldest, forgotten
    assert_eq!(model.encoded.load(Ordering::Relaxed), 4);
}

#[test]
fn what_cannot_be_read_matches_nothing_and_is_no_error() {
    let (aligner, scorer) = calibrated();
    let clip = film(&["red cars street"; 3], 3);
    for caption in [String::new(), " \n".into(), "x".repeat(CAPTION_LIMIT + 1)] {
        let alignment = aligner.align(&caption, &clip).unwrap();
        assert!(!alignment.matched && !alignment.borderline && alignment.probability == 0.0);
        assert!(alignment.refused.is_some());
        assert!(scorer.gate(aligner.measurer(), &caption).unwrap().rejected);
    }
    let words = "red cars on a street ";
    let long = words.repeat(CAPTION_LIMIT / words.len());
    let alignment = aligner.align(&long, &clip).unwrap();
    assert!(alignment.refused.is_none() && alignment.measured.units.len() > 50);
}

#[test]
fn the_gate_rejects_captions_about_something_else() {
    let (aligner, scorer) = calibrated();
    let gate = |caption: &str| scorer.gate(aligner.measurer(), caption).unwrap();
    let nature = gate("Trees and rocks in a meadow");
    assert!(!nature.rejected && score_of(&nature.scores, Category::Nature) > 0.5, "{nature:?}");
    assert!(gate("Trucks and cars on a road").rejected);
}

#[test]
fn a_card_for_other_weights_is_refused() {
    let mut card = draft(&ConceptSpace::new(77));
    card.model.digests.insert("model.safetensors".into(), crate::hash::Digest::of("others"));
    assert!(Aligner::new(Arc::new(ConceptSpace::new(77)), Arc::new(card)).is_err());
}
