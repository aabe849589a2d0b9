//! The judging model: loaded, and held against what the operator pinned, before anything is judged.

use nexis_core::model::registry::ModelPlaces;
use nexis_core::verifier::RowJudge;
use nexis_core::{Error, Result};
use nexis_gpu::EngineOptions;

use crate::config::{Config, ModelPin, Network};

/// Loads the judge that a configuration asks for, with its limits on clips.
///
/// # Errors
/// Where the model cannot be loaded, is a demonstration outside of the devnet, or is not the one that is pinned.
pub fn load(config: &Config, models_roots: ModelPlaces) -> Result<RowJudge> {
    let options = EngineOptions {
        model: config.model.id.clone(),
        models_roots,
        device: config.model.device.clone(),
        precision: config.model.precision,
        batch: config.model.batch,
        max_wall: config.model.max_wall,
    };
    let judge = options.judge()?;
    admit(&judge, config.network, &config.model.pin)?;
    let mut limits = judge.limits().clone();
    limits.max_bytes = config.validator.max_clip_bytes;
    Ok(judge.with_limits(limits))
}

/// Whether a judge may judge on a network: no demonstration outside of the devnet, and outside of it exactly the model
/// that is pinned, file by file, and its card. On the devnet a pin holds where there is one.
///
/// # Errors
/// [`Error::Model`] with everything that differs, or with the lines that pin this model where nothing is pinned.
pub fn admit(judge: &RowJudge, network: Network, pin: &ModelPin) -> Result<()> {
    let environment = judge.environment();
    let id = environment.model.as_ref().map(|model| model.id.clone()).unwrap_or_default();
    if judge.card().model.demonstration && network != Network::Devnet {
        let why = "it is a demonstration and no judge of real footage; name another in model.id, or set network to devnet";
        return Err(Error::model(id, why));
    }
    let found = pin_of(judge);
    if pin.files.is_empty() && pin.card.is_none() {
        if network == Network::Devnet {
            return Ok(());
        }
        let why =
            format!("it is not pinned; if it is the one agreed upon, pin it so:\n{}", pin_lines(&found));
        return Err(Error::model(id, why));
    }
    let mut differs = Vec::new();
    for (file, digest) in &found.files {
        match pin.files.get(file) {
            Some(pinned) if pinned == digest => {}
            Some(pinned) => differs.push(format!("{file} has SHA-256 {digest}, not {pinned} as pinned")),
            None => differs.push(format!("{file} (SHA-256 {digest}) is not pinned in model.digests")),
        }
    }
    for file in pin.files.keys().filter(|file| !found.files.contains_key(*file)) {
        differs.push(format!("{file} is pinned, and the model has no such file"));
    }
    match (pin.card, found.card) {
        (Some(pinned), Some(card)) if pinned == card => {}
        (Some(pinned), Some(card)) => {
            differs.push(format!("its card has SHA-256 {card}, not {pinned} as pinned in model.card"));
        }
        (Some(_), None) => differs.push("a card is pinned, and there is none".to_owned()),
        (None, _) => differs.push("its card is not pinned in model.card".to_owned()),
    }
    if differs.is_empty() { Ok(()) } else { Err(Error::model(id, differs.join("; "))) }
}

/// The pin that this judge would satisfy.
pub fn pin_of(judge: &RowJudge) -> ModelPin {
    let environment = judge.environment();
    ModelPin {
        files: environment.model.as_ref().map(|model| model.digests.clone()).unwrap_or_default(),
        card: environment.card,
    }
}

/// A pin as it stands in a configuration file.
pub fn pin_lines(pin: &ModelPin) -> String {
    let mut lines = vec!["[model]".to_owned()];
    lines.extend(pin.card.map(|card| format!("card = \"{card}\"")));
    lines.push("[model.digests]".to_owned());
    lines.extend(pin.files.iter().map(|(file, digest)| format!("\"{file}\" = \"{digest}\"")));
    lines.join("\n")
}
