//! What stands before and after the towers: embeddings, and the projections into the common space.

use rayon::prelude::*;

use super::super::config::ClipConfig;
use super::super::weights::Weights;
use super::InstructionSet;
use super::product::{Factor, Rows};
use super::tower::{Norm, Pool, Tower, Workspace};
use crate::error::{Error, Result};

/// Rows that one thread works on at once: enough to use each panel of weights often, few enough to stay in the
/// cache.
const ROWS: usize = 200;

/// Both towers with what is around them.
pub(crate) struct Heads {
    set: InstructionSet,
    text: Text,
    vision: Vision,
}

struct Text {
    tokens: Vec<f32>,
    positions: Vec<f32>,
    tower: Tower,
    norm: Norm,
    projection: Factor,
    width: usize,
}

struct Vision {
    patches: Factor,
    class: Vec<f32>,
    positions: Vec<f32>,
    before: Norm,
    tower: Tower,
    after: Norm,
    projection: Factor,
    width: usize,
}

impl Heads {
    pub(crate) fn load(weights: &Weights<'_>, config: &ClipConfig, set: InstructionSet) -> Result<Self> {
        Ok(Self { set, text: Text::load(weights, config)?, vision: Vision::load(weights, config)? })
    }

    /// Embeddings, one a sequence of token ids; not of unit length yet.
    ///
    /// # Errors
    /// Where an id or a place has no row in the weights, which the tokenizer's checks should have kept out.
    pub(crate) fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let states = sequences.iter().map(|ids| self.text.first_states(ids)).collect::<Result<Vec<_>>>()?;
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(1).max(1);
        Ok(self.in_groups(&states, ROWS / longest, |group, work| self.text.embed(self.set, group, work)))
    }

    /// Embeddings, one a picture's unfolded patches `[grid * grid, 3 * patch * patch]`; not of unit length yet.
    pub(crate) fn embed_pictures(&self, pictures: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let rows = (self.vision.positions.len() / self.vision.width.max(1)).max(1);
        self.in_groups(pictures, ROWS / rows, |group, work| self.vision.embed(self.set, group, work))
    }

    /// Threads take groups of items. How they are grouped shows in the time and nowhere else.
    fn in_groups<T: Sync>(
        &self,
        items: &[T],
        most: usize,
        embed: impl Fn(&[T], &mut Workspace) -> Vec<Vec<f32>> + Sync,
    ) -> Vec<Vec<f32>> {
        let each = items.len().div_ceil(rayon::current_num_threads().max(1)).clamp(1, most.max(1));
        let groups: Vec<_> =
            items.par_chunks(each).map_init(Workspace::default, |work, group| embed(group, work)).collect();
        groups.into_iter().flatten().collect()
    }
}

impl Text {
    fn load(weights: &Weights<'_>, config: &ClipConfig) -> Result<Self> {
        let (tower, width) = (&config.text, config.text.width);
        let embeddings = "text_model.embeddings";
        let projection = weights.matrix("text_projection.weight", width, config.projection)?;
        Ok(Self {
            tokens: weights
                .values(&format!("{embeddings}.token_embedding.weight"), &[config.vocabulary, width])?,
            positions: weights
                .values(&format!("{embeddings}.position_embedding.weight"), &[config.context, width])?,
            tower: Tower::load(weights, "text_model.encoder.layers", tower, Pool::LastCausal)?,
            norm: Norm::load(weights, "text_model.final_layer_norm", tower)?,
            projection: Factor::from_outputs(width, config.projection, &projection),
            width,
        })
    }

    /// Token and position embeddings of one sequence, `[ids, width]`.
    fn first_states(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let row = |table: &'_ [f32], i: usize, what: &str| -> Result<Vec<f32>> {
            let row = table.get(i * self.width..(i + 1) * self.width).map(<[f32]>::to_vec);
            row.ok_or_else(|| Error::Internal(format!("forward pass: no embedding of {what} {i}")))
        };
        let mut x = Vec::with_capacity(ids.len() * self.width);
        for (place, id) in ids.iter().enumerate() {
            let (token, place) =
                (row(&self.tokens, *id as usize, "token")?, row(&self.positions, place, "place")?);
            x.extend(token.iter().zip(&place).map(|(token, place)| token + place));
        }
        Ok(x)
    }

    fn embed(&self, set: InstructionSet, states: &[Vec<f32>], work: &mut Workspace) -> Vec<Vec<f32>> {
        let lengths: Vec<_> = states.iter().map(|x| x.len() / self.width.max(1)).collect();
        let states = self.tower.forward(set, states.concat(), &lengths, work);
        project(set, &self.norm, &self.projection, &states, work)
    }
}

impl Vision {
    fn load(weights: &Weights<'_>, config: &ClipConfig) -> Result<Self> {
        let (tower, width) = (&config.vision, config.vision.width);
        let inputs = 3 * config.patch * config.patch;
        let embeddings = "vision_model.embeddings";
        let patches = weights.matrix(&format!("{embeddings}.patch_embedding.weight"), inputs, width)?;
        let positions = config.grid() * config.grid() + 1;
        let projection = weights.matrix("visual_projection.weight", width, config.projection)?;
        Ok(Self {
            patches: Factor::from_outputs(inputs, width, &patches),
            class: weights.values(&format!("{embeddings}.class_embedding"), &[width])?,
            positions: weights
                .values(&format!("{embeddings}.position_embedding.weight"), &[positions, width])?,
            // The name is spelt like this in every checkpoint.
            before: Norm::load(weights, "vision_model.pre_layrnorm", tower)?,
            tower: Tower::load(weights, "vision_model.encoder.layers", tower, Pool::First)?,
            after: Norm::load(weights, "vision_model.post_layernorm", tower)?,
            projection: Factor::from_outputs(width, config.projection, &projection),
            width,
        })
    }

    fn embed(&self, set: InstructionSet, pictures: &[Vec<f32>], work: &mut Workspace) -> Vec<Vec<f32>> {
        let rows = self.positions.len() / self.width.max(1);
        let mut x = vec![0.0; pictures.len() * self.positions.len()];
        for (patches, x) in pictures.iter().zip(x.chunks_exact_mut(self.positions.len().max(1))) {
            let (class, rest) = x.split_at_mut(self.width);
            class.copy_from_slice(&self.class);
            let left = Rows { values: patches, count: rows.saturating_sub(1), stride: self.patches.depth() };
            work.product(set, left, &self.patches, rest, self.width);
            for (x, place) in x.iter_mut().zip(&self.positions) {
                *x += place;
            }
        }
        let mut normed = Vec::new();
        self.before.forward(set, &x, &mut normed);
        let states = self.tower.forward(set, normed, &vec![rows; pictures.len()], work);
        project(set, &self.after, &self.projection, &states, work)
    }
}

/// Final states into the common space, one row each.
fn project(
    set: InstructionSet,
    norm: &Norm,
    projection: &Factor,
    states: &[f32],
    work: &mut Workspace,
) -> Vec<Vec<f32>> {
    let (depth, columns) = (projection.depth(), projection.columns());
    let mut normed = Vec::new();
    norm.forward(set, states, &mut normed);
    let count = states.len() / depth.max(1);
    let mut out = vec![0.0; count * columns];
    let left = Rows { values: &normed, count, stride: depth };
    work.product(set, left, projection, &mut out, columns);
    out.chunks_exact(columns.max(1)).map(<[f32]>::to_vec).collect()
}
