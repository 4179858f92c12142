//! The models of an image and of its chip's flash.

#![expect(unsafe_code, reason = "where the slots are is known by an address of the linker")]

use core::hint::black_box;
use core::ops::Range;
use core::ptr::with_exposed_provenance;
use core::slice;

use embedded_storage::nor_flash::NorFlash;
use fluxlet_slots::{Region, Slot};

use crate::storage::Writable;

// SAFETY: a board's linker script gives the symbols the addresses where its two slots begin and end; they
// are no more than addresses here.
unsafe extern "C" {
    safe static fluxlet_slots_start: u8;
    safe static fluxlet_slots_end: u8;
}

/// The addresses of both slots, at the end of the chip's flash.
pub fn addresses() -> Range<usize> {
    (&raw const fluxlet_slots_start).addr()..(&raw const fluxlet_slots_end).addr()
}

/// Both slots, in offsets from where they begin.
fn region() -> Region {
    Region { start: 0, slot_bytes: (addresses().len() / 2) as u32 }
}

/// The bytes of a range of the [`region`]; none where it is none of it. Nothing may write to them as long as
/// they are looked at.
fn mapped(range: Range<u32>) -> &'static [u8] {
    let addresses = addresses();
    if range.start > range.end || range.end as usize > addresses.len() {
        return &[];
    }
    // A new model changes the flash: what the compiler knows of one look tells it nothing of the next.
    let start = black_box(addresses.start) + range.start as usize;
    // SAFETY: the range lies in the two slots, which are mapped, and which nobody writes to meanwhile.
    unsafe { slice::from_raw_parts(with_exposed_provenance(start), range.len()) }
}

/// The two slots.
pub fn slots() -> [&'static [u8]; 2] {
    [Slot::A, Slot::B].map(|slot| mapped(region().slot(slot)))
}

/// The two slots, written to through `flash`, whose offsets are from where they begin.
pub fn writable<S: NorFlash>(flash: S) -> Writable<S, impl Fn(Range<u32>) -> &'static [u8]> {
    Writable { flash, mapped, region: region() }
}

/// The model that the build put into the image: the one that `FLUXLET_MODEL` names, or a starter that
/// has no alarm, to record with until a model is trained.
pub fn built_in() -> &'static [u8] {
    fluxlet::include_model!(env!("FLUXLET_MODEL"))
}
