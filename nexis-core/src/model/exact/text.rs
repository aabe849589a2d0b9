//! The text tower with what is around it: embeddings before, the projection into the common space behind.

use super::super::config::{Architecture, DualEncoderConfig};
use super::super::open_clip::config::TextConfig;
use super::super::weights::Weights;
use super::operand::Operand;
use super::product::Then;
use super::slabs::Slabs;
use super::tower::{Block, Linear, Norm, On, Tower, Workspace};
use crate::error::{Error, Result};

/// A text tower.
pub(super) struct Text<T: Operand> {
    tokens: Vec<f32>,
    positions: Vec<f32>,
    tower: Tower<T>,
    norm: Norm,
    projection: Linear<T>,
    width: usize,
}

/// What the tower reads of one text.
pub(super) struct Sequence {
    /// Token and position embeddings, `[ids, width]`.
    states: Vec<f32>,
    /// The row whose final state stands for the text.
    wanted: usize,
}

impl<T: Operand> Text<T> {
    /// Of a CLIP or a SigLIP, by the names of transformers.
    pub(super) fn load(weights: &Weights<'_>, config: &DualEncoderConfig) -> Result<Self> {
        let (tower, width) = (&config.text, config.text.width);
        let embeddings = "text_model.embeddings";
        let (causal, projection) = match config.architecture {
            Architecture::Clip => {
                (true, Linear::load_plain(weights, "text_projection", width, config.projection)?)
            }
            Architecture::Siglip => {
                let names = ["text_model.head".to_owned()];
                (false, Linear::load(weights, &names, width, config.projection)?)
            }
        };
        Ok(Self {
            tokens: weights
                .values(&format!("{embeddings}.token_embedding.weight"), &[config.vocabulary, width])?,
            positions: weights
                .values(&format!("{embeddings}.position_embedding.weight"), &[config.context, width])?,
            tower: Tower::load(weights, "text_model.encoder.layers", tower, causal)?,
            norm: Norm::load(weights, "text_model.final_layer_norm", tower)?,
            projection,
            width,
        })
    }

    /// By the names of OpenCLIP, which stores its projection as it is multiplied with: `[width, projection]`.
    pub(super) fn load_open_clip(
        weights: &Weights<'_>,
        config: &TextConfig,
        projection: usize,
    ) -> Result<Self> {
        let (tower, width) = (&config.tower, config.tower.width);
        let tokens = weights.values("text.token_embedding.weight", &[config.vocabulary, width])?;
        let positions = weights.values("text.positional_embedding", &[config.context, width])?;
        let block = |i| Block::load_open_clip(weights, &format!("text.transformer.resblocks.{i}"), tower);
        let blocks = (0..tower.layers).map(block).collect::<Result<Vec<_>>>()?;
        let columns = weights.values("text.text_projection", &[width, projection])?;
        let rows: Vec<f32> = (0..projection)
            .flat_map(|output| columns.iter().skip(output).step_by(projection).copied())
            .collect();
        Ok(Self {
            tokens,
            positions,
            tower: Tower::new(blocks, tower, config.causal),
            norm: Norm::load(weights, "text.ln_final", tower)?,
            projection: Linear::plain_from_outputs(width, projection, &rows),
            width,
        })
    }

    /// What is read of token ids, of which the one at place `wanted` stands for the text.
    ///
    /// # Errors
    /// Where an id or a place has no row in the weights, which the tokenizer's checks should have kept out.
    pub(super) fn sequence(&self, ids: &[u32], wanted: usize) -> Result<Sequence> {
        let row = |table: &'_ [f32], i: usize, what: &str| -> Result<Vec<f32>> {
            let row = table.get(i * self.width..(i + 1) * self.width).map(<[f32]>::to_vec);
            row.ok_or_else(|| Error::Internal(format!("forward pass: no embedding of {what} {i}")))
        };
        let mut states = Vec::with_capacity(ids.len() * self.width);
        for (place, id) in ids.iter().enumerate() {
            let (token, place) =
                (row(&self.tokens, *id as usize, "token")?, row(&self.positions, place, "place")?);
            states.extend(token.iter().zip(&place).map(|(token, place)| token + place));
        }
        Ok(Sequence { states, wanted })
    }

    /// Embeddings of sequences, one row each.
    pub(super) fn embed(&self, on: On<T>, sequences: &[Sequence], work: &mut Workspace<T>) -> Vec<Vec<f32>> {
        let width = self.width.max(1);
        let lengths: Vec<_> = sequences.iter().map(|sequence| sequence.states.len() / width).collect();
        let rows = lengths.iter().sum();
        work.x.shape(rows, width);
        let states = sequences.iter().flat_map(|sequence| sequence.states.chunks_exact(width));
        states.enumerate().for_each(|(i, row)| work.x.set_row(i, row));
        let firsts = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end - length)
        });
        let wanted: Vec<_> = firsts.zip(sequences).map(|(first, sequence)| first + sequence.wanted).collect();
        self.tower.forward(on, &lengths, Some(&wanted), work);
        project(on, &self.norm, &self.projection, work)
    }
}

/// Final states into the common space, one row each.
pub(super) fn project<T: Operand>(
    on: On<T>,
    norm: &Norm,
    projection: &Linear<T>,
    work: &mut Workspace<T>,
) -> Vec<Vec<f32>> {
    norm.forward(on.set.into(), &work.x, &mut work.moments, &mut work.normed);
    let mut out = Slabs::<f32>::default();
    projection.forward(on, &work.normed, Then::Store, &mut out);
    (0..out.rows()).map(|row| out.row_values(row)).collect()
}
