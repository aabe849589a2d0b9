//! Python values of the caller's as values of the library.

use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use serde::de::DeserializeOwned;

/// Deepest nesting that is read. A row has three levels; without a bound a list within itself would end the process.
const MAX_DEPTH: usize = 64;

/// A dict, list or scalar as a `T`; `what` names it in errors.
pub(crate) fn read<T: DeserializeOwned>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    within(value, MAX_DEPTH, what)?;
    pythonize::depythonize(value).map_err(|error| {
        let error = PyErr::from(error);
        let py = value.py();
        let text = format!("{what}: {}", error.value(py));
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(text)
        } else if error.get_type(py).as_ptr() == py.get_type::<PyException>().as_ptr() {
            PyValueError::new_err(text)
        } else {
            error
        }
    })
}

fn within(value: &Bound<'_, PyAny>, depth: usize, what: &str) -> PyResult<()> {
    let Some(left) = depth.checked_sub(1) else {
        return Err(PyValueError::new_err(format!("{what}: nested deeper than {MAX_DEPTH} levels")));
    };
    if let Ok(dict) = value.cast::<PyDict>() {
        return dict.iter().try_for_each(|(_, item)| within(&item, left, what));
    }
    if let Ok(list) = value.cast::<PyList>() {
        return list.iter().try_for_each(|item| within(&item, left, what));
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return tuple.iter().try_for_each(|item| within(&item, left, what));
    }
    Ok(())
}
