//! What can be wrong with a file of numbers.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::Limits;

/// Why data can't be used; a fragment that reads after "failed to".
///
/// `line` counts the lines of a text file and `row` the rows of data, both from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// The operating system refused.
    #[error("read {path}")]
    Io { path: PathBuf, source: io::Error },
    /// Neither extension nor first bytes tell the format.
    #[error(
        "read {path}: unknown format; supported are CSV (.csv, .tsv, .txt), NumPy (.npy) and \
         Parquet (.parquet, .pq)"
    )]
    UnknownFormat { path: PathBuf },
    /// The file has no bytes, or nothing but blank lines.
    #[error("read {path}: the file is empty")]
    Empty { path: PathBuf },
    /// There are columns but no rows.
    #[error("read {path}: there are no rows of data below the column names ({columns})")]
    NoRows { path: PathBuf, columns: String },
    /// The label and the exclusions take every column.
    #[error(
        "read {path}: no column of data is left without the label and the excluded ones; the \
         columns are {columns}"
    )]
    NoColumns { path: PathBuf, columns: String },
    /// A label or an exclusion names a column that isn't there.
    #[error("read {path}: there is no column {column}; the columns are {columns}")]
    UnknownColumn { path: PathBuf, column: String, columns: String },
    /// A label or an exclusion fits more than one column.
    #[error("read {path}: {count} columns are named {column}; rename them so that one is meant")]
    AmbiguousColumn { path: PathBuf, column: String, count: usize },
    /// The label is said to be the group as well.
    #[error("read {path}: column {column} is the label, it can't be the group as well")]
    GroupIsLabel { path: PathBuf, column: String },
    /// A record is shorter or longer than the first one.
    #[error("read {path}: line {line} has {found} columns, {first} has {expected}")]
    ColumnCount { path: PathBuf, line: u64, found: usize, first: &'static str, expected: usize },
    /// Text where a number belongs.
    #[error(
        "read {path}: line {line}, column {column}: {text:?} is not a number; to leave the \
         column out, use --exclude {column}"
    )]
    NotANumber { path: PathBuf, line: u64, column: String, text: String },
    /// A label that is missing or neither a number nor true or false.
    #[error(
        "read {path}: {place}, column {column}: {text:?} is not a label; labels are numbers \
         (0 is normal) or true and false"
    )]
    NotALabel { path: PathBuf, place: Place, column: String, text: String },
    /// A finite number that a 32-bit float can't hold.
    #[error(
        "read {path}: {place}, column {column}: {value} is outside the range of a 32-bit float"
    )]
    OutOfRange { path: PathBuf, place: Place, column: String, value: String },
    /// Bytes that are no text.
    #[error("read {path}: line {line} is not UTF-8 text")]
    NotUtf8 { path: PathBuf, line: u64 },
    /// An array header that can't be parsed.
    #[error("read {path}: the NPY header is damaged: {reason}")]
    NpyHeader { path: PathBuf, reason: String },
    /// An array of another rank.
    #[error("read {path}: the array has shape {shape}, wanted is {wanted}")]
    NpyShape { path: PathBuf, shape: String, wanted: &'static str },
    /// An array of something else than real numbers.
    #[error(
        "read {path}: the array has dtype {dtype}; supported are bool, int8 to int64, uint8 to \
         uint64, float32 and float64"
    )]
    NpyType { path: PathBuf, dtype: String },
    /// Fewer bytes than the shape promises.
    #[error(
        "read {path}: the file is cut short: shape {shape} needs {expected} bytes, {found} are \
         there"
    )]
    NpyCutShort { path: PathBuf, shape: String, expected: u128, found: u64 },
    /// A column that holds no plain numbers.
    #[error(
        "read {path}: column {column} has type {kind}; supported are BOOLEAN, INT32, INT64, FLOAT \
         and DOUBLE; to leave the column out, use --exclude {column}"
    )]
    ParquetType { path: PathBuf, column: String, kind: String },
    /// A damaged file, in the words of the Parquet reader.
    #[error("read {path}: the Parquet file is damaged: {reason}")]
    Parquet { path: PathBuf, reason: String },
    /// A value that a caller needs finite.
    #[error("use {path}: row {row} of the data, column {column}: {value} is not finite")]
    NotFinite { path: PathBuf, row: u64, column: String, value: f32 },
    /// A column that is said to be bounded, an angle or both more than once.
    #[error("use {path}: column {column} has two domains; it is bounded or an angle, once")]
    TwoDomains { path: PathBuf, column: String },
    /// A column that is given beside the data and has a domain all the same.
    #[error("use {path}: the column {column} is context, it has no domain")]
    ContextDomain { path: PathBuf, column: String },
    /// A value beyond the limits of its column.
    #[error(
        "use {path}: row {row} of the data, column {column}: {value} lies outside {low} to {high}",
        column = limits.column, low = limits.low, high = limits.high
    )]
    OutsideLimits { path: PathBuf, row: u64, value: f32, limits: Limits },
    /// A window that is empty or longer than the data.
    #[error("cut {path} into windows: a window has {window} rows, the data has {rows}")]
    WindowLength { path: PathBuf, window: usize, rows: u64 },
    /// More inputs than a model can have.
    #[error(
        "train on {path}: {found} inputs, at most {most} are possible",
        most = fluxlet::model::MAX_DIM
    )]
    TooWide { path: PathBuf, found: usize },
    /// More rows than are counted.
    #[error("train on {path}: it has more than {most} rows, no more can be counted", most = u32::MAX)]
    TooManyRows { path: PathBuf },
    /// Rows that don't fit in memory can't be kept elsewhere either.
    #[error("keep rows in a file in {folder}")]
    Spool { folder: PathBuf, source: io::Error },
}

/// Where in a file a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, from 1, header and blank lines included.
    Line(u64),
    /// Row of data, from 1.
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

impl Error {
    /// The same, where the row that it names is number `number` of the file, from 1.
    pub fn at_row(mut self, number: u64) -> Self {
        if let Self::NotFinite { row, .. } | Self::OutsideLimits { row, .. } = &mut self {
            *row = number;
        }
        self
    }

    /// For `map_err` of anything that touches the file.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Error::Io { path: path.into(), source }
    }
}

/// Text found in a file, short enough for one line of a terminal.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Runs a decoder that may panic on damaged bytes; gives what it said as `Err`.
///
/// The decoders of other crates index and multiply with numbers from the file. A damaged file is
/// the user's everyday accident and must end as an error that names the file, not with the report
/// of a panic before it: that is silenced on this thread for as long as the decoder runs.
pub(super) fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                report(panic);
            }
        }));
    });
    QUIET.set(true);
    // Unwind safe: on a panic everything the closure built is dropped, nothing half-built stays.
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    QUIET.set(false);
    result.map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the decoder gave up")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_forty_characters_not_bytes() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"é".repeat(40)), "é".repeat(40));
        assert_eq!(excerpt(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
    }

    #[test]
    fn a_panic_in_a_decoder_becomes_its_message() {
        assert_eq!(caught(|| 3), Ok(3));
        let index = std::hint::black_box(7);
        let said = caught(|| [1, 2, 3][index]).unwrap_err();
        assert!(said.contains("index out of bounds"), "{said}");
        let odd = caught(|| std::panic::panic_any(5_u8)).unwrap_err();
        assert_eq!(odd, "the decoder gave up");
    }
}
