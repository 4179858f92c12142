//! Element-wise affine map: shifts and scales each axis.
//!
//! It is standardisation at the front of a stack, and the scale and shift between its rotations.
//! ladj is the same for every x.
//!
//! # Formula
//!
//! ```text
//! zᵢ = (xᵢ − shiftᵢ) scaleᵢ
//! ladj = Σ ln scale
//! ```
//!
//! # Parameters
//!
//! `2 D` free parameters: θ is shift \[D\], ln scale \[D\].
//!
//! Packed weights: shift \[D\], scale \[D\] (positive), Σ ln scale \[1\]. The sum is stored so that
//! a device takes no logarithm here.
//!
//! # Inverse
//!
//! ```text
//! xᵢ = zᵢ/scaleᵢ + shiftᵢ
//! ladj of the inverse = −Σ ln scale
//! ```
//!
//! # Gradient
//!
//! ```text
//! dxᵢ = dzᵢ scaleᵢ
//! dshiftᵢ = −dzᵢ scaleᵢ
//! dscaleᵢ = dzᵢ (xᵢ − shiftᵢ)
//! dsum = dladj, sum = Σ ln scale
//! ```
//!
//! To θ: d(ln scaleᵢ) = dscaleᵢ scaleᵢ + dsum; the shift is its own θ.
//!
//! # Source
//!
//! Standardisation; as a layer of a flow the diagonal scaling of Dinh, Krueger and Bengio 2015,
//! "NICE", arXiv:1410.8516, section 3.3, with a shift.

use super::{Bijection, Shape};
use crate::math::{Real, sum4};
use crate::weights::{Gradient, Packed, Weights};

/// zᵢ = (xᵢ − shiftᵢ) scaleᵢ; see the source file's head for weights and gradient.
pub struct Affine;

impl Bijection for Affine {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        2 * shape.dim + 1
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        (0..shape.dim).all(|i| w.get(shape.dim + i) > 0.0)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let like = x[0];
        let ladj = w.at(2 * shape.dim, like);
        let mut rows = w.rows(x.len());
        let (Some(shift), Some(scale)) = (rows.next(), rows.next()) else { return ladj };
        let (blocks, rest) = x.as_chunks_mut::<4>();
        let done = 4 * blocks.len();
        let weights = shift.chunks::<4>(like).zip(scale.chunks::<4>(like));
        for (block, (shift, scale)) in blocks.iter_mut().zip(weights) {
            for ((x, shift), scale) in block.iter_mut().zip(shift).zip(scale) {
                *x = (*x - shift) * scale;
            }
        }
        for (i, x) in rest.iter_mut().enumerate() {
            *x = (*x - shift.at(done + i, like)) * scale.at(done + i, like);
        }
        ladj
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let (shift, scale) = (w.part(0, z.len()), w.part(z.len(), z.len()));
        let like = z[0];
        let weights = shift.values(like).zip(scale.values(like));
        for (z, (shift, scale)) in z.iter_mut().zip(weights) {
            *z = *z / scale + shift;
        }
        -w.at(2 * shape.dim, like)
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
        for (i, (x, d)) in x.iter().zip(dz.iter_mut()).enumerate() {
            let (shift, scale) = (w.at(i, *x), w.at(dim + i, *x));
            dw.add(dim + i, *d * (*x - shift));
            *d = *d * scale;
            dw.add(i, -*d);
        }
        dw.add(2 * dim, dladj);
    }

    fn theta_len(shape: Shape) -> usize {
        2 * shape.dim
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        w[shape.dim..2 * shape.dim].fill(like.lift(1.0));
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let (shift, log_scale) = theta.split_at(shape.dim);
        w[..shape.dim].copy_from_slice(shift);
        for (w, log_scale) in w[shape.dim..].iter_mut().zip(log_scale) {
            *w = log_scale.exp();
        }
        w[2 * shape.dim] = sum4(log_scale, theta[0], |log_scale, _| log_scale);
    }

    fn constrain_backward<R: Real>(shape: Shape, _: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let dim = shape.dim;
        for i in 0..dim {
            dtheta[i] = dtheta[i] + dw[i];
            dtheta[dim + i] = dtheta[dim + i] + dw[dim + i] * w[dim + i] + dw[2 * dim];
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(&w[..2 * shape.dim]);
        for log_scale in &mut theta[shape.dim..] {
            *log_scale = log_scale.ln();
        }
    }
}
