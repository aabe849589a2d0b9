//! Page-locked memory on the way to a device: a copy out of it goes on while the processor does something else.

use std::sync::Arc;

use cudarc::driver::{result, sys};
use nexis_core::Result;

use super::{Context, failed};

/// Bytes of each half: the pictures of a batch go over in one piece or two.
const HALF: usize = 8 << 20;

/// One half, and when the last copy out of it is done.
struct Half {
    memory: *mut u8,
    copied: sys::CUevent,
}

/// Two halves that take turns: one is filled while the other is copied.
pub(super) struct Staging {
    context: Arc<Context>,
    halves: Vec<Half>,
    next: usize,
}

// SAFETY: the memory belongs to this value alone, and the driver's events may be used from any thread.
unsafe impl Send for Staging {}

impl Staging {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        context.enter()?;
        let fail = |e| failed(format!("{}: page-locked memory", context.label()), e);
        let mut staging = Self { context: Arc::clone(context), halves: Vec::new(), next: 0 };
        for _ in 0..2 {
            let copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fail)?;
            // SAFETY: freed once, by `drop`, where it was given.
            let memory = unsafe { result::malloc_host(HALF, 0) };
            // The event is kept in either case, so that it is destroyed.
            let address = memory.as_ref().map_or(std::ptr::null_mut(), |memory| memory.cast());
            staging.halves.push(Half { memory: address, copied });
            memory.map_err(fail)?;
        }
        Ok(staging)
    }

    /// Copies `bytes` to an address of the device, which has room for them. The context is current.
    pub(super) fn upload(&mut self, context: &Context, bytes: &[u8], to: u64) -> Result<()> {
        let fail = |e| failed(format!("{}: an upload", context.label()), e);
        let mut at = to;
        for part in bytes.chunks(HALF) {
            let count = self.halves.len().max(1);
            let Some(half) = self.halves.get(self.next % count) else { return Ok(()) };
            self.next = (self.next + 1) % count;
            // SAFETY: the half has room for a part, and nothing reads it any more once its event is done. The stream
            // is that of the context, and the device has room from `at` on.
            unsafe {
                result::event::synchronize(half.copied).map_err(fail)?;
                std::ptr::copy_nonoverlapping(part.as_ptr(), half.memory, part.len());
                let staged = std::slice::from_raw_parts(half.memory.cast_const(), part.len());
                result::memcpy_htod_async(at, staged, context.stream).map_err(fail)?;
                result::event::record(half.copied, context.stream).map_err(fail)?;
            }
            at += part.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        for half in self.halves.drain(..) {
            // SAFETY: no copy is under way once the event is done, and both are let go of once.
            unsafe {
                let _ = result::event::synchronize(half.copied);
                let _ = result::event::destroy(half.copied);
                if !half.memory.is_null() {
                    let _ = result::free_host(half.memory.cast());
                }
            }
        }
    }
}
