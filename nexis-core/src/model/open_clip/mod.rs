//! MobileCLIP from a directory in OpenCLIP's format, on the processor.

pub(super) mod config;

use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;

pub(super) use self::config::CONFIG;
use self::config::OpenClipConfig;
use super::config::Architecture;
use super::embeddings::unit_rows;
use super::files::{MAX_JSON, MAX_TOKENIZER, MAX_WEIGHTS, ModelFiles};
use super::options::{Precision, instructions};
use super::tokenizer::{TOKENIZER, TextTokenizer, Tokens};
use super::weights::{Names, Weights};
use super::{Crop, ImageText, LoadOptions, ModelIdentity, PreprocessSpec, exact};
use crate::error::{Error, Result};

/// Name of the file with the weights.
const WEIGHTS: &str = "open_clip_model.safetensors";

const NAMES: Names = Names {
    weights: WEIGHTS,
    config: CONFIG,
    whole: "a whole MobileCLIP, as open_clip trains and saves it, is expected",
};

/// What a text is filled up with.
const PAD: u32 = 0;

/// Pictures of one call whose input values are in memory at once.
const CROPS_AT_ONCE: usize = 64;

enum Network {
    Exact(Box<exact::OpenClip<f32>>),
    Fast(Box<exact::OpenClip<exact::Bf16>>),
}

/// A MobileCLIP: a FastViT, a text transformer and CLIP's tokenizer.
pub struct OpenClipModel {
    identity: ModelIdentity,
    config: OpenClipConfig,
    tokenizer: TextTokenizer,
    logit_scale: f32,
    network: Network,
}

impl OpenClipModel {
    /// Loads `open_clip_config.json`, `open_clip_model.safetensors` and `tokenizer.json` from a directory. Each is read
    /// once; its digest in [`identity`](ImageText::identity) is of those bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] where the precision is one that this kind is not computed in; [`Error::Model`], naming file and
    /// field, where a file is missing, damaged, unsupported or does not fit the others; [`Error::Io`] where one cannot be
    /// read.
    pub fn load(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let mut files = ModelFiles::new(options.id.as_ref(), dir.as_ref());
        let id = files.id.clone();
        let mut read = |name: &str, limit| files.required(name, limit, remedy);
        let config = config::parse(&id, &read(CONFIG, MAX_JSON)?)?;
        let bytes = read(TOKENIZER, MAX_TOKENIZER)?;
        let tokenizer = TextTokenizer::parse(&id, &bytes, Architecture::Clip, config.text.vocabulary)?;
        let bytes = read(WEIGHTS, MAX_WEIGHTS)?;
        let weights = Weights::parse_named(&id, &bytes, NAMES)?;
        let logit_scale = weights.scalar("logit_scale")?.exp();
        if !logit_scale.is_finite() {
            return Err(Error::model(&id, format!("{WEIGHTS}: logit_scale is too large to exponentiate")));
        }
        let network = match options.precision {
            Precision::Exact => {
                let set = options.instructions.unwrap_or_else(exact::InstructionSet::detect);
                Network::Exact(Box::new(exact::OpenClip::load(&weights, &config, set)?))
            }
            Precision::Fast => {
                Network::Fast(Box::new(exact::OpenClip::load(&weights, &config, instructions()?)?))
            }
            other => {
                let why = "a MobileCLIP is computed in exact or fast; use precision exact";
                return Err(Error::usage(format!("precision {other}"), why));
            }
        };
        let (architecture, precision) = ("mobileclip".to_owned(), options.precision.name().to_owned());
        let (digests, device) = (files.digests(), "cpu".to_owned());
        let identity = ModelIdentity { id, architecture, digests, precision, device };
        Ok(Self { identity, config, tokenizer, logit_scale, network })
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

    /// What the text tower reads of a text's ids, and the place of the one that stands for the text: the first of the
    /// highest. What follows it is invisible to a causal tower; another reads the whole context.
    fn sequence(&self, text: &str) -> Result<(Vec<u32>, usize)> {
        let mut ids = self.tokenizer.encode_within(text, self.config.text.context)?;
        let highest = ids.iter().max().and_then(|most| ids.iter().position(|id| id == most));
        let place = highest.ok_or_else(|| {
            Error::model(&self.identity.id, format!("{TOKENIZER} gave a text without its end token"))
        })?;
        ids.resize(if self.config.text.causal { place + 1 } else { self.config.text.context }, PAD);
        Ok((ids, place))
    }

    fn unit_rows(&self, embeddings: Vec<Vec<f32>>) -> Result<Array2<f32>> {
        unit_rows(&self.identity.id, WEIGHTS, self.dimension(), embeddings)
    }
}

/// What to do where a file is not there.
fn remedy(name: &str, has: &dyn Fn(&str) -> bool) -> &'static str {
    match name {
        WEIGHTS if has("open_clip_pytorch_model.bin") => {
            "the weights are in PyTorch's pickle format; save them as safetensors"
        }
        TOKENIZER if has("vocab.json") => {
            "only vocab.json and merges.txt are there; save with CLIPTokenizerFast.save_pretrained"
        }
        _ => {
            "a directory in OpenCLIP's format has open_clip_config.json, open_clip_model.safetensors and tokenizer.json"
        }
    }
}

impl ImageText for OpenClipModel {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn preprocess(&self) -> &PreprocessSpec {
        &self.config.preprocess
    }

    fn context_length(&self) -> usize {
        self.config.text.context
    }

    fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokens(text)?.ids)
    }

    fn encode_image(&self, crops: &[Crop]) -> Result<Array2<f32>> {
        let spec = &self.config.preprocess;
        // All are looked at before the first is computed.
        crops.iter().try_for_each(|crop| spec.check(crop))?;
        let mut out = Vec::with_capacity(crops.len());
        for crops in crops.chunks(CROPS_AT_ONCE) {
            let values = |crop| Ok(spec.pixel_values(crop)?.into_raw_vec_and_offset().0);
            let pictures = crops.par_iter().map(values).collect::<Result<Vec<_>>>()?;
            out.extend(match &self.network {
                Network::Exact(network) => network.embed_pictures(&pictures),
                Network::Fast(network) => network.embed_pictures(&pictures),
            });
        }
        self.unit_rows(out)
    }

    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>> {
        let sequences = texts.iter().map(|text| self.sequence(text)).collect::<Result<Vec<_>>>()?;
        self.unit_rows(match &self.network {
            Network::Exact(network) => network.embed_texts(&sequences)?,
            Network::Fast(network) => network.embed_texts(&sequences)?,
        })
    }
}
