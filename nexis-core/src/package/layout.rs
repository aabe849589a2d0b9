//! Where things are in a package, and which names are safe to look up.

use unicode_normalization::is_nfc;

use crate::check::{Violation, ViolationKind};
use crate::protocol::IntervalId;

/// Longest asset URI, in bytes.
pub const MAX_URI_BYTES: usize = 1024;

/// Key of an interval's manifest.
pub fn manifest_key(interval: IntervalId) -> String {
    format!("{interval}/manifest.json")
}

/// Key of an interval's rows.
pub fn dataset_key(interval: IntervalId) -> String {
    format!("{interval}/dataset.parquet")
}

/// The key of an asset of a row. The URI is relative to the interval's folder and may repeat its name in
/// front (`clips/c1.mp4` and `7756900/clips/c1.mp4` are one asset).
///
/// Taken are plain relative POSIX paths only. Refused: empty, longer than 1024 bytes, absolute, with
/// empty, `.` or `..` parts, with control or invisible formatting characters, backslashes or colons
/// (drive letters, URL schemes), with parts that end in a dot or begin or end in a space, and names that
/// are not in Unicode normalisation form C: two spellings of one name would be one file on some systems
/// and two on others.
///
/// # Errors
/// `invalid_asset_uri`, with the reason in words.
pub fn asset_key(interval: IntervalId, uri: &str) -> Result<String, Violation> {
    let prefix = interval.to_string();
    let relative = match uri.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest,
        None => uri,
    };
    match objection(uri).or_else(|| objection(relative)) {
        Some(why) => Err(Violation::explained(ViolationKind::InvalidAssetUri { uri: uri.to_owned() }, why)),
        None => Ok(format!("{prefix}/{relative}")),
    }
}

/// Why a relative path is not safe, if it is not.
fn objection(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_URI_BYTES {
        return Some("it is too long");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains('\\') {
        return Some("it has a backslash");
    }
    if path.contains(':') {
        return Some("it has a colon, as drive letters and URLs have");
    }
    if path.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Some("it has control or invisible characters");
    }
    if !is_nfc(path) {
        return Some("it is not in Unicode normalisation form C");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("it has an empty part"),
        "." | ".." => Some("it has a part that is . or .."),
        _ if part.ends_with('.') => Some("a part of it ends in a dot"),
        _ if part.trim() != part => Some("a part of it begins or ends in white space"),
        _ => None,
    })
}

/// Formatting characters that a reader does not see: zero-width ones, directional ones, tags.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
