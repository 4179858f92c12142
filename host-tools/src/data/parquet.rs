//! Parquet tables of flat number columns.
//!
//! BOOLEAN (as 0 and 1), INT32 and INT64 with their integer subtypes, FLOAT and DOUBLE; a null is
//! NaN. A member of a struct is named `outer.inner`. Snappy, Zstandard and no compression.

use std::fs::File;
use std::path::Path;

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;

use super::columns::{self, Role, Selection};
use super::error::{Place, caught};
use super::npy::{label, narrow};
use super::{Columns, Error, Header, Sink};

/// First and last bytes of every Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Rows decoded at a time. All columns advance together, so that only one page a column is in memory,
/// and no more rows come out than are really decoded, whatever number a damaged footer claims.
const BATCH: usize = 4096;

/// Reads all row groups; see [`super::stream`].
pub(super) fn stream<S: Sink>(
    path: &Path,
    columns: &Columns,
    begin: impl FnOnce(Header) -> Result<S, Error>,
) -> Result<S, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    if file.metadata().map_err(Error::io(path))?.len() == 0 {
        return Err(Error::Empty { path: path.into() });
    }
    caught(|| decode(path, file, columns, begin))
        .unwrap_or_else(|reason| Err(Error::Parquet { path: path.into(), reason }))
}

fn decode<S: Sink>(
    path: &Path,
    file: File,
    want: &Columns,
    begin: impl FnOnce(Header) -> Result<S, Error>,
) -> Result<S, Error> {
    let damaged = |error: ParquetError| {
        let reason = error.to_string();
        Error::Parquet { path: path.into(), reason }
    };
    let file = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = file.metadata().file_metadata().schema_descr();
    let all: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let selection = columns::select(path, &all, want)?;
    let used: Vec<usize> = (0..all.len()).filter(|&j| selection.roles[j] != Role::Skip).collect();
    for &j in &used {
        let column = schema.column(j);
        if selection.roles[j] == Role::Group && is_text(&column) {
            continue;
        }
        if let Some(kind) = unsupported(&column) {
            let column = all[j].clone();
            return Err(Error::ParquetType { path: path.into(), column, kind });
        }
    }

    let groups = 0..file.num_row_groups();
    let promised = groups.clone().map(|i| rows_of(file.metadata().row_group(i)));
    let header = Header {
        names: selection.names.clone(),
        has_label: selection.has_label(),
        rows: Some(promised.fold(0, u64::saturating_add)),
    };
    let values = vec![0.0; header.names.len()];
    let sink = begin(header)?;
    let mut rows = Rows { path, all: &all, used: &used, selection, values, count: 0, sink };
    for i in groups {
        let group = file.get_row_group(i).map_err(damaged)?;
        let mut columns = Vec::with_capacity(used.len());
        for &j in &used {
            let reader = group.get_column_reader(j).map_err(damaged)?;
            columns.push(Column::new(reader, &schema.column(j), rows.selection.roles[j]));
        }
        let mut left = rows_of(group.metadata()) as usize;
        while left > 0 {
            let len = left.min(BATCH);
            for (column, &j) in columns.iter_mut().zip(&used) {
                let found = column.fill(len).map_err(damaged)?;
                if found != len {
                    let name = &all[j];
                    let reason = format!("column {name} ends {} rows too early", left - found);
                    return Err(Error::Parquet { path: path.into(), reason });
                }
            }
            rows.give(&columns, len)?;
            left -= len;
        }
    }
    rows.finish()
}

/// Rows that a group promises.
fn rows_of(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

/// The type of a column that holds no plain numbers, `None` if it does.
fn unsupported(column: &ColumnDescriptor) -> Option<String> {
    if column.max_rep_level() > 0 {
        return Some("list".into());
    }
    let physical = column.physical_type();
    let is_number =
        matches!(physical, Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE);
    // A date or a decimal is an integer with another meaning; Unknown is a column of nulls only.
    let is_plain = match column.logical_type_ref() {
        Some(LogicalType::Integer(_) | LogicalType::Unknown) => true,
        Some(_) => false,
        None => integer_or_none(column.converted_type()),
    };
    if is_number && is_plain {
        return None;
    }
    let logical = match column.logical_type_ref() {
        Some(LogicalType::Timestamp(_)) => "TIMESTAMP".into(),
        Some(LogicalType::Time(_)) => "TIME".into(),
        _ => column.converted_type().to_string(),
    };
    Some(if logical == "NONE" { physical.to_string() } else { format!("{physical} ({logical})") })
}

/// Whether a column holds text.
fn is_text(column: &ColumnDescriptor) -> bool {
    let is_string = match column.logical_type_ref() {
        Some(logical) => *logical == LogicalType::String,
        None => column.converted_type() == ConvertedType::UTF8,
    };
    column.max_rep_level() == 0 && column.physical_type() == Type::BYTE_ARRAY && is_string
}

fn integer_or_none(converted: ConvertedType) -> bool {
    use ConvertedType::*;
    matches!(
        converted,
        NONE | INT_8 | INT_16 | INT_32 | INT_64 | UINT_8 | UINT_16 | UINT_32 | UINT_64
    )
}

/// A column chunk under way and its current batch.
struct Column {
    reader: ColumnReader,
    is_unsigned: bool,
    /// Definition level of a value that is there; anything lower is a null.
    present: i16,
    batch: Batch,
}

/// Cells of a column: numbers, or names of groups.
enum Batch {
    Numbers(Vec<f64>),
    Names(Vec<String>),
}

/// What a cell becomes.
trait Cell {
    /// What a null becomes.
    const MISSING: Self;
    /// From a value as it is written and as a number.
    fn of(value: impl ToString, number: f64) -> Self;
}

impl Cell for f64 {
    const MISSING: Self = Self::NAN;
    fn of(_: impl ToString, number: f64) -> Self {
        number
    }
}

impl Cell for String {
    const MISSING: Self = Self::new();
    fn of(value: impl ToString, _: f64) -> Self {
        value.to_string()
    }
}

impl Column {
    fn new(reader: ColumnReader, descriptor: &ColumnDescriptor, role: Role) -> Self {
        let is_unsigned = match descriptor.logical_type_ref() {
            Some(LogicalType::Integer(integer)) => !integer.is_signed,
            _ => matches!(
                descriptor.converted_type(),
                ConvertedType::UINT_8
                    | ConvertedType::UINT_16
                    | ConvertedType::UINT_32
                    | ConvertedType::UINT_64
            ),
        };
        let batch = match role {
            Role::Group => Batch::Names(Vec::new()),
            _ => Batch::Numbers(Vec::new()),
        };
        Column { reader, is_unsigned, present: descriptor.max_def_level(), batch }
    }

    /// Decodes the next `len` rows into `batch`; returns how many there were.
    fn fill(&mut self, len: usize) -> Result<usize, ParquetError> {
        let Self { reader, is_unsigned, present, batch } = self;
        match batch {
            Batch::Numbers(batch) => fill(reader, *is_unsigned, len, *present, batch),
            Batch::Names(batch) => fill(reader, *is_unsigned, len, *present, batch),
        }
    }
}

/// As [`Column::fill`].
fn fill<C: Cell>(
    reader: &mut ColumnReader,
    is_unsigned: bool,
    len: usize,
    present: i16,
    batch: &mut Vec<C>,
) -> Result<usize, ParquetError> {
    batch.clear();
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            next_batch(reader, len, present, batch, |v| C::of(v, v.into()))?;
        }
        ColumnReader::Int32ColumnReader(reader) if is_unsigned => {
            next_batch(reader, len, present, batch, |v| {
                C::of(v.cast_unsigned(), v.cast_unsigned().into())
            })?;
        }
        ColumnReader::Int32ColumnReader(reader) => {
            next_batch(reader, len, present, batch, |v| C::of(v, v.into()))?;
        }
        ColumnReader::Int64ColumnReader(reader) if is_unsigned => {
            next_batch(reader, len, present, batch, |v| {
                C::of(v.cast_unsigned(), v.cast_unsigned() as f64)
            })?;
        }
        ColumnReader::Int64ColumnReader(reader) => {
            next_batch(reader, len, present, batch, |v| C::of(v, v as f64))?;
        }
        ColumnReader::FloatColumnReader(reader) => {
            next_batch(reader, len, present, batch, |v| C::of(v, v.into()))?;
        }
        ColumnReader::DoubleColumnReader(reader) => {
            next_batch(reader, len, present, batch, |v| C::of(v, v))?;
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            let text = |v: ByteArray| C::of(String::from_utf8_lossy(v.data()).trim(), f64::NAN);
            next_batch(reader, len, present, batch, text)?;
        }
        _ => unreachable!("unsupported types are refused before"),
    }
    Ok(batch.len())
}

/// Appends up to `len` rows of a column.
fn next_batch<T: DataType, C: Cell>(
    reader: &mut ColumnReaderImpl<T>,
    len: usize,
    present: i16,
    batch: &mut Vec<C>,
    cell: impl Fn(T::T) -> C,
) -> Result<(), ParquetError> {
    let mut values = Vec::with_capacity(len);
    let mut levels = Vec::new();
    reader.read_records(len, Some(&mut levels), None, &mut values)?;
    let mut values = values.into_iter().map(cell);
    if present == 0 {
        batch.extend(values);
    } else {
        // A missing value behind a level that promises one is the reader's error, not ours.
        let cell = |level| {
            if level == present { values.next() } else { Some(C::MISSING) }
        };
        batch.extend(levels.into_iter().map_while(cell));
    }
    Ok(())
}

/// Rows on their way to the sink.
struct Rows<'a, S> {
    path: &'a Path,
    /// Names of all columns of the file.
    all: &'a [String],
    /// Indices of those that are data or label.
    used: &'a [usize],
    selection: Selection,
    /// The row under way.
    values: Vec<f32>,
    count: usize,
    sink: S,
}

impl<S: Sink> Rows<'_, S> {
    fn give(&mut self, columns: &[Column], len: usize) -> Result<(), Error> {
        for i in 0..len {
            let mut is_anomaly = false;
            let mut values = self.values.iter_mut();
            for (column, &j) in columns.iter().zip(self.used) {
                let cell = match &column.batch {
                    Batch::Numbers(numbers) => numbers[i],
                    Batch::Names(names) => {
                        self.sink.group(&names[i])?;
                        continue;
                    }
                };
                if self.selection.roles[j] == Role::Label {
                    is_anomaly = label(self.path, self.count, &self.all[j], cell)?;
                } else if let Some(value) = values.next() {
                    *value = narrow(cell).ok_or_else(|| Error::OutOfRange {
                        path: self.path.into(),
                        place: Place::Row(self.count as u64 + 1),
                        column: self.all[j].clone(),
                        value: format!("{cell:e}"),
                    })?;
                }
            }
            self.sink.row(&self.values, is_anomaly)?;
            self.count += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<S, Error> {
        if self.count == 0 {
            let columns = columns::list(self.all);
            return Err(Error::NoRows { path: self.path.into(), columns });
        }
        Ok(self.sink)
    }
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
