//! Single Parquet values as JSON, as pyarrow would hand them to the network.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use serde_json::{Number, Value};

/// What no field of a row can be: neither text, number, boolean nor map. Stands for dates, times and
/// broken bytes, which Python objects of their own represent there.
fn foreign() -> Value {
    Value::Array(Vec::new())
}

/// The value of a column in a row; `row` is within the column.
pub(super) fn json(column: &dyn Array, row: usize) -> Value {
    if row >= column.len() || column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        // A column of this type has no bitmap of nulls, as it needs none.
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => float(column.as_primitive::<Float16Type>().value(row).into()),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => decimal(column, row),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::Binary => text(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => text(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => text(column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => text(column.as_fixed_size_binary().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), json(c.as_ref(), row))).collect()
        }
        DataType::Map(..) => pairs(&column.as_map().value(row)),
        DataType::List(_) => list(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row)),
        _ => foreign(),
    }
}

fn float(x: f64) -> Value {
    // NaN is no JSON, nor does any field of a row take it. Nor are the infinities, which stand for large numbers.
    Number::from_f64(x.clamp(f64::MIN, f64::MAX)).map_or_else(foreign, Value::Number)
}

fn decimal(column: &dyn Array, row: usize) -> Value {
    match cast(&column.slice(row, 1), &DataType::Float64) {
        Ok(cell) => json(cell.as_ref(), 0),
        Err(_) => foreign(),
    }
}

/// Bytes are taken for text where they are UTF-8: so does the network's schema library.
fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| foreign(), Value::from)
}

fn list(items: ArrayRef) -> Value {
    // One element at least, so that an empty list is still no map and no text.
    Value::Array((0..items.len()).map(|i| json(items.as_ref(), i)).collect())
}

/// A map's entries as the list of pairs that they are in Python, where that is no map.
fn pairs(entries: &StructArray) -> Value {
    let pair = |i| Value::Array(entries.columns().iter().map(|column| json(column.as_ref(), i)).collect());
    Value::Array((0..entries.len()).map(pair).collect())
}

/// Bytes of text and binary in a column, nested ones included.
pub(super) fn text_bytes(column: &dyn Array) -> u64 {
    let span = |first: Option<i64>, last: Option<i64>| {
        u64::try_from(last.unwrap_or(0).saturating_sub(first.unwrap_or(0))).unwrap_or(0)
    };
    let narrow =
        |offsets: &[i32]| span(offsets.first().map(|x| i64::from(*x)), offsets.last().map(|x| i64::from(*x)));
    match column.data_type() {
        DataType::Utf8 => narrow(column.as_string::<i32>().value_offsets()),
        DataType::Binary => narrow(column.as_binary::<i32>().value_offsets()),
        DataType::Struct(_) => column.as_struct().columns().iter().map(|c| text_bytes(c.as_ref())).sum(),
        DataType::List(_) => text_bytes(column.as_list::<i32>().values().as_ref()),
        DataType::Map(..) => text_bytes(column.as_map().entries()),
        _ => column.get_buffer_memory_size() as u64,
    }
}
