//! Monotonic linear-rational spline, one per dimension: two hyperbola pieces a bin.
//!
//! The pieces meet inside the bin at a place λ of their own, so that values and slopes at both
//! knots are met by curves whose inverse needs no root; outside the knots it has [`Tails`].
//!
//! # Formula
//!
//! In the bin of x, between the knots (x₀, y₀) and (x₁, y₁) with the root slopes r₀ = √d₀, r₁ =
//! √d₁:
//!
//! ```text
//! w = x₁ − x₀, h = y₁ − y₀, δ = h/w, ξ = (x − x₀)/w, m = λ r₀ + (1 − λ) r₁
//! left,  ξ ≤ λ: t = ξ,     l = λ,     r = r₀, z = y₀ + h v
//! right, ξ > λ: t = 1 − ξ, l = 1 − λ, r = r₁, z = y₁ − h v
//! N = (l − t) + r m t/δ
//! v = l r² t/(δ N)
//! dz/dx = (l r/N)²
//! ladj = Σ ln dz/dx, over the dimensions
//! ```
//!
//! The right piece is the mirror image of the left, with the same m: one piece is computed, with
//! its side selected, and no root is taken. The paper's four constants a bin are not needed.
//!
//! # Parameters
//!
//! `D (4 K − 1)` free parameters: θ per dimension is width logits \[K\], height logits \[K\], inner
//! slopes \[K − 1\], λ logits \[K\].
//!
//! Packed weights per dimension: (x, y, root slope) of each knot \[K + 1, 3\], then λ \[K\]; x and
//! y increase, root slopes are √slope and positive, 0 < λ < 1 is where in its bin the pieces meet:
//! λ = 0.025 + 0.95 σ(logit). How θ becomes knots, and what network gives it: [the
//! knots](super::knots).
//!
//! # Inverse
//!
//! The bin is found by y, the piece by where they meet, u = λ r₀/m:
//!
//! ```text
//! u = (z − y₀)/h; v = u on the left, 1 − u on the right
//! t = v δ l/(l r² − v (r m − δ))
//! x = x₀ + ξ w, ξ = t on the left, 1 − t on the right
//! ladj of the inverse = −Σ ln dz/dx, at this ξ
//! ```
//!
//! # Gradient
//!
//! v and ladj = 2 ln(l r/N) through t, l, r, m and δ, with P = l r² t/δ, so that v = P/N; ± is + on
//! the left and − on the right:
//!
//! ```text
//! dv = ±dz h, dP = dv/N, dN = −(dv v + 2 dladj)/N
//! dt = dP l r²/δ + dN (r m/δ − 1)
//! dl = dP r² t/δ + dN + 2 dladj/l
//! dr = 2 dP l r t/δ + dN m t/δ + 2 dladj/r
//! dm = dN r t/δ
//! dδ = −(dP P + dN r m t/δ)/δ
//! ```
//!
//! Then the side is undone:
//!
//! ```text
//! dξ = ±dt, dλ = ±dl + dm (r₀ − r₁)
//! dr₀ = dm λ, dr₁ = dm (1 − λ); the piece's own end gets dr too
//! dh = ±dz v + dδ/w, dw = −(dδ δ + dξ ξ)/w
//! dx = dξ/w
//! to the knots: dx₀ = −dx − dw, dx₁ = dw, dy₀ = −dh, dy₁ = dh; the piece's own end gets dz too
//! ```
//!
//! To θ: dslope = dr/(2 r) for each root slope, and d(logit of λ) = dλ 0.95 σ (1 − σ) at the logit.
//!
//! # Source
//!
//! Dolatabadi, Erfani and Leckie 2020, "Invertible generative modeling using linear rational
//! splines", arXiv:2001.05168, algorithm 1.

use super::knots::{self, Bin, KEPT, MAX_BINS, SLOPE, Tails};
use super::spline::{Form, MIN_LAMBDA, Piece, Spline};
use super::{Bijection, Shape, keep_and_go_back};
use crate::math::{Real, logistic};
use crate::weights::{Gradient, Packed, Weights};

/// K bins of two hyperbola pieces; see the source file's head for formula and gradient.
pub struct RationalLinear;

/// Weights of one dimension.
fn stride(bins: usize) -> usize {
    4 * bins + 3
}

/// What both directions need of a bin.
struct Pieces<'b, R: Real> {
    bin: &'b Bin<R>,
    width: R,
    height: R,
    delta: R,
    lambda: R,
    m: R,
}

impl<'b, R: Real> Pieces<'b, R> {
    #[inline(always)]
    fn new(bin: &'b Bin<R>) -> Self {
        let (width, height, lambda) = (bin.x1 - bin.x0, bin.y1 - bin.y0, bin.lambda);
        let m = lambda * bin.d0 + (lambda.lift(1.0) - lambda) * bin.d1;
        Self { bin, width, height, delta: height / width, lambda, m }
    }

    /// l and r of the piece on this side.
    #[inline(always)]
    fn side(&self, left: R::Mask) -> (R, R) {
        let l = R::select(left, self.lambda, self.lambda.lift(1.0) - self.lambda);
        (l, R::select(left, self.bin.d0, self.bin.d1))
    }
}

fn spline(shape: Shape) -> Spline {
    Spline { bins: shape.arg, tails: Tails::of(shape), form: Form::Stored }
}

impl Piece for RationalLinear {
    const ROOTS: bool = true;

    #[inline(always)]
    fn forward<R: Real>(bin: &Bin<R>, x: R) -> (R, R) {
        let pieces = Pieces::new(bin);
        let Pieces { width, delta, lambda, m, .. } = pieces;
        let one = x.lift(1.0);
        let xi = (x - bin.x0) / width;
        let left = lambda.ge(xi);
        let (l, r) = pieces.side(left);
        let t = R::select(left, xi, one - xi);
        // √(dz/dx) = l r/N; h v = w t r (l r/N).
        let root = l * r / ((l - t) + r * m * t / delta);
        let rise = width * t * r * root;
        (R::select(left, bin.y0 + rise, bin.y1 - rise), root * root)
    }

    #[inline(always)]
    fn inverse<R: Real>(bin: &Bin<R>, z: R) -> (R, R) {
        let pieces = Pieces::new(bin);
        let Pieces { width, height, delta, lambda, m, .. } = pieces;
        let (zero, one) = (z.lift(0.0), z.lift(1.0));
        let u = (z - bin.y0) / height;
        // The pieces meet at u = λ r₀/m.
        let left = (lambda * bin.d0).ge(u * m);
        let (l, r) = pieces.side(left);
        let v = R::select(left, u, one - u);
        let t = v * delta * l / (l * r * r - v * (r * m - delta));
        let t = t.max(zero).min(l);
        let xi = R::select(left, t, one - t);
        let root = l * r / ((l - t) + r * m * t / delta);
        // The sum may round to just above the bin; a tail or the next bin begins there.
        ((bin.x0 + xi * width).min(bin.x1), root * root)
    }

    #[inline(always)]
    fn backward<R: Real>(bin: &Bin<R>, x: R, dz: R, dladj: R) -> (R, [R; 6], R) {
        let (zero, one, two) = (x.lift(0.0), x.lift(1.0), x.lift(2.0));
        let pieces = Pieces::new(bin);
        let Pieces { width, height, delta, lambda, m, .. } = pieces;
        let xi = (x - bin.x0) / width;
        let left = lambda.ge(xi);
        let side = R::select(left, one, -one);
        let (l, r) = pieces.side(left);
        let t = R::select(left, xi, one - xi);
        let per_delta = one / delta;
        let per_n = one / ((l - t) + r * m * t * per_delta);

        // v = P/N with P = l r² t/δ, and ladj = 2 ln l + 2 ln r − 2 ln N.
        let p = l * r * r * t * per_delta;
        let v = p * per_n;
        let dv = side * dz * height;
        let dp = dv * per_n;
        let dn = -(dv * v + two * dladj) * per_n;
        let dt = dp * l * r * r * per_delta + dn * (r * m * per_delta - one);
        let dl = dp * r * r * t * per_delta + dn + two * dladj / l;
        let dr = dp * two * l * r * t * per_delta + dn * m * t * per_delta + two * dladj / r;
        let dm = dn * r * t * per_delta;
        let ddelta = -(dp * p + dn * r * m * t * per_delta) * per_delta;

        // Undo the side; m = λ r₀ + (1 − λ) r₁.
        let dxi = side * dt;
        let dlambda = side * dl + dm * (bin.d0 - bin.d1);
        let dr0 = dm * lambda + R::select(left, dr, zero);
        let dr1 = dm * (one - lambda) + R::select(left, zero, dr);
        let dheight = side * dz * v + ddelta / width;
        let dwidth = -(ddelta * delta + dxi * xi) / width;
        let dx = dxi / width;
        // z hangs on y₀ on the left, on y₁ on the right.
        let dy0 = R::select(left, dz, zero) - dheight;
        let dy1 = R::select(left, zero, dz) + dheight;
        (dx, [-dx - dwidth, dy0, dr0, dwidth, dy1, dr1], dlambda)
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
    fn backward_scratch_len(shape: Shape) -> usize {
        Self::kept_len(shape) + shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * 19
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        Weights::<f32>::rows(w, stride(shape.arg)).all(|w| {
            let mut lambdas = Weights::<f32>::part(w, 3 * (shape.arg + 1), shape.arg).iter();
            knots::valid(shape, w) && lambdas.all(|lambda| lambda > 0.0 && lambda < 1.0)
        })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        spline(shape).forward_all::<Self, R, W>(w, x, &mut [])
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], _: &mut [R]) -> R {
        spline(shape).inverse_all::<Self, R, W>(w, z)
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        dw: G,
        scratch: &mut [R],
    ) {
        keep_and_go_back::<Self, R, W, G>(shape, w, x, dz, dladj, dw, scratch);
    }

    fn kept_len(shape: Shape) -> usize {
        shape.dim * KEPT
    }

    #[inline(always)]
    fn forward_kept<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        kept: &mut [R],
        scratch: &mut [R],
    ) -> R {
        if kept.is_empty() {
            return <Self as Bijection>::forward(shape, w, x, scratch);
        }
        spline(shape).forward_all::<Self, R, W>(w, x, kept)
    }

    #[inline(always)]
    fn backward_kept<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        mut dw: G,
        kept: &mut [R],
        _: &mut [R],
    ) {
        spline(shape).backward_all::<Self, R, W>(w, x, dz, dladj, &mut dw, kept);
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * (knots::theta_len(shape.arg) + shape.arg)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.5));
        for w in w.chunks_exact_mut(stride(shape.arg)) {
            knots::neutral(&mut w[..3 * (shape.arg + 1)]);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let (bins, tails) = (shape.arg, Tails::of(shape));
        let free = knots::theta_len(bins);
        let per_dim = theta.chunks_exact(free + bins);
        for (theta, w) in per_dim.zip(w.chunks_exact_mut(stride(bins))) {
            let (knots, lambdas) = w.split_at_mut(3 * (bins + 1));
            let constants = [0, bins].map(|j| knots[knots::at(j, SLOPE)]);
            knots::constrain(tails, &theta[..free], knots);
            for knot in knots.chunks_exact_mut(3) {
                knot[SLOPE] = knot[SLOPE].sqrt();
            }
            if tails == Tails::Identity {
                for (j, constant) in [0, bins].into_iter().zip(constants) {
                    knots[knots::at(j, SLOPE)] = constant;
                }
            }
            for (lambda, theta) in lambdas.iter_mut().zip(&theta[free..]) {
                let range = theta.constant(1.0 - 2.0 * MIN_LAMBDA);
                *lambda = theta.constant(MIN_LAMBDA) + range * logistic(*theta);
            }
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let (bins, free) = (shape.arg, knots::theta_len(shape.arg));
        let thetas = theta.chunks_exact(free + bins).zip(dtheta.chunks_exact_mut(free + bins));
        let weights = w.chunks_exact(stride(bins)).zip(dw.chunks_exact(stride(bins)));
        for ((theta, dtheta), (w, dw)) in thetas.zip(weights) {
            let (knots, _) = w.split_at(3 * (bins + 1));
            let (dknots, dlambdas) = dw.split_at(3 * (bins + 1));
            let (theta, theta_lambda) = theta.split_at(free);
            let (dtheta, dtheta_lambda) = dtheta.split_at_mut(free);
            // root = √slope, so dslope = droot / (2 root).
            let dslope = |j| {
                let root = knots[knots::at(j, SLOPE)];
                dknots[knots::at(j, SLOPE)] / (root + root)
            };
            knots::constrain_backward(Tails::of(shape), theta, knots, dknots, dslope, dtheta);
            for ((theta, dtheta), d) in theta_lambda.iter().zip(dtheta_lambda).zip(dlambdas) {
                let share = logistic(*theta);
                let range = share.constant(1.0 - 2.0 * MIN_LAMBDA);
                *dtheta = *dtheta + *d * range * share * (share.lift(1.0) - share);
            }
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let (bins, free) = (shape.arg, knots::theta_len(shape.arg));
        let per_dim = theta.chunks_exact_mut(free + bins);
        for (theta, w) in per_dim.zip(w.chunks_exact(stride(bins))) {
            let (knots, lambdas) = w.split_at(3 * (bins + 1));
            let slope = |j| knots[knots::at(j, SLOPE)] * knots[knots::at(j, SLOPE)];
            knots::unconstrain(knots, slope, &mut theta[..free]);
            for (theta, lambda) in theta[free..].iter_mut().zip(lambdas) {
                let floor = lambda.constant(MIN_LAMBDA);
                let share = (*lambda - floor) / lambda.constant(1.0 - 2.0 * MIN_LAMBDA);
                let share = share.max(lambda.constant(1e-8)).min(lambda.constant(1.0 - 1e-8));
                *theta = (share / (lambda.lift(1.0) - share)).ln();
            }
        }
    }
}
