//! Image-text models.
//!
//! [`ImageText`] is the seam: pictures and texts into one space. [`DualEncoder`] is a CLIP or a SigLIP from a Hugging
//! Face directory, [`OpenClipModel`] a MobileCLIP in OpenCLIP's format; [`load`] takes either, and [`registry`] finds
//! directories by name.

mod candle;
mod config;
mod dual_encoder;
mod embeddings;
mod exact;
mod files;
mod open_clip;
mod options;
mod preprocess;
pub mod registry;
mod tokenizer;
pub mod towers;
mod weights;

pub mod card;
pub mod judge;

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use dual_encoder::DualEncoder;
pub use exact::InstructionSet;
pub use open_clip::OpenClipModel;
pub use options::{LoadOptions, ModelDevice, Precision};
pub use preprocess::{Crop, Fit, PreprocessSpec};
pub use tokenizer::Tokens;

use self::registry::ModelKind;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::tiles::tiles;
use crate::media::{Frame, MediaFailure};

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

    /// What is added to a scaled similarity before a sigmoid makes it a probability, by SigLIP; 0 where nothing is.
    ///
    /// It is the same for every pair, so that it cancels out of differences and softmaxes, and what compares texts or
    /// pictures with one another leaves it out.
    fn logit_bias(&self) -> f32 {
        0.0
    }

    /// Token ids of a text, begin and end tokens included, never cut, and not filled up. Those of an empty text are
    /// the tokens that stand around every text: two of CLIP's, one of SigLIP's.
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

    /// Unit-length embeddings `[N, D]` of every tile of every frame, frame by frame: what
    /// [`encode_image`](Self::encode_image) gives for what [`tiles`] gives, at most `batch` pictures in one call. A
    /// device that cuts tiles itself does so here.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a frame is too long for tiles, [`MediaFailure::Ours`] as
    /// [`encode_image`](Self::encode_image).
    fn encode_tiles(&self, frames: &[Frame], batch: usize) -> std::result::Result<Array2<f32>, MediaFailure> {
        encode_tiles_here(self, frames, batch)
    }

    /// Unit-length embeddings `[N, D]` of texts. Each row depends on its text alone, to the last bit.
    ///
    /// # Errors
    /// Where a text exceeds [`context_length`](Self::context_length) (never cut silently) or the
    /// forward pass fails.
    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>>;
}

/// Loads an encoder of some kind onto the processor.
///
/// # Errors
/// [`Error::Usage`] where the kind is a judge's; else those of [`DualEncoder::load`] and [`OpenClipModel::load`].
pub fn load(kind: ModelKind, dir: &Path, options: &LoadOptions) -> Result<Arc<dyn ImageText>> {
    match kind {
        ModelKind::Clip | ModelKind::Siglip => Ok(Arc::new(DualEncoder::load(dir, options)?)),
        ModelKind::Mobileclip => Ok(Arc::new(OpenClipModel::load(dir, options)?)),
        ModelKind::Qwen3Vl | ModelKind::Moondream => {
            let name = options.id.clone().unwrap_or_else(|| dir.display().to_string());
            let why = format!(
                "it is a judge ({}) and embeds nothing; `nexis models list` shows the encoders",
                kind.name()
            );
            Err(Error::usage(format!("model {name}"), why))
        }
    }
}

/// [`ImageText::encode_tiles`] by cutting the tiles on the processor.
fn encode_tiles_here<M: ImageText + ?Sized>(
    model: &M,
    frames: &[Frame],
    batch: usize,
) -> std::result::Result<Array2<f32>, MediaFailure> {
    let spec = model.preprocess();
    let cut = |frame| tiles(frame, spec.size, spec.resample);
    let tiled = frames.par_iter().map(cut).collect::<std::result::Result<Vec<_>, _>>()?;
    let crops: Vec<_> = tiled.into_iter().flatten().collect();
    let rows = crops.chunks(batch.max(1)).map(|part| model.encode_image(part)).collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    Ok(ndarray::concatenate(ndarray::Axis(0), &views)
        .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")))?)
}
