//! `open_clip_config.json`, checked and bounded.
//!
//! Defaults are those of open_clip. A field that is not known here is refused: it may ask for another network.
//!
//! `vision_cfg.timm_model_kwargs` is our own: open_clip hands no arguments on to timm, whose names stand for networks
//! of one size. Without it there would be no tiny model to hold this implementation against theirs. Where it is absent, as
//! in open_clip's own configurations, sizes are those of the name.

use super::super::config::{
    CLIP_MOMENTS, MAX_CONTEXT, MAX_EDGE, MAX_INTERMEDIATE, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, Section,
    TowerConfig,
};
use super::super::exact::Activation;
use super::super::{Fit, PreprocessSpec};
use crate::error::Result;
use crate::media::resize::Resample;

/// Name of the file.
pub(in crate::model) const CONFIG: &str = "open_clip_config.json";

/// Values of one feature map.
const MAX_MAP: usize = 1 << 26;

/// Columns of a head of the vision tower's attention, whatever its width.
pub(in crate::model) const HEAD: usize = 32;

/// A stage of the vision tower; each has maps of half the edge of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct StageConfig {
    /// Blocks.
    pub(in crate::model) layers: usize,
    /// Channels.
    pub(in crate::model) width: usize,
    /// Channels inside a block's feed-forward part.
    pub(in crate::model) inner: usize,
}

/// timm's FastViT, as MobileCLIP has it: attention in the last stage, gates before the last two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model) struct FastVitConfig {
    /// Edge of a picture.
    pub(in crate::model) image: usize,
    /// From the largest maps to the smallest.
    pub(in crate::model) stages: [StageConfig; 4],
}

/// The text tower.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct TextConfig {
    pub(in crate::model) tower: TowerConfig,
    pub(in crate::model) vocabulary: usize,
    pub(in crate::model) context: usize,
    /// Whether a row sees itself and the rows before it alone.
    pub(in crate::model) causal: bool,
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct OpenClipConfig {
    /// Length of an embedding.
    pub(in crate::model) projection: usize,
    pub(in crate::model) text: TextConfig,
    pub(in crate::model) vision: FastVitConfig,
    pub(in crate::model) preprocess: PreprocessSpec,
}

/// Reads `open_clip_config.json`.
pub(super) fn parse(model: &str, bytes: &[u8]) -> Result<OpenClipConfig> {
    let root = Section::parse(model, CONFIG, bytes)?;
    let own = root.section("model_cfg")?;
    own.only(&["embed_dim", "vision_cfg", "text_cfg", "custom_text", "quick_gelu"])?;
    if !own.flag("custom_text", false)? {
        return Err(own.error("custom_text", "true is expected, as MobileCLIP has it"));
    }
    let activation = if own.flag("quick_gelu", false)? { Activation::QuickGelu } else { Activation::Gelu };
    let vision = vision(&own.section("vision_cfg")?)?;
    let preprocess = preprocess(&root.section("preprocess_cfg")?, vision.image)?;
    Ok(OpenClipConfig {
        projection: own.size("embed_dim", 512, MAX_WIDTH)?,
        text: text(&own.section("text_cfg")?, activation)?,
        vision,
        preprocess,
    })
}

/// Layers, widths and ratios of inner to outer widths, in stages.
type Sizes = ([usize; 4], [usize; 4], [f64; 4]);

/// The sizes of a network by timm's name of it.
fn named(name: &str) -> Option<Sizes> {
    let (layers, width) = match name {
        "fastvit_mci0" => ([2, 6, 10, 2], 64),
        "fastvit_mci1" => ([4, 12, 20, 4], 64),
        "fastvit_mci2" => ([4, 12, 24, 4], 80),
        _ => return None,
    };
    Some((layers, [width, 2 * width, 4 * width, 8 * width], [3.0; 4]))
}

fn vision(vision: &Section<'_>) -> Result<FastVitConfig> {
    vision.only(&[
        "timm_model_name",
        "timm_model_kwargs",
        "timm_model_pretrained",
        "timm_pool",
        "timm_proj",
        "timm_proj_bias",
        "timm_drop",
        "timm_drop_path",
        "image_size",
    ])?;
    let name = vision.text("timm_model_name")?.unwrap_or_default();
    let Some((layers, widths, ratios)) = named(name) else {
        let why = format!(
            "{name:?} is not supported; fastvit_mci0, fastvit_mci1 and fastvit_mci2 are, of MobileCLIP S0, S1 and S2"
        );
        return Err(vision.error("timm_model_name", why));
    };
    if let Some(pool) = vision.text("timm_pool")?.filter(|pool| *pool != "avg") {
        return Err(vision.error("timm_pool", format!("{pool:?} is not supported; \"avg\" is")));
    }
    // Where it is not said, open_clip puts a layer of its own in the place of the network's.
    let proj =
        if vision.fields.contains_key("timm_proj") { vision.text("timm_proj")? } else { Some("linear") };
    if let Some(proj) = proj.filter(|proj| !proj.is_empty()) {
        return Err(vision.error("timm_proj", format!("{proj:?} is not supported; null is")));
    }
    let image = vision.size("image_size", 224, MAX_EDGE)?;

    let own = vision.section("timm_model_kwargs")?;
    own.only(&["layers", "embed_dims", "mlp_ratios"])?;
    let layers = own.sizes("layers", layers, MAX_LAYERS)?;
    let widths = own.sizes("embed_dims", widths, MAX_WIDTH)?;
    let ratios = own.four("mlp_ratios", ratios, "four numbers above zero", |ratio| {
        ratio.as_f64().filter(|ratio| *ratio > 0.0 && *ratio <= 64.0)
    })?;
    let pairs = widths.iter().zip(widths.iter().skip(1));
    let [.., last] = widths;
    if !last.is_multiple_of(HEAD) || pairs.clone().any(|(before, after)| !after.is_multiple_of(*before)) {
        let why = format!(
            "{widths:?}: each has to be a multiple of the one before, and the last a multiple of {HEAD}"
        );
        return Err(own.error("embed_dims", why));
    }
    let mut stages = [StageConfig { layers: 0, width: 0, inner: 0 }; 4];
    let mut edge = image.div_ceil(2);
    let mut largest = edge.saturating_mul(edge).saturating_mul(widths.first().copied().unwrap_or_default());
    for (((stage, layers), width), ratio) in stages.iter_mut().zip(layers).zip(widths).zip(ratios) {
        edge = edge.div_ceil(2);
        let inner = (width as f64 * ratio) as usize;
        if !(1..=MAX_INTERMEDIATE).contains(&inner) {
            return Err(own.error("mlp_ratios", format!("{ratio} of {width} is not within bounds")));
        }
        *stage = StageConfig { layers, width, inner };
        largest = largest.max(edge.saturating_mul(edge).saturating_mul(inner.max(2 * width)));
    }
    if largest > MAX_MAP {
        let why = format!("{image} asks for maps of {largest} values; at most {MAX_MAP} are supported");
        return Err(vision.error("image_size", why));
    }
    Ok(FastVitConfig { image, stages })
}

fn text(text: &Section<'_>, activation: Activation) -> Result<TextConfig> {
    if let Some(name) = text.text("hf_tokenizer_name")? {
        let why = format!(
            "{name:?} is not supported: texts would be filled up with that tokenizer's own token, where MobileCLIP's are \
             filled up with zeros"
        );
        return Err(text.error("hf_tokenizer_name", why));
    }
    text.only(&["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "no_causal_mask"])?;
    let width = text.size("width", 512, MAX_WIDTH)?;
    let heads = text.size("heads", 8, MAX_WIDTH)?;
    if !width.is_multiple_of(heads) {
        return Err(text.error("heads", format!("{heads} does not divide width, which is {width}")));
    }
    let ratio = text.number("mlp_ratio", 4.0)?;
    let intermediate = (width as f64 * ratio) as usize;
    if !(1..=MAX_INTERMEDIATE).contains(&intermediate) {
        return Err(text.error("mlp_ratio", format!("{ratio} of {width} is not within bounds")));
    }
    let layers = text.size("layers", 12, MAX_LAYERS)?;
    let eps = 1e-5;
    Ok(TextConfig {
        tower: TowerConfig { width, intermediate, layers, heads, activation, eps },
        vocabulary: text.size("vocab_size", 49_408, MAX_VOCABULARY)?,
        context: text.size("context_length", 77, MAX_CONTEXT)?,
        causal: !text.flag("no_causal_mask", false)?,
    })
}

fn preprocess(pictures: &Section<'_>, image: usize) -> Result<PreprocessSpec> {
    pictures.only(&["mean", "std", "interpolation", "resize_mode", "size", "mode", "fill_color"])?;
    let (mean, std) = pictures.moments(["mean", "std"], CLIP_MOMENTS)?;
    let resample = match pictures.text("interpolation")? {
        None | Some("bicubic") => Resample::Bicubic,
        Some("bilinear") => Resample::Bilinear,
        Some(other) => {
            let why = format!("{other:?} is not supported; bicubic and bilinear are");
            return Err(pictures.error("interpolation", why));
        }
    };
    let fit = match pictures.text("resize_mode")? {
        None | Some("shortest") => Fit::Centre,
        Some("squash") => Fit::Squeeze,
        Some(other) => {
            let why = format!("{other:?} is not supported; shortest and squash are");
            return Err(pictures.error("resize_mode", why));
        }
    };
    if let Some(mode) = pictures.text("mode")?.filter(|mode| *mode != "RGB") {
        return Err(pictures.error("mode", format!("{mode:?} is not supported; RGB is")));
    }
    if let Some(size) = pictures.fields.get("size").filter(|size| !size.is_null()) {
        let edges = size.as_array().map_or_else(|| vec![size], |edges| edges.iter().collect());
        if edges.is_empty() || edges.iter().any(|edge| edge.as_u64() != Some(image as u64)) {
            return Err(pictures.wrong("size", size, format!("image_size, which is {image},")));
        }
    }
    let size = u32::try_from(image).map_err(|_| pictures.error("size", "too large"))?;
    Ok(PreprocessSpec { size, resample, fit, mean, std, rescale: 1.0 / 255.0 })
}

impl Section<'_> {
    /// A list of four; the default where it is not there.
    fn four<N: Copy>(
        &self,
        key: &str,
        default: [N; 4],
        expected: &str,
        read: impl Fn(&serde_json::Value) -> Option<N>,
    ) -> Result<[N; 4]> {
        let Some(value) = self.fields.get(key).filter(|value| !value.is_null()) else { return Ok(default) };
        let four: Option<Vec<N>> = value.as_array().and_then(|list| list.iter().map(read).collect());
        four.and_then(|four| four.try_into().ok()).ok_or_else(|| self.wrong(key, value, expected))
    }

    fn sizes(&self, key: &str, default: [usize; 4], most: usize) -> Result<[usize; 4]> {
        self.four(key, default, &format!("a list of four whole numbers from 1 to {most}"), |size| {
            size.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n))
        })
    }
}
