//! The judging model: loaded, and held against what the operator pinned, before anything is judged.

use std::collections::BTreeMap;

use nexis_core::hash::Digest;
use nexis_core::model::card::ModelCard;
use nexis_core::model::registry::ModelPlaces;
use nexis_core::verifier::RowJudge;
use nexis_core::{Error, Result};
use nexis_gpu::{EngineOptions, JudgeChoice};

use crate::config::{Config, JudgePin, ModelPin, Network};

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
        ensemble: config.model.ensemble.as_ref().map(|second| second.id.clone()),
        judge: (config.model.judge.as_ref())
            .map(|judge| JudgeChoice { id: judge.id.clone(), budget: judge.budget }),
    };
    let judge = options.judge()?;
    admit(&judge, config.network, &config.model.pin)?;
    if let Some(pinned) = &config.model.ensemble {
        admit_ensemble(&judge, config.network, &pinned.pin)?;
    }
    if let Some(pinned) = &config.model.judge {
        admit_judge(&judge, config.network, &pinned.pin)?;
    }
    let mut limits = judge.limits().clone();
    limits.max_bytes = config.validator.max_clip_bytes;
    Ok(judge.with_limits(limits))
}

/// Whether a judge may judge on a network: no demonstration outside of the devnet, and outside of it exactly the model
/// that is pinned, file by file, and its card. On the devnet a pin holds where there is one.
///
/// # Errors
/// [`Error::Usage`], since it is the configuration that asks for this model: with everything that differs, or with the lines
/// that pin this model where nothing is pinned.
pub fn admit(judge: &RowJudge, network: Network, pin: &ModelPin) -> Result<()> {
    let environment = judge.environment();
    let id = environment.model.as_ref().map(|model| model.id.clone()).unwrap_or_default();
    admit_encoder(&id, judge.card(), &pin_of(judge), network, pin, &MODEL)
}

/// The same of the model that decides together with the first.
///
/// # Errors
/// As [`admit`].
pub fn admit_ensemble(judge: &RowJudge, network: Network, pin: &ModelPin) -> Result<()> {
    let (Some(used), Some(card)) = (&judge.environment().ensemble, judge.second_card()) else {
        return Err(Error::Internal("a second model is configured, and none is loaded".into()));
    };
    admit_encoder(&used.model.id, card, &ensemble_pin_of(judge), network, pin, &ENSEMBLE)
}

/// Where a configuration names a model and pins it.
struct Keys {
    id: &'static str,
    card: &'static str,
    digests: &'static str,
}

const MODEL: Keys = Keys { id: "id", card: "card", digests: "digests" };
const ENSEMBLE: Keys = Keys { id: "ensemble", card: "ensemble_card", digests: "ensemble_digests" };

fn admit_encoder(
    id: &str,
    card: &ModelCard,
    found: &ModelPin,
    network: Network,
    pin: &ModelPin,
    keys: &Keys,
) -> Result<()> {
    if card.model.demonstration && network != Network::Devnet {
        let why = format!(
            "it is a demonstration and no judge of real footage; name another in model.{}, or set network to devnet",
            keys.id
        );
        return Err(refused(id, why));
    }
    if pin.files.is_empty() && pin.card.is_none() {
        if network == Network::Devnet {
            return Ok(());
        }
        let why =
            format!("it is not pinned; if it is the one agreed upon, pin it so:\n{}", lines(found, keys));
        return Err(refused(id, why));
    }
    let mut differs = differing(&found.files, &pin.files, &format!("model.{}", keys.digests));
    match (pin.card, found.card) {
        (Some(pinned), Some(card)) if pinned == card => {}
        (Some(pinned), Some(card)) => {
            differs
                .push(format!("its card has SHA-256 {card}, not {pinned} as pinned in model.{}", keys.card));
        }
        (Some(_), None) => differs.push("a card is pinned, and there is none".to_owned()),
        (None, _) => differs.push(format!("its card is not pinned in model.{}", keys.card)),
    }
    if differs.is_empty() { Ok(()) } else { Err(refused(id, differs.join("; "))) }
}

/// Whether the judge behind the model may decide on a network: outside of the devnet exactly the one that is pinned, file
/// by file, and its prompt. On the devnet a pin holds where there is one.
///
/// # Errors
/// As [`admit`].
pub fn admit_judge(judge: &RowJudge, network: Network, pin: &JudgePin) -> Result<()> {
    let Some(used) = &judge.environment().judge else {
        return Err(Error::Internal("a judge is configured, and none is loaded".into()));
    };
    let (id, found) = (&used.identity.model.id, judge_pin_of(judge));
    if pin.files.is_empty() && pin.prompt.is_none() {
        if network == Network::Devnet {
            return Ok(());
        }
        let lines = judge_pin_lines(&found);
        let why = format!("the judge is not pinned; if it is the one agreed upon, pin it so:\n{lines}");
        return Err(refused(id, why));
    }
    let mut differs = differing(&found.files, &pin.files, "model.judge_digests");
    match (pin.prompt, used.identity.prompt) {
        (Some(pinned), prompt) if pinned == prompt => {}
        (Some(pinned), prompt) => {
            let pinned = format!("{pinned} as pinned in model.judge_prompt");
            differs.push(format!("its prompt has SHA-256 {prompt}, not {pinned}"));
        }
        (None, _) => differs.push("its prompt is not pinned in model.judge_prompt".to_owned()),
    }
    if differs.is_empty() { Ok(()) } else { Err(refused(id, differs.join("; "))) }
}

/// The error of a model that the configuration has no right to.
fn refused(id: &str, why: String) -> Error {
    Error::usage(format!("model {id}"), why)
}

/// What differs between files and their pins, which stand under this key.
fn differing(found: &BTreeMap<String, Digest>, pinned: &BTreeMap<String, Digest>, key: &str) -> Vec<String> {
    let mut differs = Vec::new();
    for (file, digest) in found {
        match pinned.get(file) {
            Some(pinned) if pinned == digest => {}
            Some(pinned) => differs.push(format!("{file} has SHA-256 {digest}, not {pinned} as pinned")),
            None => differs.push(format!("{file} (SHA-256 {digest}) is not pinned in {key}")),
        }
    }
    for file in pinned.keys().filter(|file| !found.contains_key(*file)) {
        differs.push(format!("{file} is pinned, and the model has no such file"));
    }
    differs
}

/// The pin that the judge behind the model would satisfy; an empty one where there is none.
pub fn judge_pin_of(judge: &RowJudge) -> JudgePin {
    match &judge.environment().judge {
        Some(used) => {
            JudgePin { files: used.identity.model.digests.clone(), prompt: Some(used.identity.prompt) }
        }
        None => JudgePin::default(),
    }
}

/// A judge's pin as it stands in a configuration file.
pub fn judge_pin_lines(pin: &JudgePin) -> String {
    let mut lines = vec!["[model]".to_owned()];
    lines.extend(pin.prompt.map(|prompt| format!("judge_prompt = \"{prompt}\"")));
    lines.push("[model.judge_digests]".to_owned());
    lines.extend(pin.files.iter().map(|(file, digest)| format!("\"{file}\" = \"{digest}\"")));
    lines.join("\n")
}

/// The pin that this judge would satisfy.
pub fn pin_of(judge: &RowJudge) -> ModelPin {
    let environment = judge.environment();
    ModelPin {
        files: environment.model.as_ref().map(|model| model.digests.clone()).unwrap_or_default(),
        card: environment.card,
    }
}

/// The pin that the second model would satisfy; an empty one where there is none.
pub fn ensemble_pin_of(judge: &RowJudge) -> ModelPin {
    match &judge.environment().ensemble {
        Some(used) => ModelPin { files: used.model.digests.clone(), card: Some(used.card) },
        None => ModelPin::default(),
    }
}

/// A pin as it stands in a configuration file.
pub fn pin_lines(pin: &ModelPin) -> String {
    lines(pin, &MODEL)
}

/// The second model's pin as it stands in a configuration file.
pub fn ensemble_pin_lines(pin: &ModelPin) -> String {
    lines(pin, &ENSEMBLE)
}

fn lines(pin: &ModelPin, keys: &Keys) -> String {
    let mut lines = vec!["[model]".to_owned()];
    lines.extend(pin.card.map(|card| format!("{} = \"{card}\"", keys.card)));
    lines.push(format!("[model.{}]", keys.digests));
    lines.extend(pin.files.iter().map(|(file, digest)| format!("\"{file}\" = \"{digest}\"")));
    lines.join("\n")
}
