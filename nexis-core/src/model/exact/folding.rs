//! Convolutions of branches and batch normalisations, made one when they are loaded (models/EXACT.md, 5).
//!
//! All of it is binary64, rounded to binary32 once, at the end.

use super::super::weights::Weights;
use super::convolution::Depthwise;
use super::operand::Operand;
use super::tower::Linear;
use crate::error::Result;

/// What timm adds to a variance.
const EPS: f64 = 1e-5;

/// A batch normalisation with the statistics of training: a factor and a summand for each channel.
pub(super) struct Affine {
    factor: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    pub(super) fn load(weights: &Weights<'_>, name: &str, channels: usize) -> Result<Self> {
        let values = |part: &str| values(weights, &format!("{name}.{part}"), &[channels]);
        let (weight, bias) = (values("weight")?, values("bias")?);
        let (mean, variance) = (values("running_mean")?, values("running_var")?);
        if variance.iter().any(|variance| *variance < 0.0) {
            return Err(weights.error(&format!("{name}.running_var"), "holds a variance below zero"));
        }
        let factor: Vec<f64> = weight.iter().zip(&variance).map(|(w, v)| w / (v + EPS).sqrt()).collect();
        let shift = bias.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        Ok(Self { factor, shift })
    }
}

/// A layer scale: one factor for each channel.
pub(super) fn scale(weights: &Weights<'_>, name: &str, channels: usize) -> Result<Vec<f64>> {
    values(weights, &format!("{name}.gamma"), &[channels, 1, 1])
}

fn values(weights: &Weights<'_>, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
    Ok(weights.values(name, shape)?.into_iter().map(f64::from).collect())
}

/// The shape of a kernel.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) outputs: usize,
    /// Inputs that one output reads.
    pub(super) inputs: usize,
    /// Lines and columns, an odd number.
    pub(super) edge: usize,
}

/// A convolution.
pub(super) struct Kernel {
    shape: Shape,
    /// `[outputs, inputs, edge, edge]`.
    values: Vec<f64>,
    /// One for each output.
    bias: Vec<f64>,
}

impl Kernel {
    /// A convolution with a bias of its own.
    pub(super) fn load(weights: &Weights<'_>, name: &str, shape: Shape) -> Result<Self> {
        let bias = format!("{name}.bias");
        let kernel = Self::load_plain(weights, name, shape)?;
        Ok(Self { bias: values(weights, &bias, &[shape.outputs])?, ..kernel })
    }

    /// A convolution without bias.
    fn load_plain(weights: &Weights<'_>, name: &str, shape: Shape) -> Result<Self> {
        let Shape { outputs, inputs, edge } = shape;
        let values = values(weights, &format!("{name}.weight"), &[outputs, inputs, edge, edge])?;
        Ok(Self { shape, values, bias: vec![0.0; outputs] })
    }

    /// A linear layer without bias.
    pub(super) fn load_linear(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let values = values(weights, &format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Self { shape: Shape { outputs, inputs, edge: 1 }, values, bias: vec![0.0; outputs] })
    }

    /// A linear layer.
    pub(super) fn load_biased(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let bias = values(weights, &format!("{name}.bias"), &[outputs])?;
        Ok(Self { bias, ..Self::load_linear(weights, name, inputs, outputs)? })
    }

    /// A convolution, and the normalisation that follows it.
    pub(super) fn load_normed(weights: &Weights<'_>, name: &str, shape: Shape) -> Result<Self> {
        let mut kernel = Self::load_plain(weights, &format!("{name}.conv"), shape)?;
        let Affine { factor, shift } = Affine::load(weights, &format!("{name}.bn"), shape.outputs)?;
        kernel.scale(&factor);
        kernel.bias = shift;
        Ok(kernel)
    }

    /// Of MobileOne: a convolution, in its middle the branch that scales, and what passes unchanged but for a
    /// normalisation, where there is such a branch.
    pub(super) fn load_branches(
        weights: &Weights<'_>,
        name: &str,
        shape: Shape,
        identity: bool,
    ) -> Result<Self> {
        let mut kernel = Self::load_normed(weights, &format!("{name}.conv_kxk.0"), shape)?;
        if shape.edge > 1 {
            let one = Shape { edge: 1, ..shape };
            kernel.add(&Self::load_normed(weights, &format!("{name}.conv_scale"), one)?);
        }
        if identity {
            kernel.add_identity(&Affine::load(weights, &format!("{name}.identity"), shape.outputs)?);
        }
        Ok(kernel)
    }

    /// Values of one output.
    fn reach(&self) -> usize {
        (self.shape.inputs * self.shape.edge * self.shape.edge).max(1)
    }

    /// Multiplies each output.
    pub(super) fn scale(&mut self, factor: &[f64]) {
        let reach = self.reach();
        for ((values, bias), factor) in self.values.chunks_exact_mut(reach).zip(&mut self.bias).zip(factor) {
            values.iter_mut().for_each(|value| *value *= factor);
            *bias *= factor;
        }
    }

    /// Adds another of the same outputs and inputs, whose edge is no larger, into the middle.
    pub(super) fn add(&mut self, other: &Self) {
        let (edge, small) = (self.shape.edge, other.shape.edge);
        let border = edge.saturating_sub(small) / 2;
        let planes = self.values.chunks_exact_mut((edge * edge).max(1));
        for (plane, from) in planes.zip(other.values.chunks_exact((small * small).max(1))) {
            let lines = plane.chunks_exact_mut(edge.max(1)).skip(border);
            for (line, from) in lines.zip(from.chunks_exact(small.max(1))) {
                line.iter_mut().skip(border).zip(from).for_each(|(value, from)| *value += from);
            }
        }
        self.bias.iter_mut().zip(&other.bias).for_each(|(bias, other)| *bias += other);
    }

    /// The value that stands for an input, of the output of the same number.
    fn diagonal(&mut self) -> impl Iterator<Item = &mut f64> {
        let (reach, plane) = (self.reach(), self.shape.edge * self.shape.edge);
        let inputs = self.shape.inputs.max(1);
        let middle = move |output: usize| output % inputs * plane + plane / 2;
        self.values
            .chunks_exact_mut(reach)
            .enumerate()
            .filter_map(move |(output, values)| values.get_mut(middle(output)))
    }

    /// Adds what passes an input to the output of the same number.
    pub(super) fn add_identity(&mut self, of: &Affine) {
        self.diagonal().zip(&of.factor).for_each(|(value, factor)| *value += factor);
        self.bias.iter_mut().zip(&of.shift).for_each(|(bias, shift)| *bias += shift);
    }

    /// Takes the same away.
    pub(super) fn subtract_identity(&mut self, of: &Affine) {
        self.diagonal().zip(&of.factor).for_each(|(value, factor)| *value -= factor);
        self.bias.iter_mut().zip(&of.shift).for_each(|(bias, shift)| *bias -= shift);
    }

    /// Adds the input itself.
    pub(super) fn add_input(&mut self) {
        self.diagonal().for_each(|value| *value += 1.0);
    }

    /// Puts a normalisation before it, whose edge has to be 1: its bias is added up input by input.
    pub(super) fn after(&mut self, norm: &Affine) {
        let inputs = self.reach();
        for (values, bias) in self.values.chunks_exact_mut(inputs).zip(&mut self.bias) {
            *bias += values.iter().zip(&norm.shift).fold(0.0, |sum, (value, shift)| sum + value * shift);
            values.iter_mut().zip(&norm.factor).for_each(|(value, factor)| *value *= factor);
        }
    }

    /// Values and biases in binary32. `name` is what is complained about where they do not fit.
    pub(super) fn rounded(&self, weights: &Weights<'_>, name: &str) -> Result<(Vec<f32>, Vec<f32>)> {
        let round = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
        let (values, bias) = (round(&self.values), round(&self.bias));
        if values.iter().chain(&bias).any(|value| !value.is_finite()) {
            let why =
                "and what belongs to it give weights beyond the range of f32; fetch or export them again";
            return Err(weights.error(name, why));
        }
        Ok((values, bias))
    }

    /// As a product over the inputs' rows.
    pub(super) fn linear<T: Operand>(&self, weights: &Weights<'_>, name: &str) -> Result<Linear<T>> {
        let (values, bias) = self.rounded(weights, name)?;
        Ok(Linear::from_outputs(self.reach(), &values, &bias))
    }

    /// As a convolution of each channel by itself.
    pub(super) fn depthwise(
        &self,
        weights: &Weights<'_>,
        name: &str,
        channels: usize,
        stride: usize,
    ) -> Result<Depthwise> {
        let (values, bias) = self.rounded(weights, name)?;
        Ok(Depthwise::new(self.shape.edge, stride, self.shape.outputs / channels.max(1), &values, &bias))
    }
}
