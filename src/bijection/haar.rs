//! Orthonormal Haar wavelet transform of a window: sums and differences of neighbours, then the same
//! of the sums, down to one. A few additions a number, where a cosine transform takes D log D.
//!
//! # Formula
//!
//! One step on x of length n, with h = ⌊n/2⌋: lowₖ = (x₂ₖ + x₂ₖ₊₁)/√2 and highₖ = (x₂ₖ − x₂ₖ₊₁)/√2
//! for k < h; z = (low, high, and the last x where n is odd). The next step works on `low` alone,
//! until its length is 1. Option 1 reverses x first, so that the coarsest number is of the latest
//! readings where D is no power of two. ladj = 0.
//!
//! # Parameters
//!
//! `0` free parameters. No weights.
//!
//! # Inverse
//!
//! The steps backwards: x₂ₖ = (lowₖ + highₖ)/√2, x₂ₖ₊₁ = (lowₖ − highₖ)/√2; then the reversal.
//!
//! # Gradient
//!
//! The transform is orthogonal: dx is the inverse applied to dz.
//!
//! # Source
//!
//! Haar 1910, "Zur Theorie der orthogonalen Funktionensysteme"; the order of the outputs and the
//! treatment of odd lengths are those of Pyro's HaarTransform.

use core::f64::consts::FRAC_1_SQRT_2;

use super::{Bijection, Shape};
use crate::math::Real;
use crate::weights::{Gradient, Packed, Weights};

/// Sums and differences of neighbours over √2, again and again; see the source file's head.
pub struct Haar;

/// Lengths that the steps work on: D, ⌊D/2⌋, … down to 2 or 3.
fn lengths(dim: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..dim.checked_ilog2().unwrap_or(0)).map(move |step| dim >> step)
}

fn is_flipped(shape: Shape) -> bool {
    shape.option == 1
}

impl Bijection for Haar {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option <= 1
    }
    fn weight_len(_: Shape) -> usize {
        0
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        lengths(shape.dim).map(|n| n / 2 * 2).sum()
    }
    fn valid(_: Shape, _: Packed) -> bool {
        true
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, _: W, x: &mut [R], scratch: &mut [R]) -> R {
        let root = x[0].constant(FRAC_1_SQRT_2);
        if is_flipped(shape) {
            x.reverse();
        }
        for n in lengths(x.len()) {
            let old = &mut scratch[..n];
            old.copy_from_slice(&x[..n]);
            let (low, high) = x.split_at_mut(n / 2);
            for ((low, high), [a, b]) in low.iter_mut().zip(high).zip(old.as_chunks::<2>().0) {
                *low = (*a + *b) * root;
                *high = (*a - *b) * root;
            }
        }
        x[0].lift(0.0)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, _: W, z: &mut [R], scratch: &mut [R]) -> R {
        let root = z[0].constant(FRAC_1_SQRT_2);
        for n in lengths(z.len()).rev() {
            let old = &mut scratch[..n];
            old.copy_from_slice(&z[..n]);
            let (low, high) = old.split_at(n / 2);
            for ((low, high), [a, b]) in low.iter().zip(high).zip(z.as_chunks_mut::<2>().0) {
                *a = (*low + *high) * root;
                *b = (*low - *high) * root;
            }
        }
        if is_flipped(shape) {
            z.reverse();
        }
        z[0].lift(0.0)
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        _: &mut [R],
        dz: &mut [R],
        _: R,
        _: G,
        scratch: &mut [R],
    ) {
        Self::inverse(shape, w, dz, scratch);
    }

    fn theta_len(_: Shape) -> usize {
        0
    }
    fn neutral<R: Real>(_: Shape, _: R, _: &mut [R]) {}
    fn constrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
    fn constrain_backward<R: Real>(_: Shape, _: &[R], _: &[R], _: &[R], _: &mut [R]) {}
    fn unconstrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(option: u8, x: &[f64]) -> [f64; 5] {
        let mut z = [f64::NAN; 5];
        z[..x.len()].copy_from_slice(x);
        let shape = Shape::new(x.len(), 0, option);
        Haar::forward(shape, &[][..], &mut z[..x.len()], &mut [f64::NAN; 5]);
        z
    }

    fn near(got: &[f64], expected: &[f64]) {
        let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15);
        assert!(near, "{got:?} instead of {expected:?}");
    }

    #[test]
    fn one_two_three_four_have_the_mean_then_the_differences() {
        let half = -FRAC_1_SQRT_2;
        near(&transform(0, &[1.0, 2.0, 3.0, 4.0]), &[5.0, -2.0, half, half]);
        near(&transform(1, &[1.0, 2.0, 3.0, 4.0]), &[5.0, 2.0, -half, -half]);
    }

    #[test]
    fn the_last_number_of_an_odd_length_stays_at_the_end() {
        let half = -FRAC_1_SQRT_2;
        near(&transform(0, &[1.0, 2.0, 3.0, 4.0, 9.0]), &[5.0, -2.0, half, half, 9.0]);
        near(&transform(1, &[9.0, 4.0, 3.0, 2.0, 1.0]), &transform(0, &[1.0, 2.0, 3.0, 4.0, 9.0]));
        near(&transform(0, &[7.0]), &[7.0]);
        near(&transform(0, &[1.0, 2.0, 9.0]), &[-3.0 * half, half, 9.0]);
    }
}
