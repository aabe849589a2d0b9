//! JSON from strangers: a value in memory takes many times the bytes that wrote it, so values are counted first.

use axum::body::Bytes;
use memchr::memchr2;
use serde_json::Value;

use super::error::{Answer, Refusal};

/// Most values and keys of a body. The largest request that makes sense has a few hundred, and a schema.
const MAX_VALUES: usize = 1 << 16;

/// Reads a body.
pub(super) fn read(body: &Bytes) -> Answer<Value> {
    if more_than(body, MAX_VALUES) {
        return Err(Refusal::invalid("body", format!("more than {MAX_VALUES} values and keys of JSON")));
    }
    serde_json::from_slice(body).map_err(|e| Refusal::invalid("body", format!("no JSON: {e}")))
}

/// Whether a text has more values and keys than so many, if it is JSON. Each but the first stands behind one of these
/// marks, outside of strings; what is empty counts as if it held one.
fn more_than(text: &[u8], most: usize) -> bool {
    let (mut at, mut found) = (0, 1_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at + 1),
            b',' | b'[' | b'{' | b':' => found += 1,
            _ => {}
        }
        if found > most {
            return true;
        }
        at += 1;
    }
    false
}

/// Where a string ends that begins here; the end of the text where it does not.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        match text.get(at) {
            Some(b'\\') => at += 2,
            _ => return at,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_as_a_parser_counts_them() {
        fn count(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
                Value::Object(fields) => 1 + fields.values().map(|value| 1 + count(value)).sum::<usize>(),
                _ => 1,
            }
        }
        for text in [
            r#"{"a":[1,2,{"b":null}],"c,[{:\"":"x\\","d\\":"\"[,,,{{{::"}"#,
            "[[1],[2,3],[\"\"]]",
            "\"[,]\"",
            "[1, -2.5e3, true, false, null, \"\\u005b\"]",
            "7",
        ] {
            let counted = count(&serde_json::from_str(text).unwrap());
            assert!(!more_than(text.as_bytes(), counted), "{text}: {counted}");
            assert!(counted == 1 || more_than(text.as_bytes(), counted - 1), "{text}: {counted}");
        }
    }

    #[test]
    fn what_would_grow_in_memory_is_refused_before_it_does() {
        for (before, item, behind) in [
            ("[", "0,", "0]"),
            ("", "[", ""),
            ("{\"messages\":[", "{},", "{}]}"),
            ("{", "\"a\":0,", "\"b\":0}"),
        ] {
            let text = format!("{before}{}{behind}", item.repeat(MAX_VALUES));
            let refusal = read(&text.into()).unwrap_err();
            assert!(refusal.message().contains("more than"), "{}", refusal.message());
        }
        // A long string is one value, whatever is in it, and a broken one is no JSON.
        let long = format!("[\"{}\"]", "[,\\\"{".repeat(MAX_VALUES));
        assert_eq!(read(&long.into()).unwrap().as_array().unwrap().len(), 1);
        for broken in ["", "[\"", "[\"\\", "{\"a\":", "\\"] {
            assert!(read(&broken.into()).unwrap_err().message().contains("no JSON"), "{broken}");
        }
    }
}
