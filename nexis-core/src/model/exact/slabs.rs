//! How matrices lie in memory: slabs of 32 columns, each with all rows of the matrix.
//!
//! A tile of a product reads a few rows of each slab on its left and one slab on its right, and writes the same rows of
//! one slab, all of them without a gap. So nothing is packed between two products: what one writes the next one reads.

use std::ops::Range;

use super::operand::Operand;

/// Columns of a slab: two of the widest registers of `f32`.
pub(crate) const SLAB: usize = 32;

/// One row's values of one slab. They begin a cache line, so that no load of a whole register crosses one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Run<T>(pub(crate) [T; SLAB]);

impl<T: Copy + Default> Default for Run<T> {
    fn default() -> Self {
        Self([T::default(); SLAB])
    }
}

/// A vector as runs, the last filled up with zeros.
pub(crate) fn runs(values: &[f32]) -> Vec<Run<f32>> {
    let run = |values: &[f32]| {
        let mut run = Run::default();
        run.0.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        run
    };
    values.chunks(SLAB).map(run).collect()
}

/// A matrix. What its last slab has beyond its columns is zero, or follows from zeros.
#[derive(Default)]
pub(crate) struct Slabs<T> {
    rows: usize,
    columns: usize,
    runs: Vec<Run<T>>,
}

impl<T: Operand> Slabs<T> {
    /// Makes it a matrix of this shape, in the memory that is there. Its values are whatever they were.
    pub(crate) fn shape(&mut self, rows: usize, columns: usize) {
        if (self.rows, self.columns) != (rows, columns) {
            (self.rows, self.columns) = (rows, columns);
            self.runs.clear();
            self.runs.resize(rows * columns.div_ceil(SLAB), Run::default());
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// All runs: those of the first slab from the first row to the last, then those of the next slab.
    pub(crate) fn runs(&self) -> &[Run<T>] {
        &self.runs
    }

    pub(crate) fn runs_mut(&mut self) -> &mut [Run<T>] {
        &mut self.runs
    }

    /// The runs of one row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = &Run<T>> {
        self.runs.iter().skip(row).step_by(self.rows.max(1))
    }

    /// The same to write to.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> impl Iterator<Item = &mut Run<T>> {
        self.runs.iter_mut().skip(row).step_by(self.rows.max(1))
    }

    /// Writes a row, and zeros to the end of its last run.
    pub(crate) fn set_row(&mut self, row: usize, values: &[f32]) {
        for (to, from) in self.row_mut(row).zip(values.chunks(SLAB)) {
            to.0.iter_mut().zip(from).for_each(|(to, from)| *to = T::rounded(*from));
            to.0.iter_mut().skip(from.len()).for_each(|to| *to = T::default());
        }
    }

    /// The values of a row.
    pub(crate) fn row_values(&self, row: usize) -> Vec<f32> {
        self.row(row).flat_map(|run| run.0).map(T::widened).take(self.columns).collect()
    }

    /// Keeps these rows alone, which have to ascend.
    pub(crate) fn pick(&mut self, rows: &[usize]) {
        let slabs = self.columns.div_ceil(SLAB);
        let sources = (0..slabs).flat_map(|slab| rows.iter().map(move |row| (slab, row)));
        // A run moves to a place that no later run is read from.
        for (to, (slab, row)) in sources.enumerate() {
            let from = slab * self.rows + row;
            if *row < self.rows && to <= from {
                self.runs.copy_within(from..=from, to);
            }
        }
        self.rows = rows.len();
        self.runs.truncate(slabs * rows.len());
    }
}

impl Slabs<f32> {
    /// A matrix of one row.
    pub(crate) fn of_row(values: &[f32]) -> Self {
        Self { rows: 1, columns: values.len(), runs: runs(values) }
    }

    /// Adds to a row.
    pub(crate) fn add_to_row(&mut self, row: usize, values: &[f32]) {
        for (to, from) in self.row_mut(row).zip(values.chunks(SLAB)) {
            to.0.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
}

/// A part of a matrix.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Block {
    /// Stretches of its columns that lie in one slab here and in one where the first column is `other`: the slab and the
    /// place in it here, those there, and the length.
    fn stretches(&self, other: usize) -> impl Iterator<Item = [usize; 5]> {
        let (mut here, mut there, end) = (self.columns.start, other, self.columns.end);
        std::iter::from_fn(move || {
            let length = (SLAB - here % SLAB).min(SLAB - there % SLAB).min(end.checked_sub(here)?);
            let stretch = [here / SLAB, here % SLAB, there / SLAB, there % SLAB, length];
            (here, there) = (here + length, there + length);
            (length > 0).then_some(stretch)
        })
    }

    /// Copies it from one matrix into another, its first value to `row` and `column`.
    pub(crate) fn copy<T: Operand>(&self, from: &Slabs<f32>, to: &mut Slabs<T>, row: usize, column: usize) {
        for [from_slab, from_at, to_slab, to_at, length] in self.stretches(column) {
            let (from_first, to_first) = (from_slab * from.rows + self.rows.start, to_slab * to.rows + row);
            let from = from.runs.get(from_first..from_first + self.rows.len()).unwrap_or_default();
            let to = to.runs.get_mut(to_first..to_first + self.rows.len()).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(from) {
                let to = to.0.get_mut(to_at..to_at + length).unwrap_or_default();
                let from = from.0.get(from_at..from_at + length).unwrap_or_default();
                to.iter_mut().zip(from).for_each(|(to, from)| *to = T::rounded(*from));
            }
        }
    }

    /// Makes a matrix of its columns as rows.
    pub(crate) fn transpose(&self, from: &Slabs<f32>, to: &mut Slabs<f32>) {
        to.shape(self.columns.len(), self.rows.len());
        let rows = to.rows;
        for [from_slab, from_at, to_slab, to_at, length] in self.stretches(0) {
            let first = from_slab * from.rows + self.rows.start;
            let from = from.runs.get(first..first + self.rows.len()).unwrap_or_default();
            let to_row = to_slab * SLAB + to_at;
            for (from, to) in from.chunks(SLAB).zip(to.runs.chunks_exact_mut(rows.max(1))) {
                let to = to.get_mut(to_row..to_row + length).unwrap_or_default();
                for (i, from) in from.iter().enumerate() {
                    for (to, from) in to.iter_mut().zip(from.0.iter().skip(from_at)) {
                        if let Some(to) = to.0.get_mut(i) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}
