//! Why a state cannot be used, and what to do about it.

use std::path::PathBuf;

use super::SCHEMA;

/// Result of the state's operations.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is damaged, or no state at all.
    #[error(
        "{}: the state is damaged or is no state file ({why}); restore it from a backup, or move it away to begin anew",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer program wrote the file.
    #[error("{}: written by a newer version (schema {found}, this one knows {SCHEMA}); update nexis", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// The file is another validator's.
    #[error("{}: it belongs to {found}, not to {wanted}; give another data_dir", path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// Another process has it.
    #[error("{}: in use by another process; only one validator may run on a data_dir", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{}: no state is there; has a validator run with this data_dir?", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{}: {why}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
}
