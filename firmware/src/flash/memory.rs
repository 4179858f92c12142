//! A flash that is not there: memory that is erased and written as one, for the slots of a node.

use core::cell::UnsafeCell;
use core::ops::Range;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_write,
};
use fluxlet_node::{Storage, Writable};
use fluxlet_slots::Region;

const BLOCK_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16 * BLOCK_BYTES;

#[repr(align(4))]
struct Memory(UnsafeCell<[u8; 2 * SLOT_BYTES]>);

#[expect(unsafe_code, reason = "one thread runs")]
// SAFETY: the images have one thread, and no interrupt looks at the memory.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; _]));

pub(crate) fn storage() -> impl Storage {
    let region = Region { start: 0, slot_bytes: SLOT_BYTES as u32 };
    Writable { flash: Flash, mapped, region }
}

/// The bytes of a range. Nothing may write to it as long as they are looked at.
#[expect(unsafe_code, reason = "memory that plays a flash")]
fn mapped(range: Range<u32>) -> &'static [u8] {
    // SAFETY: the slots do not write to what they look at, and one thread runs.
    let memory = unsafe { &*MEMORY.0.get() };
    memory.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// The memory, written to.
struct Flash;

impl Flash {
    #[expect(unsafe_code, reason = "memory that plays a flash")]
    fn bytes(&mut self, from: u32, len: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        let range = from as usize..from as usize + len;
        let start = MEMORY.0.get().cast::<u8>();
        if range.end > 2 * SLOT_BYTES {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        // SAFETY: the range lies in the memory, and the slots look at other bytes meanwhile.
        Ok(unsafe { core::slice::from_raw_parts_mut(start.add(range.start), len) })
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, from: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let flash = self.bytes(from, bytes.len())?;
        bytes.iter_mut().zip(flash).for_each(|(byte, flash)| *byte = *flash);
        Ok(())
    }

    fn capacity(&self) -> usize {
        2 * SLOT_BYTES
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.bytes(from, (to - from) as usize)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, from: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, from, bytes.len())?;
        // Writing only clears bits.
        let flash = self.bytes(from, bytes.len())?;
        flash.iter_mut().zip(bytes).for_each(|(flash, byte)| *flash &= byte);
        Ok(())
    }
}
