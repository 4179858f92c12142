//! The LIS3DH, an accelerometer of three axes, as a sensor of readings in g.

use core::fmt::Debug;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use lis3dh::accelerometer::RawAccelerometer;
use lis3dh::{
    Configuration, DataRate, FifoMode, Lis3dh, Lis3dhCore, Lis3dhI2C, Mode, Range, SlaveAddr,
};

use crate::sensor::{Fault, Sensor};

/// Numbers of a reading.
pub const AXES: usize = 3;
/// Readings that the sensor takes to settle after a change of its mode, by its data sheet.
const SETTLING_LEN: u32 = 7;
/// Looks for a new reading in the time that one takes, and the time after which there is none.
const LOOKS: u32 = 8;
const PATIENCE: u32 = 4 * LOOKS;

/// How the sensor measures.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its address, by the level of its pin SA0.
    pub address: SlaveAddr,
    /// Readings a second.
    pub rate: DataRate,
    /// Largest acceleration.
    pub range: Range,
}

impl Default for Settings {
    /// SA0 low, 200 readings a second, ±2 g.
    fn default() -> Self {
        Self { address: SlaveAddr::Default, rate: DataRate::Hz_200, range: Range::G2 }
    }
}

/// A LIS3DH that measures.
pub struct Accelerometer<CORE, D> {
    driver: Lis3dh<CORE>,
    delay: D,
    /// Nanoseconds between two looks for a reading.
    look_ns: u32,
    /// Thousandths of a g that one digit is.
    digit: i16,
}

impl<B: I2c, D: DelayNs> Accelerometer<Lis3dhI2C<B>, D> {
    /// Sets up the sensor. It keeps up to 32 readings, so that none is lost while a window is scored.
    ///
    /// # Errors
    ///
    /// [`Fault::NoAnswer`] where the sensor does not answer, or as another part.
    pub fn start(bus: B, mut delay: D, settings: Settings) -> Result<Self, Fault> {
        let Settings { address, rate, range } = settings;
        let period_ns = (1.0e9 / rate.sample_rate()) as u32;
        let set_up = || {
            let configuration =
                Configuration { mode: Mode::HighResolution, datarate: rate, ..Default::default() };
            let mut driver = Lis3dh::new_i2c_with_config(bus, address, configuration)?;
            driver.set_range(range)?;
            (0..SETTLING_LEN).for_each(|_| delay.delay_ns(period_ns));
            // Off and on again, which empties it.
            driver.disable_fifo()?;
            driver.enable_fifo(FifoMode::Stream, 0)?;
            Ok(driver)
        };
        let driver = set_up().map_err(|_: lis3dh::Error<_, _>| Fault::NoAnswer)?;
        let digit = match range {
            Range::G2 => 1,
            Range::G4 => 2,
            Range::G8 => 4,
            Range::G16 => 12,
        };
        Ok(Self { driver, delay, look_ns: period_ns / LOOKS, digit })
    }
}

impl<CORE, D> Sensor for Accelerometer<CORE, D>
where
    CORE: Lis3dhCore<BusError: Debug, PinError: Debug>,
    D: DelayNs,
{
    const CHANNELS: usize = AXES;

    fn read(&mut self, reading: &mut [f32]) -> Result<(), Fault> {
        for _ in 0..PATIENCE {
            let waiting = self.driver.get_fifo_status().map_err(|_| Fault::NoAnswer)?;
            if !waiting.empty {
                return self.take(reading);
            }
            self.delay.delay_ns(self.look_ns);
        }
        Err(Fault::NoAnswer)
    }
}

impl<CORE, D> Accelerometer<CORE, D>
where
    CORE: Lis3dhCore<BusError: Debug, PinError: Debug>,
{
    fn take(&mut self, reading: &mut [f32]) -> Result<(), Fault> {
        let raw = self.driver.accel_raw().map_err(|_| Fault::NoAnswer)?;
        // Twelve bits, at the left of sixteen.
        let digits = [raw.x >> 4, raw.y >> 4, raw.z >> 4];
        for (number, digits) in reading.iter_mut().zip(digits) {
            *number = f32::from(digits * self.digit) / 1000.0;
        }
        let at_the_end = digits.iter().any(|digits| *digits == 2047 || *digits == -2048);
        if at_the_end { Err(Fault::Saturated) } else { Ok(()) }
    }
}
