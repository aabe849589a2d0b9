//! What stands before and after the blocks of both towers.

use nexis_core::model::towers::{Architecture, ClipSizes};
use nexis_core::{Error, Result};

use super::pooling::Pooling;
use super::tower::{Pool, Tower};
use super::weights::{Norm, Uploader};
use crate::compute::Compute;

/// What stands before and after the blocks of the vision tower.
pub(super) struct Vision<M> {
    pub(super) patches: M,
    pub(super) patch_bias: Option<M>,
    /// The first row, where there is one beside those of the patches.
    pub(super) class: Option<M>,
    pub(super) positions: M,
    /// The normalisation before the tower, where there is one.
    pub(super) before: Option<Norm<M>>,
    pub(super) tower: Tower<M>,
    pub(super) after: Norm<M>,
    pub(super) end: End<M>,
    pub(super) levels: M,
    /// Values from a patch to the next: a multiple of eight, so that products read whole vectors.
    pub(super) row: usize,
}

/// The same of the text tower.
pub(super) struct Text<M> {
    pub(super) table: M,
    pub(super) positions: M,
    pub(super) tower: Tower<M>,
    pub(super) after: Norm<M>,
    pub(super) end: End<M>,
}

/// What makes an embedding of the states behind a tower.
pub(super) enum End<M> {
    /// A product with the wanted row, and what is added to it, where there is something, on the processor.
    Projection(M, Option<Vec<f32>>),
    /// Attention over all rows.
    Pooling(Box<Pooling<M>>),
}

impl<M> Vision<M> {
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        sizes: &ClipSizes,
    ) -> Result<Self> {
        let (tower, width) = (&sizes.vision, sizes.vision.width);
        let inputs = 3 * sizes.patch * sizes.patch;
        let row = inputs.next_multiple_of(8);
        let embeddings = "vision_model.embeddings";
        let one = |part: &str| format!("{embeddings}.{part}");
        let blocks = "vision_model.encoder.layers";
        let patches = uploader.padded(&one("patch_embedding.weight"), inputs, width, row)?;
        let positions = uploader.wide(&one("position_embedding.weight"), &[sizes.rows(), width])?;
        let after = Norm::load(uploader, "vision_model.post_layernorm", tower)?;
        let levels = uploader.levels()?;
        Ok(match sizes.architecture {
            Architecture::Clip => Self {
                patches,
                patch_bias: None,
                class: Some(uploader.wide(&one("class_embedding"), &[width])?),
                positions,
                // The name is spelt like this in every checkpoint.
                before: Some(Norm::load(uploader, "vision_model.pre_layrnorm", tower)?),
                tower: Tower::load(uploader, blocks, tower, Pool::One)?,
                after,
                end: End::projection(uploader, "visual_projection", sizes, width, false)?,
                levels,
                row,
            },
            Architecture::Siglip => Self {
                patches,
                patch_bias: Some(uploader.wide(&one("patch_embedding.bias"), &[width])?),
                class: None,
                positions,
                before: None,
                tower: Tower::load(uploader, blocks, tower, Pool::All)?,
                after,
                end: End::Pooling(Box::new(Pooling::load(uploader, "vision_model.head", tower)?)),
                levels,
                row,
            },
            other => return Err(no_tower(other)),
        })
    }
}

impl<M> Text<M> {
    pub(super) fn load<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        sizes: &ClipSizes,
    ) -> Result<Self> {
        let width = sizes.text.width;
        let embeddings = "text_model.embeddings";
        let table = format!("{embeddings}.token_embedding.weight");
        let positions = format!("{embeddings}.position_embedding.weight");
        let (pool, head, has_bias) = match sizes.architecture {
            Architecture::Clip => (Pool::OneCausal, "text_projection", false),
            Architecture::Siglip => (Pool::One, "text_model.head", true),
            other => return Err(no_tower(other)),
        };
        Ok(Self {
            table: uploader.padded(&table, width, sizes.vocabulary, width)?,
            positions: uploader.wide(&positions, &[sizes.context, width])?,
            tower: Tower::load(uploader, "text_model.encoder.layers", &sizes.text, pool)?,
            after: Norm::load(uploader, "text_model.final_layer_norm", &sizes.text)?,
            end: End::projection(uploader, head, sizes, width, has_bias)?,
        })
    }
}

impl<M> End<M> {
    fn projection<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &ClipSizes,
        width: usize,
        has_bias: bool,
    ) -> Result<Self> {
        let columns = sizes.projection;
        let weight = uploader.padded(&format!("{name}.weight"), width, columns, width)?;
        let bias = if has_bias { Some(uploader.values(&format!("{name}.bias"), &[columns])?) } else { None };
        Ok(Self::Projection(weight, bias))
    }
}

/// Says that nothing here computes a model of this architecture.
fn no_tower(architecture: Architecture) -> Error {
    Error::usage(format!("a {} on a GPU", architecture.name()), "there is no tower for it; choose device cpu")
}
