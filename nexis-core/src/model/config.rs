//! What a Hugging Face CLIP directory says about itself, checked before anything is built from it.
//!
//! Defaults are those of transformers' `CLIPConfig` and `CLIPImageProcessor`. Every size is bounded, so
//! that a mistaken or hostile file cannot make the loader allocate: shapes are compared with the weight
//! file before a tensor is made.

use serde_json::{Map, Value};

use super::PreprocessSpec;
use super::exact::Activation;
use crate::error::{Error, Result};

/// Name of the file with the architecture.
pub(super) const CONFIG: &str = "config.json";
/// Name of the file that says how pictures are prepared.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

const MAX_WIDTH: usize = 8192;
const MAX_INTERMEDIATE: usize = 32_768;
const MAX_LAYERS: usize = 128;
const MAX_VOCABULARY: usize = 1 << 20;
const MAX_CONTEXT: usize = 1024;
const MAX_EDGE: usize = 1024;
const MAX_PATCHES: usize = 2048;

/// One transformer tower.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TowerConfig {
    pub(super) width: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
    pub(super) eps: f32,
}

/// Which token's state stands for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The first token with the highest id. Configurations written before transformers 4.31 say
    /// `eos_token_id: 2` whatever the tokenizer does; transformers keeps their behaviour, and so do we.
    HighestId,
    /// The first token with this id.
    FirstOf(u32),
}

/// A whole CLIP.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClipConfig {
    pub(super) projection: usize,
    pub(super) text: TowerConfig,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) pooling: Pooling,
    pub(super) vision: TowerConfig,
    pub(super) image: usize,
    pub(super) patch: usize,
}

impl ClipConfig {
    /// Patches along one edge; what is left over is not looked at, as in the reference.
    pub(super) fn grid(&self) -> usize {
        self.image.checked_div(self.patch).unwrap_or(0)
    }
}

/// One JSON object of a model file, with what is needed to complain about its fields.
struct Section<'a> {
    model: &'a str,
    file: &'static str,
    path: &'a str,
    fields: Map<String, Value>,
}

impl<'a> Section<'a> {
    fn parse(model: &'a str, file: &'static str, bytes: &[u8]) -> Result<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self { model, file, path: "", fields }),
            Ok(_) => Err(Error::model(model, format!("{file} is not a JSON object; fetch the file again"))),
            Err(e) => Err(Error::model(model, format!("{file} is not JSON ({e}); fetch the file again"))),
        }
    }

    /// A nested object; an absent or null one is empty, so that defaults hold.
    fn section(&self, key: &'a str) -> Result<Self> {
        let fields = match self.fields.get(key) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(fields)) => fields.clone(),
            Some(other) => return Err(self.wrong(key, other, "an object")),
        };
        Ok(Self { model: self.model, file: self.file, path: key, fields })
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn error(&self, key: &str, why: impl std::fmt::Display) -> Error {
        Error::model(self.model, format!("{}: {}: {why}", self.file, self.name(key)))
    }

    fn wrong(&self, key: &str, found: &Value, expected: impl std::fmt::Display) -> Error {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
            found.push_str("...");
        }
        self.error(key, format!("{found} where {expected} is expected"))
    }

    fn size(&self, key: &str, default: usize, most: usize) -> Result<usize> {
        let Some(value) = self.fields.get(key) else { return Ok(default) };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| self.wrong(key, value, format!("a whole number from 1 to {most}")))
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.fields.get(key) else { return Ok(default) };
        value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| self.wrong(key, value, "a number"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.fields.get(key).filter(|v| !v.is_null()) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    fn triple(&self, key: &str, default: [f64; 3]) -> Result<[f32; 3]> {
        let found = match self.fields.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => {
                let numbers: Option<Vec<f64>> =
                    value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
                numbers
                    .and_then(|list| <[f64; 3]>::try_from(list).ok())
                    .ok_or_else(|| self.wrong(key, value, "a list of three numbers"))?
            }
        };
        Ok(found.map(|x| x as f32))
    }

    /// A number that older files give alone and newer ones as an object with `keys`, all equal.
    fn edge(&self, key: &str, keys: &[&str], default: usize) -> Result<usize> {
        let expected =
            || format!("a number of pixels up to {MAX_EDGE} or an object with {}", keys.join(" and "));
        let Some(value) = self.fields.get(key).filter(|v| !v.is_null()) else { return Ok(default) };
        let first = match value {
            Value::Object(fields) if fields.values().filter(|v| !v.is_null()).count() == keys.len() => {
                let mut edges = keys.iter().map(|k| fields.get(*k));
                let first = edges.next().flatten();
                if edges.any(|edge| edge != first) {
                    return Err(self.wrong(key, value, "a square"));
                }
                first
            }
            Value::Object(_) => None,
            number => Some(number),
        };
        first
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=MAX_EDGE).contains(n))
            .ok_or_else(|| self.wrong(key, value, expected()))
    }

    fn tower(&self, width: usize, intermediate: usize, heads: usize) -> Result<TowerConfig> {
        let width = self.size("hidden_size", width, MAX_WIDTH)?;
        let heads = self.size("num_attention_heads", heads, MAX_WIDTH)?;
        if !width.is_multiple_of(heads) {
            let why = format!("{heads} does not divide hidden_size, which is {width}");
            return Err(self.error("num_attention_heads", why));
        }
        let activation = match self.text("hidden_act")?.unwrap_or("quick_gelu") {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => {
                let why = format!("{other:?} is not supported; quick_gelu and gelu are");
                return Err(self.error("hidden_act", why));
            }
        };
        let eps = self.number("layer_norm_eps", 1e-5)?;
        if !(0.0..1.0).contains(&eps) {
            return Err(
                self.error("layer_norm_eps", format!("{eps} where a small positive number is expected"))
            );
        }
        Ok(TowerConfig {
            width,
            intermediate: self.size("intermediate_size", intermediate, MAX_INTERMEDIATE)?,
            layers: self.size("num_hidden_layers", 12, MAX_LAYERS)?,
            heads,
            activation,
            eps: eps as f32,
        })
    }
}

/// Reads `config.json`.
pub(super) fn parse_config(model: &str, bytes: &[u8]) -> Result<ClipConfig> {
    let root = Section::parse(model, CONFIG, bytes)?;
    if let Some(kind) = root.text("model_type")?.filter(|kind| *kind != "clip") {
        return Err(root.error("model_type", format!("{kind:?} is not supported; \"clip\" is")));
    }
    // The first converted checkpoints carry a second copy of each section, which transformers prefers.
    let pick = |plain: &'static str, legacy: &'static str| match root.fields.get(legacy) {
        None | Some(Value::Null) => root.section(plain),
        Some(_) => root.section(legacy),
    };

    let text = pick("text_config", "text_config_dict")?;
    let text_tower = text.tower(512, 2048, 8)?;
    let vocabulary = text.size("vocab_size", 49_408, MAX_VOCABULARY)?;
    let pooling = match text.fields.get("eos_token_id") {
        None => Pooling::FirstOf(49_407),
        Some(value) => match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(2) => Pooling::HighestId,
            Some(id) => Pooling::FirstOf(id),
            None => return Err(text.wrong("eos_token_id", value, "one token id")),
        },
    };

    let vision = pick("vision_config", "vision_config_dict")?;
    let vision_tower = vision.tower(768, 3072, 12)?;
    let channels = vision.size("num_channels", 3, 4)?;
    if channels != 3 {
        return Err(vision.error("num_channels", format!("{channels} is not supported; 3 (RGB) is")));
    }
    let image = vision.size("image_size", 224, MAX_EDGE)?;
    let patch = vision.size("patch_size", 32, image)?;
    let config = ClipConfig {
        projection: root.size("projection_dim", 512, MAX_WIDTH)?,
        text: text_tower,
        vocabulary,
        context: text.size("max_position_embeddings", 77, MAX_CONTEXT)?,
        pooling,
        vision: vision_tower,
        image,
        patch,
    };
    let patches = config.grid().saturating_mul(config.grid());
    if patches > MAX_PATCHES {
        return Err(
            vision.error("patch_size", format!("{patches} patches; at most {MAX_PATCHES} are supported"))
        );
    }
    Ok(config)
}

/// Reads `preprocessor_config.json`; its crop has to be the edge that the vision tower takes.
pub(super) fn parse_preprocessor(model: &str, bytes: &[u8], image: usize) -> Result<PreprocessSpec> {
    let root = Section::parse(model, PREPROCESSOR, bytes)?;
    for key in ["image_processor_type", "feature_extractor_type"] {
        if let Some(kind) = root.text(key)?.filter(|kind| !kind.starts_with("CLIP")) {
            return Err(root.error(key, format!("{kind:?} is not supported; CLIP's own processors are")));
        }
    }
    for key in ["do_resize", "do_center_crop"] {
        if !root.flag(key, true)? {
            return Err(root.error(key, "false is not supported; pictures are always resized and cropped"));
        }
    }
    if let Some(resample) = root.fields.get("resample").filter(|v| !v.is_null())
        && resample.as_u64() != Some(3)
    {
        return Err(root.wrong("resample", resample, "3 (bicubic), the only supported filter,"));
    }
    let shortest = root.edge("size", &["shortest_edge"], 224)?;
    let crop = root.edge("crop_size", &["height", "width"], 224)?;
    if shortest != crop {
        let why = format!("{shortest} is not supported beside crop_size {crop}; the two have to be equal");
        return Err(root.error("size", why));
    }
    if crop != image {
        let why =
            format!("{crop} pixels, but {CONFIG} says vision_config.image_size {image}; make them equal");
        return Err(root.error("crop_size", why));
    }
    let (mean, std) = if root.flag("do_normalize", true)? {
        let mean = root.triple("image_mean", [0.481_454_66, 0.457_827_5, 0.408_210_73])?;
        let std = root.triple("image_std", [0.268_629_54, 0.261_302_58, 0.275_777_11])?;
        if mean.iter().any(|x| !x.is_finite()) {
            return Err(root.error("image_mean", "three numbers within the range of f32 are expected"));
        }
        if std.iter().any(|x| !x.is_normal() || *x < 0.0) {
            return Err(root.error("image_std", "three numbers above zero are expected"));
        }
        (mean, std)
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let rescale =
        if root.flag("do_rescale", true)? { root.number("rescale_factor", 1.0 / 255.0)? } else { 1.0 };
    let size = u32::try_from(crop).map_err(|_| root.error("crop_size", "too large"))?;
    Ok(PreprocessSpec { size, mean, std, rescale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<ClipConfig> {
        parse_config("m", text.as_bytes())
    }

    fn preprocessor(text: &str) -> Result<PreprocessSpec> {
        parse_preprocessor("m", text.as_bytes(), 224)
    }

    #[test]
    fn empty_files_mean_vit_b_32() {
        let config = config("{}").unwrap();
        assert_eq!((config.vision.width, config.vision.layers, config.vision.heads), (768, 12, 12));
        assert_eq!((config.text.width, config.text.intermediate, config.text.heads), (512, 2048, 8));
        assert_eq!((config.image, config.patch, config.grid(), config.projection), (224, 32, 7, 512));
        assert_eq!((config.vocabulary, config.context), (49_408, 77));
        assert_eq!(config.pooling, Pooling::FirstOf(49_407));
        let spec = preprocessor("{}").unwrap();
        assert_eq!(spec.size, 224);
        assert_eq!(spec.rescale, 1.0 / 255.0);
        assert_eq!(spec.mean, [0.481_454_66, 0.457_827_5, 0.408_210_73]);
    }

    #[test]
    fn legacy_end_token_and_sections() {
        let legacy = config(r#"{"text_config": {"eos_token_id": 2, "hidden_size": 64}}"#).unwrap();
        assert_eq!(legacy.pooling, Pooling::HighestId);
        assert_eq!(legacy.text.width, 64);
        let both = r#"{"text_config": {"hidden_size": 64}, "text_config_dict": {"hidden_size": 128}}"#;
        assert_eq!(config(both).unwrap().text.width, 128);
        let null = r#"{"text_config": {"hidden_size": 64}, "text_config_dict": null}"#;
        assert_eq!(config(null).unwrap().text.width, 64);
    }

    #[test]
    fn complaints_name_file_and_field() {
        for (text, parts) in [
            ("[]", "config.json is not a JSON object"),
            ("{", "config.json is not JSON"),
            (r#"{"model_type": "siglip"}"#, "model_type"),
            (r#"{"projection_dim": 0}"#, "projection_dim"),
            (r#"{"text_config": {"hidden_size": 1e30}}"#, "text_config.hidden_size"),
            (r#"{"text_config": {"hidden_size": 18446744073709551615}}"#, "text_config.hidden_size"),
            (r#"{"text_config": {"num_attention_heads": 7}}"#, "text_config.num_attention_heads"),
            (r#"{"text_config": {"eos_token_id": [1, 2]}}"#, "text_config.eos_token_id"),
            (r#"{"text_config": {"eos_token_id": -1}}"#, "text_config.eos_token_id"),
            (r#"{"text_config": 3}"#, "text_config"),
            (r#"{"vision_config": {"hidden_act": "relu"}}"#, "vision_config.hidden_act"),
            (r#"{"vision_config": {"num_channels": 1}}"#, "vision_config.num_channels"),
            (r#"{"vision_config": {"patch_size": 225}}"#, "vision_config.patch_size"),
            (r#"{"vision_config": {"patch_size": 1}}"#, "vision_config.patch_size"),
            (r#"{"vision_config": {"image_size": 100000}}"#, "vision_config.image_size"),
            (r#"{"vision_config": {"layer_norm_eps": -1}}"#, "vision_config.layer_norm_eps"),
        ] {
            let error = config(text).unwrap_err().to_string();
            assert!(error.contains(parts) && error.contains("config.json"), "{text}: {error}");
        }
    }

    #[test]
    fn preprocessors_old_and_new() {
        for text in [
            r#"{"size": 224, "crop_size": 224, "resample": 3}"#,
            r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#,
            r#"{"size": {"shortest_edge": 224, "longest_edge": null}, "do_convert_rgb": true}"#,
            r#"{"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 224}}"#,
            r#"{"feature_extractor_type": "CLIPFeatureExtractor"}"#,
        ] {
            assert_eq!(preprocessor(text).unwrap().size, 224, "{text}");
        }
        let plain = preprocessor(r#"{"do_normalize": false, "do_rescale": false}"#).unwrap();
        assert_eq!((plain.mean, plain.std, plain.rescale), ([0.0; 3], [1.0; 3], 1.0));
    }

    #[test]
    fn unsupported_preprocessing_is_refused() {
        for (text, field) in [
            (r#"{"resample": 2}"#, "resample"),
            (r#"{"size": {"height": 224, "width": 224}}"#, "size"),
            (r#"{"size": 256}"#, "size"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"crop_size": {"height": 224, "width": 112}}"#, "crop_size"),
            (r#"{"size": 112, "crop_size": 112}"#, "crop_size"),
            (r#"{"do_resize": false}"#, "do_resize"),
            (r#"{"do_center_crop": "no"}"#, "do_center_crop"),
            (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean"),
            (r#"{"image_std": [0.5, 0.0, 0.5]}"#, "image_std"),
            (r#"{"image_std": [0.5, 1e300, 0.5]}"#, "image_std"),
            (r#"{"rescale_factor": "x"}"#, "rescale_factor"),
            (r#"{"image_processor_type": "SiglipImageProcessor"}"#, "image_processor_type"),
        ] {
            let error = preprocessor(text).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("preprocessor_config.json"), "{text}: {error}");
        }
    }
}
