//! A second encoder for tests: a tiny random one, whose card makes it say what a test wants.

use std::fs;
use std::path::Path;

use nexis_core::hash::Digest;
use nexis_core::model::card::ModelCard;
use nexis_core::protocol::Category;

/// A folder with a tiny SigLIP whose card says this to every caption, and yes to every frame.
pub(crate) fn tiny(folder: &Path, probability: f64) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (from, to) = (repository.join("tests/fixtures/models/siglip_f32"), folder.join("tiny"));
    fs::create_dir_all(&to).unwrap();
    for name in ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let mut card = ModelCard::load(&repository.join("models/demo/card.toml")).unwrap();
    let weights = fs::read(to.join("model.safetensors")).unwrap();
    card.model.digests = [("model.safetensors".to_owned(), Digest::of(&weights))].into();
    card.model.id = "tiny".into();
    card.alignment.features.truncate(1);
    card.alignment.features.iter_mut().for_each(|feature| feature.coefficient = 0.0);
    card.alignment.intercept = (probability / (1.0 - probability)).ln();
    card.alignment.threshold = 0.5;
    (card.category.temperature, card.category.gate.temperature) = (1e-9, 1e-9);
    for label in &mut card.category.labels {
        let nature = if label.label == Category::Nature { 6.0 } else { 0.0 };
        (label.bias, label.gate_bias) = (nature, nature);
    }
    fs::write(to.join("card.toml"), card.to_toml().unwrap()).unwrap();
    to.to_str().unwrap().to_owned()
}
