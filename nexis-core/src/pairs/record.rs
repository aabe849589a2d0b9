//! One record with named fields as a pair, wherever the fields come from.

use serde_json::{Map, Value};

use super::{Gate, Pair, PairSource, Shown};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::package::table::{TableLimits, read_table};
use crate::protocol::Category;

/// The fields that are read; others are ignored.
pub(super) const FIELDS: [&str; 7] = ["clip", "frames", "caption", "label", "group", "subset", "category"];

/// Every row of a Parquet file.
pub(super) fn parquet(source: &PairSource, gate: &mut Gate<'_>) -> Result<Digest> {
    let limits = TableLimits {
        max_file_bytes: source.limits.max_held_bytes,
        max_rows: usize::try_from(source.limits.max_pairs).unwrap_or(usize::MAX),
        max_list: super::MOST_FRAMES,
        max_list_text: super::LONGEST_PATH,
    };
    let mut row = 0;
    read_table(&source.path, &FIELDS, &["frames", "label"], &limits, &mut |record| {
        row += 1;
        gate.give(pair(row, &record).map_err(|why| source.error(row, why))?)
    })
}

/// A record as a pair.
pub(super) fn pair(row: u64, record: &Map<String, Value>) -> Result<Pair, String> {
    let shown = match (text(record, "clip")?, field(record, "frames")) {
        (Some(_), Some(_)) => return Err("it has both a clip and frames; one of them is expected".into()),
        (Some(clip), None) => Shown::Clip(clip),
        (None, Some(Value::Array(items))) => Shown::Frames(
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or("frames: a list of paths is expected"))
                .collect::<Result<_, _>>()?,
        ),
        (None, Some(_)) => return Err("frames: a list of paths is expected".into()),
        (None, None) => return Err("it has neither a clip nor frames".into()),
    };
    let category = match text(record, "category")? {
        None => None,
        Some(name) => {
            let found = Category::ALL.into_iter().find(|label| label.as_str() == name);
            Some(found.ok_or_else(|| {
                let known = Category::ALL.map(Category::as_str).join(", ");
                format!("category {name:?}: one of {known} is expected")
            })?)
        }
    };
    Ok(Pair {
        row,
        shown,
        caption: text(record, "caption")?.ok_or("it has no caption")?,
        ratings: match field(record, "label") {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(number).collect::<Result<_, _>>()?,
            Some(value) => vec![number(value)?],
        },
        group: name(record, "group")?,
        subset: name(record, "subset")?,
        category,
    })
}

/// A field that says something.
fn field<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    record.get(name).filter(|value| !value.is_null())
}

fn text(record: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match field(record, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name}: a text is expected")),
    }
}

/// A group may be numbered.
fn name(record: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match field(record, name) {
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        _ => text(record, name),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Bool(yes) => Ok(f64::from(u8::from(*yes))),
        Value::Number(number) => number.as_f64().ok_or_else(|| format!("label {number}: it is too large")),
        Value::String(text) => parse(text),
        _ => Err("label: a number is expected".into()),
    }
}

/// A number as CSV has it.
fn parse(text: &str) -> Result<f64, String> {
    match text.trim() {
        "true" | "True" => Ok(1.0),
        "false" | "False" => Ok(0.0),
        text => text.parse().map_err(|_| format!("label {text:?}: 0, 1 or a rating is expected")),
    }
}

/// What a file could not be read for.
pub(super) fn unreadable(source: &PairSource, error: std::io::Error) -> Error {
    Error::io(&source.path, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Pair, String> {
        pair(3, value.as_object().unwrap())
    }

    #[test]
    fn every_field_is_read_and_others_are_ignored() {
        let got = read(json!({
            "frames": ["a.png", "b.png"], "caption": "two boats", "label": [4, 3.5, true], "group": 17,
            "subset": "harbour", "category": "vehicle", "note": {"any": 1}, "clip": null,
        }))
        .unwrap();
        assert_eq!(got.shown, Shown::Frames(vec!["a.png".into(), "b.png".into()]));
        assert_eq!(got.ratings, [4.0, 3.5, 1.0]);
        assert_eq!(got.rating(), Some(8.5 / 3.0));
        assert_eq!((got.group.as_deref(), got.subset.as_deref()), (Some("17"), Some("harbour")));
        assert_eq!((got.row, got.category), (3, Some(Category::Vehicle)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, why) in [
            (json!({"caption": "a"}), "neither a clip nor frames"),
            (json!({"clip": "a", "frames": ["b"], "caption": "a"}), "both a clip and frames"),
            (json!({"clip": 3, "caption": "a"}), "clip: a text"),
            (json!({"frames": "a", "caption": "a"}), "a list of paths"),
            (json!({"frames": [1], "caption": "a"}), "a list of paths"),
            (json!({"clip": "a"}), "no caption"),
            (json!({"clip": "a", "caption": "a", "label": "yes"}), "0, 1 or a rating"),
            (json!({"clip": "a", "caption": "a", "label": {}}), "a number"),
            (json!({"clip": "a", "caption": "a", "category": "sea"}), "one of nature"),
        ] {
            let got = read(value.clone()).unwrap_err();
            assert!(got.contains(why), "{value}: {got}");
        }
    }
}
