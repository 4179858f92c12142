//! Comma-, semicolon- or tab-separated text.
//!
//! The first record is a header if any of its cells is neither a number, nor empty, nor true or
//! false. Blank lines are skipped, a byte order mark too; lines may end in LF or CRLF. Cells that
//! are empty, `NA` or `nan` are NaN; `inf` and `-inf` are infinite. A header of nothing but
//! numbers is taken for data.

use std::fs;
use std::path::Path;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::columns::{self, Role};
use super::error::{Place, excerpt};
use super::{Columns, Dataset, Error, Table};

/// Reads the whole file; see [`super::read`].
pub(super) fn read(path: &Path, columns: &Columns) -> Result<Dataset, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let text = Text { path, bytes: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes) };
    text.read(columns)
}

/// A file in memory: the line of an error is counted only when there is one.
struct Text<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Text<'_> {
    fn read(&self, columns: &Columns) -> Result<Dataset, Error> {
        let mut records = self.records(self.delimiter());
        let mut record = ByteRecord::new();
        if !self.next(&mut records, &mut record)? {
            return Err(Error::Empty { path: self.path.into() });
        }
        let expected = record.len();
        let has_header = !record.iter().all(is_value);
        let all = if has_header { self.header(&record)? } else { columns::numbered(expected) };
        let selection = columns::select(self.path, &all, columns)?;
        if has_header && !self.next(&mut records, &mut record)? {
            let columns = columns::list(&all);
            return Err(Error::NoRows { path: self.path.into(), columns });
        }

        let mut values = Vec::new();
        let mut labels = Vec::new();
        loop {
            if record.len() != expected {
                return Err(Error::ColumnCount {
                    path: self.path.into(),
                    line: self.line(&record),
                    found: record.len(),
                    first: if has_header { "the header" } else { "the first line" },
                    expected,
                });
            }
            for (j, role) in selection.roles.iter().enumerate() {
                match role {
                    Role::Data => values.push(self.number(&record, j, &all[j])?),
                    Role::Label => labels.push(self.label(&record, j, &all[j])?),
                    Role::Skip => {}
                }
            }
            if !self.next(&mut records, &mut record)? {
                break;
            }
        }
        let labels = selection.has_label().then_some(labels);
        let width = selection.names.len();
        Ok(Dataset { table: Table { names: selection.names, width, values }, labels })
    }

    fn records(&self, delimiter: u8) -> Reader<&[u8]> {
        // Flexible: the length of a record is checked here, with the line that the user sees.
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true).from_reader(self.bytes)
    }

    /// Reads the next record that isn't blank; false at the end.
    fn next(&self, records: &mut Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Error> {
        loop {
            let more = records.read_byte_record(record);
            if !more.map_err(|error| Error::io(self.path)(error.into()))? {
                return Ok(false);
            }
            // The reader skips empty lines itself, not those of blanks.
            if record.len() != 1 || !record[0].trim_ascii().is_empty() || self.quoted(record) {
                return Ok(true);
            }
        }
    }

    /// True where a record of one empty cell is written as `""`, which isn't a blank line.
    fn quoted(&self, record: &ByteRecord) -> bool {
        self.bytes.get(self.start(record)) == Some(&b'"')
    }

    /// The delimiter that splits the first records into equally many cells, more than one.
    ///
    /// A semicolon is tried before the comma, which is a decimal sign in half of Europe. If none
    /// splits them evenly, the one most frequent in the first record is taken, so that the error
    /// about an uneven record counts cells as the user does.
    fn delimiter(&self) -> u8 {
        const CANDIDATES: [u8; 3] = [b'\t', b';', b','];
        const LOOKED_AT: usize = 20;
        let mut best = (1, b',');
        for delimiter in CANDIDATES {
            let mut records = self.records(delimiter);
            let first = records.byte_records().take(LOOKED_AT).map_while(Result::ok);
            let lens: Vec<usize> = first.map(|record| record.len()).collect();
            let Some((&len, others)) = lens.split_first() else {
                continue;
            };
            if len > 1 && others.iter().all(|&other| other == len) {
                return delimiter;
            }
            if len > best.0 {
                best = (len, delimiter);
            }
        }
        best.1
    }

    /// Column names; a nameless column is named by its number.
    fn header(&self, record: &ByteRecord) -> Result<Vec<String>, Error> {
        let name = |(j, cell)| {
            let name = self.utf8(record, cell)?.trim();
            Ok(if name.is_empty() { format!("c{}", j + 1) } else { name.into() })
        };
        record.iter().enumerate().map(name).collect()
    }

    fn number(&self, record: &ByteRecord, j: usize, column: &str) -> Result<f32, Error> {
        let text = self.utf8(record, &record[j])?.trim();
        let Some(value) = number::<f32>(text) else {
            return Err(Error::NotANumber {
                path: self.path.into(),
                line: self.line(record),
                column: column.into(),
                text: excerpt(text),
            });
        };
        // A finite number overflows to infinity; a written infinity has no digits.
        if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(Error::OutOfRange {
                path: self.path.into(),
                place: Place::Line(self.line(record)),
                column: column.into(),
                value: excerpt(text),
            });
        }
        Ok(value)
    }

    fn label(&self, record: &ByteRecord, j: usize, column: &str) -> Result<bool, Error> {
        let text = self.utf8(record, &record[j])?.trim();
        // f64: a tiny label may vanish in f32 and turn an anomaly into a normal row.
        match boolean(text)
            .or_else(|| number::<f64>(text).filter(|v| !v.is_nan()).map(|v| v != 0.0))
        {
            Some(label) => Ok(label),
            None => Err(Error::NotALabel {
                path: self.path.into(),
                place: Place::Line(self.line(record)),
                column: column.into(),
                text: excerpt(text),
            }),
        }
    }

    fn utf8<'c>(&self, record: &ByteRecord, cell: &'c [u8]) -> Result<&'c str, Error> {
        std::str::from_utf8(cell)
            .map_err(|_| Error::NotUtf8 { path: self.path.into(), line: self.line(record) })
    }

    /// First byte of the record. The reader's own position is before the blank lines it skips.
    fn start(&self, record: &ByteRecord) -> usize {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let start = start.min(self.bytes.len());
        let skipped = self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        start + skipped.count()
    }

    /// Line of the record's first byte, from 1.
    fn line(&self, record: &ByteRecord) -> u64 {
        let before = &self.bytes[..self.start(record)];
        1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

/// A trimmed cell as a number, `None` for other text.
fn number<T: std::str::FromStr + From<f32>>(text: &str) -> Option<T> {
    if text.is_empty() || text == "NA" {
        return Some(f32::NAN.into());
    }
    text.parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// True for a cell that can't be a column's name.
fn is_value(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(|text| {
        let text = text.trim();
        number::<f32>(text).is_some() || boolean(text).is_some()
    })
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
