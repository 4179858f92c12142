//! Planar layer: pushes x along u by a tanh of where x lies relative to a plane.
//! It stretches or squeezes space around wᵀx + b = 0 and leaves the rest nearly as it is.
//!
//! # Formula
//!
//! z = x + u tanh v with v = wᵀx + b; ladj = ln(tanh² v + k (1 − tanh² v)), k = 1 + wᵀu, the slope
//! at the plane. This is the paper's ln|1 + wᵀu (1 − tanh² v)| as a sum of positive terms.
//!
//! The paper maps noise to data. Here x is the data, so that a density takes one pass; what its
//! samples take is the inverse.
//!
//! # Parameters
//!
//! `2 D + 1` free parameters: u \[D\], w \[D\], b \[1\]. Weights: u \[D\], w \[D\], b \[1\], k \[1\].
//! k > 0 makes the map invertible: k = m + softplus(u·w + c) with m = 1e-3 and c so that u·w = 0
//! gives 1, and û = u + (k − 1 − u·w) w/|w|² has k = 1 + w·û. It is the paper's û, moved so that it
//! is u itself where u·w = 0; otherwise û would grow without bound as w shrinks.
//!
//! # Inverse
//!
//! v solves v + (k − 1) tanh v = wᵀz + b, one increasing equation: Newton's method between bounds,
//! with a fixed number of steps, good to the rounding of the equation's terms. Then
//! x = z − u tanh v. Other libraries (Pyro, normflows, nflows, zuko) give planar layers no inverse.
//!
//! # Gradient
//!
//! With t = tanh v, g = 1 − t² and s = t² + k g: du = dz t, dk = dladj g/s,
//! dv = g (u·dz) − 2 dladj (k − 1) t g/s, dw = dv x, db = dv, dx = dz + dv w.
//!
//! # Source
//!
//! Rezende and Mohamed 2015, arXiv:1505.05770, eqs. 10–12 and appendix A.1.

use super::monotone::{slope, solve};
use super::{Bijection, MIN_SLOPE, Shape};
use crate::math::{Real, add_multiple, dot, ln_one_minus_exp, logistic, softplus, tanh};
use crate::weights::{Gradient, Packed, Weights};

/// z = x + u tanh(wᵀx + b); see the source file's head for weights, inverse and gradient.
pub struct Planar;

/// c of the head: softplus(c) = 1 − m, so c = ln(e^(1 − m) − 1).
const SHIFT: f64 = 0.539_742_417_236_952_1;

/// |w|², at least 1e-30 so that a w of zeros leaves u alone.
fn square<R: Real>(w: &[R]) -> R {
    dot(w, w).max(w[0].lift(1e-30))
}

impl Bijection for Planar {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        2 * shape.dim + 2
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        2 * shape.dim + 9
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        // The stored slope has to be that of u and w, up to the roundings of f32.
        let terms = (0..shape.dim).map(|i| w.get(i) * w.get(shape.dim + i));
        let (sum, size) = terms.fold((1.0, 1.0), |(sum, size), t| (sum + t, size + t.abs()));
        let k = w.get(2 * shape.dim + 1);
        k > 0.0 && (k - sum).abs() <= 1e-3 * size
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let dim = shape.dim;
        let [b, k] = w.load(2 * dim, x[0]);
        let (t, g) = tanh(dot(w.part(dim, dim), x) + b);
        add_multiple(t, w.part(0, dim), x);
        slope(k, t, g).ln()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let dim = shape.dim;
        let [b, k] = w.load(2 * dim, z[0]);
        let (t, g) = solve(k, dot(w.part(dim, dim), z) + b);
        add_multiple(-t, w.part(0, dim), z);
        -slope(k, t, g).ln()
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        mut dw: G,
        _: &mut [R],
    ) {
        let dim = shape.dim;
        let (u, normal) = (w.part(0, dim), w.part(dim, dim));
        let [b, k] = w.load(2 * dim, x[0]);
        let (t, g) = tanh(dot(normal, x) + b);
        let dk = dladj * g / slope(k, t, g);
        let dv = g * dot(u, dz) - k.lift(2.0) * (k - k.lift(1.0)) * t * dk;
        dw.add_each(
            0,
            dim,
            #[inline(always)]
            |i| t * dz[i],
        );
        dw.add_each(
            dim,
            dim,
            #[inline(always)]
            |i| dv * x[i],
        );
        dw.add(2 * dim, dv);
        dw.add(2 * dim + 1, dk);
        add_multiple(dv, normal, dz);
    }

    fn theta_len(shape: Shape) -> usize {
        2 * shape.dim + 1
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        // u = 0 changes nothing; w is not 0, or there would be no way out.
        w.fill(like.lift(0.0));
        let share = like.lift(1.0) / like.lift(shape.dim as f32).sqrt();
        w[shape.dim..2 * shape.dim].fill(share);
        w[2 * shape.dim + 1] = like.lift(1.0);
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let dim = shape.dim;
        let normal = &theta[dim..2 * dim];
        let a = dot(normal, &theta[..dim]);
        let k = a.constant(MIN_SLOPE) + softplus(a + a.constant(SHIFT));
        w[..=2 * dim].copy_from_slice(theta);
        w[2 * dim + 1] = k;
        add_multiple((k - a.lift(1.0) - a) / square(normal), normal, &mut w[..dim]);
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        // û = u + f w with f = (k − 1 − a)/n, a = u·w, n = |w|², and k a function of a.
        let dim = shape.dim;
        let (u, normal) = (&theta[..dim], &theta[dim..2 * dim]);
        let (du, k) = (&dw[..dim], w[2 * dim + 1]);
        let (a, n) = (dot(normal, u), square(normal));
        let f = (k - k.lift(1.0) - a) / n;
        let df = dot(normal, du);
        let dk = dw[2 * dim + 1] + df / n;
        let da = dk * logistic(a + a.constant(SHIFT)) - df / n;
        let dn = -(df * f / n);
        add_multiple(k.lift(1.0), dw, &mut dtheta[..=2 * dim]);
        add_multiple(da, normal, &mut dtheta[..dim]);
        let dnormal = &mut dtheta[dim..2 * dim];
        add_multiple(f, du, dnormal);
        add_multiple(da, u, dnormal);
        add_multiple(dn + dn, normal, dnormal);
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let dim = shape.dim;
        let (normal, k) = (&w[dim..2 * dim], w[2 * dim + 1]);
        theta.copy_from_slice(&w[..=2 * dim]);
        // The inverse of softplus, of what k has above its floor.
        let above = (k - k.constant(MIN_SLOPE)).max(k.lift(1e-8));
        let a = above + ln_one_minus_exp(above) - k.constant(SHIFT);
        add_multiple((a - (k - k.lift(1.0))) / square(normal), normal, &mut theta[..dim]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_gives_no_push_for_orthogonal_u_and_w() {
        let expected = libm::log(libm::expm1(1.0 - MIN_SLOPE));
        assert!((SHIFT - expected).abs() < 1e-15, "{expected:.17}");
    }

    #[test]
    fn w_of_zeros_moves_everything_alike() {
        let shape = Shape::new(2, 0, 0);
        let mut w = [f64::NAN; 6];
        Planar::constrain(shape, &[3.0, -4.0, 0.0, 0.0, 0.5], &mut w);
        let mut x = [1.0, 2.0];
        let ladj = Planar::forward(shape, &w[..], &mut x, &mut []);
        let t = libm::tanh(0.5);
        assert!((x[0] - (1.0 + 3.0 * t)).abs() < 1e-15 && (x[1] - (2.0 - 4.0 * t)).abs() < 1e-15);
        assert!(ladj.abs() < 1e-15);
    }

    #[test]
    fn the_inverse_is_good_to_twelve_digits_of_the_flattest_layer() {
        // w·u = −20 in θ presses k to its floor, 1e-3.
        let shape = Shape::new(1, 0, 0);
        let mut w = [f64::NAN; 4];
        Planar::constrain(shape, &[-10.0, 2.0, 0.3], &mut w);
        assert!(w[3] < 1.1e-3);
        for i in -40..=40 {
            let x = 0.1 * f64::from(i);
            let mut z = [x];
            Planar::forward(shape, &w[..], &mut z, &mut []);
            Planar::inverse(shape, &w[..], &mut z, &mut []);
            assert!((z[0] - x).abs() < 1e-12, "{x}: {}", z[0]);
        }
    }
}
