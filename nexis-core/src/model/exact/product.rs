//! Matrix products whose every element is one chain of fused multiply-adds (models/EXACT.md, 1).
//!
//! `y[m, n]` starts from `bias[n]`, or from zero, and takes up `fma(x[m, k], w[k, n], y)` for `k` from first to
//! last. Tiles, panels and threads decide when an element is computed and never how, so an element depends on its
//! own row and column alone.

use super::arithmetic::Activation;

/// Columns of a panel: two of the widest registers.
pub(crate) const PANEL: usize = 32;
/// Rows of a full tile. With 32 columns, its sums fill 24 of the 32 widest registers.
const TILE: usize = 12;

/// The right-hand matrix of a product, `[depth, columns]`, laid out as a product reads it: panels of 32 columns,
/// each `[depth][32]`, the last filled up with zeros.
#[derive(Default)]
pub(crate) struct Factor {
    depth: usize,
    columns: usize,
    panels: Vec<[f32; PANEL]>,
}

impl Factor {
    /// From rows of outputs, `[columns, depth]`, as linear layers are stored.
    pub(crate) fn from_outputs(depth: usize, columns: usize, values: &[f32]) -> Self {
        let mut factor = Self::default();
        factor.fill(depth, columns, |k, n| values.get(n * depth + k).copied().unwrap_or_default());
        factor
    }

    /// Lays out `value(k, n)` anew, in the memory that is there.
    pub(crate) fn fill(&mut self, depth: usize, columns: usize, value: impl Fn(usize, usize) -> f32) {
        (self.depth, self.columns) = (depth, columns);
        self.panels.clear();
        self.panels.reserve(columns.div_ceil(PANEL) * depth);
        for first in (0..columns).step_by(PANEL) {
            self.panels.extend((0..depth).map(|k| {
                std::array::from_fn(|i| if first + i < columns { value(k, first + i) } else { 0.0 })
            }));
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }
}

/// What becomes of an element when its chain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is stored.
    Store,
    /// Its activation is stored.
    Activate(Activation),
    /// It is added to what is there.
    Add,
}

/// Rows of a left-hand matrix: row `m` starts at `m * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) count: usize,
    pub(crate) stride: usize,
}

/// A place for the left-hand matrix as a product reads it: for each tile `[depth][rows of the tile]`.
#[derive(Default)]
pub(crate) struct TileBuffer(Vec<f32>);

/// Number of rows of the tile that begins a matrix of `left` rows.
fn tile_rows(left: usize) -> usize {
    match left {
        12.. => TILE,
        8.. => 8,
        6.. => 6,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

impl TileBuffer {
    #[inline(always)]
    fn fill(&mut self, left: Rows<'_>, depth: usize) {
        self.0.clear();
        self.0.resize(left.count * depth, 0.0);
        let mut first = 0;
        while first < left.count {
            let rows = tile_rows(left.count - first);
            let tile = self.0.get_mut(first * depth..(first + rows) * depth).unwrap_or_default();
            for row in 0..rows {
                let from = left.values.get((first + row) * left.stride..).unwrap_or_default();
                for (to, from) in tile.iter_mut().skip(row).step_by(rows).zip(from) {
                    *to = *from;
                }
            }
            first += rows;
        }
    }
}

/// The sums of one tile: `[depth][rows]` times one panel, from the panel's first values.
pub(super) type Sums = [[f32; PANEL]; TILE];

/// A product `left * right`, from `bias` where there is one.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) left: Rows<'a>,
    pub(crate) right: &'a Factor,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) then: Then,
}

/// Computes a product into the rows of `out`, which start `out_stride` apart. `tile_sums` is [`blocks`] for a number
/// of rows.
#[inline(always)]
pub(super) fn product(
    tile_sums: impl Fn(usize, &[f32], &[[f32; PANEL]], &[f32; PANEL], &mut Sums),
    product: Product<'_>,
    buffer: &mut TileBuffer,
    out: &mut [f32],
    out_stride: usize,
) {
    let Product { left, right, bias, then } = product;
    let depth = right.depth;
    if depth == 0 {
        return;
    }
    // Shapes come from weights that were checked when they were read.
    debug_assert!(left.count == 0 || left.values.len() >= (left.count - 1) * left.stride + depth);
    debug_assert!(left.count == 0 || out.len() >= (left.count - 1) * out_stride + right.columns);
    debug_assert!(bias.is_none_or(|bias| bias.len() == right.columns));
    buffer.fill(left, depth);
    for (panel, first_column) in right.panels.chunks_exact(depth).zip((0..right.columns).step_by(PANEL)) {
        let mut start = [0.0; PANEL];
        if let Some(bias) = bias {
            for (start, bias) in start.iter_mut().zip(bias.iter().skip(first_column)) {
                *start = *bias;
            }
        }
        let columns = (right.columns - first_column).min(PANEL);
        let mut first = 0;
        while first < left.count {
            let rows = tile_rows(left.count - first);
            let tile = buffer.0.get(first * depth..(first + rows) * depth).unwrap_or_default();
            let mut sums = [[0.0; PANEL]; TILE];
            tile_sums(rows, tile, panel, &start, &mut sums);
            for (row, sums) in sums.iter().take(rows).enumerate() {
                let at = (first + row) * out_stride + first_column;
                finish(out.get_mut(at..at + columns).unwrap_or_default(), sums, then);
            }
            first += rows;
        }
    }
}

/// The chains of one tile and one panel, in blocks of `R` rows and `C` columns, whose sums the compiler keeps in
/// registers: what is best differs by instruction set, the result does not. `R` divides `M`.
#[inline(always)]
pub(super) fn blocks<const M: usize, const R: usize, const C: usize>(
    tile: &[[f32; M]],
    panel: &[[f32; PANEL]],
    start: &[f32; PANEL],
    sums: &mut Sums,
) {
    for part in 0..PANEL / C {
        let Some(start) = start.as_chunks::<C>().0.get(part) else { continue };
        for block in 0..M / R {
            let mut kept = [*start; R];
            for (x, w) in tile.iter().zip(panel) {
                let (Some(x), Some(w)) = (x.as_chunks::<R>().0.get(block), w.as_chunks::<C>().0.get(part))
                else {
                    continue;
                };
                for (kept, x) in kept.iter_mut().zip(x) {
                    for (sum, w) in kept.iter_mut().zip(w) {
                        *sum = x.mul_add(*w, *sum);
                    }
                }
            }
            for (sums, kept) in sums.iter_mut().skip(block * R).zip(&kept) {
                if let Some(to) = sums.as_chunks_mut::<C>().0.get_mut(part) {
                    *to = *kept;
                }
            }
        }
    }
}

#[inline(always)]
fn finish(out: &mut [f32], sums: &[f32; PANEL], then: Then) {
    let pairs = out.iter_mut().zip(sums);
    match then {
        Then::Store => pairs.for_each(|(out, sum)| *out = *sum),
        Then::Activate(Activation::QuickGelu) => {
            pairs.for_each(|(out, sum)| *out = Activation::QuickGelu.of(*sum));
        }
        Then::Activate(Activation::Gelu) => pairs.for_each(|(out, sum)| *out = Activation::Gelu.of(*sum)),
        Then::Add => pairs.for_each(|(out, sum)| *out += sum),
    }
}
