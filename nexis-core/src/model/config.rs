//! What a Hugging Face directory of a CLIP or a SigLIP says about itself, checked before anything is built from it.
//!
//! Defaults are those of transformers' `CLIPConfig` and `CLIPImageProcessor`, `SiglipConfig` and
//! `SiglipImageProcessor`. Every size is bounded, so that a mistaken or hostile file cannot make the loader allocate:
//! shapes are compared with the weight file before a tensor is made.

use serde_json::{Map, Value};

use super::exact::Activation;
use super::{Fit, PreprocessSpec};
use crate::error::{Error, Result};
use crate::media::resize::Resample;

/// Name of the file with the architecture.
pub(super) const CONFIG: &str = "config.json";
/// Name of the file that says how pictures are prepared.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

pub(super) const MAX_WIDTH: usize = 8192;
pub(super) const MAX_INTERMEDIATE: usize = 32_768;
pub(super) const MAX_LAYERS: usize = 128;
pub(super) const MAX_VOCABULARY: usize = 1 << 20;
pub(super) const MAX_CONTEXT: usize = 1024;
pub(super) const MAX_EDGE: usize = 1024;
const MAX_PATCHES: usize = 2048;

/// Mean and standard deviation of the pictures that the first CLIP was trained on.
pub(super) const CLIP_MOMENTS: [[f64; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]];

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

/// What a tower is like where its file does not say.
struct TowerDefaults {
    width: usize,
    intermediate: usize,
    heads: usize,
    activation: Activation,
    eps: f64,
}

/// Both towers of a SigLIP.
const SIGLIP_TOWER: TowerDefaults =
    TowerDefaults { width: 768, intermediate: 3072, heads: 12, activation: Activation::GeluTanh, eps: 1e-6 };

/// What stands around the towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// A class row and a normalisation before the blocks of the vision tower, a causal text tower, a projection without
    /// bias behind each.
    Clip,
    /// Attention pooling behind the vision tower; a text tower without a mask, over texts that are filled up to the
    /// context, and a linear layer behind it. SigLIP 2 of fixed resolution is the same network.
    Siglip,
}

impl Architecture {
    /// Its name in evidence, and in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Siglip => "siglip",
        }
    }
}

/// Which token's state stands for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The first token with the highest id. Configurations written before transformers 4.31 say
    /// `eos_token_id: 2` whatever the tokenizer does; transformers keeps their behaviour, and so do we.
    HighestId,
    /// The first token with this id.
    FirstOf(u32),
    /// The last of a text that is filled up to the context.
    LastPlace,
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DualEncoderConfig {
    pub(super) architecture: Architecture,
    /// Length of an embedding.
    pub(super) projection: usize,
    pub(super) text: TowerConfig,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) pooling: Pooling,
    pub(super) vision: TowerConfig,
    pub(super) image: usize,
    pub(super) patch: usize,
}

impl DualEncoderConfig {
    /// Patches along one edge; what is left over is not looked at, as in the reference.
    pub(super) fn grid(&self) -> usize {
        self.image.checked_div(self.patch).unwrap_or(0)
    }
}

/// One JSON object of a model file, with what is needed to complain about its fields.
pub(super) struct Section<'a> {
    model: &'a str,
    file: &'static str,
    path: &'a str,
    pub(super) fields: Map<String, Value>,
}

impl<'a> Section<'a> {
    pub(super) fn parse(model: &'a str, file: &'static str, bytes: &[u8]) -> Result<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self { model, file, path: "", fields }),
            Ok(_) => Err(Error::model(model, format!("{file} is not a JSON object; fetch the file again"))),
            Err(e) => Err(Error::model(model, format!("{file} is not JSON ({e}); fetch the file again"))),
        }
    }

    /// A nested object; an absent or null one is empty, so that defaults hold.
    pub(super) fn section(&self, key: &'a str) -> Result<Self> {
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

    /// That there is no field beside the known ones, unless it is null: what it would change is not known.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        match self.fields.iter().find(|(key, value)| !value.is_null() && !known.contains(&key.as_str())) {
            Some((key, _)) => Err(self.error(key, format!("is not supported; {} are", known.join(", ")))),
            None => Ok(()),
        }
    }

    pub(super) fn error(&self, key: &str, why: impl std::fmt::Display) -> Error {
        Error::model(self.model, format!("{}: {}: {why}", self.file, self.name(key)))
    }

    pub(super) fn wrong(&self, key: &str, found: &Value, expected: impl std::fmt::Display) -> Error {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
            found.push_str("...");
        }
        self.error(key, format!("{found} where {expected} is expected"))
    }

    pub(super) fn size(&self, key: &str, default: usize, most: usize) -> Result<usize> {
        let Some(value) = self.fields.get(key) else { return Ok(default) };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| self.wrong(key, value, format!("a whole number from 1 to {most}")))
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.fields.get(key) else { return Ok(default) };
        value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| self.wrong(key, value, "a number"))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.fields.get(key).filter(|v| !v.is_null()) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    pub(super) fn triple(&self, key: &str, default: [f64; 3]) -> Result<[f32; 3]> {
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

    fn tower(&self, default: &TowerDefaults) -> Result<TowerConfig> {
        let width = self.size("hidden_size", default.width, MAX_WIDTH)?;
        let heads = self.size("num_attention_heads", default.heads, MAX_WIDTH)?;
        if !width.is_multiple_of(heads) {
            let why = format!("{heads} does not divide hidden_size, which is {width}");
            return Err(self.error("num_attention_heads", why));
        }
        let activation = match self.text("hidden_act")? {
            None => default.activation,
            Some("quick_gelu") => Activation::QuickGelu,
            Some("gelu") => Activation::Gelu,
            Some("gelu_pytorch_tanh") => Activation::GeluTanh,
            Some(other) => {
                let why = format!("{other:?} is not supported; quick_gelu, gelu and gelu_pytorch_tanh are");
                return Err(self.error("hidden_act", why));
            }
        };
        let eps = self.number("layer_norm_eps", default.eps)?;
        if !(0.0..1.0).contains(&eps) {
            return Err(
                self.error("layer_norm_eps", format!("{eps} where a small positive number is expected"))
            );
        }
        Ok(TowerConfig {
            width,
            intermediate: self.size("intermediate_size", default.intermediate, MAX_INTERMEDIATE)?,
            layers: self.size("num_hidden_layers", 12, MAX_LAYERS)?,
            heads,
            activation,
            eps: eps as f32,
        })
    }
}

/// Reads `config.json`.
pub(super) fn parse_config(model: &str, bytes: &[u8]) -> Result<DualEncoderConfig> {
    let root = Section::parse(model, CONFIG, bytes)?;
    match root.text("model_type")? {
        None | Some("clip") => parse_clip(&root),
        Some("siglip") => parse_siglip(&root),
        Some("siglip2") => Err(root.error(
            "model_type",
            "\"siglip2\", which reads pictures of any proportions, is not supported; SigLIP 2 of fixed resolution, \
             whose model_type is \"siglip\", is",
        )),
        Some(kind) => {
            Err(root.error("model_type", format!("{kind:?} is not supported; \"clip\" and \"siglip\" are")))
        }
    }
}

fn parse_clip(root: &Section<'_>) -> Result<DualEncoderConfig> {
    // The first converted checkpoints carry a second copy of each section, which transformers prefers.
    let pick = |plain: &'static str, legacy: &'static str| match root.fields.get(legacy) {
        None | Some(Value::Null) => root.section(plain),
        Some(_) => root.section(legacy),
    };
    let tower = |width, intermediate, heads| {
        let (activation, eps) = (Activation::QuickGelu, 1e-5);
        TowerDefaults { width, intermediate, heads, activation, eps }
    };

    let text = pick("text_config", "text_config_dict")?;
    let text_tower = text.tower(&tower(512, 2048, 8))?;
    let pooling = match text.fields.get("eos_token_id") {
        None => Pooling::FirstOf(49_407),
        Some(value) => match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(2) => Pooling::HighestId,
            Some(id) => Pooling::FirstOf(id),
            None => return Err(text.wrong("eos_token_id", value, "one token id")),
        },
    };

    let vision = pick("vision_config", "vision_config_dict")?;
    let vision_tower = vision.tower(&tower(768, 3072, 12))?;
    let (image, patch) = vision.picture(32)?;
    Ok(DualEncoderConfig {
        architecture: Architecture::Clip,
        projection: root.size("projection_dim", 512, MAX_WIDTH)?,
        text: text_tower,
        vocabulary: text.size("vocab_size", 49_408, MAX_VOCABULARY)?,
        context: text.size("max_position_embeddings", 77, MAX_CONTEXT)?,
        pooling,
        vision: vision_tower,
        image,
        patch,
    })
}

fn parse_siglip(root: &Section<'_>) -> Result<DualEncoderConfig> {
    let (text, vision) = (root.section("text_config")?, root.section("vision_config")?);
    let (text_tower, vision_tower) = (text.tower(&SIGLIP_TOWER)?, vision.tower(&SIGLIP_TOWER)?);
    let projection = match text.fields.get("projection_size") {
        Some(Value::Null) => text_tower.width,
        _ => text.size("projection_size", text_tower.width, MAX_WIDTH)?,
    };
    if projection != vision_tower.width {
        let why = format!(
            "{projection}, but vision_config.hidden_size is {}; embeddings of texts and pictures have one length",
            vision_tower.width
        );
        return Err(text.error("projection_size", why));
    }
    if !vision.flag("vision_use_head", true)? {
        return Err(
            vision.error("vision_use_head", "false is not supported; without its head it embeds nothing")
        );
    }
    let (image, patch) = vision.picture(16)?;
    Ok(DualEncoderConfig {
        architecture: Architecture::Siglip,
        projection,
        text: text_tower,
        vocabulary: text.size("vocab_size", 32_000, MAX_VOCABULARY)?,
        context: text.size("max_position_embeddings", 64, MAX_CONTEXT)?,
        pooling: Pooling::LastPlace,
        vision: vision_tower,
        image,
        patch,
    })
}

impl Section<'_> {
    /// Edges of a picture and of a patch.
    fn picture(&self, patch: usize) -> Result<(usize, usize)> {
        let channels = self.size("num_channels", 3, 4)?;
        if channels != 3 {
            return Err(self.error("num_channels", format!("{channels} is not supported; 3 (RGB) is")));
        }
        let image = self.size("image_size", 224, MAX_EDGE)?;
        let patch = self.size("patch_size", patch, image)?;
        let patches = (image / patch).saturating_mul(image / patch);
        if patches > MAX_PATCHES {
            let why = format!("{patches} patches; at most {MAX_PATCHES} are supported");
            return Err(self.error("patch_size", why));
        }
        Ok((image, patch))
    }

    /// The filter of resizing.
    fn resample(&self) -> Result<Resample> {
        let Some(resample) = self.fields.get("resample").filter(|v| !v.is_null()) else {
            return Ok(Resample::Bicubic);
        };
        match resample.as_u64() {
            Some(2) => Ok(Resample::Bilinear),
            Some(3) => Ok(Resample::Bicubic),
            _ => Err(self.wrong("resample", resample, "2 (bilinear) or 3 (bicubic)")),
        }
    }

    /// Mean and standard deviation of a picture's values, by the names that they have in the file.
    pub(super) fn moments(
        &self,
        [mean_key, std_key]: [&str; 2],
        [mean, std]: [[f64; 3]; 2],
    ) -> Result<([f32; 3], [f32; 3])> {
        let (mean, std) = (self.triple(mean_key, mean)?, self.triple(std_key, std)?);
        if mean.iter().any(|x| !x.is_finite()) {
            return Err(self.error(mean_key, "three numbers within the range of f32 are expected"));
        }
        if std.iter().any(|x| !x.is_normal() || *x < 0.0) {
            return Err(self.error(std_key, "three numbers above zero are expected"));
        }
        Ok((mean, std))
    }

    /// Mean, standard deviation and factor of a picture's values, where the file does not say what they are by default.
    fn values(&self, mean: [f64; 3], std: [f64; 3]) -> Result<([f32; 3], [f32; 3], f64)> {
        let (mean, std) = if self.flag("do_normalize", true)? {
            self.moments(["image_mean", "image_std"], [mean, std])?
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let rescale =
            if self.flag("do_rescale", true)? { self.number("rescale_factor", 1.0 / 255.0)? } else { 1.0 };
        Ok((mean, std, rescale))
    }
}

/// Reads `preprocessor_config.json`; its picture has to have the edge that the vision tower takes.
pub(super) fn parse_preprocessor(
    model: &str,
    bytes: &[u8],
    config: &DualEncoderConfig,
) -> Result<PreprocessSpec> {
    let root = Section::parse(model, PREPROCESSOR, bytes)?;
    let (own, other) = match config.architecture {
        Architecture::Clip => ("CLIP", None),
        // Siglip2ImageProcessor makes pictures of any proportions.
        Architecture::Siglip => ("Siglip", Some("Siglip2")),
    };
    for key in ["image_processor_type", "feature_extractor_type"] {
        let ours = |kind: &str| kind.starts_with(own) && other.is_none_or(|other| !kind.starts_with(other));
        if let Some(kind) = root.text(key)?.filter(|kind| !ours(kind)) {
            return Err(root.error(key, format!("{kind:?} is not supported; {own}'s own processors are")));
        }
    }
    if !root.flag("do_resize", true)? {
        return Err(root.error("do_resize", "false is not supported; pictures are always resized"));
    }
    let (key, edge, fit, [mean, std]) = match config.architecture {
        Architecture::Clip => {
            if !root.flag("do_center_crop", true)? {
                return Err(
                    root.error("do_center_crop", "false is not supported; pictures are always cropped")
                );
            }
            let shortest = root.edge("size", &["shortest_edge"], 224)?;
            let crop = root.edge("crop_size", &["height", "width"], 224)?;
            if shortest != crop {
                let why =
                    format!("{shortest} is not supported beside crop_size {crop}; the two have to be equal");
                return Err(root.error("size", why));
            }
            ("crop_size", crop, Fit::Centre, CLIP_MOMENTS)
        }
        Architecture::Siglip => {
            if root.flag("do_center_crop", false)? {
                return Err(
                    root.error("do_center_crop", "true is not supported; SigLIP reads whole pictures")
                );
            }
            // A number alone is the shortest edge to this processor, and pictures keep their proportions.
            if let Some(size) = root.fields.get("size").filter(|v| v.is_number()) {
                return Err(root.wrong("size", size, "an object with height and width"));
            }
            let edge = root.edge("size", &["height", "width"], 224)?;
            ("size", edge, Fit::Squeeze, [[0.5; 3]; 2])
        }
    };
    if edge != config.image {
        let why = format!(
            "{edge} pixels, but {CONFIG} says vision_config.image_size {}; make them equal",
            config.image
        );
        return Err(root.error(key, why));
    }
    let (mean, std, rescale) = root.values(mean, std)?;
    let size = u32::try_from(edge).map_err(|_| root.error(key, "too large"))?;
    Ok(PreprocessSpec { size, resample: root.resample()?, fit, mean, std, rescale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<DualEncoderConfig> {
        parse_config("m", text.as_bytes())
    }

    fn preprocessor(text: &str) -> Result<PreprocessSpec> {
        parse_preprocessor("m", text.as_bytes(), &config("{}").unwrap())
    }

    const SIGLIP: &str = r#"{"model_type": "siglip"}"#;

    fn siglip_preprocessor(text: &str) -> Result<PreprocessSpec> {
        parse_preprocessor("m", text.as_bytes(), &config(SIGLIP).unwrap())
    }

    #[test]
    fn a_siglip_that_says_nothing_is_b_16() {
        let config = config(SIGLIP).unwrap();
        for tower in [&config.vision, &config.text] {
            assert_eq!((tower.width, tower.intermediate, tower.layers, tower.heads), (768, 3072, 12, 12));
            assert_eq!((tower.activation, tower.eps), (Activation::GeluTanh, 1e-6));
        }
        assert_eq!((config.image, config.patch, config.grid(), config.projection), (224, 16, 14, 768));
        assert_eq!((config.vocabulary, config.context, config.pooling), (32_000, 64, Pooling::LastPlace));
        let spec = siglip_preprocessor("{}").unwrap();
        assert_eq!((spec.size, spec.resample, spec.fit), (224, Resample::Bicubic, Fit::Squeeze));
        assert_eq!((spec.mean, spec.std), ([0.5; 3], [0.5; 3]));
        let second = r#"{"resample": 2, "size": {"height": 224, "width": 224}, "do_convert_rgb": null,
                         "image_processor_type": "SiglipImageProcessor"}"#;
        assert_eq!(siglip_preprocessor(second).unwrap().resample, Resample::Bilinear);
    }

    #[test]
    fn what_is_no_siglip_of_fixed_resolution_is_refused() {
        for (text, field) in [
            (r#"{"model_type": "siglip2"}"#, "model_type"),
            (
                r#"{"model_type": "siglip", "text_config": {"projection_size": 512}}"#,
                "text_config.projection_size",
            ),
            (
                r#"{"model_type": "siglip", "vision_config": {"hidden_size": 1152}}"#,
                "text_config.projection_size",
            ),
            (r#"{"model_type": "siglip", "vision_config": {"vision_use_head": false}}"#, "vision_use_head"),
            (
                r#"{"model_type": "siglip", "vision_config": {"image_size": [224, 224]}}"#,
                "vision_config.image_size",
            ),
            (r#"{"model_type": "siglip", "vision_config": {"patch_size": 1}}"#, "vision_config.patch_size"),
            (r#"{"model_type": "siglip", "text_config": {"max_position_embeddings": 1e9}}"#, "max_position"),
        ] {
            let error = config(text).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("config.json"), "{text}: {error}");
        }
        for (text, field) in [
            (r#"{"resample": 1}"#, "resample"),
            (r#"{"size": 224}"#, "size"),
            (r#"{"size": {"height": 224, "width": 112}}"#, "size"),
            (r#"{"size": {"height": 384, "width": 384}}"#, "image_size 224"),
            (r#"{"size": {"shortest_edge": 224}}"#, "size"),
            (r#"{"do_center_crop": true}"#, "do_center_crop"),
            (r#"{"do_resize": false}"#, "do_resize"),
            (r#"{"image_processor_type": "Siglip2ImageProcessor"}"#, "image_processor_type"),
            (r#"{"image_processor_type": "CLIPImageProcessor"}"#, "image_processor_type"),
        ] {
            let error = siglip_preprocessor(text).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("preprocessor_config.json"), "{text}: {error}");
        }
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
            (r#"{"model_type": "align"}"#, "model_type"),
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
            (r#"{"resample": 0}"#, "resample"),
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
