//! A new model over the node's own line.

use core::ops::Range;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use embedded_hal::delay::DelayNs;
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;
use fluxlet_slots::{Refusal, Slots};

use crate::line::{Line, tell};

/// Most bytes of a model that an answer holds.
const CHUNK_BYTES: usize = 128;
/// Bytes of an answer before those of the model, and behind them.
const HEAD_BYTES: usize = 9;
const CHECKSUM_BYTES: usize = 4;
/// Time between two looks at the port, shorter than its receiver takes to be full.
const LOOK_US: u32 = 50;
/// Looks that an answer may take to begin or to go on, a second; and that tell it has ended.
const PATIENCE: u32 = 20_000;
const QUIET: u32 = 400;
/// How often the same bytes are asked for.
const ATTEMPTS: u32 = 5;
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Takes a new model into the spare slot, as the crate's front page says, after the command `u`. What
/// is refused, or comes to no end, is told; the slot is empty then. What came whole is current: the node
/// has to choose its model again.
pub fn update<S: NorFlash, M: Fn(Range<u32>) -> &'static [u8], P: Read + ReadReady + Write>(
    slots: &mut Slots<S, M>,
    port: &mut P,
    delay: &mut impl DelayNs,
) {
    let mut questions = Questions { port, delay, answer: [0; _] };
    if let Err(refusal) = receive(slots, &mut questions) {
        tell(questions.port, Line::Refused(&refusal));
    }
}

fn receive<S: NorFlash, M: Fn(Range<u32>) -> &'static [u8]>(
    slots: &mut Slots<S, M>,
    questions: &mut Questions<'_, impl Read + ReadReady + Write, impl DelayNs>,
) -> Result<(), Refusal> {
    // Where nothing comes at all, nothing has changed.
    let Some((total, mut chunk)) = questions.ask(0) else { return Ok(()) };
    let mut update = slots.update(total)?;
    let mut found = 0;
    loop {
        update.push(chunk)?;
        found += chunk.len() as u32;
        if found >= total {
            break;
        }
        match questions.ask(found) {
            Some((same, next)) if same == total => chunk = next,
            _ => break,
        }
    }
    update.finish().map(|_| ())
}

/// The node's side of the conversation.
struct Questions<'p, P, D> {
    port: &'p mut P,
    delay: &'p mut D,
    answer: [u8; HEAD_BYTES + CHUNK_BYTES + CHECKSUM_BYTES],
}

impl<P: Read + ReadReady + Write, D: DelayNs> Questions<'_, P, D> {
    /// The model's length, and what it has from `position` on.
    fn ask(&mut self, position: u32) -> Option<(u32, &[u8])> {
        for _ in 0..ATTEMPTS {
            tell(self.port, Line::Update(position));
            if let Some((of, total, len)) = self.answer()
                && of == position
            {
                return Some((total, self.answer.get(HEAD_BYTES..HEAD_BYTES + len)?));
            }
            // The rest of an answer that was damaged.
            while self.byte(QUIET).is_some() {}
        }
        None
    }

    /// Position, total and length of an answer that came whole.
    fn answer(&mut self) -> Option<(u32, u32, usize)> {
        self.take(0..HEAD_BYTES)?;
        let [p0, p1, p2, p3, t0, t1, t2, t3, len] = *self.answer.first_chunk()?;
        let end = HEAD_BYTES + usize::from(len);
        self.take(HEAD_BYTES..end + CHECKSUM_BYTES)?;
        let (content, checksum) = self.answer.split_at_checked(end)?;
        let checksum = u32::from_le_bytes(*checksum.first_chunk()?);
        let [position, total] = [[p0, p1, p2, p3], [t0, t1, t2, t3]].map(u32::from_le_bytes);
        (CRC.checksum(content) == checksum).then_some((position, total, usize::from(len)))
    }

    fn take(&mut self, places: Range<usize>) -> Option<()> {
        for place in places {
            let byte = self.byte(PATIENCE)?;
            *self.answer.get_mut(place)? = byte;
        }
        Some(())
    }

    /// The next byte; `None` where none comes in so many looks.
    fn byte(&mut self, looks: u32) -> Option<u8> {
        for _ in 0..looks {
            if self.port.read_ready().ok()? {
                let mut byte = [0];
                return (self.port.read(&mut byte).ok()? == 1).then_some(byte[0]);
            }
            self.delay.delay_us(LOOK_US);
        }
        None
    }
}
