//! The node of `fluxlet-node` without a board: its sensor is played from a file, its port is the
//! standard output of QEMU.

use core::convert::Infallible;
use core::ffi::CStr;

use embedded_hal::delay::DelayNs;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use fluxlet_node::{AXES, Node};
use semihosting::io::{self, Stdout, Write as _};
use semihosting::process;

use crate::embedded::{self, INPUT_LEN, WORK_LEN};
use crate::files::{CommandLine, RowReader};
use crate::sensor::Lis3dh;

const LINE_BYTES: usize = 128;

/// Plays the readings of the file that the command line names, rows of three `f32` in g, and obeys
/// the commands that it may have behind the file's name; ends with the file.
pub fn node() -> ! {
    let Ok(line) = CommandLine::read() else { process::exit(1) };
    let (Some(rows), commands) = (line.word(1), line.word(2)) else { process::exit(1) };
    let (Ok(rows), Ok(stdout)) = (RowReader::open(rows), io::stdout()) else { process::exit(1) };
    let commands = commands.map_or(&[][..], CStr::to_bytes);
    let mut port = Console { stdout, line: [0; LINE_BYTES], filled: 0, commands };
    // Two windows, one reading and the work space of a score.
    let mut memory = [0.0; 2 * INPUT_LEN + AXES + WORK_LEN];
    let none: [&[u8]; 2] = [&[], &[]];
    let chosen = fluxlet_node::choose(none, embedded::bytes(), AXES, memory.len(), &mut port);
    let Some((model, slot)) = chosen else { process::exit(2) };
    let Ok(mut node) = Node::new(model, slot, AXES, &mut memory) else { process::exit(2) };
    let mut sensor = Lis3dh::new(rows);
    node.tell_model(&mut port);
    loop {
        fluxlet_node::watch(&mut node, &mut sensor, &mut NoDelay, &mut port);
    }
}

/// A file's readings are there at once.
struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

/// Lines to standard output, each in one piece: a semihosting call stops the processor.
struct Console<'c> {
    stdout: Stdout,
    line: [u8; LINE_BYTES],
    filled: usize,
    commands: &'c [u8],
}

impl Console<'_> {
    fn put_out(&mut self) {
        let line = self.line.get(..self.filled).unwrap_or_default();
        if self.stdout.write_all(line).is_err() {
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
        Ok(!self.commands.is_empty())
    }
}

impl Read for Console<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let (Some(room), Some((command, rest))) = (bytes.first_mut(), self.commands.split_first())
        else {
            return Ok(0);
        };
        (*room, self.commands) = (*command, rest);
        Ok(1)
    }
}
