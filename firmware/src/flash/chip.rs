//! The chip's own flash, where the board's folder says.

use core::ops::Range;

use fluxlet_node::{Writable, addresses, mapped, region};
use fluxlet_nvmc::Nvmc;

/// Bytes that an nRF51 erases at once.
const PAGE_BYTES: usize = 1024;

#[expect(unsafe_code, reason = "the linker script says that nothing else is there")]
pub(crate) fn storage() -> Writable<Nvmc<PAGE_BYTES>, impl Fn(Range<u32>) -> &'static [u8]> {
    // SAFETY: the linker script keeps these addresses of the flash free, and one thread runs.
    let flash = unsafe { Nvmc::new(addresses()) };
    Writable { flash, mapped, region: region() }
}
