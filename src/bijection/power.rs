//! Signed power of each axis, zᵢ = sgn(xᵢ) |xᵢ|ᵖ: p < 1 tames heavy tails, p > 1 makes them.
//! The image of 0 is 0, but there the density is 0 or infinite unless p = 1.
//!
//! # Formula
//!
//! z = ± exp(p ln|x|) with the sign of x; ladj = D ln p + (p − 1) Σ ln|xᵢ|.
//!
//! At x = 0 (that is, |x| not above 1.2e-38, the smallest normal `f32`) z = 0 and ln|x| = −∞, so
//! that ladj is the limit: −∞ for p > 1, +∞ for p < 1. A flow turns either into its lowest density.
//! With p = 1 the layer is the identity and ladj is 0, also at 0. Data with exact zeros need p = 1,
//! a shift before the layer, or noise.
//!
//! # Parameters
//!
//! `0` free parameters. Weights: p \[1\], a positive constant; neutral is 1.
//!
//! # Inverse
//!
//! x = ± exp(ln|z|/p), with the sign of z.
//!
//! # Gradient
//!
//! dx = dz p |z|/|x| + dladj (p − 1)/x. At x = 0 the slope has no finite value; it counts as 0 there
//! (as 1 for p = 1), so that a training is not lost to one zero.
//!
//! # Source
//!
//! `PositivePowerTransform` of Pyro.

use super::{Bijection, Shape};
use crate::math::{Real, Sum4};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = sgn(xᵢ) |xᵢ|ᵖ; see the source file's head.
pub struct Power;

/// Whether x counts as 0. NaN does not, and stays what it is.
#[inline(always)]
fn is_zero<R: Real>(size: R) -> R::Mask {
    size.lift(f32::MIN_POSITIVE).ge(size)
}

/// ln|x|, −∞ at 0 whatever the kind of number.
#[inline(always)]
fn ln_size<R: Real>(x: R) -> R {
    let size = x.abs();
    R::select(is_zero(size), x.constant(f64::NEG_INFINITY), size.ln())
}

/// exp(log) with the sign of `x`.
#[inline(always)]
fn signed_exp<R: Real>(log: R, x: R) -> R {
    let size = log.exp();
    R::select(x.ge(x.lift(0.0)), size, -size)
}

/// `yes` where p = 1, `no` elsewhere.
#[inline(always)]
fn if_identity<R: Real>(p: R, yes: R, no: R) -> R {
    let one = p.lift(1.0);
    R::select(R::and(p.ge(one), one.ge(p)), yes, no)
}

/// ladj of x with Σ ln|xᵢ| = `sum`. For p = 1 the infinite sum of a zero counts nothing.
#[inline(always)]
fn ladj<R: Real>(shape: Shape, p: R, sum: R) -> R {
    let bend = if_identity(p, p.lift(0.0), (p - p.lift(1.0)) * sum);
    p.lift(shape.dim as f32) * p.ln() + bend
}

impl Bijection for Power {
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
        w.get(0) > 0.0
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let p = w.at(0, x[0]);
        let mut sum = Sum4::new(p);
        for (i, x) in x.iter_mut().enumerate() {
            let log = ln_size(*x);
            sum.add(i, log);
            *x = signed_exp(p * log, *x);
        }
        ladj(shape, p, sum.total())
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let p = w.at(0, z[0]);
        let mut sum = Sum4::new(p);
        for (i, z) in z.iter_mut().enumerate() {
            let log = ln_size(*z) / p;
            sum.add(i, log);
            *z = signed_exp(log, *z);
        }
        -ladj(shape, p, sum.total())
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        _: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        _: G,
        _: &mut [R],
    ) {
        let p = w.at(0, x[0]);
        let (zero, one) = (p.lift(0.0), p.lift(1.0));
        let at_zero = if_identity(p, one, zero);
        for (x, d) in x.iter().zip(dz) {
            let size = x.abs();
            let slope = p * (p * ln_size(*x)).exp() / size;
            let is_zero = is_zero(size);
            let pull = R::select(is_zero, zero, (p - one) / *x);
            *d = *d * R::select(is_zero, at_zero, slope) + dladj * pull;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape::new(2, 0, 0);

    #[test]
    fn a_square_and_a_root() {
        let mut x = [-3.0_f64, 0.25];
        let ladj = Power::forward(SHAPE, &[2.0][..], &mut x, &mut []);
        assert!((x[0] + 9.0).abs() < 1e-14 && (x[1] - 0.0625).abs() < 1e-15);
        // |det| = 2·3 · 2·0.25 = 3.
        assert!((ladj - libm::log(3.0)).abs() < 1e-15);
        let ladj = Power::forward(SHAPE, &[0.5][..], &mut x, &mut []);
        assert!((x[0] + 3.0).abs() < 1e-14 && (x[1] - 0.25).abs() < 1e-15);
        assert!((ladj + libm::log(3.0)).abs() < 1e-15);
    }

    #[test]
    fn at_zero_the_density_is_its_limit_and_the_gradient_is_finite() {
        for (p, expected) in [(2.0_f32, f32::NEG_INFINITY), (0.5, f32::INFINITY), (1.0, 0.0)] {
            for (zero, other) in [(0.0_f32, 1.0_f32), (-0.0, -1.0), (1e-40, 1.0)] {
                let mut x = [zero, other];
                let ladj = Power::forward(SHAPE, &[p][..], &mut x, &mut []);
                let plain = SHAPE.dim as f32 * Real::ln(p);
                assert_eq!(ladj, plain + expected, "p = {p}");
                assert_eq!(x, [0.0, other]);
                let back = Power::inverse(SHAPE, &[p][..], &mut x, &mut []);
                assert_eq!((back, x), (-ladj, [0.0, other]));
                let (mut x, mut dz) = ([zero, other], [1.0; 2]);
                Power::backward(SHAPE, &[p][..], &mut x, &mut dz, 1.0, &mut [][..], &mut []);
                assert_eq!(dz[0], if p == 1.0 { 1.0 } else { 0.0 });
            }
        }
    }

    #[test]
    fn nan_is_not_taken_for_zero() {
        let mut x = [f32::NAN, 1.0];
        let ladj = Power::forward(SHAPE, &[2.0][..], &mut x, &mut []);
        assert!(x[0].is_nan() && ladj.is_nan());
    }
}
