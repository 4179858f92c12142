//! Orthonormal discrete cosine transform (DCT-II) with a gain that follows the frequency.
//!
//! It turns a window of D readings into its D frequencies. With `smooth` = 1 the gains flatten the
//! spectrum of Brownian motion, so that it whitens smooth windows.
//!
//! # Formula
//!
//! ```text
//! zₖ = gₖ sₖ Σₙ xₙ cos(π k (2 n + 1)/(2 D)), k and n from 0 to D − 1
//! s₀ = √(1/D), sₖ = √(2/D)
//! gₖ = (k + ½)^smooth/(geometric mean of the same)
//! ladj = 0: the gains' product is 1
//! ```
//!
//! Computed by halving: D = 2ᵃ m takes ½ a D multiplications and then 2ᵃ direct transforms of odd
//! length m, so powers of two cost O(D log D). In f32 the error grows like D: 1e-5 of a
//! unit-variance input at D = 256.
//!
//! # Parameters
//!
//! `0` free parameters: nothing is learnt, θ is empty.
//!
//! Packed weights, all constants: gain gₖ sₖ \[D\]; for each halving 1/(2 cos(π (i + ½)/n)) with n
//! = D, D/2, … \[D − m\]; cos(π j/(2 m)) \[4 m\] for the direct transform.
//!
//! # Inverse
//!
//! The transpose, with other gains:
//!
//! ```text
//! xₙ = Σₖ (sₖ/gₖ) zₖ cos(π k (2 n + 1)/(2 D))
//! ladj of the inverse = 0
//! ```
//!
//! # Gradient
//!
//! The transform is linear, so dx is its transpose applied to dz:
//!
//! ```text
//! dxₙ = Σₖ gₖ sₖ dzₖ cos(π k (2 n + 1)/(2 D))
//! ```
//!
//! # Source
//!
//! Ahmed, Natarajan and Rao 1974, "Discrete cosine transform"; the halving is that of Lee 1984, "A
//! new algorithm to compute the discrete cosine transform". Pyro's `DiscreteCosineTransform` has
//! the same `smooth`.

use core::array;

use super::{Bijection, Shape};
use crate::math::Real;
use crate::weights::{Gradient, Packed, Weights};

/// Orthonormal DCT-II times a gain; see the source file's head for formula and method.
pub struct Dct;

/// Odd part m of D = 2ᵃ m.
fn odd_part(dim: usize) -> usize {
    dim >> dim.trailing_zeros()
}

impl Dct {
    /// Writes the constants of a transform with Pyro's `smooth` (0: orthonormal).
    pub fn smoothed<R: Real>(shape: Shape, smooth: f64, like: R, w: &mut [R]) {
        let (n, m) = (shape.dim, odd_part(shape.dim));
        let pi = core::f64::consts::PI;
        let log_gain = |k: usize| smooth * libm::log(k as f64 + 0.5);
        let mean = (0..n).map(log_gain).sum::<f64>() / n as f64;
        for (k, gain) in w[..n].iter_mut().enumerate() {
            let scale = libm::sqrt(if k == 0 { 1.0 } else { 2.0 } / n as f64);
            *gain = like.constant(scale * libm::exp(log_gain(k) - mean));
        }
        let mut at = n;
        let mut length = n;
        while length > m {
            for i in 0..length / 2 {
                let angle = pi * (i as f64 + 0.5) / length as f64;
                w[at + i] = like.constant(0.5 / libm::cos(angle));
            }
            at += length / 2;
            length /= 2;
        }
        for j in 0..4 * m {
            w[at + j] = like.constant(libm::cos(pi * j as f64 / (2 * m) as f64));
        }
    }

    /// xₖ ← Σₙ xₙ cos(π k (2n + 1) / 2n′), n′ the length of `x`. `tables`: the weights from this
    /// length on.
    fn transform<R: Real, W: Weights<R>>(tables: W, x: &mut [R], scratch: &mut [R]) {
        if let Ok(eight) = <&mut [R; 8]>::try_from(&mut *x) {
            *eight = transform_eight(tables.load(0, eight[0]), *eight);
            return;
        }
        let n = x.len();
        if n % 2 == 1 {
            direct(tables, x, scratch, |k, i| k * (2 * i + 1));
            return;
        }
        let half = n / 2;
        let rest = tables.part(half, tables.len().saturating_sub(half));
        // What is cut without a panic leaves none in the image of a device.
        let Some((even, odd)) = scratch.split_at_mut_checked(half) else { return };
        let Some(odd) = odd.get_mut(..half) else { return };
        let Some((low, high)) = x.split_at_mut_checked(half) else { return };
        if half.is_multiple_of(4) {
            fold::<4, _, _>(tables, low, high, even, odd);
        } else {
            fold::<1, _, _>(tables, low, high, even, odd);
        }
        Self::transform(rest, even, low);
        Self::transform(rest, odd, low);
        if half.is_multiple_of(4) {
            unfold::<4, 8, _>(even, odd, x);
        } else {
            unfold::<1, 2, _>(even, odd, x);
        }
    }

    /// The transpose of [`Dct::transform`]: the same steps, each transposed, in reverse order.
    fn transpose<R: Real, W: Weights<R>>(tables: W, z: &mut [R], scratch: &mut [R]) {
        let n = z.len();
        if n % 2 == 1 {
            direct(tables, z, scratch, |i, k| k * (2 * i + 1));
            return;
        }
        let half = n / 2;
        let rest = tables.part(half, tables.len() - half);
        let (even, odd) = scratch.split_at_mut(half);
        even[0] = z[0];
        odd[0] = z[1];
        for i in 1..half {
            even[i] = z[2 * i];
            odd[i] = z[2 * i - 1] + z[2 * i + 1];
        }
        Self::transpose(rest, even, &mut z[..half]);
        Self::transpose(rest, odd, &mut z[..half]);
        for i in 0..half {
            let b = odd[i] * tables.at(i, odd[i]);
            z[i] = even[i] + b;
            z[n - 1 - i] = even[i] - b;
        }
    }
}

/// The sums and the scaled differences of the numbers from either end, `B` at a time.
#[inline(always)]
fn fold<const B: usize, R: Real, W: Weights<R>>(
    tables: W,
    low: &[R],
    high: &[R],
    even: &mut [R],
    odd: &mut [R],
) {
    let inputs = low.as_chunks::<B>().0.iter().zip(high.as_chunks::<B>().0.iter().rev());
    let outputs = even.as_chunks_mut::<B>().0.iter_mut().zip(odd.as_chunks_mut::<B>().0);
    let [like, ..] = *low else { return };
    let rows = inputs.zip(outputs).zip(tables.chunks::<B>(like));
    for (((low, high), (even, odd)), c) in rows {
        for i in 0..B {
            even[i] = low[i] + high[B - 1 - i];
            odd[i] = (low[i] - high[B - 1 - i]) * c[i];
        }
    }
}

/// x₂ᵢ = evenᵢ and x₂ᵢ₊₁ = oddᵢ + oddᵢ₊₁, `B` pairs at a time; the last odd number stays alone.
#[inline(always)]
fn unfold<const B: usize, const PAIRS: usize, R: Real>(even: &[R], odd: &[R], x: &mut [R]) {
    let inputs = even.as_chunks::<B>().0.iter().zip(odd.as_chunks::<B>().0);
    // What follows a block's odd numbers; behind the last block nothing, or +0 would make +0 of −0.
    let following = odd.get(B..).unwrap_or_default().iter().step_by(B).map(Some).chain([None]);
    for ((x, (even, odd)), next) in
        x.as_chunks_mut::<PAIRS>().0.iter_mut().zip(inputs).zip(following)
    {
        for i in 0..B {
            x[2 * i] = even[i];
            x[2 * i + 1] = match odd.get(i + 1).or(next) {
                Some(next) => odd[i] + *next,
                None => odd[i],
            };
        }
    }
}

/// One halving: what [`fold`] makes of N numbers. `H` is N/2.
#[inline(always)]
fn halve<const N: usize, const H: usize, R: Real>(x: [R; N], c: [R; H]) -> [[R; H]; 2] {
    let other = |i: usize| x[N - 1 - i];
    [array::from_fn(|i| x[i] + other(i)), array::from_fn(|i| (x[i] - other(i)) * c[i])]
}

/// And [`unfold`] of them.
#[inline(always)]
fn join<const N: usize, const H: usize, R: Real>([even, odd]: [[R; H]; 2]) -> [R; N] {
    array::from_fn(|k| match k % 2 {
        0 => even[k / 2],
        _ if k == N - 1 => odd[H - 1],
        _ => odd[k / 2] + odd[k / 2 + 1],
    })
}

/// The transform of eight numbers, of the tables of lengths 8, 4 and 2: small enough for registers.
#[inline(always)]
fn transform_eight<R: Real>([a, b, c, d, e, f, g]: [R; 7], x: [R; 8]) -> [R; 8] {
    let two = |x| join::<2, 1, R>(halve(x, [g]));
    let four = |x| join::<4, 2, R>(halve(x, [e, f]).map(two));
    join(halve(x, [a, b, c, d]).map(four))
}

/// xₖ ← Σᵢ xᵢ cos(π phase(k, i) / 2m) for odd length m; one number stays as it is.
fn direct<R: Real, W: Weights<R>>(
    cosines: W,
    x: &mut [R],
    scratch: &mut [R],
    phase: impl Fn(usize, usize) -> usize,
) {
    let m = x.len();
    if m == 1 {
        return;
    }
    let Some(old) = scratch.get_mut(..m) else { return };
    old.iter_mut().zip(&*x).for_each(|(old, x)| *old = *x);
    for (k, x) in x.iter_mut().enumerate() {
        *x = old.iter().enumerate().fold(x.lift(0.0), |sum, (i, old)| {
            sum + *old * cosines.at(phase(k, i) % (4 * m).max(1), *old)
        });
    }
}

fn tables<R: Real, W: Weights<R>>(w: W, dim: usize) -> W {
    w.part(dim, w.len().saturating_sub(dim))
}

impl Bijection for Dct {
    fn exists(shape: Shape) -> bool {
        shape.arg == 0 && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        2 * shape.dim + 3 * odd_part(shape.dim)
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        let halvings = shape.dim.trailing_zeros() as usize;
        shape.dim * (1 + odd_part(shape.dim)) + halvings * (3 * shape.dim / 2)
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        (0..shape.dim).all(|k| w.get(k) > 0.0)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        let like = x[0];
        let scratch = scratch.get_mut(..shape.dim).unwrap_or_default();
        Self::transform(tables(w, shape.dim), x, scratch);
        for (x, gain) in x.iter_mut().zip(w.values(like)) {
            *x = *x * gain;
        }
        like.lift(0.0)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        // sₖ²/(gₖ sₖ) = sₖ/gₖ, and sₖ² is 1/D or 2/D.
        let n = z[0].lift(shape.dim as f32);
        for (k, z) in z.iter_mut().enumerate() {
            let square = z.lift(if k == 0 { 1.0 } else { 2.0 }) / n;
            *z = *z * square / w.at(k, *z);
        }
        Self::transpose(tables(w, shape.dim), z, &mut scratch[..shape.dim]);
        z[0].lift(0.0)
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
        for (k, d) in dz.iter_mut().enumerate() {
            *d = *d * w.at(k, *d);
        }
        Self::transpose(tables(w, shape.dim), dz, &mut scratch[..shape.dim]);
    }

    fn theta_len(_: Shape) -> usize {
        0
    }
    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        Self::smoothed(shape, 0.0, like, w);
    }
    fn constrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
    fn constrain_backward<R: Real>(_: Shape, _: &[R], _: &[R], _: &[R], _: &mut [R]) {}
    fn unconstrain<R: Real>(_: Shape, _: &[R], _: &mut [R]) {}
}
