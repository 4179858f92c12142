//! The serial port as embedded-io 0.7 has it; the HAL implements an older one, in which a busy port
//! takes nothing instead of waiting.

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use stm32f4xx_hal::block;
use stm32f4xx_hal::pac::USART2;
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::serial::{Error, Serial};

/// The port of the board's debugger.
pub(crate) struct Port(pub(crate) Serial<USART2>);

fn kind(_: Error) -> ErrorKind {
    ErrorKind::Other
}

impl ErrorType for Port {
    type Error = ErrorKind;
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        for byte in bytes {
            block!(self.0.write(*byte)).map_err(kind)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        block!(self.0.flush()).map_err(kind)
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.0.is_rx_not_empty())
    }
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(room) = bytes.first_mut() else { return Ok(0) };
        *room = block!(self.0.read()).map_err(kind)?;
        Ok(1)
    }
}
