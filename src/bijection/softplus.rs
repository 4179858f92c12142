//! Softplus of each axis, zᵢ = ln(1 + exp xᵢ): the real line onto the positive numbers.
//! In a density it mostly runs backwards, for data that are positive.
//!
//! # Formula
//!
//! With L = ln(1 + e^(−|x|)): z = max(x, 0) + L, and ln dz/dx = ln σ(x) = min(x, 0) − L, σ the
//! logistic function. Both keep their digits at either end, where z is eˣ or x.
//!
//! # Parameters
//!
//! `0` free parameters, and no weights. There is no neutral softplus: it always bends.
//!
//! # Inverse
//!
//! x = ln(eᶻ − 1) = z + ln(1 − e⁻ᶻ) for z > 0, and ln dx/dz = −ln(1 − e⁻ᶻ). Elsewhere no x exists:
//! x and ladj are NaN, which a flow turns into its lowest density.
//!
//! # Gradient
//!
//! dx = dz σ(x) + dladj σ(−x).
//!
//! # Source
//!
//! Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing",
//! eq. 1; `SoftplusTransform` of PyTorch and Pyro.

use super::{Bijection, Shape};
use crate::math::{Real, Sum4, ln_1p, ln_one_minus_exp, logistic};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = ln(1 + exp xᵢ); see the source file's head.
pub struct Softplus;

impl Bijection for Softplus {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(_: Shape) -> usize {
        0
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        7 * shape.dim
    }
    fn valid(_: Shape, _: Packed) -> bool {
        true
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, _: W, x: &mut [R], _: &mut [R]) -> R {
        let zero = x[0].lift(0.0);
        let mut ladj = Sum4::new(zero);
        for (i, x) in x.iter_mut().enumerate() {
            let l = ln_1p((-x.abs()).exp());
            ladj.add(i, x.min(zero) - l);
            *x = x.max(zero) + l;
        }
        ladj.total()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, _: W, z: &mut [R], _: &mut [R]) -> R {
        let mut ladj = Sum4::new(z[0]);
        for (i, z) in z.iter_mut().enumerate() {
            let slope = ln_one_minus_exp(*z);
            ladj.add(i, slope);
            *z = *z + slope;
        }
        -ladj.total()
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        _: Shape,
        _: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        _: G,
        _: &mut [R],
    ) {
        for (x, d) in x.iter().zip(dz) {
            *d = *d * logistic(*x) + dladj * logistic(-*x);
        }
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

    const SHAPE: Shape = Shape::new(1, 0, 0);

    #[test]
    fn far_below_it_is_the_exponential_and_far_above_the_identity() {
        for (x, z, ladj) in [(-80.0_f64, libm::exp(-80.0), -80.0), (800.0, 800.0, 0.0)] {
            let mut value = [x];
            let got = Softplus::forward(SHAPE, Packed::none(), &mut value, &mut []);
            assert!((value[0] - z).abs() <= 1e-15 * z, "z of {x}");
            assert!((got - ladj).abs() < 1e-13, "ladj of {x}");
            Softplus::inverse(SHAPE, Packed::none(), &mut value, &mut []);
            assert!((value[0] - x).abs() < 1e-13, "back to {x}");
        }
    }

    #[test]
    fn what_no_x_maps_to_has_neither_x_nor_volume() {
        for z in [0.0_f32, -0.0, -3.0, f32::NAN] {
            let mut x = [z];
            let ladj = Softplus::inverse(SHAPE, Packed::none(), &mut x, &mut []);
            assert!(ladj.is_nan() && x[0].is_nan(), "{z}");
        }
    }
}
