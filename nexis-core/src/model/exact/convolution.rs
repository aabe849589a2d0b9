//! Convolutions of single channels, each output one chain of fused multiply-adds (models/EXACT.md, 5).

use rayon::prelude::*;

use super::instructions::InstructionSet;
use super::operand::Operand;
use super::product::{Then, finish};
use super::slabs::{Run, SLAB, Slabs, runs};

/// Outputs that lie side by side and are computed together, since each step of a chain waits for the one before.
pub(super) const ABREAST: usize = 4;

/// A convolution that reads one channel for each output, over a square map: a row for each place, line by line.
pub(super) struct Depthwise {
    /// Lines and columns of the kernel, an odd number. As many places as its middle is from its edge are put around a map,
    /// all of them zero.
    kernel: usize,
    stride: usize,
    /// Outputs of one channel, which lie side by side.
    each: usize,
    /// For each slab of outputs a run for each place of the kernel, line by line.
    taps: Vec<Run<f32>>,
    bias: Vec<Run<f32>>,
}

/// One slab of an input with zeros around it, and what it is to be multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    /// Line by line.
    pub(super) input: &'a [Run<f32>],
    /// Places of a line.
    pub(super) width: usize,
    pub(super) stride: usize,
    pub(super) kernel: usize,
    pub(super) taps: &'a [Run<f32>],
    pub(super) start: &'a Run<f32>,
}

/// The slabs of one thread, and its memory.
type Share<'a, U> = (&'a mut [Run<U>], &'a mut Vec<Run<f32>>);

/// The outputs of some places side by side.
pub(super) type Outputs = [Run<f32>; ABREAST];

impl Depthwise {
    /// From kernels `[outputs, kernel, kernel]`.
    pub(super) fn new(kernel: usize, stride: usize, each: usize, values: &[f32], bias: &[f32]) -> Self {
        let places = kernel * kernel;
        let mut taps = vec![Run::default(); bias.len().div_ceil(SLAB) * places];
        for (output, values) in values.chunks_exact(places.max(1)).enumerate() {
            let slab = taps.iter_mut().skip(output / SLAB * places);
            for (tap, value) in slab.zip(values) {
                if let Some(to) = tap.0.get_mut(output % SLAB) {
                    *to = *value;
                }
            }
        }
        Self { kernel, stride, each: each.max(1), taps, bias: runs(bias) }
    }

    /// The edge of what comes of a map.
    pub(super) fn edge(&self, edge: usize) -> usize {
        edge.div_ceil(self.stride.max(1))
    }

    /// Of a map with this edge. As many threads as there are `planes`, which are their memory, share out slabs.
    pub(super) fn forward<U: Operand>(
        &self,
        set: InstructionSet,
        x: &Slabs<f32>,
        edge: usize,
        then: Then,
        planes: &mut [Vec<Run<f32>>],
        out: &mut Slabs<U>,
    ) {
        let (places, columns) = (self.edge(edge) * self.edge(edge), x.columns() * self.each);
        out.shape(places, columns);
        let slabs = columns.div_ceil(SLAB);
        let share = slabs.div_ceil(planes.len().max(1)).max(1);
        let work = |(i, (out, plane)): (usize, Share<'_, U>)| {
            for (j, out) in out.chunks_exact_mut(places.max(1)).enumerate() {
                self.slab(set, x, edge, i * share + j, then, plane, out);
            }
        };
        let shares = (places * share).max(1);
        if planes.len() > 1 {
            out.runs_mut().par_chunks_mut(shares).zip(planes).enumerate().for_each(work);
        } else {
            out.runs_mut().chunks_mut(shares).zip(planes).enumerate().for_each(work);
        }
    }

    #[allow(clippy::too_many_arguments)] // what `forward` was given
    fn slab<U: Operand>(
        &self,
        set: InstructionSet,
        x: &Slabs<f32>,
        edge: usize,
        slab: usize,
        then: Then,
        plane: &mut Vec<Run<f32>>,
        out: &mut [Run<U>],
    ) {
        let (places, border) = (self.kernel * self.kernel, self.kernel / 2);
        let width = edge + 2 * border;
        plane.clear();
        plane.resize(width * width, Run::default());
        let lines = plane.chunks_exact_mut(width.max(1)).skip(border).take(edge);
        for (y, line) in lines.enumerate() {
            let line = line.get_mut(border..border + edge).unwrap_or_default();
            self.spread(x, slab, y * edge, line);
        }
        let taps = self.taps.get(slab * places..(slab + 1) * places).unwrap_or_default();
        let zero = Run::default();
        let start = self.bias.get(slab).unwrap_or(&zero);
        let of = Plane { input: plane, width, stride: self.stride, kernel: self.kernel, taps, start };
        set.depthwise(of, self.edge(edge), then, out);
    }

    /// Writes the inputs of a slab's outputs, from row `first` on.
    fn spread(&self, x: &Slabs<f32>, slab: usize, first: usize, line: &mut [Run<f32>]) {
        let of_slab = |from: usize| {
            let first = from * x.rows() + first;
            x.runs().get(first..first + line.len()).unwrap_or_default()
        };
        if self.each == 1 {
            let from = of_slab(slab);
            if from.len() == line.len() {
                line.copy_from_slice(from);
            }
            return;
        }
        // Inputs are fewer than outputs, so that two slabs of them are all that is read.
        let input = |lane: usize| (slab * SLAB + lane) / self.each;
        let from: Vec<&[Run<f32>]> = (0..SLAB).map(|lane| of_slab(input(lane) / SLAB)).collect();
        for (place, to) in line.iter_mut().enumerate() {
            for ((lane, to), from) in to.0.iter_mut().enumerate().zip(&from) {
                let value = from.get(place).and_then(|run| run.0.get(input(lane) % SLAB));
                *to = value.copied().unwrap_or_default();
            }
        }
    }
}

/// Computes all places of a plane, a line of which has `edge` outputs. `sums` computes the chains of so many that lie side
/// by side, the first of which reads the input from a place on.
#[inline(always)]
pub(super) fn depthwise<U: Operand>(
    sums: impl Fn(usize, Plane<'_>, usize, &mut Outputs),
    plane: Plane<'_>,
    edge: usize,
    then: Then,
    out: &mut [Run<U>],
) {
    let mut outputs = Outputs::default();
    for (y, line) in out.chunks_exact_mut(edge.max(1)).enumerate() {
        for (block, out) in line.chunks_mut(ABREAST).enumerate() {
            let first = y * plane.stride * plane.width + block * ABREAST * plane.stride;
            sums(out.len(), plane, first, &mut outputs);
            out.iter_mut().zip(&outputs).for_each(|(out, sums)| finish(out, sums, then));
        }
    }
}
