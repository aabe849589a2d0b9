//! Recorded launches: a graph of the driver's, which is launched as one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cudarc::driver::{result, sys};
use nexis_core::{Error, Result};

use super::{Context, failed};

/// A graph that can be launched.
pub struct Recording {
    context: Arc<Context>,
    graph: sys::CUgraphExec,
}

// SAFETY: a graph is launched and destroyed from any thread; two launches of one, which the driver does one after the other, are
// put into the same stream.
unsafe impl Send for Recording {}
// SAFETY: as above.
unsafe impl Sync for Recording {}

/// Ends what it began, also where the recorded pass panics.
struct Capture<'a>(&'a Context);

impl<'a> Capture<'a> {
    fn begin(context: &'a Context) -> Option<Self> {
        // Only this thread is kept from what a capture forbids: others allocate memory on streams of their own.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as its context.
        unsafe { result::stream::begin_capture(context.stream, mode) }.ok()?;
        context.recording.store(true, Ordering::SeqCst);
        Some(Self(context))
    }

    fn end(self) -> Option<sys::CUgraph> {
        let graph = self.stop();
        std::mem::forget(self);
        graph
    }

    /// A capture that went wrong ends here as well, without a graph.
    fn stop(&self) -> Option<sys::CUgraph> {
        // SAFETY: as above.
        let graph = unsafe { result::stream::end_capture(self.0.stream) };
        self.0.recording.store(false, Ordering::SeqCst);
        graph.ok().filter(|graph| !graph.is_null())
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if let Some(graph) = self.stop() {
            // SAFETY: just given by the driver, and let go of once.
            let _ = unsafe { result::graph::destroy(graph) };
        }
    }
}

impl Recording {
    /// `None` where the driver or the library of products does not take part.
    pub(super) fn of(context: &Arc<Context>, pass: &mut dyn FnMut() -> Result<()>) -> Option<Self> {
        context.enter().ok()?;
        let capture = Capture::begin(context)?;
        let asked = pass();
        let graph = capture.end()?;
        // SAFETY: just given by the driver, and let go of once; what was made of it does not need it any more.
        let made = unsafe {
            let made =
                asked.is_ok().then(|| result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)));
            let _ = result::graph::destroy(graph);
            made
        };
        Some(Self { context: Arc::clone(context), graph: made?.ok()? })
    }

    /// Launches it.
    ///
    /// # Safety
    /// The memory that the launches name is still there.
    pub(super) unsafe fn launch(&self, context: &Arc<Context>) -> Result<()> {
        if !Arc::ptr_eq(context, &self.context) {
            return Err(Error::Internal("a recording of another device".to_owned()));
        }
        context.enter_outside_of_recordings("a recording")?;
        // SAFETY: the graph lives, and so does the stream; handed on to the caller for the rest.
        unsafe { result::graph::launch(self.graph, context.stream) }
            .map_err(|e| failed(format!("{}: a recorded pass", context.label()), e))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made once and let go of once; where it is under way, the driver frees it behind that.
            let _ = unsafe { result::graph::exec_destroy(self.graph) };
        }
    }
}
