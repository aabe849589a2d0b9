//! How far a stream had come, for another to wait.

use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};
use nexis_core::Result;

use super::{Context, failed};

/// An event that stands in a stream.
pub struct Mark {
    context: Arc<Context>,
    event: sys::CUevent,
}

// SAFETY: the driver's events may be used from any thread.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Mark {
    /// Behind what the stream was asked for so far.
    pub(super) fn here(context: &Arc<Context>) -> Result<Self> {
        context.enter_outside_of_recordings("a mark")?;
        let fail = |e: DriverError| failed(format!("{}: a mark", context.label()), e);
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fail)?;
        let mark = Self { context: Arc::clone(context), event };
        // SAFETY: both live.
        unsafe { result::event::record(event, context.stream) }.map_err(fail)?;
        Ok(mark)
    }

    /// Has a stream wait before whatever it is asked for from here on.
    pub(super) fn precede(&self, context: &Context) -> Result<()> {
        context.enter_outside_of_recordings("a mark")?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live; an event may be destroyed while it is waited for.
        unsafe { result::stream::wait_event(context.stream, self.event, flags) }
            .map_err(|e| failed(format!("{}: a mark", context.label()), e))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made once and let go of once; the driver keeps it as long as it is waited for.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}
