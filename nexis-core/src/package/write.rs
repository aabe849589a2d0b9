//! Writes `dataset.parquet` as pyarrow writes and reads it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::ClipRecord;
use crate::error::{Error, Result};

/// The rows as a Parquet file in memory: utf8, int64, double, bool, and `source_proof` as a structure of
/// texts. A proof without any field anywhere has no Parquet form; then the column is left out, which
/// reads back as empty maps. Values of a proof that are no texts are written as JSON text.
///
/// # Errors
/// Where the library fails, which is ours.
pub fn rows_to_bytes(rows: &[ClipRecord]) -> Result<Vec<u8>> {
    let batch = batch(rows).map_err(|e| Error::Internal(format!("rows to Arrow: {e}")))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let written =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).and_then(|mut writer| {
            writer.write(&batch)?;
            writer.close()
        });
    written.map_err(|e| Error::Internal(format!("rows to Parquet: {e}")))?;
    Ok(bytes)
}

/// Writes the rows as a Parquet file; see [`rows_to_bytes`].
///
/// # Errors
/// Where the file cannot be written.
pub fn write_rows(path: &Path, rows: &[ClipRecord]) -> Result<()> {
    std::fs::write(path, rows_to_bytes(rows)?).map_err(|e| Error::io(path, e))
}

fn batch(rows: &[ClipRecord]) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let text = |get: fn(&ClipRecord) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(get(r))).collect::<StringArray>())
    };
    let float = |get: fn(&ClipRecord) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<Float64Array>())
    };
    let int =
        |get: fn(&ClipRecord) -> i64| -> ArrayRef { Arc::new(rows.iter().map(get).collect::<Int64Array>()) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("clip_id", text(|r| &r.clip_id)),
        ("clip_uri", text(|r| &r.clip_uri)),
        ("clip_sha256", text(|r| &r.clip_sha256)),
        ("first_frame_uri", text(|r| &r.first_frame_uri)),
        ("first_frame_sha256", text(|r| &r.first_frame_sha256)),
        ("source_video_id", text(|r| &r.source_video_id)),
        ("split_group_id", text(|r| &r.split_group_id)),
        ("split", text(|r| &r.split)),
        ("clip_start_sec", float(|r| r.clip_start_sec)),
        ("duration_sec", float(|r| r.duration_sec)),
        ("width", int(|r| r.width)),
        ("height", int(|r| r.height)),
        ("fps", float(|r| r.fps)),
        ("num_frames", int(|r| r.num_frames)),
        ("has_audio", Arc::new(rows.iter().map(|r| Some(r.has_audio)).collect::<BooleanArray>())),
        ("caption", text(|r| &r.caption)),
        ("source_video_url", text(|r| &r.source_video_url)),
    ];
    if let Some(proof) = proof(rows)? {
        columns.push(("source_proof", proof));
    }
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn proof(rows: &[ClipRecord]) -> std::result::Result<Option<ArrayRef>, arrow::error::ArrowError> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|r| r.source_proof.keys()).map(String::as_str).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let cell = |row: &ClipRecord, name: &str| match row.source_proof.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let columns: Vec<ArrayRef> = names
        .iter()
        .map(|name| Arc::new(rows.iter().map(|r| cell(r, name)).collect::<StringArray>()) as ArrayRef)
        .collect();
    let fields: Fields = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    Ok(Some(Arc::new(StructArray::try_new(fields, columns, None)?)))
}
