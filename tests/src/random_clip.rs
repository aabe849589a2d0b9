//! CLIP and SigLIP directories of any shape with random weights: for measurements and for shapes too large to commit.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Sizes of one tower.
#[derive(Clone, Copy, Debug)]
pub struct TowerShape {
    /// Width of the residual stream.
    pub width: usize,
    /// Width inside the feed-forward blocks.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
}

/// Sizes of a CLIP, or of a SigLIP, whose embeddings are as long as its vision tower is wide.
#[derive(Clone, Copy, Debug)]
pub struct ClipShape {
    /// Edge of a picture.
    pub image: usize,
    /// Edge of a patch.
    pub patch: usize,
    /// Vision tower.
    pub vision: TowerShape,
    /// Text tower.
    pub text: TowerShape,
    /// Token ids; at least those of the tokenizer of the fixtures.
    pub vocabulary: usize,
    /// Length of an embedding.
    pub projection: usize,
}

impl ClipShape {
    /// ViT-B/32 of the original CLIP.
    pub const VIT_B_32: Self = Self {
        image: 224,
        patch: 32,
        vision: TowerShape { width: 768, intermediate: 3072, heads: 12, layers: 12 },
        text: TowerShape { width: 512, intermediate: 2048, heads: 8, layers: 12 },
        vocabulary: 49_408,
        projection: 512,
    };

    /// SigLIP B/16 at 224 pixels.
    pub const SIGLIP_B_16: Self = Self {
        image: 224,
        patch: 16,
        vision: TowerShape { width: 768, intermediate: 3072, heads: 12, layers: 12 },
        text: TowerShape { width: 768, intermediate: 3072, heads: 12, layers: 12 },
        vocabulary: 32_000,
        projection: 768,
    };

    fn patches(&self) -> usize {
        (self.image / self.patch).pow(2)
    }

    /// The towers' parts of `config.json`.
    fn config(&self) -> (Value, Value) {
        let tower = |t: TowerShape| {
            json!({
                "hidden_size": t.width, "intermediate_size": t.intermediate,
                "num_attention_heads": t.heads, "num_hidden_layers": t.layers,
            })
        };
        let (mut text, mut vision) = (tower(self.text), tower(self.vision));
        text["vocab_size"] = json!(self.vocabulary);
        vision["image_size"] = json!(self.image);
        vision["patch_size"] = json!(self.patch);
        (text, vision)
    }
}

/// The folder of the tiny models.
pub fn models() -> PathBuf {
    crate::fixture("models")
}

/// Name, shape and the factor on uniform noise in -1..1, plus a constant.
type Tensor = (String, Vec<usize>, f32, f32);

fn linear(name: &str, inputs: usize, outputs: usize, tensors: &mut Vec<Tensor>) {
    tensors.push((format!("{name}.weight"), vec![outputs, inputs], 1.7 / (inputs as f32).sqrt(), 0.0));
    tensors.push((format!("{name}.bias"), vec![outputs], 0.1, 0.0));
}

fn tower(name: &str, shape: TowerShape, tensors: &mut Vec<Tensor>) {
    let (width, inner) = (shape.width, shape.intermediate);
    for i in 0..shape.layers {
        for part in ["q", "k", "v", "out"] {
            linear(&format!("{name}.encoder.layers.{i}.self_attn.{part}_proj"), width, width, tensors);
        }
        linear(&format!("{name}.encoder.layers.{i}.mlp.fc1"), width, inner, tensors);
        linear(&format!("{name}.encoder.layers.{i}.mlp.fc2"), inner, width, tensors);
    }
    for i in 0..shape.layers {
        for part in ["layer_norm1", "layer_norm2"] {
            norm(&format!("{name}.encoder.layers.{i}.{part}"), width, tensors);
        }
    }
}

fn norm(name: &str, width: usize, tensors: &mut Vec<Tensor>) {
    tensors.push((format!("{name}.weight"), vec![width], 0.1, 1.0));
    tensors.push((format!("{name}.bias"), vec![width], 0.1, 0.0));
}

/// Writes a model directory with bf16 weights from a fixed sequence and the tokenizer of `quick_f32`.
///
/// # Errors
/// Whatever writing gives.
pub fn write_random_clip(dir: &Path, shape: &ClipShape) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let source = models().join("quick_f32");
    std::fs::copy(source.join("tokenizer.json"), dir.join("tokenizer.json"))?;
    let (mut text, vision) = shape.config();
    text["eos_token_id"] = json!(693);
    let projection = shape.projection;
    let config = json!({
        "model_type": "clip", "projection_dim": projection, "text_config": text, "vision_config": vision
    });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    let preprocessor = json!({ "size": shape.image, "crop_size": shape.image });
    std::fs::write(dir.join("preprocessor_config.json"), preprocessor.to_string())?;

    let (vision, text) = (shape.vision.width, shape.text.width);
    let mut tensors: Vec<Tensor> = vec![
        ("logit_scale".into(), vec![], 0.0, 4.0),
        ("visual_projection.weight".into(), vec![shape.projection, vision], 0.05, 0.0),
        ("text_projection.weight".into(), vec![shape.projection, text], 0.05, 0.0),
        ("vision_model.embeddings.class_embedding".into(), vec![vision], 0.5, 0.0),
        (
            "vision_model.embeddings.patch_embedding.weight".into(),
            vec![vision, 3, shape.patch, shape.patch],
            0.03,
            0.0,
        ),
        (
            "vision_model.embeddings.position_embedding.weight".into(),
            vec![shape.patches() + 1, vision],
            0.5,
            0.0,
        ),
        ("text_model.embeddings.token_embedding.weight".into(), vec![shape.vocabulary, text], 0.5, 0.0),
        ("text_model.embeddings.position_embedding.weight".into(), vec![77, text], 0.5, 0.0),
    ];
    tower("vision_model", shape.vision, &mut tensors);
    tower("text_model", shape.text, &mut tensors);
    norm("vision_model.pre_layrnorm", vision, &mut tensors);
    norm("vision_model.post_layernorm", vision, &mut tensors);
    norm("text_model.final_layer_norm", text, &mut tensors);
    write_weights(dir, &tensors)
}

/// The same for a SigLIP, with the tokenizer of `siglip_f32`.
///
/// # Errors
/// Whatever writing gives.
pub fn write_random_siglip(dir: &Path, shape: &ClipShape) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::copy(models().join("siglip_f32/tokenizer.json"), dir.join("tokenizer.json"))?;
    let (mut text, vision) = shape.config();
    text["projection_size"] = json!(shape.projection);
    let config = json!({ "model_type": "siglip", "text_config": text, "vision_config": vision });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    let preprocessor = json!({ "size": { "height": shape.image, "width": shape.image }, "resample": 2 });
    std::fs::write(dir.join("preprocessor_config.json"), preprocessor.to_string())?;

    let (vision, text) = (shape.vision.width, shape.text.width);
    let kernel = vec![vision, 3, shape.patch, shape.patch];
    let mut tensors: Vec<Tensor> = vec![
        ("logit_scale".into(), vec![1], 0.0, 2.5),
        ("logit_bias".into(), vec![1], 0.0, -12.0),
        ("vision_model.embeddings.patch_embedding.weight".into(), kernel, 0.03, 0.0),
        ("vision_model.embeddings.patch_embedding.bias".into(), vec![vision], 0.1, 0.0),
        ("vision_model.embeddings.position_embedding.weight".into(), vec![shape.patches(), vision], 0.5, 0.0),
        ("vision_model.head.probe".into(), vec![1, 1, vision], 1.0, 0.0),
        (
            "vision_model.head.attention.in_proj_weight".into(),
            vec![3 * vision, vision],
            1.7 / (vision as f32).sqrt(),
            0.0,
        ),
        ("vision_model.head.attention.in_proj_bias".into(), vec![3 * vision], 0.1, 0.0),
        ("text_model.embeddings.token_embedding.weight".into(), vec![shape.vocabulary, text], 0.5, 0.0),
        ("text_model.embeddings.position_embedding.weight".into(), vec![64, text], 0.5, 0.0),
    ];
    tower("vision_model", shape.vision, &mut tensors);
    tower("text_model", shape.text, &mut tensors);
    norm("vision_model.post_layernorm", vision, &mut tensors);
    norm("vision_model.head.layernorm", vision, &mut tensors);
    norm("text_model.final_layer_norm", text, &mut tensors);
    linear("vision_model.head.attention.out_proj", vision, vision, &mut tensors);
    linear("vision_model.head.mlp.fc1", vision, shape.vision.intermediate, &mut tensors);
    linear("vision_model.head.mlp.fc2", shape.vision.intermediate, vision, &mut tensors);
    linear("text_model.head", text, shape.projection, &mut tensors);
    write_weights(dir, &tensors)
}

fn write_weights(dir: &Path, tensors: &[Tensor]) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape, _, _) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = BufWriter::new(std::fs::File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut state = 1_u64;
    for (_, shape, factor, constant) in tensors {
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 40) as f32 / 8_388_608.0 - 1.0;
            let bits = (constant + factor * uniform).to_bits();
            file.write_all(&((bits >> 16) as u16).to_le_bytes())?;
        }
    }
    file.flush()
}
