//! The batches of one call, two of which may be under way.

use std::collections::VecDeque;

use nexis_core::{Error, Result};

use super::around::End;
use super::slots::Taken;
use super::{DeviceTowers, Slot};
use crate::compute::Compute;

/// The batches of one call: those that are under way, and the embeddings of those before them.
pub(super) struct Call<'a, C: Compute> {
    towers: &'a DeviceTowers<C>,
    end: &'a End<C::Memory>,
    under_way: VecDeque<Taken<'a, Slot<C>>>,
    rows: Vec<Vec<f32>>,
}

impl<'a, C: Compute> Call<'a, C> {
    pub(super) const fn new(towers: &'a DeviceTowers<C>, end: &'a End<C::Memory>) -> Self {
        Self { towers, end, under_way: VecDeque::new(), rows: Vec::new() }
    }

    /// Has `ask` ask for a batch of so many items in a slot. Where none is free, the first of this call's batches is waited for,
    /// and where it has none, another call's.
    pub(super) fn add(&mut self, items: usize, ask: impl FnOnce(&mut Slot<C>) -> Result<()>) -> Result<()> {
        self.rows.reserve(items);
        let slots = &self.towers.slots;
        let mut taken = match slots.take(self.under_way.is_empty()) {
            Some(taken) => taken,
            None => {
                let mut own = self.next()?;
                if slots.are_waited_for() {
                    // A call of many batches keeps none from whoever waits.
                    drop(own);
                    own = self.next()?;
                }
                own.or_else(|| slots.take(true)).ok_or_else(no_slot)?
            }
        };
        ask(taken.get().ok_or_else(no_slot)?)?;
        self.under_way.push_back(taken);
        Ok(())
    }

    /// Waits for the first batch under way, takes its embeddings, and hands its slot on.
    fn next(&mut self) -> Result<Option<Taken<'a, Slot<C>>>> {
        let Some(mut taken) = self.under_way.pop_front() else { return Ok(None) };
        let bias = match self.end {
            End::Projection(_, bias) => bias.as_deref().unwrap_or_default(),
            End::Pooling(_) => &[],
        };
        let towers = self.towers;
        let bytes = towers.compute.landed(&mut taken.get().ok_or_else(no_slot)?.out)?;
        for row in bytes.chunks_exact((towers.sizes.projection * 4).max(1)) {
            let values = row.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
            let mut row: Vec<f32> = values.collect();
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            self.rows.push(row);
        }
        Ok(Some(taken))
    }

    /// Waits for all, and gives the embeddings in the order of the items.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<f32>>> {
        while self.next()?.is_some() {}
        Ok(self.rows)
    }
}

pub(super) fn no_slot() -> Error {
    Error::Internal("a batch without a slot".to_owned())
}
