//! What a node wants of a sensor.

/// A sensor that gives readings of several numbers, one after the other.
pub trait Sensor {
    /// Numbers of a reading.
    const CHANNELS: usize;

    /// Waits for the next reading, but never for ever, and writes it to `reading` \[CHANNELS\].
    ///
    /// # Errors
    ///
    /// [`Fault::NoAnswer`] where no reading comes; [`Fault::Saturated`] where one came, and was
    /// written, that is at the end of the sensor's range.
    fn read(&mut self, reading: &mut [f32]) -> Result<(), Fault>;
}

/// Why a window cannot be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sensor does not answer its bus, answers as another part, or has no new reading.
    NoAnswer,
    /// A reading is at the end of the sensor's range: the true one is beyond.
    Saturated,
    /// The sensor repeats one reading.
    Stuck,
}

impl Fault {
    /// The word that a line has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Saturated => "saturated",
            Self::Stuck => "stuck",
        }
    }
}
