//! NumPy's NPY arrays.
//!
//! Real and boolean dtypes in either byte order, C or Fortran order. A 1-D array is one column.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::columns::{self, Role};
use super::error::{Place, caught};
use super::{Columns, Dataset, Error, Table};

/// First bytes of every NPY file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the whole array; see [`super::read`].
pub(super) fn read(path: &Path, columns: &Columns) -> Result<Dataset, Error> {
    let array = Array::open(path)?;
    let (rows, width) = match *array.header.shape() {
        [rows] => (rows as usize, 1),
        [rows, width] => (rows as usize, width as usize),
        _ => return Err(array.wrong_shape("(rows, columns)")),
    };
    // A length beside a 0 isn't checked against the file: nothing may be allocated by it.
    if rows == 0 || width == 0 {
        return Err(array.wrong_shape("(rows, columns) with at least one of each"));
    }
    let all = columns::numbered(width);
    let selection = columns::select(path, &all, columns)?;

    let is_fortran = array.header.order() == Order::Fortran;
    let mut data = 0..selection.names.len();
    // The column of the table that a column of the array becomes.
    let slots: Vec<Option<usize>> = selection
        .roles
        .iter()
        .map(|role| if *role == Role::Data { data.next() } else { None })
        .collect();
    let mut values = vec![0.0; rows * selection.names.len()];
    let mut labels = vec![false; if selection.has_label() { rows } else { 0 }];
    array.for_each(|i, value| {
        let (row, j) = if is_fortran { (i % rows, i / rows) } else { (i / width, i % width) };
        match (slots[j], selection.roles[j]) {
            (Some(slot), _) => {
                values[row * selection.names.len() + slot] =
                    narrow(value).ok_or_else(|| Error::OutOfRange {
                        path: path.into(),
                        place: Place::Row(row as u64 + 1),
                        column: all[j].clone(),
                        value: format!("{value:e}"),
                    })?;
            }
            (None, Role::Label) => labels[row] = label(path, row, &all[j], value)?,
            (None, _) => {}
        }
        Ok(())
    })?;
    let labels = selection.has_label().then_some(labels);
    let width = selection.names.len();
    Ok(Dataset { table: Table { names: selection.names, width, values }, labels })
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
    array.for_each(|i, value| {
        labels.push(label(path, i, "c1", value)?);
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

/// An array whose bytes are known to be there.
struct Array<'a> {
    path: &'a Path,
    header: NpyHeader,
    data: BufReader<File>,
}

impl<'a> Array<'a> {
    /// Reads the header and checks dtype and length, so that sizes can be trusted.
    fn open(path: &'a Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        if bytes == 0 {
            return Err(Error::Empty { path: path.into() });
        }
        let mut data = BufReader::with_capacity(1 << 16, file);
        let text = header_bytes(&mut data)
            .map_err(|reason| Error::NpyHeader { path: path.into(), reason })?;
        // The parser multiplies the shape, which overflows with a damaged one.
        let header =
            caught(|| NpyHeader::from_reader(&text[..]).map_err(|error| error.to_string()))
                .flatten()
                .map_err(|reason| Error::NpyHeader { path: path.into(), reason })?;

        let item = match &header.dtype() {
            DType::Plain(plain) if reader(plain.type_char(), plain.size_field()).is_some() => {
                u128::from(plain.size_field())
            }
            other => {
                return Err(Error::NpyType { path: path.into(), dtype: other.descr() });
            }
        };
        // Saturating: a shape beyond 128 bits doesn't fit in the file either.
        let expected = header.shape().iter().fold(item, |n, &len| n.saturating_mul(len.into()));
        let found = bytes.saturating_sub(text.len() as u64);
        if expected > found.into() {
            let shape = shape_text(&header);
            return Err(Error::NpyCutShort { path: path.into(), shape, expected, found });
        }
        Ok(Array { path, header, data })
    }

    fn wrong_shape(&self, wanted: &'static str) -> Error {
        Error::NpyShape { path: self.path.into(), shape: shape_text(&self.header), wanted }
    }

    /// Gives every element with its index, in the order of the file.
    fn for_each(self, mut each: impl FnMut(usize, f64) -> Result<(), Error>) -> Result<(), Error> {
        let DType::Plain(plain) = self.header.dtype() else {
            unreachable!("open lets plain dtypes through only");
        };
        let read = reader(plain.type_char(), plain.size_field()).expect("open has checked it");
        read(self, &mut each)
    }

    fn elements<T: npyz::Deserialize>(
        self,
        each: &mut Each,
        number: impl Fn(T) -> f64,
    ) -> Result<(), Error> {
        let path = self.path;
        let elements = NpyFile::with_header(self.header, self.data).data::<T>();
        let elements = elements
            .map_err(|error| Error::NpyHeader { path: path.into(), reason: error.to_string() })?;
        for (i, element) in elements.enumerate() {
            each(i, number(element.map_err(Error::io(path))?))?;
        }
        Ok(())
    }
}

type Each<'e> = dyn FnMut(usize, f64) -> Result<(), Error> + 'e;
type ReadElements = fn(Array, &mut Each) -> Result<(), Error>;

/// The function that reads a dtype, `None` for one that isn't supported.
fn reader(kind: TypeChar, bytes: u64) -> Option<ReadElements> {
    Some(match (kind, bytes) {
        (TypeChar::Bool, 1) => |array, each| array.elements(each, |v: bool| v.into()),
        (TypeChar::Int, 1) => |array, each| array.elements(each, |v: i8| v.into()),
        (TypeChar::Int, 2) => |array, each| array.elements(each, |v: i16| v.into()),
        (TypeChar::Int, 4) => |array, each| array.elements(each, |v: i32| v.into()),
        (TypeChar::Int, 8) => |array, each| array.elements(each, |v: i64| v as f64),
        (TypeChar::Uint, 1) => |array, each| array.elements(each, |v: u8| v.into()),
        (TypeChar::Uint, 2) => |array, each| array.elements(each, |v: u16| v.into()),
        (TypeChar::Uint, 4) => |array, each| array.elements(each, |v: u32| v.into()),
        (TypeChar::Uint, 8) => |array, each| array.elements(each, |v: u64| v as f64),
        (TypeChar::Float, 4) => |array, each| array.elements(each, |v: f32| v.into()),
        (TypeChar::Float, 8) => |array, each| array.elements(each, |v: f64| v),
        _ => return None,
    })
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
