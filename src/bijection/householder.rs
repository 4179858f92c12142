//! Product of M Householder reflections: a rotation (or a reflected one).
//!
//! A reflection mirrors x at the plane across u; D of them, one after the other, reach every
//! rotation, or every reflected one where D is odd. Volumes stay as they are: ladj = 0.
//!
//! # Formula
//!
//! ```text
//! z = x − (u·x) u, once for each u, with |u|² = 2
//! ladj = 0
//! ```
//!
//! With u of this length a reflection is one dot product and one update, no division: 2 M D
//! multiply-adds.
//!
//! # Parameters
//!
//! `M D` free parameters: θ is v \[M, D\], vectors of any length.
//!
//! Packed weights: u \[M, D\], |u|² = 2, where u = √2 v/|v|. A v of zeros makes a u of zeros, which
//! reflects nothing.
//!
//! # Inverse
//!
//! A reflection is its own inverse, so the same reflections in reverse order:
//!
//! ```text
//! x = z − (u·z) u, from the last u to the first
//! ladj of the inverse = 0
//! ```
//!
//! # Gradient
//!
//! Of one reflection:
//!
//! ```text
//! a = u·x, b = u·dz
//! dx = dz − b u
//! du = −(a dz + b x)
//! ```
//!
//! To θ: dv = (√2/|v|) (du − ½ (u·du) u); the part along u changes nothing. The backward pass
//! reflects the output back to recover each reflection's input, so that nothing is stored.
//!
//! # Source
//!
//! Tomczak and Welling 2016, "Improving variational auto-encoders using Householder flow",
//! arXiv:1611.09630, eq. 5.

use super::{Bijection, Shape};
use crate::math::{Real, Sum4, add_multiple, dot};
use crate::weights::{Gradient, Packed, Weights};

/// M reflections z = x − (u·x) u one after the other; see the source file's head for the gradient.
pub struct Householder;

/// The longest product; beyond D reflections nothing is gained.
const MAX_REFLECTIONS: usize = 4096;
/// Numbers that a loop takes at a time: as many as a small core has registers for, with two weights each.
const BLOCK: usize = 8;

#[inline(always)]
fn reflect<R: Real, W: Weights<R>>(u: W, x: &mut [R]) -> R {
    let a = dot(u, x);
    add_multiple(-a, u, x);
    a
}

/// All reflections where D is a multiple of [`BLOCK`]: on its way along x each one leaves the dot product
/// that the next begins with, in the order of [`Sum4`].
#[inline(always)]
fn reflect_blocks<R: Real, W: Weights<R>>(
    mut rows: impl Iterator<Item = W>,
    zero: R,
    x: &mut [[R; BLOCK]],
) {
    let Some(mut u) = rows.next() else { return };
    let mut sum = Sum4::new(zero);
    for (x, u) in x.iter().zip(u.chunks::<BLOCK>(zero)) {
        for (i, (x, u)) in x.iter().zip(u).enumerate() {
            sum.add_product(i, u, *x);
        }
    }
    let mut a = -sum.total();
    for next in rows {
        let mut sum = Sum4::new(zero);
        for ((x, u), next) in x.iter_mut().zip(u.chunks(zero)).zip(next.chunks(zero)) {
            for (i, ((x, u), next)) in
                x.iter_mut().zip::<[R; BLOCK]>(u).zip::<[R; BLOCK]>(next).enumerate()
            {
                *x = x.add_product(a, u);
                sum.add_product(i, next, *x);
            }
        }
        a = -sum.total();
        u = next;
    }
    for (x, u) in x.iter_mut().zip(u.chunks::<BLOCK>(zero)) {
        for (x, u) in x.iter_mut().zip(u) {
            *x = x.add_product(a, u);
        }
    }
}

/// Turns a reflection's output `x` into its input and `dz` into dx, and adds to `du`.
#[inline(always)]
pub(super) fn unreflect<R: Real, W: Weights<R>>(
    u: W,
    x: &mut [R],
    dz: &mut [R],
    mut du: impl Gradient<R>,
) {
    // A reflection is its own inverse, and u·(its input) = −u·(its output).
    let (minus_a, minus_b) = (reflect(u, x), -dot(u, dz));
    du.add_each(
        0,
        x.len(),
        #[inline(always)]
        |i| (minus_a * dz[i]).add_product(minus_b, x[i]),
    );
    add_multiple(minus_b, u, dz);
}

impl Bijection for Householder {
    fn exists(shape: Shape) -> bool {
        (1..=MAX_REFLECTIONS).contains(&shape.arg) && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.arg * shape.dim
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        2 * shape.arg * shape.dim
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        // |u|² = 2 to f32's accuracy, or 0: a reflection of length zero changes nothing.
        (0..shape.arg).all(|m| {
            let u = Weights::<f32>::part(w, m * shape.dim, shape.dim);
            let square = u.iter().fold(0.0_f32, |sum, u| sum + u * u);
            (square - 2.0).abs() < 1e-3 || square == 0.0
        })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let zero = x[0].lift(0.0);
        let rows = w.rows(x.len());
        match x.as_chunks_mut::<BLOCK>() {
            (blocks, []) => reflect_blocks(rows, zero, blocks),
            _ => rows.for_each(|u| {
                reflect(u, x);
            }),
        }
        zero
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        for m in (0..shape.arg).rev() {
            reflect(w.part(m * z.len(), z.len()), z);
        }
        z[0].lift(0.0)
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        _: R,
        mut dw: G,
        scratch: &mut [R],
    ) {
        Self::forward(shape, w, x, scratch);
        for m in (0..shape.arg).rev() {
            let start = m * shape.dim;
            let u = w.part(start, shape.dim);
            unreflect(u, x, dz, dw.part(start, shape.dim));
        }
    }

    fn theta_len(shape: Shape) -> usize {
        shape.arg * shape.dim
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        // The reflection of one axis, which every M has; an even M cancels to the identity.
        w.fill(like.lift(0.0));
        for u in w.chunks_exact_mut(shape.dim) {
            u[0] = like.constant(core::f64::consts::SQRT_2);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        for (v, u) in theta.chunks_exact(shape.dim).zip(w.chunks_exact_mut(shape.dim)) {
            let factor = v[0].constant(core::f64::consts::SQRT_2) / length(v);
            for (v, u) in v.iter().zip(u) {
                *u = *v * factor;
            }
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        // u = √2 v/|v|, so dv = √2/|v| (du − ½ (u·du) u): the part along u changes nothing.
        let rows = theta.chunks_exact(shape.dim).zip(w.chunks_exact(shape.dim));
        let gradients = dw.chunks_exact(shape.dim).zip(dtheta.chunks_exact_mut(shape.dim));
        for ((v, u), (du, dv)) in rows.zip(gradients) {
            let factor = v[0].constant(core::f64::consts::SQRT_2) / length(v);
            let along = dot(u, du) * v[0].lift(0.5);
            for ((u, du), dv) in u.iter().zip(du).zip(dv) {
                *dv = *dv + factor * (*du - along * *u);
            }
        }
    }

    fn unconstrain<R: Real>(_: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(w);
    }
}

/// |v|, at least 1e-15 so that a vector of zeros becomes a reflection of length zero, not NaN.
fn length<R: Real>(v: &[R]) -> R {
    dot(v, v).max(v[0].lift(1e-30)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_of_zeros_reflects_nothing() {
        let shape = Shape::new(2, 1, 0);
        let mut u = [f64::NAN; 2];
        Householder::constrain(shape, &[0.0, 0.0], &mut u);
        let mut x = [3.0, 4.0];
        Householder::forward(shape, &u[..], &mut x, &mut []);
        assert_eq!(x, [3.0, 4.0]);
    }

    #[test]
    fn one_reflection_swaps_two_axes() {
        let shape = Shape::new(2, 1, 0);
        let mut u = [0.0; 2];
        Householder::constrain(shape, &[1.0, -1.0], &mut u);
        let mut x = [3.0_f64, 4.0];
        Householder::forward(shape, &u[..], &mut x, &mut []);
        assert!((x[0] - 4.0).abs() < 1e-15 && (x[1] - 3.0).abs() < 1e-15);
    }
}
