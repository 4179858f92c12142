//! Where a board keeps models beside the one that is built in.

use core::ops::Range;

use embedded_hal::delay::DelayNs;
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;
use fluxlet_slots::{Region, Room, Slot, Slots};

use crate::line::{Line, tell};
use crate::update::update;

/// Two slots for models, which a board can write to or not.
pub trait Storage {
    /// All bytes of both slots.
    fn slots(&self) -> [&[u8]; 2];

    /// Takes a new model over the line, as the crate's front page says, after the command `u`; not into
    /// the slot that is `running`. What is refused is told.
    fn update(
        &mut self,
        running: Option<Slot>,
        port: &mut (impl Read + ReadReady + Write),
        delay: &mut impl DelayNs,
    );
}

/// Slots that only a programmer writes to.
impl Storage for [&[u8]; 2] {
    fn slots(&self) -> [&[u8]; 2] {
        *self
    }

    fn update(
        &mut self,
        _: Option<Slot>,
        port: &mut (impl Read + ReadReady + Write),
        _: &mut impl DelayNs,
    ) {
        tell(port, Line::Refused(&"this image takes models through a programmer only"));
    }
}

/// Slots that the device itself writes to.
pub struct Writable<S, M> {
    /// The flash.
    pub flash: S,
    /// The bytes of a range of the flash where the processor reads them, as [`Slots::open`] wants it.
    pub mapped: M,
    /// Where the slots are.
    pub region: Region,
}

impl<S: NorFlash, M: Fn(Range<u32>) -> &'static [u8]> Storage for Writable<S, M> {
    fn slots(&self) -> [&[u8]; 2] {
        [Slot::A, Slot::B].map(|slot| (self.mapped)(self.region.slot(slot)))
    }

    fn update(
        &mut self,
        running: Option<Slot>,
        port: &mut (impl Read + ReadReady + Write),
        delay: &mut impl DelayNs,
    ) {
        match Slots::open(&mut self.flash, &self.mapped, self.region, Room::UNLIMITED) {
            Ok(mut slots) => {
                slots.run(running);
                update(&mut slots, port, delay);
            }
            Err(refusal) => tell(port, Line::Refused(&refusal)),
        }
    }
}
