//! Lines as they come.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serial2::SerialPort;

use super::Line;
use crate::device::Node;

/// Bytes of the longest line, the reason of a refusal; what is longer is noise.
const LONGEST: usize = 512;
/// Lines that wait to be looked at.
const WAITING: usize = 1024;

/// Lines of a device.
pub struct Stream {
    name: String,
    lines: Receiver<io::Result<Option<Line>>>,
    /// Takes the device's commands.
    commands: Option<SerialPort>,
    program: Option<Program>,
    /// Holds the files that an emulated device reads, and goes after it.
    _node: Option<Node>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A line.
    Line(Line),
    /// What is no line: noise of a start, a cut line.
    Noise,
    /// Nothing yet.
    Quiet,
    /// Nothing any more.
    End,
}

impl Stream {
    /// Lines on standard input.
    pub fn stdin() -> Self {
        Self::new("standard input".into(), io::stdin())
    }

    /// Lines of a serial port.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn port(path: &Path, baud: u32) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let port = SerialPort::open(path, baud).with_context(|| format!("open {name}"))?;
        let commands = port.try_clone().with_context(|| format!("open {name}"))?;
        Ok(Self { commands: Some(commands), ..Self::new(name, port) })
    }

    /// Lines on a program's standard output. It ends with the stream.
    ///
    /// # Errors
    ///
    /// What the operating system says; `missing` says what to do where there is no such program.
    pub fn program(command: &mut Command, missing: &str) -> anyhow::Result<Self> {
        let name = command.get_program().display().to_string();
        let mut program = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("run {name}: it is not installed; {missing}")
            }
            program => program.with_context(|| format!("run {name}"))?,
        };
        let output = program.stdout.take().with_context(|| format!("read the output of {name}"))?;
        Ok(Self { program: Some(Program(program)), ..Self::new(name, output) })
    }

    /// Lines of an emulated device.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn emulated(node: Node, record: bool) -> anyhow::Result<Self> {
        let stream = Self::program(&mut node.command(record), "`fluxlet verify` installs it")?;
        Ok(Self { _node: Some(node), ..stream })
    }

    fn new(name: String, source: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::sync_channel(WAITING);
        // A read of a pipe waits for as long as it takes: Ctrl-C and the clock must not.
        thread::spawn(move || {
            if let Err(error) = read_lines(BufReader::new(source), &sender) {
                // Nobody listens any more where this fails.
                let _ = sender.send(Err(error));
            }
        });
        Self { name, lines, commands: None, program: None, _node: None }
    }

    /// Where the lines come from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends commands of one byte and what belongs to them, where the device can be reached.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(port) = &mut self.commands else { return Ok(()) };
        port.write_all(bytes).with_context(|| format!("write to {}", self.name))
    }

    /// Waits for the next line, not longer than `patience`.
    ///
    /// # Errors
    ///
    /// The source can't be read any more, or its program failed.
    pub fn next(&mut self, patience: Duration) -> anyhow::Result<Next> {
        match self.lines.recv_timeout(patience) {
            Ok(Ok(Some(line))) => Ok(Next::Line(line)),
            Ok(Ok(None)) => Ok(Next::Noise),
            Ok(Err(error)) => Err(error).with_context(|| format!("read {}", self.name)),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(Program(program)) = &mut self.program {
                    let status = program.wait()?;
                    anyhow::ensure!(status.success(), "run {}: it ended with {status}", self.name);
                }
                Ok(Next::End)
            }
        }
    }
}

/// A program that ends with its owner.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends every line until the source ends or nobody listens.
fn read_lines(
    mut source: impl BufRead,
    sender: &SyncSender<io::Result<Option<Line>>>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let bytes = match source.fill_buf() {
            Ok(bytes) => bytes,
            // A port that nothing came from for a while.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let is_last = taken == 0;
        // Of noise without an end no more is kept than shows that it is noise.
        let room = (LONGEST + 1).saturating_sub(line.len());
        line.extend(bytes.iter().take(end.unwrap_or(taken)).take(room));
        source.consume(taken);
        if is_last || end.is_some() {
            let is_blank = line.iter().all(u8::is_ascii_whitespace);
            // A line that ends with the source may be cut within a number.
            let known = if is_last || line.len() > LONGEST { None } else { Line::parse(&line) };
            if !is_blank && sender.send(Ok(known)).is_err() || is_last {
                return Ok(());
            }
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `bytes` hold, read in pieces of any size.
    fn lines(bytes: &[u8], piece: usize) -> Vec<Option<Line>> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        read_lines(BufReader::with_capacity(piece, bytes), &sender).unwrap();
        drop(sender);
        receiver.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn noise_between_lines_costs_no_line() {
        let sample = |x| Some(Line::Sample { values: vec![x] });
        let long = [b'x'; 3 * LONGEST];
        let noise: [&[u8]; 5] = [b"\xff\xfe\0\x80", b"sample 1 ", &long, b"\x1b[2J", b"le 3.5"];
        for piece in [1, 2, 7, 4096] {
            for noise in noise {
                let text = [b"sample 1\n\r\n\n", noise, b"\nsample 2\r\nsample 3"].concat();
                assert_eq!(lines(&text, piece), [sample(1.0), None, sample(2.0), None], "{text:?}");
            }
        }
        assert_eq!(lines(b"", 16), []);
        assert_eq!(lines(b"\n", 16), []);
    }

    #[test]
    fn any_bytes_are_lines_or_noise() {
        let mut state = 1_u32;
        let bytes: Vec<u8> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let all = bytes.split(|byte| *byte == b'\n');
        let ends = all.filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count();
        let noise = lines_counted(&bytes);
        assert_eq!(noise, ends);
    }

    /// How many lines there are, none of which is one.
    fn lines_counted(bytes: &[u8]) -> usize {
        let (sender, receiver) = mpsc::sync_channel(bytes.len());
        read_lines(bytes, &sender).unwrap();
        drop(sender);
        receiver.into_iter().map(Result::unwrap).inspect(|line| assert_eq!(*line, None)).count()
    }
}
