//! Monotonic linear-rational spline, one per dimension: two hyperbola pieces a bin.
//!
//! Dolatabadi, Erfani and Leckie 2020, arXiv:2001.05168, algorithm 1. Weights per dimension:
//! knot x \[K + 1\], knot y \[K + 1\], root slope \[K + 1\], λ \[K\]; knots increase, root slopes are √slope
//! and positive, 0 < λ < 1 is where in its bin the pieces meet. θ per dimension: width logits \[K\],
//! height logits \[K\], inner slopes \[K − 1\], λ logits \[K\]; D·(4K − 1) parameters. Outside the knots
//! the [`Tails`].
//!
//! The paper's four constants a bin are not needed. With ξ = (x − x₀)/w, δ = h/w, root slopes
//! r₀, r₁ and m = λ r₀ + (1 − λ) r₁, the left piece (ξ ≤ λ) is
//! N = (l − t) + r m t/δ, v = l r² t/(δ N), dz/dx = (l r/N)², z = y₀ + h v
//! with t = ξ, l = λ, r = r₀. The right piece is its mirror image: t = 1 − ξ, l = 1 − λ, r = r₁ and
//! z = y₁ − h v; m is the same. One piece is computed, with its side selected, and no root is taken.
//!
//! Inverse of a piece: t = v δ l/(l r² − v (r m − δ)).
//! Gradient: v and ladj = 2 ln(l r/N) through t, l, r, m and δ; then the side is undone.

use super::knots::{self, MAX_BINS, Tails};
use super::{Bijection, Shape};
use crate::math::{LogProduct, Packed, Real, Weights, logistic};

/// K bins of two hyperbola pieces; see the source file's head for formula and gradient.
pub struct RationalLinear;

/// λ keeps this distance from 0 and 1.
const MIN_LAMBDA: f64 = 0.025;

/// A dimension's weights: knot x, knot y, root slope \[K + 1\] each, λ \[K\].
#[inline(always)]
fn tables<R: Real, W: Weights<R>>(w: W, i: usize, bins: usize) -> ([W; 3], W) {
    let start = i * (4 * bins + 3);
    let knots = [0, 1, 2].map(|table| w.part(start + table * (bins + 1), bins + 1));
    (knots, w.part(start + 3 * (bins + 1), bins))
}

/// The bin that a value falls into.
struct Bin<R: Real> {
    k: R::Index,
    x0: R,
    x1: R,
    w: R,
    y0: R,
    y1: R,
    h: R,
    r0: R,
    r1: R,
    lambda: R,
    m: R,
    delta: R,
}

impl<R: Real> Bin<R> {
    #[inline(always)]
    fn at<W: Weights<R>>(k: R::Index, ([x, y, root], lambda): ([W; 3], W), bins: usize, like: R) -> Self {
        let (x0, x1) = (like.gather(x, k, bins, 0), like.gather(x, k, bins, 1));
        let (y0, y1) = (like.gather(y, k, bins, 0), like.gather(y, k, bins, 1));
        let (r0, r1) = (like.gather(root, k, bins, 0), like.gather(root, k, bins, 1));
        let lambda = like.gather(lambda, k, bins, 0);
        let (w, h) = (x1 - x0, y1 - y0);
        let m = lambda * r0 + (like.lift(1.0) - lambda) * r1;
        Self { k, x0, x1, w, y0, y1, h, r0, r1, lambda, m, delta: h / w }
    }
}

/// One hyperbola piece, seen from its own end of the bin.
struct Piece<R> {
    l: R,
    r: R,
}

impl<R: Real> Piece<R> {
    #[inline(always)]
    fn new(left: R::Mask, bin: &Bin<R>) -> Self {
        Self {
            l: R::select(left, bin.lambda, bin.lambda.lift(1.0) - bin.lambda),
            r: R::select(left, bin.r0, bin.r1),
        }
    }

    /// N at t.
    #[inline(always)]
    fn denominator(&self, bin: &Bin<R>, t: R) -> R {
        (self.l - t) + self.r * bin.m * t / bin.delta
    }
}

impl Bijection for RationalLinear {
    fn exists(shape: Shape) -> bool {
        (1..=MAX_BINS).contains(&shape.arg) && Tails::from_code(shape.option).is_some()
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim * (4 * shape.arg + 3)
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * 19
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        (0..shape.dim).all(|i| {
            let ([x, y, root], lambda) = tables::<f32, _>(w, i, shape.arg);
            knots::increase(x)
                && knots::increase(y)
                && knots::tails_meet(shape, x, y)
                && root.iter().all(|r| r > 0.0)
                && lambda.iter().all(|lambda| lambda > 0.0 && lambda < 1.0)
        })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let bins = shape.arg;
        let mut slopes = LogProduct::new(x[0]);
        for (i, x) in x.iter_mut().enumerate() {
            let (t, lambda) = tables(w, i, bins);
            let inside = knots::inside(*x, t[0], bins);
            let bin = Bin::at(x.search(t[0], bins), (t, lambda), bins, *x);
            let xi = (*x - bin.x0) / bin.w;
            let left = bin.lambda.ge(xi);
            let piece = Piece::new(left, &bin);
            let t_end = R::select(left, xi, x.lift(1.0) - xi);
            let per_n = x.lift(1.0) / piece.denominator(&bin, t_end);
            let root = piece.l * piece.r * per_n;
            // h v = w t l r²/N.
            let rise = bin.w * t_end * piece.r * root;
            let mut z = R::select(left, bin.y0 + rise, bin.y1 - rise);
            let mut slope = root * root;
            if !R::all(inside) {
                let (outer, outer_slope) = match Tails::of(shape) {
                    Tails::Identity => (*x, x.lift(1.0)),
                    Tails::Linear => {
                        let (_, [from, to, root]) = knots::end(*x, t[0], t, bins);
                        (to + root * root * (*x - from), root * root)
                    }
                };
                z = R::select(inside, z, outer);
                slope = R::select(inside, slope, outer_slope);
            }
            *x = z;
            slopes.multiply(slope);
        }
        slopes.ln()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        let bins = shape.arg;
        let mut slopes = LogProduct::new(z[0]);
        for (i, z) in z.iter_mut().enumerate() {
            let (t, lambda) = tables(w, i, bins);
            let inside = knots::inside(*z, t[1], bins);
            let bin = Bin::at(z.search(t[1], bins), (t, lambda), bins, *z);
            let u = (*z - bin.y0) / bin.h;
            // The pieces meet at u = λ r₀/m.
            let left = (bin.lambda * bin.r0).ge(u * bin.m);
            let piece = Piece::new(left, &bin);
            let v = R::select(left, u, z.lift(1.0) - u);
            let t_end = v * bin.delta * piece.l
                / (piece.l * piece.r * piece.r - v * (piece.r * bin.m - bin.delta));
            let t_end = t_end.max(z.lift(0.0)).min(piece.l);
            let xi = R::select(left, t_end, z.lift(1.0) - t_end);
            let root = piece.l * piece.r / piece.denominator(&bin, t_end);
            // The sum may round to just above the bin; a tail or the next bin begins there.
            let mut x = (bin.x0 + xi * bin.w).min(bin.x1);
            let mut slope = root * root;
            if !R::all(inside) {
                let (outer, outer_slope) = match Tails::of(shape) {
                    Tails::Identity => (*z, z.lift(1.0)),
                    Tails::Linear => {
                        let (_, [to, from, root]) = knots::end(*z, t[1], t, bins);
                        (to + (*z - from) / (root * root), root * root)
                    }
                };
                x = R::select(inside, x, outer);
                slope = R::select(inside, slope, outer_slope);
            }
            *z = x;
            slopes.multiply(slope);
        }
        -slopes.ln()
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        dw: &mut [R],
        _: &mut [R],
    ) {
        let bins = shape.arg;
        let per_dim = dw.chunks_exact_mut(4 * bins + 3);
        for (i, ((&x, dz), dw)) in x.iter().zip(dz.iter_mut()).zip(per_dim).enumerate() {
            let (tables, lambda) = tables(w, i, bins);
            let (zero, one, two) = (x.lift(0.0), x.lift(1.0), x.lift(2.0));
            let inside = knots::inside(x, tables[0], bins);
            // Outside, the bin's formulas run at its edge, so that they stay finite, and count 0.
            let within = x.max(tables[0].at(0, x)).min(tables[0].at(bins, x));
            let bin = Bin::at(within.search(tables[0], bins), (tables, lambda), bins, x);
            let (m, delta) = (bin.m, bin.delta);
            let xi = (within - bin.x0) / bin.w;
            let left = bin.lambda.ge(xi);
            let side = R::select(left, one, -one);
            let piece = Piece::new(left, &bin);
            let (l, r) = (piece.l, piece.r);
            let t = R::select(left, xi, one - xi);
            let per_n = one / piece.denominator(&bin, t);
            let per_delta = one / delta;
            let dy = R::select(inside, *dz, zero);
            let dl = R::select(inside, dladj, zero);

            // v = P/N with P = l r² t/δ, and ladj = 2 ln l + 2 ln r − 2 ln N.
            let p = l * r * r * t * per_delta;
            let v = p * per_n;
            let dv = side * dy * bin.h;
            let dp = dv * per_n;
            let dn = -(dv * v + two * dl) * per_n;
            let dt = dp * l * r * r * per_delta + dn * (r * m * per_delta - one);
            let dl_end = dp * r * r * t * per_delta + dn + two * dl / l;
            let dr = dp * two * l * r * t * per_delta + dn * m * t * per_delta + two * dl / r;
            let dm = dn * r * t * per_delta;
            let ddelta = -(dp * p + dn * r * m * t * per_delta) * per_delta;

            // Undo the side; m = λ r₀ + (1 − λ) r₁.
            let dxi = side * dt;
            let dlambda = side * dl_end + dm * (bin.r0 - bin.r1);
            let dr0 = dm * bin.lambda + R::select(left, dr, zero);
            let dr1 = dm * (one - bin.lambda) + R::select(left, zero, dr);
            let dh = side * dy * v + ddelta / bin.w;
            let dwidth = -(ddelta * delta + dxi * xi) / bin.w;
            let dx = dxi / bin.w;
            // z hangs on y₀ on the left, on y₁ = y₀ + h on the right.
            let dy1 = dh + R::select(left, zero, dy);
            let dy0 = R::select(left, dy, zero) - dh;

            let (dknot_x, rest) = dw.split_at_mut(bins + 1);
            let (dknot_y, rest) = rest.split_at_mut(bins + 1);
            let (droot, dlambdas) = rest.split_at_mut(bins + 1);
            (-dx - dwidth).scatter(&mut dknot_x[..bins], bin.k);
            dwidth.scatter(&mut dknot_x[1..], bin.k);
            dy0.scatter(&mut dknot_y[..bins], bin.k);
            dy1.scatter(&mut dknot_y[1..], bin.k);
            dr0.scatter(&mut droot[..bins], bin.k);
            dr1.scatter(&mut droot[1..], bin.k);
            dlambda.scatter(dlambdas, bin.k);

            let (outer, outer_dl) = (R::select(inside, zero, *dz), R::select(inside, zero, dladj));
            *dz = dx + match Tails::of(shape) {
                Tails::Identity => outer,
                Tails::Linear => {
                    // z = y + root² (x − from) beyond the end knot (from, y).
                    let (above, [from, _, root]) = knots::end(x, tables[0], tables, bins);
                    let dslope = outer * (x - from) + outer_dl / (root * root);
                    knots::add_to_end(above, -(outer * root * root), dknot_x);
                    knots::add_to_end(above, outer, dknot_y);
                    knots::add_to_end(above, two * root * dslope, droot);
                    outer * root * root
                }
            };
        }
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * (knots::theta_len(shape.arg) + shape.arg)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        let knots = shape.arg + 1;
        w.fill(like.lift(0.5));
        for w in w.chunks_exact_mut(4 * shape.arg + 3) {
            let (x, rest) = w.split_at_mut(knots);
            let (y, rest) = rest.split_at_mut(knots);
            knots::neutral(x, y, &mut rest[..knots]);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let (bins, tails) = (shape.arg, Tails::of(shape));
        let free = knots::theta_len(bins);
        let per_dim = theta.chunks_exact(free + bins);
        for (theta, w) in per_dim.zip(w.chunks_exact_mut(4 * bins + 3)) {
            let (x, rest) = w.split_at_mut(bins + 1);
            let (y, rest) = rest.split_at_mut(bins + 1);
            let (slope, lambda) = rest.split_at_mut(bins + 1);
            let constants = [slope[0], slope[bins]];
            knots::constrain(tails, &theta[..free], x, y, slope);
            for slope in slope.iter_mut() {
                *slope = slope.sqrt();
            }
            if tails == Tails::Identity {
                [slope[0], slope[bins]] = constants;
            }
            for (lambda, theta) in lambda.iter_mut().zip(&theta[free..]) {
                let range = theta.constant(1.0 - 2.0 * MIN_LAMBDA);
                *lambda = theta.constant(MIN_LAMBDA) + range * logistic(*theta);
            }
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let (bins, tails) = (shape.arg, Tails::of(shape));
        let (knots, free) = (bins + 1, knots::theta_len(bins));
        for i in 0..shape.dim {
            let range = i * (free + bins)..(i + 1) * (free + bins);
            let (theta, dtheta) = (&theta[range.clone()], &mut dtheta[range]);
            let range = i * (4 * bins + 3)..(i + 1) * (4 * bins + 3);
            let (w, dw) = (&w[range.clone()], &dw[range]);
            let (root, droot) = (&w[2 * knots..3 * knots], &dw[2 * knots..3 * knots]);
            // root = √slope, so dslope = droot / (2 root).
            let dslope = |j: usize| droot[j] / (root[j] + root[j]);
            knots::constrain_backward(
                tails,
                &theta[..free],
                [&w[..knots], &w[knots..2 * knots]],
                [&dw[..knots], &dw[knots..2 * knots]],
                dslope,
                &mut dtheta[..free],
            );
            let range = theta[0].constant(1.0 - 2.0 * MIN_LAMBDA);
            for k in 0..bins {
                let share = logistic(theta[free + k]);
                let slope = range * share * (share.lift(1.0) - share);
                dtheta[free + k] = dtheta[free + k] + dw[3 * knots + k] * slope;
            }
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let (bins, free) = (shape.arg, knots::theta_len(shape.arg));
        let knots = bins + 1;
        let per_dim = theta.chunks_exact_mut(free + bins);
        for (theta, w) in per_dim.zip(w.chunks_exact(4 * bins + 3)) {
            let slope = |j: usize| w[2 * knots + j] * w[2 * knots + j];
            knots::unconstrain(&w[..knots], &w[knots..2 * knots], slope, &mut theta[..free]);
            for (theta, lambda) in theta[free..].iter_mut().zip(&w[3 * knots..]) {
                let floor = lambda.constant(MIN_LAMBDA);
                let share = (*lambda - floor) / lambda.constant(1.0 - 2.0 * MIN_LAMBDA);
                let share = share.max(lambda.constant(1e-8)).min(lambda.constant(1.0 - 1e-8));
                *theta = (share / (lambda.lift(1.0) - share)).ln();
            }
        }
    }
}
