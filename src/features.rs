//! The feature front end: from a window of sensor readings to the D numbers that a flow sees, by
//! the same code on host and device.
//!
//! Of each channel, with the window's N readings freed of their mean and P their mean square:
//! * ½ ln(P + floor), the logarithm of the standard deviation;
//! * max |reading| / √(P + floor), the crest factor;
//! * ln(Eᵦ/N + floor) for B octave bands, where Eᵦ is the sum of squares of the orthonormal DCT-II
//!   coefficients k with N/2^(B−b) ≤ k < N/2^(B−b−1); the lowest band begins at k = 1.
//!
//! D = channels × (2 + B), channel by channel. A window is sample-major: all channels of the first
//! instant, then of the next.
//!
//! Payload of the section: channels u16, window N u16, bands B u16, 0 u16, floor f32, then the
//! weights of a [`Dct`] of length N.

use crate::bijection::{Bijection, Dct, Shape};
use crate::math::{Real, sum4};
use crate::model::{u16_at, u32_at};
use crate::weights::Packed;

/// Largest window: what a microcontroller's memory can hold of one.
const MAX_WINDOW: usize = 4096;

/// The front end of a model.
#[derive(Clone, Copy, Debug)]
pub struct FrontEnd<'m> {
    channels: usize,
    window: usize,
    bands: usize,
    floor: f32,
    dct: Packed<'m>,
}

/// What [`Window::write`] needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Channels of the sensor.
    pub channels: usize,
    /// N, readings of a window.
    pub window: usize,
    /// B, octave bands of each channel.
    pub bands: usize,
    /// Added to powers before their logarithm is taken, in squared units of the sensor.
    pub floor: f32,
}

fn dct_shape(window: usize) -> Shape {
    Shape::new(window, 0, 0)
}

impl Window {
    /// Whether such a front end exists: every band has a coefficient, and the floor is positive.
    pub fn exists(&self) -> bool {
        let windows = (2..=MAX_WINDOW).contains(&self.window);
        // The lowest band reaches from 1 to N/2^(B−1), which must be above 1.
        let bands = (1..16).contains(&self.bands) && self.window >> (self.bands - 1) > 1;
        windows
            && bands
            && (1..=64).contains(&self.channels)
            && self.floor > 0.0
            && self.floor < f32::MAX
    }

    /// D, the features that it makes.
    pub fn feature_len(&self) -> usize {
        self.channels * (2 + self.bands)
    }

    /// Bytes of the section's payload.
    pub fn payload_len(&self) -> usize {
        12 + 4 * Dct::weight_len(dct_shape(self.window))
    }

    /// Writes the section's payload; `dct` has the length of its weights.
    ///
    /// # Panics
    ///
    /// When `out` or `dct` has another length.
    pub fn write(&self, dct: &mut [f32], out: &mut [u8]) {
        assert_eq!(out.len(), self.payload_len(), "the buffer has another size than the payload");
        Dct::neutral(dct_shape(self.window), 0.0, dct);
        let (head, tables) = out.split_at_mut(12);
        let sizes = [self.channels, self.window, self.bands, 0].map(|n| (n as u16).to_le_bytes());
        head[..8].copy_from_slice(sizes.as_flattened());
        head[8..].copy_from_slice(&self.floor.to_le_bytes());
        for (bytes, weight) in tables.as_chunks_mut().0.iter_mut().zip(dct) {
            *bytes = weight.to_le_bytes();
        }
    }
}

impl<'m> FrontEnd<'m> {
    /// The front end in a section's payload, or nothing where the payload is not one.
    pub fn new_checked(payload: &'m [u8]) -> Option<Self> {
        let (head, dct) = payload.split_at_checked(12)?;
        let size = |at: usize| usize::from(u16_at(head, at..at + 2));
        let window = Window {
            channels: size(0),
            window: size(2),
            bands: size(4),
            floor: f32::from_bits(u32_at(head, 8..12)),
        };
        let dct = Packed::new(dct)?;
        let sound = window.exists()
            && payload.len() == window.payload_len()
            && dct.iter().all(f32::is_finite);
        let Window { channels, window, bands, floor } = window;
        sound.then_some(Self { channels, window, bands, floor, dct })
    }

    /// What the front end is made of.
    pub fn window(&self) -> Window {
        Window {
            channels: self.channels,
            window: self.window,
            bands: self.bands,
            floor: self.floor,
        }
    }

    /// Numbers of one window: N × channels.
    pub fn input_len(&self) -> usize {
        self.window * self.channels
    }

    /// D, the features of one window.
    pub fn feature_len(&self) -> usize {
        self.window().feature_len()
    }

    /// Numbers of scratch space that [`FrontEnd::extract`] needs.
    pub fn scratch_len(&self) -> usize {
        2 * self.window
    }

    /// The features of one `window` \[N, channels\] into `features` \[D\].
    ///
    /// # Panics
    ///
    /// When a slice has another length than this front end says; `scratch` may be longer.
    pub fn extract(&self, window: &[f32], features: &mut [f32], scratch: &mut [f32]) {
        assert!(window.len() == self.input_len() && features.len() == self.feature_len());
        self.extract_checked(window, features, scratch);
    }

    /// [`FrontEnd::extract`] of slices that have these lengths; of others the features are not defined.
    #[inline(never)]
    pub(crate) fn extract_checked(
        &self,
        window: &[f32],
        features: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Some((column @ [_, ..], scratch)) = scratch.split_at_mut_checked(self.window) else {
            return;
        };
        let per_reading = 1.0 / self.window as f32;
        let channels = features.chunks_exact_mut(2 + self.bands).enumerate();
        for (channel, features) in channels {
            for (x, instant) in column.iter_mut().zip(window.chunks_exact(self.channels.max(1))) {
                *x = instant.get(channel).copied().unwrap_or(0.0);
            }
            let mean = sum4(column, 0.0, |x, _| x) * per_reading;
            for x in column.iter_mut() {
                *x -= mean;
            }
            let power = sum4(column, 0.0, |x, _| x * x) * per_reading + self.floor;
            let peak = column.iter().fold(0.0_f32, |peak, x| Real::max(peak, Real::abs(*x)));
            Dct::forward(dct_shape(self.window), self.dct, column, scratch);
            let [log_deviation, crest, bands @ ..] = features else { return };
            *log_deviation = 0.5 * Real::ln(power);
            *crest = peak / Real::sqrt(power);
            let mut from = 1;
            for (b, feature) in bands.iter_mut().enumerate() {
                let to = self.window >> (self.bands - 1 - b);
                let band = column.get(from..to).unwrap_or(&[]);
                let energy = sum4(band, 0.0, |x, _| x * x);
                *feature = Real::ln(energy * per_reading + self.floor);
                from = to;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_has_the_deviation_crest_and_band_of_a_sine() {
        let window = Window { channels: 2, window: 200, bands: 6, floor: 1e-8 };
        let mut dct = [0.0; 2000];
        let mut bytes = [0; 4000];
        let dct = &mut dct[..Dct::weight_len(dct_shape(200))];
        let bytes = &mut bytes[..window.payload_len()];
        window.write(dct, bytes);
        let front_end = FrontEnd::new_checked(bytes).unwrap();
        // Channel 1 is a cosine of coefficient k = 30 (band 3: 25 ≤ k < 50), channel 0 constant.
        let mut input = [0.0; 400];
        let mut peak = 0.0_f32;
        for n in 0..200 {
            input[2 * n] = 5.0;
            let angle = core::f64::consts::PI * 30.0 * (2 * n + 1) as f64 / 400.0;
            input[2 * n + 1] = (3.0 * libm::cos(angle)) as f32;
            peak = peak.max(input[2 * n + 1].abs());
        }
        let mut features = [0.0; 16];
        front_end.extract(&input, &mut features, &mut [0.0; 400]);
        let half_floor = 0.5 * libm::logf(1e-8);
        assert!((features[0] - half_floor).abs() < 1e-5);
        assert_eq!(features[1], 0.0);
        assert!((features[8] - libm::logf(3.0 / core::f32::consts::SQRT_2)).abs() < 1e-5);
        assert!((features[9] - peak * core::f32::consts::SQRT_2 / 3.0).abs() < 1e-5);
        assert!((features[10 + 3] - libm::logf(4.5)).abs() < 1e-5);
        for band in [0, 1, 2, 4, 5] {
            assert!(features[10 + band] < -15.0, "band {band}: {}", features[10 + band]);
        }
    }
}
