//! Errors, told apart by what the caller can do about them.
//!
//! An [`Error`] always means that *we* could not check: a missing model, an unreadable disk, a wrong
//! argument. What a miner did wrong is a [`Violation`](crate::check::Violation), never an `Error`.

use std::path::{Path, PathBuf};

/// Result of everything in this crate that can fail for a reason that is not a miner's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that makes no sense; asking differently helps.
    #[error("{what}: {why}")]
    Usage {
        /// What was asked for.
        what: String,
        /// Why it cannot be, and what would work.
        why: String,
    },
    /// Something that has to be installed, fetched or made first is not there.
    #[error("{what} is missing; {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// A file or folder of ours could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A model directory or model card cannot be used.
    #[error("model {model}: {why}")]
    Model {
        /// The model's id or directory.
        model: String,
        /// What is wrong with it.
        why: String,
    },
    /// The decoding library itself failed, not the clip.
    #[error("decoder: {0}")]
    Decoder(String),
    /// A service that we depend on did not give what was asked for, by no fault of a miner's.
    #[error("{what}: {why}")]
    Unavailable {
        /// What was asked for, and where.
        what: String,
        /// What came of it.
        why: String,
    },
    /// An evidence file or a recorded state cannot be read.
    #[error("{what}: {why}")]
    Corrupt {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A defect of this program.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl Error {
    /// An [`Error::Io`] with its path.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// An [`Error::Usage`].
    pub fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), why: why.into() }
    }

    /// An [`Error::Model`].
    pub fn model(model: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Model { model: model.into(), why: why.into() }
    }
}
