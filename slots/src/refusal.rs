//! Why a model does not become current.

use core::fmt;

use embedded_storage::nor_flash::NorFlashErrorKind;
use fluxlet::Error;

/// Why a slot has no model, or a new model was refused. The current one is untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The slot has no valid header: nothing was written to it, or not to the end.
    Empty,
    /// The slot's header is that of another model than the bytes behind it.
    Mismatch,
    /// The bytes are not a model that this firmware can run.
    Model(Error),
    /// The model is longer than a slot has room for.
    SlotTooSmall {
        /// Bytes of the model.
        model: u32,
        /// Bytes that a slot has room for.
        room: u32,
    },
    /// The model wants more numbers of an input than the device has room for.
    InputTooLong {
        /// Numbers that the model wants.
        model: usize,
        /// Numbers that the device has room for.
        room: usize,
    },
    /// The model needs more numbers of work memory than the device has.
    WorkTooLong {
        /// Numbers that the model needs.
        model: usize,
        /// Numbers that the device has room for.
        room: usize,
    },
    /// The slots do not end within the flash, or do not begin and end where it can be erased.
    Region {
        /// Smallest part of the flash that can be erased.
        erase_bytes: usize,
        /// Bytes of flash.
        flash_bytes: usize,
    },
    /// The flash could not be erased or written.
    Flash(NorFlashErrorKind),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Model(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the slot holds no model"),
            Self::Mismatch => write!(f, "the slot's header is that of another model"),
            Self::Model(error) => error.fmt(f),
            Self::SlotTooSmall { model, room } => {
                write!(f, "the model has {model} bytes, a slot has room for {room}")
            }
            Self::InputTooLong { model, room } => {
                write!(f, "the model wants inputs of {model} numbers, there is room for {room}")
            }
            Self::WorkTooLong { model, room } => {
                write!(
                    f,
                    "the model needs {model} numbers of work memory, there is room for {room}"
                )
            }
            Self::Region { erase_bytes, flash_bytes } => write!(
                f,
                "the slots are not whole erase blocks of {erase_bytes} bytes within {flash_bytes}"
            ),
            Self::Flash(kind) => write!(f, "the flash refused: {kind}"),
        }
    }
}

impl core::error::Error for Refusal {}
