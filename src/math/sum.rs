//! Sums and products of many numbers, in the one order that the model format has.

use core::hint::cold_path;

use super::{LN_2, Real};
use crate::weights::Weights;

/// A sum in four interleaved lanes, joined as (0 + 1) + (2 + 3).
///
/// The order is part of the model format: a compiler may use vectors without changing a bit.
#[derive(Clone, Copy)]
pub(crate) struct Sum4<R>([R; 4]);

impl<R: Real> Sum4<R> {
    #[inline(always)]
    pub(crate) fn new(like: R) -> Self {
        Self([like.lift(0.0); 4])
    }

    /// Adds term `i`.
    #[inline(always)]
    pub(crate) fn add(&mut self, i: usize, term: R) {
        self.0[i % 4] = self.0[i % 4] + term;
    }

    /// Adds term `i`, a product.
    #[inline(always)]
    pub(crate) fn add_product(&mut self, i: usize, a: R, b: R) {
        self.0[i % 4] = self.0[i % 4].add_product(a, b);
    }

    #[inline(always)]
    pub(crate) fn total(self) -> R {
        let [a, b, c, d] = self.0;
        (a + b) + (c + d)
    }
}

/// Σᵢ f(xᵢ, i) in the order of [`Sum4`].
#[inline(always)]
pub(crate) fn sum4<R: Real>(x: &[R], like: R, f: impl Fn(R, usize) -> R) -> R {
    let mut sum = Sum4::new(like);
    let (quads, rest) = x.as_chunks::<4>();
    for (q, quad) in quads.iter().enumerate() {
        for (lane, (s, x)) in sum.0.iter_mut().zip(quad).enumerate() {
            *s = *s + f(*x, 4 * q + lane);
        }
    }
    for (lane, (s, x)) in sum.0.iter_mut().zip(rest).enumerate() {
        *s = *s + f(*x, 4 * quads.len() + lane);
    }
    sum.total()
}

/// w · x in the order of [`Sum4`]. `w` and `x` have the same length, at least 1.
#[inline(always)]
pub(crate) fn dot<R: Real, W: Weights<R>>(w: W, x: &[R]) -> R {
    let like = x[0];
    let mut sum = Sum4::new(like);
    let (quads, rest) = x.as_chunks::<4>();
    for (quad, w) in quads.iter().zip(w.chunks::<4>(like)) {
        for (s, (w, x)) in sum.0.iter_mut().zip(w.iter().zip(quad)) {
            *s = s.add_product(*w, *x);
        }
    }
    for (i, (s, x)) in sum.0.iter_mut().zip(rest).enumerate() {
        *s = s.add_product(w.at(4 * quads.len() + i, like), *x);
    }
    sum.total()
}

/// x ← x + a w. `w` and `x` have the same length.
#[inline(always)]
pub(crate) fn add_multiple<R: Real, W: Weights<R>>(a: R, w: W, x: &mut [R]) {
    let (quads, rest) = x.as_chunks_mut::<4>();
    let done = 4 * quads.len();
    for (quad, w) in quads.iter_mut().zip(w.chunks::<4>(a)) {
        for (x, w) in quad.iter_mut().zip(w) {
            *x = x.add_product(a, w);
        }
    }
    for (i, x) in rest.iter_mut().enumerate() {
        *x = x.add_product(a, w.at(done + i, a));
    }
}

/// Product of positive factors whose logarithm is taken once.
#[derive(Clone, Copy)]
pub(crate) struct LogProduct<R: Real> {
    mantissa: R,
    exponent: R::Exponent,
}

impl<R: Real> LogProduct<R> {
    #[inline(always)]
    pub(crate) fn new(like: R) -> Self {
        Self { mantissa: like.lift(1.0), exponent: like.no_exponent() }
    }

    #[inline(always)]
    pub(crate) fn multiply(&mut self, factor: R) {
        // The mantissa is below 2, so the product leaves the range of a number only where the factor
        // is at its very end.
        self.mantissa = (self.mantissa * factor).take_exponent(&mut self.exponent);
    }

    #[inline(always)]
    pub(crate) fn ln(self) -> R {
        let exponent = self.mantissa.exponent_value(self.exponent);
        exponent * exponent.constant(LN_2) + self.mantissa.ln()
    }
}

impl LogProduct<f32> {
    /// How far a factor lies above 2⁻³¹, in bits; a great number where it lies below.
    #[inline(always)]
    pub(crate) fn excess(factor: f32) -> u32 {
        factor.to_bits().wrapping_sub(96 << 23)
    }

    /// Multiplies by all factors, `most` being the greatest [`LogProduct::excess`] of them.
    #[inline(always)]
    pub(crate) fn multiply_all(&mut self, factors: [f32; 4], most: u32) {
        if most < 62 << 23 {
            // Between 2⁻³¹ and 2³¹ all products are normal numbers: one exponent is taken of them, with
            // the mantissa that one factor after the other has, as powers of two are exact.
            let product = factors.iter().fold(self.mantissa, |product, factor| product * factor);
            self.mantissa = product.take_exponent(&mut self.exponent);
        } else {
            cold_path();
            factors.iter().for_each(|factor| self.multiply(*factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum4_joins_lanes_in_the_written_order() {
        let x = [1.0e8_f32, 1.0, -1.0e8, 1.0, 3.0];
        let expected = ((1.0e8 + 3.0) + 1.0) + (-1.0e8 + 1.0);
        assert_eq!(sum4(&x, 0.0, |x, _| x).to_bits(), f32::to_bits(expected));
    }

    #[test]
    fn a_product_of_extreme_factors_has_a_finite_logarithm() {
        let mut product = LogProduct::new(0.0_f32);
        for _ in 0..40 {
            product.multiply(1.0e-30);
        }
        let expected = 40.0 * -30.0 * core::f64::consts::LN_10;
        assert!((f64::from(product.ln()) - expected).abs() < 1e-3);
    }
}
