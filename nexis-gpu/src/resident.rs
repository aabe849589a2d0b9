//! Pictures that stay on a device between its decoder and its encoder.
//!
//! Their memory is lent out of a pool with a bound, and lent again once the last clone of a frame is gone: to take memory from a
//! driver and to give it back stops the device, so that pictures of one size do neither after the first few. Where the bound is
//! reached, a picture has no copy on the device; its bytes are uploaded from the host when they are encoded.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::Result;

/// Memory is taken in multiples of this, the size of a device's pages, so that no more is taken than is counted; and pictures of
/// nearly one size share theirs.
const PIECE: usize = 2 << 20;

/// Memory of one device for pictures, up to a bound.
pub struct Pool<M> {
    bound: usize,
    state: Mutex<State<M>>,
}

struct State<M> {
    /// Bytes of all pieces, lent or not.
    taken: usize,
    /// Pieces that nobody holds, with their sizes, the one that was longest unused first.
    idle: Vec<(usize, M)>,
}

/// A picture in a pool's memory.
pub struct Resident<M> {
    pool: Arc<Pool<M>>,
    /// What it has of the pool's bound.
    size: usize,
    /// Bytes of the picture.
    bytes: usize,
    /// There until it is dropped.
    memory: Option<M>,
}

impl<M> Pool<M> {
    /// One that takes at most so many bytes of a device.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, state: Mutex::new(State { taken: 0, idle: Vec::new() }) })
    }

    /// Bytes that it has of the device: those that are lent, and those that wait to be.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Bytes that are lent.
    pub fn lent(&self) -> usize {
        let state = self.lock();
        state.taken - state.idle()
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a picture of so many bytes; `None` where neither the pool nor the device has any. Nothing is under way any more
    /// that reads or writes what was there before, so long as whoever holds pictures keeps to it ([`Resident`]).
    ///
    /// # Errors
    /// Those of `allocate`, which is asked for memory of a size where none of it is there already.
    pub fn lend(
        self: &Arc<Self>,
        bytes: usize,
        allocate: impl FnOnce(usize) -> Result<Option<M>>,
    ) -> Result<Option<Resident<M>>> {
        let Some(size) = bytes.checked_next_multiple_of(PIECE) else { return Ok(None) };
        let mut state = self.lock();
        // The last is the one that was used last.
        let idle = state.idle.iter().rposition(|(found, _)| *found == size);
        let memory = idle.map(|at| state.idle.remove(at).1);
        if memory.is_none() {
            let lent = state.taken - state.idle();
            if lent.saturating_add(size) > self.bound {
                return Ok(None);
            }
            // Pieces of other sizes make room, before anybody takes it.
            let (mut over, state) = ((state.taken + size).saturating_sub(self.bound), &mut *state);
            let needed = state.idle.iter().take_while(|(other, _)| {
                let more = over > 0;
                over = over.saturating_sub(*other);
                more
            });
            let needed = needed.count();
            let freed: usize = state.idle.drain(..needed).map(|(other, _)| other).sum();
            state.taken = state.taken + size - freed;
        }
        drop(state);
        // A driver takes its time; meanwhile others are served.
        let mut resident = Resident { pool: Arc::clone(self), size, bytes, memory };
        if resident.memory.is_none() {
            resident.memory = allocate(size)?;
        }
        Ok(resident.memory.is_some().then_some(resident))
    }
}

impl<M> State<M> {
    /// Bytes that nobody holds.
    fn idle(&self) -> usize {
        self.idle.iter().map(|(size, _)| size).sum()
    }
}

impl<M> Resident<M> {
    /// The memory, whose first [`bytes`](Self::bytes) are the picture's. Whoever has it read or written waits until that is done
    /// before letting go of the picture: it is somebody else's then.
    pub const fn memory(&self) -> Option<&M> {
        self.memory.as_ref()
    }

    /// Bytes of the picture.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<M> fmt::Debug for Resident<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resident({} bytes)", self.bytes)
    }
}

impl<M> Drop for Resident<M> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.memory.take() {
            Some(memory) => state.idle.push((self.size, memory)),
            // The device had none.
            None => state.taken -= self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use nexis_core::Error;

    use super::*;

    const FOUR: usize = 4 * PIECE;

    /// Memory with a number, and which numbers were given back.
    struct Numbered<'a>(usize, &'a RefCell<Vec<usize>>);

    impl Drop for Numbered<'_> {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn memory_is_lent_again_and_its_bound_holds() {
        let (freed, given) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let pool = Pool::new(FOUR);
        let lend = |bytes| {
            let allocate = |size| {
                given.borrow_mut().push(size);
                Ok(Some(Numbered(given.borrow().len(), &freed)))
            };
            pool.lend(bytes, allocate).unwrap()
        };
        let number = |resident: &Resident<Numbered<'_>>| resident.memory().unwrap().0;
        let (a, b) = (lend(PIECE - 1).unwrap(), lend(PIECE + 1).unwrap());
        assert_eq!(
            (a.bytes(), b.bytes(), pool.taken(), pool.lent()),
            (PIECE - 1, PIECE + 1, 3 * PIECE, 3 * PIECE)
        );
        // Three are lent, and there is a fourth and no fifth.
        assert!(lend(PIECE + 1).is_none());
        let c = lend(1).unwrap();
        assert!(lend(1).is_none());
        assert_eq!(*given.borrow(), [PIECE, 2 * PIECE, PIECE]);
        // What comes back is lent again, the latest first.
        drop(a);
        drop(c);
        assert_eq!((pool.taken(), pool.lent()), (FOUR, 2 * PIECE));
        let (c, a) = (lend(2).unwrap(), lend(PIECE).unwrap());
        assert_eq!((number(&c), number(&a), given.borrow().len()), (3, 1, 3));
        // Pieces of another size make room, that which was longest unused first, and those that are lent do not.
        drop(a);
        drop(c);
        assert!(lend(3 * PIECE).is_none() && freed.borrow().is_empty());
        drop(b);
        let d = lend(3 * PIECE).unwrap();
        assert_eq!((number(&d), &*freed.borrow(), pool.taken()), (4, &vec![1, 3, 2], 3 * PIECE));
        assert!(lend(5 * PIECE).is_none() && lend(usize::MAX).is_none());
        // A picture outlives its pool.
        let held = Arc::downgrade(&pool);
        drop(d);
        assert_eq!((pool.taken(), pool.lent()), (3 * PIECE, 0));
        drop(pool);
        assert!(held.upgrade().is_none() && *freed.borrow() == [1, 3, 2, 4]);
    }

    #[test]
    fn what_the_device_does_not_give_is_not_counted() {
        let pool = Pool::<()>::new(FOUR);
        assert!(pool.lend(1, |_| Ok(None)).unwrap().is_none());
        pool.lend(1, |_| Err(Error::Internal("no device".into()))).unwrap_err();
        assert_eq!(pool.taken(), 0);
        assert!(pool.lend(FOUR, |_| Ok(Some(()))).unwrap().is_some());
    }
}
