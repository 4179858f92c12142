//! What cannot go on ends the program with an exit code of its own.

#![expect(unsafe_code, reason = "a fault handler is unsafe: the machine may be in any state")]

use core::panic::PanicInfo;
use cortex_m_rt::{ExceptionFrame, exception};
use semihosting::process;

// The message is dropped on purpose: formatting it would cost more flash than the scorer.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    process::exit(101)
}

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    process::exit(102)
}
