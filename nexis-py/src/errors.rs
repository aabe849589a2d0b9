//! Errors of the library as exceptions of the package. The classes are Python's (`nexis/errors.py`), so that they
//! pickle and can be subclassed there.

use std::sync::OnceLock;

use nexis_core::Error;
use nexis_core::media::MediaFailure;
use pyo3::exceptions::{PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// The Python package that this module is in.
static PACKAGE: OnceLock<String> = OnceLock::new();

/// Notes the module's full name. Its package is `nexis` unless it was put elsewhere, beside another of that name.
pub(crate) fn loaded_as(module: &str) {
    let package = module.rsplit_once('.').map_or("nexis", |(package, _)| package);
    PACKAGE.get_or_init(|| package.to_owned());
}

/// An exception of `nexis.errors` by name.
pub(crate) fn raised<'py>(
    py: Python<'py>,
    class: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyErr {
    let package = PACKAGE.get().map_or("nexis", String::as_str);
    let made = (|| py.import(format!("{package}.errors"))?.getattr(class)?.call1(arguments))();
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// What went wrong on our side.
pub(crate) fn ours(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Usage { .. } => PyValueError::new_err(text),
        Error::Missing { .. } | Error::Model { .. } => raised(py, "ModelUnavailable", (text,)),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            PyFileNotFoundError::new_err(text)
        }
        Error::Io { .. } => PyOSError::new_err(text),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Internal(_) => PyRuntimeError::new_err(text),
        _ => raised(py, "CouldNotCheck", (text,)),
    }
}

/// What went wrong with a clip, or on our side.
pub(crate) fn media(py: Python<'_>, failure: MediaFailure) -> PyErr {
    match failure {
        MediaFailure::Clip(why) => raised(py, "UndecodableClip", (why,)),
        MediaFailure::Ours(error) => ours(py, error),
    }
}
