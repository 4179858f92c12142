//! The chip's own flash, where the board's folder says.

use fluxlet_node::{Storage, addresses, writable};
use fluxlet_nvmc::Nvmc;

/// Bytes that an nRF51 erases at once.
const PAGE_BYTES: usize = 1024;

#[expect(unsafe_code, reason = "the linker script says that nothing else is there")]
pub(crate) fn storage() -> impl Storage {
    // SAFETY: the linker script keeps these addresses of the flash free, and one thread runs.
    writable(unsafe { Nvmc::<PAGE_BYTES>::new(addresses()) })
}
