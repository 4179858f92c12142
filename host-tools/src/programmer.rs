//! The programs that read and write a chip's flash.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The program for a chip, with the chip's name in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programmer {
    /// probe-rs, over a debug probe.
    ProbeRs(&'static str),
    /// espflash, over the serial port.
    Espflash(&'static str),
}

/// A command line; no word of it holds a blank unless it is a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(Vec<String>);

impl Line {
    fn new(words: &str, path: Option<&Path>) -> Self {
        let words = words.split(' ').map(str::to_string);
        Self(words.chain(path.map(|path| path.display().to_string())).collect())
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Programmer {
    /// Reads so many bytes, a multiple of four, from `address` into a file.
    pub fn read(self, address: u32, bytes: u32, path: &Path) -> Line {
        match self {
            Self::ProbeRs(chip) => {
                let words = bytes / 4;
                let line = format!(
                    "probe-rs read --chip {chip} b32 {address:#x} {words} --format binary --output"
                );
                Line::new(&line, Some(path))
            }
            Self::Espflash(chip) => {
                let line = format!("espflash read-flash --chip {chip} {address:#x} {bytes}");
                Line::new(&line, Some(path))
            }
        }
    }

    /// Writes a file's bytes to `address`.
    pub fn write(self, address: u32, path: &Path) -> Line {
        let line = match self {
            Self::ProbeRs(chip) => format!(
                "probe-rs download --chip {chip} --binary-format bin --base-address {address:#x}"
            ),
            Self::Espflash(chip) => format!("espflash write-bin --chip {chip} {address:#x}"),
        };
        Line::new(&line, Some(path))
    }

    /// Starts the chip again, where writing does not.
    pub fn reset(self) -> Option<Line> {
        match self {
            Self::ProbeRs(chip) => Some(Line::new(&format!("probe-rs reset --chip {chip}"), None)),
            Self::Espflash(_) => None,
        }
    }

    /// Runs a command line, which talks to the terminal itself.
    ///
    /// # Errors
    ///
    /// The program is missing, and how to install it; or it failed.
    pub fn run(self, line: &Line) -> anyhow::Result<()> {
        let Some((program, arguments)) = line.0.split_first() else { return Ok(()) };
        let status = match Command::new(program).args(arguments).status() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let package = match self {
                    Self::ProbeRs(_) => "probe-rs-tools",
                    Self::Espflash(_) => "espflash",
                };
                bail!("{program} is not installed; `cargo install {package} --locked` installs it");
            }
            status => status.with_context(|| format!("run {program}"))?,
        };
        ensure!(status.success(), "`{line}` ended with {status}");
        Ok(())
    }
}
