//! Writing a new model.

use core::ops::Range;

use embedded_storage::nor_flash::{NorFlash, NorFlashError};
use fluxlet::Error;

use crate::{HEADER_BYTES, Refusal, Slots, Stored};

/// A new model on its way into the spare slot. Dropped before its end, it leaves the slot empty.
pub struct Update<'s, S, M> {
    slots: &'s mut Slots<S, M>,
    /// Bytes that the model was announced with.
    expected: u32,
    /// Where the next word is written.
    offset: u32,
    /// Bytes that came and do not fill a word yet: the first `waiting` of these.
    word: [u8; HEADER_BYTES],
    waiting: usize,
    /// Bytes that came.
    found: u32,
}

impl<'s, S: NorFlash, M: Fn(Range<u32>) -> &'static [u8]> Update<'s, S, M> {
    pub(crate) fn new(slots: &'s mut Slots<S, M>, expected: u32) -> Result<Self, Refusal> {
        let room = slots.region.model_room();
        if expected > room {
            return Err(Refusal::SlotTooSmall { model: expected, room });
        }
        let start = slots.region.slot(slots.spare()).start;
        let offset = start + HEADER_BYTES as u32;
        let blocks = (HEADER_BYTES as u32 + expected).div_ceil(S::ERASE_SIZE as u32);
        // From the first block's erasure on the slot is empty, however the rest ends.
        slots.flash.erase(start, start + blocks * S::ERASE_SIZE as u32).map_err(failed)?;
        Ok(Self { slots, expected, offset, word: [0xff; HEADER_BYTES], waiting: 0, found: 0 })
    }

    /// Writes the next bytes of the model.
    ///
    /// # Errors
    ///
    /// [`Refusal::Model`] where they are more than announced; [`Refusal::Flash`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let (expected, found) = (self.expected as usize, self.found as usize + chunk.len());
        if found > expected {
            return Err(Error::TrailingBytes { expected, found }.into());
        }
        self.found = found as u32;
        // Fill the word that waits; then words go from the chunk to the flash as they are.
        let missing = if self.waiting == 0 { 0 } else { S::WRITE_SIZE - self.waiting };
        let (first, others) = chunk.split_at_checked(missing).unwrap_or((chunk, &[]));
        self.wait(first);
        if self.waiting == S::WRITE_SIZE {
            self.write_word()?;
        }
        let whole = others.len() - others.len() % S::WRITE_SIZE;
        let (words, last) = others.split_at_checked(whole).unwrap_or_default();
        if !words.is_empty() {
            self.slots.flash.write(self.offset, words).map_err(failed)?;
            self.offset += words.len() as u32;
        }
        self.wait(last);
        Ok(())
    }

    /// Checks the model where it lies and makes it current, from the device's next start on.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why it is refused; the slot stays empty.
    pub fn finish(mut self) -> Result<Stored<'static>, Refusal> {
        if self.waiting > 0 {
            self.write_word()?;
        }
        let Self { slots, expected, found, .. } = self;
        let slot = slots.spare();
        if found < expected {
            return Err(
                Error::Truncated { expected: expected as usize, found: found as usize }.into()
            );
        }
        let header = slots.header_of(slot, expected)?;
        let start = slots.region.slot(slot).start;
        slots.flash.write(start, &header.to_bytes()).map_err(failed)?;
        slots.check(slot)
    }

    /// Keeps bytes that fit the word.
    fn wait(&mut self, bytes: &[u8]) {
        for (place, byte) in self.word.iter_mut().skip(self.waiting).zip(bytes) {
            *place = *byte;
        }
        self.waiting += bytes.len();
    }

    /// Writes the word that waits, padded as erased flash is.
    fn write_word(&mut self) -> Result<(), Refusal> {
        self.word.iter_mut().skip(self.waiting).for_each(|place| *place = 0xff);
        self.waiting = 0;
        let word = self.word.get(..S::WRITE_SIZE).unwrap_or(&self.word);
        self.slots.flash.write(self.offset, word).map_err(failed)?;
        self.offset += S::WRITE_SIZE as u32;
        Ok(())
    }
}

fn failed(error: impl NorFlashError) -> Refusal {
    Refusal::Flash(error.kind())
}
