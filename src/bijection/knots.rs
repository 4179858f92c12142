//! What both splines share: the knots of one dimension, their free parameters and their tails.
//!
//! A spline of K bins runs through knots (Xⱼ, Yⱼ), j = 0 … K, with a slope at each; they are packed
//! knot by knot, \[K + 1, 3\], so that a bin is six numbers side by side.
//!
//! # Which network gives them
//!
//! None in a static spline: its numbers θ are the free parameters themselves, the same for every
//! reading. In coupling and autoregressive layers a network gives these numbers, once for each
//! reading, from the other coordinates and the context; what follows is the same.
//!
//! # From free parameters to knots
//!
//! The outer knots are constants; free are K width logits a, K height logits b and K − 1 numbers c
//! for the inner slopes, in this order. A softmax shares the interval out among the bins, softplus
//! keeps slopes positive, and a floor keeps both away from 0:
//!
//! ```text
//! pᵢ = softmax(a)ᵢ, i = 0 … K − 1
//! Xⱼ = X₀ + (X_K − X₀) Σ_{i<j} (m + (1 − m K) pᵢ), Yⱼ alike from b
//! slopeⱼ = s (m + softplus(cⱼ)), j = 1 … K − 1
//! s = (Y_K − Y₀)/(X_K − X₀), the mean slope; m = 1e-3
//! ```
//!
//! # Tails
//!
//! Outside the outer knots a spline is a line. `Identity`: z = x, and the outer slopes are the
//! constant 1. `Linear`: the outermost bin's mean slope goes on, and is the outer knot's slope too.
//! Neither density has a jump there.
//!
//! # Gradient of the knots
//!
//! With Gᵢ = Σ_{j>i} dXⱼ over the inner knots, and db alike from the dYⱼ:
//!
//! ```text
//! daᵢ = (X_K − X₀) (1 − m K) pᵢ (Gᵢ − Σₗ pₗ Gₗ)
//! dcⱼ = dslopeⱼ s σ(cⱼ)
//! ```
//!
//! Beyond an end knot (X, Y) an identity tail gives dx = dz; a linear one, z = Y + slope (x − X),
//! gives
//!
//! ```text
//! dx = dz slope, dX = −dz slope, dY = dz
//! dslope = dz (x − X) + dladj/slope
//! ```
//!
//! The slope of a linear tail is Δy/Δx of its bin and moves with the bin's inner knot: with Δ =
//! inner − outer, dslope/Δx goes to that knot's dY and −dslope Δy/Δx² to its dX.

use super::Shape;
use super::spline::soft_clip;
use crate::math::{Real, logistic, softplus};
use crate::weights::{Packed, Weights};

/// Smallest share of the interval that a bin has, in width and in height.
pub const MIN_BIN: f64 = 1e-3;
/// Smallest inner slope, as a share of the spline's mean slope.
pub const MIN_SLOPE: f64 = 1e-3;
/// Most bins of a spline; beyond it the smallest bins would not fit.
pub(super) const MAX_BINS: usize = 512;
/// Outer knots of a neutral spline: beyond ±4 lies one standard normal sample in 16,000.
const BOUND: f32 = 4.0;

/// Axes of a knot: position, value, slope.
pub(super) const X: usize = 0;
pub(super) const Y: usize = 1;
pub(super) const SLOPE: usize = 2;

/// What a spline does outside its outer knots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tails {
    /// z = x. The outer slopes are constants: 1, so that the density has no jump.
    Identity = 0,
    /// A line that continues the outermost bin's mean slope, which is the outer knot's slope too,
    /// so that the density has no jump.
    Linear = 1,
}

impl Tails {
    /// The tails of a spline that exists.
    #[inline(always)]
    pub(super) fn of(shape: Shape) -> Self {
        if shape.option == Self::Linear as u8 { Self::Linear } else { Self::Identity }
    }

    /// The tails of this code in a model file.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Identity),
            1 => Some(Self::Linear),
            _ => None,
        }
    }
}

/// Free parameters of the knots of one dimension: widths \[K\], heights \[K\], inner slopes \[K − 1\].
pub(super) fn theta_len(bins: usize) -> usize {
    3 * bins - 1
}

/// What K bins of at least `floor` leave free of the interval, 1 − mK.
#[inline(always)]
fn free_share<R: Real>(bins: usize, floor: R) -> R {
    floor.lift(1.0) - floor * floor.lift(bins as f32)
}

/// The free number whose slope is 1: ln(e^(1 − m) − 1).
pub(super) fn free_slope_of_one() -> f64 {
    libm::log(libm::expm1(1.0 - MIN_SLOPE))
}

/// Number `axis` of knot j stands at `3 j + axis`.
#[inline(always)]
pub(super) fn at(j: usize, axis: usize) -> usize {
    3 * j + axis
}

/// How the logits of an axis share it out: a softmax with a floor.
#[derive(Clone, Copy)]
pub(super) struct Shares<R> {
    floor: R,
    /// What a power e^(logit − largest) counts, (1 − m K)/Σ of the powers.
    scale: R,
}

impl<R: Real> Shares<R> {
    /// Writes the powers of the `logits` \[K\] to a `column` of the rows `powers` \[K, N\]. With a
    /// `limit`, logits are clipped softly.
    #[inline(always)]
    pub(super) fn new<const N: usize>(
        logits: &[R],
        limit: Option<R>,
        floor: R,
        powers: &mut [[R; N]],
        column: usize,
    ) -> Self {
        let mut largest = floor.constant(f64::NEG_INFINITY);
        for (row, logit) in powers.iter_mut().zip(logits) {
            let mut logit = *logit;
            if let Some(limit) = limit {
                logit = soft_clip(logit, limit);
                row[column] = logit;
            }
            largest = largest.max(logit);
        }
        let mut total = floor.lift(0.0);
        for (row, logit) in powers.iter_mut().zip(logits) {
            let logit = if limit.is_some() { row[column] } else { *logit };
            row[column] = (logit - largest).exp();
            total = total + row[column];
        }
        Self { floor, scale: free_share(logits.len(), floor) / total }
    }

    /// The share that ends with the bin of this power, from the one that ends before it.
    #[inline(always)]
    pub(super) fn next(self, share: R, power: R) -> R {
        (share + self.floor).add_product(self.scale, power)
    }
}

/// Writes the positions between the outer ones that the `logits` \[K\] of the bins mean along an axis
/// of `knots`; no bin is smaller than the share `floor`. With a `limit`, logits are clipped softly.
#[inline(always)]
pub(super) fn place<R: Real>(
    logits: &[R],
    limit: Option<R>,
    floor: f64,
    knots: &mut [R],
    axis: usize,
) {
    let [first, inner @ ..] = knots.as_chunks_mut::<3>().0 else { return };
    let (Some(inner), first) = (inner.get_mut(..logits.len()), first[axis]) else { return };
    let last = inner.last().map_or(first, |knot| knot[axis]);
    // The powers wait in the places of the knots that they will move.
    let shares = Shares::new(logits, limit, first.constant(floor), inner, axis);
    let mut share = first.lift(0.0);
    for knot in &mut *inner {
        share = shares.next(share, knot[axis]);
        knot[axis] = first.add_product(last - first, share);
    }
    if let Some(knot) = inner.last_mut() {
        knot[axis] = last;
    }
}

/// What bin `i` takes of an axis.
#[inline(always)]
fn width<R: Real>(knots: &[R], axis: usize, i: usize) -> R {
    knots[at(i + 1, axis)] - knots[at(i, axis)]
}

/// Adds to `dlogits` \[K\] what the gradients of the inner knots mean for them.
#[inline(always)]
pub(super) fn place_backward<R: Real>(
    knots: &[R],
    axis: usize,
    floor: f64,
    dknot: impl Fn(usize) -> R,
    dlogits: &mut [R],
) {
    let bins = dlogits.len();
    let zero = knots[0].lift(0.0);
    let floor = zero.constant(floor);
    let free = free_share(bins, floor);
    let range = knots[at(bins, axis)] - knots[axis];
    let (per_range, per_free) = (zero.lift(1.0) / range, zero.lift(1.0) / free);
    // ∂L/∂pᵢ = range (1 − mK) Σ_{j>i} ∂L/∂Xⱼ, a suffix sum over the inner knots.
    let (mut suffix, mut mean) = (zero, zero);
    for i in (0..bins).rev() {
        // The softmax is read back from the knots: pᵢ = (share of bin i − m)/(1 − mK).
        let p = (width(knots, axis, i) * per_range - floor) * per_free;
        mean = mean + p * suffix;
        suffix = suffix + if i > 0 { dknot(i) } else { zero };
    }
    let mut suffix = zero;
    for i in (0..bins).rev() {
        let p = (width(knots, axis, i) * per_range - floor) * per_free;
        dlogits[i] = dlogits[i] + p * (suffix - mean) * range * free;
        suffix = suffix + if i > 0 { dknot(i) } else { zero };
    }
}

/// The logits that place `knots` along an axis, up to bins below the floor.
pub(super) fn displace<R: Real>(knots: &[R], axis: usize, logits: &mut [R]) {
    let bins = logits.len();
    let floor = knots[0].constant(MIN_BIN);
    let free = free_share(bins, floor);
    let range = knots[at(bins, axis)] - knots[axis];
    for (i, logit) in logits.iter_mut().enumerate() {
        let share = (knots[at(i + 1, axis)] - knots[at(i, axis)]) / range;
        *logit = ((share - floor) / free).max(floor.constant(1e-8)).ln();
    }
}

/// Mean slope of a spline, (Y_K − Y₀)/(X_K − X₀).
fn mean_slope<R: Real>(knots: &[R], bins: usize) -> R {
    (knots[at(bins, Y)] - knots[Y]) / (knots[at(bins, X)] - knots[X])
}

/// Mean slope of bin k.
fn chord<R: Real>(knots: &[R], k: usize) -> R {
    (knots[at(k + 1, Y)] - knots[at(k, Y)]) / (knots[at(k + 1, X)] - knots[at(k, X)])
}

/// θ of one dimension → its `knots` \[K + 1, 3\].
pub(super) fn constrain<R: Real>(tails: Tails, theta: &[R], knots: &mut [R]) {
    let bins = knots.len() / 3 - 1;
    place(&theta[..bins], None, MIN_BIN, knots, X);
    place(&theta[bins..2 * bins], None, MIN_BIN, knots, Y);
    let mean = mean_slope(knots, bins);
    for (j, free) in theta[2 * bins..].iter().enumerate() {
        knots[at(j + 1, SLOPE)] = mean * (free.constant(MIN_SLOPE) + softplus(*free));
    }
    if tails == Tails::Linear {
        knots[SLOPE] = chord(knots, 0);
        knots[at(bins, SLOPE)] = chord(knots, bins - 1);
    }
}

/// Adds to `dtheta` of one dimension what the gradients of its knots mean for it; `dslope` gives
/// that of a slope.
pub(super) fn constrain_backward<R: Real>(
    tails: Tails,
    theta: &[R],
    knots: &[R],
    dknots: &[R],
    dslope: impl Fn(usize) -> R,
    dtheta: &mut [R],
) {
    let bins = knots.len() / 3 - 1;
    let mean = mean_slope(knots, bins);
    for (i, (free, dfree)) in theta[2 * bins..].iter().zip(&mut dtheta[2 * bins..]).enumerate() {
        *dfree = *dfree + dslope(i + 1) * mean * logistic(*free);
    }
    // A linear tail's slope is Δy/Δx of its bin, whose inner knot moves it.
    let tail = |outer: usize, inner: usize| match tails {
        Tails::Identity => [mean.lift(0.0); 2],
        Tails::Linear => {
            let width = knots[at(inner, X)] - knots[at(outer, X)];
            let dy = dslope(outer) / width;
            [-dy * (knots[at(inner, Y)] - knots[at(outer, Y)]) / width, dy]
        }
    };
    let (left, right) = (tail(0, 1), tail(bins, bins - 1));
    for axis in [X, Y] {
        let dknot = |j: usize| {
            let left = if j == 1 { left[axis] } else { mean.lift(0.0) };
            let right = if j == bins - 1 { right[axis] } else { mean.lift(0.0) };
            dknots[at(j, axis)] + left + right
        };
        let dlogits = &mut dtheta[axis * bins..(axis + 1) * bins];
        place_backward(knots, axis, MIN_BIN, dknot, dlogits);
    }
}

/// Knots of one dimension → θ; `slope` gives that of a knot.
pub(super) fn unconstrain<R: Real>(knots: &[R], slope: impl Fn(usize) -> R, theta: &mut [R]) {
    let bins = knots.len() / 3 - 1;
    displace(knots, X, &mut theta[..bins]);
    displace(knots, Y, &mut theta[bins..2 * bins]);
    let mean = mean_slope(knots, bins);
    for (j, free) in theta[2 * bins..].iter_mut().enumerate() {
        *free = free_slope(slope(j + 1) / mean);
    }
}

/// The free number c whose slope, m + softplus(c), is `slope` times the mean slope.
pub(super) fn free_slope<R: Real>(slope: R) -> R {
    // The inverse of softplus, ln(eˢ − 1), written so that a large s does not overflow.
    let s = (slope - slope.constant(MIN_SLOPE)).max(slope.constant(1e-8));
    s + (slope.lift(1.0) - (-s).exp()).ln()
}

/// Evenly spaced knots of the identity on \[−4, 4\], slopes 1.
pub(super) fn neutral<R: Real>(knots: &mut [R]) {
    let bins = knots.len() / 3 - 1;
    for (j, knot) in knots.chunks_exact_mut(3).enumerate() {
        let x = knot[0].lift(BOUND) * knot[0].constant(2.0 * j as f64 / bins as f64 - 1.0);
        knot.copy_from_slice(&[x, x, x.lift(1.0)]);
    }
}

/// Whether knots increase, slopes are positive, and the tails go on where the knots end; the
/// identity does so on the diagonal only.
pub(super) fn valid(shape: Shape, knots: Packed) -> bool {
    let meets = |knot: [f32; 3]| Tails::of(shape) == Tails::Linear || knot[X] == knot[Y];
    let mut knots = Weights::<f32>::chunks::<3>(knots, 0.0).take(shape.arg + 1);
    let Some(first) = knots.next() else { return false };
    let (mut valid, mut last) = (meets(first) && first[SLOPE] > 0.0, first);
    for knot in knots {
        valid &= last[X] < knot[X] && last[Y] < knot[Y] && knot[SLOPE] > 0.0;
        last = knot;
    }
    valid && meets(last)
}

/// Numbers that a [`Bin`] is.
pub(super) const KEPT: usize = 8;

/// The bin of one dimension's spline that a value falls into: the knots below and above.
pub(super) struct Bin<R: Real> {
    pub(super) k: R::Index,
    pub(super) x0: R,
    pub(super) y0: R,
    pub(super) d0: R,
    pub(super) x1: R,
    pub(super) y1: R,
    pub(super) d1: R,
    /// Where the pieces of a linear-rational bin meet; ½ until it is looked up.
    pub(super) lambda: R,
}

impl<R: Real> Bin<R> {
    /// The bin of `v` along `axis`; beyond the outer knots, the outermost bin.
    #[inline(always)]
    pub(super) fn find<W: Weights<R>>(v: R, axis: usize, knots: W, bins: usize) -> Self {
        let (k, [x0, y0, d0, x1, y1, d1]) = v.search::<3, 6, _>(knots, bins, axis);
        Self { k, x0, y0, d0, x1, y1, d1, lambda: v.lift(0.5) }
    }

    /// Writes itself to `kept`, which has [`KEPT`] numbers; nothing where that is empty.
    #[inline(always)]
    pub(super) fn keep(&self, kept: &mut [R]) {
        let Self { k, x0, y0, d0, x1, y1, d1, lambda } = *self;
        if let Some(kept) = kept.first_chunk_mut::<KEPT>() {
            *kept = [x0.index_value(k), x0, y0, d0, x1, y1, d1, lambda];
        }
    }

    /// The bin that wrote itself there.
    #[inline(always)]
    pub(super) fn kept(&[k, x0, y0, d0, x1, y1, d1, lambda]: &[R; KEPT]) -> Self {
        Self { k: k.value_index(), x0, y0, d0, x1, y1, d1, lambda }
    }

    /// Whether x lies in the bin, not beyond the outer knots: no further from its lower knot than the
    /// upper one, as the differences are rounded.
    #[inline(always)]
    pub(super) fn holds_x(&self, x: R) -> R::Mask {
        let (place, width) = (x - self.x0, self.x1 - self.x0);
        R::and(place.ge(x.lift(0.0)), width.ge(place))
    }

    /// Whether y lies in the bin, not beyond the outer knots.
    #[inline(always)]
    pub(super) fn holds_y(&self, y: R) -> R::Mask {
        R::and(y.ge(self.y0), self.y1.ge(y))
    }

    /// The outer knot next to an outermost bin, x, y and slope, on the side that the mask says.
    #[inline(always)]
    pub(super) fn end(&self, above: R::Mask) -> [R; 3] {
        [
            R::select(above, self.x1, self.x0),
            R::select(above, self.y1, self.y0),
            R::select(above, self.d1, self.d0),
        ]
    }
}

/// Adds the gradient of a [`Bin::end`] (x, y, slope) to that of the knot that it is, of both knots'.
#[inline(always)]
pub(super) fn add_end<R: Real>(above: R::Mask, knot: [R; 3], dknots: &mut [R; 6]) {
    let zero = knot[0].lift(0.0);
    let (low, high) = dknots.split_at_mut(3);
    for (knot, (low, high)) in knot.into_iter().zip(low.iter_mut().zip(high)) {
        *low = *low + R::select(above, zero, knot);
        *high = *high + R::select(above, knot, zero);
    }
}
