//! What both splines share: the knots of one dimension, their free parameters and their tails.
//!
//! A spline of K bins runs through knots (Xⱼ, Yⱼ), j = 0 … K, with a slope at each. Its outer
//! knots are constants; free are K width logits, K height logits and K − 1 inner slopes:
//! Xⱼ = X₀ + (X_K − X₀) Σ_{i<j} (m + (1 − mK) softmax(width)ᵢ), Yⱼ alike, and inner slopes
//! s (m + softplus(slope)), where s = (Y_K − Y₀)/(X_K − X₀) is the mean slope and m = 1e-3.

use super::Shape;
use crate::math::{Packed, Real, Weights, logistic, softplus};

/// Smallest share of the interval that a bin has, in width and in height.
pub const MIN_BIN: f64 = 1e-3;
/// Smallest inner slope, as a share of the spline's mean slope.
pub const MIN_SLOPE: f64 = 1e-3;
/// Most bins of a spline; beyond it the smallest bins would not fit.
pub(super) const MAX_BINS: usize = 512;
/// Outer knots of a neutral spline: beyond ±4 lies one standard normal sample in 16,000.
const BOUND: f32 = 4.0;

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

/// m, and what K bins leave free of the interval, 1 − mK.
fn floor_and_free<R: Real>(bins: usize, like: R) -> (R, R) {
    let floor = like.constant(MIN_BIN);
    (floor, like.lift(1.0) - floor * like.lift(bins as f32))
}

/// Writes the positions between the outer ones that `logits` \[K\] mean into `knots` \[K + 1\].
fn place<R: Real>(logits: &[R], knots: &mut [R]) {
    let bins = logits.len();
    let zero = logits[0].lift(0.0);
    let (floor, free) = floor_and_free(bins, zero);
    let largest = logits.iter().fold(logits[0], |a, b| a.max(*b));
    let total = logits.iter().fold(zero, |sum, logit| sum + (*logit - largest).exp());
    let (first, last) = (knots[0], knots[bins]);
    let mut share = zero;
    for (logit, knot) in logits.iter().zip(&mut knots[1..bins]) {
        share = share + floor + free * ((*logit - largest).exp() / total);
        *knot = first + (last - first) * share;
    }
}

/// Adds to `dlogits` \[K\] what the gradients of the inner knots mean for them.
fn place_backward<R: Real>(knots: &[R], dknot: impl Fn(usize) -> R, dlogits: &mut [R]) {
    let bins = dlogits.len();
    let zero = knots[0].lift(0.0);
    let (floor, free) = floor_and_free(bins, zero);
    let range = knots[bins] - knots[0];
    // The softmax is read back from the knots: pᵢ = (share of bin i − m)/(1 − mK).
    let p = |i: usize| ((knots[i + 1] - knots[i]) / range - floor) / free;
    // ∂L/∂pᵢ = range (1 − mK) Σ_{j>i} ∂L/∂Xⱼ, a suffix sum over the inner knots.
    let (mut suffix, mut mean) = (zero, zero);
    for i in (0..bins).rev() {
        mean = mean + p(i) * suffix;
        suffix = suffix + if i > 0 { dknot(i) } else { zero };
    }
    let mut suffix = zero;
    for i in (0..bins).rev() {
        dlogits[i] = dlogits[i] + p(i) * (suffix - mean) * range * free;
        suffix = suffix + if i > 0 { dknot(i) } else { zero };
    }
}

/// The logits that place `knots`, up to bins below the floor.
fn displace<R: Real>(knots: &[R], logits: &mut [R]) {
    let bins = logits.len();
    let (floor, free) = floor_and_free(bins, knots[0]);
    for (i, logit) in logits.iter_mut().enumerate() {
        let share = (knots[i + 1] - knots[i]) / (knots[bins] - knots[0]);
        *logit = ((share - floor) / free).max(floor.constant(1e-8)).ln();
    }
}

/// θ of one dimension → its knots `x`, `y` and slopes \[K + 1\] each.
pub(super) fn constrain<R: Real>(tails: Tails, theta: &[R], x: &mut [R], y: &mut [R], slope: &mut [R]) {
    let bins = x.len() - 1;
    place(&theta[..bins], x);
    place(&theta[bins..2 * bins], y);
    let mean = (y[bins] - y[0]) / (x[bins] - x[0]);
    for (free, slope) in theta[2 * bins..].iter().zip(&mut slope[1..bins]) {
        *slope = mean * (free.constant(MIN_SLOPE) + softplus(*free));
    }
    if tails == Tails::Linear {
        slope[0] = (y[1] - y[0]) / (x[1] - x[0]);
        slope[bins] = (y[bins] - y[bins - 1]) / (x[bins] - x[bins - 1]);
    }
}

/// Adds to `dtheta` of one dimension what the gradients of its knots and slopes mean for it.
pub(super) fn constrain_backward<R: Real>(
    tails: Tails,
    theta: &[R],
    [x, y]: [&[R]; 2],
    [dx, dy]: [&[R]; 2],
    dslope: impl Fn(usize) -> R,
    dtheta: &mut [R],
) {
    let bins = x.len() - 1;
    let mean = (y[bins] - y[0]) / (x[bins] - x[0]);
    for (i, (free, dfree)) in theta[2 * bins..].iter().zip(&mut dtheta[2 * bins..]).enumerate() {
        *dfree = *dfree + dslope(i + 1) * mean * logistic(*free);
    }
    // A linear tail's slope is Δy/Δx of its bin, whose inner knot moves it.
    let tail = |outer: usize, inner: usize| match tails {
        Tails::Identity => [mean.lift(0.0); 2],
        Tails::Linear => {
            let width = x[inner] - x[outer];
            let dy = dslope(outer) / width;
            [-dy * (y[inner] - y[outer]) / width, dy]
        }
    };
    let (left, right) = (tail(0, 1), tail(bins, bins - 1));
    for (axis, (knots, dknots)) in [(x, dx), (y, dy)].into_iter().enumerate() {
        let dknot = |j: usize| {
            let left = if j == 1 { left[axis] } else { mean.lift(0.0) };
            let right = if j == bins - 1 { right[axis] } else { mean.lift(0.0) };
            dknots[j] + left + right
        };
        place_backward(knots, dknot, &mut dtheta[axis * bins..(axis + 1) * bins]);
    }
}

/// Knots and slopes of one dimension → θ.
pub(super) fn unconstrain<R: Real>(
    x: &[R],
    y: &[R],
    slope: impl Fn(usize) -> R,
    theta: &mut [R],
) {
    let bins = x.len() - 1;
    displace(x, &mut theta[..bins]);
    displace(y, &mut theta[bins..2 * bins]);
    let mean = (y[bins] - y[0]) / (x[bins] - x[0]);
    for (j, free) in theta[2 * bins..].iter_mut().enumerate() {
        // The inverse of softplus, ln(eˢ − 1), written so that a large s does not overflow.
        let s = (slope(j + 1) / mean - mean.constant(MIN_SLOPE)).max(mean.constant(1e-8));
        *free = s + (mean.lift(1.0) - (-s).exp()).ln();
    }
}

/// Evenly spaced knots of the identity on \[−4, 4\], slopes 1.
pub(super) fn neutral<R: Real>(x: &mut [R], y: &mut [R], slope: &mut [R]) {
    let bins = x.len() - 1;
    for (i, (x, y)) in x.iter_mut().zip(y).enumerate() {
        *x = x.lift(BOUND) * x.constant(2.0 * i as f64 / bins as f64 - 1.0);
        *y = *x;
    }
    slope.fill(x[0].lift(1.0));
}

/// Whether every weight is above the one before.
pub(super) fn increase(knots: Packed) -> bool {
    knots.iter().zip(knots.iter().skip(1)).all(|(a, b)| a < b)
}

/// Whether the tails go on where the knots end; the identity does so on the diagonal only.
pub(super) fn tails_meet(shape: Shape, x: Packed, y: Packed) -> bool {
    let meet = |j: usize| x.get(j) == y.get(j);
    Tails::of(shape) == Tails::Linear || (meet(0) && meet(shape.arg))
}

/// Where `v` lies between the outer knots of its axis.
#[inline(always)]
pub(super) fn inside<R: Real, W: Weights<R>>(v: R, axis: W, bins: usize) -> R::Mask {
    R::and(v.ge(axis.at(0, v)), axis.at(bins, v).ge(v))
}

/// The end of the spline that `v` is nearer to: whether it is the upper one, and what the tables
/// hold there.
#[inline(always)]
pub(super) fn end<R: Real, W: Weights<R>>(
    v: R,
    axis: W,
    tables: [W; 3],
    bins: usize,
) -> (R::Mask, [R; 3]) {
    let above = v.ge(axis.at(bins, v));
    (above, tables.map(|table| R::select(above, table.at(bins, v), table.at(0, v))))
}

/// Adds `value` to the outermost number of `table` \[K + 1\] on the side of an [`end`].
#[inline(always)]
pub(super) fn add_to_end<R: Real>(above: R::Mask, value: R, table: &mut [R]) {
    let (zero, last) = (value.lift(0.0), table.len() - 1);
    table[0] = table[0] + R::select(above, zero, value);
    table[last] = table[last] + R::select(above, value, zero);
}
