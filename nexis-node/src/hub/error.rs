//! What can go wrong between the hub and the disk, told apart by what the caller can do about it.

use std::io;
use std::path::Path;
use std::time::Duration;

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// It would have needed a connection, and the environment forbids them.
    Offline,
    /// The hub wants a token, another one, or its terms accepted.
    Denied,
    /// There is no such repository, revision or file.
    NotFound,
    /// Nobody answered, or the connection broke again and again.
    Unreachable,
    /// The hub asks to be left alone for longer than is waited.
    Busy,
    /// An answer that is no hub's.
    Misbehaved,
    /// More bytes than the registry allows.
    TooLarge,
    /// A content with another digest than announced, stated or on record.
    Changed,
    /// The disk, or a setting of this machine.
    Local,
}

impl HubErrorKind {
    /// Whether asking again may help.
    pub(super) const fn is_transient(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy)
    }
}

/// A failure, in words that hold no secret and no signed address.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct HubError {
    /// What the caller can do about it.
    pub kind: HubErrorKind,
    /// What was being done, what came of it, and what would help.
    pub what: String,
    /// How long the hub asks to wait.
    pub(super) wait: Option<Duration>,
}

impl HubError {
    pub(super) fn new(kind: HubErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), wait: None }
    }

    /// A file or folder of ours that could not be read or written, with what would help.
    pub(super) fn local(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                "; free some space, or set HF_HOME to a folder on another disk. What has come so far is kept"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; set HF_HOME (and NEXIS_HOME) to folders that you may write to"
            }
            _ => "",
        };
        Self::new(HubErrorKind::Local, format!("{}: {error}{advice}", path.display()))
    }
}

impl From<nexis_core::Error> for HubError {
    fn from(error: nexis_core::Error) -> Self {
        match error {
            nexis_core::Error::Io { path, source } => Self::local(&path, &source),
            other => Self::new(HubErrorKind::Local, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_disk_say_what_would_help() {
        let said = |kind: io::ErrorKind| HubError::local(Path::new("/cache/blob"), &kind.into()).to_string();
        assert!(said(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).contains("HF_HOME"));
        assert!(said(io::ErrorKind::PermissionDenied).starts_with("/cache/blob: "));
        assert!(!said(io::ErrorKind::NotFound).contains("HF_HOME"));
    }
}
