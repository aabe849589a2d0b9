//! The sizes of a Moondream: from the shapes of its tensors, bounded.
//!
//! The file that candle's own tool writes has no metadata. What no shape tells is taken from the metadata where there
//! is some, under the keys that llama.cpp uses, else as it is in every Moondream 2: heads of 72 numbers in the tower
//! that sees and of 64 in the one that reads.

use super::{text, vision};
use crate::error::{Error, Result};
use crate::model::judge::gguf::Gguf;
use crate::model::judge::{MAX_SCORES, out_of_range};

/// Most tokens of a prompt, those of the picture included: what the text tower was made for.
pub(super) const CONTEXT: usize = 2048;

const VISION_HEADS: &str = "clip.vision.attention.head_count";
const TEXT_HEADS: &str = "phi2.attention.head_count";
const VISION_HEAD: usize = 72;
const TEXT_HEAD: usize = 64;

/// The tower that sees.
#[derive(Clone, Debug)]
pub(super) struct VisionConfig {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) depth: usize,
    /// Edge of a patch, in pixels.
    pub(super) patch: usize,
    /// Patches along an edge of the picture.
    pub(super) side: usize,
    /// Width between the two layers that lead to the text tower.
    pub(super) projection: usize,
}

/// The tower that reads.
#[derive(Clone, Debug)]
pub(super) struct TextConfig {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) depth: usize,
    pub(super) vocabulary: usize,
}

impl VisionConfig {
    /// Edge of the picture, in pixels.
    pub(super) const fn edge(&self) -> usize {
        self.side * self.patch
    }

    /// Tokens of a picture.
    pub(super) const fn tokens(&self) -> usize {
        self.side * self.side
    }
}

/// The sizes of both towers.
pub(super) fn of(file: &Gguf) -> Result<(VisionConfig, TextConfig)> {
    let [width, inputs] = file.shape(&format!("{}.patch_embed.linear.weight", vision::ENCODER))?;
    let [_, places, _] = file.shape(&format!("{}.pos_embed", vision::ENCODER))?;
    let [inner, _] = file.shape(&format!("{}.blocks.0.mlp.fc1.weight", vision::ENCODER))?;
    let [projection, _] = file.shape(&format!("{}.fc1.weight", vision::PROJECTION))?;
    let vision = VisionConfig {
        width,
        inner,
        heads: heads(file, VISION_HEADS, width, VISION_HEAD)?,
        depth: file.depth(&format!("{}.blocks.", vision::ENCODER)),
        patch: (inputs / 3).isqrt(),
        side: places.isqrt(),
        projection,
    };
    let [vocabulary, width] = file.shape(text::TOKENS)?;
    let [inner, _] = file.shape(&format!("{}0.mlp.fc1.weight", text::LAYERS))?;
    let text = TextConfig {
        width,
        inner,
        heads: heads(file, TEXT_HEADS, width, TEXT_HEAD)?,
        depth: file.depth(text::LAYERS),
        vocabulary,
    };
    let ranges = [
        ("the width of the vision tower", vision.width, 1, 8192),
        ("the inner width of the vision tower", vision.inner, 1, 32_768),
        ("the number of its blocks", vision.depth, 1, 256),
        ("the edge of a patch", vision.patch, 1, 64),
        ("the number of patches along an edge", vision.side, 1, 32),
        ("the width between both towers", vision.projection, 1, 65_536),
        ("the width of the text tower", text.width, 1, 16_384),
        ("the inner width of the text tower", text.inner, 1, 65_536),
        ("the number of its blocks", text.depth, 1, 256),
        ("the number of its tokens", text.vocabulary, 1, 1 << 20),
    ];
    if let Some(why) = out_of_range(&ranges) {
        return Err(file.error(why));
    }
    if vision.patch * vision.patch * 3 != inputs || vision.tokens() != places {
        let why = format!("{inputs} values of a patch, or {places} patches of a picture, make no square");
        return Err(file.error(why));
    }
    for (heads, tokens) in [(vision.heads, vision.tokens()), (text.heads, CONTEXT)] {
        if heads * tokens * tokens > MAX_SCORES {
            let why = format!("{heads} heads over {tokens} tokens are too much for one attention");
            return Err(file.error(why));
        }
    }
    Ok((vision, text))
}

/// The number of heads that share a width. Their size is a multiple of four: the half of it is turned in pairs.
fn heads(file: &Gguf, key: &str, width: usize, usual: usize) -> Result<usize> {
    let said = file.number(key)?;
    let heads = match said {
        Some(heads) => usize::try_from(heads).ok(),
        None => width.is_multiple_of(usual).then(|| width / usual),
    };
    let fits = |heads: &usize| {
        (1..=256).contains(heads) && width.is_multiple_of(*heads) && (width / heads).is_multiple_of(4)
    };
    heads.filter(fits).ok_or_else(|| -> Error {
        let said = said.map_or_else(
            || format!("and the file has no {key}, so that heads of {usual} are expected"),
            |heads| format!("and {key} is {heads}"),
        );
        file.error(format!(
            "a width of {width} cannot be shared out to heads: 1 to 256 of a multiple of 4, {said}"
        ))
    })
}
