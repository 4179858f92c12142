//! The scorer alone on QEMU's `microbit`: Cortex-M0, 16 KiB of RAM.

#![no_std]
#![no_main]

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    fluxlet_firmware::bare()
}
