//! What the tests of the command share: a folder to run it in, and data in every format.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod data;
pub(crate) mod models;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A temporary folder in which the command runs, so that its messages hold plain file names.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run of the command came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
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

    /// Runs the command with `line` as its arguments, none of which may hold a blank.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
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
