//! A tiny model beside what transformers or open_clip computes from it, by the scripts in `fixtures/models`.

use std::path::Path;

use nexis_core::hash::Digest;
use nexis_core::model::{ClipModel, Crop, ImageText, LoadOptions, OpenClipModel, Precision};
use serde_json::Value;

use crate::image_text::lcg_picture;
use crate::random_clip::models;

/// Largest difference of one component of an embedding. An activation by another formula moves the small models by 7e-5,
/// an epsilon ten times as large by 1e-6 to 1e-5.
pub const TOLERANCE: f64 = 3e-6;

/// A model of the fixtures, and what is expected of it.
///
/// # Panics
/// Where there is no such model.
pub fn load(name: &str, precision: Precision) -> (ClipModel, Value) {
    let dir = models().join(name);
    let model = ClipModel::load(&dir, &LoadOptions { precision, ..LoadOptions::default() }).unwrap();
    (model, expected(&dir))
}

/// The same for a MobileCLIP.
///
/// # Panics
/// Where there is no such model.
pub fn load_open_clip(name: &str) -> (OpenClipModel, Value) {
    let dir = models().join(name);
    (OpenClipModel::load(&dir, &LoadOptions::default()).unwrap(), expected(&dir))
}

fn expected(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap()
}

/// The pictures of the generators: six of noise, a black one and a white one.
fn pictures(size: u32) -> Vec<Crop> {
    let flat = |value| Crop { size, rgb: vec![value; size as usize * size as usize * 3] };
    (0..6).map(|i| lcg_picture(i, size)).chain([flat(0), flat(255)]).collect()
}

/// The list of this key.
///
/// # Panics
/// Where there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

/// Token ids.
///
/// # Panics
/// Where they are none.
pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| u32::try_from(x.as_u64().unwrap()).unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn largest_difference<'a>(found: impl IntoIterator<Item = &'a f32>, expected: &[f64]) -> f64 {
    let found: Vec<f32> = found.into_iter().copied().collect();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
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
    let images = model.encode_image(&pictures(model.preprocess().size)).unwrap();
    let mut image_error = 0.0_f64;
    for (row, entry) in images.rows().into_iter().zip(list(expected, "images")) {
        image_error = image_error.max(largest_difference(row, &numbers(&entry["embedding"])));
    }

    let fit: Vec<&Value> = list(expected, "texts").iter().filter(|e| e["embedding"].is_array()).collect();
    assert!(fit.len() >= 10);
    let texts: Vec<&str> = fit.iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    let embedded = model.encode_text(&texts).unwrap();
    let mut text_error = 0.0_f64;
    for (row, entry) in embedded.rows().into_iter().zip(&fit) {
        text_error = text_error.max(largest_difference(row, &numbers(&entry["embedding"])));
    }

    let scale = expected["logit_scale"].as_f64().unwrap();
    assert!((f64::from(model.logit_scale()) / scale - 1.0).abs() < 1e-6);
    assert_eq!(f64::from(model.logit_bias()), expected["logit_bias"].as_f64().unwrap_or(0.0));
    let logits = images.dot(&embedded.t()) * model.logit_scale() + model.logit_bias();
    let mut logit_error = 0.0_f64;
    for (row, reference) in logits.rows().into_iter().zip(list(expected, "logits_per_image")) {
        logit_error = logit_error.max(largest_difference(row, &numbers(reference)));
    }
    let precision = &model.identity().precision;
    println!(
        "{name}, {precision}: images {image_error:.1e}, texts {text_error:.1e}, logits {logit_error:.1e}"
    );
    assert!(image_error <= TOLERANCE && text_error <= TOLERANCE, "{name}");
    assert!(logit_error <= TOLERANCE * scale, "{name}");
}
