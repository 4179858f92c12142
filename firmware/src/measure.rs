//! A call between two marks that an instruction counter can find.

use core::arch::asm;
use core::hint::black_box;
use fluxlet::Model;

/// [`fluxlet::log_prob`] between the two marks.
///
/// Never inlined, so that the kernels stand in flash once although two callers score.
#[inline(never)]
pub(crate) fn log_prob(model: &Model<'_>, row: &[f32], work: &mut [f32]) -> f32 {
    let (model, row) = black_box((model, row));
    between_marks(|| fluxlet::log_prob(model, row, work))
}

/// A call between the two marks.
#[inline(always)]
pub(crate) fn between_marks<T>(call: impl FnOnce() -> T) -> T {
    fluxlet_measure_begin();
    let result = black_box(call());
    fluxlet_measure_end();
    result
}

// The bodies differ, or the compiler would merge them into one address. The assembly may touch
// memory as far as the compiler knows, which keeps the score's loads and stores between the marks.
#[expect(unsafe_code, reason = "an exported name and an instruction without effect")]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fluxlet_measure_begin() {
    // SAFETY: `nop` changes nothing.
    unsafe { asm!("nop") }
}

#[expect(unsafe_code, reason = "an exported name and instructions without effect")]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fluxlet_measure_end() {
    // SAFETY: `nop` changes nothing.
    unsafe { asm!("nop", "nop") }
}
