//! Files that the tests of the readers make.

use std::path::PathBuf;
use std::sync::Arc;

use parquet::data_type::{DoubleType, Int32Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A temporary folder, gone at the end of the test.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The error's text with the folder taken out of the paths.
    pub(super) fn plain(&self, error: &dyn std::error::Error) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// An NPY file, version 1.0, in C order.
pub(super) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_with(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

/// An NPY file with the header as given.
pub(super) fn npy_with(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A Parquet file of three rows: `a` DOUBLE [1, null, 3], `y` INT32 [0, 1, 0].
pub(super) fn parquet_bytes() -> Vec<u8> {
    let schema = parse_message_type("message m { optional double a; required int32 y; }").unwrap();
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let levels = Some(&[1_i16, 0, 1][..]);
    column.typed::<DoubleType>().write_batch(&[1.0, 3.0], levels, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int32Type>().write_batch(&[0, 1, 0], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    bytes
}
