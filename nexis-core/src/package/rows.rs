//! `dataset.parquet`: rows in, validated records out (protocol page, 2).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, Repetition};
use parquet::file::metadata::PageIndexPolicy;
use parquet::schema::types::SchemaDescriptor;
use serde_json::{Map, Value};

use super::{ClipRecord, cells, guard, lax};
use crate::error::Error;
use crate::python;

/// The columns of a row, in the order of the wire.
pub const COLUMNS: [&str; 18] = [
    "clip_id",
    "clip_uri",
    "clip_sha256",
    "first_frame_uri",
    "first_frame_sha256",
    "source_video_id",
    "split_group_id",
    "split",
    "clip_start_sec",
    "duration_sec",
    "width",
    "height",
    "fps",
    "num_frames",
    "has_audio",
    "caption",
    "source_video_url",
    "source_proof",
];

/// What a spec demands of every row beyond its types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowRules {
    /// Shortest `duration_sec`, inclusive.
    pub min_duration_seconds: f64,
    /// Longest `duration_sec`, inclusive.
    pub max_duration_seconds: f64,
}

/// What reading a dataset may cost; every limit is a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimits {
    /// Largest `dataset.parquet`, in bytes. It is held in memory while it is read.
    pub max_file_bytes: u64,
    /// Most rows.
    pub max_rows: usize,
    /// Most bytes that the pages of all columns together may have when uncompressed.
    pub max_uncompressed_bytes: u64,
    /// Most bytes of text in the rows.
    pub max_text_bytes: u64,
}

impl Default for RowLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: 256 << 20,
            max_rows: 100_000,
            max_uncompressed_bytes: 256 << 20,
            max_text_bytes: 64 << 20,
        }
    }
}

/// A row that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidRow {
    /// The first column at fault, in the order of the wire.
    pub field: &'static str,
    /// What is wrong.
    pub why: String,
}

/// Why a dataset did not become rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsFailure {
    /// The miner's: `dataset_schema_invalid`, with the reason in words.
    #[error("{0}")]
    Invalid(String),
    /// Ours: the file could not be read.
    #[error(transparent)]
    Ours(#[from] Error),
}

/// Validates one row, whether it comes from JSON or from Parquet, with the conversions that the network
/// makes. Unknown columns are ignored. Infinite numbers become the largest or smallest double: what is said of
/// a row is JSON, which has no larger one.
///
/// # Errors
/// The first column that does not hold.
pub fn validate_row(row: &Map<String, Value>, rules: &RowRules) -> Result<ClipRecord, InvalidRow> {
    Ok(ClipRecord {
        clip_id: text(row, "clip_id")?,
        clip_uri: text(row, "clip_uri")?,
        clip_sha256: digest(row, "clip_sha256")?,
        first_frame_uri: text(row, "first_frame_uri")?,
        first_frame_sha256: digest(row, "first_frame_sha256")?,
        source_video_id: text(row, "source_video_id")?,
        split_group_id: text(row, "split_group_id")?,
        split: text(row, "split")?,
        clip_start_sec: float(row, "clip_start_sec", "0 or more", |x| x >= 0.0)?,
        duration_sec: float(row, "duration_sec", "within the spec's range", |x| {
            (rules.min_duration_seconds..=rules.max_duration_seconds).contains(&x)
        })?,
        width: positive(row, "width")?,
        height: positive(row, "height")?,
        fps: float(row, "fps", "more than 0", |x| x > 0.0)?,
        num_frames: positive(row, "num_frames")?,
        has_audio: lax::boolean(required(row, "has_audio")?)
            .ok_or_else(|| invalid("has_audio", "no boolean"))?,
        caption: text(row, "caption")?,
        source_video_url: text(row, "source_video_url")?,
        source_proof: match row.get("source_proof") {
            None => BTreeMap::new(),
            Some(Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            Some(_) => return Err(invalid("source_proof", "no map")),
        },
    })
}

fn invalid(field: &'static str, why: impl Into<String>) -> InvalidRow {
    InvalidRow { field, why: why.into() }
}

fn required<'a>(row: &'a Map<String, Value>, field: &'static str) -> Result<&'a Value, InvalidRow> {
    row.get(field).ok_or_else(|| invalid(field, "missing"))
}

fn text(row: &Map<String, Value>, field: &'static str) -> Result<String, InvalidRow> {
    let text = lax::text(required(row, field)?).ok_or_else(|| invalid(field, "no text, or a blank one"))?;
    Ok(text.to_owned())
}

fn digest(row: &Map<String, Value>, field: &'static str) -> Result<String, InvalidRow> {
    let text = text(row, field)?;
    if text.chars().count() == 64 { Ok(text) } else { Err(invalid(field, "not 64 characters")) }
}

fn float(
    row: &Map<String, Value>,
    field: &'static str,
    what: &str,
    holds: impl Fn(f64) -> bool,
) -> Result<f64, InvalidRow> {
    lax::float(required(row, field)?)
        // No rule holds for NaN.
        .filter(|x| holds(*x))
        .ok_or_else(|| invalid(field, format!("no number, or not {what}")))
}

fn positive(row: &Map<String, Value>, field: &'static str) -> Result<i64, InvalidRow> {
    lax::int(required(row, field)?)
        .filter(|n| *n > 0)
        .ok_or_else(|| invalid(field, "no whole number, or not more than 0"))
}

/// Reads and validates every row of a Parquet file.
///
/// # Errors
/// [`RowsFailure::Invalid`] where the file, its schema, its size or a row does not hold;
/// [`RowsFailure::Ours`] where it could not be read.
pub fn read_rows(path: &Path, rules: &RowRules, limits: &RowLimits) -> Result<Vec<ClipRecord>, RowsFailure> {
    let bytes = read_file(path, limits.max_file_bytes)?
        .ok_or_else(|| RowsFailure::Invalid(format!("larger than {} bytes", limits.max_file_bytes)))?;
    rows_from_bytes(bytes, rules, limits).map_err(RowsFailure::Invalid)
}

/// A whole file, or `None` where it is larger than the limit, whatever its metadata said.
pub(super) fn read_file(path: &Path, max_bytes: u64) -> Result<Option<Bytes>, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let expected = file.metadata().map_err(|e| Error::io(path, e))?.len();
    if expected > max_bytes {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok((bytes.len() as u64 <= max_bytes).then(|| bytes.into()))
}

/// Validates every row of a Parquet file held in memory.
///
/// # Errors
/// In words, where the file, its schema, its size or a row does not hold.
pub fn rows_from_bytes(file: Bytes, rules: &RowRules, limits: &RowLimits) -> Result<Vec<ClipRecord>, String> {
    guard::check_footer(&file)?;
    // The last defence only: sizes, nesting and counts are checked before the library sees them, but it
    // asserts on things nobody listed, and a stranger's file must not end the process for everyone.
    catch_unwind(AssertUnwindSafe(|| decode(file, rules, limits)))
        .unwrap_or_else(|_| Err("the Parquet library gave up on it".to_owned()))
}

fn decode(file: Bytes, rules: &RowRules, limits: &RowLimits) -> Result<Vec<ClipRecord>, String> {
    // The Arrow schema embedded by the writer is not read: it would turn texts into dictionaries and
    // large texts, which mean the same here, and it is one more format to trust.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(in_words)?;
    let claimed = claimed_rows(&metadata, limits)?;
    let schema = metadata.parquet_schema();
    let mut wanted = wanted_leaves(schema)?;
    let sizes = guard::check_pages(&file, metadata.metadata(), &wanted, limits)?;
    leave_out_lists(schema, &sizes, limits, &mut wanted)?;
    let leaves: Vec<usize> = wanted.iter().enumerate().filter_map(|(i, w)| w.then_some(i)).collect();
    // A row holds at most one value of each column, and no value is larger than its page; so this bounds
    // a batch even where a dictionary repeats one huge entry.
    let row_bytes: u64 = leaves.iter().filter_map(|i| sizes.get(*i)).map(|s| s.largest_page).sum();
    let batch = (limits.max_text_bytes / row_bytes.max(1)).clamp(1, 1024);
    let mask = ProjectionMask::leaves(schema, leaves);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
        .with_projection(mask)
        .with_batch_size(usize::try_from(batch).unwrap_or(1))
        .build()
        .map_err(in_words)?;
    let records = collect(reader, claimed, rules, limits)?;
    if records.len() != claimed {
        return Err(format!("the footer claims {claimed} rows, {} are there", records.len()));
    }
    Ok(records)
}

pub(super) fn in_words(error: parquet::errors::ParquetError) -> String {
    let mut text = error.to_string();
    if let Some((cut, _)) = text.char_indices().nth(200) {
        text.truncate(cut);
    }
    text
}

pub(super) fn claimed_rows(metadata: &ArrowReaderMetadata, limits: &RowLimits) -> Result<usize, String> {
    let file_rows = metadata.metadata().file_metadata().num_rows();
    let mut sum = 0_i64;
    for group in metadata.metadata().row_groups() {
        if group.num_rows() < 0 {
            return Err("a row group claims a negative number of rows".to_owned());
        }
        sum = sum.checked_add(group.num_rows()).ok_or("the row groups claim too many rows")?;
    }
    if sum != file_rows {
        return Err(format!("the footer claims {file_rows} rows, its row groups {sum}"));
    }
    usize::try_from(sum)
        .ok()
        .filter(|rows| *rows <= limits.max_rows)
        .ok_or_else(|| format!("{sum} rows, more than {}", limits.max_rows))
}

/// Which leaves belong to a column that is read.
fn wanted_leaves(schema: &SchemaDescriptor) -> Result<Vec<bool>, String> {
    let roots = schema.root_schema().get_fields();
    for (i, field) in roots.iter().enumerate() {
        let name = field.name();
        if COLUMNS.contains(&name) && roots.iter().take(i).any(|other| other.name() == name) {
            return Err(format!("two columns named {name}"));
        }
    }
    Ok((0..schema.num_columns()).map(|leaf| COLUMNS.contains(&schema.get_column_root(leaf).name())).collect())
}

/// Lists inside `source_proof` are decoded only where even their worst case is small: one row of a
/// repeated column can hold as many values as its pages claim. The rest of the proof is kept. A column that is
/// itself a list or a map holds for no row, and is not left out as if it were not there.
fn leave_out_lists(
    schema: &SchemaDescriptor,
    sizes: &[guard::ColumnSize],
    limits: &RowLimits,
    wanted: &mut [bool],
) -> Result<(), String> {
    let mut left_out = Vec::new();
    for (leaf, size) in sizes.iter().enumerate() {
        let column = schema.column(leaf);
        let worst = size.values.saturating_mul(size.largest_page.saturating_add(16));
        if column.max_rep_level() > 0 && worst > limits.max_text_bytes {
            let root = schema.get_column_root(leaf).get_basic_info();
            let list = [ConvertedType::LIST, ConvertedType::MAP, ConvertedType::MAP_KEY_VALUE]
                .contains(&root.converted_type());
            let repeated = root.has_repetition() && root.repetition() == Repetition::REPEATED;
            if wanted.get(leaf) == Some(&true) && (list || repeated) {
                return Err(format!("{}: a list", root.name()));
            }
            left_out.push(list_parts(column.path().parts()));
        }
    }
    // A list of structures has several leaves, which stand and fall together.
    for (leaf, wanted) in wanted.iter_mut().enumerate() {
        let column = schema.column(leaf);
        if column.max_rep_level() > 0 && left_out.contains(&list_parts(column.path().parts())) {
            *wanted = false;
        }
    }
    Ok(())
}

/// Up to the second part of a path: `source_proof` and one of its fields.
fn list_parts(parts: &[String]) -> Vec<String> {
    parts.iter().take(2).cloned().collect()
}

fn collect(
    reader: ParquetRecordBatchReader,
    claimed: usize,
    rules: &RowRules,
    limits: &RowLimits,
) -> Result<Vec<ClipRecord>, String> {
    let mut records = Vec::with_capacity(claimed.min(4096));
    let mut text_bytes = 0_u64;
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        if records.len() + batch.num_rows() > claimed {
            return Err(format!("more rows than the {claimed} claimed"));
        }
        let size: u64 = batch.columns().iter().map(|c| cells::text_bytes(c.as_ref())).sum();
        text_bytes = text_bytes.saturating_add(size);
        if text_bytes > limits.max_text_bytes {
            return Err(format!("more than {} bytes of text", limits.max_text_bytes));
        }
        for row in 0..batch.num_rows() {
            let record = validate_row(&row_of(&batch, row), rules)
                .map_err(|e| format!("row {}: {e}", records.len()))?;
            records.push(record);
        }
    }
    Ok(records)
}

pub(super) fn row_of(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema_ref();
    schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name().clone(), cells::json(column.as_ref(), row)))
        .collect()
}

/// The protocol's clip id: 24 hexadecimal digits over source, start and duration in seconds, the two
/// numbers with three decimals (protocol page, 2).
pub fn clip_id(source_video_id: &str, clip_start_sec: f64, duration_sec: f64) -> String {
    let text = format!("{source_video_id}:{}:{}", python_fixed(clip_start_sec), python_fixed(duration_sec));
    let digest = crate::hash::Digest::of(text).to_string();
    digest.chars().take(24).collect()
}

/// `f"{x:.3f}"`: both languages round the exact binary value, halves to even.
pub(crate) fn python_fixed(x: f64) -> String {
    if x.is_nan() { "nan".to_owned() } else { format!("{x:.3}") }
}

/// Whether a caption has a word at all, by Python's white space.
pub(crate) fn is_blank(text: &str) -> bool {
    python::strip(text).is_empty()
}
