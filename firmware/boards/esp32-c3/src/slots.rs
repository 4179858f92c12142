//! The models at the end of the flash, copied: the boot maps no more of the flash than the image.

use esp_hal::peripherals::FLASH;
use esp_storage::FlashStorage;

/// Where the slots are in a flash of 4 MiB, as on the other boards the last 256 KiB of it.
const SLOTS_START: u32 = 0x003C0000;
const SLOT_BYTES: u32 = 128 * 1024;
/// What memory holds of a slot; a longer model is refused as one that was cut short.
const COPY_BYTES: usize = 48 * 1024;

/// A slot's beginning, where a model's reader wants it: at a multiple of four.
#[repr(C, align(4))]
struct Copy([u8; COPY_BYTES]);

/// Copies of both slots.
pub(crate) struct Slots([Copy; 2]);

impl Slots {
    /// Slots without a model.
    pub(crate) const EMPTY: Self = Self([const { Copy([0; _]) }; 2]);

    /// Copies what the flash has; a slot that cannot be read stays empty.
    pub(crate) fn read(&mut self, flash: FLASH<'_>) {
        let mut flash = FlashStorage::new(flash);
        let starts = [SLOTS_START, SLOTS_START + SLOT_BYTES];
        for (start, Copy(copy)) in starts.into_iter().zip(&mut self.0) {
            if flash.read_nor(start, copy).is_err() {
                copy.fill(0);
            }
        }
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> [&[u8]; 2] {
        self.0.each_ref().map(|Copy(copy)| &copy[..])
    }
}
