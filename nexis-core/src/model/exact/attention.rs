//! Attention of one sequence (models/EXACT.md, 4), head by head.

use std::ops::Range;

use rayon::prelude::*;

use super::instructions::InstructionSet;
use super::operand::Operand;
use super::product::{Product, Then};
use super::slabs::{Block, Slabs};

/// The attention of a tower.
#[derive(Clone, Copy)]
pub(super) struct Attention {
    /// Number of heads.
    heads: usize,
    /// Columns of one head.
    size: usize,
    /// Whether a row sees itself and the rows before it alone.
    causal: bool,
}

/// One sequence's rows, of which queries may be fewer than keys.
#[derive(Clone)]
pub(super) struct Sequence {
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
}

/// Memory of one thread that works on heads.
#[derive(Default)]
pub(super) struct HeadSpace {
    query: Slabs<f32>,
    keys: Slabs<f32>,
    values: Slabs<f32>,
    scores: Slabs<f32>,
    /// What came out, for each head.
    out: Vec<Slabs<f32>>,
}

impl Attention {
    pub(super) fn new(width: usize, heads: usize, causal: bool) -> Self {
        Self { heads, size: width / heads.max(1), causal }
    }

    /// The columns of all heads.
    fn width(&self) -> usize {
        self.heads * self.size
    }

    /// Writes what the queries of a sequence attend to into their rows of `out`. Keys and values are side by side.
    ///
    /// As many threads as there are `spaces` share out the heads.
    pub(super) fn attend<T: Operand>(
        self,
        set: InstructionSet,
        query: &Slabs<f32>,
        key_value: &Slabs<f32>,
        sequence: &Sequence,
        spaces: &mut [HeadSpace],
        out: &mut Slabs<T>,
    ) {
        let each = self.heads.div_ceil(spaces.len().max(1)).max(1);
        let work = |(i, space): (usize, &mut HeadSpace)| {
            let heads = i * each..self.heads.min((i + 1) * each);
            space.out.resize_with(heads.len(), Slabs::default);
            for (i, head) in heads.enumerate() {
                self.attend_head(set, query, key_value, sequence, head, i, space);
            }
        };
        if spaces.len() > 1 {
            spaces.par_iter_mut().enumerate().for_each(work);
        } else {
            spaces.iter_mut().enumerate().for_each(work);
        }
        let rows = 0..sequence.queries.len();
        for (head, from) in spaces.iter().flat_map(|space| &space.out).enumerate() {
            let block = Block { rows: rows.clone(), columns: 0..self.size };
            block.copy(from, out, sequence.queries.start, head * self.size);
        }
    }

    /// One head, into output `i` of its thread's space.
    #[allow(clippy::too_many_arguments)] // what `attend` was given
    fn attend_head(
        self,
        set: InstructionSet,
        query: &Slabs<f32>,
        key_value: &Slabs<f32>,
        sequence: &Sequence,
        head: usize,
        i: usize,
        space: &mut HeadSpace,
    ) {
        let HeadSpace { query: own_query, keys, values, scores, out } = space;
        let Some(out) = out.get_mut(i) else { return };
        let (queries, length) = (sequence.queries.len(), sequence.keys.len());
        let columns = |part: usize| {
            let first = part * self.width() + head * self.size;
            first..first + self.size
        };
        own_query.shape(queries, self.size);
        Block { rows: sequence.queries.clone(), columns: columns(0) }.copy(query, own_query, 0, 0);
        Block { rows: sequence.keys.clone(), columns: columns(0) }.transpose(key_value, keys);
        values.shape(length, self.size);
        Block { rows: sequence.keys.clone(), columns: columns(1) }.copy(key_value, values, 0, 0);

        scores.shape(queries, length);
        let product = |left, right| Product::<f32> { left, right, bias: &[], then: Then::Store };
        set.product(product(own_query, keys.runs()), scores.runs_mut());
        // A single query is that of the last row, or of a row that sees all.
        set.softmax(scores, self.causal && queries == length, (self.size as f32).sqrt().recip());
        out.shape(queries, self.size);
        set.product(product(scores, values.runs()), out.runs_mut());
    }
}
