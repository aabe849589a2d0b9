//! Canonical JSON: one spelling for one value, so that equal evidence has equal digests.
//!
//! Object keys in byte order, no white space, numbers as serde_json writes them (shortest form that
//! reads back to the same value), strings with only the escapes that JSON demands.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::hash::Digest;

/// The canonical text of a value.
///
/// # Errors
/// Where the value does not fit JSON, which would be a defect of ours.
pub fn to_canonical_json(value: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(value).map_err(|e| Error::Internal(format!("evidence: {e}")))?;
    let mut text = String::new();
    write(&value, &mut text)?;
    Ok(text)
}

/// SHA-256 of the canonical text.
///
/// # Errors
/// As [`to_canonical_json`].
pub fn canonical_digest(value: &impl Serialize) -> Result<Digest> {
    Ok(Digest::of(to_canonical_json(value)?))
}

fn write(value: &Value, text: &mut String) -> Result<()> {
    match value {
        Value::Object(map) => {
            // Sorted here and not left to the map type: a dependency may switch serde_json to
            // insertion order for the whole program.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            text.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(&Value::String(key.clone()), text)?;
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        scalar => text
            .push_str(&serde_json::to_string(scalar).map_err(|e| Error::Internal(format!("evidence: {e}")))?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_does_not_matter() {
        let a: Value =
            serde_json::from_str(r#"{"b": [1, 2.50, "\u00e9\n"], "a": {"z": null, "y": true}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":{"y":true,"z":null},"b":[1,2.5,"é\n"]}"#).unwrap();
        let text = to_canonical_json(&a).unwrap();
        assert_eq!(text, "{\"a\":{\"y\":true,\"z\":null},\"b\":[1,2.5,\"é\\n\"]}");
        assert_eq!(canonical_digest(&a).unwrap(), canonical_digest(&b).unwrap());
    }
}
