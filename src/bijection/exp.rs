//! Exponential of each axis, zᵢ = exp xᵢ: the real line onto the positive numbers.
//! In a density it mostly runs backwards: the logarithm of data that are positive.
//!
//! # Formula
//!
//! zᵢ = exp xᵢ, ladj = Σ xᵢ.
//!
//! # Parameters
//!
//! `0` free parameters, and no weights. There is no neutral exponential: it always bends.
//!
//! # Inverse
//!
//! xᵢ = ln zᵢ for z > 0, ladj = −Σ ln zᵢ. Elsewhere no x exists: x and ladj are NaN, which a flow
//! turns into its lowest density.
//!
//! # Gradient
//!
//! dxᵢ = dzᵢ exp xᵢ + dladj.
//!
//! # Source
//!
//! The logarithmic transformation: Galton 1879, "The geometric mean, in vital and social statistics";
//! `ExpTransform` of PyTorch and Pyro.

use super::{Bijection, Shape};
use crate::math::{Real, Sum4};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = exp xᵢ; see the source file's head.
pub struct Exp;

impl Bijection for Exp {
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
        10 * shape.dim
    }
    fn valid(_: Shape, _: Packed) -> bool {
        true
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, _: W, x: &mut [R], _: &mut [R]) -> R {
        let mut ladj = Sum4::new(x[0]);
        x.iter().enumerate().for_each(|(i, x)| ladj.add(i, *x));
        R::exp_all(x);
        ladj.total()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, _: W, z: &mut [R], _: &mut [R]) -> R {
        let zero = z[0].lift(0.0);
        let mut ladj = Sum4::new(zero);
        for (i, z) in z.iter_mut().enumerate() {
            // The lanes' logarithm knows positive numbers only.
            *z = R::select(zero.ge(*z), z.lift(f32::NAN), z.ln());
            ladj.add(i, *z);
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
            *d = *d * x.exp() + dladj;
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

    #[test]
    fn what_is_not_positive_has_no_image() {
        for z in [0.0_f32, -1.0, f32::NAN] {
            let mut value = [z];
            let ladj = Exp::inverse(Shape::new(1, 0, 0), Packed::none(), &mut value, &mut []);
            assert!(ladj.is_nan() && value[0].is_nan(), "of {z}");
        }
    }
}
