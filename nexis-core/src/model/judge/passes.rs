//! Threads of a judge's own, on which one call is computed at a time.
//!
//! A thread of a pool that waits for a product takes up other work of the pool: rows of a run that judge, and so further
//! questions, on the same stack and in the same memory. On a pool of their own, questions of one call are all that
//! there is, and whoever waits for it takes up nothing.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// A pool of as many threads as the one that it was made on.
pub(super) struct Passes {
    pool: rayon::ThreadPool,
    permit: Mutex<()>,
}

impl Passes {
    pub(super) fn new() -> Result<Self> {
        let threads = rayon::current_num_threads();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("judge-{i}"))
            .build()
            .map_err(|e| Error::Internal(format!("{threads} threads for a judge: {e}")))?;
        Ok(Self { pool, permit: Mutex::new(()) })
    }

    /// Runs one call's work by itself. A panic in it is the caller's, and others go on.
    ///
    /// # Errors
    /// Where `work` fails, or the system has no thread for it.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let _permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        // Through a plain thread: a caller on another pool would take up that pool's work while it waits here, and
        // with it come back for the permit that it holds.
        std::thread::scope(|scope| {
            let waiting = std::thread::Builder::new()
                .spawn_scoped(scope, || self.pool.install(work))
                .map_err(|e| Error::Internal(format!("a thread for a judge: {e}")))?;
            waiting.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn one_call_at_a_time_however_many_rows_wait() {
        let passes = Passes::new().unwrap();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let call = |i: usize| {
            let sum = passes.run(|| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Work that is shared out, as a product's is.
                let sum: usize = (0..2000_usize).into_par_iter().map(|n| n ^ i).sum();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(sum)
            });
            sum.unwrap()
        };
        let alone: Vec<usize> = (0..64).map(call).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let together: Vec<usize> = pool.install(|| (0..64).into_par_iter().map(call).collect());
        assert_eq!((together, most.into_inner()), (alone, 1));
    }

    #[test]
    fn a_panic_is_the_callers_and_the_next_call_goes_on() {
        let passes = Passes::new().unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| passes.run::<()>(|| panic!("in a pass"))));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"in a pass"));
        assert_eq!(passes.run(|| Ok(7)).unwrap(), 7);
    }
}
