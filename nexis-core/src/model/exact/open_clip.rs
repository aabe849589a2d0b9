//! Both towers of a MobileCLIP.

use super::super::open_clip::config::OpenClipConfig;
use super::super::weights::Weights;
use super::fastvit::{self, FastVit};
use super::heads::ROWS;
use super::operand::Operand;
use super::sharing::Sharing;
use super::text::Text;
use super::tower;
use crate::error::Result;

/// A text transformer and a FastViT.
pub(crate) struct OpenClip<T: Operand> {
    texts: Sharing<T, tower::Workspace<T>>,
    pictures: Sharing<T, fastvit::Workspace<T>>,
    text: Text<T>,
    vision: FastVit<T>,
}

impl<T: Operand> OpenClip<T> {
    pub(crate) fn load(weights: &Weights<'_>, config: &OpenClipConfig, set: T::Instructions) -> Result<Self> {
        Ok(Self {
            texts: Sharing::new(set),
            pictures: Sharing::new(set),
            text: Text::load_open_clip(weights, &config.text, config.projection)?,
            vision: FastVit::load(weights, &config.vision, config.projection)?,
        })
    }

    /// Embeddings, one a sequence of token ids with the place of the one that stands for the text; not of unit length
    /// yet.
    ///
    /// # Errors
    /// Where an id or a place has no row in the weights, which the tokenizer's checks should have kept out.
    pub(crate) fn embed_texts(&self, sequences: &[(Vec<u32>, usize)]) -> Result<Vec<Vec<f32>>> {
        let sequence = |(ids, wanted): &(Vec<u32>, usize)| self.text.sequence(ids, *wanted);
        let read = sequences.iter().map(sequence).collect::<Result<Vec<_>>>()?;
        let longest = sequences.iter().map(|(ids, _)| ids.len()).max().unwrap_or(1).max(1);
        let embed = |on, group: &[_], work: &mut _| self.text.embed(on, group, work);
        Ok(self.texts.in_groups(&read, ROWS / longest, embed))
    }

    /// Embeddings, one a picture `[3, image, image]`; not of unit length yet.
    pub(crate) fn embed_pictures(&self, pictures: &[Vec<f32>]) -> Vec<Vec<f32>> {
        // The largest maps of one picture have more rows than are worked on at once elsewhere.
        self.pictures.in_groups(pictures, 1, |on, group, work| {
            group.iter().map(|picture| self.vision.embed(on, picture, work)).collect()
        })
    }
}
