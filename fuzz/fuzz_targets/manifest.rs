#![no_main]
//! A manifest that is taken survives being written and read again.

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use nexis_core::package::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    if let Ok(manifest) = Manifest::parse(bytes, now) {
        let again = Manifest::parse(manifest.to_json().as_bytes(), now).expect("what was written reads");
        assert_eq!(again, manifest);
    }
});
