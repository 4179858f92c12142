//! The node of `fluxlet-node` without a board: its sensor is played from a file, its port is the
//! standard output of QEMU or a terminal that plays a serial line.

use core::convert::Infallible;
use core::ffi::CStr;
use core::hint::black_box;

use embedded_hal::delay::DelayNs;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use fluxlet_node::AXES;
use semihosting::fs::{File, OpenOptions};
use semihosting::io::{self, Read as _, Stdout, Write as _};
use semihosting::process;

use crate::embedded::{self, INPUT_LEN, WORK_LEN};
use crate::files::{CommandLine, RowReader};
use crate::flash;
use crate::sensor::Lis3dh;

const LINE_BYTES: usize = 128;

/// Plays the readings of the file that the command line names, rows of three `f32` in g, and obeys
/// the commands that it may have behind the file's name; ends with the file.
///
/// A terminal behind the commands is the line that lines go to and further commands come from, and the file
/// is played again and again. A terminal must not keep its reader waiting.
pub fn node() -> ! {
    let Ok(line) = CommandLine::read() else { process::exit(1) };
    let (Some(rows), commands) = (line.word(1), line.word(2)) else { process::exit(1) };
    let (Ok(rows), Ok(ends)) = (RowReader::open(rows), Ends::open(line.word(3))) else {
        process::exit(1)
    };
    let commands = commands.map_or(&[][..], CStr::to_bytes);
    let mut port = Console { ends, line: [0; LINE_BYTES], filled: 0, commands, came: None };
    // Two windows, one reading and the work space of a score.
    let mut memory = [0.0; 2 * INPUT_LEN + AXES + WORK_LEN];
    let mut sensor = Lis3dh::new(rows, matches!(port.ends, Ends::Terminal(_)));
    let mut storage = flash::storage();
    let built_in = embedded::bytes();
    while fluxlet_node::serve(
        &mut storage,
        built_in,
        &mut memory,
        &mut sensor,
        &mut Delay,
        &mut port,
    ) {}
    process::exit(2)
}

/// Nobody needs the time to be right.
struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        for i in 0..ns / 16 {
            black_box(i);
        }
    }
}

/// Where lines go to and commands come from.
enum Ends {
    Output(Stdout),
    Terminal(File),
}

impl Ends {
    fn open(terminal: Option<&CStr>) -> io::Result<Self> {
        match terminal {
            Some(path) => OpenOptions::new().read(true).write(true).open(path).map(Self::Terminal),
            None => io::stdout().map(Self::Output),
        }
    }
}

/// Lines in one piece each: a semihosting call stops the processor.
struct Console<'c> {
    ends: Ends,
    line: [u8; LINE_BYTES],
    filled: usize,
    commands: &'c [u8],
    /// A byte of the terminal that was not read yet.
    came: Option<u8>,
}

impl Console<'_> {
    fn put_out(&mut self) {
        let line = self.line.get(..self.filled).unwrap_or_default();
        let written = match &mut self.ends {
            Ends::Output(output) => output.write_all(line),
            Ends::Terminal(terminal) => terminal.write_all(line),
        };
        if written.is_err() {
            process::exit(1);
        }
        self.filled = 0;
    }
}

impl ErrorType for Console<'_> {
    type Error = Infallible;
}

impl Write for Console<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            if let Some(room) = self.line.get_mut(self.filled) {
                *room = *byte;
                self.filled += 1;
            }
            if *byte == b'\n' || self.filled == LINE_BYTES {
                self.put_out();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.put_out();
        Ok(())
    }
}

impl ReadReady for Console<'_> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        if let Ends::Terminal(terminal) = &mut self.ends
            && self.came.is_none()
        {
            let mut byte = [0];
            self.came = matches!(terminal.read(&mut byte), Ok(1)).then_some(byte[0]);
        }
        Ok(!self.commands.is_empty() || self.came.is_some())
    }
}

impl Read for Console<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let Some(room) = bytes.first_mut() else { return Ok(0) };
        match self.commands.split_first() {
            Some((command, rest)) => (*room, self.commands) = (*command, rest),
            None => match self.came.take() {
                Some(command) => *room = command,
                None => return Ok(0),
            },
        }
        Ok(1)
    }
}
