//! The `exact` forward pass: the vectors of another implementation of `models/EXACT.md` (numpy,
//! `fixtures/exact/make_vectors.py`), and the same bits with every instruction set.

use std::path::Path;
use std::sync::Arc;

use nexis_core::Error;
use nexis_core::model::registry::kind_of;
use nexis_core::model::{self, DualEncoder, ImageText, InstructionSet, LoadOptions, Precision};
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::random_clip::{ClipShape, TowerShape, models, write_random_clip, write_random_siglip};
use nexis_tests::reference::{expected, list};

/// Widths that fill no panel, more patches than a tile has rows, and heads whose size is odd.
const ODD: ClipShape = ClipShape {
    image: 72,
    patch: 8,
    vision: TowerShape { width: 66, layers: 2, heads: 2, intermediate: 130 },
    text: TowerShape { width: 54, layers: 2, heads: 2, intermediate: 101 },
    vocabulary: 700,
    projection: 45,
};

fn load(dir: &Path, instructions: InstructionSet) -> Arc<dyn ImageText> {
    let options = LoadOptions { instructions: Some(instructions), ..LoadOptions::default() };
    model::load(kind_of(dir).unwrap(), dir, &options).unwrap()
}

fn bits(rows: ndarray::Array2<f32>) -> Vec<Vec<String>> {
    rows.rows().into_iter().map(|row| row.iter().map(|x| format!("{:08x}", x.to_bits())).collect()).collect()
}

#[test]
fn embeddings_are_those_of_the_other_implementation_to_the_last_bit() {
    let vectors = expected("exact/vectors.json");
    let expected = vectors["models"].as_object().unwrap();
    assert_eq!(expected.len(), 9);
    for (name, expected) in expected {
        for set in InstructionSet::available() {
            let model = load(&models().join(name), set);
            assert_eq!(model.identity().precision, "exact-f32");
            let pictures = list(expected, "lcg_pictures");
            let size = model.preprocess().size;
            let crops: Vec<_> = (0..pictures.len() as u64).map(|i| lcg_picture(i, size)).collect();
            let found = bits(model.encode_image(&crops).unwrap());
            assert_eq!(serde_json::json!(found), expected["lcg_pictures"], "{name}, {}", set.name());

            let texts = list(expected, "texts");
            assert!(texts.len() >= 10);
            let captions: Vec<_> = texts.iter().map(|entry| entry["text"].as_str().unwrap()).collect();
            let found = bits(model.encode_text(&captions).unwrap());
            assert_eq!(found.len(), texts.len());
            for (entry, found) in texts.iter().zip(found) {
                assert_eq!(serde_json::json!(found), entry["embedding"], "{name}, {}, {entry}", set.name());
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for folder in odd_models() {
        every_set_gives_the_same_bits(folder.path());
    }
    for name in ["mobileclip_f32", "mobileclip_bf16"] {
        every_set_gives_the_same_bits(&models().join(name));
    }
}

/// A CLIP of odd sizes and a SigLIP of the same, whose embeddings are as long as its vision tower is wide.
fn odd_models() -> [tempfile::TempDir; 2] {
    let [clip, siglip] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    write_random_clip(clip.path(), &ODD).unwrap();
    write_random_siglip(siglip.path(), &ClipShape { projection: ODD.vision.width, ..ODD }).unwrap();
    [clip, siglip]
}

fn every_set_gives_the_same_bits(dir: &Path) {
    let texts = ["a", "two white clouds over a river", "", "a small red boat on the lake, and rain"];
    let models: Vec<_> = InstructionSet::available().into_iter().map(|set| load(dir, set)).collect();
    let crops: Vec<_> = (0..5).map(|i| lcg_picture(i, models[0].preprocess().size)).collect();
    let all = |model: &dyn ImageText| {
        (bits(model.encode_image(&crops).unwrap()), bits(model.encode_text(&texts).unwrap()))
    };
    let expected = all(models[0].as_ref());
    // One picture and one text at a time, and whatever numbers of them the threads share out.
    for model in &models {
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| all(model.as_ref())) == expected, "{threads} threads");
        }
        for (i, crop) in crops.iter().enumerate() {
            assert_eq!(bits(model.encode_image(std::slice::from_ref(crop)).unwrap())[0], expected.0[i]);
        }
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(bits(model.encode_text(&[text]).unwrap())[0], expected.1[i]);
        }
    }
}

/// Whether this processor multiplies bfloat16, asked of the standard library.
fn multiplies_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let found = false;
    found
}

/// The fast precision where this processor has it, which is refused where it has not, and nowhere else.
fn load_fast(dir: &Path) -> Option<Arc<dyn ImageText>> {
    let options = LoadOptions { precision: Precision::Fast, ..LoadOptions::default() };
    match model::load(kind_of(dir).unwrap(), dir, &options) {
        Ok(model) => Some(model),
        Err(Error::Missing { what, .. }) => {
            assert!(what.contains("AVX512-BF16") && !multiplies_bfloat16(), "{what}");
            println!("not run: this processor does not multiply bfloat16");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn fast_is_near_to_exact_and_its_rows_stand_alone() {
    let odd = odd_models();
    let tiny = ["quick_f32", "gelu_f16_legacy", "siglip_f32", "mobileclip_f32", "mobileclip_bf16"]
        .map(|name| models().join(name));
    for folder in odd.iter().map(|dir| dir.path().to_owned()).chain(tiny) {
        let Some(fast) = load_fast(&folder) else { return };
        assert_eq!(fast.identity().precision, "fast-bf16");
        contract(fast.as_ref());
        let exact = load(&folder, InstructionSet::detect());
        let crops: Vec<_> = (0..9).map(|i| lcg_picture(i, fast.preprocess().size)).collect();
        let texts = ["a", "two white clouds over a river", "a small red boat on the lake, and rain"];
        let expected = (fast.encode_image(&crops).unwrap(), fast.encode_text(&texts).unwrap());
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found =
                pool.install(|| (fast.encode_image(&crops).unwrap(), fast.encode_text(&texts).unwrap()));
            assert_eq!(found, expected, "{threads} threads");
        }
        let references = [exact.encode_image(&crops).unwrap(), exact.encode_text(&texts).unwrap()];
        for (found, exact) in [expected.0, expected.1].iter().zip(&references) {
            assert_ne!(found, exact);
            for (found, exact) in found.rows().into_iter().zip(exact.rows()) {
                // bfloat16 has 8 bits: a component of a unit vector is off by some thousandths at most; in a network of many
                // more layers, by some more.
                let cosine = found.dot(&exact);
                let least = if fast.identity().architecture == "mobileclip" { 0.998 } else { 0.9995 };
                assert!(cosine > least, "{}: {cosine}", folder.display());
            }
        }
    }
}

#[test]
fn odd_sizes_keep_the_contract_and_agree_with_candle() {
    for dir in odd_models() {
        let exact = load(dir.path(), InstructionSet::detect());
        contract(exact.as_ref());
        let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
        let candle = DualEncoder::load(dir.path(), &options).unwrap();
        assert_eq!(candle.identity().precision, "f32");
        let crops: Vec<_> = (0..9).map(|i| lcg_picture(i, ODD.image as u32)).collect();
        let pairs = exact.encode_image(&crops).unwrap() - candle.encode_image(&crops).unwrap();
        assert!(pairs.iter().all(|difference| difference.abs() < 2e-6));
        let texts = ["a", "", "a small red boat on the lake"];
        let pairs = exact.encode_text(&texts).unwrap() - candle.encode_text(&texts).unwrap();
        assert!(pairs.iter().all(|difference| difference.abs() < 2e-6));
    }
}
