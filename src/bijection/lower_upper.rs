//! Linear map by the factors of its LU decomposition: z = P L U x.
//! A full matrix whose determinant is the product of U's diagonal, so that ladj costs nothing.
//!
//! # Formula
//!
//! z = P (L (U x)) with U upper triangular with any nonzero diagonal, L lower triangular with ones
//! on its diagonal, and P a fixed permutation, (P s)ᵢ = s\[pᵢ\]. ladj = Σ ln |Uᵢᵢ|.
//!
//! # Parameters
//!
//! `D D` free parameters: one matrix \[D, D\], row by row, with L below the diagonal and U on and
//! above it. Weights: that matrix, p \[D\] (constants), Σ ln |Uᵢᵢ| \[1\]; the sum is stored so that a
//! device takes no logarithm here.
//!
//! # Inverse
//!
//! P backwards, forward substitution through L, back-substitution through U, which divides by Uᵢᵢ.
//!
//! # Gradient
//!
//! With t = U x and s = L t: ds = Pᵀ dz; dLᵢⱼ = dsᵢ tⱼ below the diagonal; dt = Lᵀ ds;
//! dUᵢⱼ = dtᵢ xⱼ on and above it; dx = Uᵀ dt. The stored sum passes dladj / Uᵢᵢ on to the diagonal.
//! The optimiser can move an Uᵢᵢ across zero, where the layer is no bijection; the term ln |Uᵢᵢ| of
//! the likelihood pushes it away from there.
//!
//! # Source
//!
//! Kingma and Dhariwal 2018, arXiv:1807.03039, eq. 10 (with U's diagonal s inside U). Pyro's
//! GeneralizedChannelPermute stores the same matrix.

use super::permutation::{self, Permutation};
use super::{Bijection, Shape};
use crate::math::{LogProduct, Real, add_multiple, dot};
use crate::weights::{Gradient, Packed, Weights};

/// z = P L U x; see the source file's head for weights and gradient.
pub struct LowerUpper;

impl Bijection for LowerUpper {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim * shape.dim + shape.dim + 1
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * shape.dim
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let dim = shape.dim;
        (0..dim).all(|i| w.get(i * dim + i) != 0.0)
            && permutation::valid(Weights::<f32>::part(w, dim * dim, dim))
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        let dim = x.len();
        // Row i of U needs xᵢ and what follows, so the rows can be done in place from the first on;
        // L likewise from the last on.
        for i in 0..dim {
            if let Some(rest @ [_, ..]) = x.get_mut(i..) {
                rest[0] = dot(w.part(i * dim + i, dim - i), rest);
            }
        }
        for i in (1..dim).rev() {
            if let Some((before @ [_, ..], [x, ..])) = x.split_at_mut_checked(i) {
                *x = *x + dot(w.part(i * dim, i), before);
            }
        }
        Permutation::forward(shape, w.part(dim * dim, dim), x, scratch);
        w.at(dim * dim + dim, x[0])
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        let dim = z.len();
        Permutation::inverse(shape, w.part(dim * dim, dim), z, scratch);
        for i in 1..dim {
            z[i] = z[i] - dot(w.part(i * dim, i), &z[..i]);
        }
        z[dim - 1] = z[dim - 1] / w.at(dim * dim - 1, z[0]);
        for i in (0..dim - 1).rev() {
            let rest = dot(w.part(i * dim + i + 1, dim - i - 1), &z[i + 1..]);
            z[i] = (z[i] - rest) / w.at(i * dim + i, rest);
        }
        -w.at(dim * dim + dim, z[0])
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        mut dw: G,
        scratch: &mut [R],
    ) {
        let dim = shape.dim;
        Permutation::inverse(shape, w.part(dim * dim, dim), dz, scratch);
        let t = &mut scratch[..dim];
        for (i, t) in t.iter_mut().enumerate() {
            *t = dot(w.part(i * dim + i, dim - i), &x[i..]);
        }
        // dt = Lᵀ ds in place: row i adds to what stands before it, so its own dsᵢ is still whole.
        for i in 1..dim {
            let ds = dz[i];
            dw.add_each(
                i * dim,
                i,
                #[inline(always)]
                |j| ds * t[j],
            );
            add_multiple(ds, w.part(i * dim, i), &mut dz[..i]);
        }
        // dx = Uᵀ dt, the other way round.
        for i in (0..dim).rev() {
            let (dt, diagonal) = (dz[i], i * dim + i);
            dw.add_each(
                diagonal,
                dim - i,
                #[inline(always)]
                |j| dt * x[i + j],
            );
            dz[i] = dt * w.at(diagonal, dt);
            add_multiple(dt, w.part(diagonal + 1, dim - i - 1), &mut dz[i + 1..]);
        }
        dw.add(dim * dim + dim, dladj);
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * shape.dim
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        let dim = shape.dim;
        let (matrix, rest) = w.split_at_mut(dim * dim);
        matrix.fill(like.lift(0.0));
        matrix.iter_mut().step_by(dim + 1).for_each(|diagonal| *diagonal = like.lift(1.0));
        Permutation::neutral(shape, like, &mut rest[..dim]);
        rest[dim] = like.lift(0.0);
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let dim = shape.dim;
        w[..dim * dim].copy_from_slice(theta);
        let mut product = LogProduct::new(theta[0]);
        theta.iter().step_by(dim + 1).for_each(|diagonal| product.multiply(diagonal.abs()));
        w[dim * dim + dim] = product.ln();
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], _: &[R], dw: &[R], dtheta: &mut [R]) {
        let dim = shape.dim;
        for (dtheta, dw) in dtheta.iter_mut().zip(dw) {
            *dtheta = *dtheta + *dw;
        }
        let diagonals = dtheta.iter_mut().zip(theta).step_by(dim + 1);
        for (dtheta, diagonal) in diagonals {
            *dtheta = *dtheta + dw[dim * dim + dim] / *diagonal;
        }
    }

    fn unconstrain<R: Real>(_: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(&w[..theta.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_factors_and_a_swap_are_the_product_of_their_matrices() {
        // P L U = (0 1; 1 0) (1 0; 3 1) (2 5; 0 −4) = (6 11; 2 5), of determinant 8.
        let shape = Shape::new(2, 0, 0);
        let mut w = [f64::NAN; 7];
        LowerUpper::neutral(shape, 0.0, &mut w);
        [w[4], w[5]] = [1.0, 0.0];
        LowerUpper::constrain(shape, &[2.0, 5.0, 3.0, -4.0], &mut w);
        let mut x = [1.0, 10.0];
        let ladj = LowerUpper::forward(shape, &w[..], &mut x, &mut [0.0; 2]);
        assert_eq!(x, [116.0, 52.0]);
        assert!((ladj - 3.0 * core::f64::consts::LN_2).abs() < 1e-15);
    }
}
