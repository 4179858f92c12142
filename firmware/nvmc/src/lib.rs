#![no_std]
//! The flash of an nRF51 or nRF52 through its controller, the NVMC.
//!
//! The HALs have one too. It owns its part of the flash as a `&'static mut [u8]`, beside which nobody may
//! look at a model that lies there; and it panics where it is asked for what the flash has not.
//!
//! Registers: nRF51 Series Reference Manual 3.0 and nRF52840 Product Specification 1.8, "NVMC". The processor
//! stands still while a word is written or a page erased, as it runs from the same flash.

use core::ops::Range;
use core::ptr::{
    read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile,
};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Not zero once the controller is idle.
const READY: usize = 0x4001_e400;
/// What may be done to the flash: [`READ`], [`WRITE`] or [`ERASE`].
const CONFIG: usize = 0x4001_e504;
/// Takes the address of a page to erase.
const ERASE_PAGE: usize = 0x4001_e508;
const READ: u32 = 0;
const WRITE: u32 = 1;
const ERASE: u32 = 2;
const WORD_BYTES: usize = 4;

/// A part of the flash, erased by pages of `PAGE_BYTES`: 1024 on an nRF51, 4096 on an nRF52.
pub struct Nvmc<const PAGE_BYTES: usize> {
    start: usize,
    bytes: usize,
}

#[expect(unsafe_code, reason = "registers and flash are at addresses")]
impl<const PAGE_BYTES: usize> Nvmc<PAGE_BYTES> {
    /// The flash at `addresses`, whole pages.
    ///
    /// # Safety
    ///
    /// The chip has its controller at 0x4001e000 and flash there, which holds nothing of the program;
    /// nobody else writes to either, and nobody looks at bytes while they are written or erased.
    pub unsafe fn new(addresses: Range<usize>) -> Self {
        const { assert!(PAGE_BYTES > 0, "a page has bytes") };
        Self { start: addresses.start, bytes: addresses.len() }
    }

    fn set(&mut self, register: usize, value: u32) {
        // SAFETY: a register of the controller, which the caller of `new` has left to this value.
        unsafe { write_volatile(with_exposed_provenance_mut(register), value) };
        // SAFETY: as above.
        while unsafe { read_volatile::<u32>(with_exposed_provenance(READY)) } == 0 {}
    }
}

impl<const PAGE_BYTES: usize> ErrorType for Nvmc<PAGE_BYTES> {
    type Error = NorFlashErrorKind;
}

impl<const PAGE_BYTES: usize> ReadNorFlash for Nvmc<PAGE_BYTES> {
    const READ_SIZE: usize = 1;

    #[expect(unsafe_code, reason = "flash is at an address")]
    fn read(&mut self, from: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, from, bytes.len())?;
        for (i, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: the address lies in this part of the flash, as was checked.
            *byte =
                unsafe { read_volatile(with_exposed_provenance(self.start + from as usize + i)) };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl<const PAGE_BYTES: usize> NorFlash for Nvmc<PAGE_BYTES> {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = PAGE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.set(CONFIG, ERASE);
        for page in (from..to).step_by(PAGE_BYTES) {
            self.set(ERASE_PAGE, self.start as u32 + page);
        }
        self.set(CONFIG, READ);
        Ok(())
    }

    fn write(&mut self, from: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, from, bytes.len())?;
        self.set(CONFIG, WRITE);
        let words = bytes.as_chunks::<WORD_BYTES>().0;
        for (i, word) in words.iter().enumerate() {
            // A word of flash is written as a register is: by a store, and a wait for the controller.
            self.set(self.start + from as usize + WORD_BYTES * i, u32::from_ne_bytes(*word));
        }
        self.set(CONFIG, READ);
        Ok(())
    }
}
