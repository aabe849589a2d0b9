//! Calls of several threads in one batch: while as many batches are computed as may be at once, those who come wait in a line,
//! and whoever is free next computes for as many of them as fit. Nobody waits for a batch to fill up, and no result depends on
//! who was beside it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nexis_core::{Error, Result};

/// A line of work `T` that gives `R`.
pub(super) struct Line<T, R> {
    state: Mutex<State<T, R>>,
    changed: Condvar,
    /// Batches that are computed at once.
    at_once: usize,
}

struct State<T, R> {
    next: u64,
    /// Number, work and how much of a batch it takes.
    waiting: VecDeque<(u64, T, usize)>,
    done: HashMap<u64, Result<R>>,
    busy: usize,
}

/// Frees the line, and answers whoever was not answered, also where the computation panics.
struct Turn<'a, T, R> {
    line: &'a Line<T, R>,
    numbers: Vec<u64>,
}

impl<T, R> Drop for Turn<'_, T, R> {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.busy -= 1;
        for number in self.numbers.drain(..) {
            state.done.insert(number, Err(Error::Internal("a batch broke off".to_owned())));
        }
        self.line.changed.notify_all();
    }
}

impl<T, R> Line<T, R> {
    pub(super) fn new(at_once: usize) -> Self {
        let state = State { next: 0, waiting: VecDeque::new(), done: HashMap::new(), busy: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), at_once: at_once.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `work` done, which takes `size` of a batch of `most`, by this thread or by another. `compute` gets the work of
    /// a batch and gives as many results; it is called for a piece of work that is larger than a batch too, alone.
    pub(super) fn submit(
        &self,
        work: T,
        size: usize,
        most: usize,
        compute: impl Fn(Vec<T>) -> Result<Vec<R>>,
    ) -> Result<R> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, work, size));
        loop {
            if let Some(result) = state.done.remove(&number) {
                return result;
            }
            // Where nothing waits, this work is in a batch of another's.
            if state.busy == self.at_once || state.waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy += 1;
            let (mut turn, mut batch, mut taken) = (Turn { line: self, numbers: Vec::new() }, Vec::new(), 0);
            while let Some((_, _, size)) = state.waiting.front()
                && (batch.is_empty() || taken + size <= most)
            {
                taken += size;
                if let Some((number, work, _)) = state.waiting.pop_front() {
                    turn.numbers.push(number);
                    batch.push(work);
                }
            }
            drop(state);
            let results = compute(batch);
            state = self.lock();
            match results {
                Ok(results) if results.len() == turn.numbers.len() => {
                    state.done.extend(turn.numbers.drain(..).zip(results.into_iter().map(Ok)));
                }
                Ok(_) => {}
                Err(error) => {
                    let again = |_| {
                        Err(Error::Unavailable {
                            what: "a batch on the device".to_owned(),
                            why: error.to_string(),
                        })
                    };
                    let numbers: Vec<_> = turn.numbers.drain(..).collect();
                    state.done.extend(numbers.into_iter().map(|number| (number, again(()))));
                }
            }
            drop(state);
            drop(turn);
            state = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_gets_its_own_and_those_who_wait_go_together() {
        let (line, begun, batches) = (Line::new(1), AtomicBool::new(false), AtomicUsize::new(0));
        let compute = |batch: Vec<u32>| {
            batches.fetch_add(1, Ordering::SeqCst);
            assert!(batch.len() <= 4, "{batch:?}");
            // The first holds the line until the others stand in it.
            if !begun.swap(true, Ordering::SeqCst) {
                while line.lock().waiting.len() < 8 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Ok(batch.into_iter().map(|x| x * 10).collect())
        };
        std::thread::scope(|scope| {
            for x in 0..9 {
                let (line, compute) = (&line, &compute);
                scope.spawn(move || assert_eq!(line.submit(x, 1, 4, compute).unwrap(), x * 10));
            }
        });
        // One alone, and eight in two batches of four.
        assert_eq!(batches.load(Ordering::SeqCst), 3);
        assert!(line.lock().done.is_empty());
    }

    #[test]
    fn two_batches_are_computed_at_once_and_no_more() {
        let (line, together) = (Line::new(2), std::sync::Barrier::new(2));
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let compute = |batch: Vec<u32>| {
            assert!(!batch.is_empty(), "a turn with nothing to do");
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first waits for another beside it.
            if batch.iter().all(|x| *x < 2) {
                together.wait();
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(batch)
        };
        std::thread::scope(|scope| {
            for x in 0..2 {
                let (line, compute) = (&line, &compute);
                scope.spawn(move || assert_eq!(line.submit(x, 1, 1, compute).unwrap(), x));
            }
        });
        std::thread::scope(|scope| {
            for x in 2..20 {
                let (line, compute) = (&line, &compute);
                scope.spawn(move || assert_eq!(line.submit(x, 1, 4, compute).unwrap(), x));
            }
        });
        assert_eq!(most.into_inner(), 2);
        assert_eq!(line.lock().busy, 0);
    }

    #[test]
    fn a_failure_reaches_all_of_a_batch_and_the_line_goes_on() {
        let line = Line::new(1);
        let failing = |_: Vec<u32>| Err::<Vec<u32>, _>(Error::Internal("no device".into()));
        let error = line.submit(1, 1, 4, failing).unwrap_err().to_string();
        assert!(error.contains("no device"), "{error}");
        let short = |_: Vec<u32>| Ok(Vec::<u32>::new());
        assert!(line.submit(1, 1, 4, short).unwrap_err().to_string().contains("broke off"));
        let panicking = |_: Vec<u32>| -> Result<Vec<u32>> { std::panic::panic_any("of the test") };
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| line.submit(1, 1, 4, panicking)));
        assert!(caught.is_err());
        // Larger than a batch, alone.
        assert_eq!(line.submit(7, 9, 4, Ok).unwrap(), 7);
    }
}
