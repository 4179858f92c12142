//! The scorer alone on QEMU's `mps2-an386`: Cortex-M4 with FPU.

#![no_std]
#![no_main]

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    fluxlet_firmware::bare()
}
