//! The vision tower of MobileCLIP: timm's FastViT (models/EXACT.md, 5).
//!
//! A map is a matrix with a row for each place, line by line, and a column for each channel.

use super::super::open_clip::config::{FastVitConfig, HEAD, StageConfig};
use super::super::weights::Weights;
use super::arithmetic::{Activation, relu, sigmoid};
use super::attention::{Attention, HeadSpace, Sequence};
use super::convolution::Depthwise;
use super::folding::{Affine, Kernel, Shape, scale};
use super::instructions::InstructionSet;
use super::operand::Operand;
use super::passes::column_means;
use super::product::Then;
use super::slabs::{Block as Part, Run, Slabs, runs};
use super::tower::{Linear, On};
use crate::error::Result;

/// Every activation but that of a gate.
const GELU: Then = Then::Activate(Activation::Gelu);

/// The network.
pub(super) struct FastVit<T: Operand> {
    /// Edge of a picture.
    image: usize,
    /// From patches of 3x3, two apart.
    stem: Linear<T>,
    stem_depthwise: Depthwise,
    stem_out: Linear<T>,
    stages: Vec<Stage<T>>,
    last: Depthwise,
    gate: Gate,
    head: Linear<f32>,
}

struct Stage<T: Operand> {
    /// Halves the edge and changes the width; the first stage has none.
    downsample: Option<Downsample<T>>,
    /// Where a place is, made of what is around it; the last stage has it.
    positions: Option<Depthwise>,
    blocks: Vec<Block<T>>,
}

struct Downsample<T: Operand> {
    depthwise: Depthwise,
    gate: Option<Gate>,
    out: Linear<T>,
}

struct Block<T: Operand> {
    mixer: Mixer<T>,
    depthwise: Depthwise,
    up: Linear<T>,
    down: Linear<T>,
}

/// How places see one another.
enum Mixer<T: Operand> {
    Convolution(Depthwise),
    Attention { query: Linear<T>, key_value: Linear<T>, out: Linear<T>, attention: Attention },
}

/// Squeeze and excitation: a factor for each channel, of the means of all.
struct Gate {
    squeeze: Linear<f32>,
    excite: Linear<f32>,
}

/// Memory of one thread's pass.
#[derive(Default)]
pub(super) struct Workspace<T> {
    x: Slabs<f32>,
    /// What becomes of `x`, before it takes its place.
    next: Slabs<f32>,
    /// What products read.
    inner: Slabs<T>,
    hidden: Slabs<T>,
    query: Slabs<f32>,
    key_value: Slabs<f32>,
    heads: Vec<HeadSpace>,
    planes: Vec<Vec<Run<f32>>>,
}

impl<T: Operand> FastVit<T> {
    pub(super) fn load(weights: &Weights<'_>, config: &FastVitConfig, projection: usize) -> Result<Self> {
        let trunk = "visual.trunk";
        let [first, .., last] = config.stages.map(|stage| stage.width);
        let branches = |name: &str, inputs, outputs, edge, identity| {
            Kernel::load_branches(weights, name, Shape { outputs, inputs, edge }, identity)
        };
        let stem = format!("{trunk}.stem");
        let [patches, depthwise, out] = [0, 1, 2].map(|i| format!("{stem}.{i}"));
        let mut before = None;
        let mut stages = Vec::new();
        for (i, stage) in config.stages.iter().enumerate() {
            let name = format!("{trunk}.stages.{i}");
            stages.push(Stage::load(weights, &name, before, stage, [i >= 2, i == 3])?);
            before = Some(stage.width);
        }
        let features = 2 * last;
        let end = format!("{trunk}.final_conv");
        let head = format!("{trunk}.head.fc");
        Ok(Self {
            image: config.image,
            stem: branches(&patches, 3, first, 3, false)?.linear(weights, &patches)?,
            stem_depthwise: branches(&depthwise, 1, first, 3, false)?
                .depthwise(weights, &depthwise, first, 2)?,
            stem_out: branches(&out, first, first, 1, true)?.linear(weights, &out)?,
            stages,
            last: branches(&end, 1, features, 3, false)?.depthwise(weights, &end, last, 1)?,
            // Nearest to a sixteenth.
            gate: Gate::load(weights, &format!("{end}.se"), features, (features + 8) / 16)?,
            head: Kernel::load_biased(weights, &head, features, projection)?.linear(weights, &head)?,
        })
    }

    /// The embedding of one picture: `[3, image, image]`.
    pub(super) fn embed(&self, on: On<T>, picture: &[f32], work: &mut Workspace<T>) -> Vec<f32> {
        let set = on.set.into();
        work.planes.resize_with(on.parts.max(1), Vec::new);
        work.heads.resize_with(on.parts.max(1), HeadSpace::default);
        let Workspace { x, next, inner, planes, .. } = &mut *work;
        unfold(picture, self.image, inner);
        self.stem.forward(on, inner, GELU, next);
        let mut edge = self.image.div_ceil(2);
        self.stem_depthwise.forward(set, next, edge, GELU, planes, inner);
        edge = self.stem_depthwise.edge(edge);
        self.stem_out.forward(on, inner, GELU, x);
        for stage in &self.stages {
            edge = stage.forward(on, edge, work);
        }
        let Workspace { x, next, planes, .. } = &mut *work;
        self.last.forward(set, x, edge, Then::Store, planes, next);
        self.gate.forward(set, next, x);
        let mut out = Slabs::<f32>::default();
        let means = Slabs::of_row(&column_means(x));
        self.head.forward(On { set, parts: 1 }, &means, Then::Store, &mut out);
        out.row_values(0)
    }
}

/// The patches of 3x3 that are two places apart, one a row: channel, then line, then column. What is beyond the edge is
/// zero.
fn unfold<T: Operand>(picture: &[f32], image: usize, out: &mut Slabs<T>) {
    let edge = image.div_ceil(2);
    out.shape(edge * edge, 27);
    let value = |channel: usize, y: Option<usize>, x: Option<usize>| {
        let (y, x) = (y.filter(|y| *y < image)?, x.filter(|x| *x < image)?);
        picture.get((channel * image + y) * image + x).copied()
    };
    for (row, run) in out.runs_mut().iter_mut().enumerate() {
        let (y, x) = (row / edge * 2, row % edge * 2);
        for (column, to) in run.0.iter_mut().enumerate().take(27) {
            let (channel, line, place) = (column / 9, column / 3 % 3, column % 3);
            let found = value(channel, (y + line).checked_sub(1), (x + place).checked_sub(1));
            *to = T::rounded(found.unwrap_or_default());
        }
    }
}

impl<T: Operand> Stage<T> {
    /// After a stage of the width `before`, where there is one; with gates and with attention, or without.
    fn load(
        weights: &Weights<'_>,
        name: &str,
        before: Option<usize>,
        config: &StageConfig,
        [gated, attends]: [bool; 2],
    ) -> Result<Self> {
        let width = config.width;
        let downsample = match before {
            Some(before) => {
                Some(Downsample::load(weights, &format!("{name}.downsample.proj"), before, width, gated)?)
            }
            None => None,
        };
        let positions = if attends {
            let name = format!("{name}.pos_emb.pos_enc");
            let mut kernel = Kernel::load(weights, &name, Shape { outputs: width, inputs: 1, edge: 7 })?;
            kernel.add_input();
            Some(kernel.depthwise(weights, &name, width, 1)?)
        } else {
            None
        };
        let block = |i| Block::load(weights, &format!("{name}.blocks.{i}"), config, attends);
        let blocks = (0..config.layers).map(block).collect::<Result<Vec<_>>>()?;
        Ok(Self { downsample, positions, blocks })
    }

    /// Of `work.x`, a map with this edge; gives the edge of what it becomes.
    fn forward(&self, on: On<T>, mut edge: usize, work: &mut Workspace<T>) -> usize {
        let set = on.set.into();
        if let Some(Downsample { depthwise, gate, out }) = &self.downsample {
            let Workspace { x, next, inner, planes, .. } = &mut *work;
            match gate {
                None => depthwise.forward(set, x, edge, GELU, planes, inner),
                Some(gate) => {
                    depthwise.forward(set, x, edge, Then::Store, planes, next);
                    gate.forward(set, next, inner);
                }
            }
            edge = depthwise.edge(edge);
            out.forward(on, inner, GELU, x);
        }
        if let Some(positions) = &self.positions {
            work.convolve(set, positions, edge);
        }
        for block in &self.blocks {
            block.forward(on, edge, work);
        }
        edge
    }
}

impl<T: Operand> Workspace<T> {
    /// Puts what comes of `x` in its place.
    fn convolve(&mut self, set: InstructionSet, by: &Depthwise, edge: usize) {
        by.forward(set, &self.x, edge, Then::Store, &mut self.planes, &mut self.next);
        std::mem::swap(&mut self.x, &mut self.next);
    }
}

impl<T: Operand> Downsample<T> {
    fn load(weights: &Weights<'_>, name: &str, inputs: usize, outputs: usize, gated: bool) -> Result<Self> {
        let [large, small] = ["large_conv", "small_conv"].map(|part| format!("{name}.0.{part}"));
        let shape = |edge| Shape { outputs, inputs: 1, edge };
        let mut kernel = Kernel::load_normed(weights, &large, shape(7))?;
        kernel.add(&Kernel::load_normed(weights, &small, shape(3))?);
        let gate = if gated {
            // A quarter, as a multiple of 8.
            let squeezed = ((outputs / 4 + 4) / 8 * 8).max(8);
            Some(Gate::load(weights, &format!("{name}.0.se"), outputs, squeezed)?)
        } else {
            None
        };
        let out = format!("{name}.1");
        let shape = Shape { outputs, inputs: outputs, edge: 1 };
        Ok(Self {
            depthwise: kernel.depthwise(weights, &large, inputs, 2)?,
            gate,
            out: Kernel::load_branches(weights, &out, shape, true)?.linear(weights, &out)?,
        })
    }
}

impl<T: Operand> Block<T> {
    fn load(weights: &Weights<'_>, name: &str, config: &StageConfig, attends: bool) -> Result<Self> {
        let (width, inner) = (config.width, config.inner);
        let mixer = format!("{name}.token_mixer");
        let (mixer, layer_scale) = if attends {
            let norm = Affine::load(weights, &format!("{name}.norm"), width)?;
            let scale = scale(weights, &format!("{name}.layer_scale_1"), width)?;
            (Mixer::attention(weights, &mixer, width, &norm, &scale)?, "layer_scale_2")
        } else {
            (Mixer::convolution(weights, &mixer, width)?, "layer_scale")
        };
        let [conv, up, down] = ["conv", "fc1", "fc2"].map(|part| format!("{name}.mlp.{part}"));
        let one = |inputs, outputs| Shape { outputs, inputs, edge: 1 };
        let mut end = Kernel::load(weights, &down, one(inner, width))?;
        end.scale(&scale(weights, &format!("{name}.{layer_scale}"), width)?);
        Ok(Self {
            mixer,
            depthwise: Kernel::load_normed(weights, &conv, Shape { outputs: width, inputs: 1, edge: 7 })?
                .depthwise(weights, &conv, width, 1)?,
            up: Kernel::load(weights, &up, one(width, inner))?.linear(weights, &up)?,
            down: end.linear(weights, &down)?,
        })
    }

    fn forward(&self, on: On<T>, edge: usize, work: &mut Workspace<T>) {
        let set = on.set.into();
        match &self.mixer {
            Mixer::Convolution(depthwise) => work.convolve(set, depthwise, edge),
            Mixer::Attention { query: of_query, key_value: of_key_value, out, attention } => {
                let Workspace { x, inner, hidden, query, key_value, heads, .. } = &mut *work;
                let (rows, columns) = (x.rows(), x.columns());
                inner.shape(rows, columns);
                Part { rows: 0..rows, columns: 0..columns }.copy(x, inner, 0, 0);
                of_query.forward(on, inner, Then::Store, query);
                of_key_value.forward(on, inner, Then::Store, key_value);
                hidden.shape(rows, columns);
                let all = Sequence { queries: 0..rows, keys: 0..rows };
                attention.attend(set, query, key_value, &all, heads, hidden);
                out.forward(on, hidden, Then::Add, x);
            }
        }
        let Workspace { x, inner, hidden, planes, .. } = work;
        self.depthwise.forward(set, x, edge, Then::Store, planes, inner);
        self.up.forward(on, inner, GELU, hidden);
        self.down.forward(on, hidden, Then::Add, x);
    }
}

impl<T: Operand> Mixer<T> {
    /// RepMixer: the input, and a scaled difference of two convolutions of it.
    fn convolution(weights: &Weights<'_>, name: &str, width: usize) -> Result<Self> {
        let mixer = format!("{name}.mixer");
        let mut kernel =
            Kernel::load_branches(weights, &mixer, Shape { outputs: width, inputs: 1, edge: 3 }, true)?;
        kernel.subtract_identity(&Affine::load(weights, &format!("{name}.norm.identity"), width)?);
        kernel.scale(&scale(weights, &format!("{name}.layer_scale"), width)?);
        kernel.add_input();
        Ok(Self::Convolution(kernel.depthwise(weights, &mixer, width, 1)?))
    }

    fn attention(
        weights: &Weights<'_>,
        name: &str,
        width: usize,
        norm: &Affine,
        scale: &[f64],
    ) -> Result<Self> {
        let [packed, proj] = ["qkv", "proj"].map(|part| format!("{name}.{part}"));
        let mut kernel = Kernel::load_linear(weights, &packed, width, 3 * width)?;
        kernel.after(norm);
        let (rows, bias) = kernel.rounded(weights, &packed)?;
        let [query, key_value] = Linear::split_packed(width, &rows, &bias);
        let mut out = Kernel::load_biased(weights, &proj, width, width)?;
        out.scale(scale);
        let attention = Attention::new(width, width / HEAD, false);
        Ok(Self::Attention { query, key_value, out: out.linear(weights, &proj)?, attention })
    }
}

impl Gate {
    fn load(weights: &Weights<'_>, name: &str, width: usize, squeezed: usize) -> Result<Self> {
        let layer = |part: &str, inputs, outputs| {
            let name = format!("{name}.{part}");
            Kernel::load(weights, &name, Shape { outputs, inputs, edge: 1 })?.linear(weights, &name)
        };
        Ok(Self { squeeze: layer("fc1", width, squeezed)?, excite: layer("fc2", squeezed, width)? })
    }

    /// Multiplies each channel, and activates what comes out.
    fn forward<U: Operand>(&self, set: InstructionSet, x: &Slabs<f32>, out: &mut Slabs<U>) {
        let on = On::<f32> { set, parts: 1 };
        let (mut squeezed, mut excited) = (Slabs::<f32>::default(), Slabs::<f32>::default());
        self.squeeze.forward(on, &Slabs::of_row(&column_means(x)), Then::Store, &mut squeezed);
        let active: Vec<f32> = squeezed.row_values(0).into_iter().map(relu).collect();
        self.excite.forward(on, &Slabs::of_row(&active), Then::Store, &mut excited);
        let gates: Vec<f32> = excited.row_values(0).into_iter().map(sigmoid).collect();
        set.gate(x, &runs(&gates), out);
    }
}
