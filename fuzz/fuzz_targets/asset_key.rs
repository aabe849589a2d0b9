#![no_main]
//! No key leaves the folder of its interval.

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use nexis_core::package::asset_key;
use nexis_core::protocol::IntervalId;

fuzz_target!(|input: (u64, &str)| {
    let (interval, uri) = input;
    if let Ok(key) = asset_key(IntervalId::new(interval), uri) {
        let path = Path::new(&key);
        assert!(path.starts_with(interval.to_string()));
        assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
        assert_eq!(path.components().count(), key.split('/').count());
    }
});
