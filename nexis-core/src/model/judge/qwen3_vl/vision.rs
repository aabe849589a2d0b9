//! The tower that sees: patches of a pair of frames in, tokens for the text tower out.
//!
//! Each pair of frames attends within itself, so that pairs go through alone.

use candle_core::{Device, Result, Tensor};

use super::config::{MERGE, TEMPORAL, VisionConfig};
use crate::model::judge::checkpoint::Tensors;
use crate::model::judge::layers::{Affine, Matrix, Norm, VisionBlock, VisionBlockShape};

const EPS: f32 = 1e-6;
const PREFIX: &str = "model.visual";

pub(super) struct Vision {
    config: VisionConfig,
    device: Device,
    patches: Affine,
    positions: Tensor,
    blocks: Vec<VisionBlock>,
    merger: Merger,
    deepstack: Vec<Merger>,
}

/// Four neighbouring patches become one token.
struct Merger {
    norm: Norm,
    /// Whether the four are put together before they are normalised.
    joined_first: bool,
    fc1: Affine,
    fc2: Affine,
}

/// What a pair of frames comes to.
pub(super) struct Seen {
    /// `[tokens, width of the text tower]`.
    pub(super) tokens: Tensor,
    /// The same from earlier blocks, for the first blocks of the text tower.
    pub(super) deepstack: Vec<Tensor>,
}

impl Vision {
    pub(super) fn load(
        weights: &mut impl Tensors,
        config: &VisionConfig,
        out: usize,
        device: &Device,
    ) -> crate::Result<Self> {
        let width = config.width;
        let kernel = format!("{PREFIX}.patch_embed.proj");
        let shape = [width, 3, TEMPORAL, config.patch, config.patch];
        let block = VisionBlockShape { width, inner: config.inner, heads: config.heads, eps: EPS };
        let blocks = (0..config.depth)
            .map(|i| {
                let name = format!("{PREFIX}.blocks.{i}");
                VisionBlock::load(weights, &name, ["mlp.linear_fc1", "mlp.linear_fc2"], block)
            })
            .collect::<crate::Result<_>>()?;
        let deepstack = (0..config.deepstack.len())
            .map(|i| Merger::load(weights, &format!("{PREFIX}.deepstack_merger_list.{i}"), width, out, true))
            .collect::<crate::Result<_>>()?;
        Ok(Self {
            patches: Affine::new(
                Matrix::Plain(weights.take_kernel(&format!("{kernel}.weight"), &shape)?),
                weights.take(&format!("{kernel}.bias"), &[width])?,
            ),
            positions: weights
                .take(&format!("{PREFIX}.pos_embed.weight"), &[config.side * config.side, width])?,
            blocks,
            merger: Merger::load(weights, &format!("{PREFIX}.merger"), width, out, false)?,
            deepstack,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Tokens of one pair's patches.
    pub(super) fn see(&self, patches: &[f32], grid: (usize, usize)) -> Result<Seen> {
        let inputs = 3 * TEMPORAL * self.config.patch * self.config.patch;
        let rows = grid.0 * grid.1;
        let patches = Tensor::from_slice(patches, (rows, inputs), &self.device)?;
        let mut x = (self.patches.forward(&patches)? + self.place(grid)?)?;
        let (cos, sin) = self.rotation(grid)?;
        let turn = |x: Tensor| candle_nn::rotary_emb::rope(&x.unsqueeze(0)?, &cos, &sin)?.squeeze(0);
        let mut deepstack = Vec::with_capacity(self.deepstack.len());
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, turn)?;
            let taken = self.config.deepstack.iter().position(|at| *at == i);
            if let Some(merger) = taken.and_then(|at| self.deepstack.get(at)) {
                deepstack.push(merger.forward(&x)?);
            }
        }
        Ok(Seen { tokens: self.merger.forward(&x)?, deepstack })
    }

    /// Line and column of each patch, in the order of the patches.
    fn places((rows, columns): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
        (0..rows / MERGE).flat_map(move |y| {
            (0..columns / MERGE).flat_map(move |x| {
                (0..MERGE).flat_map(move |i| (0..MERGE).map(move |j| (y * MERGE + i, x * MERGE + j)))
            })
        })
    }

    /// The learnt positions, spread over this grid: its corners are the table's corners, what lies between is mixed
    /// from the four nearest.
    fn place(&self, grid: (usize, usize)) -> Result<Tensor> {
        let side = self.config.side;
        let taps = |at: usize, size: usize| {
            let place = (at * (side - 1)) as f32 / size.saturating_sub(1).max(1) as f32;
            let low = place.floor();
            let next = (low as usize + 1).min(side - 1);
            [(low as usize, 1.0 - (place - low)), (next, place - low)]
        };
        let (mut ids, mut shares) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
        for (row, column) in Self::places(grid) {
            let (down, across) = (taps(row, grid.0), taps(column, grid.1));
            let pairs = down.iter().flat_map(|d| across.iter().map(move |a| (d.0 * side + a.0, d.1 * a.1)));
            for ((ids, shares), (id, share)) in ids.iter_mut().zip(&mut shares).zip(pairs) {
                ids.push(id as u32);
                shares.push(share);
            }
        }
        let mut sum: Option<Tensor> = None;
        for (ids, shares) in ids.into_iter().zip(shares) {
            let rows = ids.len();
            let taken = self.positions.index_select(&Tensor::from_vec(ids, rows, &self.device)?, 0)?;
            let part = taken.broadcast_mul(&Tensor::from_vec(shares, (rows, 1), &self.device)?)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| candle_core::Error::Msg("a grid without patches".into()))
    }

    /// Cosines and sines for each patch: half of them turn with the line, half with the column.
    fn rotation(&self, grid: (usize, usize)) -> Result<(Tensor, Tensor)> {
        let head = self.config.width / self.config.heads;
        let spatial = head / 2;
        let frequencies: Vec<f32> = (0..spatial)
            .step_by(2)
            .map(|i| 1.0 / (self.config.theta as f32).powf(i as f32 / spatial as f32))
            .collect();
        let mut angles = Vec::with_capacity(grid.0 * grid.1 * spatial);
        for (row, column) in Self::places(grid) {
            angles.extend(frequencies.iter().map(|f| row as f32 * f));
            angles.extend(frequencies.iter().map(|f| column as f32 * f));
        }
        let angles = Tensor::from_vec(angles, (grid.0 * grid.1, spatial), &self.device)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}

impl Merger {
    fn load(
        weights: &mut impl Tensors,
        name: &str,
        width: usize,
        out: usize,
        joined_first: bool,
    ) -> crate::Result<Self> {
        let joined = width * MERGE * MERGE;
        Ok(Self {
            norm: Norm::load(
                weights,
                &format!("{name}.norm"),
                if joined_first { joined } else { width },
                EPS,
            )?,
            joined_first,
            fc1: Affine::load(weights, &format!("{name}.linear_fc1"), joined, joined)?,
            fc2: Affine::load(weights, &format!("{name}.linear_fc2"), joined, out)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let joined = (rows / (MERGE * MERGE), width * MERGE * MERGE);
        let x = if self.joined_first {
            self.norm.forward(&x.reshape(joined)?)?
        } else {
            self.norm.forward(x)?.reshape(joined)?
        };
        // Here the exact function; the blocks have its approximation by tanh.
        self.fc2.forward(&self.fc1.forward(&x)?.gelu_erf()?)
    }
}
