//! Encoders whose cards make them say what a test wants, whatever they see: for what two of them decide together.

use std::sync::Arc;

use nexis_core::hash::Digest;
use nexis_core::media::{MediaDecoder, MediaLimits};
use nexis_core::model::card::ModelCard;
use nexis_core::model::{DualEncoder, ImageText, LoadOptions};
use nexis_core::protocol::Category;
use nexis_core::verifier::RowJudge;

use crate::{demo_model, fixture};

/// The threshold of P(match), and of the gate, in these cards.
pub const THRESHOLD: f64 = 0.4;

/// What an encoder says to everything.
#[derive(Clone, Copy, Debug)]
pub struct Opinion {
    /// P(match) of a caption, against [`THRESHOLD`].
    pub caption: f64,
    /// P(nature) of every frame.
    pub nature: f64,
    /// P(nature) of a caption, against [`THRESHOLD`].
    pub gate: f64,
}

impl Opinion {
    /// Yes to everything.
    pub const YES: Self = Self { caption: 0.9, nature: 0.95, gate: 0.8 };
    /// No to everything but the gate.
    pub const NO: Self = Self { caption: 0.2, nature: 0.3, gate: 0.8 };
}

fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// A tiny random model of `fixtures/models` with a card under which it has this opinion; `change` may change the card.
///
/// # Panics
/// Where the fixture cannot be loaded.
#[allow(clippy::expect_used)]
pub fn opinionated(
    name: &str,
    says: Opinion,
    change: impl FnOnce(&mut ModelCard),
) -> (Arc<dyn ImageText>, Arc<ModelCard>) {
    let directory = fixture(format!("models/{name}"));
    let options = LoadOptions { id: Some(name.to_owned()), ..LoadOptions::default() };
    let model = DualEncoder::load(&directory, &options).expect("the fixture loads");
    let mut card = ModelCard::load(&demo_model().join("card.toml")).expect("the demonstration card reads");
    name.clone_into(&mut card.model.id);
    format!("Random: {name}.").clone_into(&mut card.model.notice);
    let weights = std::fs::read(directory.join("model.safetensors")).expect("the fixture has weights");
    card.model.digests = [("model.safetensors".to_owned(), Digest::of(&weights))].into();
    card.alignment.distractors.truncate(2);
    card.alignment.generic.truncate(1);
    card.alignment.swaps.total = 2;
    // One feature that counts for nothing beside an intercept, and labels that follow from biases alone.
    card.alignment.features.truncate(1);
    card.alignment.features.iter_mut().for_each(|feature| feature.coefficient = 0.0);
    (card.alignment.intercept, card.alignment.threshold) = (logit(says.caption), THRESHOLD);
    (card.alignment.borderline, card.category.borderline) = (0.0, 0.0);
    (card.category.temperature, card.category.gate.temperature) = (1e-9, 1e-9);
    (card.category.gate.threshold, card.category.gate.borderline) = (THRESHOLD, 0.0);
    let rivals = (Category::ALL.len() - 1) as f64;
    for label in &mut card.category.labels {
        let nature = label.label == Category::Nature;
        label.prompts.truncate(1);
        label.bias = if nature { logit(says.nature) + rivals.ln() } else { 0.0 };
        label.gate_bias = if nature { logit(says.gate) + rivals.ln() } else { 0.0 };
    }
    change(&mut card);
    (Arc::new(model), Arc::new(card))
}

/// A judge of rows whose first encoder is such a one.
///
/// # Panics
/// As [`opinionated`].
#[allow(clippy::expect_used)]
pub fn judge_with_opinion(
    decoder: Arc<dyn MediaDecoder>,
    (model, card): (Arc<dyn ImageText>, Arc<ModelCard>),
) -> RowJudge {
    RowJudge::new(decoder, model, card, MediaLimits::default(), 16).expect("the card is for the model")
}
