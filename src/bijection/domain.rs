//! Splines on a box or a circle, column by column: for readings with hard limits, and for angles.
//! Beyond the limits of a box (humidity, 0 to 100 %) the density is 0; on a circle (wind direction,
//! motor phase) a reading is the same after any number of turns, and directly on a standard normal
//! base its density has no jump where the circle closes. Layers in between that change the column's
//! tails make one, so a circle is best cut where no reading is. Columns on the real line stay as
//! they are.
//!
//! # Formula
//!
//! A column on the real line: z = x. Every other one goes to the unit interval, through a spline s
//! of it, and on to the real line, where a standard normal expects it:
//!
//! ```text
//! u = (x − low)/(high − low)
//! on a circle: u ← u − ⌊u⌋, so that x and x + period are the same reading
//! v = s(u), kept within [δ, 1 − δ], δ = 1e-6
//! z = Φ⁻¹(v)
//! ladj = ½ Σ z² + n ½ ln 2π − Σ ln(high − low) + ln Π s′(u), over the n columns not on the line
//! ```
//!
//! With a standard normal base a flat spline, s(u) = u, is the uniform density: the base takes back
//! ½ z² + ½ ln 2π. δ gives a reading right on its limit, as sensors that saturate have many, a
//! finite density. One beyond the limits of a box, by more than δ of its length, is impossible: its
//! z is NaN, which a flow turns into its lowest density. s is the
//! [rational-quadratic](super::rational_quadratic) spline with free slopes at both ends, which on a
//! circle are one.
//!
//! # Parameters
//!
//! `D (3 K + 1)` free parameters: θ per dimension is width logits \[K\], height logits \[K\], slopes
//! \[K + 1\]. On a circle the last slope is the first, and its own number has gradient 0; on the
//! real line all have.
//!
//! Packed weights: per dimension (u, v, slope) of each knot \[K + 1, 3\], from (0, 0) to (1, 1);
//! then the constants, per dimension kind (0 the real line, 1 a box, 2 a circle), low, high; last
//! Σ ln(high − low) of the n columns. How θ becomes knots: [the knots](super::knots), with slopeⱼ =
//! m + softplus(cⱼ) for j = 0 … K. Neutral is the real line everywhere;
//! [`Domain::set_column`] makes a column a box or a circle.
//!
//! # Inverse
//!
//! v = Φ(z), u = s⁻¹(v), x = low + (high − low) u, which stays within the limits whatever z is.
//! z beyond ±4.7534, which is Φ⁻¹(1 − δ), counts as that. ladj is minus the forward one.
//!
//! # Gradient
//!
//! From dz and dladj, with g = ∂z/∂v = √2π e^(z²/2):
//!
//! ```text
//! dv = (dz + dladj z) g where δ ≤ v ≤ 1 − δ, 0 elsewhere
//! du and the knots' gradient: the spline's, from dv and dladj
//! dx = du/(high − low)
//! ```
//!
//! On the real line dx = dz.
//!
//! # Source
//!
//! The spline: Durkan, Bekasov, Murray and Papamakarios 2019, arXiv:1906.04032. The circle with
//! its tied slopes: Rezende et al. 2020, "Normalizing flows on tori and spheres", arXiv:2002.02428,
//! section 2.1.2. Φ⁻¹: Wichura 1988, algorithm AS 241. Φ: Cody 1969.

use super::knots::{self, MAX_BINS, MIN_BIN, MIN_SLOPE, SLOPE, Tails, X, Y};
use super::rational_quadratic::RationalQuadratic;
use super::spline::{Form, Spline};
use super::{Bijection, Shape};
use crate::math::{
    HALF_LN_TAU, LogProduct, Real, Sum4, logistic, normal_cdf, normal_quantile,
    normal_quantile_slope, softplus,
};
use crate::weights::{Gradient, Packed, Weights};

/// v keeps this distance from 0 and 1, and a box allows this much beyond its limits for rounding.
const MARGIN: f64 = 1e-6;
/// Φ⁻¹(1 − MARGIN).
const BOUND: f64 = 4.753_424_308_822_899;
/// Constants of a column: kind, low, high.
const CONSTANTS: usize = 3;

/// Splines on the domain of each column; see the source file's head.
pub struct Domain;

/// Where the readings of a column lie; its number is the one among the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The real line: the column stays as it is.
    Line = 0,
    /// An interval with hard limits.
    Box = 1,
    /// An interval whose ends are the same point.
    Circle = 2,
}

/// Weights of the knots of one dimension.
fn stride(shape: Shape) -> usize {
    3 * (shape.arg + 1)
}

/// Where the constants of column `i` begin.
fn constants(shape: Shape, i: usize) -> usize {
    shape.dim * stride(shape) + CONSTANTS * i
}

/// Free parameters of one dimension.
fn free_len(shape: Shape) -> usize {
    3 * shape.arg + 1
}

/// Between its outer knots, where u always is, a spline's tails do not matter.
fn spline(shape: Shape) -> Spline {
    Spline { bins: shape.arg, tails: Tails::Identity, form: Form::Stored }
}

/// Whether this kind is the real line.
#[inline(always)]
fn is_line<R: Real>(kind: R) -> R::Mask {
    kind.lift(0.5).ge(kind)
}

/// Whether this kind is a circle.
#[inline(always)]
fn is_circle<R: Real>(kind: R) -> R::Mask {
    kind.ge(kind.lift(1.5))
}

/// Constants of one column.
#[derive(Clone, Copy)]
struct Column<R> {
    kind: R,
    low: R,
    high: R,
}

impl<R: Real> Column<R> {
    #[inline(always)]
    fn read<W: Weights<R>>(shape: Shape, w: W, i: usize, like: R) -> Self {
        let [kind, low, high] = w.load(constants(shape, i), like);
        Self { kind, low, high }
    }

    /// The position of x in [0, 1], and whether x is possible; not so NaN.
    #[inline(always)]
    fn place(self, x: R) -> (R, R::Mask) {
        let (zero, one, margin) = (x.lift(0.0), x.lift(1.0), x.constant(MARGIN));
        let u = (x - self.low) / (self.high - self.low);
        let u = R::select(is_circle(self.kind), u - u.floor(), u);
        let possible = R::and(u.ge(-margin), (one + margin).ge(u));
        (u.max(zero).min(one), possible)
    }
}

/// Whether v keeps its distance from 0 and 1.
#[inline(always)]
fn is_inside<R: Real>(v: R) -> R::Mask {
    R::and(v.ge(v.constant(MARGIN)), v.constant(1.0 - MARGIN).ge(v))
}

/// z of v, which is kept away from 0 and 1.
#[inline(always)]
fn to_normal<R: Real>(v: R) -> R {
    normal_quantile(v.max(v.constant(MARGIN)).min(v.constant(1.0 - MARGIN)))
}

/// What the columns add to ladj.
struct Ladj<R: Real> {
    squares: Sum4<R>,
    columns: R,
    slopes: LogProduct<R>,
}

impl<R: Real> Ladj<R> {
    #[inline(always)]
    fn new(like: R) -> Self {
        Self { squares: Sum4::new(like), columns: like.lift(0.0), slopes: LogProduct::new(like) }
    }

    /// Column `i` at z, where the spline has this slope; nothing on the real line.
    #[inline(always)]
    fn add(&mut self, i: usize, line: R::Mask, z: R, slope: R) {
        let (zero, one) = (z.lift(0.0), z.lift(1.0));
        self.squares.add(i, R::select(line, zero, z * z));
        self.columns = self.columns + R::select(line, zero, one);
        self.slopes.multiply(R::select(line, one, slope));
    }

    #[inline(always)]
    fn total<W: Weights<R>>(self, shape: Shape, w: W) -> R {
        let lengths = w.at(constants(shape, shape.dim), self.columns);
        let (half, constant) =
            (self.columns.lift(0.5), self.columns.constant(HALF_LN_TAU) * self.columns);
        (half * self.squares.total() + constant - lengths) + self.slopes.ln()
    }
}

impl Domain {
    /// Makes column `i` of the weights `w` a box, a circle or the real line, between `low` and
    /// `high`, which increase (also where the real line does not read them).
    pub fn set_column<R: Real>(shape: Shape, w: &mut [R], i: usize, kind: Kind, low: R, high: R) {
        let code = low.lift(f32::from(kind as u8));
        w[constants(shape, i)..][..CONSTANTS].copy_from_slice(&[code, low, high]);
        let knots = &mut w[i * stride(shape)..(i + 1) * stride(shape)];
        if kind == Kind::Circle {
            knots[knots::at(shape.arg, SLOPE)] = knots[SLOPE];
        }
        let sum = (0..shape.dim).fold(low.lift(0.0), |sum, i| {
            let Column { kind, low, high } = Column::read(shape, &*w, i, low);
            sum + R::select(is_line(kind), low.lift(0.0), (high - low).ln())
        });
        w[constants(shape, shape.dim)] = sum;
    }

    /// Kind, low and high of column `i`.
    pub fn column(shape: Shape, w: Packed, i: usize) -> (Kind, f32, f32) {
        let Column { kind, low, high } = Column::read(shape, w, i, 0.0_f32);
        let kind = match kind {
            1.0 => Kind::Box,
            2.0 => Kind::Circle,
            _ => Kind::Line,
        };
        (kind, low, high)
    }
}

impl Bijection for Domain {
    fn exists(shape: Shape) -> bool {
        (1..=MAX_BINS).contains(&shape.arg) && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        constants(shape, shape.dim) + 1
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        // The way to the interval, the spline, the quotient of two polynomials, and z².
        shape.dim * (3 + 21 + 18 + 1)
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let knots = Shape::new(1, shape.arg, Tails::Identity as u8);
        let unit = |w: Packed| w.get(X) == 0.0 && w.get(knots::at(shape.arg, X)) == 1.0;
        let tied = |w: Packed| w.get(SLOPE) == w.get(knots::at(shape.arg, SLOPE));
        Weights::<f32>::rows(w, stride(shape)).take(shape.dim).enumerate().all(|(i, w_knots)| {
            let Column { kind, low, high } = Column::read(shape, w, i, 0.0_f32);
            let known = [0.0, 1.0, 2.0].contains(&kind) && (kind != 2.0 || tied(w_knots));
            known
                && low < high
                && (high - low).is_finite()
                && unit(w_knots)
                && knots::valid(knots, w_knots)
        })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let mut ladj = Ladj::new(x[0]);
        for (i, (x, knots)) in x.iter_mut().zip(w.rows(stride(shape))).enumerate() {
            let column = Column::read(shape, w, i, *x);
            let line = is_line(column.kind);
            if R::all(line) {
                continue;
            }
            let (u, possible) = column.place(*x);
            let (v, slope) = spline(shape).forward::<RationalQuadratic, R, W>(knots, u);
            let z = R::select(possible, to_normal(v), x.constant(f64::NAN));
            ladj.add(i, line, z, slope);
            *x = R::select(line, *x, z);
        }
        ladj.total(shape, w)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let mut ladj = Ladj::new(z[0]);
        for (i, (z, knots)) in z.iter_mut().zip(w.rows(stride(shape))).enumerate() {
            let column = Column::read(shape, w, i, *z);
            let line = is_line(column.kind);
            if R::all(line) {
                continue;
            }
            let bound = z.constant(BOUND);
            let kept = R::select(z.ge(*z), z.max(-bound).min(bound), z.constant(f64::NAN));
            let (u, slope) =
                spline(shape).inverse::<RationalQuadratic, R, W>(knots, normal_cdf(kept));
            ladj.add(i, line, kept, slope);
            // A rounding must not leave the box.
            let x = (column.low + (column.high - column.low) * u).min(column.high);
            *z = R::select(line, *z, R::select(z.ge(*z), x, kept));
        }
        -ladj.total(shape, w)
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
        let stride = stride(shape);
        for (i, ((x, dz), knots)) in x.iter().zip(dz).zip(w.rows(stride)).enumerate() {
            let column = Column::read(shape, w, i, *x);
            let line = is_line(column.kind);
            if R::all(line) {
                continue;
            }
            let zero = x.lift(0.0);
            let (u, _) = column.place(*x);
            let (v, _) = spline(shape).forward::<RationalQuadratic, R, W>(knots, u);
            let z = to_normal(v);
            let dv = (*dz + dladj * z) * normal_quantile_slope(z);
            let dv = R::select(line, zero, R::select(is_inside(v), dv, zero));
            let dladj = R::select(line, zero, dladj);
            let dknots = dw.part(i * stride, stride);
            let du = spline(shape).backward::<RationalQuadratic, _, _>(knots, u, dv, dladj, dknots);
            *dz = R::select(line, *dz, du / (column.high - column.low));
        }
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * free_len(shape)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        let (splines, constants) = w.split_at_mut(constants(shape, 0));
        for knots in splines.chunks_exact_mut(stride(shape)) {
            for (j, knot) in knots.chunks_exact_mut(3).enumerate() {
                let u = like.constant(j as f64 / shape.arg as f64);
                knot.copy_from_slice(&[u, u, like.lift(1.0)]);
            }
        }
        for (i, constant) in constants.iter_mut().enumerate() {
            // The real line, 0 to 1 where it were another kind; the sum, last, is 0.
            *constant = like.lift(if i % CONSTANTS == 2 { 1.0 } else { 0.0 });
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let (bins, at_constants) = (shape.arg, constants(shape, 0));
        let (splines, constants) = w.split_at_mut(at_constants);
        let columns = splines.chunks_exact_mut(stride(shape)).zip(constants.chunks(CONSTANTS));
        for (theta, (knots, constants)) in theta.chunks_exact(free_len(shape)).zip(columns) {
            knots::place(&theta[..bins], None, MIN_BIN, knots, X);
            knots::place(&theta[bins..2 * bins], None, MIN_BIN, knots, Y);
            for (j, free) in theta[2 * bins..].iter().enumerate() {
                knots[knots::at(j, SLOPE)] = free.constant(MIN_SLOPE) + softplus(*free);
            }
            let last = knots::at(bins, SLOPE);
            knots[last] = R::select(is_circle(constants[0]), knots[SLOPE], knots[last]);
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let (bins, free, stride) = (shape.arg, free_len(shape), stride(shape));
        let thetas = theta.chunks_exact(free).zip(dtheta.chunks_exact_mut(free));
        let knots = w.chunks_exact(stride).zip(dw.chunks_exact(stride));
        for (i, ((theta, dtheta), (knots, dknots))) in thetas.zip(knots).enumerate() {
            let circle = is_circle(w[constants(shape, i)]);
            let (first, last) = (dknots[SLOPE], dknots[knots::at(bins, SLOPE)]);
            let dslope = |j: usize| match j {
                0 => R::select(circle, first + last, first),
                j if j == bins => R::select(circle, last.lift(0.0), last),
                j => dknots[knots::at(j, SLOPE)],
            };
            let slopes = theta[2 * bins..].iter().zip(&mut dtheta[2 * bins..]);
            for (j, (free, dfree)) in slopes.enumerate() {
                *dfree = *dfree + dslope(j) * logistic(*free);
            }
            for axis in [X, Y] {
                let dlogits = &mut dtheta[axis * bins..(axis + 1) * bins];
                let dknot = |j: usize| dknots[knots::at(j, axis)];
                knots::place_backward(knots, axis, MIN_BIN, dknot, dlogits);
            }
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let bins = shape.arg;
        let columns = theta.chunks_exact_mut(free_len(shape));
        for (theta, knots) in columns.zip(w.chunks_exact(stride(shape))) {
            knots::displace(knots, X, &mut theta[..bins]);
            knots::displace(knots, Y, &mut theta[bins..2 * bins]);
            for (j, free) in theta[2 * bins..].iter_mut().enumerate() {
                *free = knots::free_slope(knots[knots::at(j, SLOPE)]);
            }
        }
    }
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
