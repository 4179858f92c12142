//! Radial layer: pulls x towards a centre, or pushes it away, most where it is near.
//! It makes a bump or a hollow of the density around one point.
//!
//! # Formula
//!
//! z = c + s (x − c) with r = |x − c|, s = (γ + r)/(α + r), γ = α + β. That is the paper's
//! z = x + β (x − c)/(α + r).
//!
//! Across the ray from c space is scaled by s, along it by q/(α + r)², q = αγ + 2αr + r². So
//! ladj = (D − 1) ln s + ln q − 2 ln(α + r), one logarithm of a product of positive numbers. The
//! paper's 1 + βh + βh′r with h = 1/(α + r) is that q/(α + r)².
//!
//! # Parameters
//!
//! `D + 2` free parameters: c \[D\], ln α \[1\], ln γ \[1\]. Weights: c \[D\], α \[1\], γ \[1\], the
//! last two positive: γ > 0 is the paper's β > −α.
//!
//! # Inverse
//!
//! With ρ = |z − c|, r is the positive root of r² + (γ − ρ) r = αρ, taken without cancellation.
//! Then x = c + (z − c) (α + r)/(γ + r).
//!
//! # Gradient
//!
//! With y = x − c and p = α + r: ds = y·dz + dladj (D − 1)/s, dq = dladj/q,
//! dr = ds (α − γ)/p² + 2 dq p − 2 dladj/p, dα = −ds s/p − 2 dladj/p + dq (γ + 2 r),
//! dγ = ds/p + dq α; dy = s dz + dr y/r is dx, and dc = dz − dy.
//!
//! # Source
//!
//! Rezende and Mohamed 2015, arXiv:1505.05770, eqs. 13 and 14, and appendix A.2.

use super::{Bijection, Shape};
use crate::math::{LogProduct, Real, sum4};
use crate::weights::{Gradient, Packed, Weights};

/// z = c + (x − c) (γ + |x − c|)/(α + |x − c|); see the source file's head.
pub struct Radial;

/// |x − c|.
#[inline(always)]
fn distance<R: Real, W: Weights<R>>(x: &[R], centre: W) -> R {
    let square = |x: R, i| {
        let y = x - centre.at(i, x);
        y * y
    };
    sum4(x, x[0], square).sqrt()
}

/// x ← c + s (x − c).
#[inline(always)]
fn scale<R: Real, W: Weights<R>>(s: R, centre: W, x: &mut [R]) {
    for (x, c) in x.iter_mut().zip(centre.values(s)) {
        *x = c + s * (*x - c);
    }
}

/// αγ + 2αr + r², the head's q.
#[inline(always)]
fn along<R: Real>(alpha: R, gamma: R, r: R) -> R {
    alpha * gamma + (alpha + alpha + r) * r
}

/// ladj at the distance r of x.
#[inline(always)]
fn ladj<R: Real>(dim: usize, alpha: R, gamma: R, r: R) -> R {
    let per = r.lift(1.0) / (alpha + r);
    let s = (gamma + r) * per;
    let mut product = LogProduct::new(r);
    product.multiply(along(alpha, gamma, r) * per * per);
    for _ in 1..dim {
        product.multiply(s);
    }
    product.ln()
}

impl Bijection for Radial {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim + 2
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        3 * shape.dim + 8
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        w.get(shape.dim) > 0.0 && w.get(shape.dim + 1) > 0.0
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let centre = w.part(0, shape.dim);
        let [alpha, gamma] = w.load(shape.dim, x[0]);
        let r = distance(x, centre);
        scale((gamma + r) / (alpha + r), centre, x);
        ladj(shape.dim, alpha, gamma, r)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let centre = w.part(0, shape.dim);
        let [alpha, gamma] = w.load(shape.dim, z[0]);
        let rho = distance(z, centre);
        // r = ½ (b + √(b² + 4αρ)), b = ρ − γ; where b < 0, αρ over the other root's size.
        let (zero, half) = (rho.lift(0.0), rho.lift(0.5));
        let (b, product) = (rho - gamma, alpha * rho);
        let larger = half * (b.abs() + (b * b + rho.lift(4.0) * product).sqrt());
        // `larger` is positive wherever b < 0.
        let r = R::select(b.ge(zero), larger, product / larger);
        scale((alpha + r) / (gamma + r), centre, z);
        -ladj(shape.dim, alpha, gamma, r)
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
        let centre = w.part(0, dim);
        let [alpha, gamma] = w.load(dim, x[0]);
        let r = distance(x, centre);
        let per = r.lift(1.0) / (alpha + r);
        let s = (gamma + r) * per;
        let across = r.lift((dim - 1) as f32);
        let ds = sum4(x, r, |x, i| (x - centre.at(i, x)) * dz[i]) + dladj * across / s;
        let dq = dladj / along(alpha, gamma, r);
        let pull = (dladj + dladj) * per;
        let dr = ds * (alpha - gamma) * per * per + (dq + dq) * (alpha + r) - pull;
        // The direction of the ray, y/r, counts as 0 at the centre.
        let per_r = dr / r.max(r.lift(1e-30));
        for (i, (x, d)) in x.iter().zip(dz.iter_mut()).enumerate() {
            let dx = s * *d + per_r * (*x - centre.at(i, *x));
            dw.add(i, *d - dx);
            *d = dx;
        }
        dw.add(dim, dq * (gamma + r + r) - ds * s * per - pull);
        dw.add(dim + 1, ds * per + dq * alpha);
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim + 2
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        w[shape.dim..].fill(like.lift(1.0));
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        w.copy_from_slice(theta);
        for w in &mut w[shape.dim..] {
            *w = w.exp();
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, _: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        for (i, dtheta) in dtheta.iter_mut().enumerate() {
            let factor = if i < shape.dim { w[i].lift(1.0) } else { w[i] };
            *dtheta = *dtheta + dw[i] * factor;
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(w);
        for theta in &mut theta[shape.dim..] {
            *theta = theta.ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladj_is_the_paper_s_at_a_point_worked_by_hand() {
        // α = 2, β = 3, c = 0, x = (3, 4, 0): r = 5, h = 1/7, h′ = −1/49;
        // 1 + βh = 10/7, 1 + βh + βh′r = 10/7 − 15/49 = 55/49.
        let mut x = [3.0_f64, 4.0, 0.0];
        let w = [0.0, 0.0, 0.0, 2.0, 5.0];
        let ladj = Radial::forward(Shape::new(3, 0, 0), &w[..], &mut x, &mut []);
        assert!((ladj - libm::log(100.0 / 49.0 * 55.0 / 49.0)).abs() < 1e-15);
        assert!((x[0] - 30.0 / 7.0).abs() < 1e-15 && (x[1] - 40.0 / 7.0).abs() < 1e-15);
    }

    #[test]
    fn the_centre_stays_where_it_is_and_has_a_gradient() {
        let shape = Shape::new(2, 0, 0);
        let w = [1.0_f64, -1.0, 0.5, 2.0];
        let mut x = [1.0, -1.0];
        let ladj = Radial::forward(shape, &w[..], &mut x, &mut []);
        assert_eq!(x, [1.0, -1.0]);
        assert!((ladj - 2.0 * libm::log(4.0)).abs() < 1e-15);
        let back = Radial::inverse(shape, &w[..], &mut x, &mut []);
        assert_eq!((x, back), ([1.0, -1.0], -ladj));
        let (mut dz, mut dw) = ([1.0, 2.0], [0.0; 4]);
        Radial::backward(shape, &w[..], &mut x, &mut dz, 1.0, &mut dw[..], &mut []);
        assert_eq!(dz, [4.0, 8.0]);
    }
}
