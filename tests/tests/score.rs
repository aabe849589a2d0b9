//! The fits and measures of scores against scikit-learn and scipy, and model cards from outside.
//! `tests/fixtures/score/make_logistic.py` made the reference values.

use nexis_core::model::card::{CardModel, ModelCard};
use nexis_core::protocol::Category;
use nexis_core::score::calibrate::{LabelledFeatures, RankedFeatures, fit};
use nexis_core::score::category::{posterior, score_of};
use nexis_core::score::curves::Ranking;
use nexis_core::score::features::{AlignmentFeatures, Feature};
use nexis_core::score::metrics::equal_error_rate;
use nexis_core::score::softmax::{LabelledCosines, fit_softmax};
use nexis_core::score::swaps::{Attribute, SwapBudget, swaps};
use nexis_core::score::units::caption_units;
use nexis_tests::reference::{expected, list, numbers};
use serde_json::Value;

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn close(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{what}: {got} is not within {tolerance} of {want}");
}

fn features_of(names: &[Feature], row: &[f64]) -> AlignmentFeatures {
    AlignmentFeatures::from_fn(|f| names.iter().position(|name| *name == f).map_or(0.0, |i| row[i]))
}

#[test]
fn logistic_regression_agrees_with_scikit_learn() {
    let data = expected("score/logistic.json");
    let names: Vec<Feature> =
        data["features"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().parse().unwrap()).collect();
    let samples: Vec<LabelledFeatures> = rows(&data["x"])
        .iter()
        .zip(data["matched"].as_array().unwrap())
        .zip(numbers(&data["weights"]))
        .map(|((row, matched), weight)| LabelledFeatures {
            features: features_of(&names, row),
            matched: matched.as_bool().unwrap(),
            weight,
        })
        .collect();
    let check = |case: &Value, pairs: &[RankedFeatures]| {
        let fitted = fit(&names, &samples, pairs, case["c"].as_f64().unwrap()).unwrap();
        close("intercept", fitted.intercept, case["intercept"].as_f64().unwrap(), 1e-6);
        let coefficients = numbers(&case["coefficients"]);
        assert_eq!(fitted.features.len(), coefficients.len());
        for (term, want) in fitted.features.iter().zip(coefficients) {
            close(term.name.name(), term.coefficient, want, 1e-6);
        }
        fitted
    };
    for case in list(&data, "cases") {
        let fitted = check(case, &[]);
        let (means, scales) = (numbers(&data["means"]), numbers(&data["scales"]));
        assert_eq!((means.len(), scales.len()), (fitted.features.len(), fitted.features.len()));
        for ((term, mean), scale) in fitted.features.iter().zip(means).zip(scales) {
            close("mean", term.mean, mean, 1e-12);
            close("scale", term.scale, scale, 1e-12);
        }
    }
    let pairs: Vec<RankedFeatures> = rows(&data["better"])
        .iter()
        .zip(rows(&data["worse"]))
        .zip(numbers(&data["pair_weights"]))
        .map(|((better, worse), weight)| RankedFeatures {
            better: features_of(&names, better),
            worse: features_of(&names, &worse),
            weight,
        })
        .collect();
    check(&data["with_pairs"], &pairs);
}

#[test]
fn the_softmax_fit_agrees_with_scipy() {
    let data = expected("score/softmax.json");
    let observations: Vec<LabelledCosines> = rows(&data["cosines"])
        .into_iter()
        .zip(data["labels"].as_array().unwrap())
        .zip(numbers(&data["weights"]))
        .map(|((cosines, label), weight)| LabelledCosines {
            cosines: cosines.try_into().unwrap(),
            label: Category::ALL[label.as_u64().unwrap() as usize],
            weight,
        })
        .collect();
    let (prior, ridge) = (data["prior"].as_f64().unwrap(), data["ridge"].as_f64().unwrap());
    let fitted = fit_softmax(&observations, prior, ridge).unwrap();
    close("temperature", fitted.temperature, data["temperature"].as_f64().unwrap(), 1e-4);
    let biases = numbers(&data["biases"]);
    assert_eq!(fitted.biases.len(), biases.len());
    for (bias, want) in fitted.biases.iter().zip(biases) {
        close("bias", *bias, want, 1e-5);
    }
    // The loss at the fit, from the posterior itself, is scipy's minimum.
    let nll: f64 = observations
        .iter()
        .map(|o| {
            -o.weight * score_of(&posterior(&o.cosines, fitted.temperature, &fitted.biases), o.label).ln()
        })
        .sum();
    let squares: f64 = fitted.biases.iter().map(|b| b * b).sum();
    let objective = nll + ridge / 2.0 * ((fitted.temperature / prior - 1.0).powi(2) + squares);
    close("objective", objective, data["objective"].as_f64().unwrap(), 1e-8);
}

#[test]
fn error_rates_and_areas_agree_with_scikit_learn() {
    let cases = expected("score/metrics.json");
    assert_eq!(cases.as_array().unwrap().len(), 4);
    for case in cases.as_array().unwrap() {
        let (positives, negatives) = (numbers(&case["positives"]), numbers(&case["negatives"]));
        let rate = equal_error_rate(&positives, &negatives).unwrap();
        close("equal error rate", rate, case["equal_error_rate"].as_f64().unwrap(), 1e-10);
        let truth: Vec<bool> =
            positives.iter().map(|_| true).chain(negatives.iter().map(|_| false)).collect();
        let area = Ranking::new(&[positives, negatives].concat(), &truth).unwrap().sweep().unwrap().area();
        close("area", area, case["area_under_curve"].as_f64().unwrap(), 1e-12);
    }
}

#[test]
fn a_real_caption_gives_units_and_swaps_of_every_attribute() {
    let caption = "Three brown horses graze in a fenced pasture at sunset while snow falls from grey clouds. There \
                   are no people in sight, and the camera pans slowly over a small red barn without a door.";
    let units = caption_units(caption, &|text: &str| text.split_whitespace().count() <= 60);
    assert_eq!(units[0].text, caption);
    assert!(units.len() >= 4 && units[1..].iter().all(|unit| unit.text.split_whitespace().count() <= 16));
    let swaps = swaps(caption, SwapBudget::default());
    for attribute in Attribute::ALL {
        assert!(swaps.iter().any(|swap| swap.attribute == attribute), "{attribute:?}");
    }
    let words = |text: &str| text.split_whitespace().count() as i64;
    for swap in &swaps {
        assert!((words(&swap.text) - words(caption)).abs() <= 2, "{}", swap.text);
    }
}

#[test]
fn a_card_with_an_unknown_feature_or_field_is_refused() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let card = ModelCard::draft(
        CardModel {
            id: "tiny".into(),
            demonstration: false,
            notice: String::new(),
            digests: [("model.safetensors".to_owned(), digest.parse().unwrap())].into(),
        },
        vec!["a video of something".into()],
        vec!["a red car on a street".into()],
        SwapBudget::default(),
        Category::ALL.map(|label| vec![format!("a video of {label}")]).to_vec(),
    )
    .unwrap();
    let text = card.to_toml().unwrap();
    assert_eq!(ModelCard::from_toml(&text).unwrap(), card);
    for (from, to) in [
        ("\"units_min\"", "\"units_least\""),
        ("intercept", "interception"),
        (digest, "00"),
        ("threshold = 0.5", "threshold = nan"),
        ("threshold = 0.5", "threshold = \"half\""),
        ("label = \"people\"", "label = \"nature\""),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(ModelCard::from_toml(&text.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}
