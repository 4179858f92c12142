//! A new model over a device's own line; the front page of `firmware/node` has the conversation.

use std::time::{Duration, Instant};

use anyhow::bail;
use crc::{CRC_32_ISO_HDLC, Crc};
use fluxlet::Model;

use super::{Line, Next, Stream};

/// Most bytes of the model in an answer.
const CHUNK_BYTES: usize = 128;
/// How long a device may take to ask on: it erases first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the device on the line a model, of these bytes; returns the slot that it runs it from.
///
/// # Errors
///
/// The device refuses it, or does not ask.
pub fn give(stream: &mut Stream, bytes: &[u8], model: &Model) -> anyhow::Result<String> {
    stream.send(b"u")?;
    let mut asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        match stream.next(PATIENCE)? {
            Next::Line(Line::Update { position }) => {
                asked = Instant::now();
                stream.send(&answer(bytes, position as usize))?;
            }
            Next::Line(Line::Refused { reason }) => bail!("the device refuses it: {reason}"),
            Next::Line(Line::Model { checksum, slot, .. })
                if checksum == format!("{:08x}", model.checksum()) =>
            {
                return Ok(slot);
            }
            Next::End => bail!("the line ended"),
            Next::Line(_) | Next::Noise | Next::Quiet => {}
        }
    }
    bail!("the device does not ask for it; does its image take models over its line?")
}

/// What follows `position` bytes of the model.
fn answer(model: &[u8], position: usize) -> Vec<u8> {
    let rest = model.get(position..).unwrap_or_default();
    let chunk = &rest[..rest.len().min(CHUNK_BYTES)];
    let [at, total] = [position, model.len()].map(|number| (number as u32).to_le_bytes());
    let mut answer = [&at[..], &total, &[chunk.len() as u8], chunk].concat();
    let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&answer);
    answer.extend(checksum.to_le_bytes());
    answer
}
