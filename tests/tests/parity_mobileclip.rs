//! MobileCLIP against open_clip and timm on tiny random models; expected values by `fixtures/models/make_mobileclip.py`.

use nexis_core::Error;
use nexis_core::media::resize::Resample;
use nexis_core::model::registry::{ModelKind, kind_of};
use nexis_core::model::{Fit, ImageText, LoadOptions, OpenClipModel, Precision};
use nexis_tests::image_text::contract;
use nexis_tests::parity::{self, load_open_clip as load};
use nexis_tests::random_clip::models;
use nexis_tests::reference::{ids, list};

const VARIANTS: [&str; 2] = ["mobileclip_f32", "mobileclip_bf16"];

#[test]
fn tokens_are_those_of_transformers() {
    for name in VARIANTS {
        let (model, expected) = load(name);
        assert!(list(&expected, "texts").len() >= 60);
        for entry in list(&expected, "texts") {
            let text = entry["text"].as_str().unwrap();
            let tokens = model.tokens(text).unwrap();
            let neutral: Vec<u32> = {
                let all = ids(&entry["ids"]);
                let (first, last) = (all[0], all[all.len() - 1]);
                let inner = all[1..all.len() - 1].iter().copied().filter(|id| *id != first && *id != last);
                [first].into_iter().chain(inner).chain([last]).collect()
            };
            assert_eq!(tokens.ids, neutral, "{name}: {text:?}");
        }
    }
}

#[test]
fn pictures_are_prepared_as_the_file_says() {
    for (name, resample, fit, mean) in [
        ("mobileclip_f32", Resample::Bilinear, Fit::Centre, 0.0),
        ("mobileclip_bf16", Resample::Bicubic, Fit::Squeeze, 0.481_454_66),
    ] {
        let (model, expected) = load(name);
        let spec = model.preprocess();
        assert_eq!((spec.resample, spec.fit, spec.mean[0]), (resample, fit, mean));
        parity::pixel_values(name, &model, &expected);
    }
}

#[test]
fn embeddings_and_logits_are_those_of_open_clip() {
    for name in VARIANTS {
        let (model, expected) = load(name);
        let identity = model.identity();
        assert_eq!(
            (identity.architecture.as_str(), identity.precision.as_str()),
            ("mobileclip", "exact-f32")
        );
        assert_eq!(identity.digests.len(), 3);
        parity::embeddings_and_logits(name, &model, &expected);
        let long: Vec<_> = list(&expected, "texts")
            .iter()
            .filter(|entry| ids(&entry["ids"]).len() > model.context_length())
            .collect();
        parity::long_texts_are_refused(name, &model, &long);
    }
}

#[test]
fn tiny_models_keep_the_contract() {
    for name in VARIANTS {
        contract(&load(name).0);
    }
}

#[test]
fn special_tokens_in_a_caption_are_text() {
    for name in VARIANTS {
        let (model, _) = load(name);
        let special = "a <|endoftext|> b";
        // With spaces between them, the same words and signs spell no special token.
        assert_eq!(model.tokens(special).unwrap(), model.tokens("a <| endoftext |> b").unwrap(), "{name}");
        let rows = model.encode_text(&[special, "a <|endoftext|> c", "a b"]).unwrap();
        assert!(rows.row(0) != rows.row(1) && rows.row(0) != rows.row(2), "{name}");
    }
}

#[test]
fn the_folder_says_what_it_is_and_other_precisions_are_refused() {
    let dir = models().join("mobileclip_f32");
    assert_eq!(kind_of(&dir), Some(ModelKind::Mobileclip));
    let load = |kind| nexis_core::model::load(kind, &dir, &LoadOptions::default());
    assert_eq!(load(ModelKind::Mobileclip).unwrap().identity().architecture, "mobileclip");
    // The kind that was stated decides, and a judge is no encoder.
    let error = load(ModelKind::Clip).err().unwrap();
    assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("config.json"), "{error}");
    let error = load(ModelKind::Moondream).err().unwrap();
    assert!(matches!(error, Error::Usage { .. }) && error.to_string().contains("a judge"), "{error}");
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let options = LoadOptions { precision, ..LoadOptions::default() };
        let error = OpenClipModel::load(&dir, &options).err().unwrap();
        assert!(matches!(error, Error::Usage { .. }) && error.to_string().contains("exact"), "{error}");
    }
}
