//! Monotonic rational-quadratic spline, one per dimension.
//!
//! Between its knots each axis follows the quotient of two quadratics, which rises everywhere and
//! meets the given value and slope at every knot; outside the knots it has [`Tails`]. It bends one
//! axis at a time, so that a stack needs rotations between its splines.
//!
//! # Formula
//!
//! In the bin of x, between the knots (x₀, y₀) and (x₁, y₁) with the slopes d₀ and d₁:
//!
//! ```text
//! w = x₁ − x₀, h = y₁ − y₀, δ = h/w, ξ = (x − x₀)/w, η = 1 − ξ
//! p = d₀ η + δ ξ, q = δ η + d₁ ξ
//! α = ξ p, β = ξ p + η q, γ = η p + ξ q
//! z = y₀ + h α/β
//! dz/dx = δ² γ/β²
//! ladj = Σ ln dz/dx, over the dimensions
//! ```
//!
//! These are the paper's α, β and γ, written so that every term is positive and nothing cancels.
//!
//! # Parameters
//!
//! `D (3 K − 1)` free parameters: θ per dimension is width logits \[K\], height logits \[K\], inner
//! slopes \[K − 1\].
//!
//! Packed weights per dimension: (x, y, slope) of each knot \[K + 1, 3\]; x and y increase, slopes
//! are positive. How θ becomes knots, and what network gives it: [the knots](super::knots).
//!
//! # Inverse
//!
//! The bin is found by y; in it z is the root of a quadratic, eqs. 6–8 divided by h:
//!
//! ```text
//! v = (z − y₀)/h, S = d₀ + d₁ − 2 δ
//! b = d₀ − v S, a = δ − b: a ξ² + b ξ − δ v = 0
//! root = √(b² + 4 a δ v)
//! ξ = 2 δ v/(b + root) where b ≥ 0, (root − b)/(2 a) elsewhere
//! x = x₀ + ξ w
//! ladj of the inverse = −Σ ln dz/dx, at this ξ
//! ```
//!
//! Of the two ways to write the root each is taken where nothing cancels: a > 0 wherever b < 0.
//!
//! # Gradient
//!
//! From dz and dladj by the chain rule through ξ, δ, d₀, d₁ and h, with S as above, φ = ξ η and
//! ladj = 2 ln δ + ln γ − 2 ln β; each line of `RationalQuadratic::backward` is one partial
//! derivative:
//!
//! ```text
//! g = dz h/β²
//! dξ = dz w (δ/β)² γ + 2 dladj ((d₁ ξ + δ (1 − 2 ξ) − d₀ η)/γ − S (1 − 2 ξ)/β)
//! dδ = g (ξ² β − α (1 − 2 φ)) + 2 dladj (1/δ + φ/γ − (1 − 2 φ)/β)
//! dd₀ = g φ (β − α) + dladj (η²/γ − 2 φ/β)
//! dd₁ = −g φ α + dladj (ξ²/γ − 2 φ/β)
//! dh = dz α/β + dδ/w
//! dw = −(dδ δ + dξ ξ)/w
//! dx = dξ/w
//! to the knots: dx₀ = −dx − dw, dx₁ = dw, dy₀ = dz − dh, dy₁ = dh
//! ```
//!
//! Only the six numbers of the bin that x lies in get a gradient.
//!
//! # Source
//!
//! Durkan, Bekasov, Murray and Papamakarios 2019, "Neural spline flows", arXiv:1906.04032, eqs.
//! 4–8, whose letters are used here.

use super::knots::{self, Bin, KEPT, MAX_BINS, SLOPE, Tails};
use super::spline::{Form, Piece, Spline};
use super::{Bijection, Shape, keep_and_go_back};
use crate::math::{LogProduct, Real};
use crate::weights::{Gradient, Packed, Weights};

/// K bins of rational-quadratic functions; see the source file's head for formula and gradient.
pub struct RationalQuadratic;

/// The head's letters at ξ.
struct Terms<R> {
    xi: R,
    eta: R,
    delta: R,
    alpha: R,
    beta: R,
    gamma: R,
}

impl<R: Real> Terms<R> {
    #[inline(always)]
    fn new(bin: &Bin<R>, xi: R, delta: R) -> Self {
        let eta = xi.lift(1.0) - xi;
        let p = (delta * xi).add_product(bin.d0, eta);
        let q = (delta * eta).add_product(bin.d1, xi);
        let alpha = xi * p;
        let (beta, gamma) = (alpha.add_product(eta, q), (xi * q).add_product(eta, p));
        Self { xi, eta, delta, alpha, beta, gamma }
    }
}

fn spline(shape: Shape) -> Spline {
    Spline { bins: shape.arg, tails: Tails::of(shape), form: Form::Stored }
}

impl Piece for RationalQuadratic {
    const ROOTS: bool = false;

    #[inline(always)]
    fn forward<R: Real>(bin: &Bin<R>, x: R) -> (R, R) {
        let per_width = (bin.x1 - bin.x0).recip();
        let height = bin.y1 - bin.y0;
        let u = Terms::new(bin, (x - bin.x0) * per_width, height * per_width);
        let per_beta = u.beta.recip();
        let ratio = u.delta * per_beta;
        (bin.y0.add_product(height * u.alpha, per_beta), ratio * ratio * u.gamma)
    }

    #[inline(always)]
    fn inverse<R: Real>(bin: &Bin<R>, z: R) -> (R, R) {
        let (width, height) = (bin.x1 - bin.x0, bin.y1 - bin.y0);
        let delta = height / width;
        // Eqs. 6–8 divided by h, with v = (z − y₀)/h: a ξ² + b ξ − δ v = 0. The root is
        // written so that nothing cancels: a > 0 wherever b < 0.
        let v = (z - bin.y0) / height;
        let (zero, one, two) = (z.lift(0.0), z.lift(1.0), z.lift(2.0));
        let s = bin.d0 + bin.d1 - two * delta;
        let b = bin.d0 - v * s;
        let a = delta - b;
        let root = (b * b + z.lift(4.0) * a * delta * v).max(zero).sqrt();
        let positive = b.ge(zero);
        let numerator = R::select(positive, two * delta * v, root - b);
        let denominator = R::select(positive, b + root, two * a);
        let xi = (numerator / denominator).max(zero).min(one);
        let u = Terms::new(bin, xi, delta);
        let ratio = delta / u.beta;
        ((bin.x0 + xi * width).min(bin.x1), ratio * ratio * u.gamma)
    }

    #[inline(always)]
    fn backward<R: Real>(bin: &Bin<R>, x: R, dz: R, dladj: R) -> (R, [R; 6], R) {
        let (one, two) = (x.lift(1.0), x.lift(2.0));
        let (width, height) = (bin.x1 - bin.x0, bin.y1 - bin.y0);
        let per_width = width.recip();
        let delta = height * per_width;
        let u = Terms::new(bin, (x - bin.x0) * per_width, delta);
        let (per_beta, per_gamma) = (u.beta.recip(), u.gamma.recip());

        // z = y₀ + h α/β; ladj = 2 ln δ + ln γ − 2 ln β.
        let g = dz * height * per_beta * per_beta;
        let (ratio, dladj_2) = (delta * per_beta, two * dladj);
        // S and φ of the paper: β = δ + Sφ.
        let (s, phi) = (bin.d0 + bin.d1 - two * delta, u.xi * u.eta);
        let turn = one.add_product(-two, u.xi);
        let rise = (bin.d1 * u.xi).add_product(delta, turn).add_product(-bin.d0, u.eta);
        let dxi = (dz * width * ratio * ratio * u.gamma)
            .add_product(dladj_2, (rise * per_gamma).add_product(-(s * turn), per_beta));
        let bend = one.add_product(-two, phi);
        let ddelta = (g * (u.xi * u.xi * u.beta).add_product(-u.alpha, bend)).add_product(
            dladj_2,
            delta.recip().add_product(phi, per_gamma).add_product(-bend, per_beta),
        );
        let both = two * phi * per_beta;
        let dd0 =
            (g * phi * (u.beta - u.alpha)).add_product(dladj, (u.eta * u.eta * per_gamma) - both);
        let dd1 = (dladj * (u.xi * u.xi * per_gamma - both)).add_product(-(g * u.alpha), phi);
        let dheight = (ddelta * per_width).add_product(dz * u.alpha, per_beta);
        let dwidth = -(dxi * u.xi).add_product(ddelta, delta) * per_width;
        let dx = dxi * per_width;
        (dx, [-dx - dwidth, dz - dheight, dd0, dwidth, dheight, dd1], x.lift(0.0))
    }
}

impl Bijection for RationalQuadratic {
    fn exists(shape: Shape) -> bool {
        (1..=MAX_BINS).contains(&shape.arg) && Tails::from_code(shape.option).is_some()
    }
    fn weight_len(shape: Shape) -> usize {
        shape.dim * 3 * (shape.arg + 1)
    }
    fn scratch_len(_: Shape) -> usize {
        0
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        Self::kept_len(shape) + shape.dim
    }
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * 21
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let stride = 3 * (shape.arg + 1);
        Weights::<f32>::rows(w, stride).all(|knots| knots::valid(shape, knots))
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        spline(shape).forward_all::<Self, R, W>(w, x, &mut [])
    }

    #[inline(always)]
    fn score<const INVERSE: bool>(
        shape: Shape,
        w: Packed,
        x: &mut [f32],
        scratch: &mut [f32],
    ) -> f32 {
        if cfg!(helium) && !INVERSE {
            let spline = spline(shape);
            let mut slopes = LogProduct::new(0.0);
            let (w, x) = spline.forward_fours::<Self>(w, x, &mut slopes);
            return spline.forward_rest::<Self, f32, Packed>(w, x, &mut [], slopes);
        }
        Self::pass::<INVERSE, f32, Packed>(shape, w, x, scratch)
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
        shape.dim * knots::theta_len(shape.arg)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        for knots in w.chunks_exact_mut(3 * (shape.arg + 1)) {
            knots::neutral(knots);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let per_dim = theta.chunks_exact(knots::theta_len(shape.arg));
        for (theta, knots) in per_dim.zip(w.chunks_exact_mut(3 * (shape.arg + 1))) {
            knots::constrain(Tails::of(shape), theta, knots);
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let (free, stride) = (knots::theta_len(shape.arg), 3 * (shape.arg + 1));
        let thetas = theta.chunks_exact(free).zip(dtheta.chunks_exact_mut(free));
        let knots = w.chunks_exact(stride).zip(dw.chunks_exact(stride));
        for ((theta, dtheta), (knots, dknots)) in thetas.zip(knots) {
            let dslope = |j| dknots[knots::at(j, SLOPE)];
            knots::constrain_backward(Tails::of(shape), theta, knots, dknots, dslope, dtheta);
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let per_dim = theta.chunks_exact_mut(knots::theta_len(shape.arg));
        for (theta, knots) in per_dim.zip(w.chunks_exact(3 * (shape.arg + 1))) {
            knots::unconstrain(knots, |j| knots[knots::at(j, SLOPE)], theta);
        }
    }
}
