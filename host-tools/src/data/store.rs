//! Rows that may be too many for memory.
//!
//! They are collected in memory and, beyond a size, in a file, which is then mapped: whoever reads
//! them sees one slice either way, and the operating system fetches and drops pages as it likes.
//! The file has no name. It is gone when the run ends, however it ends, and nobody can cut it short.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use memmap2::Mmap;

use super::Error;

/// Where rows are kept.
#[derive(Clone, Debug)]
pub struct Spool {
    /// Folder of the files; it should be on a disk, not in memory.
    pub folder: PathBuf,
    /// Bytes that a store may have before it moves to a file.
    pub in_memory: usize,
}

impl Spool {
    /// Bytes in memory where nothing is said: 1 GiB.
    pub const IN_MEMORY: usize = 1 << 30;

    /// An empty store of rows \[width\].
    pub fn store<T: Pod>(&self, width: usize) -> StoreWriter<'_, T> {
        StoreWriter { spool: self, width, memory: Vec::new(), file: None }
    }

    fn error(&self) -> impl Fn(io::Error) -> Error {
        |source| Error::Spool { folder: self.folder.clone(), source }
    }
}

/// A store that is being filled.
#[derive(Debug)]
pub struct StoreWriter<'s, T = f32> {
    spool: &'s Spool,
    width: usize,
    memory: Vec<T>,
    file: Option<BufWriter<File>>,
}

impl<T: Pod> StoreWriter<'_, T> {
    /// Adds whole rows.
    ///
    /// # Errors
    ///
    /// [`Error::Spool`] with what the operating system said, such as that the disk is full.
    pub fn push(&mut self, rows: &[T]) -> Result<(), Error> {
        debug_assert!(rows.len().is_multiple_of(self.width), "whole rows");
        if let Some(file) = &mut self.file {
            return file.write_all(bytemuck::cast_slice(rows)).map_err(self.spool.error());
        }
        self.memory.extend_from_slice(rows);
        if size_of_val(&self.memory[..]) > self.spool.in_memory {
            let file = unnamed(&self.spool.folder).map_err(self.spool.error())?;
            self.file = Some(BufWriter::with_capacity(1 << 16, file));
            let memory = std::mem::take(&mut self.memory);
            return self.push(&memory);
        }
        Ok(())
    }

    /// The rows, all there.
    ///
    /// # Errors
    ///
    /// As [`StoreWriter::push`]; also where the address space is too small for the file.
    pub fn finish(self) -> Result<Store<T>, Error> {
        let Self { spool, width, memory, file } = self;
        let values = match file {
            None => Values::Memory(memory),
            Some(file) => {
                let map = || map(file.into_inner().map_err(io::IntoInnerError::into_error)?);
                Values::File(map().map_err(spool.error())?)
            }
        };
        Ok(Store { width, values })
    }
}

/// A file without a name; the error tells the kind alone, for its text would be of a temporary name.
fn unnamed(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder).map_err(|error| error.kind().into())
}

/// Maps a file that was written whole.
#[expect(unsafe_code, reason = "a map of a file is only as good as the file")]
fn map(file: File) -> io::Result<Mmap> {
    // What a network or a disk refuses late is an error here, not the end of the process later.
    file.sync_data()?;
    // SAFETY: the file was made without a name and its one handle ends here, so that nothing writes to
    // it or cuts it short as long as the map lives.
    unsafe { Mmap::map(&file) }
}

/// Rows \[n, width\].
#[derive(Debug)]
pub struct Store<T = f32> {
    width: usize,
    values: Values<T>,
}

#[derive(Debug)]
enum Values<T> {
    Memory(Vec<T>),
    File(Mmap),
}

impl<T: Pod> Store<T> {
    /// All of them: \[n, width\].
    pub fn values(&self) -> &[T] {
        match &self.values {
            Values::Memory(values) => values,
            Values::File(map) => bytemuck::cast_slice(map),
        }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// n.
    pub fn len(&self) -> usize {
        self.values().len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row after row.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values().chunks_exact(self.width)
    }

    /// Whether the rows are in a file.
    pub fn in_file(&self) -> bool {
        matches!(self.values, Values::File(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(folder: &tempfile::TempDir, in_memory: usize) -> Spool {
        Spool { folder: folder.path().into(), in_memory }
    }

    #[test]
    fn rows_are_the_same_in_memory_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<[f32; 3]> = (0..10_000).map(|i| [i as f32, -0.0, 0.1 * i as f32]).collect();
        for (in_memory, in_file) in [(0, true), (500, true), (120_000, false), (119_999, true)] {
            let spool = spool(&folder, in_memory);
            let mut store = spool.store(3);
            for row in &rows {
                store.push(row).unwrap();
            }
            let store = store.finish().unwrap();
            assert_eq!((store.len(), store.in_file()), (10_000, in_file), "{in_memory}");
            assert_eq!(store.values(), rows.as_flattened());
            assert_eq!(store.rows().nth(7).unwrap(), rows[7]);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no name");
        }
    }

    #[test]
    fn a_store_may_stay_empty() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(&folder, 0);
        let store = spool.store::<f32>(4).finish().unwrap();
        assert!(store.is_empty() && !store.in_file());
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let spool = Spool { folder: "/no/such/folder".into(), in_memory: 0 };
        let error = spool.store(1).push(&[1.0]).unwrap_err();
        assert_eq!(error.to_string(), "keep rows in a file in /no/such/folder");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "entity not found");
    }
}
