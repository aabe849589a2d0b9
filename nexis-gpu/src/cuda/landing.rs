//! Page-locked memory for what comes from a device: the driver copies there directly, and into other memory by way of pieces of
//! its own.

use std::sync::Arc;

use cudarc::driver::result;
use nexis_core::Result;

use super::{Context, failed};

/// Memory of the host that grows to the largest piece that came.
pub(super) struct Landing {
    context: Arc<Context>,
    memory: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for Landing {}

impl Landing {
    /// None yet.
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), memory: std::ptr::null_mut(), bytes: 0 }
    }

    /// Waits for everything before on the context's stream, and copies from an address of the device, which has as many bytes.
    /// `None`, and nothing of this is done, where no page-locked memory is to be had. The context is current.
    pub(super) fn fetch(&mut self, from: u64, bytes: usize) -> Option<Result<Arc<[u8]>>> {
        self.grow(bytes)?;
        let (context, stream) = (&self.context, self.context.stream);
        let fail = |e| failed(format!("{}: what was asked of it before", context.label()), e);
        // SAFETY: there are as many bytes, or more. The driver writes to them until the stream is waited for, also where the copy
        // failed; nobody else does, and they are read behind that.
        Some(unsafe {
            let landed = std::slice::from_raw_parts_mut(self.memory, bytes);
            let copied = result::memcpy_dtoh_async(landed, from, stream);
            let waited = result::stream::synchronize(stream);
            // One copy, into memory that was not written before.
            copied.and(waited).map_err(fail).map(|()| Arc::from(&*landed))
        })
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        if self.memory.is_null() || bytes > self.bytes {
            // The old one goes first, so that both are never there at once.
            self.free();
            let bytes = bytes.max(1);
            // SAFETY: freed once, by `free`; written as far as it goes, so that it is bytes for whoever looks at it.
            self.memory = unsafe {
                let memory: *mut u8 = result::malloc_host(bytes, 0).ok()?.cast();
                memory.write_bytes(0, bytes);
                memory
            };
            self.bytes = bytes;
        }
        Some(())
    }

    fn free(&mut self) {
        if !self.memory.is_null() && self.context.enter().is_ok() {
            // SAFETY: it was given by the driver, no copy into it is under way outside of `fetch`, and it is let go of once.
            let _ = unsafe { result::free_host(self.memory.cast()) };
        }
        (self.memory, self.bytes) = (std::ptr::null_mut(), 0);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.free();
    }
}
