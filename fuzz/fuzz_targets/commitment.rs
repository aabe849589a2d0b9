#![no_main]
//! A commitment that decodes encodes to the same text, the account's capitals apart, and shows no secret.

use libfuzzer_sys::fuzz_target;
use nexis_core::commitment::Credentials;

fuzz_target!(|text: &str| {
    if let Some(credentials) = Credentials::decode(text) {
        let encoded = credentials.encode();
        assert!(encoded.eq_ignore_ascii_case(text));
        assert_eq!(Credentials::decode(&encoded).as_ref(), Some(&credentials));
        assert!(!format!("{credentials:?}").contains(credentials.read_secret_key()));
    }
});
