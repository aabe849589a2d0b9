//! Image-text models.
//!
//! [`ImageText`] is the seam: pictures and texts into one space. [`ClipModel`] is CLIP from a Hugging
//! Face directory; [`registry`] finds directories by name.

mod candle;
mod clip;
mod config;
mod exact;
mod preprocess;
pub mod registry;
mod tokenizer;
mod weights;

pub mod card;
pub mod judge;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

pub use clip::{ClipModel, LoadOptions, ModelDevice, Precision};
pub use exact::InstructionSet;
pub use preprocess::{Crop, PreprocessSpec};
pub use tokenizer::Tokens;

use crate::error::Result;
use crate::hash::Digest;

/// What a model is, for evidence: everything that could change a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Registry id or directory name.
    pub id: String,
    /// Architecture, for example `clip`.
    pub architecture: String,
    /// SHA-256 of each file that was read, by file name, sorted.
    pub digests: std::collections::BTreeMap<String, Digest>,
    /// Precision of the forward pass, for example `exact-f32`.
    pub precision: String,
    /// Device, for example `cpu`.
    pub device: String,
}

/// A model that puts pictures and texts into one space.
pub trait ImageText: Send + Sync {
    /// What it is.
    fn identity(&self) -> &ModelIdentity;

    /// How it wants its pictures.
    fn preprocess(&self) -> &PreprocessSpec;

    /// Most tokens it reads, the begin and end tokens included.
    fn context_length(&self) -> usize;

    /// The factor on cosine similarities, already exponentiated.
    fn logit_scale(&self) -> f32;

    /// Token ids of a text, begin and end tokens included, never cut.
    ///
    /// # Errors
    /// Where the tokenizer fails, which is ours.
    fn tokenize(&self, text: &str) -> Result<Vec<u32>>;

    /// Unit-length embeddings `[N, D]` of square pictures. Each row depends on its picture alone,
    /// to the last bit, whatever else is in the call.
    ///
    /// # Errors
    /// Where a picture has the wrong size or the forward pass fails.
    fn encode_image(&self, crops: &[Crop]) -> Result<Array2<f32>>;

    /// Unit-length embeddings `[N, D]` of texts. Each row depends on its text alone, to the last bit.
    ///
    /// # Errors
    /// Where a text exceeds [`context_length`](Self::context_length) (never cut silently) or the
    /// forward pass fails.
    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>>;
}
