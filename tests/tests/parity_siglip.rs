//! SigLIP and SigLIP 2 against transformers on tiny random models; expected values by `fixtures/models/make_siglip.py`.

use nexis_core::media::resize::Resample;
use nexis_core::model::{Crop, DualEncoder, Fit, ImageText, LoadOptions, Precision};
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::parity;
use nexis_tests::random_clip::{ClipShape, TowerShape, write_random_siglip};
use nexis_tests::reference::{ids, list};
use serde_json::Value;

const VARIANTS: [&str; 3] = ["siglip_f32", "siglip_f16_plain", "siglip2_bf16"];

fn load(name: &str) -> (DualEncoder, Value) {
    parity::load(name, Precision::default())
}

#[test]
fn tokens_are_those_of_transformers() {
    for name in VARIANTS {
        let (model, expected) = load(name);
        assert!(list(&expected, "texts").len() >= 80);
        for entry in list(&expected, "texts") {
            let text = entry["text"].as_str().unwrap();
            let tokens = model.tokens(text).unwrap();
            assert_eq!(tokens.ids, ids(&entry["ids"]), "{name}: {text:?}");
            assert_eq!(tokens.unknown as u64, entry["unknown"].as_u64().unwrap(), "{name}: {text:?}");
        }
    }
}

#[test]
fn special_tokens_in_a_caption_are_text() {
    // The third is how many symbols of the spelling the vocabulary lacks.
    for (name, special, unknown) in [
        ("siglip_f32", "a </s> b", 0),
        ("siglip_f16_plain", "a </s> b", 0),
        // Spelt only once the file's normalisation is done.
        ("siglip_f32", "a \u{ff1c}\u{ff0f}s\u{ff1e} b", 2),
        ("siglip_f16_plain", "a \u{ff1c}\u{ff0f}S\u{ff1e} b", 2),
        ("siglip2_bf16", "a <EOS> b", 0),
        ("siglip2_bf16", "a <eos><pad><bos> b", 0),
    ] {
        let (model, _) = load(name);
        assert_eq!(model.tokenize("").unwrap().len(), 1, "{name}: one token ends a text");
        // A special token that is read as one is left out and counted.
        let tokens = model.tokens(special).unwrap();
        assert_eq!(tokens.unknown, unknown, "{name}: {special}");
        assert!(tokens.ids.len() > model.tokenize("a b").unwrap().len() + unknown, "{name}: {special}");
        // What stands behind it is read, and so is the spelling itself.
        let others = [special.replace('b', "c"), "a b".to_owned()];
        let texts = [special, &others[0], &others[1]];
        let rows = model.encode_text(&texts).unwrap();
        assert!(rows.row(0) != rows.row(1) && rows.row(0) != rows.row(2), "{name}: {special}");
    }
}

#[test]
fn pictures_are_prepared_as_the_files_say() {
    for (name, resample) in [
        ("siglip_f32", Resample::Bicubic),
        ("siglip_f16_plain", Resample::Bicubic),
        ("siglip2_bf16", Resample::Bilinear),
    ] {
        let (model, expected) = load(name);
        assert_eq!((model.preprocess().resample, model.preprocess().fit), (resample, Fit::Squeeze));
        parity::pixel_values(name, &model, &expected);
    }
}

#[test]
fn embeddings_and_logits_are_those_of_transformers() {
    for (name, precision) in
        VARIANTS.iter().flat_map(|name| [(*name, Precision::Exact), (*name, Precision::F32)])
    {
        let (model, expected) = parity::load(name, precision);
        assert_eq!(model.identity().architecture, "siglip");
        parity::embeddings_and_logits(name, &model, &expected);
        let long: Vec<_> =
            list(&expected, "texts").iter().filter(|entry| entry["embedding"].is_null()).collect();
        parity::long_texts_are_refused(name, &model, &long);
    }
}

#[test]
fn tiny_models_keep_the_contract() {
    for name in VARIANTS {
        contract(&load(name).0);
        contract(&parity::load(name, Precision::F32).0);
    }
}

/// Large enough that products are shared out between threads and summed in more than one stretch.
const WIDE: ClipShape = ClipShape {
    image: 112,
    patch: 16,
    vision: TowerShape { width: 256, intermediate: 1280, heads: 4, layers: 2 },
    text: TowerShape { width: 192, intermediate: 1280, heads: 3, layers: 2 },
    vocabulary: 500,
    projection: 256,
};

#[test]
fn bits_do_not_depend_on_threads_or_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    write_random_siglip(dir.path(), &WIDE).unwrap();
    let model = DualEncoder::load(dir.path(), &LoadOptions::default()).unwrap();
    contract(&model);
    let size = model.preprocess().size;
    let crops: Vec<Crop> = (0..11).map(|i| lcg_picture(i, size)).collect();
    let texts =
        ["a", "a small red boat on the lake", "", "three birds fly over the mountains in the evening"];
    let alone: Vec<_> =
        crops.iter().map(|crop| model.encode_image(std::slice::from_ref(crop)).unwrap()).collect();
    let read: Vec<_> = texts.iter().map(|text| model.encode_text(&[text]).unwrap()).collect();
    for threads in [1, 2, 3, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (images, words) =
            pool.install(|| (model.encode_image(&crops).unwrap(), model.encode_text(&texts).unwrap()));
        for (row, alone) in images.rows().into_iter().zip(&alone).chain(words.rows().into_iter().zip(&read)) {
            let bits =
                |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(row), bits(alone.row(0)), "{threads} threads");
        }
    }
}
