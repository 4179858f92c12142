//! The serial port of the board's debugger, both directions in one.

use embedded_io::{ErrorType, Read, ReadReady, Write};
use nrf52840_hal::pac::UARTE0;
use nrf52840_hal::uarte::{Error, Uarte, UarteRx, UarteTx};

/// The port. It sends byte by byte: the HAL keeps bytes until the buffer that it was given is full.
pub(crate) struct Port {
    out: UarteTx<UARTE0>,
    commands: UarteRx<UARTE0>,
}

impl Port {
    /// `None` the second time.
    pub(crate) fn new(uarte: Uarte<UARTE0>) -> Option<Self> {
        let out = cortex_m::singleton!(: [u8; 1] = [0])?;
        let commands = cortex_m::singleton!(: [u8; 1] = [0])?;
        let (out, commands) = uarte.split(out, commands).ok()?;
        Some(Self { out, commands })
    }
}

impl ErrorType for Port {
    type Error = Error;
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.out.write(bytes.get(..1).unwrap_or_default())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.flush()
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Error> {
        self.commands.read_ready()
    }
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        self.commands.read(bytes)
    }
}
