//! A tiny model beside what transformers or open_clip computes from it, by the scripts in `fixtures/models`.

use nexis_core::Error;
use nexis_core::hash::Digest;
use nexis_core::model::{Crop, DualEncoder, ImageText, LoadOptions, OpenClipModel, Precision};
use serde_json::Value;

use crate::image_text::lcg_picture;
use crate::random_clip::models;
use crate::reference::{expected, largest_difference, list, numbers, worst};

/// Largest difference of one component of an embedding. An activation by another formula moves the small models by 7e-5,
/// an epsilon ten times as large by 1e-6 to 1e-5.
pub const TOLERANCE: f64 = 3e-6;

/// A model of the fixtures, and what is expected of it.
///
/// # Panics
/// Where there is no such model.
pub fn load(name: &str, precision: Precision) -> (DualEncoder, Value) {
    let dir = models().join(name);
    let model = DualEncoder::load(&dir, &LoadOptions { precision, ..LoadOptions::default() }).unwrap();
    (model, expected(dir.join("expected.json")))
}

/// The same for a MobileCLIP.
///
/// # Panics
/// Where there is no such model.
pub fn load_open_clip(name: &str) -> (OpenClipModel, Value) {
    let dir = models().join(name);
    let model = OpenClipModel::load(&dir, &LoadOptions::default()).unwrap();
    (model, expected(dir.join("expected.json")))
}

/// The pictures of the generators: six of noise, a black one and a white one.
fn pictures(size: u32) -> Vec<Crop> {
    let flat = |value| Crop { size, rgb: vec![value; size as usize * size as usize * 3] };
    (0..6).map(|i| lcg_picture(i, size)).chain([flat(0), flat(255)]).collect()
}

/// That the network's input values have the reference's bits.
///
/// # Panics
/// Where they have not.
pub fn pixel_values(name: &str, model: &dyn ImageText, expected: &Value) {
    let pictures = pictures(model.preprocess().size);
    assert_eq!(pictures.len(), list(expected, "images").len());
    for (picture, entry) in pictures.iter().zip(list(expected, "images")) {
        let values = model.preprocess().pixel_values(picture).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let digest = Digest::of(bytes).to_string();
        assert_eq!(digest, entry["sha256_of_pixel_values"].as_str().unwrap(), "{name}");
    }
}

/// That embeddings and logits are the reference's.
///
/// # Panics
/// Where they are not.
pub fn embeddings_and_logits(name: &str, model: &dyn ImageText, expected: &Value) {
    let off = |row: Vec<f32>, entry: &Value| largest_difference(&row, &numbers(&entry["embedding"]));
    let images = model.encode_image(&pictures(model.preprocess().size)).unwrap();
    let entries = list(expected, "images");
    assert_eq!(images.nrows(), entries.len(), "{name}");
    let image_error =
        worst(images.rows().into_iter().zip(entries).map(|(row, entry)| off(row.to_vec(), entry)));

    let fit: Vec<&Value> = list(expected, "texts").iter().filter(|e| e["embedding"].is_array()).collect();
    assert!(fit.len() >= 10);
    let texts: Vec<&str> = fit.iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    let embedded = model.encode_text(&texts).unwrap();
    assert_eq!(embedded.nrows(), fit.len(), "{name}");
    let text_error =
        worst(embedded.rows().into_iter().zip(&fit).map(|(row, entry)| off(row.to_vec(), entry)));

    let scale = expected["logit_scale"].as_f64().unwrap();
    assert!((f64::from(model.logit_scale()) / scale - 1.0).abs() < 1e-6);
    assert_eq!(f64::from(model.logit_bias()), expected["logit_bias"].as_f64().unwrap_or(0.0));
    let logits = images.dot(&embedded.t()) * model.logit_scale() + model.logit_bias();
    let references = list(expected, "logits_per_image");
    assert_eq!(logits.nrows(), references.len(), "{name}");
    let pairs = logits.rows().into_iter().zip(references);
    let logit_error = worst(pairs.map(|(row, reference)| largest_difference(row, &numbers(reference))));
    let precision = &model.identity().precision;
    println!(
        "{name}, {precision}: images {image_error:.1e}, texts {text_error:.1e}, logits {logit_error:.1e}"
    );
    assert!(image_error <= TOLERANCE && text_error <= TOLERANCE, "{name}");
    assert!(logit_error <= TOLERANCE * scale, "{name}");
}

/// That texts of which there are some, and which are longer than the context, are refused and not cut.
///
/// # Panics
/// Where there are none, or one is read.
pub fn long_texts_are_refused(name: &str, model: &dyn ImageText, long: &[&Value]) {
    assert!(!long.is_empty(), "{name}");
    for entry in long {
        let error = model.encode_text(&[entry["text"].as_str().unwrap()]).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{name}: {error}");
    }
}
