//! The `exact` forward pass: the vectors of another implementation of `models/EXACT.md` (numpy,
//! `fixtures/exact/make_vectors.py`), and the same bits with every instruction set.

use std::path::Path;

use nexis_core::model::{ClipModel, ImageText, InstructionSet, LoadOptions, Precision};
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::random_clip::{ClipShape, TowerShape, models, write_random_clip};
use serde_json::Value;

/// Widths that fill no panel, more patches than a tile has rows, and heads whose size is odd.
const ODD: ClipShape = ClipShape {
    image: 72,
    patch: 8,
    vision: TowerShape { width: 66, layers: 2, heads: 2, intermediate: 130 },
    text: TowerShape { width: 54, layers: 2, heads: 2, intermediate: 101 },
    vocabulary: 700,
    projection: 45,
};

fn load(dir: &Path, instructions: InstructionSet) -> ClipModel {
    let options = LoadOptions { instructions: Some(instructions), ..LoadOptions::default() };
    ClipModel::load(dir, &options).unwrap()
}

fn bits(rows: ndarray::Array2<f32>) -> Vec<Vec<String>> {
    rows.rows().into_iter().map(|row| row.iter().map(|x| format!("{:08x}", x.to_bits())).collect()).collect()
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/exact/vectors.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn embeddings_are_those_of_the_other_implementation_to_the_last_bit() {
    let vectors = vectors();
    let expected = vectors["models"].as_object().unwrap();
    assert_eq!(expected.len(), 4);
    for (name, expected) in expected {
        for set in InstructionSet::available() {
            let model = load(&models().join(name), set);
            assert_eq!(model.identity().precision, "exact-f32");
            let pictures = expected["lcg_pictures"].as_array().unwrap();
            let size = model.preprocess().size;
            let crops: Vec<_> = (0..pictures.len() as u64).map(|i| lcg_picture(i, size)).collect();
            let found = bits(model.encode_image(&crops).unwrap());
            assert_eq!(serde_json::json!(found), expected["lcg_pictures"], "{name}, {}", set.name());

            let texts = expected["texts"].as_array().unwrap();
            assert!(texts.len() >= 10);
            let captions: Vec<_> = texts.iter().map(|entry| entry["text"].as_str().unwrap()).collect();
            let found = bits(model.encode_text(&captions).unwrap());
            for (entry, found) in texts.iter().zip(found) {
                assert_eq!(serde_json::json!(found), entry["embedding"], "{name}, {}, {entry}", set.name());
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &ODD).unwrap();
    let crops: Vec<_> = (0..5).map(|i| lcg_picture(i, ODD.image as u32)).collect();
    let texts = ["a", "two white clouds over a river", "", "a small red boat on the lake, and rain"];
    let found: Vec<_> = InstructionSet::available()
        .into_iter()
        .map(|set| {
            let model = load(dir.path(), set);
            (bits(model.encode_image(&crops).unwrap()), bits(model.encode_text(&texts).unwrap()))
        })
        .collect();
    assert!(found.iter().all(|other| *other == found[0]));
}

#[test]
fn odd_sizes_keep_the_contract_and_agree_with_candle() {
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &ODD).unwrap();
    let exact = load(dir.path(), InstructionSet::detect());
    contract(&exact);
    let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
    let candle = ClipModel::load(dir.path(), &options).unwrap();
    assert_eq!(candle.identity().precision, "f32");
    let crops: Vec<_> = (0..9).map(|i| lcg_picture(i, ODD.image as u32)).collect();
    let pairs = exact.encode_image(&crops).unwrap() - candle.encode_image(&crops).unwrap();
    assert!(pairs.iter().all(|difference| difference.abs() < 2e-6));
}
