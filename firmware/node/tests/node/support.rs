//! A port that keeps what it is told, a small model, and the sensor's transactions on its bus.

use std::collections::VecDeque;
use std::convert::Infallible;

use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::{Parts, tag};
use fluxlet::{Base, Calibration, Model};

/// Address of the sensor with its pin SA0 low.
pub(crate) const ADDRESS: u8 = 0x18;

/// Serial port whose far end has sent `commands`.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) text: Vec<u8>,
    pub(crate) commands: VecDeque<u8>,
}

impl Port {
    /// The lines told since the last call.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut self.text)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end: {text:?}");
        text.lines().map(str::to_string).collect()
    }
}

impl ErrorType for Port {
    type Error = Infallible;
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.commands.is_empty())
    }
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let byte = self.commands.pop_front().expect("nobody reads from an empty port");
        bytes[0] = byte;
        Ok(1)
    }
}

/// A standard normal of `dim` readings; an alarm where log p is below −10.
pub(crate) fn model(dim: usize, context: usize, names: &str) -> Vec<u8> {
    let mut scores: Vec<f32> = (0..99).map(|i| i as f32 * 10.0 / 98.0).collect();
    let mut table = vec![0; Calibration::payload_len(scores.len())];
    let len = Calibration::write(&mut scores, 0.01, &mut table);
    pack(dim, context, &[(tag::CALIBRATION, &table[..len]), (tag::NAMES, names.as_bytes())])
}

/// The same density with these sections.
pub(crate) fn pack(dim: usize, context: usize, sections: &[([u8; 4], &[u8])]) -> Vec<u8> {
    let shape = Shape::new(dim, 0, 0);
    let mut weights = vec![0.0; Layer::Affine.weight_len(shape)];
    Layer::Affine.neutral(shape, 0.0, &mut weights);
    let layers = [(Layer::Affine, shape)];
    let parts =
        Parts { dim, context, layers: &layers, base: Base::Normal, weights: &weights, sections };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}

/// A model's bytes, read.
pub(crate) fn checked(bytes: &[u8]) -> Model<'_> {
    Model::new_checked(bytes).unwrap()
}

fn read(register: u8, value: u8) -> Transaction {
    Transaction::write_read(ADDRESS, vec![register], vec![value])
}

fn write(register: u8, value: u8) -> Transaction {
    Transaction::write(ADDRESS, vec![register, value])
}

/// A start with the default settings, register by register as the data sheet numbers them.
pub(crate) fn start() -> Vec<Transaction> {
    let (temperature, rate, control, fifo, fifo_mode) = (0x1f, 0x20, 0x23, 0x24, 0x2e);
    vec![
        read(0x0f, 0x33),
        // No reading changes while it is read.
        write(control, 0x80),
        // High resolution.
        read(rate, 0x07),
        write(rate, 0x07),
        read(control, 0x80),
        write(control, 0x88),
        // 200 readings a second, of three axes.
        read(rate, 0x07),
        write(rate, 0x67),
        read(rate, 0x67),
        write(rate, 0x67),
        read(temperature, 0x00),
        write(temperature, 0x80),
        // ±2 g.
        read(control, 0x88),
        write(control, 0x88),
        // Readings wait in line.
        write(fifo_mode, 0x00),
        read(fifo, 0x00),
        write(fifo, 0x00),
        write(fifo_mode, 0x80),
        read(fifo, 0x00),
        write(fifo, 0x40),
    ]
}

/// A reading in thousandths of a g, one that waits.
pub(crate) fn reading(xyz: [i16; 3]) -> [Transaction; 2] {
    let bytes = xyz.map(|digits| (digits << 4).to_le_bytes()).concat();
    [read(0x2f, 0x01), Transaction::write_read(ADDRESS, vec![0xa8], bytes)]
}

/// A look that finds no reading.
pub(crate) fn nothing() -> Transaction {
    read(0x2f, 0x20)
}

/// A bus on which exactly this happens.
pub(crate) fn bus(transactions: impl IntoIterator<Item = Transaction>) -> Mock {
    Mock::new(&transactions.into_iter().collect::<Vec<_>>())
}
