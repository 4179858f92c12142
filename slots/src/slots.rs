//! The two slots of a device.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use fluxlet::Model;

use crate::stored::{self, Room, Slot, Stored};
use crate::{HEADER_BYTES, Header, Refusal, Update};

/// Where the slots are, in offsets of the flash: a at `start`, b behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// Where slot a begins.
    pub start: u32,
    /// Bytes of one slot.
    pub slot_bytes: u32,
}

impl Region {
    /// All of a slot, header included.
    pub const fn slot(self, slot: Slot) -> Range<u32> {
        let start = match slot {
            Slot::A => self.start,
            Slot::B => self.start.saturating_add(self.slot_bytes),
        };
        start..start.saturating_add(self.slot_bytes)
    }

    /// Bytes that a model may have.
    pub const fn model_room(self) -> u32 {
        self.slot_bytes.saturating_sub(HEADER_BYTES as u32)
    }
}

/// The slots of a device that runs.
pub struct Slots<S, M> {
    pub(crate) flash: S,
    mapped: M,
    pub(crate) region: Region,
    pub(crate) room: Room,
    /// The slot that is never written to while the device runs: its model was given out.
    running: Option<Slot>,
}

impl<S: NorFlash, M: Fn(Range<u32>) -> &'static [u8]> Slots<S, M> {
    /// Looks for the newest model and stays with it until the device starts again.
    ///
    /// `mapped` gives the bytes of a range of the flash where the processor reads them, at a multiple
    /// of four. It is asked for ranges that nothing writes to as long as the bytes are looked at.
    ///
    /// # Errors
    ///
    /// [`Refusal::Region`] where the flash has no such slots.
    pub fn open(flash: S, mapped: M, region: Region, room: Room) -> Result<Self, Refusal> {
        const {
            assert!(HEADER_BYTES.is_multiple_of(S::WRITE_SIZE), "the flash writes larger parts");
        }
        let erase_bytes = S::ERASE_SIZE;
        let flash_bytes = flash.capacity();
        let whole = |offset: u32| (offset as usize).checked_rem(erase_bytes) == Some(0);
        let end = u64::from(region.start) + 2 * u64::from(region.slot_bytes);
        let fits = end <= flash_bytes as u64 && u32::try_from(end).is_ok();
        let room_for_header = region.slot_bytes as usize >= HEADER_BYTES;
        if !whole(region.start) || !whole(region.slot_bytes) || !fits || !room_for_header {
            return Err(Refusal::Region { erase_bytes, flash_bytes });
        }
        let mut slots = Self { flash, mapped, region, room, running: None };
        let [a, b] = [Slot::A, Slot::B].map(|slot| slots.bytes(slot));
        slots.running = stored::newest([a, b], room).map(|stored| stored.slot);
        Ok(slots)
    }

    /// The model that runs; `None` where neither slot has one that could.
    pub fn current(&self) -> Option<Stored<'static>> {
        self.check(self.running?).ok()
    }

    /// The model of a slot.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why there is none.
    pub fn check(&self, slot: Slot) -> Result<Stored<'static>, Refusal> {
        stored::read(slot, self.bytes(slot), self.room)
    }

    /// Begins to write a new model of that many bytes to the spare slot, which is erased as far as the
    /// model goes.
    ///
    /// # Errors
    ///
    /// [`Refusal::SlotTooSmall`] before anything is erased; [`Refusal::Flash`].
    pub fn update(&mut self, model_bytes: u32) -> Result<Update<'_, S, M>, Refusal> {
        Update::new(self, model_bytes)
    }

    /// Has the slot run that the device chose by more than `room`; `None` for a model that is kept
    /// elsewhere.
    pub fn run(&mut self, slot: Option<Slot>) {
        self.running = slot;
    }

    /// The slot that a new model is written to.
    pub fn spare(&self) -> Slot {
        self.running.map_or(Slot::A, Slot::other)
    }

    /// The header for the model of that many bytes which was written to a slot.
    pub(crate) fn header_of(&self, slot: Slot, model_bytes: u32) -> Result<Header, Refusal> {
        let end = HEADER_BYTES.saturating_add(model_bytes as usize);
        let bytes = self.bytes(slot).get(HEADER_BYTES..end).unwrap_or_default();
        let model = Model::new_checked(bytes)?;
        self.room.check(&model)?;
        // Later than the model beside it, whether that runs or not.
        let beside = Header::read(self.bytes(slot.other()));
        Ok(Header::new(&model, beside.map_or(1, |beside| beside.sequence.wrapping_add(1))))
    }

    /// All bytes of a slot.
    pub fn bytes(&self, slot: Slot) -> &'static [u8] {
        (self.mapped)(self.region.slot(slot))
    }
}
