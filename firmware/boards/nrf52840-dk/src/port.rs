//! The serial port of the board's debugger, byte by byte. The HAL's, which works by DMA, copies what it
//! is given in ways that can panic.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write};
use nrf52840_hal::gpio::p0::{P0_06, P0_08};
use nrf52840_hal::gpio::{Floating, Input, Output, PushPull};
use nrf52840_hal::pac::UART0;

/// The port, at 115,200 bits a second. What the receiver holds until it is read are six bytes.
pub(crate) struct Port(UART0);

impl Port {
    #[expect(unsafe_code, reason = "a pin's number is any number to the register")]
    pub(crate) fn new(
        uart: UART0,
        _out: P0_06<Output<PushPull>>,
        _commands: P0_08<Input<Floating>>,
    ) -> Self {
        // SAFETY: these are the numbers of the two pins that came along, of port 0.
        uart.psel.txd.write(|w| unsafe { w.bits(6) });
        // SAFETY: as above.
        uart.psel.rxd.write(|w| unsafe { w.bits(8) });
        uart.baudrate.write(|w| w.baudrate().baud115200());
        uart.enable.write(|w| w.enable().enabled());
        uart.tasks_starttx.write(|w| w.tasks_starttx().set_bit());
        uart.tasks_startrx.write(|w| w.tasks_startrx().set_bit());
        Self(uart)
    }
}

impl ErrorType for Port {
    type Error = Infallible;
}

impl Write for Port {
    #[expect(unsafe_code, reason = "any byte can be sent")]
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            self.0.events_txdrdy.reset();
            // SAFETY: the register takes any byte.
            self.0.txd.write(|w| unsafe { w.txd().bits(*byte) });
            while self.0.events_txdrdy.read().events_txdrdy().bit_is_clear() {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.events_rxdrdy.read().events_rxdrdy().bit_is_set())
    }
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let Some(room) = bytes.first_mut() else { return Ok(0) };
        while let Ok(false) = self.read_ready() {}
        // The event of the byte behind comes once this one is read.
        self.0.events_rxdrdy.reset();
        *room = self.0.rxd.read().rxd().bits();
        Ok(1)
    }
}
