//! Which keys and bucket names are taken.

use super::{Result, StoreError, StoreErrorKind};

/// Longest key, in bytes; S3's limit.
const MAX_KEY_BYTES: usize = 1024;

/// Refuses keys that a store, a URL and a folder would not all read alike.
pub(super) fn check(store: &str, key: &str) -> Result<()> {
    match objection(key) {
        None => Ok(()),
        Some(why) => {
            let shown: String = key.chars().take(80).collect();
            Err(StoreError::new(StoreErrorKind::Invalid, store, format!("the key {shown:?} {why}")))
        }
    }
}

fn objection(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("is empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return Some("is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return Some("has control characters");
    }
    if key.contains('\\') {
        return Some("has a backslash");
    }
    key.split('/').find_map(|part| match part {
        "" => Some("has an empty part"),
        "." | ".." => Some("has a part that is . or .."),
        _ => None,
    })
}

/// Refuses bucket names that S3 does not know: 3 to 63 lower-case letters, digits, dots and hyphens.
pub(super) fn check_bucket(store: &str, bucket: &str) -> Result<()> {
    let plain =
        bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    let edges = bucket.starts_with(['-', '.']) || bucket.ends_with(['-', '.']) || bucket.contains("..");
    if plain && !edges && (3..=63).contains(&bucket.len()) {
        return Ok(());
    }
    let shown: String = bucket.chars().take(80).collect();
    let why = "3 to 63 lower-case letters, digits, dots and hyphens are expected";
    Err(StoreError::new(StoreErrorKind::Invalid, store, format!("the bucket name {shown:?}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_root_or_mean_two_things_are_refused() {
        for good in ["a", "7756900/clips/0a.mp4", "nature/x/clip.mp4", ".hidden", "a b/ü"] {
            assert!(check("s", good).is_ok(), "{good:?}");
        }
        for bad in
            ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b", &"k".repeat(1025)]
        {
            assert_eq!(check("s", bad).unwrap_err().kind, StoreErrorKind::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn bucket_names_are_those_of_s3() {
        for good in ["abc", "5grwva.ef-5", &"b".repeat(63)] {
            assert!(check_bucket("s", good).is_ok(), "{good:?}");
        }
        for bad in ["ab", "Abc", "a/b", "..", "a..b", "-abc", "abc.", "a_b", &"b".repeat(64)] {
            assert!(check_bucket("s", bad).is_err(), "{bad:?}");
        }
    }
}
