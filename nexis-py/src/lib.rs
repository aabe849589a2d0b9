//! The extension module `nexis._nexis`: what the Python package `nexis` calls.
//!
//! It translates and does not think. Every rule lives in nexis-core; results cross as plain dicts, lists, strings
//! and numbers, in the shape of the program's JSON, and pictures and embeddings as numpy arrays.

mod bench;
mod convert;
mod engine;
mod errors;
mod media;
mod models;
mod pack;
mod protocol;
mod work;

use pyo3::prelude::*;

#[pymodule]
mod _nexis {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::bench::{bench_align, calibrate_pairs};
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::media::{decode, probe};
    #[pymodule_export]
    use super::models::{import_model, known_models, record_model, remove_model, verify_model, wanted_files};
    #[pymodule_export]
    use super::pack::pack;
    #[pymodule_export]
    use super::protocol::{
        category_decision, clip_id, current_interval_start, decode_commitment, dense_weights,
        encode_commitment, hard_checks, has_injection_keyword, interval_seed, is_allowed_source,
        latest_eligible_interval, middle_three, overlap_index_keys, parse_manifest, parse_record_info,
        prune_overlaps, record_info_key, score, select_miners, select_row_indices, serialize_record_info,
        source_identity_key, validate_row, weights,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::work::quiet_panics();
        super::errors::loaded_as(module.name()?.to_str()?);
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MAX_CLIP_BYTES", nexis_core::media::MediaLimits::default().max_bytes)
    }
}
