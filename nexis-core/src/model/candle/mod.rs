//! The `f32` forward pass: the same network composed of candle's operations.
//!
//! Every picture and every text goes through the network on its own, with a shape that depends on nothing but itself: a
//! picture's sequence has the model's fixed length, a text's its own number of tokens. Threads work on different rows.
//! Within a product the threads of the `gemm` crate share out tiles of the result and never the sum of one element.
//! So a row's bits do not depend on its neighbours, on the order of the call or on the number of threads. They do
//! depend on the processor: `gemm` sums in an order that differs by instruction set.

mod ops;
mod tower;

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use self::ops::AddBias;
use self::tower::{AttentionPooling, Linear, Norm, Tower};
use super::config::{Architecture, DualEncoderConfig};
use super::weights::Weights;
use crate::error::Error;

/// Rows of one call that may be in work at once: a thread that waits for a product may take up
/// another row, and its stack has to hold all that it has taken up.
const ROWS_AT_ONCE: usize = 32;

/// Both towers with what is around them.
pub(super) struct Heads {
    text: TextHead,
    vision: VisionHead,
}

impl Heads {
    pub(super) fn load(weights: &Weights<'_>, config: &DualEncoderConfig) -> crate::Result<Self> {
        Ok(Self { text: TextHead::load(weights, config)?, vision: VisionHead::load(weights, config)? })
    }

    /// Embeddings, one a sequence of token ids; not of unit length yet.
    pub(super) fn embed_texts(&self, sequences: &[Vec<u32>]) -> crate::Result<Vec<Vec<f32>>> {
        rows(sequences, |ids| self.text.embed(ids))
    }

    /// Embeddings, one a picture's unfolded patches `[grid * grid, 3 * patch * patch]`; not of unit length yet.
    pub(super) fn embed_pictures(&self, pictures: &[Vec<f32>]) -> crate::Result<Vec<Vec<f32>>> {
        rows(pictures, |patches| {
            let inputs = self.vision.patches.dim(0)?;
            self.vision.embed(&Tensor::from_slice(patches, (patches.len() / inputs, inputs), &Device::Cpu)?)
        })
    }
}

/// One embedding per item, each computed alone.
fn rows<T: Sync>(items: &[T], embed: impl Fn(&T) -> Result<Tensor> + Sync) -> crate::Result<Vec<Vec<f32>>> {
    let mut out = Vec::with_capacity(items.len());
    for items in items.chunks(ROWS_AT_ONCE) {
        let embeddings: crate::Result<Vec<Vec<f32>>> = items
            .par_iter()
            .map(|item| embed(item).and_then(|e| e.flatten_all()?.to_vec1()).map_err(internal))
            .collect();
        out.extend(embeddings?);
    }
    Ok(out)
}

fn internal(e: candle_core::Error) -> Error {
    Error::Internal(format!("forward pass: {e}"))
}

struct TextHead {
    tokens: Tensor,
    positions: Tensor,
    tower: Tower,
    norm: Norm,
    projection: Projection,
}

/// From a text's final state into the common space.
enum Projection {
    Plain(Tensor),
    Biased(Linear),
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => x.matmul(weight),
            Self::Biased(linear) => linear.forward(x, None),
        }
    }
}

impl TextHead {
    fn load(weights: &Weights<'_>, config: &DualEncoderConfig) -> crate::Result<Self> {
        let (tower, width) = (&config.text, config.text.width);
        let embeddings = "text_model.embeddings";
        let (causal, projection) = match config.architecture {
            Architecture::Clip => {
                let name = ["text_projection.weight".to_owned()];
                (true, Projection::Plain(weights.transposed(&name, width, config.projection)?))
            }
            Architecture::Siglip => {
                let name = ["text_model.head".to_owned()];
                (false, Projection::Biased(Linear::load(weights, &name, width, config.projection)?))
            }
        };
        Ok(Self {
            tokens: weights
                .tensor(&format!("{embeddings}.token_embedding.weight"), &[config.vocabulary, width])?,
            positions: weights
                .tensor(&format!("{embeddings}.position_embedding.weight"), &[config.context, width])?,
            tower: Tower::load(weights, "text_model.encoder.layers", tower, causal)?,
            norm: Norm::load(weights, "text_model.final_layer_norm", tower)?,
            projection,
        })
    }

    /// The embedding `[1, D]` of tokens, of the last of them.
    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
        let rows = ids.dim(0)?;
        let x = (self.tokens.index_select(&ids, 0)? + self.positions.narrow(0, 0, rows)?)?;
        let x = self.tower.forward(&x, Some(rows.saturating_sub(1)))?;
        self.projection.forward(&self.norm.forward(&x)?)
    }
}

struct VisionHead {
    patches: Tensor,
    positions: Tensor,
    tower: Tower,
    after: Norm,
    ends: Ends,
}

/// What stands around a vision tower.
enum Ends {
    Clip { class: Tensor, before: Norm, projection: Tensor },
    Siglip { bias: Tensor, pooling: Box<AttentionPooling> },
}

impl VisionHead {
    fn load(weights: &Weights<'_>, config: &DualEncoderConfig) -> crate::Result<Self> {
        let (tower, width) = (&config.vision, config.vision.width);
        let inputs = 3 * config.patch * config.patch;
        let embeddings = "vision_model.embeddings";
        let kernel = [format!("{embeddings}.patch_embedding.weight")];
        let patches = config.grid() * config.grid();
        let (rows, ends) = match config.architecture {
            Architecture::Clip => {
                let class = weights.tensor(&format!("{embeddings}.class_embedding"), &[width])?;
                let projection = ["visual_projection.weight".to_owned()];
                let ends = Ends::Clip {
                    class: class.unsqueeze(0).map_err(internal)?,
                    // The name is spelt like this in every checkpoint.
                    before: Norm::load(weights, "vision_model.pre_layrnorm", tower)?,
                    projection: weights.transposed(&projection, width, config.projection)?,
                };
                (patches + 1, ends)
            }
            Architecture::Siglip => {
                let bias = weights.tensor(&format!("{embeddings}.patch_embedding.bias"), &[width])?;
                let pooling = Box::new(AttentionPooling::load(weights, "vision_model.head", tower)?);
                (patches, Ends::Siglip { bias, pooling })
            }
        };
        Ok(Self {
            patches: weights.transposed(&kernel, inputs, width)?,
            positions: weights.tensor(&format!("{embeddings}.position_embedding.weight"), &[rows, width])?,
            tower: Tower::load(weights, "vision_model.encoder.layers", tower, false)?,
            after: Norm::load(weights, "vision_model.post_layernorm", tower)?,
            ends,
        })
    }

    /// The embedding `[1, D]` of unfolded patches `[grid * grid, 3 * patch * patch]`.
    fn embed(&self, patches: &Tensor) -> Result<Tensor> {
        let x = patches.matmul(&self.patches)?;
        match &self.ends {
            Ends::Clip { class, before, projection } => {
                let x = before.forward(&(Tensor::cat(&[class, &x], 0)? + &self.positions)?)?;
                self.after.forward(&self.tower.forward(&x, Some(0))?)?.matmul(projection)
            }
            Ends::Siglip { bias, pooling } => {
                x.inplace_op2(bias, &AddBias(None))?;
                pooling.forward(&self.after.forward(&self.tower.forward(&(x + &self.positions)?, None)?)?)
            }
        }
    }
}
