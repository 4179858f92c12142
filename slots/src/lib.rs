#![no_std]
#![forbid(unsafe_code)]
//! Two places in flash for a model, so that a device gets a new one without new firmware.
//!
//! A new model is written to the spare slot as it arrives, checked where it lies, and made current by
//! its header, which is written last. Power may fail at any write: the device comes up with the old
//! model or with the new one, whole.
//!
//! ```text
//! slot a at `start`, slot b at `start + slot_bytes`; each:
//!  0        4          8       12         16       20            32
//! +--------+----------+-------+----------+--------+-------------+-------+--------+
//! | "FLXS" | sequence | bytes | checksum | CRC-32 | 12 x 0xff   | model | erased |
//! +--------+----------+-------+----------+--------+-------------+-------+--------+
//! ```
//!
//! All little-endian. `bytes` is the model's length, `checksum` the one that it has in itself, and
//! CRC-32 covers the 16 bytes before it. Of two slots the one with the later sequence number counts,
//! and the other where its model is refused. Sequence numbers go round: a is later than b where
//! a − b, modulo 2³², is below 2³¹.
//!
//! # On a device
//!
//! Scoring reads the model in place, so the flash must be mapped: the board gives a function from
//! offsets to bytes. The slot whose model [`Slots::open`] chose is not written to until the device
//! starts again, which is what makes a `&'static [u8]` of it sound.
//!
//! ```
//! use core::ops::Range;
//! use embedded_storage::nor_flash::NorFlash;
//! use fluxlet_slots::{Refusal, Region, Room, Slots};
//!
//! fn run<S: NorFlash>(
//!     flash: S,
//!     mapped: fn(Range<u32>) -> &'static [u8],
//!     mut next_chunk: impl FnMut() -> Option<&'static [u8]>,
//! ) -> Result<(), Refusal> {
//!     let region = Region { start: 0xc_0000, slot_bytes: 0x2_0000 };
//!     let room = Room { input_len: 600, work_len: 1024 };
//!     let mut slots = Slots::open(flash, mapped, region, room)?;
//!     let current = slots.current(); // its model keeps scoring while the next one arrives
//!     let mut update = slots.update(11_608)?;
//!     while let Some(chunk) = next_chunk() {
//!         update.push(chunk)?;
//!     }
//!     update.finish()?; // from the next start on this model runs
//!     Ok(())
//! }
//! ```
//!
//! # Limits
//!
//! Flash that corrects errors (STM32 H7, L4, G0 and others) may answer the read of a word, torn by a
//! power cut, with a bus fault; its board must survive that read.

mod header;
mod refusal;
mod slots;
mod stored;
mod update;

pub use header::{HEADER_BYTES, Header};
pub use refusal::Refusal;
pub use slots::{Region, Slots};
pub use stored::{Room, Slot, Stored, newest, read};
pub use update::Update;
