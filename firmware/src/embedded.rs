//! The model that the build put into the image.

include!(concat!(env!("OUT_DIR"), "/lengths.rs"));

/// The packed model's bytes.
pub fn bytes() -> &'static [u8] {
    fluxlet::include_model!(env!("FLUXLET_MODEL"))
}
