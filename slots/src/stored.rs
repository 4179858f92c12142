//! Reading: which model a region's bytes hold.

use core::fmt;

use fluxlet::{Error, Model};

use crate::{HEADER_BYTES, Header, Refusal};

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Slot {
    /// The one at the lower address.
    A,
    /// The one behind it.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a device has for any model that it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Numbers of its buffer for an input.
    pub input_len: usize,
    /// Numbers of its work memory.
    pub work_len: usize,
}

impl Room {
    /// As much as any model needs.
    pub const UNLIMITED: Self = Self { input_len: usize::MAX, work_len: usize::MAX };

    /// Refuses a model that needs more.
    pub(crate) fn check(self, model: &Model<'_>) -> Result<(), Refusal> {
        let input = model.input_len();
        if input > self.input_len {
            return Err(Refusal::InputTooLong { model: input, room: self.input_len });
        }
        let work = model.work_len();
        if work > self.work_len {
            return Err(Refusal::WorkTooLong { model: work, room: self.work_len });
        }
        Ok(())
    }
}

/// A model that lies in a slot, checked.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'m> {
    /// Where.
    pub slot: Slot,
    /// What its slot begins with.
    pub header: Header,
    /// The model, read in place.
    pub model: Model<'m>,
}

/// The model in a slot's bytes.
///
/// # Errors
///
/// [`Refusal`] says why there is none.
pub fn read<'m>(slot: Slot, bytes: &'m [u8], room: Room) -> Result<Stored<'m>, Refusal> {
    let header = Header::read(bytes).ok_or(Refusal::Empty)?;
    let behind = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let expected = header.model_bytes as usize;
    let short = Error::Truncated { expected, found: behind.len() };
    let model = Model::new_checked(behind.get(..expected).ok_or(short)?)?;
    if model.checksum() != header.checksum {
        return Err(Refusal::Mismatch);
    }
    room.check(&model)?;
    Ok(Stored { slot, header, model })
}

/// The model that a device with the bytes of these two slots runs: the later one, or the other one
/// where that is refused.
pub fn newest<'m>([a, b]: [&'m [u8]; 2], room: Room) -> Option<Stored<'m>> {
    let b_is_later =
        Header::read(b).is_some_and(|b| Header::read(a).is_none_or(|a| b.is_later_than(a)));
    let [a, b] = [(Slot::A, a), (Slot::B, b)];
    let order = if b_is_later { [b, a] } else { [a, b] };
    order.into_iter().find_map(|(slot, bytes)| read(slot, bytes, room).ok())
}
