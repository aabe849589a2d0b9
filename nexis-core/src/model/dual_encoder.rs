//! CLIP and SigLIP from a Hugging Face directory: on the processor, or with a forward pass of the caller's.

use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;

use super::config::{self, Architecture, DualEncoderConfig, Pooling};
use super::embeddings::unit_rows;
use super::exact::InstructionSet;
use super::files::{MAX_JSON, MAX_TOKENIZER, MAX_WEIGHTS, ModelFiles};
use super::options::{LoadOptions, ModelDevice, Precision, instructions};
use super::tokenizer::{TOKENIZER, TextTokenizer, Tokens};
use super::towers::{Blueprint, Towers};
use super::weights::{WEIGHTS, Weights};
use super::{Crop, ImageText, ModelIdentity, PreprocessSpec, candle, exact};
use crate::error::{Error, Result};
use crate::media::{Frame, MediaFailure};

/// Pictures of one call whose input values are in memory at once.
const CROPS_AT_ONCE: usize = 64;

/// The network, in one of its implementations.
enum Network {
    Exact(Box<exact::Heads<f32>>),
    Fast(Box<exact::Heads<exact::Bf16>>),
    Candle(Box<candle::Heads>),
    Elsewhere(Box<dyn Towers>),
}

/// A CLIP or a SigLIP: a vision tower, a text tower and their tokenizer.
pub struct DualEncoder {
    identity: ModelIdentity,
    spec: PreprocessSpec,
    config: DualEncoderConfig,
    tokenizer: TextTokenizer,
    logit_scale: f32,
    logit_bias: f32,
    network: Network,
}

/// What to do where a file is not there.
fn remedy(name: &str, has: &dyn Fn(&str) -> bool) -> &'static str {
    match name {
        WEIGHTS if has("model.safetensors.index.json") => {
            "the weights are in several files; save them as one \
             (save_pretrained with a large max_shard_size)"
        }
        WEIGHTS if has("pytorch_model.bin") => {
            "the weights are in PyTorch's pickle format; save them as safetensors (save_pretrained)"
        }
        TOKENIZER if has("vocab.json") => {
            "only vocab.json and merges.txt are there; save with CLIPTokenizerFast.save_pretrained"
        }
        TOKENIZER if has("spiece.model") => {
            "only spiece.model is there; take tokenizer.json from the model's repository on the hub"
        }
        config::PREPROCESSOR if has("processor_config.json") => {
            "only processor_config.json is there; save with CLIPImageProcessor.save_pretrained \
             (SiglipImageProcessor for a SigLIP)"
        }
        _ => {
            "a Hugging Face directory of a CLIP or a SigLIP has config.json, model.safetensors, tokenizer.json and \
             preprocessor_config.json"
        }
    }
}

impl DualEncoder {
    /// Loads `config.json`, `model.safetensors`, `tokenizer.json` and `preprocessor_config.json` from a
    /// directory. Each is read once; its digest in [`identity`](ImageText::identity) is of those bytes.
    ///
    /// # Errors
    /// [`Error::Model`], naming file and field, where a file is missing, damaged, unsupported or does
    /// not fit the others; [`Error::Io`] where one cannot be read.
    pub fn load(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::assemble(dir.as_ref(), options.id.as_ref(), |plan| {
            let (weights, config) = (plan.weights, plan.config);
            let network = match (options.device, options.precision) {
                (ModelDevice::Cpu, Precision::Exact) => {
                    let set = options.instructions.unwrap_or_else(InstructionSet::detect);
                    Network::Exact(Box::new(exact::Heads::load(weights, config, set)?))
                }
                (ModelDevice::Cpu, Precision::Fast) => {
                    Network::Fast(Box::new(exact::Heads::load(weights, config, instructions()?)?))
                }
                (ModelDevice::Cpu, Precision::F32) => {
                    Network::Candle(Box::new(candle::Heads::load(weights, config)?))
                }
                (ModelDevice::Cpu, precision @ (Precision::Bf16 | Precision::F16)) => {
                    let why = "it runs on a GPU; choose a device cuda:N, or precision exact";
                    return Err(Error::usage(format!("precision {precision} on cpu"), why));
                }
            };
            Ok((network, options.precision.name().to_owned(), "cpu".to_owned()))
        })
    }

    /// The same with a forward pass of the caller's, which is built from what was read.
    ///
    /// # Errors
    /// As [`load`](Self::load), and where `build` fails.
    pub fn load_on(
        dir: impl AsRef<Path>,
        id: Option<String>,
        build: impl FnOnce(&Blueprint<'_>) -> Result<Box<dyn Towers>>,
    ) -> Result<Self> {
        Self::assemble(dir.as_ref(), id.as_ref(), |plan| {
            let towers = build(plan)?;
            let (precision, device) = (towers.precision().to_owned(), towers.device());
            Ok((Network::Elsewhere(towers), precision, device))
        })
    }

    /// Reads and checks everything; `build` gives the network, its precision and its device.
    fn assemble(
        dir: &Path,
        id: Option<&String>,
        build: impl FnOnce(&Blueprint<'_>) -> Result<(Network, String, String)>,
    ) -> Result<Self> {
        let mut files = ModelFiles::new(id, dir);
        let id = files.id.clone();
        let mut read = |name: &str, limit| files.required(name, limit, remedy);

        let config = config::parse_config(&id, &read(config::CONFIG, MAX_JSON)?)?;
        let spec = config::parse_preprocessor(&id, &read(config::PREPROCESSOR, MAX_JSON)?, &config)?;
        let bytes = read(TOKENIZER, MAX_TOKENIZER)?;
        let tokenizer = TextTokenizer::parse(&id, &bytes, config.architecture, config.vocabulary)?;
        if let Pooling::FirstOf(end) = config.pooling
            && tokenizer.end() != Some(end)
        {
            let why = format!(
                "config.json says text_config.eos_token_id {end}, but {TOKENIZER} ends texts with {:?}",
                tokenizer.end().unwrap_or_default()
            );
            return Err(Error::model(&id, why));
        }
        let bytes = read(WEIGHTS, MAX_WEIGHTS)?;
        let weights = Weights::parse(&id, &bytes)?;
        let logit_scale = weights.scalar("logit_scale")?.exp();
        if !logit_scale.is_finite() {
            return Err(Error::model(&id, format!("{WEIGHTS}: logit_scale is too large to exponentiate")));
        }
        let logit_bias = match config.architecture {
            Architecture::Clip => 0.0,
            Architecture::Siglip => weights.scalar("logit_bias")?,
        };
        let plan = Blueprint { weights: &weights, config: &config, preprocess: &spec };
        let (network, precision, device) = build(&plan)?;
        let architecture = config.architecture.name().to_owned();
        let identity = ModelIdentity { id, architecture, digests: files.digests(), precision, device };
        Ok(Self { identity, spec, config, tokenizer, logit_scale, logit_bias, network })
    }

    /// Length of an embedding.
    pub fn dimension(&self) -> usize {
        self.config.projection
    }

    /// The tokens of a text, with the number of those that the vocabulary does not know.
    ///
    /// # Errors
    /// As [`ImageText::tokenize`].
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text)
    }

    fn unit_rows(&self, embeddings: Vec<Vec<f32>>) -> Result<Array2<f32>> {
        unit_rows(&self.identity.id, WEIGHTS, self.dimension(), embeddings)
    }

    /// What the text tower reads of a text's ids: up to the token whose state stands for the text, since what follows
    /// it is invisible to it; or all of them, filled up to the context.
    fn sequence(&self, mut ids: Vec<u32>) -> Result<Vec<u32>> {
        let end = match self.config.pooling {
            Pooling::FirstOf(end) => ids.iter().position(|id| *id == end),
            Pooling::HighestId => ids.iter().max().and_then(|most| ids.iter().position(|id| id == most)),
            Pooling::LastPlace => self.tokenizer.pad().and_then(|pad| {
                ids.resize(self.config.context.max(ids.len()), pad);
                ids.len().checked_sub(1)
            }),
        };
        let without = || format!("{TOKENIZER} gave a text without its end token");
        ids.truncate(end.ok_or_else(|| Error::model(&self.identity.id, without()))? + 1);
        Ok(ids)
    }
}

/// A picture's input values as one row per patch, in the order of a convolution's kernel: channel, line, column.
fn unfold(crop: &Crop, levels: &[[f32; 256]; 3], patch: usize, grid: usize) -> Vec<f32> {
    let line_bytes = crop.size as usize * 3;
    let mut rows = Vec::with_capacity(grid * grid * 3 * patch * patch);
    for (y, x) in (0..grid).flat_map(|y| (0..grid).map(move |x| (y * patch, x * patch))) {
        for (channel, levels) in levels.iter().enumerate() {
            for line in crop.rgb.chunks_exact(line_bytes.max(1)).skip(y).take(patch) {
                let bytes = line.iter().skip(x * 3 + channel).step_by(3).take(patch);
                rows.extend(bytes.map(|byte| levels.get(usize::from(*byte)).copied().unwrap_or_default()));
            }
        }
    }
    rows
}

impl ImageText for DualEncoder {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn preprocess(&self) -> &PreprocessSpec {
        &self.spec
    }

    fn context_length(&self) -> usize {
        self.config.context
    }

    fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    fn logit_bias(&self) -> f32 {
        self.logit_bias
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokens(text)?.ids)
    }

    fn encode_image(&self, crops: &[Crop]) -> Result<Array2<f32>> {
        // All are looked at before the first is computed.
        crops.iter().try_for_each(|crop| self.spec.check(crop))?;
        let levels = self.spec.levels();
        let mut out = Vec::with_capacity(crops.len());
        // A device cuts its own batches, and nothing is unfolded for it here.
        let elsewhere = matches!(self.network, Network::Elsewhere(_));
        let at_once = if elsewhere { crops.len().max(1) } else { CROPS_AT_ONCE };
        for crops in crops.chunks(at_once) {
            let unfold = |crop| unfold(crop, &levels, self.config.patch, self.config.grid());
            let pictures = || crops.par_iter().map(unfold).collect::<Vec<_>>();
            out.extend(match &self.network {
                Network::Exact(heads) => heads.embed_pictures(&pictures()),
                Network::Fast(heads) => heads.embed_pictures(&pictures()),
                Network::Candle(heads) => heads.embed_pictures(&pictures())?,
                Network::Elsewhere(towers) => towers.embed_pictures(crops)?,
            });
        }
        self.unit_rows(out)
    }

    fn encode_tiles(&self, frames: &[Frame], batch: usize) -> std::result::Result<Array2<f32>, MediaFailure> {
        match &self.network {
            Network::Elsewhere(towers) => Ok(self.unit_rows(towers.embed_tiles(frames)?)?),
            _ => super::encode_tiles_here(self, frames, batch),
        }
    }

    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>> {
        let sequences = texts
            .iter()
            .map(|text| self.sequence(self.tokenizer.encode_within(text, self.config.context)?))
            .collect::<Result<Vec<_>>>()?;
        self.unit_rows(match &self.network {
            Network::Exact(heads) => heads.embed_texts(&sequences)?,
            Network::Fast(heads) => heads.embed_texts(&sequences)?,
            Network::Candle(heads) => heads.embed_texts(&sequences)?,
            Network::Elsewhere(towers) => towers.embed_texts(&sequences)?,
        })
    }
}
