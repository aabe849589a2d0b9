//! Page-locked memory on the way to a device. It is filled piece by piece: while one is on its way, the next is filled, by
//! several threads where there is much, because one alone is slower than the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{DriverError, result, sys};
use nexis_core::{Error, Result};

use super::{Context, failed, waited_for};
use crate::parts;

/// Bytes of a piece: long enough that its own cost does not show, and short enough that the first is on its way soon.
const PIECE: usize = 1 << 20;

/// Pieces that there is memory for: the pictures of a batch, and some of the next.
const PIECES: usize = 16;

/// Threads that fill pieces of one upload, at most.
const FILLING: usize = 4;

/// Memory of one piece, and when the last copy out of it is done.
struct Piece {
    memory: *mut u8,
    copied: sys::CUevent,
}

/// Memory of the pieces, which are used in turn.
pub(super) struct Staging {
    context: Arc<Context>,
    pieces: Vec<Mutex<Piece>>,
    next: AtomicUsize,
    filling: usize,
}

// SAFETY: the memory belongs to this value alone, and the driver's events may be used from any thread.
unsafe impl Send for Staging {}
// SAFETY: a piece is used under its lock alone.
unsafe impl Sync for Staging {}

impl Staging {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        context.enter()?;
        let fail = |e| failed(format!("{}: page-locked memory", context.label()), e);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut staging = Self {
            context: Arc::clone(context),
            pieces: Vec::new(),
            next: AtomicUsize::new(0),
            filling: processors.min(FILLING),
        };
        for _ in 0..PIECES {
            let copied = waited_for().map_err(fail)?;
            // SAFETY: freed once, by `drop`, where it was given.
            let memory = unsafe { result::malloc_host(PIECE, 0) };
            // The event is kept in either case, so that it is destroyed.
            let address = memory.as_ref().map_or(std::ptr::null_mut(), |memory| memory.cast());
            staging.pieces.push(Mutex::new(Piece { memory: address, copied }));
            memory.map_err(fail)?;
        }
        Ok(staging)
    }

    /// Copies the parts, `bytes` bytes, to an address of the device, in the order of a context's stream.
    ///
    /// # Safety
    /// The device has room for them there.
    pub(super) unsafe fn upload(
        &self,
        context: &Context,
        parts: &[&[u8]],
        bytes: usize,
        to: u64,
    ) -> Result<()> {
        let pieces = bytes.div_ceil(PIECE);
        // Half as many threads as pieces: one that has a single piece to fill is begun for little.
        parts::by_several(self.filling.min(pieces / 2), pieces, |piece| {
            let at = piece * PIECE;
            let length = PIECE.min(bytes - at);
            // SAFETY: handed on to the caller.
            unsafe { self.send(context, |staged| parts::gather(parts, at, staged), length, to + at as u64) }
        })
    }

    /// Copies a piece that `fill` writes.
    ///
    /// # Safety
    /// The device has room for `length` bytes, at most [`PIECE`], at `to`.
    unsafe fn send(
        &self,
        context: &Context,
        fill: impl FnOnce(&mut [u8]),
        length: usize,
        to: u64,
    ) -> Result<()> {
        let fail = |e: DriverError| failed(format!("{}: an upload", context.label()), e);
        context.enter()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % PIECES;
        let Some(piece) = self.pieces.get(turn) else {
            return Err(Error::Internal("a piece of page-locked memory is missing".to_owned()));
        };
        // A copy that was not begun leaves a piece as it was.
        let piece = piece.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the piece has as many bytes, and nothing reads it any more once its event is done. The stream is that of
        // the context, and the caller vouches for the device's memory.
        unsafe {
            result::event::synchronize(piece.copied).map_err(fail)?;
            let staged = std::slice::from_raw_parts_mut(piece.memory, length);
            fill(staged);
            let copied = result::memcpy_htod_async(to, staged, context.stream);
            // Also behind a copy that failed, so that whatever was begun is waited for.
            let marked = result::event::record(piece.copied, context.stream);
            copied.and(marked).map_err(fail)
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        for piece in self.pieces.drain(..) {
            let piece = piece.into_inner().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: no copy is under way once the event is done, and both are let go of once.
            unsafe {
                let _ = result::event::synchronize(piece.copied);
                let _ = result::event::destroy(piece.copied);
                if !piece.memory.is_null() {
                    let _ = result::free_host(piece.memory.cast());
                }
            }
        }
    }
}
