//! Hyperbolic tangent of each axis, zᵢ = tanh xᵢ: the real line into (−1, 1).
//! In a density it mostly runs backwards, for data that stay within (−1, 1).
//!
//! # Formula
//!
//! ladj = Σ ln(1 − tanh² xᵢ) = 2 (ln Π (1 + |tanh xᵢ|) − Σ |xᵢ|), which neither cancels nor
//! underflows, however large x is.
//!
//! # Parameters
//!
//! `0` free parameters, and no weights. There is no neutral tanh: it always bends.
//!
//! # Inverse
//!
//! xᵢ = artanh zᵢ = ½ ln((1 + zᵢ)/(1 − zᵢ)) for |zᵢ| < 1. Elsewhere no x exists: xᵢ and ladj are
//! NaN, which a flow turns into its lowest density. Near ±1 a rounding of z is a long way of x.
//!
//! # Gradient
//!
//! dx = dz (1 − tanh² x) − 2 dladj tanh x.
//!
//! # Source
//!
//! The `Tanh` of Distrax, and `TanhTransform` of PyTorch and Pyro.

use super::{Bijection, Shape};
use crate::math::{LogProduct, Real, artanh, sum4, tanh};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = tanh xᵢ; see the source file's head.
pub struct Tanh;

/// ladj of x, whose images are `z`.
#[inline(always)]
fn ladj<R: Real>(sum_of_sizes: R, z: &[R]) -> R {
    let one = sum_of_sizes.lift(1.0);
    let mut product = LogProduct::new(one);
    for z in z {
        product.multiply(one + z.abs());
    }
    sum_of_sizes.lift(2.0) * (product.ln() - sum_of_sizes)
}

/// Σ |xᵢ|; NaN where an x is NaN.
#[inline(always)]
fn sizes<R: Real>(x: &[R]) -> R {
    sum4(x, x[0], |x, _| x.abs())
}

impl Bijection for Tanh {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(_: Shape) -> usize {
        0
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        7 * shape.dim
    }
    fn valid(_: Shape, _: Packed) -> bool {
        true
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, _: W, x: &mut [R], _: &mut [R]) -> R {
        let sum = sizes(x);
        for x in x.iter_mut() {
            *x = tanh(*x).0;
        }
        ladj(sum, x)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, _: W, z: &mut [R], scratch: &mut [R]) -> R {
        let image = &mut scratch[..z.len()];
        image.copy_from_slice(z);
        for z in z.iter_mut() {
            *z = artanh(*z);
        }
        -ladj(sizes(z), image)
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
        let twice = dladj + dladj;
        for (x, d) in x.iter().zip(dz) {
            let (t, slope) = tanh(*x);
            *d = *d * slope - twice * t;
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

    fn forward(x: f32) -> (f32, f32) {
        let mut z = [x];
        let ladj = Tanh::forward(Shape::new(1, 0, 0), Packed::none(), &mut z, &mut []);
        (z[0], ladj)
    }

    #[test]
    fn far_out_the_log_slope_goes_on_falling() {
        // 1 − tanh² x = 4 e^(−2|x|) (1 + e^(−2|x|))⁻², whose logarithm is ln 4 − 2|x| here.
        for x in [20.0_f32, -50.0, 1e4, -1e30] {
            let (z, ladj) = forward(x);
            assert_eq!(z, x.signum());
            let expected = 2.0 * core::f32::consts::LN_2 - 2.0 * x.abs();
            assert!((ladj - expected).abs() <= 1e-6 * expected.abs(), "{x}: {ladj}");
        }
    }

    #[test]
    fn what_no_x_maps_to_has_neither_x_nor_volume() {
        for z in [1.0_f64, -1.0, 1.25, -7.0, f64::NAN] {
            let mut x = [0.5, z, z];
            let shape = Shape::new(3, 0, 0);
            let ladj = Tanh::inverse(shape, Packed::none(), &mut x, &mut [0.0; 3]);
            assert!(ladj.is_nan() && x[1].is_nan() && !x[0].is_nan(), "{z}");
        }
    }
}
