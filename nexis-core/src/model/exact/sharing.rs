//! How items are shared out between threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::operand::Operand;
use super::tower::On;

/// What every pass of one kind runs on: instructions, and memory `W` of one thread.
pub(super) struct Sharing<T: Operand, W> {
    set: T::Instructions,
    /// What passes that are over have left for those to come.
    spaces: Mutex<Vec<W>>,
}

impl<T: Operand, W: Default + Send> Sharing<T, W> {
    pub(super) fn new(set: T::Instructions) -> Self {
        Self { set, spaces: Mutex::default() }
    }

    /// Each thread takes groups of at most `most` items, as many as any other thread; what does not come out even is
    /// shared item by item. How items are grouped shows in the time and nowhere else.
    pub(super) fn in_groups<I: Sync>(
        &self,
        items: &[I],
        most: usize,
        embed: impl Fn(On<T>, &[I], &mut W) -> Vec<Vec<f32>> + Sync,
    ) -> Vec<Vec<f32>> {
        let threads = rayon::current_num_threads().max(1);
        let (even, odd) = items.split_at(items.len() - items.len() % threads);
        let each = even.len() / threads;
        let size = each.div_ceil(each.div_ceil(most.max(1)).max(1)).max(1);
        let parts = threads / odd.len().max(1);
        let run = |parts: usize, group: &[I]| {
            let mut work = self.spaces().pop().unwrap_or_default();
            let rows = embed(On { set: self.set, parts }, group, &mut work);
            self.spaces().push(work);
            rows
        };
        let mut out: Vec<_> = even
            .par_chunks(each.max(1))
            .flat_map_iter(|share| share.chunks(size).flat_map(|group| run(1, group)))
            .collect();
        out.par_extend(odd.par_chunks(1).flat_map_iter(|item| run(parts, item)));
        out
    }

    fn spaces(&self) -> MutexGuard<'_, Vec<W>> {
        // A pass that panicked took its space with it.
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
