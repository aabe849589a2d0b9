//! `config.json` and `preprocessor_config.json` of a Qwen3-VL, checked and bounded.

use serde::Deserialize;

use super::frames;
use crate::error::{Error, Result};
use crate::model::judge::{FRAME_LIMIT, MAX_SCORES, QUESTION_LIMIT, out_of_range};

pub(super) const CONFIG: &str = "config.json";
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

/// Base of the rotation inside a picture, where the file does not say.
const VISION_THETA: f64 = 10_000.0;

/// Most tokens of a prompt, those of the frames and of the question together.
pub(super) const PROMPT_LIMIT: usize = 8192;

/// The numbers of a whole model.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) vision: VisionConfig,
    pub(super) text: TextConfig,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
}

/// The tower that sees.
#[derive(Clone, Debug)]
pub(super) struct VisionConfig {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) depth: usize,
    /// Edge of a patch, in pixels.
    pub(super) patch: usize,
    /// Edge of the table of positions.
    pub(super) side: usize,
    pub(super) theta: f64,
    /// Blocks whose output goes to the first blocks of the text tower, in this order.
    pub(super) deepstack: Vec<usize>,
}

/// The tower that reads.
#[derive(Clone, Debug)]
pub(super) struct TextConfig {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head: usize,
    pub(super) depth: usize,
    pub(super) vocabulary: usize,
    pub(super) positions: usize,
    pub(super) eps: f32,
    pub(super) theta: f64,
    /// Frequencies that turn with time, line and column.
    pub(super) sections: [usize; 3],
    /// Whether the last matrix is that of the token embeddings.
    pub(super) tied: bool,
}

/// Patches side by side that become one token, along each edge.
pub(super) const MERGE: usize = 2;

/// Frames that become one.
pub(super) const TEMPORAL: usize = 2;

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    text_config: TextFile,
    vision_config: VisionFile,
    tie_word_embeddings: Option<bool>,
}

#[derive(Deserialize)]
struct TextFile {
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    num_hidden_layers: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    tie_word_embeddings: Option<bool>,
    /// One object in newer files, two fields in older ones.
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    rope_theta: Option<f64>,
}

#[derive(Deserialize)]
struct Rope {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    mrope_section: Option<Vec<usize>>,
    mrope_interleaved: Option<bool>,
}

#[derive(Deserialize)]
struct VisionFile {
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    depth: usize,
    patch_size: usize,
    spatial_merge_size: usize,
    temporal_patch_size: usize,
    in_channels: usize,
    out_hidden_size: usize,
    num_position_embeddings: usize,
    hidden_act: String,
    deepstack_visual_indexes: Vec<usize>,
    rope_parameters: Option<Rope>,
}

#[derive(Deserialize)]
struct PreprocessorFile {
    image_mean: [f32; 3],
    image_std: [f32; 3],
    patch_size: usize,
    merge_size: usize,
    temporal_patch_size: usize,
    rescale_factor: Option<f64>,
}

/// Reads both files.
pub(super) fn parse(model: &str, config: &[u8], preprocessor: &[u8]) -> Result<Config> {
    let wrong = |file: &str, why: String| Error::model(model, format!("{file}: {why}"));
    let file: ConfigFile =
        serde_json::from_slice(config).map_err(|e| wrong(CONFIG, format!("is not a Qwen3-VL's ({e})")))?;
    let pictures: PreprocessorFile =
        serde_json::from_slice(preprocessor).map_err(|e| wrong(PREPROCESSOR, e.to_string()))?;
    let (text, vision) = (&file.text_config, &file.vision_config);

    let ranges = [
        ("text_config.hidden_size", text.hidden_size, 1, 16_384),
        ("text_config.intermediate_size", text.intermediate_size, 1, 65_536),
        ("text_config.num_attention_heads", text.num_attention_heads, 1, 256),
        ("text_config.num_key_value_heads", text.num_key_value_heads, 1, 256),
        ("text_config.head_dim", text.head_dim, 2, 512),
        ("text_config.num_hidden_layers", text.num_hidden_layers, 1, 256),
        ("text_config.vocab_size", text.vocab_size, 1, 1 << 20),
        ("text_config.max_position_embeddings", text.max_position_embeddings, 1, 1 << 24),
        ("vision_config.hidden_size", vision.hidden_size, 1, 8192),
        ("vision_config.intermediate_size", vision.intermediate_size, 1, 32_768),
        ("vision_config.num_heads", vision.num_heads, 1, 256),
        ("vision_config.depth", vision.depth, 1, 256),
        ("vision_config.patch_size", vision.patch_size, 8, 64),
        ("vision_config.num_position_embeddings", vision.num_position_embeddings, 1, 1 << 16),
    ];
    if let Some(why) = out_of_range(&ranges) {
        return Err(wrong(CONFIG, why));
    }
    // What one question comes to at most, whatever its frames: bounded here, before a frame is resized.
    let pair = frames::most_tokens(vision.patch_size);
    let (patches, tokens) = (pair * MERGE * MERGE, FRAME_LIMIT.div_ceil(TEMPORAL) * pair + QUESTION_LIMIT);
    let scores = |heads: usize, places: usize| heads * places * places;
    for (what, value, most) in [
        ("tokens of a prompt", tokens, PROMPT_LIMIT),
        ("numbers in an attention over patches", scores(vision.num_heads, patches), MAX_SCORES),
        ("numbers in an attention over tokens", scores(text.num_attention_heads, tokens), MAX_SCORES),
    ] {
        if value > most {
            let why = format!("asks for up to {value} {what}; at most {most} are supported");
            return Err(wrong(CONFIG, why));
        }
    }
    let side = vision.num_position_embeddings.isqrt();
    let rope = text.rope_parameters.as_ref().or(text.rope_scaling.as_ref());
    let sections = rope.and_then(|rope| <[usize; 3]>::try_from(rope.mrope_section.clone()?).ok());
    let theta = rope.and_then(|rope| rope.rope_theta).or(text.rope_theta);
    let usual = |rope: Option<&Rope>, kind: &str| {
        rope.and_then(|rope| rope.rope_type.as_deref()).is_none_or(|found| found == kind)
    };
    let demands = [
        (file.model_type == "qwen3_vl", "model_type has to be qwen3_vl"),
        (
            text.hidden_act == "silu" && !text.attention_bias,
            "text_config: silu without attention_bias is supported",
        ),
        (
            vision.hidden_act == "gelu_pytorch_tanh",
            "vision_config.hidden_act: gelu_pytorch_tanh is supported",
        ),
        (vision.in_channels == 3, "vision_config.in_channels has to be 3"),
        (
            vision.spatial_merge_size == MERGE && vision.temporal_patch_size == TEMPORAL,
            "vision_config: spatial_merge_size 2 and temporal_patch_size 2 are supported",
        ),
        (
            vision.out_hidden_size == text.hidden_size,
            "vision_config.out_hidden_size differs from text_config.hidden_size",
        ),
        (
            text.num_attention_heads.is_multiple_of(text.num_key_value_heads),
            "text_config: num_attention_heads is no multiple of num_key_value_heads",
        ),
        (text.head_dim.is_multiple_of(2), "text_config.head_dim is odd"),
        (
            vision.hidden_size.is_multiple_of(vision.num_heads)
                && (vision.hidden_size / vision.num_heads).is_multiple_of(4),
            "vision_config: hidden_size / num_heads is no multiple of 4",
        ),
        (side * side == vision.num_position_embeddings, "vision_config.num_position_embeddings is no square"),
        (
            vision.deepstack_visual_indexes.iter().all(|at| *at < vision.depth)
                && vision.deepstack_visual_indexes.is_sorted_by(|a, b| a < b)
                && vision.deepstack_visual_indexes.len() <= text.num_hidden_layers,
            "vision_config.deepstack_visual_indexes names blocks that are not there, or twice, or too many",
        ),
        (
            usual(rope, "default") && rope.is_some_and(|rope| rope.mrope_interleaved == Some(true)),
            "text_config: the rotation has to be of type default with mrope_interleaved",
        ),
        (
            usual(vision.rope_parameters.as_ref(), "axial"),
            "vision_config: the rotation has to be of type axial",
        ),
        (
            sections.is_some_and(|s| s.iter().copied().fold(0, usize::saturating_add) == text.head_dim / 2),
            "text_config: mrope_section has to be three numbers that add up to half of head_dim",
        ),
        (
            theta.is_some_and(|t| t.is_finite() && t > 1.0) && text.rms_norm_eps > 0.0,
            "text_config: rope_theta and rms_norm_eps have to be positive",
        ),
    ];
    if let Some((_, why)) = demands.iter().find(|(met, _)| !met) {
        return Err(wrong(CONFIG, (*why).to_owned()));
    }
    if (pictures.patch_size, pictures.merge_size, pictures.temporal_patch_size)
        != (vision.patch_size, MERGE, TEMPORAL)
    {
        return Err(wrong(PREPROCESSOR, format!("patch or merge sizes differ from those of {CONFIG}")));
    }
    let scaled = pictures.rescale_factor.is_none_or(|factor| (factor * 255.0 - 1.0).abs() < 1e-9);
    if !scaled
        || pictures.image_std.iter().any(|x| !x.is_normal() || *x < 0.0)
        || pictures.image_mean.iter().any(|x| !x.is_finite())
    {
        let why = "image_mean, image_std and a rescale_factor of 1/255 are expected";
        return Err(wrong(PREPROCESSOR, why.to_owned()));
    }
    Ok(Config {
        vision: VisionConfig {
            width: vision.hidden_size,
            inner: vision.intermediate_size,
            heads: vision.num_heads,
            depth: vision.depth,
            patch: vision.patch_size,
            side,
            theta: vision.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).unwrap_or(VISION_THETA),
            deepstack: vision.deepstack_visual_indexes.clone(),
        },
        text: TextConfig {
            width: text.hidden_size,
            inner: text.intermediate_size,
            heads: text.num_attention_heads,
            kv_heads: text.num_key_value_heads,
            head: text.head_dim,
            depth: text.num_hidden_layers,
            vocabulary: text.vocab_size,
            positions: text.max_position_embeddings,
            eps: text.rms_norm_eps,
            theta: theta.unwrap_or_default(),
            sections: sections.unwrap_or_default(),
            tied: file.tie_word_embeddings.or(text.tie_word_embeddings).unwrap_or(false),
        },
        mean: pictures.image_mean,
        std: pictures.image_std,
    })
}
