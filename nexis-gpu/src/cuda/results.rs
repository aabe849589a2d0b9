//! Page-locked memory that results come into while the processor does something else.

use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};
use nexis_core::{Error, Result};

use super::{Context, failed, waited_for};
use crate::compute::Span;

/// Room for results, and when the last copy into it is done.
pub struct Results {
    context: Arc<Context>,
    memory: *mut u8,
    room: usize,
    copied: sys::CUevent,
    /// Bytes of the last copy.
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone, and the driver's events may be used from any thread.
unsafe impl Send for Results {}

impl Results {
    pub(super) fn new(context: &Arc<Context>, room: usize) -> Result<Self> {
        context.enter_outside_of_recordings("an allocation")?;
        let fail = |e: DriverError| failed(format!("{}: page-locked memory", context.label()), e);
        let copied = waited_for().map_err(fail)?;
        let null = std::ptr::null_mut();
        let mut results = Self { context: Arc::clone(context), memory: null, room: 0, copied, bytes: 0 };
        // SAFETY: freed once, by `drop`. There is always a byte, for none cannot be asked for.
        results.memory = unsafe { result::malloc_host(room.max(1), 0) }.map_err(fail)?.cast();
        results.room = room;
        Ok(results)
    }

    /// Copies from the device once the stream comes to it.
    pub(super) fn begin(&mut self, context: &Context, from: Span<'_>) -> Result<()> {
        if from.bytes() > self.room {
            return Err(Error::Internal("a download beyond its memory".to_owned()));
        }
        context.enter_outside_of_recordings("a download")?;
        let fail = |e: DriverError| failed(format!("{}: a download", context.label()), e);
        self.bytes = 0;
        // SAFETY: the memory has as much room, is read only behind the event, and is there until `drop` has waited for it.
        unsafe {
            let to = std::slice::from_raw_parts_mut(self.memory, from.bytes());
            let copied = result::memcpy_dtoh_async(to, from.address(), context.stream);
            // Also behind a copy that failed, so that whatever was begun is waited for.
            let marked = result::event::record(self.copied, context.stream);
            copied.and(marked).map_err(fail)?;
        }
        self.bytes = from.bytes();
        Ok(())
    }

    /// Waits for the last copy.
    pub(super) fn wait(&mut self) -> Result<&[u8]> {
        self.context.enter()?;
        let fail = |e| failed(format!("{}: what was asked of it before", self.context.label()), e);
        // SAFETY: the event lives; behind it, as many bytes are there and nothing writes them.
        unsafe {
            result::event::synchronize(self.copied).map_err(fail)?;
            Ok(std::slice::from_raw_parts(self.memory.cast_const(), self.bytes))
        }
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        // SAFETY: no copy is under way once the event is done, and both are let go of once.
        unsafe {
            let _ = result::event::synchronize(self.copied);
            let _ = result::event::destroy(self.copied);
            if !self.memory.is_null() {
                let _ = result::free_host(self.memory.cast());
            }
        }
    }
}
