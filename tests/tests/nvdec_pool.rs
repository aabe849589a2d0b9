//! Decoders that go from clip to clip: which are handed on, which have to go, and when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use nexis_tests::nvdec_pool::{Ledger, Pool, key_words, room};
use proptest::prelude::*;

fn key(word: u64) -> Vec<u64> {
    let mut words = vec![0; key_words()];
    words[0] = word;
    words
}

fn pool(max_idle: u32, max_bytes: u64) -> (Pool, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let noted = Arc::clone(&ledger);
    (Pool::new(max_idle, max_bytes, Box::new(move |decoder| noted.note(decoder))), ledger)
}

#[test]
fn a_decoder_is_handed_on_once() {
    let (pool, ledger) = pool(4, 100);
    assert_eq!(pool.take(&key(1)), None);
    pool.give(&key(1), 7, 10);
    assert_eq!(pool.take(&key(1)), Some(7));
    assert_eq!(pool.take(&key(1)), None);
    drop(pool);
    // It belongs to whoever took it.
    assert!(ledger.taken().is_empty());
}

#[test]
fn everything_that_it_was_made_with_must_be_the_same() {
    let (pool, _) = pool(4, 100);
    let made: Vec<u64> = (0..key_words() as u64).collect();
    pool.give(&made, 7, 10);
    for word in 0..key_words() {
        let mut other = made.clone();
        other[word] ^= 1 << 63;
        assert_eq!(pool.take(&other), None, "word {word}");
    }
    assert_eq!(pool.take(&made), Some(7));
}

#[test]
fn the_one_that_was_used_longest_ago_goes_first() {
    let (pool, ledger) = pool(3, u64::MAX);
    for decoder in 1..=3 {
        pool.give(&key(decoder), decoder as usize, 1);
    }
    // The first was used again meanwhile.
    assert_eq!(pool.take(&key(1)), Some(1));
    pool.give(&key(1), 1, 1);
    pool.give(&key(4), 4, 1);
    assert_eq!(ledger.taken(), [2]);
    pool.give(&key(5), 5, 1);
    assert_eq!(ledger.taken(), [3]);
    assert_eq!(pool.take(&key(1)), Some(1));
}

#[test]
fn bytes_are_bounded_as_well_as_their_number() {
    let (pool, ledger) = pool(8, 100);
    pool.give(&key(1), 1, 40);
    pool.give(&key(2), 2, 40);
    pool.give(&key(3), 3, 20);
    assert!(ledger.taken().is_empty());
    pool.give(&key(4), 4, 50);
    assert_eq!(ledger.taken(), [1, 2]);
    // Larger than everything together: the others stay.
    pool.give(&key(5), 5, 101);
    assert_eq!(ledger.taken(), [5]);
    pool.give(&key(6), 6, u64::MAX);
    assert_eq!(ledger.taken(), [6]);
    assert_eq!((pool.take(&key(3)), pool.take(&key(4))), (Some(3), Some(4)));
}

#[test]
fn none_is_kept_where_none_may_be() {
    let (pool, ledger) = pool(0, 100);
    pool.give(&key(1), 1, 1);
    assert_eq!(ledger.taken(), [1]);
    assert_eq!(pool.take(&key(1)), None);
}

#[test]
fn no_bound_is_above_the_room() {
    let (pool, ledger) = pool(u32::MAX, u64::MAX);
    for decoder in 1..=room() + 1 {
        pool.give(&key(0), decoder, 1);
    }
    assert_eq!(ledger.taken(), [1]);
}

#[test]
fn what_is_idle_goes_before_the_pool_does() {
    let (pool, ledger) = pool(4, 100);
    pool.give(&key(1), 1, 1);
    pool.give(&key(2), 2, 1);
    assert_eq!(pool.drain(), 2);
    assert_eq!(ledger.taken(), [1, 2]);
    assert_eq!(pool.drain(), 0);
    pool.give(&key(3), 3, 1);
    drop(pool);
    assert_eq!(ledger.taken(), [3]);
}

/// To destroy one takes long: the others must not wait. With the lock held, this would not end.
#[test]
fn the_lock_is_not_held_where_one_is_destroyed() {
    let own: Arc<OnceLock<Weak<Pool>>> = Arc::default();
    let (again, seen) = (Arc::clone(&own), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&seen);
    let pool = Arc::new(Pool::new(
        1,
        u64::MAX,
        Box::new(move |decoder| {
            if let Some(pool) = again.get().and_then(Weak::upgrade) {
                noted.lock().unwrap().push((decoder, pool.take(&key(2))));
            }
        }),
    ));
    own.set(Arc::downgrade(&pool)).unwrap();
    pool.give(&key(1), 1, 1);
    pool.give(&key(2), 2, 1);
    assert_eq!(*seen.lock().unwrap(), [(1, Some(2))]);
    pool.give(&key(1), 3, 1);
    assert_eq!(pool.drain(), 1);
    assert_eq!(*seen.lock().unwrap(), [(1, Some(2)), (3, None)]);
}

#[test]
fn a_decoder_is_never_with_two_threads() {
    const THREADS: usize = 8;
    const TURNS: usize = 2000;
    let made = AtomicUsize::new(0);
    // 1 while somebody has it, 0 while it is idle, gone once destroyed.
    let state: Arc<Mutex<HashMap<usize, u32>>> = Arc::default();
    let destroyed = Arc::clone(&state);
    let pool = Pool::new(
        4,
        50,
        Box::new(move |decoder| {
            assert_eq!(destroyed.lock().unwrap().remove(&decoder), Some(0), "{decoder} is in use, or gone");
        }),
    );
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, made, state) = (&pool, &made, &state);
            scope.spawn(move || {
                for turn in 0..TURNS {
                    let kind = key(((thread * 31 + turn * 7) % 5) as u64);
                    let decoder = pool.take(&kind).unwrap_or_else(|| {
                        let decoder = made.fetch_add(1, Ordering::SeqCst) + 1;
                        state.lock().unwrap().insert(decoder, 0);
                        decoder
                    });
                    assert_eq!(state.lock().unwrap().insert(decoder, 1), Some(0), "{decoder} is not idle");
                    std::thread::yield_now();
                    assert_eq!(state.lock().unwrap().insert(decoder, 0), Some(1));
                    pool.give(&kind, decoder, 10 + (turn % 3) as u64);
                }
            });
        }
    });
    assert!(made.load(Ordering::SeqCst) < THREADS * TURNS, "none was handed on");
    assert!(state.lock().unwrap().len() <= 4);
    drop(pool);
    assert!(state.lock().unwrap().is_empty());
}

/// What the pool has to do, in the plainest way.
#[derive(Default)]
struct Plain {
    idle: Vec<(u64, usize, u64)>,
}

impl Plain {
    fn take(&mut self, kind: u64) -> Option<usize> {
        let at = self.idle.iter().rposition(|idle| idle.0 == kind)?;
        Some(self.idle.remove(at).1)
    }

    fn give(&mut self, kind: u64, decoder: usize, bytes: u64, bounds: (usize, u64)) -> Vec<usize> {
        if bytes > bounds.1 || bounds.0 == 0 {
            return vec![decoder];
        }
        self.idle.push((kind, decoder, bytes));
        let mut gone = Vec::new();
        while self.idle.len() > bounds.0 || self.idle.iter().map(|idle| idle.2).sum::<u64>() > bounds.1 {
            gone.push(self.idle.remove(0).1);
        }
        gone
    }
}

proptest! {
    #[test]
    fn it_does_what_the_plainest_does(
        bounds in (0_usize..6, 0_u64..60),
        calls in prop::collection::vec((any::<bool>(), 0_u64..4, 0_u64..30), 0..200),
    ) {
        let (pool, ledger) = pool(bounds.0 as u32, bounds.1);
        let mut plain = Plain::default();
        for (at, (gives, kind, bytes)) in calls.into_iter().enumerate() {
            if gives {
                pool.give(&key(kind), at + 1, bytes);
                prop_assert_eq!(ledger.taken(), plain.give(kind, at + 1, bytes, bounds));
            } else {
                prop_assert_eq!(pool.take(&key(kind)), plain.take(kind));
                prop_assert_eq!(ledger.taken(), Vec::<usize>::new());
            }
        }
        let left: Vec<usize> = plain.idle.iter().map(|idle| idle.1).collect();
        drop(pool);
        prop_assert_eq!(ledger.taken(), left);
    }
}
