//! Python values of the caller's as values of the library.

use std::str::FromStr as _;

use nexis_core::Error;
use nexis_core::protocol::Hotkey;
use pyo3::exceptions::{PyException, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use subxt_utils_accountid32::AccountId32;

use crate::errors::ours;

/// Deepest nesting that is read. A row has three levels; without a bound a list within itself would end the process.
const MAX_DEPTH: usize = 64;

/// Columns of a row that are floats: an integer in one is not cut to 64 bits.
const FLOATS: [&str; 3] = ["clip_start_sec", "duration_sec", "fps"];

/// A whole number, which has no bounds in Python; `what` names it in errors.
pub(crate) fn whole<T: TryFrom<u64>>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    let py = value.py();
    let refused = || {
        let most = u64::MAX >> (64 - 8 * size_of::<T>());
        // One with thousands of digits helps nobody.
        let shown = value.extract::<i128>().map_or_else(|_| "such a number".to_owned(), |n| n.to_string());
        PyValueError::new_err(format!("{what}: 0 to {most}, not {shown}"))
    };
    match value.extract::<u64>() {
        Ok(number) => T::try_from(number).map_err(|_| refused()),
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => Err(refused()),
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            Err(PyTypeError::new_err(format!("{what}: {}", error.value(py))))
        }
        Err(error) => Err(error),
    }
}

/// A hotkey as the program takes it. One that is no address belongs to nobody.
pub(crate) fn address(py: Python<'_>, what: &str, text: &str) -> PyResult<Hotkey> {
    match AccountId32::from_str(text) {
        Ok(_) => Ok(Hotkey::new(text)),
        Err(_) => {
            let why = "it is no SS58 address; copy the whole of it, for example 5Grwva...KutQY in full";
            Err(ours(py, Error::usage(format!("{what} {text:?}"), why)))
        }
    }
}

/// Rows, or whatever holds them, as JSON. Numbers are cut as the library cuts those of a dataset, for JSON has no
/// infinity and a [`Value`] no integer beyond 64 bits.
pub(crate) fn read_rows<T: DeserializeOwned>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    within(value, MAX_DEPTH, what)?;
    let plain = plain(value, "", what)?;
    serde_json::from_value(plain).map_err(|error| {
        let text = format!("{what}: {error}");
        if error.to_string().starts_with("invalid type") {
            PyTypeError::new_err(text)
        } else {
            PyValueError::new_err(text)
        }
    })
}

/// A value below a key.
fn plain(value: &Bound<'_, PyAny>, key: &str, what: &str) -> PyResult<Value> {
    if let Ok(dict) = value.cast::<PyDict>() {
        let mut map = Map::new();
        for (key, item) in dict {
            let Ok(name) = key.cast::<PyString>() else {
                return Err(PyTypeError::new_err(format!("{what}: keys must be texts")));
            };
            let name = name.to_str()?;
            map.insert(name.to_owned(), plain(&item, name, what)?);
        }
        return Ok(Value::Object(map));
    }
    if value.cast::<PyList>().is_ok() || value.cast::<PyTuple>().is_ok() {
        return value.try_iter()?.map(|item| plain(&item?, key, what)).collect();
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(float.value().clamp(f64::MIN, f64::MAX).into());
    }
    let is_integer = value.cast::<PyInt>().is_ok() && value.cast::<PyBool>().is_err();
    if is_integer && value.extract::<i64>().is_err() {
        if FLOATS.contains(&key) {
            // Null where not even a double holds it, which Python refuses too.
            return Ok(value.extract::<f64>().map_or(Value::Null, Value::from));
        }
        return Ok(if value.lt(0)? { i64::MIN } else { i64::MAX }.into());
    }
    read(value, what)
}

/// A dict, list or scalar as a `T`; `what` names it in errors.
pub(crate) fn read<T: DeserializeOwned>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    within(value, MAX_DEPTH, what)?;
    pythonize::depythonize(value).map_err(|error| {
        let error = PyErr::from(error);
        let py = value.py();
        let text = format!("{what}: {}", error.value(py));
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(text)
        } else if error.is_instance_of::<PyOverflowError>(py)
            || error.get_type(py).as_ptr() == py.get_type::<PyException>().as_ptr()
        {
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
