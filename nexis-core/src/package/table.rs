//! Chosen columns of a Parquet file as records, batch by batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value};

use super::guard;
use super::rows::{RowLimits, claimed_rows, in_words, read_file, row_of};
use crate::error::{Error, Result};
use crate::hash::Digest;

/// Rows that are decoded at once, at most.
const BATCH: u64 = 1024;
/// Most bytes of one batch by the size of its pages.
const BATCH_BYTES: u64 = 64 << 20;
/// Most values of one list column, however many rows there are: one row can hold them all.
const MOST_LIST_VALUES: u64 = 8_000_000;

/// What reading a table may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableLimits {
    /// Largest file, in bytes; it is held in memory.
    pub(crate) max_file_bytes: u64,
    /// Most rows.
    pub(crate) max_rows: usize,
    /// Most items of one list.
    pub(crate) max_list: usize,
    /// Longest text in a list, in bytes.
    pub(crate) max_list_text: usize,
}

/// Gives every row as a record of the wanted columns, and the digest of the file. Those in `lists` may hold lists.
///
/// # Errors
/// Where the file is not what it claims or is too large; whatever `each` gives.
pub(crate) fn read_table(
    path: &Path,
    columns: &[&str],
    lists: &[&str],
    limits: &TableLimits,
    each: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<Digest> {
    let name = path.display().to_string();
    let refuse = |why: String| Error::usage(name.clone(), why);
    let bytes = read_file(path, limits.max_file_bytes)?
        .ok_or_else(|| refuse(format!("it is larger than {} bytes", limits.max_file_bytes)))?;
    let digest = Digest::of(&bytes);
    guard::check_footer(&bytes).map_err(refuse)?;
    // What `each` refuses is told apart from what the file is refused for.
    let mut refused = None;
    let mut visit = |record| {
        each(record).map_err(|error| {
            refused = Some(error);
            String::new()
        })
    };
    let read = catch_unwind(AssertUnwindSafe(|| decode(bytes, columns, lists, limits, &mut visit)))
        .unwrap_or_else(|_| Err("the Parquet library gave up on it".to_owned()));
    match (read, refused) {
        (_, Some(error)) => Err(error),
        (Err(why), None) => Err(refuse(why)),
        (Ok(()), None) => Ok(digest),
    }
}

fn decode(
    file: Bytes,
    columns: &[&str],
    lists: &[&str],
    limits: &TableLimits,
    each: &mut dyn FnMut(Map<String, Value>) -> Result<(), String>,
) -> Result<(), String> {
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(in_words)?;
    let row_limits = RowLimits {
        max_file_bytes: limits.max_file_bytes,
        max_rows: limits.max_rows,
        max_uncompressed_bytes: limits.max_file_bytes.saturating_mul(8),
        max_text_bytes: BATCH_BYTES,
    };
    let claimed = claimed_rows(&metadata, &row_limits)?;
    let schema = metadata.parquet_schema();
    let roots = schema.root_schema().get_fields();
    for name in columns {
        if roots.iter().filter(|field| field.name() == *name).count() > 1 {
            return Err(format!("two columns named {name}"));
        }
    }
    let mut wanted = vec![false; schema.num_columns()];
    let (mut flat, mut listed) = (Vec::new(), Vec::new());
    for (leaf, wanted) in wanted.iter_mut().enumerate() {
        let root = schema.get_column_root(leaf).name();
        if !columns.contains(&root) {
            continue;
        }
        let column = schema.column(leaf);
        *wanted = true;
        match (column.path().parts().len(), column.max_rep_level()) {
            (1, 0) => flat.push(leaf),
            // A list of structures has one part more.
            (2..=3, 1) if lists.contains(&root) && listed.iter().all(|(_, name)| name != root) => {
                listed.push((leaf, root.to_owned()));
            }
            _ => return Err(format!("column {root} is neither plain nor a list of plain values")),
        }
    }
    let sizes = guard::check_pages(&file, metadata.metadata(), &wanted, &row_limits)?;
    let most = MOST_LIST_VALUES.min((claimed as u64).saturating_mul(limits.max_list as u64));
    for (leaf, name) in &listed {
        if sizes.get(*leaf).is_some_and(|size| size.values > most) {
            return Err(format!("column {name} has lists of more than {} items", limits.max_list));
        }
    }
    let flat_bytes: u64 = flat.iter().filter_map(|i| sizes.get(*i)).map(|s| s.largest_page).sum();
    // An entry of a dictionary can stand in a list as often as a list is long.
    let list_bytes = limits.max_list.saturating_mul(limits.max_list_text).saturating_mul(listed.len());
    let row_bytes = flat_bytes.saturating_add(list_bytes as u64);
    let batch = usize::try_from((BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH)).unwrap_or(1);
    let by_column = SerializedFileReader::new(file.clone()).map_err(in_words)?;
    let mut rows = 0;
    for group in 0..metadata.metadata().num_row_groups() {
        let group_reader = by_column.get_row_group(group).map_err(in_words)?;
        let mut list_readers = listed
            .iter()
            .map(|(leaf, name)| {
                let column = schema.column(*leaf);
                // Below what is there, an item that may be null has a level of its own.
                let null = column.self_type().is_optional().then(|| column.max_def_level() - 1);
                let levels = Levels { present: column.max_def_level(), null };
                Ok((name.as_str(), levels, group_reader.get_column_reader(*leaf).map_err(in_words)?))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut group_rows = usize::try_from(group_reader.metadata().num_rows()).unwrap_or(0);
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone())
            .with_projection(ProjectionMask::leaves(schema, flat.iter().copied()))
            .with_row_groups(vec![group])
            .with_batch_size(batch)
            .build()
            .map_err(in_words)?;
        while group_rows > 0 {
            let records = if flat.is_empty() {
                vec![Map::new(); batch.min(group_rows)]
            } else {
                let Some(next) = batches.next() else { break };
                let next = next.map_err(|e| e.to_string())?;
                (0..next.num_rows()).map(|row| row_of(&next, row)).collect()
            };
            if records.is_empty() || records.len() > group_rows {
                return Err("a row group holds other than it claims".to_owned());
            }
            group_rows -= records.len();
            rows += records.len();
            let mut lists = Vec::new();
            for (name, levels, reader) in &mut list_readers {
                lists.push((*name, read_lists(reader, records.len(), *levels, limits)?));
            }
            for (i, mut record) in records.into_iter().enumerate() {
                for (name, column) in &mut lists {
                    let value = column.get_mut(i).map_or(Value::Null, std::mem::take);
                    record.insert((*name).to_owned(), value);
                }
                each(record)?;
            }
        }
    }
    if rows == claimed { Ok(()) } else { Err(format!("the footer claims {claimed} rows, {rows} are there")) }
}

/// The levels of definition of a list's items.
#[derive(Clone, Copy)]
struct Levels {
    /// An item that is there.
    present: i16,
    /// One that is null.
    null: Option<i16>,
}

/// So many lists. Values are views of their page until they are handed out, so that a dictionary's entry that is
/// repeated a million times is there once.
fn read_lists(
    reader: &mut ColumnReader,
    rows: usize,
    levels: Levels,
    limits: &TableLimits,
) -> Result<Vec<Value>, String> {
    let (most, longest) = (limits.max_list, limits.max_list_text);
    let text = |bytes: &parquet::data_type::ByteArray| match std::str::from_utf8(bytes.data()) {
        Ok(text) if text.len() > longest => Err(format!("a text in a list is longer than {longest} bytes")),
        Ok(text) => Ok(Value::from(text)),
        Err(_) => Err("a text is not UTF-8".to_owned()),
    };
    match reader {
        ColumnReader::ByteArrayColumnReader(r) => lists(r, rows, levels, most, text),
        ColumnReader::DoubleColumnReader(r) => lists(r, rows, levels, most, |x| Ok(Value::from(*x))),
        ColumnReader::FloatColumnReader(r) => lists(r, rows, levels, most, |x| Ok(f64::from(*x).into())),
        ColumnReader::Int64ColumnReader(r) => lists(r, rows, levels, most, |x| Ok(Value::from(*x))),
        ColumnReader::Int32ColumnReader(r) => lists(r, rows, levels, most, |x| Ok(Value::from(*x))),
        ColumnReader::BoolColumnReader(r) => lists(r, rows, levels, most, |x| Ok(Value::from(*x))),
        _ => Err("a list holds values of a type that is not read".to_owned()),
    }
}

fn lists<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    levels: Levels,
    most: usize,
    value: impl Fn(&T::T) -> Result<Value, String>,
) -> Result<Vec<Value>, String> {
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, _, seen) = reader
            .read_records(rows - read, Some(&mut defined), Some(&mut repeated), &mut values)
            .map_err(in_words)?;
        if records == 0 && seen == 0 {
            return Err("a list column ends before its rows do".to_owned());
        }
        read += records;
    }
    let mut found: Vec<Value> = Vec::with_capacity(rows);
    let mut values = values.iter();
    for (defined, repeated) in defined.iter().zip(&repeated) {
        if *repeated == 0 {
            found.push(Value::Null);
        }
        let Some(last) = found.last_mut() else { continue };
        if *defined == levels.present {
            let item = value(values.next().ok_or("a list column lacks values")?)?;
            match last {
                Value::Array(items) if items.len() >= most => {
                    return Err(format!("a list has more than {most} items"));
                }
                Value::Array(items) => items.push(item),
                _ => *last = Value::Array(vec![item]),
            }
        } else if *repeated > 0 || levels.null == Some(*defined) {
            return Err("a list has an item that is null".to_owned());
        }
    }
    if found.len() == rows { Ok(found) } else { Err("a list column has other rows than the rest".to_owned()) }
}
