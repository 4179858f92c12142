//! Linear map by the exponential of a matrix: z = exp(M) x, as the first N terms of its series.
//! Any M gives a bijection of determinant exp(tr M), and the inverse is the exponential of −M.
//!
//! # Formula
//!
//! z = t₀ + t₁ + … + t_N with t₀ = x and tᵢ = M tᵢ₋₁ / i, N being the layer's argument, 1 to 32;
//! ladj = tr M. Both this ladj and the inverse belong to exp(M), so they hold up to the terms that
//! are left out: with r = ‖M‖ these are below (r^(N+1) / (N+1)!) eʳ of |x|.
//!
//! # Parameters
//!
//! `D D` free parameters: M \[D, D\], row by row. Weights: M, then tr M \[1\].
//!
//! A reader refuses an M for which the series of N terms may be no bijection. It is exp(M) (1 − E)
//! with E = M^(N+1)/N! ∫ uᴺ exp(−u M) du over 0 ≤ u ≤ 1, whose norm is at most (r^(N+1)/(N+1)!) eʳ; so
//! where that is below 1 the series has an inverse. r may be either of two bounds on a norm of M:
//! the largest Σⱼ |Mᵢⱼ|, or the root of the largest Σⱼ |Mᵢ·Mⱼ|, Mᵢ being the rows. The second is far
//! smaller for a large matrix of random entries: at N = 8 and D = 64 the first alone would refuse
//! Pyro's initial weights.
//!
//! # Inverse
//!
//! The same series with −M.
//!
//! # Gradient
//!
//! With aᵢ the derivative of the loss by tᵢ: a_N = dz, aᵢ₋₁ = dz + Mᵀ aᵢ / i, dx = a₀, and
//! dM = Σᵢ aᵢ tᵢ₋₁ᵀ / i. The backward pass keeps all tᵢ: (N + 1) D numbers of scratch.
//!
//! # Source
//!
//! Hoogeboom, Satorras, Tomczak and Welling 2020, arXiv:2006.01910. Pyro's MatrixExponential
//! has N = 8 by default.

use super::{Bijection, Shape};
use crate::math::{Real, add_multiple, dot, sum4};
use crate::weights::{Gradient, Packed, Weights};

/// z = Σ Mⁱ x / i!; see the source file's head for weights and gradient.
pub struct MatrixExponential;

/// 2³³/33! is 1e-27: more terms change nothing that `f64` could tell.
const MAX_TERMS: usize = 32;

/// next ← M t · factor.
#[inline(always)]
fn term<R: Real, W: Weights<R>>(w: W, t: &[R], factor: R, next: &mut [R]) {
    for (next, row) in next.iter_mut().zip(w.rows(t.len())) {
        *next = dot(row, t) * factor;
    }
}

/// x ← Σ (sign M)ⁱ x / i!.
#[inline(always)]
fn series<R: Real, W: Weights<R>>(terms: usize, w: W, sign: f32, x: &mut [R], scratch: &mut [R]) {
    let like = x[0];
    let (mut t, rest) = scratch.split_at_mut(x.len());
    let mut next = &mut rest[..x.len()];
    t.copy_from_slice(x);
    for i in 1..=terms {
        term(w, t, like.lift(sign) / like.lift(i as f32), next);
        for (x, next) in x.iter_mut().zip(&*next) {
            *x = *x + *next;
        }
        core::mem::swap(&mut t, &mut next);
    }
}

/// Whether N terms are a bijection where a norm of M is at most `norm`; see the head.
fn inverts(terms: usize, norm: f32) -> bool {
    let rest = (1..=terms + 1).fold(1.0, |rest, i| rest * (norm / i as f32));
    rest * Real::exp(norm) < 1.0
}

impl Bijection for MatrixExponential {
    fn exists(shape: Shape) -> bool {
        (1..=MAX_TERMS).contains(&shape.arg) && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim * shape.dim + 1
    }
    fn scratch_len(shape: Shape) -> usize {
        2 * shape.dim
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        (shape.arg + 1) * shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.arg * shape.dim * (shape.dim + 1)
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let rows = || Weights::<f32>::rows(w, shape.dim);
        let row_norm = |row: Packed| row.iter().fold(0.0, |sum, m| sum + m.abs());
        let inner =
            |a: Packed, b: Packed| a.iter().zip(b.iter()).fold(0.0, |sum, (a, b)| sum + a * b);
        let gram_norm = |a: Packed| rows().fold(0.0, |sum, b| sum + inner(a, b).abs());
        // The cheaper one first: the other takes D³ products.
        inverts(shape.arg, rows().map(row_norm).fold(0.0, f32::max))
            || inverts(shape.arg, Real::sqrt(rows().map(gram_norm).fold(0.0, f32::max)))
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        series(shape.arg, w, 1.0, x, scratch);
        w.at(x.len() * x.len(), x[0])
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        series(shape.arg, w, -1.0, z, scratch);
        -w.at(z.len() * z.len(), z[0])
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
        let (dim, terms, like) = (shape.dim, shape.arg, x[0]);
        let (tape, rest) = scratch.split_at_mut((terms - 1) * dim);
        let (mut a, rest) = rest.split_at_mut(dim);
        let mut next = &mut rest[..dim];
        // t₁ … t_(N − 1); t₀ is x.
        for i in 1..terms {
            let (before, after) = tape.split_at_mut((i - 1) * dim);
            let t = if i == 1 { &*x } else { &before[(i - 2) * dim..] };
            term(w, t, like.lift(1.0) / like.lift(i as f32), &mut after[..dim]);
        }
        a.copy_from_slice(dz);
        for i in (1..=terms).rev() {
            let t = if i == 1 { &*x } else { &tape[(i - 2) * dim..(i - 1) * dim] };
            let factor = like.lift(1.0) / like.lift(i as f32);
            next.copy_from_slice(dz);
            for (r, (a, row)) in a.iter().zip(w.rows(dim)).enumerate() {
                let share = *a * factor;
                add_multiple(share, row, next);
                dw.add_each(
                    r * dim,
                    dim,
                    #[inline(always)]
                    |j| share * t[j],
                );
            }
            core::mem::swap(&mut a, &mut next);
        }
        dz.copy_from_slice(a);
        dw.add(dim * dim, dladj);
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * shape.dim
    }

    fn neutral<R: Real>(_: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let dim = shape.dim;
        w[..dim * dim].copy_from_slice(theta);
        w[dim * dim] = sum4(&theta[..dim], theta[0], |_, i| theta[i * dim + i]);
    }

    fn constrain_backward<R: Real>(shape: Shape, _: &[R], _: &[R], dw: &[R], dtheta: &mut [R]) {
        for (dtheta, dw) in dtheta.iter_mut().zip(dw) {
            *dtheta = *dtheta + *dw;
        }
        for dtheta in dtheta.iter_mut().step_by(shape.dim + 1) {
            *dtheta = *dtheta + dw[shape.dim * shape.dim];
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
    fn the_exponential_of_a_turn_is_a_rotation() {
        let (shape, angle) = (Shape::new(2, 24, 0), 1.2);
        let w = [0.0, -angle, angle, 0.0, 0.0];
        let mut x = [3.0, 0.0];
        let ladj = MatrixExponential::forward(shape, &w[..], &mut x, &mut [f64::NAN; 4]);
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        assert!((x[0] - 3.0 * cos).abs() < 1e-14 && (x[1] - 3.0 * sin).abs() < 1e-14, "{x:?}");
        assert_eq!(ladj, 0.0);
    }

    #[test]
    fn n_terms_are_the_polynomial_of_degree_n() {
        let mut x = [1.0];
        let shape = Shape::new(1, 4, 0);
        MatrixExponential::forward(shape, &[2.0, 2.0][..], &mut x, &mut [f64::NAN; 2]);
        assert!((x[0] - (1.0 + 2.0 + 2.0 + 4.0 / 3.0 + 2.0 / 3.0)).abs() < 1e-15);
    }

    #[test]
    fn a_series_that_maps_to_zero_is_refused_and_its_large_but_harmless_neighbour_is_not() {
        let valid = |terms, m: &[f32], dim| {
            let mut words = [0; 1025];
            for (word, m) in words.iter_mut().zip(m) {
                *word = m.to_bits().to_le();
            }
            let bytes = bytemuck::cast_slice(&words[..=dim * dim]);
            MatrixExponential::valid(Shape::new(dim, terms, 0), Packed::new(bytes).unwrap())
        };
        // 1 + m has its root at −1, 1 + m + m²/2 + m³/6 near −1.596.
        assert!(!valid(1, &[-1.0], 1) && !valid(3, &[-1.5961], 1));
        assert!(valid(1, &[-0.8], 1) && valid(8, &[-1.5961], 1));
        // Row sums of 4: with equal entries the norm is 4 too; with the signs of a Hadamard matrix
        // the rows are orthogonal and the norm is √32/8.
        let mut m = [0.125_f32; 32 * 32];
        assert!(!valid(8, &m, 32));
        for (k, m) in m.iter_mut().enumerate() {
            let (i, j) = (k / 32, k % 32);
            if (i & j).count_ones() % 2 == 1 {
                *m = -*m;
            }
        }
        assert!(valid(8, &m, 32));
    }
}
