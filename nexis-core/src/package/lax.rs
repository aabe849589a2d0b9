//! Conversions between JSON types as the network's schema library (pydantic v2, lax mode) makes them.
//!
//! Compared against that library itself over generated values: `tests/fixtures/protocol/{rows,manifests}.json`.
//!
//! Numbers have no bounds there. Here an integer beyond 64 bits becomes the largest or smallest of 64, and an infinity the
//! largest or smallest double: no field can mean one, but what the network accepts is not refused for it. (Parquet's decimals
//! beyond 64 bits are: they come as floats.)

use serde_json::Value;
use serde_json::value::RawValue;

use crate::python::MAX_DIGITS;

/// A value of JSON, its numbers cut. Alone, serde_json would make floats of integers beyond 64 bits, and refuse a float
/// beyond the largest.
pub(crate) fn json(raw: &RawValue) -> serde_json::Result<Value> {
    let text = raw.get();
    let integer = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    match int_text(text).filter(|_| integer) {
        Some(n) => Ok(n.into()),
        None => serde_json::from_str(text).or_else(|error| match text.as_bytes() {
            // A number as such it is: the document was read.
            [b'-', ..] => Ok(f64::MIN.into()),
            [b'0'..=b'9', ..] => Ok(f64::MAX.into()),
            _ => Err(error),
        }),
    }
}

/// An integer: a whole number, a boolean, or a text of one (`" 70 "`, `"1_000"`, `"4.0"`).
pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Number(n) if n.is_f64() => n.as_f64().and_then(whole),
        Value::Number(n) => Some(n.as_i64().unwrap_or(i64::MAX)),
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
    let mut length = 0;
    let mut after_digit = false;
    for b in digits.bytes() {
        match b {
            b'0'..=b'9' => {
                let digit = i64::from(b - b'0');
                value = value.saturating_mul(10);
                value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
                length += usize::from(value != 0);
                after_digit = true;
            }
            b'_' if after_digit => after_digit = false,
            _ => return None,
        }
    }
    (after_digit && length <= MAX_DIGITS).then_some(value)
}

/// A float: any number, a boolean, or a text of one, `nan` and `inf` included.
pub(crate) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Number(n) => n.as_f64(),
        Value::String(text) => float_text(text).map(|x| x.clamp(f64::MIN, f64::MAX)),
        _ => None,
    }
}

/// White space around a number is taken, and underscores in it are, but not both.
fn float_text(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.trim().parse().ok();
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
