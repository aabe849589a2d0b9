#![no_main]
//! A source that is not allowed names itself; keys are never empty where the URL is not.

use libfuzzer_sys::fuzz_target;
use nexis_core::overlap::{is_allowed_source, overlap_index_keys, record_info_key, source_identity_key};
use nexis_core::python;

fuzz_target!(|input: (&str, &str)| {
    let (url, id) = input;
    let key = source_identity_key(url);
    if !is_allowed_source(url) {
        assert_eq!(key, python::strip(url));
    }
    assert!(!key.is_empty() || python::strip(url).is_empty());
    assert!(overlap_index_keys(url, id).len() <= 6);
    let _ = record_info_key(url);
});
