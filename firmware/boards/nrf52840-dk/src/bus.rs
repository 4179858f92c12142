//! The bus of the sensor. The HAL's own transactions copy what they are given in ways that can panic.

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use nrf52840_hal::Twim;
use nrf52840_hal::pac::TWIM1;
use nrf52840_hal::twim::Error;

/// A register's address and its value.
const LONGEST: usize = 2;

/// A bus for what the sensor's driver does: a short write, a read, and the one before the other.
pub(crate) struct Bus(pub(crate) Twim<TWIM1>);

impl ErrorType for Bus {
    type Error = Error;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, parts: &mut [Operation<'_>]) -> Result<(), Error> {
        match parts {
            [Operation::Write(bytes), Operation::Read(room)] => {
                self.0.write_then_read(address, in_memory(&mut [0; LONGEST], bytes)?, room)
            }
            [Operation::Write(bytes)] => {
                self.0.write(address, in_memory(&mut [0; LONGEST], bytes)?)
            }
            [Operation::Read(room)] => self.0.read(address, room),
            _ => Err(Error::Transmit),
        }
    }
}

/// A copy of `bytes`: the DMA does not reach the flash, where constants are.
fn in_memory<'m>(memory: &'m mut [u8], bytes: &[u8]) -> Result<&'m [u8], Error> {
    memory.iter_mut().zip(bytes).for_each(|(room, byte)| *room = *byte);
    memory.get(..bytes.len()).ok_or(Error::TxBufferTooLong)
}
