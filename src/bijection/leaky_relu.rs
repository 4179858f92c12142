//! Leaky rectifier of each axis: slope 1 above 0, a gentler slope a below.
//! Between rotations it folds space along planes; its density jumps there.
//!
//! # Formula
//!
//! zᵢ = xᵢ where xᵢ ≥ 0, a xᵢ elsewhere; ladj = ln a for each xᵢ < 0.
//!
//! # Parameters
//!
//! `0` free parameters. Weights: a \[1\], a constant in (0, 1\]; neutral is 1, Pyro's is 0.01.
//!
//! # Inverse
//!
//! xᵢ = zᵢ where zᵢ ≥ 0, zᵢ/a elsewhere.
//!
//! # Gradient
//!
//! dx = dz times the slope; ladj is constant on either side of 0.
//!
//! # Source
//!
//! Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models",
//! section 2; `LeakyReLUTransform` of Pyro.

use super::{Bijection, Shape};
use crate::math::{LogProduct, Real};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = xᵢ above 0, a xᵢ below; see the source file's head.
pub struct LeakyRelu;

/// The slope at `x`, or at its image.
#[inline(always)]
fn slope<R: Real>(x: R, a: R) -> R {
    R::select(x.ge(x.lift(0.0)), x.lift(1.0), a)
}

impl Bijection for LeakyRelu {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(_: Shape) -> usize {
        1
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        2 * shape.dim
    }
    fn valid(_: Shape, w: Packed) -> bool {
        w.get(0) > 0.0 && w.get(0) <= 1.0
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let a = w.at(0, x[0]);
        let mut slopes = LogProduct::new(a);
        for x in x {
            let slope = slope(*x, a);
            slopes.multiply(slope);
            *x = *x * slope;
        }
        slopes.ln()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let a = w.at(0, z[0]);
        let mut slopes = LogProduct::new(a);
        for z in z {
            let slope = slope(*z, a);
            slopes.multiply(slope);
            *z = *z / slope;
        }
        -slopes.ln()
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        _: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        _: R,
        _: G,
        _: &mut [R],
    ) {
        let a = w.at(0, x[0]);
        for (x, d) in x.iter().zip(dz) {
            *d = *d * slope(*x, a);
        }
    }

    fn theta_len(_: Shape) -> usize {
        0
    }
    fn neutral<R: Real>(_: Shape, like: R, w: &mut [R]) {
        w[0] = like.lift(1.0);
    }
    fn constrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
    fn constrain_backward<R: Real>(_: Shape, _: &[R], _: &[R], _: &[R], _: &mut [R]) {}
    fn unconstrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
}
