//! How deep the stack grows.

#![expect(unsafe_code, reason = "the stack is only known by its addresses")]

unsafe extern "C" {
    // The lowest word that the stack may reach, by each runtime's name.
    #[cfg_attr(target_arch = "riscv32", link_name = "__sheap")]
    static mut _stack_end: u32;
    static _stack_start: u32;
}

fn stack_pointer() -> usize {
    #[cfg(target_arch = "arm")]
    return cortex_m::register::msp::read() as usize;
    #[cfg(target_arch = "riscv32")]
    {
        let pointer;
        // SAFETY: A register is copied.
        unsafe { core::arch::asm!("mv {}, sp", out(reg) pointer) };
        pointer
    }
}

/// A word that programs rarely store, the one that cortex-m-rt uses.
const PAINT: u32 = 0xcccc_cccc;

/// Paints all of the stack that is free now.
pub(crate) fn paint() {
    let pointer = stack_pointer();
    let mut free = &raw mut _stack_end;
    while free.addr() < pointer {
        // SAFETY: Memory between the end of the statics and the stack pointer belongs to nobody;
        // no interrupt is enabled that could claim it meanwhile.
        unsafe { free.write_volatile(PAINT) };
        free = free.wrapping_add(1);
    }
}

/// Bytes from the stack's start to the deepest word that has lost its paint.
pub(crate) fn peak_bytes() -> usize {
    let start = &raw const _stack_start;
    let mut deepest = &raw const _stack_end;
    // The stack grows down, towards `_stack_end`.
    while deepest < start {
        // SAFETY: All memory between the two symbols is RAM, and `paint` or a frame has written it.
        if unsafe { deepest.read_volatile() } != PAINT {
            break;
        }
        deepest = deepest.wrapping_add(1);
    }
    start.addr() - deepest.addr()
}
