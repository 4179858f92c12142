//! Monotonic rational-quadratic spline, one per dimension.
//!
//! Durkan, Bekasov, Murray and Papamakarios 2019, arXiv:1906.04032, eqs. 4–8, whose letters are
//! used below. Weights per dimension: knot x \[K + 1\], knot y \[K + 1\], slope \[K + 1\]; knots increase,
//! slopes are positive. θ per dimension: width logits \[K\], height logits \[K\], inner slopes \[K − 1\];
//! D·(3K − 1) parameters. Outside the knots the [`Tails`].
//!
//! Inside a bin of width w, height h, δ = h/w, with ξ = (x − x₀)/w, φ = ξ(1 − ξ), S = d₀ + d₁ − 2δ:
//! α = δξ² + d₀φ, β = δ + Sφ, γ = d₁ξ² + 2δφ + d₀(1 − ξ)²,
//! z = y₀ + h α/β, dz/dx = δ²γ/β².
//! β and γ are positive: β = δ(1 − 2φ) + (d₀ + d₁)φ with φ ≤ ¼.
//!
//! Gradient, from dz and dladj, by the chain rule through ξ, δ, d₀, d₁ and h; each line of
//! [`RationalQuadratic::backward`] is one partial derivative.

use super::knots::{self, MAX_BINS, Tails};
use super::{Bijection, Shape};
use crate::math::{LogProduct, Packed, Real, Weights};

/// K bins of rational-quadratic functions; see the source file's head for formula and gradient.
pub struct RationalQuadratic;

/// The bin that a value falls into.
struct Bin<R: Real> {
    k: R::Index,
    x0: R,
    x1: R,
    w: R,
    y0: R,
    y1: R,
    h: R,
    d0: R,
    d1: R,
}

/// A dimension's weights: knot x, knot y, slope, \[K + 1\] each.
#[inline(always)]
fn tables<R: Real, W: Weights<R>>(w: W, i: usize, bins: usize) -> [W; 3] {
    let knots = bins + 1;
    [0, 1, 2].map(|table| w.part((3 * i + table) * knots, knots))
}

impl<R: Real> Bin<R> {
    #[inline(always)]
    fn at<W: Weights<R>>(k: R::Index, [x, y, slope]: [W; 3], bins: usize, like: R) -> Self {
        let (x0, x1) = (like.gather(x, k, bins, 0), like.gather(x, k, bins, 1));
        let (y0, y1) = (like.gather(y, k, bins, 0), like.gather(y, k, bins, 1));
        let (d0, d1) = (like.gather(slope, k, bins, 0), like.gather(slope, k, bins, 1));
        Self { k, x0, x1, w: x1 - x0, y0, y1, h: y1 - y0, d0, d1 }
    }
}

/// α, β, γ, S and φ of the head, at ξ.
struct Terms<R> {
    xi: R,
    rest: R,
    phi: R,
    delta: R,
    s: R,
    alpha: R,
    beta: R,
    gamma: R,
}

impl<R: Real> Terms<R> {
    #[inline(always)]
    fn new(bin: &Bin<R>, xi: R, delta: R) -> Self {
        let rest = xi.lift(1.0) - xi;
        let phi = xi * rest;
        let two = xi.lift(2.0) * delta;
        let s = bin.d0 + bin.d1 - two;
        let square = xi * xi;
        Self {
            xi,
            rest,
            phi,
            delta,
            s,
            alpha: delta * square + bin.d0 * phi,
            beta: delta + s * phi,
            gamma: bin.d1 * square + two * phi + bin.d0 * (rest * rest),
        }
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
    fn multiply_adds(shape: Shape) -> usize {
        shape.dim * 21
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        (0..shape.dim).all(|i| {
            let [x, y, slope] = tables::<f32, _>(w, i, shape.arg);
            knots::increase(x)
                && knots::increase(y)
                && knots::tails_meet(shape, x, y)
                && slope.iter().all(|s| s > 0.0)
        })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], _: &mut [R]) -> R {
        let bins = shape.arg;
        let mut slopes = LogProduct::new(x[0]);
        for (i, x) in x.iter_mut().enumerate() {
            let t = tables(w, i, bins);
            let inside = knots::inside(*x, t[0], bins);
            let bin = Bin::at(x.search(t[0], bins), t, bins, *x);
            let per_width = x.lift(1.0) / bin.w;
            let u = Terms::new(&bin, (*x - bin.x0) * per_width, bin.h * per_width);
            let per_beta = x.lift(1.0) / u.beta;
            let ratio = u.delta * per_beta;
            // The sum may round to just above the bin; a tail or the next bin begins there.
            let mut z = (bin.y0 + bin.h * u.alpha * per_beta).min(bin.y1);
            let mut slope = ratio * ratio * u.gamma;
            if !R::all(inside) {
                let (outer, outer_slope) = match Tails::of(shape) {
                    Tails::Identity => (*x, x.lift(1.0)),
                    Tails::Linear => {
                        let (_, [from, to, slope]) = knots::end(*x, t[0], t, bins);
                        (to + slope * (*x - from), slope)
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
            let t = tables(w, i, bins);
            let inside = knots::inside(*z, t[1], bins);
            let bin = Bin::at(z.search(t[1], bins), t, bins, *z);
            let delta = bin.h / bin.w;
            // Eqs. 6–8 divided by h, with v = (z − y₀)/h: a ξ² + b ξ − δ v = 0. The root is
            // written so that nothing cancels: a > 0 wherever b < 0.
            let v = (*z - bin.y0) / bin.h;
            let (zero, one, two) = (z.lift(0.0), z.lift(1.0), z.lift(2.0));
            let s = bin.d0 + bin.d1 - two * delta;
            let b = bin.d0 - v * s;
            let a = delta - b;
            let root = (b * b + z.lift(4.0) * a * delta * v).max(zero).sqrt();
            let positive = b.ge(zero);
            let numerator = R::select(positive, two * delta * v, root - b);
            let denominator = R::select(positive, b + root, two * a);
            let xi = (numerator / denominator).max(zero).min(one);
            let u = Terms::new(&bin, xi, delta);
            let ratio = delta / u.beta;
            let mut x = (bin.x0 + xi * bin.w).min(bin.x1);
            let mut slope = ratio * ratio * u.gamma;
            if !R::all(inside) {
                let (outer, outer_slope) = match Tails::of(shape) {
                    Tails::Identity => (*z, one),
                    Tails::Linear => {
                        let (_, [to, from, slope]) = knots::end(*z, t[1], t, bins);
                        (to + (*z - from) / slope, slope)
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
        let per_dim = dw.chunks_exact_mut(3 * (bins + 1));
        for (i, ((&x, dz), dw)) in x.iter().zip(dz.iter_mut()).zip(per_dim).enumerate() {
            let t = tables(w, i, bins);
            let (zero, one, two) = (x.lift(0.0), x.lift(1.0), x.lift(2.0));
            let inside = knots::inside(x, t[0], bins);
            // Outside, the bin's formulas run at its edge, so that they stay finite, and count 0.
            let within = x.max(t[0].at(0, x)).min(t[0].at(bins, x));
            let bin = Bin::at(within.search(t[0], bins), t, bins, x);
            let per_width = one / bin.w;
            let delta = bin.h * per_width;
            let u = Terms::new(&bin, (within - bin.x0) * per_width, delta);
            let (per_beta, per_gamma) = (one / u.beta, one / u.gamma);
            let per_delta = one / delta;
            let dy = R::select(inside, *dz, zero);
            let dl = R::select(inside, dladj, zero);

            // z = y₀ + h α/β; ladj = 2 ln δ + ln γ − 2 ln β.
            let g = dy * bin.h * per_beta * per_beta;
            let slope = delta * per_beta * delta * per_beta * u.gamma;
            let turn = one - two * u.xi;
            let dxi = dy * bin.w * slope
                + dl * two
                    * ((bin.d1 * u.xi + delta * turn - bin.d0 * u.rest) * per_gamma
                        - u.s * turn * per_beta);
            let bend = one - two * u.phi;
            let ddelta = g * (u.xi * u.xi * u.beta - u.alpha * bend)
                + dl * two * (per_delta + u.phi * per_gamma - bend * per_beta);
            let dd0 = g * u.phi * (u.beta - u.alpha)
                + dl * (u.rest * u.rest * per_gamma - two * u.phi * per_beta);
            let dd1 = -(g * u.alpha * u.phi)
                + dl * (u.xi * u.xi * per_gamma - two * u.phi * per_beta);
            let dh = dy * u.alpha * per_beta + ddelta * per_width;
            let dwidth = -(ddelta * delta + dxi * u.xi) * per_width;
            let dx = dxi * per_width;

            let (dknots, dslopes) = dw.split_at_mut(2 * (bins + 1));
            let (dknot_x, dknot_y) = dknots.split_at_mut(bins + 1);
            (-dx - dwidth).scatter(&mut dknot_x[..bins], bin.k);
            dwidth.scatter(&mut dknot_x[1..], bin.k);
            (dy - dh).scatter(&mut dknot_y[..bins], bin.k);
            dh.scatter(&mut dknot_y[1..], bin.k);
            dd0.scatter(&mut dslopes[..bins], bin.k);
            dd1.scatter(&mut dslopes[1..], bin.k);

            let (outer, outer_dl) = (R::select(inside, zero, *dz), R::select(inside, zero, dladj));
            *dz = dx + match Tails::of(shape) {
                Tails::Identity => outer,
                Tails::Linear => {
                    // z = y + slope (x − from) beyond the end knot (from, y).
                    let (above, [from, _, slope]) = knots::end(x, t[0], t, bins);
                    knots::add_to_end(above, -(outer * slope), dknot_x);
                    knots::add_to_end(above, outer, dknot_y);
                    knots::add_to_end(above, outer * (x - from) + outer_dl / slope, dslopes);
                    outer * slope
                }
            };
        }
    }

    fn theta_len(shape: Shape) -> usize {
        shape.dim * knots::theta_len(shape.arg)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        for w in w.chunks_exact_mut(3 * (shape.arg + 1)) {
            let (x, rest) = w.split_at_mut(shape.arg + 1);
            let (y, slope) = rest.split_at_mut(shape.arg + 1);
            knots::neutral(x, y, slope);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let tails = Tails::of(shape);
        let per_dim = theta.chunks_exact(knots::theta_len(shape.arg));
        for (theta, w) in per_dim.zip(w.chunks_exact_mut(3 * (shape.arg + 1))) {
            let (x, rest) = w.split_at_mut(shape.arg + 1);
            let (y, slope) = rest.split_at_mut(shape.arg + 1);
            knots::constrain(tails, theta, x, y, slope);
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let (tails, knots) = (Tails::of(shape), shape.arg + 1);
        let (per_theta, per_w) = (knots::theta_len(shape.arg), 3 * knots);
        for i in 0..shape.dim {
            let theta_range = i * per_theta..(i + 1) * per_theta;
            let (w, dw) = (&w[i * per_w..], &dw[i * per_w..]);
            knots::constrain_backward(
                tails,
                &theta[theta_range.clone()],
                [&w[..knots], &w[knots..2 * knots]],
                [&dw[..knots], &dw[knots..2 * knots]],
                |j| dw[2 * knots + j],
                &mut dtheta[theta_range],
            );
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let knots = shape.arg + 1;
        let per_dim = theta.chunks_exact_mut(knots::theta_len(shape.arg));
        for (theta, w) in per_dim.zip(w.chunks_exact(3 * knots)) {
            knots::unconstrain(&w[..knots], &w[knots..2 * knots], |j| w[2 * knots + j], theta);
        }
    }
}
