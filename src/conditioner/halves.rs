//! Weights of 16 bits, IEEE binary16: two in a word of a model, widened where they are read.

use core::hint::cold_path;

use crate::math::Real;
use crate::weights::{Packed, Weights};

/// A model's words as halves.
#[derive(Clone, Copy)]
pub(crate) struct Halves<'m>(&'m [u16]);

/// The number that the bits of a half mean, exactly; an infinity or NaN, which no model has, becomes
/// a number.
#[inline(always)]
fn widen(half: u16) -> f32 {
    let half = u16::from_le(half);
    let (sign, size) = (u32::from(half >> 15) << 31, u32::from(half & 0x7fff));
    if size >= 0x0400 {
        return f32::from_bits(sign | ((size << 13) + ((127 - 15) << 23)));
    }
    cold_path();
    // Below the smallest normal half: a multiple of 2⁻²⁴.
    const STEP: f32 = 1.0 / (1 << 24) as f32;
    f32::from_bits(sign | (size as f32 * STEP).to_bits())
}

impl<'m> Halves<'m> {
    pub(crate) fn new(w: Packed<'m>) -> Self {
        Self(bytemuck::must_cast_slice(w.words()))
    }
}

impl<R: Real> Weights<R> for Halves<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn at(self, i: usize, like: R) -> R {
        like.lift(widen(*self.0.get(i).unwrap_or(&0)))
    }
    #[inline(always)]
    fn part(self, start: usize, len: usize) -> Self {
        // As of `Packed`, the fallback is never taken.
        Self(self.0.get(start..).and_then(|rest| rest.get(..len)).unwrap_or(&[]))
    }
    #[inline(always)]
    fn load<const N: usize>(self, start: usize, like: R) -> [R; N] {
        let weights = self.0.get(start..).and_then(|rest| rest.first_chunk::<N>());
        weights.unwrap_or(const { &[0; N] }).map(|half| like.lift(widen(half)))
    }
    #[inline(always)]
    fn values(self, like: R) -> impl Iterator<Item = R> {
        self.0.iter().map(move |half| like.lift(widen(*half)))
    }
    #[inline(always)]
    fn chunks<const N: usize>(self, like: R) -> impl Iterator<Item = [R; N]> {
        let chunks = self.0.as_chunks::<N>().0.iter();
        chunks.map(move |chunk| chunk.map(|half| like.lift(widen(half))))
    }
    #[inline(always)]
    fn rows(self, len: usize) -> impl Iterator<Item = Self> {
        self.0.chunks_exact(len.max(1)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            let exact = half::f16::from_bits(bits).to_f32();
            assert_eq!(widen(bits.to_le()).to_bits(), exact.to_bits(), "{bits:#06x}");
        }
    }
}
