//! `manifest.json` (protocol page, 2).

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::lax;
use super::timestamp::Timestamp;
use crate::protocol::{Hotkey, IntervalId};
use crate::python;
use crate::spec::video_v1;

/// What a miner says about an interval's package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the protocol that the package follows.
    pub protocol_version: String,
    /// Version of the row schema.
    pub schema_version: String,
    /// The dataset spec; on the wire `dataset_type` repeats it.
    pub spec_id: String,
    /// The category that the package claims, if any.
    pub category: Option<String>,
    /// The subnet.
    pub netuid: u64,
    /// The miner, as written.
    pub miner_hotkey: Hotkey,
    /// The interval.
    pub interval_id: IntervalId,
    /// When the package was made, as the miner says.
    pub created_at: Timestamp,
    /// Number of rows in the dataset.
    pub record_count: u64,
    /// SHA-256 of `dataset.parquet`: 64 characters, not necessarily hexadecimal.
    pub dataset_sha256: String,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{why}", field, if field.is_empty() { "" } else { ": " })]
pub struct InvalidManifest {
    /// The field at fault, empty where it is the whole document.
    pub field: &'static str,
    /// What is wrong.
    pub why: String,
}

impl InvalidManifest {
    pub(crate) fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
}

impl Manifest {
    /// Largest manifest that is read, in bytes. A real one has about 500.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// Reads a manifest as leniently as the network does: unknown fields are ignored, texts trimmed,
    /// numbers may be texts, a missing `created_at` is `now`, and of a repeated key the last one counts.
    ///
    /// # Errors
    /// The first field that does not hold, in the order of the wire.
    pub fn parse(bytes: &[u8], now: DateTime<Utc>) -> Result<Self, InvalidManifest> {
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(InvalidManifest::new("", format!("larger than {} bytes", Self::MAX_BYTES)));
        }
        // All of it: a field that is passed over is not looked at otherwise.
        std::str::from_utf8(bytes).map_err(|e| InvalidManifest::new("", format!("no UTF-8: {e}")))?;
        if !python::within_bounds(bytes) {
            return Err(InvalidManifest::new("", "nested too deep, or an integer of too many digits"));
        }
        let plain = python::without_constants(bytes);
        let Fields(raw) = serde_json::from_slice(&plain)
            .map_err(|e| InvalidManifest::new("", format!("no JSON object: {e}")))?;
        let mut fields = Map::new();
        for (name, raw) in raw {
            let value = lax::json(raw).map_err(|e| InvalidManifest::new(name, e.to_string()))?;
            fields.insert(name.to_owned(), value);
        }
        Self::from_map(&fields, now)
    }

    fn from_map(map: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self, InvalidManifest> {
        let dataset_sha256 = required_text(map, "dataset_sha256");
        Ok(Self {
            protocol_version: text_or(map, "protocol_version", video_v1::PROTOCOL_VERSION)?,
            schema_version: text_or(map, "schema_version", video_v1::SCHEMA_VERSION)?,
            spec_id: spec_id(map),
            category: category(map)?,
            netuid: count(map, "netuid")?,
            miner_hotkey: Hotkey::new(required_text(map, "miner_hotkey")?),
            interval_id: IntervalId::new(count(map, "interval_id")?),
            created_at: match map.get("created_at") {
                None => Timestamp::from_utc(now),
                Some(value) => Timestamp::from_json(value)
                    .ok_or_else(|| InvalidManifest::new("created_at", "neither RFC 3339 nor a Unix time"))?,
            },
            record_count: count(map, "record_count")?,
            dataset_sha256: match dataset_sha256?.to_owned() {
                digest if digest.chars().count() == 64 => digest,
                _ => return Err(InvalidManifest::new("dataset_sha256", "not 64 characters")),
            },
        })
    }

    /// The document as the network writes it: two-space indentation.
    pub fn to_json(&self) -> String {
        // Serialising strings and integers into a String cannot fail; an empty text would show at once.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// The fields that are read.
const FIELDS: [&str; 11] = [
    "protocol_version",
    "schema_version",
    "spec_id",
    "dataset_type",
    "category",
    "netuid",
    "miner_hotkey",
    "interval_id",
    "created_at",
    "record_count",
    "dataset_sha256",
];

/// What stands in those fields at last; of a repeated one, what stood there before counts for nothing. Any other is passed
/// over unread: the network takes numbers, texts and depths there that are too much for a JSON value here.
struct Fields<'a>(BTreeMap<&'static str, &'a RawValue>);

/// A key by its bytes: half of a surrogate pair is one too.
struct Key(Option<&'static str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, key: &[u8]) -> Result<Key, E> {
                Ok(Key(FIELDS.into_iter().find(|field| field.as_bytes() == key)))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut document: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(Key(key)) = document.next_key()? {
                    if let Some(field) = key {
                        fields.insert(field, document.next_value()?);
                    } else {
                        document.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("Manifest", 11)?;
        s.serialize_field("protocol_version", &self.protocol_version)?;
        s.serialize_field("schema_version", &self.schema_version)?;
        s.serialize_field("spec_id", &self.spec_id)?;
        s.serialize_field("dataset_type", &self.spec_id)?;
        s.serialize_field("category", &self.category)?;
        s.serialize_field("netuid", &self.netuid)?;
        s.serialize_field("miner_hotkey", &self.miner_hotkey)?;
        s.serialize_field("interval_id", &self.interval_id)?;
        s.serialize_field("created_at", &self.created_at)?;
        s.serialize_field("record_count", &self.record_count)?;
        s.serialize_field("dataset_sha256", &self.dataset_sha256)?;
        s.end()
    }
}

/// `spec_id` and its alias. Whatever stands there is turned into text first, so that a null is the
/// text `None` and no blank.
fn spec_id(map: &Map<String, Value>) -> String {
    ["spec_id", "dataset_type"]
        .iter()
        .filter_map(|key| map.get(*key))
        .map(|value| python::strip(&python::str_of(value)).to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| video_v1::SPEC_ID.to_owned())
}

fn category(map: &Map<String, Value>) -> Result<Option<String>, InvalidManifest> {
    match map.get("category") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|t| !t.is_empty()).map(str::to_owned)),
        Some(_) => Err(InvalidManifest::new("category", "not a text")),
    }
}

fn required<'a>(map: &'a Map<String, Value>, field: &'static str) -> Result<&'a Value, InvalidManifest> {
    map.get(field).ok_or_else(|| InvalidManifest::new(field, "missing"))
}

fn required_text<'a>(map: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, InvalidManifest> {
    lax::text(required(map, field)?).ok_or_else(|| InvalidManifest::new(field, "no text, or a blank one"))
}

fn text_or(map: &Map<String, Value>, field: &'static str, default: &str) -> Result<String, InvalidManifest> {
    if map.contains_key(field) {
        required_text(map, field).map(str::to_owned)
    } else {
        Ok(default.to_owned())
    }
}

fn count(map: &Map<String, Value>, field: &'static str) -> Result<u64, InvalidManifest> {
    lax::int(required(map, field)?)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| InvalidManifest::new(field, "no whole number of 0 or more"))
}
