//! Comma-, semicolon- or tab-separated text.
//!
//! The first record is a header if any of its cells is neither a number, nor empty, nor true or
//! false. Blank lines are skipped, a byte order mark too; lines may end in LF or CRLF. Cells that
//! are empty, `NA` or `nan` are NaN; `inf` and `-inf` are infinite. A header of nothing but
//! numbers is taken for data.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::columns::{self, Role};
use super::error::{Place, excerpt};
use super::{Columns, Error, Header, Sink};

/// Reads record by record; see [`super::stream`].
pub(super) fn stream<S: Sink>(
    path: &Path,
    columns: &Columns,
    begin: impl FnOnce(Header) -> Result<S, Error>,
) -> Result<S, Error> {
    Text::open(path).map_err(Error::io(path))?.stream(columns, begin)
}

/// A text file: the line of an error is counted only when there is one.
struct Text<'a> {
    path: &'a Path,
    file: File,
    /// First byte behind the byte order mark, if there is one.
    start: u64,
}

impl<'a> Text<'a> {
    fn open(path: &'a Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            // A pipe can't be read twice, its copy can.
            let mut copy = tempfile::tempfile()?;
            io::copy(&mut file, &mut copy)?;
            file = copy;
            file.rewind()?;
        }
        let mut mark = Vec::new();
        (&file).take(3).read_to_end(&mut mark)?;
        let start = if mark == b"\xef\xbb\xbf" { 3 } else { 0 };
        Ok(Self { path, file, start })
    }

    fn stream<S: Sink>(
        &self,
        columns: &Columns,
        begin: impl FnOnce(Header) -> Result<S, Error>,
    ) -> Result<S, Error> {
        let mut records = self.records(self.delimiter()?)?;
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

        let names = selection.names.clone();
        let mut values = Vec::with_capacity(names.len());
        let mut sink = begin(Header { names, has_label: selection.has_label(), rows: None })?;
        loop {
            if record.len() != expected {
                return Err(Error::ColumnCount {
                    path: self.path.into(),
                    line: self.line(&record)?,
                    found: record.len(),
                    first: if has_header { "the header" } else { "the first line" },
                    expected,
                });
            }
            values.clear();
            let mut is_anomaly = false;
            for (j, role) in selection.roles.iter().enumerate() {
                match role {
                    Role::Data => values.push(self.number(&record, j, &all[j])?),
                    Role::Label => is_anomaly = self.label(&record, j, &all[j])?,
                    Role::Group => sink.group(self.utf8(&record, &record[j])?.trim())?,
                    Role::Skip => {}
                }
            }
            sink.row(&values, is_anomaly)?;
            if !self.next(&mut records, &mut record)? {
                break;
            }
        }
        Ok(sink)
    }

    fn records(&self, delimiter: u8) -> Result<Reader<&File>, Error> {
        self.seek(self.start).map_err(Error::io(self.path))?;
        // Flexible: the length of a record is checked here, with the line that the user sees.
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true).buffer_capacity(1 << 16);
        Ok(builder.from_reader(&self.file))
    }

    fn seek(&self, at: u64) -> io::Result<u64> {
        (&self.file).seek(SeekFrom::Start(at))
    }

    /// Reads the next record that isn't blank; false at the end.
    fn next(&self, records: &mut Reader<&File>, record: &mut ByteRecord) -> Result<bool, Error> {
        loop {
            let more = records.read_byte_record(record);
            if !more.map_err(|error| Error::io(self.path)(error.into()))? {
                return Ok(false);
            }
            // The reader skips empty lines itself, not those of blanks.
            if record.len() != 1 || !record[0].trim_ascii().is_empty() || self.quoted(record)? {
                return Ok(true);
            }
        }
    }

    /// True where a record of one empty cell is written as `""`, which isn't a blank line.
    fn quoted(&self, record: &ByteRecord) -> Result<bool, Error> {
        let look = || {
            let here = (&self.file).stream_position()?;
            self.seek(self.first_byte(record)?)?;
            let mut byte = [0];
            let quoted = (&self.file).read(&mut byte)? == 1 && byte == *b"\"";
            self.seek(here)?;
            Ok(quoted)
        };
        look().map_err(Error::io(self.path))
    }

    /// The delimiter that splits the first records into equally many cells, more than one.
    ///
    /// A semicolon is tried before the comma, which is a decimal sign in half of Europe. If none
    /// splits them evenly, the one most frequent in the first record is taken, so that the error
    /// about an uneven record counts cells as the user does.
    fn delimiter(&self) -> Result<u8, Error> {
        const CANDIDATES: [u8; 3] = [b'\t', b';', b','];
        const LOOKED_AT: usize = 20;
        let mut best = (1, b',');
        for delimiter in CANDIDATES {
            let mut records = self.records(delimiter)?;
            let first = records.byte_records().take(LOOKED_AT).map_while(Result::ok);
            let lens: Vec<usize> = first.map(|record| record.len()).collect();
            let Some((&len, others)) = lens.split_first() else {
                continue;
            };
            if len > 1 && others.iter().all(|&other| other == len) {
                return Ok(delimiter);
            }
            if len > best.0 {
                best = (len, delimiter);
            }
        }
        Ok(best.1)
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
                line: self.line(record)?,
                column: column.into(),
                text: excerpt(text),
            });
        };
        // A finite number overflows to infinity; a written infinity has no digits.
        if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(Error::OutOfRange {
                path: self.path.into(),
                place: Place::Line(self.line(record)?),
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
                place: Place::Line(self.line(record)?),
                column: column.into(),
                text: excerpt(text),
            }),
        }
    }

    fn utf8<'c>(&self, record: &ByteRecord, cell: &'c [u8]) -> Result<&'c str, Error> {
        match std::str::from_utf8(cell) {
            Ok(text) => Ok(text),
            Err(_) => Err(Error::NotUtf8 { path: self.path.into(), line: self.line(record)? }),
        }
    }

    /// Place of the record's first byte. The reader's own position is before the blank lines it skips.
    fn first_byte(&self, record: &ByteRecord) -> io::Result<u64> {
        let mut at = self.start + record.position().map_or(0, |position| position.byte());
        self.seek(at)?;
        for byte in BufReader::new(&self.file).bytes() {
            if !matches!(byte?, b'\r' | b'\n') {
                break;
            }
            at += 1;
        }
        Ok(at)
    }

    /// Line of the record's first byte, from 1.
    fn line(&self, record: &ByteRecord) -> Result<u64, Error> {
        let count = || {
            let before = self.first_byte(record)?;
            self.seek(0)?;
            let mut text = BufReader::with_capacity(1 << 16, (&self.file).take(before));
            let mut line = 1;
            loop {
                let bytes = text.fill_buf()?;
                if bytes.is_empty() {
                    return Ok(line);
                }
                line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                let len = bytes.len();
                text.consume(len);
            }
        };
        count().map_err(Error::io(self.path))
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
