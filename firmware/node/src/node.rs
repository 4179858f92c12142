//! From readings to lines: windows, scores, alarms and faults.

use core::fmt::{self, Display};
use core::mem;

use embedded_io::{Read, ReadReady, Write};
use fluxlet::{Alarm, Error, Model};
use fluxlet_slots::Slot;

use crate::blame::most_to_blame;
use crate::line::{Channel, Line, tell};
use crate::sensor::{Fault, Sensor};

/// Equal readings in a row that make a sensor stuck. The noise of a live one changes the last digit of
/// some channel all the time.
const STUCK_LEN: u32 = 32;

/// A model that takes one reading after the other.
pub struct Node<'m, 'b> {
    model: Model<'m>,
    slot: Option<Slot>,
    channels: usize,
    /// The window that is being filled, \[N, channels\].
    window: &'b mut [f32],
    /// The last window that was no alarm.
    normal: &'b mut [f32],
    has_normal: bool,
    /// The reading before, to notice a sensor that is stuck.
    last: &'b mut [f32],
    work: &'b mut [f32],
    /// Numbers in `window`.
    filled: usize,
    /// Number of the window.
    number: u32,
    /// Why the window cannot be scored.
    fault: Option<Fault>,
    /// How often the last reading was seen in a row, the first time not counted.
    repeats: u32,
    recording: bool,
}

/// Why a node cannot run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are not a model, or one that this image has not the parts for.
    Model(Error),
    /// The model wants context, which no sensor gives.
    Context {
        /// Context variables.
        len: usize,
    },
    /// The model reads another number of channels than the sensor has.
    Channels {
        /// Channels that the model reads.
        model: usize,
        /// Channels of the sensor.
        sensor: usize,
    },
    /// The model needs more memory than the node was given.
    Memory {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that there are.
        given: usize,
    },
}

impl Refusal {
    /// Why `model` cannot run on readings of `channels` numbers in so many numbers of memory; `None` where
    /// it can.
    pub fn of(model: &Model<'_>, channels: usize, memory_len: usize) -> Option<Self> {
        if model.context_len() > 0 {
            return Some(Self::Context { len: model.context_len() });
        }
        let read = model.front_end().map_or(model.dim(), |front_end| front_end.window().channels);
        if read != channels {
            return Some(Self::Channels { model: read, sensor: channels });
        }
        let needed = 2 * model.input_len() + channels + model.work_len();
        (needed > memory_len).then_some(Self::Memory { needed: 4 * needed, given: 4 * memory_len })
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Model(error) => error.fmt(f),
            Self::Context { len } => write!(
                f,
                "the model wants {len} context variables behind each reading, the sensor gives none"
            ),
            Self::Channels { model, sensor } => {
                write!(f, "the model reads {model} channels, the sensor has {sensor}")
            }
            Self::Memory { needed, given } => write!(
                f,
                "the model needs {needed} bytes of memory to run, this node has {given} for it"
            ),
        }
    }
}

impl<'m, 'b> Node<'m, 'b> {
    /// A node that runs `model` on readings of `channels` numbers; `slot` is where the model is kept, if
    /// in a slot. Of `memory` it takes two windows, a reading and the work space of a score.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why the model cannot run here.
    pub fn new(
        model: Model<'m>,
        slot: Option<Slot>,
        channels: usize,
        memory: &'b mut [f32],
    ) -> Result<Self, Refusal> {
        if let Some(refusal) = Refusal::of(&model, channels, memory.len()) {
            return Err(refusal);
        }
        let mut rest = memory;
        let [window, normal, last] = [model.input_len(), model.input_len(), channels]
            .map(|len| rest.split_off_mut(..len).unwrap_or_default());
        let work = rest;
        // NaN equals nothing: the first reading repeats none.
        last.fill(f32::NAN);
        Ok(Self {
            model,
            slot,
            channels,
            window,
            normal,
            has_normal: false,
            last,
            work,
            filled: 0,
            number: 0,
            fault: None,
            repeats: 0,
            recording: false,
        })
    }

    /// Tells which model runs.
    pub fn tell_model(&self, port: &mut impl Write) {
        let (checksum, inputs) = (self.model.checksum(), self.model.input_len());
        tell(port, Line::Model { checksum, inputs, slot: self.slot });
    }

    /// Does what the commands say that have come in; does not wait for any. Returns whether a new model
    /// was announced.
    pub fn obey<P: Read + ReadReady + Write>(&mut self, port: &mut P) -> bool {
        let mut command = [0];
        while let Ok(true) = port.read_ready()
            && let Ok(1) = port.read(&mut command)
        {
            match command {
                [b'm'] => self.tell_model(port),
                [b'r'] => self.recording = true,
                [b's'] => self.recording = false,
                [b'u'] => return true,
                _ => {}
            }
        }
        false
    }

    /// Takes the next reading; where it is the last of a window, tells what the window means.
    ///
    /// # Errors
    ///
    /// [`Fault::NoAnswer`], told already: the sensor wants a new start.
    pub fn step(&mut self, sensor: &mut impl Sensor, port: &mut impl Write) -> Result<(), Fault> {
        let outcome = sensor.read(self.room());
        self.take(outcome, port)
    }

    /// Where the next reading belongs, \[channels\]: for a sensor that is awaited, which no [`Sensor`] is.
    pub fn room(&mut self) -> &mut [f32] {
        self.window.get_mut(self.filled..self.filled + self.channels).unwrap_or_default()
    }

    /// Takes the reading that was written to [`Self::room`], or what was wrong with it; the rest of
    /// [`Self::step`].
    ///
    /// # Errors
    ///
    /// [`Fault::NoAnswer`], told already: the sensor wants a new start.
    pub fn take(&mut self, outcome: Result<(), Fault>, port: &mut impl Write) -> Result<(), Fault> {
        match outcome {
            Ok(()) => {}
            Err(Fault::NoAnswer) => return Err(self.give_up(Fault::NoAnswer, port)),
            Err(fault) => self.fault = self.fault.or(Some(fault)),
        }
        let end = self.filled + self.channels;
        let reading = self.window.get(self.filled..end).unwrap_or_default();
        if self.recording {
            tell(port, Line::Sample(reading));
        }
        self.repeats = if reading == self.last { self.repeats.saturating_add(1) } else { 0 };
        self.last.iter_mut().zip(reading).for_each(|(last, number)| *last = *number);
        if self.repeats + 1 >= STUCK_LEN {
            self.fault = Some(Fault::Stuck);
        }
        self.filled = end;
        if self.filled >= self.window.len() {
            self.finish(port);
        }
        Ok(())
    }

    /// Tells a fault in the place of the window's score and begins the next window.
    pub fn give_up(&mut self, fault: Fault, port: &mut impl Write) -> Fault {
        tell(port, Line::Fault { window: self.number, fault });
        self.begin_next();
        fault
    }

    fn finish(&mut self, port: &mut impl Write) {
        if let Some(fault) = self.fault {
            self.give_up(fault, port);
            return;
        }
        let reading = fluxlet::read(&self.model, self.window, self.work);
        let channel = if reading.alarm == Alarm::None { None } else { self.blame() };
        let calibrated = self.model.calibration().is_some();
        tell(port, Line::Score { window: self.number, reading, calibrated, channel });
        if reading.alarm == Alarm::None {
            mem::swap(&mut self.window, &mut self.normal);
            self.has_normal = true;
        }
        self.begin_next();
    }

    fn begin_next(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.filled = 0;
        self.fault = None;
    }

    fn blame(&mut self) -> Option<Channel<'m>> {
        if !self.has_normal {
            return None;
        }
        let Self { model, window, normal, work, channels, .. } = self;
        let index = most_to_blame(model, window, normal, *channels, work)?;
        let name = self.model.names().and_then(|mut names| names.nth(index));
        Some(name.map_or(Channel::Index(index), Channel::Name))
    }
}
