//! The exponential of `f32`.
//!
//! Without a branch, so that a compiler can take several numbers at once, and without a subnormal number
//! on the way, so that a processor that flushes those computes the same bits. With n the whole number
//! next to x/ln 2 and r = x − n ln 2, eˣ = 2ⁿ eʳ; eʳ is a polynomial (coefficients: Moshier, Cephes
//! library, `expf`), and n is added to its exponent. Below −87 it is 0, and above 88 it stays where it is
//! there.

use core::hint::{black_box, cold_path};

/// 1.5 · 2²³: what is added to it loses its fraction, rounded to even.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of few digits, so that its products with n are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// (eʳ − 1 − r)/r² for |r| ≤ ½ ln 2, from the highest power on.
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// eˣ, to within 1.2e-7 relative; NaN of NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    exp_rounded_by(x, ROUND)
}

/// x ← eˣ of each number.
#[inline(always)]
pub(super) fn exp_all(values: &mut [f32]) {
    if cfg!(helium) {
        by_fours(values);
    } else {
        values.iter_mut().for_each(|x| *x = exp(*x));
    }
}

/// [`exp_all`] with as many constants as Helium has registers for.
#[inline]
fn by_fours(values: &mut [f32]) {
    let (fours, rest) = values.as_chunks_mut::<4>();
    if !rest.is_empty() {
        cold_path();
        let mut four = [0.0; 4];
        four.iter_mut().zip(&*rest).for_each(|(x, rest)| *x = *rest);
        rest.iter_mut().zip(four.map(exp)).for_each(|(rest, x)| *rest = x);
    }
    // A compiler that knew the number would make − into + of its opposite: one constant more.
    let round = black_box(ROUND);
    for x in fours.as_flattened_mut() {
        *x = exp_rounded_by(*x, round);
    }
}

#[inline(always)]
fn exp_rounded_by(x: f32, round: f32) -> f32 {
    // Written so that a NaN goes through.
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * core::f32::consts::LOG2_E + round;
    let n = shifted - round;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let [a, b, c, d, e, f] = POLYNOMIAL;
    let p = ((((a * r + b) * r + c) * r + d) * r + e) * r + f;
    let y = p * (r * r) + r + 1.0;
    // n stands in the lowest bits of the number that it was rounded in.
    let power = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_below_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = libm::exp(f64::from(x));
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 1.2e-7, "{worst:e}");
    }

    #[test]
    fn by_fours_are_the_bits_of_one_by_one() {
        let numbers: [f32; 23] = core::array::from_fn(|i| 17.3 * i as f32 - 190.0);
        for len in 0..numbers.len() {
            let mut values = numbers;
            by_fours(&mut values[..len]);
            for (i, (value, x)) in values.into_iter().zip(numbers).enumerate() {
                let expected = if i < len { exp(x) } else { x };
                assert_eq!(value.to_bits(), expected.to_bits(), "number {i} of {len}");
            }
        }
    }

    #[test]
    fn beyond_its_range_it_is_zero_or_stays_where_it_is() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), exp(88.0));
        assert!(exp(88.0).is_normal() && exp(-87.0).is_normal());
        for low in [-87.001, -1e3, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(low).to_bits(), 0, "{low}");
        }
        assert!(exp(f32::NAN).is_nan());
    }
}
