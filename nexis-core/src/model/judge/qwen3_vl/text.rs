//! The tower that reads: a prompt and what the vision tower saw in, logits behind its last token out.

use candle_core::{Device, IndexOp as _, Result, Tensor};
use candle_nn::ops;

use super::config::TextConfig;
use super::prompt::Prompt;
use super::vision::Seen;
use crate::model::judge::checkpoint::Tensors;
use crate::model::judge::layers::{attend, causal, heads};

const PREFIX: &str = "model.language_model";

pub(super) struct Text {
    config: TextConfig,
    device: Device,
    tokens: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// The last matrix, where it is not that of the tokens.
    head: Option<Tensor>,
}

struct Layer {
    before: Tensor,
    after: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Text {
    pub(super) fn load(
        weights: &mut impl Tensors,
        config: &TextConfig,
        device: &Device,
    ) -> crate::Result<Self> {
        let (width, inner, head) = (config.width, config.inner, config.head);
        let (queries, keys) = (config.heads * head, config.kv_heads * head);
        let mut layer = |i: usize| {
            let mut take = |name: &str, shape: &[usize]| {
                weights.take(&format!("{PREFIX}.layers.{i}.{name}.weight"), shape)
            };
            Ok::<_, crate::Error>(Layer {
                before: take("input_layernorm", &[width])?,
                after: take("post_attention_layernorm", &[width])?,
                q: take("self_attn.q_proj", &[queries, width])?,
                k: take("self_attn.k_proj", &[keys, width])?,
                v: take("self_attn.v_proj", &[keys, width])?,
                out: take("self_attn.o_proj", &[width, queries])?,
                q_norm: take("self_attn.q_norm", &[head])?,
                k_norm: take("self_attn.k_norm", &[head])?,
                gate: take("mlp.gate_proj", &[inner, width])?,
                up: take("mlp.up_proj", &[inner, width])?,
                down: take("mlp.down_proj", &[width, inner])?,
            })
        };
        let layers = (0..config.depth).map(&mut layer).collect::<crate::Result<_>>()?;
        let matrix = [config.vocabulary, width];
        Ok(Self {
            tokens: weights.take(&format!("{PREFIX}.embed_tokens.weight"), &matrix)?,
            layers,
            norm: weights.take(&format!("{PREFIX}.norm.weight"), &[width])?,
            head: if config.tied { None } else { Some(weights.take("lm_head.weight", &matrix)?) },
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Logits of the token that would follow, over the whole vocabulary.
    pub(super) fn next(&self, prompt: &Prompt, seen: &[Seen]) -> Result<Vec<f32>> {
        let length = prompt.ids.len();
        let ids = Tensor::from_slice(&prompt.ids, length, &self.device)?;
        let words = self.tokens.index_select(&ids, 0)?;
        let mut x = self.put_in(&words, prompt, seen.iter().map(|seen| &seen.tokens))?;
        let (cos, sin) = self.rotation(prompt)?;
        let mask = causal(length, &self.device)?;
        let stacked = seen.first().map_or(0, |seen| seen.deepstack.len());
        for (i, layer) in self.layers.iter().enumerate() {
            x = self.layer(layer, &x, &cos, &sin, &mask)?;
            if i < stacked {
                let features = seen.iter().filter_map(|seen| seen.deepstack.get(i));
                x = (&x + self.put_in(&x.zeros_like()?, prompt, features)?)?;
            }
        }
        let last = x.narrow(0, length.saturating_sub(1), 1)?;
        let last = ops::rms_norm(&last.contiguous()?, &self.norm, self.config.eps)?;
        last.matmul(&self.head.as_ref().unwrap_or(&self.tokens).t()?)?.i(0)?.to_vec1()
    }

    /// Rows with those of each pair of frames in their places.
    fn put_in<'a>(
        &self,
        rows: &Tensor,
        prompt: &Prompt,
        pairs: impl Iterator<Item = &'a Tensor>,
    ) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(prompt.pairs.len() * 2 + 1);
        let mut at = 0;
        for (start, pair) in prompt.pairs.iter().zip(pairs) {
            parts.push(rows.narrow(0, at, start - at)?);
            parts.push(pair.clone());
            at = start + prompt.pair_tokens;
        }
        parts.push(rows.narrow(0, at, prompt.ids.len() - at)?);
        Tensor::cat(&parts, 0)
    }

    fn layer(&self, layer: &Layer, x: &Tensor, cos: &Tensor, sin: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (config, eps) = (&self.config, self.config.eps);
        let normed = ops::rms_norm(x, &layer.before, eps)?;
        let turned = |matrix: &Tensor, norm: &Tensor, count: usize| {
            let x = ops::rms_norm(&heads(&normed.matmul(&matrix.t()?)?, count)?, norm, eps)?;
            candle_nn::rotary_emb::rope(&x.unsqueeze(0)?, cos, sin)?.squeeze(0)
        };
        let query = turned(&layer.q, &layer.q_norm, config.heads)?;
        let key = turned(&layer.k, &layer.k_norm, config.kv_heads)?;
        let value = heads(&normed.matmul(&layer.v.t()?)?, config.kv_heads)?;
        let attended = attend(&query, &key, &value, Some(mask))?;
        let x = (x + attended.matmul(&layer.out.t()?)?)?;
        let normed = ops::rms_norm(&x, &layer.after, eps)?;
        let gate = ops::silu(&normed.matmul(&layer.gate.t()?)?)?;
        let inner = (gate * normed.matmul(&layer.up.t()?)?)?;
        &x + inner.matmul(&layer.down.t()?)?
    }

    /// Cosines and sines of each token: of every three frequencies one turns with time, one with the line and one with
    /// the column, as far as the sections go; the rest turn with time.
    fn rotation(&self, prompt: &Prompt) -> Result<(Tensor, Tensor)> {
        let half = self.config.head / 2;
        let [_, lines, columns] = self.config.sections;
        let axis = |i: usize| match i % 3 {
            1 if i < lines * 3 => 1,
            2 if i < columns * 3 => 2,
            _ => 0_usize,
        };
        let frequencies: Vec<(usize, f32)> = (0..half)
            .map(|i| {
                let exponent = (2 * i) as f32 / self.config.head as f32;
                (axis(i), 1.0 / (self.config.theta as f32).powf(exponent))
            })
            .collect();
        let mut angles = Vec::with_capacity(prompt.positions.len() * half);
        for position in &prompt.positions {
            angles.extend(frequencies.iter().map(|(axis, frequency)| {
                position.get(*axis).copied().unwrap_or_default() as f32 * frequency
            }));
        }
        let angles = Tensor::from_vec(angles, (prompt.positions.len(), half), &self.device)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}
