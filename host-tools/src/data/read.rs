//! Which reader a file gets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::sink::Collect;
use super::{Columns, Dataset, Error, Header, Sink, csv, npy, parquet};

/// Reads a file of numbers into memory; see [`stream`].
///
/// The table has at least one row and one column; values may be NaN or infinite. `labels` is present
/// exactly when `columns.label` is.
///
/// # Errors
///
/// What [`Error`] lists, each naming the file and, where there is one, the place in it.
pub fn read(path: &Path, columns: &Columns) -> Result<Dataset, Error> {
    stream(path, columns, |header| Ok(Collect::new(header))).map(Collect::finish)
}

/// Gives every row of a file of numbers to the sink that `begin` makes, and the sink back; the
/// extension tells the format, else the first bytes do.
///
/// CSV: `.csv`, `.tsv`, `.txt`; NumPy: `.npy`; Parquet: `.parquet`, `.pq`. There is at least one row
/// of at least one column. Only a small part of the file is in memory at a time.
///
/// # Errors
///
/// As [`read`], and what the sink says.
pub fn stream<S: Sink>(
    path: &Path,
    columns: &Columns,
    begin: impl FnOnce(Header) -> Result<S, Error>,
) -> Result<S, Error> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "tsv" | "txt" => csv::stream(path, columns, begin),
        "npy" => npy::stream(path, columns, begin),
        "parquet" | "pq" => parquet::stream(path, columns, begin),
        _ => {
            let mut magic = Vec::new();
            let file = File::open(path).map_err(Error::io(path))?;
            file.take(6).read_to_end(&mut magic).map_err(Error::io(path))?;
            if magic.starts_with(npy::MAGIC) {
                npy::stream(path, columns, begin)
            } else if magic.starts_with(parquet::MAGIC) {
                parquet::stream(path, columns, begin)
            } else if magic.is_empty() {
                Err(Error::Empty { path: path.into() })
            } else {
                Err(Error::UnknownFormat { path: path.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, npy, parquet_bytes};
    use super::*;

    /// Counts rows, and does something to the file at the first.
    struct Meddle<F> {
        once: Option<F>,
        rows: usize,
    }

    impl<F: FnOnce()> Sink for Meddle<F> {
        fn row(&mut self, _: &[f32], _: bool) -> Result<(), Error> {
            self.rows += 1;
            self.once.take().into_iter().for_each(|meddle| meddle());
            Ok(())
        }
    }

    /// Rows read, where `meddle` happens to the file at the first.
    fn meddled(path: &Path, meddle: impl FnOnce()) -> Result<usize, Error> {
        let begin = |_| Ok(Meddle { once: Some(meddle), rows: 0 });
        stream(path, &Columns::default(), begin).map(|sink| sink.rows)
    }

    fn halve(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }

    #[test]
    fn a_file_that_vanishes_while_it_is_read_is_read_to_its_end() {
        let folder = Folder::new();
        let text = "a,b\n1,2\n".to_string() + &"3,4\n".repeat(50_000) + "5,x\n";
        let path = folder.file("x.csv", text.as_bytes());
        let error = meddled(&path, || std::fs::remove_file(&path).unwrap()).unwrap_err();
        let said = "read x.csv: line 50003, column b: \"x\" is not a number";
        assert!(folder.plain(&error).starts_with(said), "{error}");
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let folder = Folder::new();
        let array = npy("|u1", "(10000000,)", &vec![7; 10_000_000]);
        let path = folder.file("x.npy", &array);
        let error = meddled(&path, || halve(&path)).unwrap_err();
        let said = "read x.npy: the file is cut short: shape (10000000,) needs 10000000 bytes, ";
        assert!(folder.plain(&error).starts_with(said), "{error}");
        let path = folder.file("x.csv", "100,20\n".repeat(100_001).as_bytes());
        let error = meddled(&path, || halve(&path)).unwrap_err();
        // Half of seven bytes is the first cell.
        assert_eq!(
            folder.plain(&error),
            "read x.csv: line 50001 has 1 columns, the first line has 2"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_like_a_file() {
        let folder = Folder::new();
        let path = folder.path("x.csv");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let text = "a,b\n".to_string() + &"1,2\n".repeat(50_000) + "\"\",3\n";
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, text).unwrap()
        });
        let table = read(&path, &Columns::default()).unwrap().table;
        writer.join().unwrap();
        assert_eq!((table.rows(), table.row(49_999)), (50_001, &[1.0, 2.0][..]));
    }

    #[test]
    fn the_extension_tells_the_format_in_either_case() {
        let folder = Folder::new();
        for name in ["x.csv", "x.TSV", "x.txt"] {
            let path = folder.file(name, b"1,2\n");
            assert_eq!(read(&path, &Columns::default()).unwrap().table.width, 2);
        }
        for name in ["x.parquet", "x.PQ"] {
            let path = folder.file(name, &parquet_bytes());
            assert_eq!(read(&path, &Columns::default()).unwrap().table.rows(), 3);
        }
    }

    #[test]
    fn another_extension_leaves_it_to_the_first_bytes() {
        let folder = Folder::new();
        let path = folder.file("x.dat", &parquet_bytes());
        assert_eq!(read(&path, &Columns::default()).unwrap().table.rows(), 3);
        let path = folder.file("y", &npy("<f4", "(1,)", &[0, 0, 128, 63]));
        assert_eq!(read(&path, &Columns::default()).unwrap().table.values, [1.0]);
    }

    #[test]
    fn an_unknown_format_names_the_supported_ones() {
        let folder = Folder::new();
        let path = folder.file("x.json", b"{}");
        let error = read(&path, &Columns::default()).unwrap_err();
        assert_eq!(
            folder.plain(&error),
            "read x.json: unknown format; supported are CSV (.csv, .tsv, .txt), NumPy (.npy) and \
             Parquet (.parquet, .pq)"
        );
        let path = folder.file("x.bin", b"");
        let error = read(&path, &Columns::default()).unwrap_err();
        assert_eq!(folder.plain(&error), "read x.bin: the file is empty");
    }

    #[test]
    fn a_missing_file_is_named_and_keeps_the_system_error() {
        let folder = Folder::new();
        for name in ["no.csv", "no.npy", "no.parquet", "no"] {
            let error = read(&folder.path(name), &Columns::default()).unwrap_err();
            assert_eq!(folder.plain(&error), format!("read {name}"));
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.to_string(), "No such file or directory (os error 2)");
        }
    }
}
