//! Fixed reordering of the axes.
//!
//! A volume does not change when its axes are renamed: ladj = 0.
//!
//! # Formula
//!
//! ```text
//! zᵢ = x[pᵢ]
//! ladj = 0
//! ```
//!
//! # Parameters
//!
//! `0` free parameters: the order is drawn once and never learnt, θ is empty.
//!
//! Packed weights: p \[D\], the numbers 0 … D − 1 in any order, constants.
//!
//! # Inverse
//!
//! ```text
//! x[pᵢ] = zᵢ
//! ladj of the inverse = 0
//! ```
//!
//! # Gradient
//!
//! The transpose of a permutation is its inverse, so dz goes back the way that x came:
//!
//! ```text
//! dx[pᵢ] = dzᵢ
//! ```
//!
//! # Source
//!
//! Kingma and Dhariwal 2018, "Glow", arXiv:1807.03039, section 3.2, where it is the special case of
//! a learnt linear map.

use super::{Bijection, Shape};
use crate::math::Real;
use crate::model::MAX_DIM;
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = x\[pᵢ\].
pub struct Permutation;

/// Whether these are the numbers 0 … n − 1 in any order, n being how many there are.
pub(super) fn valid(w: Packed) -> bool {
    let len = Weights::<f32>::len(w);
    // Every number once; a bit for each that was seen.
    let mut seen = [0_u32; MAX_DIM / 32];
    w.iter().all(|p| {
        let i = p as usize;
        let whole = p >= 0.0 && i < len && i as f32 == p;
        let Some(word) = seen.get_mut(i / 32).filter(|_| whole) else { return false };
        let bit = 1 << (i % 32);
        let first = *word & bit == 0;
        *word |= bit;
        first
    })
}

impl Bijection for Permutation {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.dim
    }
    fn multiply_adds(_: Shape) -> usize {
        0
    }
    fn valid(_: Shape, w: Packed) -> bool {
        valid(w)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(_: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        let like = x[0];
        scratch.iter_mut().zip(&*x).for_each(|(old, x)| *old = *x);
        for (i, x) in x.iter_mut().enumerate() {
            // There always is one; a check is kept that cannot panic.
            if let Some(old) = scratch.get(w.at(i, like).to_index()) {
                *x = *old;
            }
        }
        like.lift(0.0)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(_: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        let like = z[0];
        let old = &mut scratch[..z.len()];
        old.copy_from_slice(z);
        for (i, old) in old.iter().enumerate() {
            z[w.at(i, like).to_index()] = *old;
        }
        like.lift(0.0)
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        _: &mut [R],
        dz: &mut [R],
        _: R,
        _: G,
        scratch: &mut [R],
    ) {
        // The transpose of a permutation is its inverse.
        Self::inverse(shape, w, dz, scratch);
    }

    fn theta_len(_: Shape) -> usize {
        0
    }
    fn neutral<R: Real>(_: Shape, like: R, w: &mut [R]) {
        for (i, w) in w.iter_mut().enumerate() {
            *w = like.lift(i as f32);
        }
    }
    fn constrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
    fn constrain_backward<R: Real>(_: Shape, _: &[R], _: &[R], _: &[R], _: &mut [R]) {}
    fn unconstrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
}
