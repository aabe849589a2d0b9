//! The tower that reads, a Phi-1.5: a prompt's tokens around those of a picture in, logits behind the last one out.

use candle_core::{D, Device, IndexOp as _, Result, Tensor};

use super::config::TextConfig;
use crate::model::judge::checkpoint::Tensors;
use crate::model::judge::layers::{Affine, Matrix, Norm, attend, causal, heads};

/// The matrix of the tokens, and begin of the names of the layers' tensors.
pub(super) const TOKENS: &str = "text_model.transformer.embd.wte.weight";
pub(super) const LAYERS: &str = "text_model.transformer.h.";
const HEAD: &str = "text_model.lm_head";

const EPS: f32 = 1e-5;
const THETA: f32 = 10_000.0;

pub(super) struct Text {
    config: TextConfig,
    tokens: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    head: Affine,
}

struct Layer {
    norm: Norm,
    qkv: Affine,
    out: Affine,
    up: Affine,
    down: Affine,
}

impl Text {
    pub(super) fn load(weights: &mut impl Tensors, config: &TextConfig) -> crate::Result<Self> {
        let (width, inner) = (config.width, config.inner);
        let layers = (0..config.depth)
            .map(|i| {
                let name = |part: &str| format!("{LAYERS}{i}.{part}");
                Ok(Layer {
                    norm: Norm::load(weights, &name("ln"), width, EPS)?,
                    qkv: Affine::load(weights, &name("mixer.Wqkv"), width, 3 * width)?,
                    out: Affine::load(weights, &name("mixer.out_proj"), width, width)?,
                    up: Affine::load(weights, &name("mlp.fc1"), width, inner)?,
                    down: Affine::load(weights, &name("mlp.fc2"), inner, width)?,
                })
            })
            .collect::<crate::Result<_>>()?;
        Ok(Self {
            tokens: weights.take_matrix(TOKENS, [config.vocabulary, width])?,
            layers,
            norm: Norm::load(weights, &format!("{HEAD}.ln"), width, EPS)?,
            head: Affine::load(weights, &format!("{HEAD}.linear"), width, config.vocabulary)?,
            config: config.clone(),
        })
    }

    /// Logits of the token that would follow, over the whole vocabulary: behind the first token comes the picture, then
    /// the rest.
    pub(super) fn next(&self, ids: &[u32], picture: &Tensor) -> Result<Vec<f32>> {
        let words = self.tokens.rows(&Tensor::from_slice(ids, ids.len(), &Device::Cpu)?)?;
        let rest = ids.len().saturating_sub(1);
        let mut x = Tensor::cat(&[&words.narrow(0, 0, 1)?, picture, &words.narrow(0, 1, rest)?], 0)?;
        let length = x.dim(0)?;
        let (cos, sin) = self.rotation(length)?;
        let mask = causal(length, &Device::Cpu)?;
        for layer in &self.layers {
            x = self.layer(layer, &x, &cos, &sin, &mask)?;
        }
        let last = x.narrow(0, length.saturating_sub(1), 1)?.contiguous()?;
        self.head.forward(&self.norm.forward(&last)?)?.i(0)?.to_vec1()
    }

    /// Attention and the inner layers side by side, from one normalisation.
    fn layer(&self, layer: &Layer, x: &Tensor, cos: &Tensor, sin: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let width = self.config.width;
        let normed = layer.norm.forward(x)?;
        let qkv = layer.qkv.forward(&normed)?;
        let part = |i: usize| heads(&qkv.narrow(1, i * width, width)?, self.config.heads);
        let query = turned(&part(0)?, cos, sin)?;
        let key = turned(&part(1)?, cos, sin)?;
        let attended = layer.out.forward(&attend(&query, &key, &part(2)?, Some(mask))?)?;
        // The approximation by tanh, as the makers' configuration has it; candle's own model has the exact function.
        let inner = layer.down.forward(&layer.up.forward(&normed)?.gelu()?)?;
        (attended + inner)? + x
    }

    /// Cosines and sines of each place, for the half of a head that is turned.
    fn rotation(&self, length: usize) -> Result<(Tensor, Tensor)> {
        let turned = self.config.width / self.config.heads.max(1) / 2;
        let frequencies: Vec<f32> =
            (0..turned).step_by(2).map(|i| 1.0 / THETA.powf(i as f32 / turned as f32)).collect();
        let angles =
            (0..length).flat_map(|place| frequencies.iter().map(move |f| place as f32 * f)).collect();
        let angles = Tensor::from_vec(angles, (length, frequencies.len()), &Device::Cpu)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}

/// `[heads, rows, size]` with the first half of each head turned, and the rest as it is.
fn turned(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let size = x.dim(D::Minus1)?;
    let half = size / 2;
    let first = x.narrow(2, 0, half)?.contiguous()?.unsqueeze(0)?;
    let first = candle_nn::rotary_emb::rope(&first, cos, sin)?.squeeze(0)?;
    Tensor::cat(&[&first, &x.narrow(2, half, size - half)?], 2)
}
