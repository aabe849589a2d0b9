//! Long work beside the interpreter.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors::raised;

/// How often a waiting call looks whether Ctrl-C was pressed.
const PATIENCE: Duration = Duration::from_millis(50);

/// The process in which threads were first used.
static HOME: OnceLock<u32> = OnceLock::new();

/// Refuses to work in a child that was forked after the first use: its threads stayed in the parent, and a lock
/// that one of them held would never be released.
fn at_home(py: Python<'_>) -> PyResult<()> {
    let (home, here) = (*HOME.get_or_init(std::process::id), std::process::id());
    if home == here {
        return Ok(());
    }
    let why = format!(
        "nexis was used in process {home} before it was forked into {here}; start workers with the \"spawn\" or \
         \"forkserver\" method, or first use nexis in the child"
    );
    Err(raised(py, "ForkedProcess", (why,)))
}

/// Runs `job` on a thread of its own, without the interpreter's lock, and looks for Ctrl-C meanwhile. On Ctrl-C the
/// flag is raised and the call returns at once; the job ends at the next row and its result is dropped.
pub(crate) fn beside<T: Send + 'static>(
    py: Python<'_>,
    job: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
) -> PyResult<T> {
    at_home(py)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let (sender, mut receiver) = channel();
    let flag = Arc::clone(&interrupted);
    std::thread::Builder::new()
        .name("nexis".to_owned())
        .spawn(move || drop(sender.send(catch_unwind(AssertUnwindSafe(|| job(&flag))))))
        .map_err(|error| raised(py, "CouldNotCheck", (format!("no thread could be started: {error}"),)))?;
    loop {
        // A receiver is not `Sync`, so it goes into the closure and comes back.
        let (back, received) = py.detach(move || {
            let received = receiver.recv_timeout(PATIENCE);
            (receiver, received)
        });
        receiver = back;
        match received {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(panic)) => {
                let text = format!("internal error, please report it: {}", in_words(panic.as_ref()));
                return Err(raised(py, "CouldNotCheck", (text,)));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(signal) = py.check_signals() {
                    interrupted.store(true, Ordering::SeqCst);
                    return Err(signal);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(raised(
                    py,
                    "CouldNotCheck",
                    ("the work ended without a result; please report it",),
                ));
            }
        }
    }
}

/// Keeps panics of this module off standard error: each is caught and raised, or becomes the failure of the package
/// that caused it. Rust code of other extension modules has a hook of its own.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn in_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}
