//! Model cards: everything that turns a model's embeddings into decisions, in `models/<id>/card.toml`.
//!
//! A card belongs to weights, which it names by digest, and is written by a command that also records the
//! data and the figures behind it. Reading is strict: a field, feature or label that is not known is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::ModelIdentity;
use crate::protocol::Category;
use crate::score::features::Feature;
use crate::score::swaps::SwapBudget;

/// A model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Which model it is for.
    pub model: CardModel,
    /// Caption against frames.
    pub alignment: AlignmentCard,
    /// The seven labels.
    pub category: CategoryCard,
    /// What made the numbers above.
    pub calibration: CalibrationCard,
}

/// The model that a card is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardModel {
    /// Registry id.
    pub id: String,
    /// Whether it is a demonstration and no judge of real footage.
    pub demonstration: bool,
    /// What to say wherever the model is used; a demonstration has to have one.
    pub notice: String,
    /// SHA-256 of the files it was made for, by name; the weights at least.
    pub digests: BTreeMap<String, Digest>,
}

/// Caption against frames: one logistic model over named features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentCard {
    /// P(match) from which a caption matches.
    pub threshold: f64,
    /// A probability nearer to the threshold than this is borderline.
    pub borderline: f64,
    /// How the width of the band was measured.
    pub borderline_basis: String,
    /// The probabilities that are left to a judge, where one is loaded; those of the borderline band where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<DoubtBand>,
    /// Intercept of the logistic model.
    pub intercept: f64,
    /// How many swaps are made of each caption.
    pub swaps: SwapBudget,
    /// Captions that would fit almost any clip.
    pub generic: Vec<String>,
    /// Captions of other clips, to compare with.
    pub distractors: Vec<String>,
    /// The features with their coefficients, in the order of summation.
    #[serde(rename = "feature")]
    pub features: Vec<FeatureWeight>,
}

/// A band between two thresholds: below it a caption is rejected, from its end on it matches, and what lies in it is in
/// doubt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoubtBand {
    /// P(match) from which a caption is in doubt.
    pub from: f64,
    /// P(match) from which it matches without doubt.
    pub below: f64,
}

impl AlignmentCard {
    /// The probabilities that are left to a judge: from the first to below the second.
    pub fn doubt(&self) -> (f64, f64) {
        match self.doubt {
            Some(band) => (band.from, band.below),
            None => (self.threshold - self.borderline, self.threshold + self.borderline),
        }
    }
}

impl CategoryCard {
    /// How far a mean or margin may be from its limit to be left to a judge.
    pub fn doubt(&self) -> f64 {
        self.doubt.unwrap_or(self.borderline)
    }
}

/// One term of the logistic model: `coefficient * (value - mean) / scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWeight {
    /// The feature.
    pub name: Feature,
    /// Its mean over the calibration samples.
    pub mean: f64,
    /// Its standard deviation over the calibration samples.
    pub scale: f64,
    /// Its coefficient.
    pub coefficient: f64,
}

/// The seven labels from prompt ensembles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryCard {
    /// Factor on a frame's cosines before the softmax.
    pub temperature: f64,
    /// A mean or margin nearer to its limit than this is borderline.
    pub borderline: f64,
    /// A mean or margin nearer to its limit than this is left to a judge, where one is loaded; `borderline` where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f64>,
    /// The gate on captions.
    pub gate: GateCard,
    /// The labels, all seven in the order of the wire.
    #[serde(rename = "label")]
    pub labels: Vec<LabelCard>,
}

/// The caption gate: a caption with P(nature) below the threshold is plainly about something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCard {
    /// Factor on a caption's cosines before the softmax.
    pub temperature: f64,
    /// P(nature) below which a caption is rejected.
    pub threshold: f64,
    /// A probability nearer to the threshold than this is borderline.
    pub borderline: f64,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelCard {
    /// The label.
    pub label: Category,
    /// Added to its scaled cosine, for frames.
    pub bias: f64,
    /// Added to its scaled cosine, for captions.
    pub gate_bias: f64,
    /// The prompts whose mean embedding stands for it.
    pub prompts: Vec<String>,
}

/// Where a card's numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationCard {
    /// The command that wrote the card.
    pub command: String,
    /// When, as the caller of the command said.
    pub date: String,
    /// The data, in words: what was rendered or collected, which seeds, how it was kept apart.
    pub data: String,
    /// SHA-256 over pairs that people judged, where the card was fitted on such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<Digest>,
    /// Numbers of samples by kind.
    pub counts: BTreeMap<String, u64>,
    /// The measures on data that the card was not fitted on.
    #[serde(rename = "figure", default)]
    pub figures: Vec<Figure>,
}

/// One measure, as printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What was measured.
    pub measure: String,
    /// The value.
    pub value: String,
    /// The least that was asked for; empty where nothing was.
    pub floor: String,
    /// What was hoped for; empty where nothing was.
    pub goal: String,
}

/// Largest card that is read, in bytes.
const LARGEST_CARD: u64 = 4 << 20;
/// Most texts in a list of a card.
const MOST_TEXTS: usize = 4096;
/// Longest text in a list of a card, in bytes.
const LONGEST_TEXT: usize = 2000;

impl ModelCard {
    /// Reads a card from a file.
    ///
    /// # Errors
    /// Where the file is missing or too large, or as [`from_toml`](Self::from_toml).
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing {
                    what: name,
                    remedy: "make it with `nexis calibrate`, or choose a model that has one".into(),
                });
            }
            Err(e) => return Err(Error::io(path, e)),
        };
        let mut text = String::new();
        file.take(LARGEST_CARD + 1).read_to_string(&mut text).map_err(|e| Error::io(path, e))?;
        if text.len() as u64 > LARGEST_CARD {
            return Err(Error::model(name, format!("a card has at most {LARGEST_CARD} bytes")));
        }
        Self::from_toml(&text).map_err(|error| match error {
            // Of several cards, the path says which.
            Error::Model { why, .. } => Error::model(name, why),
            error => error,
        })
    }

    /// A card before calibration: texts and identity, and numbers that say nothing yet. `prompts` are per label,
    /// in the order of the wire.
    ///
    /// # Errors
    /// [`Error::Model`] where what was given makes no sense.
    pub fn draft(
        model: CardModel,
        generic: Vec<String>,
        distractors: Vec<String>,
        swaps: SwapBudget,
        prompts: Vec<Vec<String>>,
    ) -> Result<Self> {
        let features =
            Feature::ALL.map(|name| FeatureWeight { name, mean: 0.0, scale: 1.0, coefficient: 0.0 }).to_vec();
        let labels = Category::ALL
            .into_iter()
            .zip(prompts)
            .map(|(label, prompts)| LabelCard { label, bias: 0.0, gate_bias: 0.0, prompts })
            .collect();
        let card = Self {
            model,
            alignment: AlignmentCard {
                threshold: 0.5,
                borderline: 0.0,
                borderline_basis: "not measured".into(),
                doubt: None,
                intercept: 0.0,
                swaps,
                generic,
                distractors,
                features,
            },
            category: CategoryCard {
                temperature: 1.0,
                borderline: 0.0,
                doubt: None,
                gate: GateCard { temperature: 1.0, threshold: 0.0, borderline: 0.0 },
                labels,
            },
            calibration: CalibrationCard {
                command: String::new(),
                date: String::new(),
                data: String::new(),
                data_sha256: None,
                counts: BTreeMap::new(),
                figures: Vec::new(),
            },
        };
        card.validate()?;
        Ok(card)
    }

    /// Reads a card.
    ///
    /// # Errors
    /// [`Error::Model`] where it is not TOML of this shape or its numbers make no sense.
    pub fn from_toml(text: &str) -> Result<Self> {
        let card: Self = toml::from_str(text).map_err(|e| Error::model("card.toml", e.to_string()))?;
        card.validate()?;
        Ok(card)
    }

    /// The card as TOML; reading it back gives the same card.
    ///
    /// # Errors
    /// [`Error::Model`] where its numbers make no sense.
    pub fn to_toml(&self) -> Result<String> {
        self.validate()?;
        toml::to_string_pretty(self).map_err(|e| self.error(e.to_string()))
    }

    fn error(&self, why: impl Into<String>) -> Error {
        Error::model(&self.model.id, why)
    }

    /// Whether the card's numbers make sense together.
    ///
    /// # Errors
    /// [`Error::Model`] naming the first that does not.
    pub fn validate(&self) -> Result<()> {
        let model = &self.model;
        if model.id.trim().is_empty() {
            return Err(self.error("model.id is empty"));
        }
        if model.digests.is_empty() {
            return Err(self.error("model.digests names no file: a card belongs to its weights"));
        }
        if model.demonstration && model.notice.trim().is_empty() {
            return Err(self.error("a demonstration model needs model.notice"));
        }
        self.validate_alignment()?;
        self.validate_category()
    }

    fn number(&self, name: &str, value: f64, wanted: &str, ok: bool) -> Result<()> {
        if value.is_finite() && ok {
            Ok(())
        } else {
            Err(self.error(format!("{name} is {value}, not {wanted}")))
        }
    }

    fn texts(&self, name: &str, texts: &[String]) -> Result<()> {
        if texts.is_empty() || texts.len() > MOST_TEXTS {
            return Err(self.error(format!("{name} has {} texts, not 1 to {MOST_TEXTS}", texts.len())));
        }
        match texts.iter().find(|text| text.trim().is_empty() || text.len() > LONGEST_TEXT) {
            Some(text) => Err(self.error(format!(
                "{name} has a text of {} bytes; 1 to {LONGEST_TEXT} are allowed",
                text.trim().len()
            ))),
            None => Ok(()),
        }
    }

    fn validate_alignment(&self) -> Result<()> {
        let card = &self.alignment;
        let t = card.threshold;
        self.number("alignment.threshold", t, "between 0 and 1", t > 0.0 && t < 1.0)?;
        let b = card.borderline;
        self.number("alignment.borderline", b, "from 0 to below 1", (0.0..1.0).contains(&b))?;
        if let Some(DoubtBand { from, below }) = card.doubt {
            let around = (0.0..=t).contains(&from) && (t..=1.0).contains(&below) && from < below;
            self.number("alignment.doubt.from", from, "from 0 to the threshold", from <= t && from >= 0.0)?;
            self.number("alignment.doubt.below", below, "from the threshold to 1", around)?;
        }
        self.number("alignment.intercept", card.intercept, "a finite number", true)?;
        if card.swaps.per_attribute > 64 || card.swaps.total > 512 {
            return Err(self.error("alignment.swaps allows more than 64 per attribute or 512 in all"));
        }
        self.texts("alignment.generic", &card.generic)?;
        self.texts("alignment.distractors", &card.distractors)?;
        if card.features.is_empty() {
            return Err(self.error("alignment.feature is empty"));
        }
        let mut seen = BTreeSet::new();
        for feature in &card.features {
            let name = feature.name;
            if !seen.insert(name) {
                return Err(self.error(format!("alignment.feature names {name} twice")));
            }
            self.number(&format!("mean of {name}"), feature.mean, "a finite number", true)?;
            let scale = feature.scale;
            self.number(&format!("scale of {name}"), scale, "above 0", scale > 0.0)?;
            self.number(&format!("coefficient of {name}"), feature.coefficient, "a finite number", true)?;
        }
        Ok(())
    }

    fn validate_category(&self) -> Result<()> {
        let card = &self.category;
        let gate = &card.gate;
        for (name, t) in
            [("category.temperature", card.temperature), ("category.gate.temperature", gate.temperature)]
        {
            self.number(name, t, "above 0", t > 0.0)?;
        }
        for (name, b) in
            [("category.borderline", card.borderline), ("category.gate.borderline", gate.borderline)]
        {
            self.number(name, b, "from 0 to below 1", (0.0..1.0).contains(&b))?;
        }
        if let Some(width) = card.doubt {
            self.number("category.doubt", width, "from 0 to below 1", (0.0..1.0).contains(&width))?;
        }
        let t = gate.threshold;
        self.number("category.gate.threshold", t, "from 0 to below 1", (0.0..1.0).contains(&t))?;
        let labels: Vec<Category> = card.labels.iter().map(|label| label.label).collect();
        if labels != Category::ALL {
            let wanted = Category::ALL.map(Category::as_str).join(", ");
            return Err(self.error(format!("category.label must list {wanted}, once each and in this order")));
        }
        for label in &card.labels {
            self.number(&format!("bias of {}", label.label), label.bias, "a finite number", true)?;
            self.number(&format!("gate_bias of {}", label.label), label.gate_bias, "a finite number", true)?;
            self.texts(&format!("prompts of {}", label.label), &label.prompts)?;
        }
        Ok(())
    }

    /// Refuses a model whose files are not those that the card was made for.
    ///
    /// # Errors
    /// [`Error::Model`] naming the file.
    pub fn check_weights(&self, identity: &ModelIdentity) -> Result<()> {
        for (file, wanted) in &self.model.digests {
            match identity.digests.get(file) {
                Some(found) if found == wanted => {}
                Some(found) => {
                    return Err(self.error(format!(
                        "the card was made for {file} with SHA-256 {wanted}, but the model at hand has {found}; \
                         its thresholds mean nothing for other weights"
                    )));
                }
                None => {
                    return Err(
                        self.error(format!("the card was made for {file}, which the model at hand lacks"))
                    );
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            model: CardModel {
                id: "test".into(),
                demonstration: true,
                notice: "A test bed.".into(),
                digests: BTreeMap::from([("model.safetensors".into(), Digest::of("weights"))]),
            },
            alignment: AlignmentCard {
                threshold: 0.5,
                borderline: 0.001,
                borderline_basis: "assumed".into(),
                doubt: None,
                intercept: -0.25,
                swaps: SwapBudget::default(),
                generic: vec!["a nice video of something".into()],
                distractors: vec!["a red car on a street".into(), "two \"cows\" in a pasture\\".into()],
                features: vec![
                    FeatureWeight { name: Feature::Whole, mean: 0.1, scale: 0.2, coefficient: 1.5 },
                    FeatureWeight { name: Feature::SwapColour, mean: 0.0, scale: 1e-3, coefficient: 0.75 },
                ],
            },
            category: CategoryCard {
                temperature: 30.0,
                borderline: 0.001,
                doubt: None,
                gate: GateCard { temperature: 20.0, threshold: 0.02, borderline: 0.001 },
                labels: Category::ALL
                    .map(|label| LabelCard {
                        label,
                        bias: 0.0,
                        gate_bias: 0.0,
                        prompts: vec![format!("a video of {label}")],
                    })
                    .to_vec(),
            },
            calibration: CalibrationCard {
                command: "nexis calibrate".into(),
                date: "2026-01-01".into(),
                data: "none".into(),
                data_sha256: None,
                counts: BTreeMap::from([("clips".into(), 3)]),
                figures: vec![Figure {
                    measure: "EER".into(),
                    value: "1 %".into(),
                    floor: "1 %".into(),
                    goal: String::new(),
                }],
            },
        }
    }

    fn refused(change: impl FnOnce(&mut ModelCard)) -> String {
        let mut card = card();
        change(&mut card);
        card.validate().unwrap_err().to_string()
    }

    #[test]
    fn reads_back_what_it_writes() {
        let card = card();
        let text = card.to_toml().unwrap();
        assert_eq!(ModelCard::from_toml(&text).unwrap(), card, "{text}");
    }

    #[test]
    fn what_is_left_to_a_judge() {
        let mut card = card();
        let (from, below) = card.alignment.doubt();
        assert!((from - 0.499).abs() < 1e-12 && (below - 0.501).abs() < 1e-12);
        assert_eq!(card.category.doubt(), 0.001);
        assert!(!card.to_toml().unwrap().contains("doubt"));
        card.alignment.doubt = Some(DoubtBand { from: 0.25, below: 0.75 });
        card.category.doubt = Some(0.05);
        let read = ModelCard::from_toml(&card.to_toml().unwrap()).unwrap();
        assert_eq!((read.alignment.doubt(), read.category.doubt()), ((0.25, 0.75), 0.05));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let text = card().to_toml().unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            ModelCard::from_toml(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(with("threshold", "treshold").contains("treshold"));
        assert!(with("\"swap_colour\"", "\"swap_flavour\"").contains("swap_flavour"));
        assert!(with("\"animal\"", "\"fish\"").contains("fish"));
        assert!(with("[model]", "[model]\nlicence = \"x\"").contains("licence"));
        assert!(ModelCard::from_toml("nonsense").is_err());
        assert!(ModelCard::from_toml("").is_err());
    }

    #[test]
    fn refuses_numbers_that_make_no_sense() {
        assert!(refused(|c| c.alignment.threshold = 1.0).contains("alignment.threshold"));
        assert!(refused(|c| c.alignment.intercept = f64::NAN).contains("intercept"));
        let band = |from, below| Some(DoubtBand { from, below });
        assert!(refused(|c| c.alignment.doubt = band(0.6, 0.9)).contains("doubt.from"));
        assert!(refused(|c| c.alignment.doubt = band(0.5, 0.5)).contains("doubt.below"));
        assert!(refused(|c| c.alignment.doubt = band(0.2, 1.1)).contains("doubt.below"));
        assert!(refused(|c| c.category.doubt = Some(f64::NAN)).contains("category.doubt"));
        assert!(refused(|c| c.alignment.features[0].scale = 0.0).contains("scale of whole"));
        assert!(refused(|c| c.alignment.features[1].name = Feature::Whole).contains("twice"));
        assert!(refused(|c| c.alignment.features.clear()).contains("alignment.feature"));
        assert!(refused(|c| c.alignment.distractors.clear()).contains("distractors"));
        assert!(refused(|c| c.alignment.generic.push("x".repeat(5000))).contains("generic"));
        assert!(refused(|c| c.alignment.swaps.total = 100_000).contains("swaps"));
        assert!(refused(|c| c.category.temperature = f64::INFINITY).contains("category.temperature"));
        assert!(refused(|c| c.category.labels.swap(0, 1)).contains("category.label"));
        assert!(refused(|c| c.category.labels[2].prompts.clear()).contains("animal"));
        assert!(refused(|c| c.model.notice.clear()).contains("notice"));
        assert!(refused(|c| c.model.digests.clear()).contains("digests"));
    }

    #[test]
    fn a_file_that_is_no_card_is_named_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let text = card().to_toml().unwrap().replacen("threshold = 0.5", "threshold = 5.0", 1);
        for (text, why) in [("nonsense", "expected"), (text.as_str(), "alignment.threshold is 5")] {
            std::fs::write(&path, text).unwrap();
            let error = ModelCard::load(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("model {}: ", path.display())), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn belongs_to_its_weights() {
        let card = card();
        let mut identity = ModelIdentity {
            id: "test".into(),
            architecture: "clip".into(),
            digests: card.model.digests.clone(),
            precision: "f32".into(),
            device: "cpu".into(),
        };
        card.check_weights(&identity).unwrap();
        identity.digests.insert("model.safetensors".into(), Digest::of("others"));
        assert!(card.check_weights(&identity).unwrap_err().to_string().contains("model.safetensors"));
        identity.digests.clear();
        assert!(card.check_weights(&identity).is_err());
    }
}
