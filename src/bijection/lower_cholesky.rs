//! Linear map by a Cholesky factor: z = L x + shift, L lower triangular with a positive diagonal.
//! It gives data of any covariance the unit one, or the other way round through its inverse.
//!
//! # Formula
//!
//! zᵢ = Σⱼ Lᵢⱼ xⱼ + shiftᵢ, j ≤ i. ladj = Σ ln Lᵢᵢ. The shift is added behind L, not subtracted
//! before it: data of mean μ and covariance C Cᵀ is whitened by L = C⁻¹ and shift = −L μ.
//!
//! # Parameters
//!
//! `D (D + 3) / 2` free parameters: shift \[D\], then the triangle row by row with ln Lᵢᵢ in the place
//! of the diagonal. Weights: shift \[D\], the triangle row by row, L₀₀, L₁₀, L₁₁, L₂₀, … \[D (D + 1)/2\],
//! Σ ln Lᵢᵢ \[1\]; the sum is stored so that a device takes no logarithm here.
//!
//! # Inverse
//!
//! Forward substitution: xᵢ = (zᵢ − shiftᵢ − Σⱼ Lᵢⱼ xⱼ) / Lᵢᵢ, j < i.
//!
//! # Gradient
//!
//! dx = Lᵀ dz; dLᵢⱼ = dzᵢ xⱼ; dshift = dz. ln Lᵢᵢ gets dLᵢᵢ Lᵢᵢ + dladj.
//!
//! # Source
//!
//! The Cholesky factor of a covariance, or of its inverse, is textbook matter (Golub and Van Loan
//! 2013, section 4.2). Pyro's LowerCholeskyAffine, y = L z + loc, is this `forward` with shift = loc.

use super::{Bijection, Shape};
use crate::math::{Real, add_multiple, dot, sum4};
use crate::weights::{Gradient, Packed, Weights};

/// z = L x + shift; see the source file's head for weights and gradient.
pub struct LowerCholesky;

/// Where row i of the triangle begins, behind the shifts; its diagonal is entry i.
#[inline(always)]
fn row(dim: usize, i: usize) -> usize {
    dim + i * (i + 1) / 2
}

impl Bijection for LowerCholesky {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        row(shape.dim, shape.dim) + 1
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * (shape.dim + 1) / 2
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        (0..shape.dim).all(|i| w.get(row(shape.dim, i) + i) > 0.0)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let (dim, like) = (x.len(), x[0]);
        for i in (0..dim).rev() {
            x[i] = dot(w.part(row(dim, i), i + 1), &x[..=i]) + w.at(i, like);
        }
        w.at(row(dim, dim), like)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let (dim, like) = (z.len(), z[0]);
        z[0] = (z[0] - w.at(0, like)) / w.at(dim, like);
        for i in 1..dim {
            let start = row(dim, i);
            let before = dot(w.part(start, i), &z[..i]);
            z[i] = (z[i] - w.at(i, like) - before) / w.at(start + i, like);
        }
        -w.at(row(dim, dim), like)
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
        // dx = Lᵀ dz in place: row i adds to what stands before it, so its own dzᵢ is still whole.
        for i in 0..dim {
            let (d, start) = (dz[i], row(dim, i));
            dw.add(i, d);
            dw.add_each(
                start,
                i + 1,
                #[inline(always)]
                |j| d * x[j],
            );
            dz[i] = d * w.at(start + i, d);
            add_multiple(d, w.part(start, i), &mut dz[..i]);
        }
        dw.add(row(dim, dim), dladj);
    }

    fn theta_len(shape: Shape) -> usize {
        row(shape.dim, shape.dim)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        for i in 0..shape.dim {
            w[row(shape.dim, i) + i] = like.lift(1.0);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let dim = shape.dim;
        w[..theta.len()].copy_from_slice(theta);
        for i in 0..dim {
            let diagonal = row(dim, i) + i;
            w[diagonal] = theta[diagonal].exp();
        }
        w[row(dim, dim)] = sum4(&theta[..dim], theta[0], |_, i| theta[row(dim, i) + i]);
    }

    fn constrain_backward<R: Real>(shape: Shape, _: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let dim = shape.dim;
        for i in 0..dim {
            dtheta[i] = dtheta[i] + dw[i];
            let (start, diagonal) = (row(dim, i), row(dim, i) + i);
            for j in start..diagonal {
                dtheta[j] = dtheta[j] + dw[j];
            }
            dtheta[diagonal] = dtheta[diagonal] + dw[diagonal] * w[diagonal] + dw[row(dim, dim)];
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(&w[..theta.len()]);
        for i in 0..shape.dim {
            let diagonal = row(shape.dim, i) + i;
            theta[diagonal] = w[diagonal].ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_is_read_row_by_row_and_the_shift_added_last() {
        let shape = Shape::new(3, 0, 0);
        // L = (2 0 0; 3 5 0; 7 11 13).
        let w = [100.0, 200.0, 300.0, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0, f64::NAN];
        let mut x = [1.0, 2.0, 3.0];
        LowerCholesky::forward(shape, &w[..], &mut x, &mut []);
        assert_eq!(x, [102.0, 213.0, 368.0]);
        LowerCholesky::inverse(shape, &w[..], &mut x, &mut []);
        assert_eq!(x, [1.0, 2.0, 3.0]);
    }
}
