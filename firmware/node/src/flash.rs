//! The models of an image and of its chip's flash.

#![expect(unsafe_code, reason = "where the slots are is known by an address of the linker")]

/// Bytes of each slot.
const SLOT_BYTES: usize = 128 * 1024;

// SAFETY: memory.x of a board puts the symbol at its two slots, which are mapped, and which nothing writes
// to while the image runs.
unsafe extern "C" {
    safe static fluxlet_slots_start: [[u8; SLOT_BYTES]; 2];
}

/// The two slots at the end of the chip's flash; `memory.x` of the board names them.
pub fn slots() -> [&'static [u8]; 2] {
    fluxlet_slots_start.each_ref().map(|slot| &slot[..])
}

/// The model that the build put into the image: the one that `FLUXLET_MODEL` names, or a starter that
/// has no alarm, to record with until a model is trained.
pub fn built_in() -> &'static [u8] {
    fluxlet::include_model!(env!("FLUXLET_MODEL"))
}
