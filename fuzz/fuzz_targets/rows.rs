#![no_main]
//! A dataset is read within its limits or refused; what is read is finite and survives writing.

use libfuzzer_sys::fuzz_target;
use nexis_core::package::{RowLimits, rows_from_bytes, rows_to_bytes};
use nexis_core::spec::{DatasetSpec, VideoSpec};

fuzz_target!(|bytes: &[u8]| {
    let rules = VideoSpec::default().row_rules();
    let limits = RowLimits {
        max_file_bytes: 1 << 20,
        max_rows: 1000,
        max_uncompressed_bytes: 8 << 20,
        max_text_bytes: 4 << 20,
    };
    if let Ok(rows) = rows_from_bytes(bytes.to_vec().into(), &rules, &limits) {
        assert!(rows.len() <= limits.max_rows);
        let written = rows_to_bytes(&rows).expect("rows are written");
        let again = rows_from_bytes(written.into(), &rules, &RowLimits::default()).expect("what was written reads");
        assert_eq!(again.len(), rows.len());
        for (a, b) in again.iter().zip(&rows) {
            assert_eq!((&a.clip_id, a.clip_start_sec, a.width), (&b.clip_id, b.clip_start_sec, b.width));
        }
    }
});
