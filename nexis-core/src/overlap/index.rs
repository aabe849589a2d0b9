//! The global index of clips already taken, `record_info.json`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::source::{bare, record_info_key};
use crate::package::ClipRecord;
use crate::package::rows::python_fixed;
use crate::python;

/// Clip starts in seconds by source key, ascending and without repetition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverlapIndex {
    entries: BTreeMap<String, Vec<f64>>,
}

/// An index as read, with what was wrong with the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParsedIndex {
    /// What could be read.
    pub index: OverlapIndex,
    /// Why the document as a whole could not be read; the index is empty then, as on the network.
    pub problem: Option<String>,
    /// Keys and starts that were left out because they mean nothing.
    pub skipped: usize,
}

impl OverlapIndex {
    /// Largest file that is read, in bytes.
    pub const MAX_BYTES: usize = 256 << 20;

    /// Reads `record_info.json` in its present shape (`{"video_v1": {url: [start, ...]}}`) or an older one
    /// (flat, or under `entries`). Keys become canonical URLs; starts may be numbers or texts; what
    /// is neither is left out and counted.
    pub fn parse(bytes: &[u8]) -> ParsedIndex {
        if bytes.len() > Self::MAX_BYTES {
            let problem = Some(format!("larger than {} bytes", Self::MAX_BYTES));
            return ParsedIndex { problem, ..ParsedIndex::default() };
        }
        let map = match serde_json::from_slice(&python::without_constants(bytes)) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                return ParsedIndex {
                    problem: Some("not a JSON object".to_owned()),
                    ..ParsedIndex::default()
                };
            }
            Err(e) => {
                return ParsedIndex { problem: Some(format!("no JSON: {e}")), ..ParsedIndex::default() };
            }
        };
        let mut parsed = ParsedIndex::default();
        parsed.read(entries_of(&map));
        parsed
    }

    /// The starts known under a key, taken literally.
    pub fn get(&self, key: &str) -> &[f64] {
        self.entries.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// All keys with their starts, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.entries.iter().map(|(key, starts)| (key.as_str(), starts.as_slice()))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a start under a key, taken literally. Numbers that are not finite are left out.
    pub fn insert(&mut self, key: impl Into<String>, start: f64) {
        self.extend(key.into(), [start]);
    }

    /// Adds the clips of an accepted submission under their canonical URLs.
    pub fn add_rows<'a>(&mut self, rows: impl IntoIterator<Item = &'a ClipRecord>) {
        let mut added: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in rows {
            added.entry(record_info_key(&row.source_video_url)).or_default().push(row.clip_start_sec);
        }
        for (key, starts) in added {
            self.extend(key, starts);
        }
    }

    fn extend(&mut self, key: String, starts: impl IntoIterator<Item = f64>) {
        let mut starts: Vec<f64> = starts.into_iter().filter(|start| start.is_finite()).collect();
        if starts.is_empty() {
            return;
        }
        let known = self.entries.entry(key).or_default();
        known.append(&mut starts);
        known.sort_by(|a, b| python::order(*a, *b));
        known.dedup();
    }

    /// The document as the network writes it: two-space indentation, keys sorted, starts with three
    /// decimals, characters outside ASCII escaped.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\n  \"video_v1\": {");
        for (i, (key, starts)) in self.entries.iter().enumerate() {
            out.push_str(if i == 0 { "\n    " } else { ",\n    " });
            push_json_text(&mut out, key);
            out.push_str(": [");
            for (i, start) in starts.iter().enumerate() {
                let _ = write!(out, "{}\n      \"{}\"", if i == 0 { "" } else { "," }, python_fixed(*start));
            }
            out.push_str("\n    ]");
        }
        out.push_str(if self.entries.is_empty() { "}\n}" } else { "\n  }\n}" });
        out
    }
}

impl<K: Into<String>> FromIterator<(K, Vec<f64>)> for OverlapIndex {
    /// From keys taken literally.
    fn from_iter<I: IntoIterator<Item = (K, Vec<f64>)>>(entries: I) -> Self {
        let mut index = Self::default();
        for (key, starts) in entries {
            index.extend(key.into(), starts);
        }
        index
    }
}

fn entries_of(map: &Map<String, Value>) -> &Map<String, Value> {
    ["video_v1", "entries"].iter().find_map(|key| map.get(*key)?.as_object()).unwrap_or(map)
}

impl ParsedIndex {
    fn read(&mut self, entries: &Map<String, Value>) {
        for (key, starts) in entries {
            let Some(starts) = starts.as_array().filter(|_| !bare(key).is_empty()) else {
                self.skipped += 1;
                continue;
            };
            let read: Vec<f64> = starts.iter().filter_map(start).collect();
            self.skipped += starts.len() - read.len();
            self.index.extend(record_info_key(key), read);
        }
    }
}

/// A start as Python's `float()` reads it, where it is finite.
fn start(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Number(n) => n.as_f64(),
        Value::String(text) => python::float(text),
        _ => None,
    }
    .filter(|x| x.is_finite())
}

fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}
