//! The seam for a forward pass that runs elsewhere than in this crate, such as on a GPU: what it is built from, and what
//! it has to give. Tokens, limits, checks and the unit length stay with [`DualEncoder`](super::DualEncoder).

pub use super::config::Architecture;
use super::config::{DualEncoderConfig, TowerConfig};
use super::exact;
use super::weights::Weights;
use super::{Crop, PreprocessSpec};
use crate::error::Result;
use crate::media::resize::Resample;
use crate::media::{Frame, MediaFailure};

/// Both towers of a model, on some device.
pub trait Towers: Send + Sync {
    /// The device, for evidence, for example `cuda:0 NVIDIA H100 80GB HBM3`.
    fn device(&self) -> String;

    /// The precision, for evidence, for example `bf16`.
    fn precision(&self) -> &'static str;

    /// Embeddings of square pictures of the model's size, not of unit length yet. Each depends on its picture alone, to
    /// the last bit.
    ///
    /// # Errors
    /// Where the forward pass fails, which is ours.
    fn embed_pictures(&self, crops: &[Crop]) -> Result<Vec<Vec<f32>>>;

    /// Embeddings of every tile of every frame, frame by frame: those of [`tiles`](crate::media::tiles::tiles), to the
    /// last byte, given to [`embed_pictures`](Self::embed_pictures).
    ///
    /// # Errors
    /// As [`embed_pictures`](Self::embed_pictures), and [`MediaFailure::Clip`] where a frame is too long for tiles.
    fn embed_tiles(&self, frames: &[Frame]) -> Result<Vec<Vec<f32>>, MediaFailure>;

    /// Embeddings of token ids, each up to the token whose state stands for the text; not of unit length yet. Those of a
    /// SigLIP are filled up to the context.
    ///
    /// # Errors
    /// As [`embed_pictures`](Self::embed_pictures).
    fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>>;
}

/// The activation between the two halves of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// The same with a hyperbolic tangent in the place of the error function.
    GeluTanh,
}

/// Sizes of one tower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TowerSizes {
    /// Values of the residual stream.
    pub width: usize,
    /// Values inside a feed-forward block.
    pub intermediate: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Activation of the feed-forward blocks.
    pub activation: Activation,
    /// What is added to a variance.
    pub eps: f32,
}

impl From<&TowerConfig> for TowerSizes {
    fn from(config: &TowerConfig) -> Self {
        Self {
            width: config.width,
            intermediate: config.intermediate,
            layers: config.layers,
            heads: config.heads,
            activation: match config.activation {
                exact::Activation::QuickGelu => Activation::QuickGelu,
                exact::Activation::Gelu => Activation::Gelu,
                exact::Activation::GeluTanh => Activation::GeluTanh,
            },
            eps: config.eps,
        }
    }
}

/// Sizes of a CLIP or a SigLIP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipSizes {
    /// What stands around the towers.
    pub architecture: Architecture,
    /// The vision tower.
    pub vision: TowerSizes,
    /// The text tower.
    pub text: TowerSizes,
    /// Values of an embedding.
    pub projection: usize,
    /// Token ids.
    pub vocabulary: usize,
    /// Most tokens of a text.
    pub context: usize,
    /// Edge of a picture.
    pub image: usize,
    /// Edge of a patch.
    pub patch: usize,
}

/// What a model is built from: its sizes and its weights, checked against each other as they are asked for.
pub struct Blueprint<'a> {
    pub(super) weights: &'a Weights<'a>,
    pub(super) config: &'a DualEncoderConfig,
    pub(super) preprocess: &'a PreprocessSpec,
}

impl Blueprint<'_> {
    /// Sizes.
    pub fn sizes(&self) -> ClipSizes {
        ClipSizes {
            architecture: self.config.architecture,
            vision: (&self.config.vision).into(),
            text: (&self.config.text).into(),
            projection: self.config.projection,
            vocabulary: self.config.vocabulary,
            context: self.config.context,
            image: self.config.image,
            patch: self.config.patch,
        }
    }

    /// How pictures are resized.
    pub const fn resample(&self) -> Resample {
        self.preprocess.resample
    }

    /// The input value of each byte, for each channel.
    pub fn levels(&self) -> [[f32; 256]; 3] {
        self.preprocess.levels()
    }

    /// The values of one tensor, which has to have this shape and to be finite.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model), naming the tensor.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.values(name, shape)
    }

    /// `[outputs, inputs]`, where a convolution's kernel counts as one row of inputs per output.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn matrix(&self, name: &str, inputs: usize, outputs: usize) -> Result<Vec<f32>> {
        self.weights.matrix(name, inputs, outputs)
    }
}

impl ClipSizes {
    /// Patches along an edge of a picture.
    pub const fn grid(&self) -> usize {
        match self.image.checked_div(self.patch) {
            Some(grid) => grid,
            None => 0,
        }
    }

    /// Rows of a picture in the vision tower: one of each patch, and that of the class where there is one.
    pub const fn rows(&self) -> usize {
        self.grid() * self.grid() + matches!(self.architecture, Architecture::Clip) as usize
    }
}
