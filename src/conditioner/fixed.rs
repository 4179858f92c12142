//! Exponential and softplus of whole numbers: what a network's outputs go through where they are no
//! floating-point numbers.
//!
//! An output is a multiple of 2⁻¹¹. Everything here is shifts and products of 32 bits without a sign,
//! the same on every processor by construction.

/// Binary digits of an output behind the point.
pub(crate) const FRACTION: u32 = 11;
/// An output's largest size, 64.
pub(crate) const MAX_OUTPUT: i32 = 1 << 17;
/// log₂ e, 2¹⁴ being 1.
const LOG2_E: u32 = 23_637;
/// 2⁻ᶠ for 0 ≤ f ≤ 1, by powers of f, 2¹⁶ being 1; every other coefficient is subtracted. Least squares,
/// weighted towards the least largest error, 3e-6.
const POWER: [u32; 5] = [65_536, 45_421, 15_693, 3_488, 448];
/// ln(1 + u)/u for 0 ≤ u ≤ 1, as before, 1e-5.
const LOGARITHM: [u32; 6] = [65_536, 32_738, 21_380, 13_920, 6_789, 1_621];
/// Binary digits of a slope behind the point.
const SLOPE_FRACTION: u32 = 20;

/// c₀ − c₁ x + c₂ x² − …, where 2¹⁵ is 1 of x.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [u32; N], x: u32) -> u32 {
    let mut sum = 0_u32;
    for coefficient in coefficients.into_iter().rev() {
        sum = coefficient.wrapping_sub(sum.wrapping_mul(x) >> 15);
    }
    sum
}

/// e^(−t) as (m, n), which mean 2⁻¹⁶ m 2⁻ⁿ with m from 2¹⁵ to 2¹⁶; t ≥ 0 is an output.
#[inline(always)]
fn exp_parts(t: u32) -> (u32, u32) {
    // Beyond 32 nothing is left of it.
    let t = t.min((1 << 16) - 1);
    let power = t * LOG2_E;
    (polynomial(POWER, power >> 10 & 0x7fff), power >> 25)
}

/// e^(−t), 2¹⁶ being 1; t ≥ 0 is an output.
#[inline(always)]
pub(crate) fn exp(t: u32) -> u32 {
    let (mantissa, shift) = exp_parts(t);
    mantissa.checked_shr(shift).unwrap_or(0)
}

/// ln(1 + eᵃ) of an output, as a number.
#[inline(always)]
pub(crate) fn softplus(a: i32) -> f32 {
    let (mantissa, shift) = exp_parts(a.unsigned_abs());
    let u = (mantissa >> 1).checked_shr(shift).unwrap_or(0);
    // u · (ln(1 + u)/u), of u all digits.
    let product = mantissa * (polynomial(LOGARITHM, u) >> 1);
    let log = (product >> (31 - SLOPE_FRACTION)).checked_shr(shift).unwrap_or(0);
    let whole = a.max(0) << (SLOPE_FRACTION - FRACTION);
    const UNIT: f32 = 1.0 / (1 << SLOPE_FRACTION) as f32;
    whole.wrapping_add(log as i32) as f32 * UNIT
}

/// Turns the logits of an axis into parts of it: shares by their softmax, the smallest of them
/// `floor`/2¹⁶ of all. Returns their sum.
#[inline(always)]
pub(crate) fn shares(logits: &mut [i32], floor: u32) -> u32 {
    let largest = logits.iter().fold(-MAX_OUTPUT, |largest, logit| largest.max(*logit));
    let mut total = 0_u32;
    for logit in logits.iter_mut() {
        let power = exp(largest.wrapping_sub(*logit) as u32);
        total = total.wrapping_add(power);
        *logit = power as i32;
    }
    let least = (total >> 4).wrapping_mul(floor) >> 12;
    for part in logits.iter_mut() {
        *part = part.wrapping_add(least as i32);
    }
    total.wrapping_add(least.wrapping_mul(logits.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u32 = 1 << 16;
    const STEP: f64 = 1.0 / (1 << FRACTION) as f64;

    #[test]
    fn the_exponential_is_that_of_libm() {
        for t in 0..=70_000_u32 {
            let got = f64::from(exp(t)) / f64::from(ONE);
            let expected = libm::exp(-f64::from(t) * STEP);
            assert!((got - expected).abs() < 5e-5 * expected + 2.0 / f64::from(ONE), "{t}");
        }
        assert_eq!((exp(0), exp(u32::MAX)), (ONE, 0));
    }

    #[test]
    fn softplus_is_that_of_libm() {
        for a in (-MAX_OUTPUT..=MAX_OUTPUT).step_by(7) {
            let expected = libm::log1p(libm::exp(f64::from(a) * STEP));
            let error = (f64::from(softplus(a)) - expected).abs();
            assert!(error < 1.5e-4 * expected + 2e-6, "{a}: {error:e}");
        }
    }

    #[test]
    fn shares_are_a_softmax_above_a_floor() {
        let logits = [0.3, -1.2, 4.0, 2.0, -60.0, 60.0, 59.0, 58.5];
        for scale in [0.0, 0.05, 1.0] {
            let mut parts: [i32; 8] =
                core::array::from_fn(|i| libm::round(scale * logits[i] / STEP) as i32);
            // The share 0.001 of 8, as parts of the softmax: 0.001/(1 − 0.008).
            let total = f64::from(shares(&mut parts, 66));
            assert_eq!(total, parts.iter().map(|part| f64::from(*part)).sum::<f64>());
            let all: f64 = logits.iter().map(|logit| libm::exp(scale * (logit - 60.0))).sum();
            for (part, logit) in parts.iter().zip(logits) {
                let softmax = libm::exp(scale * (logit - 60.0)) / all;
                let expected = 0.001 + 0.992 * softmax;
                let got = f64::from(*part) / total;
                assert!((got - expected).abs() < 5e-4 * expected + 2e-5, "{got} {expected}");
            }
        }
    }
}
