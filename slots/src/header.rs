//! What a slot begins with.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use fluxlet::Model;

/// Bytes before the model. Every flash's write size divides it, and so does a model's alignment.
pub const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"FLXS";
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// A valid header: some model was written behind it, and all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The later of two numbers is that of the newer model.
    pub sequence: u32,
    /// Bytes of the model.
    pub model_bytes: u32,
    /// The model's own checksum.
    pub checksum: u32,
}

impl Header {
    /// The header of a model.
    pub fn new(model: &Model<'_>, sequence: u32) -> Self {
        // A model states its length in 32 bits.
        let model_bytes = u32::try_from(model.byte_len()).unwrap_or(u32::MAX);
        Self { sequence, model_bytes, checksum: model.checksum() }
    }

    /// The header that a slot's bytes begin with; `None` where there is none, or a damaged one.
    pub fn read(slot: &[u8]) -> Option<Self> {
        let words = slot.as_chunks().0;
        let [magic, sequence, model_bytes, checksum, crc, ..] = *words else { return None };
        let [sequence, model_bytes, checksum, crc] =
            [sequence, model_bytes, checksum, crc].map(u32::from_le_bytes);
        let header = Self { sequence, model_bytes, checksum };
        (magic == MAGIC && crc == header.crc()).then_some(header)
    }

    /// The bytes that [`Header::read`] reads.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        // What is not used stays erased, for a later version to write.
        let mut bytes = [0xff; HEADER_BYTES];
        let words = self.words().into_iter().chain([self.crc().to_le_bytes()]);
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word;
        }
        bytes
    }

    /// Whether this sequence number is later than another; numbers go round.
    pub fn is_later_than(self, other: Self) -> bool {
        matches!(self.sequence.wrapping_sub(other.sequence), 1..0x8000_0000)
    }

    fn words(self) -> [[u8; 4]; 4] {
        let [sequence, model_bytes, checksum] =
            [self.sequence, self.model_bytes, self.checksum].map(u32::to_le_bytes);
        [MAGIC, sequence, model_bytes, checksum]
    }

    fn crc(self) -> u32 {
        CRC.checksum(self.words().as_flattened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { sequence: 7, model_bytes: 11_608, checksum: 0x7b36_ad6b };

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        // The CRC-32 is zlib's: python -c "import zlib, struct;
        // print(hex(zlib.crc32(b'FLXS' + struct.pack('<III', 7, 11608, 0x7b36ad6b))))".
        let mut expected = [0xff; HEADER_BYTES];
        expected[..20]
            .copy_from_slice(b"FLXS\x07\0\0\0\x58\x2d\0\0\x6b\xad\x36\x7b\x96\x56\x35\x91");
        assert_eq!(HEADER.to_bytes(), expected);
        assert_eq!(Header::read(&expected), Some(HEADER));
    }

    #[test]
    fn a_header_with_any_bit_changed_is_none() {
        for bit in 0..8 * 20 {
            let mut bytes = HEADER.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&bytes), None, "bit {bit}");
        }
        for len in 0..20 {
            assert_eq!(Header::read(&HEADER.to_bytes()[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn sequence_numbers_go_round() {
        let header = |sequence| Header { sequence, ..HEADER };
        for (later, earlier) in [(1, 0), (0, u32::MAX), (5, u32::MAX - 5), (0x7fff_ffff, 0)] {
            assert!(header(later).is_later_than(header(earlier)), "{later} {earlier}");
            assert!(!header(earlier).is_later_than(header(later)), "{later} {earlier}");
        }
        // Half way round neither is later, nor is a number later than itself.
        for (one, other) in [(0, 0x8000_0000), (3, 3)] {
            assert!(!header(one).is_later_than(header(other)), "{one} {other}");
            assert!(!header(other).is_later_than(header(one)), "{one} {other}");
        }
    }
}
