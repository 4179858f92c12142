//! A LIS3DH that is not there: it answers its bus as the data sheet says, with readings from a file.

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use semihosting::process;

use crate::files::RowReader;

const ADDRESS: u8 = 0x18;
const WHO_AM_I: u8 = 0x0f;
const OUT_X_L: u8 = 0x28;
const FIFO_SRC: u8 = 0x2f;
const IDENTITY: u8 = 0x33;
const ONE_WAITING: u8 = 1;
/// Bits of a register's address; the one above has it count on from byte to byte.
const REGISTER: u8 = 0x3f;
/// g of one digit of twelve bits, ±2 g.
const DIGITS: f32 = 1000.0;

/// The sensor, at ±2 g.
pub(crate) struct Lis3dh {
    rows: RowReader,
    /// Whether the rows begin again after the last one.
    endless: bool,
    registers: [u8; REGISTER as usize + 1],
    selected: u8,
}

impl Lis3dh {
    /// Readings are rows of x, y, z in g; beyond the range they are at its end, and at a NaN the
    /// sensor does not answer.
    pub(crate) fn new(rows: RowReader, endless: bool) -> Self {
        let mut registers = [0; _];
        registers[usize::from(WHO_AM_I)] = IDENTITY;
        registers[usize::from(FIFO_SRC)] = ONE_WAITING;
        Self { rows, endless, registers, selected: 0 }
    }

    /// Puts the next reading into the registers; the program ends with rows that end.
    fn measure(&mut self) -> Result<(), ErrorKind> {
        let mut row = [0.0; 3];
        let next = match self.rows.next(&mut row) {
            Ok(false) if self.endless => self.rows.rewind().and_then(|()| self.rows.next(&mut row)),
            next => next,
        };
        match next {
            Ok(true) => {}
            Ok(false) => process::exit(0),
            Err(_) => process::exit(1),
        }
        if row.iter().any(|x| x.is_nan()) {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        let output = self.registers.iter_mut().skip(usize::from(OUT_X_L));
        let bytes = row.map(|x| (to_digits(x) << 4).to_le_bytes());
        output.zip(bytes.as_flattened()).for_each(|(register, byte)| *register = *byte);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some((register, values)) = bytes.split_first() else { return };
        self.selected = register & REGISTER;
        if let (Some(room), Some(value)) =
            (self.registers.get_mut(usize::from(self.selected)), values.first())
        {
            *room = *value;
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        if self.selected == OUT_X_L {
            self.measure()?;
        }
        let registers = self.registers.iter().skip(usize::from(self.selected));
        bytes.iter_mut().zip(registers).for_each(|(byte, register)| *byte = *register);
        Ok(())
    }
}

/// The nearest of the digits that the sensor has.
fn to_digits(x: f32) -> i16 {
    let half = if x < 0.0 { -0.5 } else { 0.5 };
    (x * DIGITS + half).clamp(-2048.0, 2047.0) as i16
}

impl ErrorType for Lis3dh {
    type Error = ErrorKind;
}

impl I2c for Lis3dh {
    fn transaction(&mut self, address: u8, parts: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        if address != ADDRESS {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        for part in parts {
            match part {
                Operation::Write(bytes) => self.write(bytes),
                Operation::Read(bytes) => self.read(bytes)?,
            }
        }
        Ok(())
    }
}
