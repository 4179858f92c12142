//! One dimension of Pyro's rational splines, written from its definition and not from our kernels:
//! the bin is given, so that either neighbour of a knot can be asked.
//!
//! Durkan et al. 2019, eq. 4 and 5, and Dolatabadi et al. 2020, algorithm 1, in their letters.

use fluxlet::math::Real;

use super::dual::{Dual, constants, seeded};

const MIN_BIN: f64 = 1e-3;
const MIN_SLOPE: f64 = 1e-3;
const MIN_LAMBDA: f64 = 0.025;
/// Pyro counts a value less than this above a knot to the bin on the knot's left.
const SLACK: f64 = 1e-6;

/// Raw parameters of one dimension: widths [K], heights [K], slopes [K − 1] and, for the linear
/// order, λ [K].
#[derive(Clone)]
pub(crate) struct Spline {
    pub(crate) raw: Vec<f64>,
    pub(crate) bins: usize,
    pub(crate) bound: f64,
    pub(crate) linear: bool,
}

/// A loss's gradient at one point.
pub(crate) struct Gradient {
    pub(crate) x: f64,
    pub(crate) raw: Vec<f64>,
}

fn softplus(a: Dual) -> Dual {
    (Dual::constant(1.0) + a.exp()).ln()
}

fn knots(logits: &[Dual], bound: f64) -> Vec<Dual> {
    let bins = logits.len();
    let total = logits.iter().fold(Dual::constant(0.0), |sum, a| sum + a.exp());
    let mut knots = vec![Dual::constant(-bound)];
    let mut share = Dual::constant(0.0);
    for logit in logits {
        let free = Dual::constant(1.0 - MIN_BIN * bins as f64);
        share = share + Dual::constant(MIN_BIN) + free * logit.exp() / total;
        knots.push(Dual::constant(-bound) + Dual::constant(2.0 * bound) * share);
    }
    knots[bins] = Dual::constant(bound);
    knots
}

impl Spline {
    /// The bin that Pyro takes for `value` on the axis of x (0) or y (1).
    pub(crate) fn bin_of_pyro(&self, axis: usize, value: f64) -> usize {
        let logits = constants(&self.raw[axis * self.bins..(axis + 1) * self.bins]);
        let knots = knots(&logits, self.bound);
        let below = knots.iter().filter(|knot| value >= knot.v + SLACK).count();
        below.saturating_sub(1).min(self.bins - 1)
    }

    /// y and ln dy/dx by the formulas of bin `k`, even where `x` lies outside it.
    fn evaluate(&self, raw: &[Dual], k: usize, x: Dual) -> (Dual, Dual) {
        let bins = self.bins;
        let one = Dual::constant(1.0);
        let (knot_x, knot_y) =
            (knots(&raw[..bins], self.bound), knots(&raw[bins..2 * bins], self.bound));
        let mut slopes = vec![Dual::constant(1.0 - MIN_SLOPE); bins + 1];
        for (slope, raw) in slopes[1..bins].iter_mut().zip(&raw[2 * bins..]) {
            *slope = Dual::constant(MIN_SLOPE) + softplus(*raw);
        }
        let (w, h) = (knot_x[k + 1] - knot_x[k], knot_y[k + 1] - knot_y[k]);
        let (d0, d1) = (slopes[k], slopes[k + 1]);
        let (theta, delta) = ((x - knot_x[k]) / w, h / w);
        if !self.linear {
            let two = Dual::constant(2.0);
            let phi = theta * (one - theta);
            let numerator = h * (delta * theta * theta + d0 * phi);
            let denominator = delta + (d0 + d1 - two * delta) * phi;
            let rest = one - theta;
            let gamma = d1 * theta * theta + two * delta * phi + d0 * rest * rest;
            let log = two * delta.ln() + gamma.ln() - two * denominator.ln();
            return (knot_y[k] + numerator / denominator, log);
        }
        let sigma = one / (one + (-raw[3 * bins - 1 + k]).exp());
        let lambda = Dual::constant(MIN_LAMBDA) + Dual::constant(1.0 - 2.0 * MIN_LAMBDA) * sigma;
        let rest = one - lambda;
        let wb = (d0 / d1).sqrt();
        let wc = (lambda * d0 + rest * wb * d1) / delta;
        let (ya, yb) = (knot_y[k], knot_y[k + 1]);
        let yc = (rest * ya + lambda * wb * yb) / (rest + lambda * wb);
        let (numerator, denominator, slope) = if theta.v <= lambda.v {
            let (a, c) = (lambda - theta, wc * theta);
            (ya * a + yc * c, a + c, wc * lambda * (yc - ya))
        } else {
            let (c, b) = (wc * (one - theta), wb * (theta - lambda));
            (yc * c + yb * b, c + b, wb * wc * rest * (yb - yc))
        };
        let log = slope.ln() - (denominator * denominator * w).ln();
        (numerator / denominator, log)
    }

    /// y and ln dy/dx of bin `k` at `x`.
    pub(crate) fn forward(&self, k: usize, x: f64) -> (f64, f64) {
        let (y, log) = self.evaluate(&constants(&self.raw), k, Dual::constant(x));
        (y.v, log.v)
    }

    /// Gradient of dy · y + dlog · ln dy/dx.
    pub(crate) fn gradient(&self, k: usize, x: f64, dy: f64, dlog: f64) -> Gradient {
        let loss = |(y, log): (Dual, Dual)| dy * y.d + dlog * log.d;
        let along_x = Dual { v: x, d: 1.0 };
        let x_gradient = loss(self.evaluate(&constants(&self.raw), k, along_x));
        let along = |j| self.evaluate(&seeded(&self.raw, j), k, Dual::constant(x));
        Gradient { x: x_gradient, raw: (0..self.raw.len()).map(|j| loss(along(j))).collect() }
    }
}
