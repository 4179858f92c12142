//! Weights of 16 bits, IEEE binary16: two in a word of a model, widened where they are read.

use core::hint::cold_path;

use crate::weights::{Packed, Stored};

/// A model's words as halves.
pub(crate) type Halves<'m> = Packed<'m, u16>;

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

impl Stored for u16 {
    #[inline(always)]
    fn number(self) -> f32 {
        widen(self)
    }
    #[inline(always)]
    fn zeros<const N: usize>() -> &'static [Self; N] {
        const { &[0; N] }
    }
    #[inline(always)]
    fn rows_of_zeros<const N: usize>() -> &'static [[Self; N]; 2] {
        const { &[[0; N]; 2] }
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
