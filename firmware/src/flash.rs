//! The slots of an emulated node: of the emulated chips one has a flash that can be written to.

#[cfg(nvmc)]
mod chip;
#[cfg(not(nvmc))]
mod memory;

#[cfg(nvmc)]
pub(crate) use chip::storage;
#[cfg(not(nvmc))]
pub(crate) use memory::storage;
