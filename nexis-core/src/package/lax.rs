//! Conversions between JSON types as the network's schema library (pydantic v2, lax mode) makes them.
//!
//! Compared against that library itself over generated values: `tests/fixtures/protocol/{rows,manifests}.json`.

use serde_json::Value;

/// An integer: a whole number, a boolean, or a text of one (`" 70 "`, `"1_000"`, `"4.0"`).
/// Integers beyond 64 bits are not taken; none of the protocol's fields can mean one.
pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().filter(|_| n.is_f64()).and_then(whole)),
        Value::String(text) => int_text(text.trim()),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation)] // the range is checked first
fn whole(x: f64) -> Option<i64> {
    // 2^63 is exact as f64; the upper bound is exclusive.
    (x.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x))
        .then_some(x as i64)
}

fn int_text(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let (negative, digits) = match whole.as_bytes().first()? {
        b'-' => (true, whole.get(1..)?),
        b'+' => (false, whole.get(1..)?),
        _ => (false, whole),
    };
    let mut value: i64 = 0;
    let mut after_digit = false;
    for b in digits.bytes() {
        match b {
            b'0'..=b'9' => {
                let digit = i64::from(b - b'0');
                value = value.checked_mul(10)?;
                value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
                after_digit = true;
            }
            b'_' if after_digit => after_digit = false,
            _ => return None,
        }
    }
    after_digit.then_some(value)
}

/// A float: any number, a boolean, or a text of one, `nan` and `inf` included.
pub(crate) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Number(n) => n.as_f64(),
        Value::String(text) => float_text(text.trim()),
        _ => None,
    }
}

fn float_text(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.parse().ok();
    }
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// A boolean: itself, 0 or 1 as a number, or one of the twelve words.
pub(crate) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => {
            let x = n.as_f64()?;
            if x == 0.0 {
                Some(false)
            } else if x == 1.0 {
                Some(true)
            } else {
                None
            }
        }
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A text, trimmed and not empty after that. Numbers are not texts.
pub(crate) fn text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}
