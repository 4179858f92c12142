//! What cannot go on ends the program with an exit code of its own.

#![expect(unsafe_code, reason = "a fault handler is unsafe: the machine may be in any state")]

use core::panic::PanicInfo;
use semihosting::process;

// The message is dropped on purpose: formatting it would cost more flash than the scorer.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    process::exit(101)
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    process::exit(102)
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn fault(_: &riscv_rt::TrapFrame) -> ! {
    process::exit(102)
}
