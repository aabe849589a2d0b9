//! What stands before and after the towers: embeddings, and the projections into the common space.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::super::config::{Architecture, ClipConfig};
use super::super::weights::Weights;
use super::operand::Operand;
use super::pooling::AttentionPooling;
use super::product::Then;
use super::slabs::Slabs;
use super::tower::{Linear, Norm, On, Pool, Tower, Workspace};
use crate::error::{Error, Result};

/// Rows that one thread works on at once: enough to use each slab of weights often, few enough to stay in the cache.
const ROWS: usize = 200;

/// Both towers with what is around them.
pub(crate) struct Heads<T: Operand> {
    set: T::Instructions,
    text: Text<T>,
    vision: Vision<T>,
    /// What passes that are over have left for those to come.
    spaces: Mutex<Vec<Workspace<T>>>,
}

struct Text<T: Operand> {
    tokens: Vec<f32>,
    positions: Vec<f32>,
    tower: Tower<T>,
    norm: Norm,
    projection: Linear<T>,
    width: usize,
}

struct Vision<T: Operand> {
    patches: Linear<T>,
    /// The first row, where there is one beside those of the patches.
    class: Option<Vec<f32>>,
    positions: Vec<f32>,
    /// The normalisation before the tower, where there is one.
    before: Option<Norm>,
    tower: Tower<T>,
    after: Norm,
    end: End<T>,
    width: usize,
}

/// What makes an embedding of a picture's final states.
enum End<T: Operand> {
    /// A projection of the first.
    Projection(Linear<T>),
    /// Attention over all of them.
    Pooling(Box<AttentionPooling<T>>),
}

impl<T: Operand> Heads<T> {
    pub(crate) fn load(weights: &Weights<'_>, config: &ClipConfig, set: T::Instructions) -> Result<Self> {
        let (text, vision) = (Text::load(weights, config)?, Vision::load(weights, config)?);
        Ok(Self { set, text, vision, spaces: Mutex::default() })
    }

    /// Embeddings, one a sequence of token ids; not of unit length yet.
    ///
    /// # Errors
    /// Where an id or a place has no row in the weights, which the tokenizer's checks should have kept out.
    pub(crate) fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let states = sequences.iter().map(|ids| self.text.first_states(ids)).collect::<Result<Vec<_>>>()?;
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(1).max(1);
        Ok(self.in_groups(&states, ROWS / longest, |on, group, work| self.text.embed(on, group, work)))
    }

    /// Embeddings, one a picture's unfolded patches `[grid * grid, 3 * patch * patch]`; not of unit length yet.
    pub(crate) fn embed_pictures(&self, pictures: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let most = ROWS / self.vision.rows().max(1);
        self.in_groups(pictures, most, |on, group, work| self.vision.embed(on, group, work))
    }

    /// Each thread takes groups of at most `most` items, as many as any other thread; what does not come out even is
    /// shared item by item. How items are grouped shows in the time and nowhere else.
    fn in_groups<I: Sync>(
        &self,
        items: &[I],
        most: usize,
        embed: impl Fn(On<T>, &[I], &mut Workspace<T>) -> Vec<Vec<f32>> + Sync,
    ) -> Vec<Vec<f32>> {
        let threads = rayon::current_num_threads().max(1);
        let (even, odd) = items.split_at(items.len() - items.len() % threads);
        let each = even.len() / threads;
        let size = each.div_ceil(each.div_ceil(most.max(1)).max(1)).max(1);
        let parts = threads / odd.len().max(1);
        let run = |parts: usize, group: &[I]| {
            let mut work = self.spaces().pop().unwrap_or_default();
            let rows = embed(On { set: self.set, parts }, group, &mut work);
            self.spaces().push(work);
            rows
        };
        let mut out: Vec<_> = even
            .par_chunks(each.max(1))
            .flat_map_iter(|share| share.chunks(size).flat_map(|group| run(1, group)))
            .collect();
        out.par_extend(odd.par_chunks(1).flat_map_iter(|item| run(parts, item)));
        out
    }

    fn spaces(&self) -> std::sync::MutexGuard<'_, Vec<Workspace<T>>> {
        // A pass that panicked took its space with it.
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Operand> Text<T> {
    fn load(weights: &Weights<'_>, config: &ClipConfig) -> Result<Self> {
        let (tower, width) = (&config.text, config.text.width);
        let embeddings = "text_model.embeddings";
        let (pool, projection) = match config.architecture {
            Architecture::Clip => {
                let name = "text_projection";
                (Pool::LastCausal, Linear::load_plain(weights, name, width, config.projection)?)
            }
            Architecture::Siglip => {
                let names = ["text_model.head".to_owned()];
                (Pool::Last, Linear::load(weights, &names, width, config.projection)?)
            }
        };
        Ok(Self {
            tokens: weights
                .values(&format!("{embeddings}.token_embedding.weight"), &[config.vocabulary, width])?,
            positions: weights
                .values(&format!("{embeddings}.position_embedding.weight"), &[config.context, width])?,
            tower: Tower::load(weights, "text_model.encoder.layers", tower, pool)?,
            norm: Norm::load(weights, "text_model.final_layer_norm", tower)?,
            projection,
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

    fn embed(&self, on: On<T>, states: &[Vec<f32>], work: &mut Workspace<T>) -> Vec<Vec<f32>> {
        let width = self.width.max(1);
        let lengths: Vec<_> = states.iter().map(|x| x.len() / width).collect();
        work.x.shape(lengths.iter().sum(), width);
        for (i, row) in states.iter().flat_map(|x| x.chunks_exact(width)).enumerate() {
            work.x.set_row(i, row);
        }
        self.tower.forward(on, &lengths, work);
        project(on, &self.norm, &self.projection, work)
    }
}

impl<T: Operand> Vision<T> {
    fn load(weights: &Weights<'_>, config: &ClipConfig) -> Result<Self> {
        let (tower, width) = (&config.vision, config.vision.width);
        let inputs = 3 * config.patch * config.patch;
        let embeddings = "vision_model.embeddings";
        let patches = format!("{embeddings}.patch_embedding");
        let positions =
            |rows| weights.values(&format!("{embeddings}.position_embedding.weight"), &[rows, width]);
        let grid = config.grid() * config.grid();
        let blocks = |pool| Tower::load(weights, "vision_model.encoder.layers", tower, pool);
        let after = Norm::load(weights, "vision_model.post_layernorm", tower)?;
        Ok(match config.architecture {
            Architecture::Clip => Self {
                patches: Linear::load_plain(weights, &patches, inputs, width)?,
                class: Some(weights.values(&format!("{embeddings}.class_embedding"), &[width])?),
                positions: positions(grid + 1)?,
                // The name is spelt like this in every checkpoint.
                before: Some(Norm::load(weights, "vision_model.pre_layrnorm", tower)?),
                tower: blocks(Pool::First)?,
                after,
                end: End::Projection(Linear::load_plain(
                    weights,
                    "visual_projection",
                    width,
                    config.projection,
                )?),
                width,
            },
            Architecture::Siglip => Self {
                patches: Linear::load(weights, &[patches], inputs, width)?,
                class: None,
                positions: positions(grid)?,
                before: None,
                tower: blocks(Pool::All)?,
                after,
                end: End::Pooling(Box::new(AttentionPooling::load(weights, "vision_model.head", tower)?)),
                width,
            },
        })
    }

    /// Rows of one picture.
    fn rows(&self) -> usize {
        self.positions.len() / self.width.max(1)
    }

    fn embed(&self, on: On<T>, pictures: &[Vec<f32>], work: &mut Workspace<T>) -> Vec<Vec<f32>> {
        let (rows, inputs) = (self.rows(), self.patches.inputs());
        let count = rows * pictures.len();
        let first = usize::from(self.class.is_some());
        let Workspace { x, embedded, inner, moments, .. } = work;
        // The row of the class has no patch; it is computed from what is there and written over.
        inner.shape(count, inputs);
        for (i, patches) in pictures.iter().enumerate() {
            for (place, patch) in patches.chunks_exact(inputs.max(1)).enumerate() {
                inner.set_row(i * rows + first + place, patch);
            }
        }
        let states = if self.before.is_some() { &mut *embedded } else { &mut *x };
        self.patches.forward(on, inner, Then::Store, states);
        for (place, position) in self.positions.chunks_exact(self.width.max(1)).enumerate() {
            for row in (place..count).step_by(rows.max(1)) {
                if let Some(class) = self.class.as_ref().filter(|_| place == 0) {
                    states.set_row(row, class);
                }
                states.add_to_row(row, position);
            }
        }
        if let Some(before) = &self.before {
            before.forward(on.set.into(), embedded, moments, x);
        }
        self.tower.forward(on, &vec![rows; pictures.len()], work);
        match &self.end {
            End::Projection(projection) => project(on, &self.after, projection, work),
            End::Pooling(head) => {
                self.after.forward(on.set.into(), &work.x, &mut work.moments, &mut work.normed);
                head.forward(on, rows, work);
                (0..work.x.rows()).map(|row| work.x.row_values(row)).collect()
            }
        }
    }
}

/// Final states into the common space, one row each.
fn project<T: Operand>(
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
