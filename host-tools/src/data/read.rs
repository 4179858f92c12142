//! Which reader a file gets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Columns, Dataset, Error, csv, npy, parquet};

/// Reads a file of numbers; the extension tells the format, else the first bytes do.
///
/// CSV: `.csv`, `.tsv`, `.txt`; NumPy: `.npy`; Parquet: `.parquet`, `.pq`. The table has at least
/// one row and one column; values may be NaN or infinite. `labels` is present exactly when
/// `columns.label` is.
///
/// # Errors
///
/// What [`Error`] lists, each naming the file and, where there is one, the place in it.
pub fn read(path: &Path, columns: &Columns) -> Result<Dataset, Error> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "tsv" | "txt" => csv::read(path, columns),
        "npy" => npy::read(path, columns),
        "parquet" | "pq" => parquet::read(path, columns),
        _ => {
            let mut magic = Vec::new();
            let file = File::open(path).map_err(Error::io(path))?;
            file.take(6).read_to_end(&mut magic).map_err(Error::io(path))?;
            if magic.starts_with(npy::MAGIC) {
                npy::read(path, columns)
            } else if magic.starts_with(parquet::MAGIC) {
                parquet::read(path, columns)
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
    use super::super::testing::{Folder, parquet_bytes};
    use super::*;

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
        let path = folder.file("y", &super::super::testing::npy("<f4", "(1,)", &[0, 0, 128, 63]));
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
