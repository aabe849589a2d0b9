//! What stands before and after the towers: embeddings, and the projections into the common space.

use super::super::config::{Architecture, DualEncoderConfig};
use super::super::weights::Weights;
use super::operand::Operand;
use super::pooling::AttentionPooling;
use super::product::Then;
use super::sharing::Sharing;
use super::text::{Text, project};
use super::tower::{Linear, Norm, On, Tower, Workspace};
use crate::error::Result;

/// Rows that one thread works on at once: enough to use each slab of weights often, few enough to stay in the cache.
pub(super) const ROWS: usize = 200;

/// Both towers with what is around them.
pub(crate) struct Heads<T: Operand> {
    sharing: Sharing<T, Workspace<T>>,
    text: Text<T>,
    vision: Vision<T>,
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
    pub(crate) fn load(
        weights: &Weights<'_>,
        config: &DualEncoderConfig,
        set: T::Instructions,
    ) -> Result<Self> {
        let (text, vision) = (Text::load(weights, config)?, Vision::load(weights, config)?);
        Ok(Self { sharing: Sharing::new(set), text, vision })
    }

    /// Embeddings, one a sequence of token ids, whose last stands for the text; not of unit length yet.
    ///
    /// # Errors
    /// Where an id or a place has no row in the weights, which the tokenizer's checks should have kept out.
    pub(crate) fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let sequence = |ids: &Vec<u32>| self.text.sequence(ids, ids.len().saturating_sub(1));
        let read = sequences.iter().map(sequence).collect::<Result<Vec<_>>>()?;
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let embed = |on, group: &[_], work: &mut _| self.text.embed(on, group, work);
        Ok(self.sharing.in_groups(&read, ROWS / longest, embed))
    }

    /// Embeddings, one a picture's unfolded patches `[grid * grid, 3 * patch * patch]`; not of unit length yet.
    pub(crate) fn embed_pictures(&self, pictures: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let most = ROWS / self.vision.rows().max(1);
        self.sharing.in_groups(pictures, most, |on, group, work| self.vision.embed(on, group, work))
    }
}

impl<T: Operand> Vision<T> {
    fn load(weights: &Weights<'_>, config: &DualEncoderConfig) -> Result<Self> {
        let (tower, width) = (&config.vision, config.vision.width);
        let inputs = 3 * config.patch * config.patch;
        let embeddings = "vision_model.embeddings";
        let patches = format!("{embeddings}.patch_embedding");
        let positions =
            |rows| weights.values(&format!("{embeddings}.position_embedding.weight"), &[rows, width]);
        let grid = config.grid() * config.grid();
        let blocks = Tower::load(weights, "vision_model.encoder.layers", tower, false)?;
        let after = Norm::load(weights, "vision_model.post_layernorm", tower)?;
        Ok(match config.architecture {
            Architecture::Clip => Self {
                patches: Linear::load_plain(weights, &patches, inputs, width)?,
                class: Some(weights.values(&format!("{embeddings}.class_embedding"), &[width])?),
                positions: positions(grid + 1)?,
                // The name is spelt like this in every checkpoint.
                before: Some(Norm::load(weights, "vision_model.pre_layrnorm", tower)?),
                tower: blocks,
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
                tower: blocks,
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
        let lengths = vec![rows; pictures.len()];
        match &self.end {
            End::Projection(projection) => {
                let firsts: Vec<_> = (0..pictures.len()).map(|picture| picture * rows).collect();
                self.tower.forward(on, &lengths, Some(&firsts), work);
                project(on, &self.after, projection, work)
            }
            End::Pooling(head) => {
                self.tower.forward(on, &lengths, None, work);
                self.after.forward(on.set.into(), &work.x, &mut work.moments, &mut work.normed);
                head.forward(on, rows, work);
                (0..work.x.rows()).map(|row| work.x.row_values(row)).collect()
            }
        }
    }
}
