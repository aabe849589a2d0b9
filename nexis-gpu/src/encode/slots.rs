//! What several batches need for themselves, lent to one after another.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Things of one kind that calls of several threads take and give back.
pub(super) struct Slots<S> {
    state: Mutex<State<S>>,
    back: Condvar,
}

struct State<S> {
    free: Vec<S>,
    /// How many wait for one.
    waiting: usize,
}

/// One that was taken; given back when dropped.
pub(super) struct Taken<'a, S> {
    slots: &'a Slots<S>,
    slot: Option<S>,
}

impl<S> Slots<S> {
    pub(super) const fn new(all: Vec<S>) -> Self {
        Self { state: Mutex::new(State { free: all, waiting: 0 }), back: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is free. Where there is none, or others wait for one, the next that comes back, or `None` without waiting. Who
    /// holds one does not wait for another: the others might do the same.
    pub(super) fn take(&self, waits: bool) -> Option<Taken<'_, S>> {
        let mut state = self.lock();
        if state.waiting > 0 || state.free.is_empty() {
            if !waits {
                return None;
            }
            state.waiting += 1;
            loop {
                state = self.back.wait(state).unwrap_or_else(PoisonError::into_inner);
                if !state.free.is_empty() {
                    break;
                }
            }
            state.waiting -= 1;
        }
        let slot = state.free.pop();
        if state.waiting > 0 && !state.free.is_empty() {
            // It came back while the one that was woken for another was not awake yet.
            self.back.notify_one();
        }
        Some(Taken { slots: self, slot })
    }

    /// Whether somebody waits for one.
    pub(super) fn are_waited_for(&self) -> bool {
        self.lock().waiting > 0
    }
}

impl<S> Taken<'_, S> {
    /// What was taken.
    pub(super) const fn get(&mut self) -> Option<&mut S> {
        self.slot.as_mut()
    }
}

impl<S> Drop for Taken<'_, S> {
    fn drop(&mut self) {
        self.slots.lock().free.extend(self.slot.take());
        self.slots.back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_is_lent_to_one_at_a_time() {
        let slots = Slots::new(vec![AtomicUsize::new(0), AtomicUsize::new(0)]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut taken = slots.take(true).unwrap();
                        let slot = taken.get().unwrap();
                        assert_eq!(slot.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        slot.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        let both = [slots.take(false), slots.take(false)];
        assert!(both.iter().all(Option::is_some) && slots.take(false).is_none());
        drop(both);
        assert!(slots.take(false).is_some());
    }

    #[test]
    fn whoever_waits_comes_before_those_who_have_one() {
        let slots = Slots::new(vec![0, 1]);
        let held = [slots.take(true), slots.take(true)];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(true).is_some());
            while !slots.are_waited_for() {
                std::thread::yield_now();
            }
            assert!(slots.take(false).is_none());
            drop(held);
            assert!(waiting.join().unwrap());
        });
        assert!(!slots.are_waited_for() && slots.take(false).is_some());
    }

    #[test]
    fn one_comes_back_from_a_panic() {
        let slots = Slots::new(vec![0]);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _taken = slots.take(true);
            std::panic::panic_any("of the test");
        }));
        assert!(caught.is_err() && slots.take(false).is_some());
    }
}
