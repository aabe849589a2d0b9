//! What is checked of a Parquet file before the Parquet library may decode it.
//!
//! The library trusts three things that a stranger writes: the nesting of the schema (it recurses), the
//! uncompressed size of a page (it allocates that much, and for gzip and brotli decompresses without any
//! bound), and the number of values of a page. All three are read here first, from the same bytes.

use std::io::Read;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::rows::RowLimits;
use super::thrift::{Reader, kind};

/// Why a file is not decoded, in words.
pub(super) type Refusal = String;

/// Deepest nesting of the schema; pyarrow writes a list of structures as four levels.
const MAX_SCHEMA_DEPTH: usize = 24;
/// Most nodes of the schema.
const MAX_SCHEMA_NODES: u64 = 1024;
/// Largest footer, in bytes. 18 columns take about 5 KB a row group.
const MAX_FOOTER: usize = 4 << 20;
/// Largest header of one page: the rest of it is statistics.
const MAX_PAGE_HEADER: usize = 1 << 20;

/// Looks at the footer: present, of bounded size, and with a schema that is no tower.
pub(super) fn check_footer(file: &Bytes) -> Result<(), Refusal> {
    let footer = footer(file).ok_or("no Parquet footer")?;
    if footer.len() > MAX_FOOTER {
        return Err(format!("the footer has {} bytes, more than {MAX_FOOTER}", footer.len()));
    }
    schema_depth(footer).ok_or("the footer's schema is broken, too deep or too wide")?;
    Ok(())
}

fn footer(file: &[u8]) -> Option<&[u8]> {
    let body = file.strip_prefix(b"PAR1")?.strip_suffix(b"PAR1")?;
    let (rest, length) = body.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    rest.get(rest.len().checked_sub(length)?..)
}

/// Walks field 2 of the file metadata: a flat list of nodes, each with its number of children.
fn schema_depth(footer: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(footer);
    let mut last = 0;
    while let Some((id, field_kind)) = reader.field(&mut last)? {
        if id != 2 || field_kind != kind::LIST {
            reader.skip(field_kind)?;
            continue;
        }
        let (nodes, element) = reader.list()?;
        if element != kind::STRUCT || nodes > MAX_SCHEMA_NODES {
            return None;
        }
        let mut deepest = 0;
        // Children still missing, one entry a level.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..nodes {
            let mut children = 0;
            let mut last = 0;
            while let Some((id, field_kind)) = reader.field(&mut last)? {
                if id == 5 && field_kind == kind::I32 {
                    children = reader.integer()?;
                } else {
                    reader.skip(field_kind)?;
                }
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(missing) = open.last_mut() {
                *missing -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            deepest = deepest.max(open.len());
            if deepest > MAX_SCHEMA_DEPTH {
                return None;
            }
        }
        return Some(deepest);
    }
    None
}

/// What the pages of one column (over all row groups) can become.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnSize {
    /// Largest page, uncompressed: no single value is larger.
    pub(super) largest_page: u64,
    /// Values in all data pages.
    pub(super) values: u64,
}

/// Walks every page header of the wanted leaf columns.
///
/// Returns one size per leaf of the schema (zero where not wanted).
pub(super) fn check_pages(
    file: &Bytes,
    metadata: &ParquetMetaData,
    wanted: &[bool],
    limits: &RowLimits,
) -> Result<Vec<ColumnSize>, Refusal> {
    let mut sizes = vec![ColumnSize::default(); wanted.len()];
    let mut total = 0_u64;
    for group in metadata.row_groups() {
        if group.columns().len() != wanted.len() {
            return Err("a row group lacks columns of the schema".to_owned());
        }
        let rows = u64::try_from(group.num_rows()).map_err(|_| "a negative number of rows")?;
        for ((column, wanted), size) in group.columns().iter().zip(wanted).zip(&mut sizes) {
            // Ranges of columns that are not wanted are checked too: the library asserts on them.
            let pages = column_bytes(file, column)
                .ok_or_else(|| format!("column {} lies outside the file", column.column_path()))?;
            if !wanted {
                continue;
            }
            let repeated = column.column_descr().max_rep_level() > 0;
            let room = limits.max_uncompressed_bytes.saturating_sub(total);
            let walked = walk(&pages, column.compression(), room)
                .map_err(|why| format!("column {}: {why}", column.column_path()))?;
            if !repeated && walked.values > rows {
                return Err(format!("column {} claims more values than rows", column.column_path()));
            }
            total = total.saturating_add(walked.total);
            size.largest_page = size.largest_page.max(walked.largest_page);
            size.values = size.values.saturating_add(walked.values);
        }
    }
    Ok(sizes)
}

fn column_bytes(file: &Bytes, column: &ColumnChunkMetaData) -> Option<Bytes> {
    let data = usize::try_from(column.data_page_offset()).ok()?;
    let start = match column.dictionary_page_offset() {
        Some(offset) => usize::try_from(offset).ok()?,
        None => data,
    };
    let end = start.checked_add(usize::try_from(column.compressed_size()).ok()?)?;
    (column.file_path().is_none() && end <= file.len()).then(|| file.slice(start..end))
}

#[derive(Default)]
struct Walked {
    total: u64,
    largest_page: u64,
    values: u64,
}

/// The parts of a page header that decide about memory.
struct PageHeader {
    page_type: i64,
    uncompressed: u64,
    compressed: usize,
    values: u64,
    /// Bytes of levels in front of a version 2 page, which are never compressed.
    levels: usize,
    is_compressed: bool,
}

fn walk(pages: &Bytes, codec: Compression, room: u64) -> Result<Walked, Refusal> {
    let mut walked = Walked::default();
    let mut at = 0_usize;
    while at < pages.len() {
        let rest = pages.get(at..).unwrap_or_default();
        let (header, header_len) = page_header(rest).ok_or("a broken page header")?;
        let body = header_len
            .checked_add(header.compressed)
            .and_then(|end| rest.get(header_len..end))
            .ok_or("a page reaches beyond its column")?;
        walked.total = walked.total.saturating_add(header.uncompressed);
        if walked.total > room {
            return Err("the pages grow beyond the limit when uncompressed".to_owned());
        }
        check_codec(codec, &header, body)?;
        match header.page_type {
            0 | 3 => walked.values = walked.values.saturating_add(header.values),
            // An entry of a dictionary has at least one byte.
            2 if header.values > header.uncompressed => {
                return Err("a dictionary claims more entries than bytes".to_owned());
            }
            _ => {}
        }
        walked.largest_page = walked.largest_page.max(header.uncompressed);
        at = at.saturating_add(header_len).saturating_add(header.compressed);
    }
    Ok(walked)
}

fn page_header(bytes: &[u8]) -> Option<(PageHeader, usize)> {
    let window = bytes.get(..bytes.len().min(MAX_PAGE_HEADER))?;
    let mut reader = Reader::new(window);
    let (mut page_type, mut uncompressed, mut compressed) = (None, None, None);
    let (mut values, mut levels, mut is_compressed) = (0, 0, true);
    let mut last = 0;
    while let Some((id, field_kind)) = reader.field(&mut last)? {
        match (id, field_kind) {
            (1, kind::I32) => page_type = Some(reader.integer()?),
            (2, kind::I32) => uncompressed = Some(reader.integer()?),
            (3, kind::I32) => compressed = Some(reader.integer()?),
            (5 | 7 | 8, kind::STRUCT) => {
                let mut inner = 0;
                while let Some((field, field_kind)) = reader.field(&mut inner)? {
                    match (id, field, field_kind) {
                        (_, 1, kind::I32) => values = reader.integer()?,
                        (8, 5 | 6, kind::I32) => levels = reader.integer()?.checked_add(levels)?,
                        (8, 7, kind::TRUE | kind::FALSE) => is_compressed = field_kind == kind::TRUE,
                        _ => reader.skip(field_kind)?,
                    }
                }
            }
            _ => reader.skip(field_kind)?,
        }
    }
    let header = PageHeader {
        page_type: page_type?,
        uncompressed: u64::try_from(uncompressed?).ok()?,
        compressed: usize::try_from(compressed?).ok()?,
        values: u64::try_from(values).ok()?,
        levels: usize::try_from(levels).ok()?,
        is_compressed,
    };
    Some((header, reader.position()))
}

/// Snappy, Zstandard and raw LZ4 write into a buffer of the declared size; gzip and brotli run to the end
/// of their stream, so that is measured here, without keeping it.
fn check_codec(codec: Compression, header: &PageHeader, body: &[u8]) -> Result<(), Refusal> {
    let compressed = body.get(header.levels..).ok_or("the levels reach beyond the page")?;
    let levels = u64::try_from(header.levels).unwrap_or(u64::MAX);
    let declared = header.uncompressed.checked_sub(levels).ok_or("the levels are larger than the page")?;
    if !header.is_compressed {
        return Ok(());
    }
    let actual = match codec {
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_) | Compression::LZ4_RAW => {
            return Ok(());
        }
        Compression::GZIP(_) => measure(flate2::read::MultiGzDecoder::new(compressed), declared),
        Compression::BROTLI(_) => measure(brotli::Decompressor::new(compressed, 4096), declared),
        other => return Err(format!("compression {other} is not taken")),
    };
    match actual {
        Some(n) if n == declared => Ok(()),
        _ if declared == 0 => Ok(()),
        _ => Err("a page does not have the size that it declares".to_owned()),
    }
}

/// Length of a stream, read to at most one byte more than declared.
fn measure(stream: impl Read, declared: u64) -> Option<u64> {
    std::io::copy(&mut stream.take(declared.saturating_add(1)), &mut std::io::sink()).ok()
}
