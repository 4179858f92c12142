//! A network of 8-bit weights: every sum a whole number of 32 bits.
//!
//! # Formula
//!
//! An input x is the whole number next to x · scale, its size 8191 at most. A row's sum is bias + Σ wᵢ aᵢ,
//! and what comes of it sum · m · 2^(−16 − n): a unit in its layer's own measure, its size 8191
//! at most, or an output in multiples of 2⁻¹¹, its size 64 at most. Whoever quantises a network chooses
//! scale, m and n by what its units reach on real readings; beyond that they saturate. With residual
//! blocks all h have one measure.
//!
//! # Weights
//!
//! scale, an `f32`; then the rows in the order of the walk. A row is bias `i32`, m `u16`, n `u16`, and
//! an `i8` for each input, 0 up to a whole word: first those of the units before, then, up to a whole
//! word again, those of the inputs that reach outputs directly.

use super::fixed::{FRACTION, MAX_OUTPUT};
use super::{Activation, Conditioner, Rows, Units};

/// Largest size of an input or unit.
pub const MAX_UNIT: i32 = 8191;
/// What a step of an output is worth.
pub const OUTPUT_STEP: f32 = 1.0 / (1 << FRACTION) as f32;
/// 1.5 · 2²³: what is added to it loses its fraction, rounded to even.
const ROUND: f32 = 12_582_912.0;
/// 0.01, 2¹⁶ being 1.
const LEAK: i32 = 655;

/// Words of a row before its weights: bias, and scale.
const HEAD: usize = 2;

/// The whole number next to `x`, its size `most` at most, or below 2²²; −`most` for NaN.
#[inline(always)]
pub(crate) fn whole(x: f32, most: i32) -> i32 {
    let most = most as f32;
    // Written so that a NaN does not go through.
    let x = if x >= -most { x } else { -most };
    let x = if x <= most { x } else { most };
    ((x + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// sum · m · 2^(−16 − n), rounded down; `scale` has m in its lower half and n in its upper one.
#[inline(always)]
fn rescale(sum: i32, scale: u32) -> i32 {
    // The two halves of the sum apart, so that no product has more than 32 bits.
    let (m, n) = (scale & 0xffff, scale >> 16);
    let low = (sum as u32 & 0xffff).wrapping_mul(m) >> 16;
    (sum >> 16).wrapping_mul(m as i32).wrapping_add(low as i32).wrapping_shr(n)
}

/// `sum` + Σ wᵢ aᵢ, four weights a word; a function of its own, so that a small core has its registers
/// for one loop.
#[inline(never)]
fn dot(mut sum: i32, words: &[u32], inputs: &[i32]) -> i32 {
    let (blocks, rest) = inputs.as_chunks::<16>();
    let (whole, last) = words.split_at_checked(4 * blocks.len()).unwrap_or_default();
    for (words, block) in whole.as_chunks::<4>().0.iter().zip(blocks) {
        for (word, quad) in words.iter().zip(block.as_chunks::<4>().0) {
            sum = add(sum, *word, quad);
        }
    }
    for (word, inputs) in last.iter().zip(rest.chunks(4)) {
        sum = add(sum, *word, inputs);
    }
    sum
}

/// Adds up to four products.
#[inline(always)]
fn add(sum: i32, word: u32, inputs: &[i32]) -> i32 {
    // The bytes of a word in memory are its weights in their order.
    let weights = word.to_ne_bytes().into_iter().map(|w| i32::from(w as i8));
    weights.zip(inputs).fold(sum, |sum, (w, a)| sum.wrapping_add(w.wrapping_mul(*a)))
}

/// out = the rows at the front of `w` times \[x, y\]; moves `w` behind them.
#[inline(never)]
fn product(w: &mut &[u32], x: &[i32], y: &[i32], most: i32, out: &mut [i32]) {
    let (x_len, y_len) = (x.len().div_ceil(4), y.len().div_ceil(4));
    for out in out {
        // The checked reader has compared the lengths; the fallback keeps a panic out of an image.
        let Some((row, rest)) = w.split_at_checked(HEAD + x_len + y_len) else { return };
        let Some(([bias, scale], weights)) = row.split_first_chunk() else { return };
        let Some((for_x, for_y)) = weights.split_at_checked(x_len) else { return };
        *w = rest;
        let mut sum = dot(u32::from_le(*bias) as i32, for_x, x);
        if !y.is_empty() {
            sum = dot(sum, for_y, y);
        }
        *out = rescale(sum, u32::from_le(*scale)).max(-most).min(most);
    }
}

impl Activation {
    /// The activation of a unit; what needs an exponential is not there.
    #[inline(always)]
    fn of_integer(self, a: i32) -> i32 {
        match self {
            Self::LeakyRelu if a < 0 => a.wrapping_mul(LEAK) >> 16,
            Self::LeakyRelu => a,
            _ => a.max(0),
        }
    }
}

impl Conditioner {
    /// Of the inputs of `rows`, those that are the network's own and reach the outputs directly; they
    /// are the last.
    pub fn direct_inputs(self, rows: Rows) -> usize {
        if rows.layer.is_none() { self.skipped(rows.known) } else { 0 }
    }

    /// Words of the whole network of 8-bit weights.
    pub(super) fn integer_len(self) -> usize {
        let len = |rows: Rows| {
            let direct = self.direct_inputs(rows);
            rows.count * (HEAD + (rows.fan_in - direct).div_ceil(4) + direct.div_ceil(4))
        };
        1 + self.groups().map(len).sum::<usize>()
    }

    /// [`Self::unlock`] in whole numbers; `w` begins with the step's rows, then with what follows.
    #[inline(always)]
    pub(crate) fn unlock_integer(self, w: &mut &[u32], known: usize, units: &mut Units<i32>) {
        self.walk(
            known,
            units,
            |source, own| product(w, source, &[], MAX_UNIT, own),
            |own, h| own.wrapping_add(h).clamp(-MAX_UNIT, MAX_UNIT),
            |own| own.iter_mut().for_each(|a| *a = self.network.activation.of_integer(*a)),
        );
    }

    /// [`Self::outputs`] in whole numbers.
    #[inline(always)]
    pub(crate) fn outputs_integer(
        self,
        w: &mut &[u32],
        known: usize,
        units: &Units<i32>,
        out: &mut [i32],
    ) {
        let (last, direct) = self.reaching_outputs(known, units);
        product(w, last, direct, MAX_OUTPUT, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_rescaled_without_overflow() {
        for sum in [0, 1, -1, 12_345_678, -12_345_678, i32::MAX, i32::MIN + 65_536] {
            for m in [1, 700, 32_768, 65_535_u32] {
                for n in [0, 3, 15, 31] {
                    let exact = (i64::from(sum) * i64::from(m)) >> (16 + n);
                    assert_eq!(i64::from(rescale(sum, m | n << 16)), exact, "{sum} {m} {n}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_the_end_of_the_range() {
        let ends = [f32::NAN, f32::NEG_INFINITY, -9e9, 9e9, f32::INFINITY];
        assert_eq!(ends.map(|x| whole(x, 8191)), [-8191, -8191, -8191, 8191, 8191]);
        assert_eq!([0.5, 1.5, -0.5, -1.51, 77.4].map(|x| whole(x, 8191)), [0, 2, 0, -2, 77]);
    }
}
