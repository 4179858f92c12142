//! Files that are either whole or not there.

use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;

/// Why nothing was written; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// The file can't be made, or its contents can't be.
    #[error("write {path}")]
    File { path: PathBuf, source: io::Error },
    /// Standard output is gone for another reason than a closed pipe.
    #[error("write to standard output")]
    Stdout { source: io::Error },
}

/// Writes a file by way of a temporary one beside it, which takes its name once it is complete
/// and on the disk.
///
/// Whatever happens, the path holds either its old contents or the new ones. A symbolic link stays
/// one and the file that it points to is replaced; permissions of a replaced file are kept. What
/// is no regular file (a pipe, `/dev/null`) is written to directly.
///
/// # Errors
///
/// [`Error::File`] with what the operating system or `write` said; the temporary file is removed.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    replace(path, write).map_err(|source| Error::File { path: path.into(), source })
}

fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    // The link's target, not the link, is what gets a new file. A new file has no target yet.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        // Renaming over a device would replace the device; a folder is refused here.
        let mut buffer = BufWriter::new(File::options().write(true).open(path)?);
        write(&mut buffer)?;
        return buffer.flush();
    }

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    let prefix = temporary_prefix(path);
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        // Temporary files are private by default; the umask takes its share off this.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let folder = folder.unwrap_or(Path::new("."));
    // A missing folder is told in the system's words; of other errors only the kind is kept, for the
    // rest is the temporary file's name.
    fs::metadata(folder.join("."))?;
    let temporary = builder.tempfile_in(folder).map_err(|error| io::Error::from(error.kind()))?;
    let mut buffer = BufWriter::new(temporary.as_file().try_clone()?);
    write(&mut buffer)?;
    buffer.flush()?;
    if let Some(old) = old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// How the temporary files of `path` begin.
fn temporary_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".fluxlet-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    prefix
}

/// Removes the temporary files that [`write_atomically`] of this path left when it was killed.
///
/// # Errors
///
/// [`Error::File`] with what the operating system said.
pub fn remove_leftovers(path: &Path) -> Result<(), Error> {
    let prefix = temporary_prefix(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(folder.unwrap_or(Path::new("."))) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
        }
    }
    Ok(())
}

/// Writes a header and rows of cells as CSV, atomically to `path` or else to standard output.
///
/// A reader that closes standard output early, as `head` does, has seen enough: that is success.
///
/// # Errors
///
/// [`Error::File`] or [`Error::Stdout`] with what the operating system said.
pub fn save_csv<R>(
    path: Option<&Path>,
    header: &[impl AsRef<str>],
    rows: impl IntoIterator<Item = R>,
) -> Result<(), Error>
where
    R: IntoIterator<Item: Display>,
{
    let header = header.iter().map(AsRef::as_ref);
    match path {
        Some(path) => write_atomically(path, |file| csv_rows(file, header, rows)),
        None => until_closed(csv_rows(io::stdout().lock(), header, rows))
            .map_err(|source| Error::Stdout { source }),
    }
}

fn csv_rows<'h, R>(
    sink: impl Write,
    header: impl Iterator<Item = &'h str>,
    rows: impl IntoIterator<Item = R>,
) -> io::Result<()>
where
    R: IntoIterator<Item: Display>,
{
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(sink);
    writer.write_record(header).map_err(io_error)?;
    let mut cell = String::new();
    for row in rows {
        for value in row {
            cell.clear();
            write!(cell, "{value}").map_err(io::Error::other)?;
            writer.write_field(&cell).map_err(io_error)?;
        }
        writer.write_record(None::<&[u8]>).map_err(io_error)?;
    }
    writer.flush()
}

/// The system's own error with its kind, which `From<csv::Error>` would hide.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Takes a pipe closed by its reader for the end.
fn until_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes `values`, row-major `[rows, width]`, as a 2-D NPY array of `float32`, atomically.
///
/// # Errors
///
/// [`Error::File`] with what the operating system said.
///
/// # Panics
///
/// If `values` doesn't have rows * width numbers.
pub fn save_npy(path: &Path, rows: usize, width: usize, values: &[f32]) -> Result<(), Error> {
    assert_eq!(values.len(), rows * width, "the array's shape is [{rows}, {width}]");
    write_atomically(path, |file| {
        let options = npyz::WriteOptions::new().default_dtype();
        let shape = [rows as u64, width as u64];
        let mut array = options.shape(&shape).writer(file).begin_nd()?;
        array.extend(values.iter().copied())?;
        array.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_written_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        for text in ["first, and longer", "second"] {
            write_atomically(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(b"half of the new")?;
            file.flush()?;
            Err(io::Error::other("out of ink"))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), format!("write {}", path.display()));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "out of ink");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        for name in ["model", ".fluxlet-model-x1y2z3", ".fluxlet-modelling-x1y2z3"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(&path).unwrap();
        assert_eq!(entries(folder.path()), 2);
        assert!(path.exists());
        remove_leftovers(&folder.path().join("no/model")).unwrap();
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_target_are_errors_that_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/model"), folder.path().to_path_buf()] {
            let error = write_atomically(&path, |_| Ok(())).unwrap_err();
            assert_eq!(error.to_string(), format!("write {}", path.display()));
        }
        assert_eq!(entries(folder.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices_survive() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("target", &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);

        let null = Path::new("/dev/null");
        write_atomically(null, |file| file.write_all(b"gone")).unwrap();
        assert!(fs::metadata(null).unwrap().file_type().is_char_device());
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (plain, atomic) = (folder.path().join("plain"), folder.path().join("atomic"));
        fs::write(&plain, "").unwrap();
        write_atomically(&atomic, |_| Ok(())).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&atomic));
    }

    #[test]
    fn csv_quotes_what_needs_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let rows = [[1.5_f32, f32::NAN], [-1e-3, f32::INFINITY]];
        save_csv(Some(&path), &["a, b", "c"], rows).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "\"a, b\",c\n1.5,NaN\n-0.001,inf\n");
        save_csv(Some(&path), &["row", "alarm"], [["3".to_string(), "yes".into()]]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "row,alarm\n3,yes\n");
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        struct Sink(io::ErrorKind);
        impl Write for Sink {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(self.0.into())
            }
        }
        let write = |kind| {
            let rows = std::iter::repeat_n([1.0_f32; 4], 10_000);
            until_closed(csv_rows(Sink(kind), ["a"].into_iter(), rows))
        };
        assert!(write(io::ErrorKind::BrokenPipe).is_ok());
        let error = write(io::ErrorKind::StorageFull).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn npy_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.npy");
        save_npy(&path, 2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(array.shape(), [2, 3]);
        assert_eq!(array.dtype().descr(), "'<f4'");
        assert_eq!(array.into_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    #[should_panic(expected = "the array's shape is [2, 2]")]
    fn an_array_of_another_size_is_refused() {
        save_npy(Path::new("never"), 2, 2, &[1.0]).unwrap();
    }
}
