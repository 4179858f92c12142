//! NumPy's NPY arrays.
//!
//! Real and boolean dtypes in either byte order, C or Fortran order. A 1-D array is one column.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use npyz::{DType, Deserialize, NpyHeader, Order, TypeChar, TypeRead};

use super::columns::{self, Role};
use super::error::{Place, caught};
use super::{Columns, Error, Header, Sink};

/// First bytes of every NPY file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes read at a time; in Fortran order they are pieces of every column.
const BLOCK: u64 = 1 << 22;

/// Reads the array row by row; see [`super::stream`].
pub(super) fn stream<S: Sink>(
    path: &Path,
    columns: &Columns,
    begin: impl FnOnce(Header) -> Result<S, Error>,
) -> Result<S, Error> {
    let array = Array::open(path)?;
    let (rows, width) = match *array.header.shape() {
        [rows] => (rows, 1),
        [rows, width] => (rows, width),
        _ => return Err(array.wrong_shape("(rows, columns)")),
    };
    // A length beside a 0 isn't checked against the file: nothing may be allocated by it.
    if rows == 0 || width == 0 {
        return Err(array.wrong_shape("(rows, columns) with at least one of each"));
    }
    let all = columns::numbered(width as usize);
    let selection = columns::select(path, &all, columns)?;
    let mut sink = begin(Header {
        names: selection.names.clone(),
        has_label: selection.has_label(),
        rows: Some(rows),
    })?;
    let mut values = vec![0.0; selection.names.len()];
    array.for_each_row(rows, width as usize, |row, cells| {
        let mut is_anomaly = false;
        let mut values_left = values.iter_mut();
        for ((cell, role), name) in cells.iter().zip(&selection.roles).zip(&all) {
            match role {
                Role::Data => {
                    let value = values_left.next().expect("a value for each column of data");
                    *value = narrow(*cell).ok_or_else(|| Error::OutOfRange {
                        path: path.into(),
                        place: Place::Row(row as u64 + 1),
                        column: name.clone(),
                        value: format!("{cell:e}"),
                    })?;
                }
                Role::Label => is_anomaly = label(path, row, name, *cell)?,
                // Plus 0: a negative 0 is no group of its own.
                Role::Group if cell.is_nan() => sink.group("")?,
                Role::Group => sink.group(&(cell + 0.0).to_string())?,
                Role::Skip => {}
            }
        }
        sink.row(&values, is_anomaly)
    })?;
    Ok(sink)
}

/// Reads a 1-D array of labels, true where an entry isn't 0.
///
/// # Errors
///
/// The file can't be read, isn't 1-D, isn't made of real numbers or holds a NaN.
pub fn read_labels(path: &Path) -> Result<Vec<bool>, Error> {
    let array = Array::open(path)?;
    let [rows] = *array.header.shape() else {
        return Err(array.wrong_shape("(rows,)"));
    };
    let mut labels = Vec::with_capacity(rows as usize);
    array.for_each_row(rows, 1, |row, cells| {
        labels.push(label(path, row, "c1", cells[0])?);
        Ok(())
    })?;
    Ok(labels)
}

/// Nearest 32-bit float; `None` for a finite number outside their range.
pub(super) fn narrow(value: f64) -> Option<f32> {
    let narrowed = value as f32;
    (narrowed.is_finite() || !value.is_finite()).then_some(narrowed)
}

/// The label that a number means; `row` counts from 0.
pub(super) fn label(path: &Path, row: usize, column: &str, value: f64) -> Result<bool, Error> {
    if value.is_nan() {
        return Err(Error::NotALabel {
            path: path.into(),
            place: Place::Row(row as u64 + 1),
            column: column.into(),
            text: "nan".into(),
        });
    }
    Ok(value != 0.0)
}

/// An array whose bytes were all there when it was opened.
struct Array<'a> {
    path: &'a Path,
    header: NpyHeader,
    file: File,
    /// First byte of the data.
    start: u64,
    /// Bytes of an element, and the function that reads them.
    item: u64,
    decode: Decode,
}

impl<'a> Array<'a> {
    /// Reads the header and checks dtype and length, so that sizes can be trusted.
    fn open(path: &'a Path) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        if bytes == 0 {
            return Err(Error::Empty { path: path.into() });
        }
        let text = header_bytes(&mut file)
            .map_err(|reason| Error::NpyHeader { path: path.into(), reason })?;
        // The parser multiplies the shape, which overflows with a damaged one.
        let header =
            caught(|| NpyHeader::from_reader(&text[..]).map_err(|error| error.to_string()))
                .flatten()
                .map_err(|reason| Error::NpyHeader { path: path.into(), reason })?;

        let plain = match &header.dtype() {
            DType::Plain(plain) => {
                let (kind, size) = (plain.type_char(), plain.size_field());
                decoder(kind, size).map(|decode| (size, decode))
            }
            _ => None,
        };
        let Some((item, decode)) = plain else {
            let dtype = header.dtype().descr();
            return Err(Error::NpyType { path: path.into(), dtype });
        };
        let start = text.len() as u64;
        let array = Array { path, header, file, start, item, decode };
        array.check_len()?;
        Ok(array)
    }

    /// Refuses a file that is shorter than its shape.
    fn check_len(&self) -> Result<(), Error> {
        let bytes = self.file.metadata().map_err(Error::io(self.path))?.len();
        let found = bytes.saturating_sub(self.start);
        // Saturating: a shape beyond 128 bits doesn't fit in the file either.
        let times = |n: u128, len: &u64| n.saturating_mul((*len).into());
        let expected = self.header.shape().iter().fold(self.item.into(), times);
        if expected <= found.into() {
            return Ok(());
        }
        let (path, shape) = (self.path.into(), shape_text(&self.header));
        Err(Error::NpyCutShort { path, shape, expected, found })
    }

    fn wrong_shape(&self, wanted: &'static str) -> Error {
        Error::NpyShape { path: self.path.into(), shape: shape_text(&self.header), wanted }
    }

    /// Gives every row \[width\] with its number.
    fn for_each_row(
        mut self,
        rows: u64,
        width: usize,
        mut each: impl FnMut(usize, &[f64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_fortran = self.header.order() == Order::Fortran;
        let most = (BLOCK / (self.item * width as u64)).max(1);
        let mut numbers = Vec::new();
        let mut row = vec![0.0; width];
        for from in (0..rows).step_by(most as usize) {
            let len = most.min(rows - from);
            self.read_block(from..from + len, rows, width as u64, is_fortran, &mut numbers)?;
            for i in 0..len as usize {
                let (first, step) = if is_fortran { (i, len as usize) } else { (i * width, 1) };
                let cells = numbers[first..].iter().step_by(step);
                row.iter_mut().zip(cells).for_each(|(to, cell)| *to = *cell);
                each(from as usize + i, &row)?;
            }
        }
        Ok(())
    }

    /// Reads the rows of a range, column after column where the array has that order.
    fn read_block(
        &mut self,
        block: std::ops::Range<u64>,
        rows: u64,
        width: u64,
        is_fortran: bool,
        numbers: &mut Vec<f64>,
    ) -> Result<(), Error> {
        let len = block.end - block.start;
        // Where each piece that lies in one stretch of the file begins, in elements, and its length.
        let (pieces, piece) = if is_fortran { (width, len) } else { (1, len * width) };
        let first = |j: u64| if is_fortran { j * rows + block.start } else { block.start * width };
        let mut bytes = vec![0; (piece * self.item) as usize];
        numbers.clear();
        for j in 0..pieces {
            let at = SeekFrom::Start(self.start + first(j) * self.item);
            let read = |file: &mut File, bytes: &mut [u8]| {
                file.seek(at)?;
                file.read_exact(bytes)
            };
            if let Err(error) = read(&mut self.file, &mut bytes) {
                // Somebody may have cut the file since it was opened.
                self.check_len()?;
                return Err(Error::io(self.path)(error));
            }
            (self.decode)(&self.header.dtype(), &bytes, numbers).map_err(Error::io(self.path))?;
        }
        Ok(())
    }
}

/// Appends the elements of a dtype.
type Decode = fn(&DType, &[u8], &mut Vec<f64>) -> io::Result<()>;

/// The function that reads a dtype, `None` for one that isn't supported.
fn decoder(kind: TypeChar, bytes: u64) -> Option<Decode> {
    Some(match (kind, bytes) {
        (TypeChar::Bool, 1) => |dtype, bytes, to| decode(dtype, bytes, to, |v: bool| v.into()),
        (TypeChar::Int, 1) => |dtype, bytes, to| decode(dtype, bytes, to, |v: i8| v.into()),
        (TypeChar::Int, 2) => |dtype, bytes, to| decode(dtype, bytes, to, |v: i16| v.into()),
        (TypeChar::Int, 4) => |dtype, bytes, to| decode(dtype, bytes, to, |v: i32| v.into()),
        (TypeChar::Int, 8) => |dtype, bytes, to| decode(dtype, bytes, to, |v: i64| v as f64),
        (TypeChar::Uint, 1) => |dtype, bytes, to| decode(dtype, bytes, to, |v: u8| v.into()),
        (TypeChar::Uint, 2) => |dtype, bytes, to| decode(dtype, bytes, to, |v: u16| v.into()),
        (TypeChar::Uint, 4) => |dtype, bytes, to| decode(dtype, bytes, to, |v: u32| v.into()),
        (TypeChar::Uint, 8) => |dtype, bytes, to| decode(dtype, bytes, to, |v: u64| v as f64),
        (TypeChar::Float, 4) => |dtype, bytes, to| decode(dtype, bytes, to, |v: f32| v.into()),
        (TypeChar::Float, 8) => |dtype, bytes, to| decode(dtype, bytes, to, |v: f64| v),
        _ => return None,
    })
}

fn decode<T: Deserialize>(
    dtype: &DType,
    mut bytes: &[u8],
    numbers: &mut Vec<f64>,
    number: impl Fn(T) -> f64,
) -> io::Result<()> {
    let reader = T::reader(dtype).map_err(io::Error::other)?;
    while !bytes.is_empty() {
        numbers.push(number(reader.read_one(&mut bytes)?));
    }
    Ok(())
}

/// Everything before the data, checked for what the parser can't bear.
///
/// The parser allocates what the header's length says and recurses into nested brackets: four
/// bytes would ask for 4 GiB, a few thousand brackets would overflow the stack.
fn header_bytes(data: &mut impl Read) -> Result<Vec<u8>, String> {
    const LONGEST: usize = 1 << 16;
    const DEEPEST: usize = 8;
    let mut take = |bytes: &mut Vec<u8>, len: usize| {
        let from = bytes.len();
        bytes.resize(from + len, 0);
        data.read_exact(&mut bytes[from..]).map_err(|_| "it is cut short".to_string())
    };
    let mut bytes = Vec::new();
    take(&mut bytes, 8)?;
    if !bytes.starts_with(MAGIC) {
        return Err("the file does not start with \\x93NUMPY".into());
    }
    let len = if bytes[6] == 1 {
        take(&mut bytes, 2)?;
        u16::from_le_bytes([bytes[8], bytes[9]]) as usize
    } else {
        take(&mut bytes, 4)?;
        u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize
    };
    if len > LONGEST {
        return Err(format!("it claims {len} bytes"));
    }
    let text = bytes.len();
    take(&mut bytes, len)?;
    let open = bytes[text..].iter().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count();
    if open > DEEPEST {
        return Err(format!("it has {open} opening brackets"));
    }
    Ok(bytes)
}

/// The shape as Python writes it.
fn shape_text(header: &NpyHeader) -> String {
    match header.shape() {
        [len] => format!("({len},)"),
        shape => {
            let lens: Vec<String> = shape.iter().map(u64::to_string).collect();
            format!("({})", lens.join(", "))
        }
    }
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
