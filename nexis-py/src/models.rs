//! Which models there are, and holding their files to what is on record. What connects to a hub is Python's.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nexis_core::model::registry::{
    ModelPlaces, ModelReport, Removal, Wanted, find, hub_cache, import, list, nexis_home, record_fetched,
    verify,
};
use nexis_core::{Error, Result};
use pyo3::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::errors::ours;
use crate::work::beside;

/// Models are looked for in these folders, among the user's own, and in the cache of the hub's clients.
pub(crate) fn places(roots: Vec<PathBuf>) -> ModelPlaces {
    let lookup = |name: &str| std::env::var(name).ok();
    ModelPlaces { roots, home: nexis_home(&lookup), hub: hub_cache(&lookup) }
}

/// Runs what reads and writes files, and gives its result as plain Python values.
fn answered<'py, T: Serialize + Send + 'static>(
    py: Python<'py>,
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let done = beside(py, move |_| job())?.map_err(|error| ours(py, error))?;
    Ok(pythonize::pythonize(py, &done)?)
}

/// Every model that is known, as `nexis models list --json` prints it.
#[pyfunction]
#[pyo3(signature = (models_roots) -> "list[dict[str, Any]]")]
pub(crate) fn known_models<'py>(py: Python<'py>, models_roots: Vec<PathBuf>) -> PyResult<Bound<'py, PyAny>> {
    answered(py, move || {
        let known = list(&places(models_roots))?;
        Ok(known.iter().map(ModelReport::from).collect::<Vec<_>>())
    })
}

/// Compares a model's files with what is on record: one dict a file.
#[pyfunction]
#[pyo3(signature = (model, models_roots) -> "list[dict[str, Any]]")]
pub(crate) fn verify_model<'py>(
    py: Python<'py>,
    model: String,
    models_roots: Vec<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    answered(py, move || verify(&find(&model, &places(models_roots))?, &|_| {}))
}

/// What a client of the hub is to bring for a model, and where to.
#[pyfunction]
#[pyo3(signature = (model, models_roots) -> "dict[str, Any]")]
pub(crate) fn wanted_files<'py>(
    py: Python<'py>,
    model: String,
    models_roots: Vec<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    answered(py, move || Wanted::of(&model, &places(models_roots)))
}

/// Holds what was brought to what is stated and on record, and puts on record what was not; `fetched` names the files
/// that were not there before.
#[pyfunction]
#[pyo3(signature = (model, models_roots, commit, fetched) -> "None")]
pub(crate) fn record_model(
    py: Python<'_>,
    model: String,
    models_roots: Vec<PathBuf>,
    commit: String,
    fetched: Vec<String>,
) -> PyResult<()> {
    let fetched: BTreeSet<String> = fetched.into_iter().collect();
    let done = beside(py, move |_| record_fetched(&model, &places(models_roots), &commit, &fetched))?;
    done.map_err(|error| ours(py, error))
}

/// Copies a model's folder to the user's own models: `{"id", "kind", "directory", "files"}`.
#[pyfunction]
#[pyo3(signature = (folder, model, models_roots) -> "dict[str, Any]")]
pub(crate) fn import_model<'py>(
    py: Python<'py>,
    folder: PathBuf,
    model: String,
    models_roots: Vec<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    answered(py, move || {
        if !folder.is_dir() {
            return Err(Error::io(folder, std::io::ErrorKind::NotFound.into()));
        }
        let places = places(models_roots);
        let known = list(&places)?.into_iter().find(|location| location.id == model);
        import(&folder, &model, known.and_then(|known| known.entry).as_ref(), &places)
    })
}

/// Takes away what came by our doing: `{"removed", "bytes", "why"}`. With `forget`, what is on record goes too.
#[pyfunction]
#[pyo3(signature = (model, models_roots, forget=false) -> "dict[str, Any]")]
pub(crate) fn remove_model<'py>(
    py: Python<'py>,
    model: String,
    models_roots: Vec<PathBuf>,
    forget: bool,
) -> PyResult<Bound<'py, PyAny>> {
    answered(py, move || {
        let places = places(models_roots);
        let removal = Removal::of(&model, &places)?;
        if removal.why_not.is_none() || (forget && removal.recorded) {
            removal.run(&places, forget)?;
        }
        Ok(json!({ "removed": removal.files, "bytes": removal.bytes, "why": removal.why_not }))
    })
}
