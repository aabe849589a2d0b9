//! The tower that sees: the patches of one picture in, tokens for the text tower out.

use candle_core::{Device, Result, Tensor};

use super::config::VisionConfig;
use crate::model::judge::checkpoint::Tensors;
use crate::model::judge::layers::{Affine, Norm, VisionBlock, VisionBlockShape};

/// Begin of the names of the tower's tensors, and of the two layers behind it.
pub(super) const ENCODER: &str = "vision_encoder.encoder.model.visual";
pub(super) const PROJECTION: &str = "vision_encoder.projection.mlp";

/// As in the makers' own tower, and not the 1e-6 of the SigLIP that it began as.
const EPS: f32 = 1e-5;

pub(super) struct Vision {
    config: VisionConfig,
    patches: Affine,
    positions: Tensor,
    blocks: Vec<VisionBlock>,
    norm: Norm,
    up: Affine,
    down: Affine,
}

impl Vision {
    pub(super) fn load(weights: &mut impl Tensors, config: &VisionConfig, out: usize) -> crate::Result<Self> {
        let width = config.width;
        let inputs = 3 * config.patch * config.patch;
        let positions = weights.take(&format!("{ENCODER}.pos_embed"), &[1, config.tokens(), width])?;
        let block = VisionBlockShape { width, inner: config.inner, heads: config.heads, eps: EPS };
        let blocks = (0..config.depth)
            .map(|i| {
                let name = format!("{ENCODER}.blocks.{i}");
                VisionBlock::load(weights, &name, ["mlp.fc1", "mlp.fc2"], block)
            })
            .collect::<crate::Result<_>>()?;
        Ok(Self {
            patches: Affine::load(weights, &format!("{ENCODER}.patch_embed.linear"), inputs, width)?,
            positions,
            blocks,
            norm: Norm::load(weights, &format!("{ENCODER}.norm"), width, EPS)?,
            up: Affine::load(weights, &format!("{PROJECTION}.fc1"), width, config.projection)?,
            down: Affine::load(weights, &format!("{PROJECTION}.fc2"), config.projection, out)?,
            config: config.clone(),
        })
    }

    /// Tokens of a picture's patches.
    pub(super) fn see(&self, patches: &[f32]) -> Result<Tensor> {
        let inputs = 3 * self.config.patch * self.config.patch;
        let patches = Tensor::from_slice(patches, (self.config.tokens(), inputs), &Device::Cpu)?;
        let mut x = (self.patches.forward(&patches)? + self.positions.squeeze(0)?)?;
        for block in &self.blocks {
            x = block.forward(&x, Ok)?;
        }
        self.down.forward(&self.up.forward(&self.norm.forward(&x)?)?.gelu()?)
    }
}
