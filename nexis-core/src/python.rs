//! The few text and number conventions of Python that the protocol inherits.
//!
//! The running network is written in Python, and white space, word characters and number texts are
//! not the same there as in Rust. Every difference that can change a verdict is here, by name.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;
use unicode_normalization::char::is_combining_mark;

/// Whether `str.split()` and `str.strip()` treat this character as white space. Rust's own white
/// space lacks the four information separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `text.split()`: the words between runs of white space.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Whether `\w` of a Python pattern matches: letters, numbers and the underscore. Combining marks and
/// circled letters are alphabetic to Rust, not to Python.
pub fn is_word(c: char) -> bool {
    let circled = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f149}' | '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}');
    c == '_' || (c.is_alphanumeric() && !is_combining_mark(c) && !circled)
}

/// `float(text)`: surrounding white space, single underscores between digits, `nan` and `inf`. The information separators
/// are no white space here, unlike in [`strip`].
pub fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut plain = String::with_capacity(text.len());
    for (i, c) in text.char_indices() {
        if c == '_' {
            let before = i.checked_sub(1).and_then(|k| bytes.get(k));
            let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_digit);
            if !digit(before) || !digit(bytes.get(i + 1)) {
                return None;
            }
        } else {
            plain.push(c);
        }
    }
    plain.parse().ok()
}

/// How `sort` orders numbers. 0.0 and -0.0 are equal to it, so that they stay as they stood.
pub fn order(a: f64, b: f64) -> Ordering {
    // -0.0 + 0.0 is 0.0, and any other number is itself.
    (a + 0.0).total_cmp(&(b + 0.0))
}

/// `b - a`. The largest double stands for the infinity here, since JSON has none, and two infinities are NaN apart: near to
/// nothing, as NaN is not less than anything.
pub fn gap(a: f64, b: f64) -> f64 {
    if a == b && a.abs() == f64::MAX { f64::NAN } else { b - a }
}

/// Longest integer that `int` and `json` read, in digits.
pub const MAX_DIGITS: usize = 4300;

/// Deepest nesting of a document. CPython's bound is 1000, less what has called it.
const MAX_DEPTH: usize = 950;

/// Whether a document is within the bounds of Python's `json`, wherever in it a long integer or deep nesting stands.
pub fn within_bounds(json: &[u8]) -> bool {
    let (mut in_text, mut depth, mut at) = (false, 0_usize, 0_usize);
    while let Some(byte) = json.get(at) {
        at += 1;
        match (in_text, byte) {
            (true, b'\\') => at += 1,
            (_, b'"') => in_text = !in_text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, b'0'..=b'9') => {
                let rest = json.get(at..).unwrap_or_default();
                let part = |b: &&u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
                let more = rest.iter().take_while(part).count();
                let integer = rest.iter().take(more).all(u8::is_ascii_digit);
                if integer && more >= MAX_DIGITS {
                    return false;
                }
                at += more;
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// A document of JSON without the constants `NaN`, `Infinity` and `-Infinity`, which Python takes and the standard
/// does not. Empty lists stand for them: like them, they are neither text, time nor whole number. Only the text
/// of a spec that is unknown shows the difference.
pub fn without_constants(json: &[u8]) -> Cow<'_, [u8]> {
    const CONSTANTS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    if !CONSTANTS.iter().any(|constant| json.windows(constant.len()).any(|bytes| bytes == *constant)) {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len());
    let (mut in_text, mut rest) = (false, json);
    while let Some((&byte, after)) = rest.split_first() {
        let constant = CONSTANTS.iter().find_map(|constant| rest.strip_prefix(*constant));
        rest = match (in_text, byte, constant) {
            (false, _, Some(after)) => {
                out.extend_from_slice(b"[]");
                after
            }
            (true, b'\\', _) => {
                out.push(byte);
                out.extend(after.first());
                after.get(1..).unwrap_or_default()
            }
            _ => {
                in_text ^= byte == b'"';
                out.push(byte);
                after
            }
        };
    }
    Cow::Owned(out)
}

/// `str(value)` of a JSON value as Python reads it.
pub fn str_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(x)) => repr_float(x),
            _ => number.to_string(),
        },
        Value::String(text) => repr_str(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(k, v)| format!("{}: {}", repr_str(k), repr(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

fn repr_float(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        // Rust writes 1e16 as `1e16`, Python as `1e+16`; exponents have two digits at least.
        let text = format!("{x:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{x:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(words("a\u{1c}b\u{a0}c\u{200b}d").collect::<Vec<_>>(), ["a", "b", "c\u{200b}d"]);
        assert_eq!(strip("\u{1f} x \u{3000}"), "x");
        assert_eq!(words("  ").count(), 0);
    }

    #[test]
    fn floats_are_pythons() {
        for (text, value) in
            [(" 1_0.5 ", 10.5), ("5.", 5.0), (".5", 0.5), ("+1e3", 1000.0), ("-inf", f64::NEG_INFINITY)]
        {
            assert_eq!(float(text), Some(value), "{text}");
        }
        assert_eq!(float("\u{a0}12\u{85}"), Some(12.0));
        for text in
            ["", "_1", "1_", "1__0", "1_.5", "1._5", "1e_5", "x", "0x10", "- 5", "12\u{1c}", "\u{a0}12\u{1f}"]
        {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn zeros_are_equal_and_the_rest_is_ordered() {
        assert_eq!(order(0.0, -0.0), Ordering::Equal);
        let mut numbers = [5e-324, -0.0, f64::INFINITY, 0.0, -1.0, 4.5, f64::NEG_INFINITY];
        numbers.sort_by(|a, b| order(*a, *b));
        let shown = format!("{numbers:?}");
        assert_eq!(shown, "[-inf, -1.0, -0.0, 0.0, 5e-324, 4.5, inf]");
    }

    #[test]
    fn infinities_are_near_to_nothing() {
        // Python: abs(math.inf - math.inf) < 4.5 is False.
        let near = |a, b| gap(a, b).abs() < 4.5;
        assert!(!near(f64::MAX, f64::MAX) && !near(f64::MAX, 1.0));
        assert!(near(1e300, 1e300) && near(3.0, 7.0) && !near(3.0, 7.5));
    }

    #[test]
    fn bounds_are_pythons() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let (long, longer) = ("9".repeat(4300), "9".repeat(4301));
        for (json, within) in [
            (nested(900), true),
            (nested(1200), false),
            (format!("[-{long}, {longer}.0, {longer}e0, 0.{longer}]"), true),
            (format!("[-{longer}]"), false),
            (format!(r#"["\\\"{longer}", "{}"]"#, "[".repeat(2000)), true),
            ("[]".repeat(2000), true),
        ] {
            assert_eq!(within_bounds(json.as_bytes()), within, "{}", &json[..20.min(json.len())]);
        }
    }

    #[test]
    fn constants_go_and_texts_stay() {
        for (json, plain) in [
            (r#"{"a": NaN, "b": [-Infinity, Infinity]}"#, r#"{"a": [], "b": [[], []]}"#),
            (r#"{"NaN": "a \" NaN", "\\": NaN}"#, r#"{"NaN": "a \" NaN", "\\": []}"#),
            (r#"["Infinity\"#, r#"["Infinity\"#),
            ("[nan, 1]", "[nan, 1]"),
        ] {
            assert_eq!(without_constants(json.as_bytes()), plain.as_bytes(), "{json}");
        }
    }

    #[test]
    fn str_is_pythons() {
        // Values printed by CPython 3.11.
        for (value, text) in [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!(1.0), "1.0"),
            (json!(1e16), "1e+16"),
            (json!(1e-5), "1e-05"),
            (json!(0.0001), "0.0001"),
            (json!(123456789012345.0), "123456789012345.0"),
            (json!(["a", 1, null, {"k": "it's"}]), "['a', 1, None, {'k': \"it's\"}]"),
        ] {
            assert_eq!(str_of(&value), text);
        }
    }
}
