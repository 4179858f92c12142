//! UF2, the format of a file that a microcontroller takes when it shows itself as a drive.
//!
//! Blocks of 512 bytes, each with 256 bytes for one address of the flash
//! (<https://github.com/microsoft/uf2>).

const BLOCK: usize = 512;
const PAYLOAD: usize = 256;
/// A boot loader erases by sectors, and some of them only where a file fills a whole one.
const SECTOR: usize = 4096;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
const HAS_FAMILY: u32 = 0x2000;

/// A file that puts `bytes` at `address` of a chip of this family.
pub fn pack(bytes: &[u8], address: u32, family: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0xff);
    let blocks = bytes.chunks(PAYLOAD);
    let count = blocks.len() as u32;
    let mut file = Vec::with_capacity(BLOCK * blocks.len());
    for ((index, at), payload) in (0..).zip((address..).step_by(PAYLOAD)).zip(blocks) {
        let [first, second] = MAGIC;
        let head = [first, second, HAS_FAMILY, at, PAYLOAD as u32, index, count, family];
        file.extend(head.into_iter().flat_map(u32::to_le_bytes));
        file.extend(payload);
        file.resize(file.len().next_multiple_of(BLOCK) - 4, 0);
        file.extend(MAGIC_END.to_le_bytes());
    }
    file
}
