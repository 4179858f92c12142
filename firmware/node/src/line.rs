//! The lines that a node tells; the crate's front page has their grammar.

use core::fmt::{self, Display, Write as _};
use core::slice;

use embedded_io::Write;
use fluxlet::{Alarm, Reading};
use fluxlet_slots::Slot;

use crate::sensor::Fault;

/// An input of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'m> {
    /// By the name that the model has for it.
    Name(&'m str),
    /// By its place, from 0.
    Index(usize),
}

/// One line.
#[derive(Clone, Copy)]
pub enum Line<'a> {
    /// Which model runs.
    Model {
        /// CRC-32 of the model.
        checksum: u32,
        /// Numbers of one input.
        inputs: usize,
        /// Where it is kept; `None` for the image itself.
        slot: Option<Slot>,
    },
    /// What the model says of a window.
    Score {
        /// Number of the window.
        window: u32,
        /// The score.
        reading: Reading,
        /// Whether the model has a calibration table, without which there is no p-value.
        calibrated: bool,
        /// The input to blame for an alarm.
        channel: Option<Channel<'a>>,
    },
    /// Why a window has no score.
    Fault {
        /// Number of the window.
        window: u32,
        /// The reason.
        fault: Fault,
    },
    /// A reading as it came from the sensor.
    Sample(&'a [f32]),
    /// Why a model cannot run, or was not taken.
    Refused(&'a dyn Display),
    /// What follows so many bytes of the new model?
    Update(u32),
}

/// Writes a line to `port`. What the port does not take is lost: a node that nobody listens to goes on.
pub fn tell(port: &mut impl Write, line: Line<'_>) {
    let _ = writeln!(Text(port), "{line}");
}

/// Text for a port, byte by byte: embedded-io's `write_all` panics at a port that takes none, and most
/// ports slice what they are given, which the compiler sees to be sound for one byte only.
struct Text<'p, P>(&'p mut P);

impl<P: Write> fmt::Write for Text<'_, P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.as_bytes().iter().try_for_each(|byte| match self.0.write(slice::from_ref(byte)) {
            Ok(1) => Ok(()),
            _ => Err(fmt::Error),
        })
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Model { checksum, inputs, slot } => {
                write!(f, "model {checksum:08x} {inputs} {}", slot.map_or("built-in", Slot::name))
            }
            Self::Score { window, reading, calibrated, channel } => {
                write!(f, "score {window} ")?;
                decimal(f, reading.log_prob)?;
                f.write_str(" ")?;
                if calibrated {
                    decimal(f, reading.p_value)?
                } else {
                    f.write_str("-")?
                }
                f.write_str(match reading.alarm {
                    Alarm::None => " none ",
                    Alarm::Improbable => " improbable ",
                    Alarm::NotFinite => " not-finite ",
                })?;
                match channel {
                    Some(Channel::Name(name)) => one_word(f, name),
                    Some(Channel::Index(index)) => write!(f, "{index}"),
                    None => f.write_str("-"),
                }
            }
            Self::Fault { window, fault } => write!(f, "fault {window} {}", fault.word()),
            Self::Sample(reading) => {
                f.write_str("sample")?;
                reading.iter().try_for_each(|number| {
                    f.write_str(" ")?;
                    decimal(f, *number)
                })
            }
            Self::Refused(reason) => write!(f, "refused {reason}"),
            Self::Update(position) => write!(f, "update {position}"),
        }
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, number: f32) -> fmt::Result {
    f.write_str(ryu::Buffer::new().format(number))
}

/// A name as one field of ASCII: what is neither letter, digit nor mark becomes `_`.
fn one_word(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    name.chars().try_for_each(|c| f.write_char(if c.is_ascii_graphic() { c } else { '_' }))
}
