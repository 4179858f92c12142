//! The model that the build put into the image.

include!(concat!(env!("OUT_DIR"), "/lengths.rs"));

// The format needs no alignment; words on word boundaries only make the loads cheaper to decode.
#[repr(C, align(4))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("FLUXLET_MODEL")));

/// The packed model's bytes.
pub fn bytes() -> &'static [u8] {
    &ALIGNED.0
}
