//! What the tests of the command share: a folder to run it in, and data in every format.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod data;
pub(crate) mod models;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The files of a run's folder.
pub(crate) const RESULTS: [&str; 4] =
    ["checkpoint.safetensors", "config.toml", "history.csv", "model.flx"];

/// A temporary folder in which the command runs, so that its messages hold plain file names.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run of the command came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// What a command that was started comes to.
    pub(crate) fn wait(child: Child) -> Self {
        Self::new(child.wait_with_output().unwrap())
    }
}

/// Both ends of a serial line, and the path of the second.
#[cfg(target_os = "linux")]
pub(crate) fn serial_line() -> (serial2::SerialPort, serial2::SerialPort, PathBuf) {
    use std::os::fd::AsRawFd;
    let (near, far) = serial2::SerialPort::pair().unwrap();
    let path = fs::read_link(format!("/proc/self/fd/{}", far.as_raw_fd())).unwrap();
    (near, far, path)
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Every file and folder below this one, sorted; folders end in a slash.
    pub(crate) fn entries(&self) -> Vec<String> {
        let mut entries = Vec::new();
        list(self.0.path(), "", &mut entries);
        entries.sort();
        entries
    }

    /// Asserts that these files of two runs' folders are the same, byte for byte.
    pub(crate) fn assert_same_run(&self, one: &str, other: &str, files: &[&str]) {
        for file in files {
            let [left, right] = [one, other].map(|run| self.read(&format!("{run}/{file}")));
            assert!(left == right, "{file} of {one} and of {other} differ");
        }
    }

    /// The command with `line` as its arguments, none of which may hold a blank.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluxlet"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command
    }

    /// Runs the command with nothing on its standard input.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::new(self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    /// Starts the command; [`Ran::wait`] ends it.
    pub(crate) fn start(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command with `input` on its standard input, which it may close when it has enough.
    pub(crate) fn piped(&self, line: &str, input: &[u8]) -> Ran {
        let mut child = self.start(line);
        if let Err(error) = child.stdin.take().unwrap().write_all(input) {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "fluxlet {line}");
        }
        Ran::wait(child)
    }

    /// Runs a command that must succeed and be silent on standard error; gives its output.
    pub(crate) fn ok(&self, line: &str) -> String {
        let Ran { code, stdout, stderr } = self.run(line);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "fluxlet {line}");
        stdout
    }

    /// Output of a command that prints JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).unwrap()
    }

    /// Runs a command that must fail as bad input does: exit code 2, one line on standard error,
    /// nothing on standard output, no file more or less. Gives the line after "error: ".
    pub(crate) fn fails(&self, line: &str) -> String {
        let before = self.entries();
        let Ran { code, stdout, stderr } = self.run(line);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "fluxlet {line}: {stderr}");
        assert!(!stderr.contains("panicked"), "fluxlet {line}: {stderr}");
        let said = stderr.strip_suffix('\n').unwrap_or(&stderr);
        assert_eq!(said.lines().count(), 1, "fluxlet {line}: {stderr}");
        assert_eq!(self.entries(), before, "fluxlet {line}");
        let sentence = said.strip_prefix("error: ");
        let sentence = sentence.unwrap_or_else(|| panic!("fluxlet {line}: {stderr}"));
        assert!(sentence.starts_with("failed to "), "fluxlet {line}: {stderr}");
        sentence.to_string()
    }
}

fn list(folder: &Path, prefix: &str, entries: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            let inside = format!("{name}/");
            list(&entry.path(), &inside, entries);
            entries.push(inside);
        } else {
            entries.push(name);
        }
    }
}

/// Cells of a CSV file below its header, and the header.
pub(crate) fn parse_csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect());
    (lines.next().expect("there is a header"), lines.collect())
}

/// A column of numbers of [`parse_csv`]'s cells.
pub(crate) fn column<T: std::str::FromStr<Err: std::fmt::Debug>>(
    cells: &[Vec<String>],
    j: usize,
) -> Vec<T> {
    cells.iter().map(|row| row[j].parse().unwrap()).collect()
}
