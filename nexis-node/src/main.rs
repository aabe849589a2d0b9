//! The `nexis` command.

mod cli;
mod roots;
mod view;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Accepted.
const EXIT_ACCEPTED: u8 = 0;
/// Rejected.
const EXIT_REJECTED: u8 = 1;
/// Could not check.
const EXIT_UNCHECKED: u8 = 2;
/// The command was called wrongly (sysexits' EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// Whether nobody reads the output any more, as behind `| head -1`: that is no news to whoever ended it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let text = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    text.or(json) == Some(std::io::ErrorKind::BrokenPipe)
}

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap's own status for a wrong call is 2, which here means something else.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { EXIT_ACCEPTED } else { EXIT_USAGE });
        }
    };
    // What a hostile file makes panic is caught where it happens and becomes that miner's failure, with the
    // message. The default hook would print it, with a backtrace, as if the program had failed.
    panic::set_hook(Box::new(|_| {}));
    let ended = panic::catch_unwind(AssertUnwindSafe(|| arguments.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(nexis_core::Error::Internal(text).into())
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Whatever it came wrapped in.
            let usage = error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<nexis_core::Error>())
                .any(|e| matches!(e, nexis_core::Error::Usage { .. }));
            if !is_broken_pipe(&error) {
                view::complain(&error);
            }
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_UNCHECKED })
        }
    }
}
