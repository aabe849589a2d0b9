#![no_main]
//! An index as written reads back with the same keys.

use libfuzzer_sys::fuzz_target;
use nexis_core::overlap::OverlapIndex;

fuzz_target!(|bytes: &[u8]| {
    let parsed = OverlapIndex::parse(bytes);
    let again = OverlapIndex::parse(parsed.index.to_json().as_bytes());
    assert!(again.problem.is_none());
    assert!(parsed.index.iter().all(|(_, starts)| starts.windows(2).all(|w| w[0] < w[1])));
});
