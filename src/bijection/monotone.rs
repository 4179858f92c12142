//! The equation v + (k − 1) tanh v = r with k > 0, to which the inverses of planar and Sylvester
//! layers come down. Its left side increases, with slope tanh² v + k (1 − tanh² v).

use crate::math::{Real, tanh};

/// Enough for k from 1e-6 to 1e6: Newton's steps may begin slowly, the last four or five double
/// their digits.
const STEPS: usize = 32;

/// tanh² v + k (1 − tanh² v), of t = tanh v and g = 1 − t²: a sum of positive terms, between 1 and k.
#[inline(always)]
pub(super) fn slope<R: Real>(k: R, t: R, g: R) -> R {
    t * t + k * g
}

/// tanh v and 1 − tanh² v of the v that solves v + (k − 1) tanh v = r.
///
/// Both sides are odd in v and r, so r ≥ 0 will do. There the left side is concave for k ≥ 1 and
/// convex for k < 1, and lies between v and k v, and between v and v + k − 1. Newton's method comes
/// down on the solution from one side where it begins at the bound on the right one, the lower for
/// k ≥ 1; the bounds also keep roundings from leading it astray.
#[inline(always)]
pub(super) fn solve<R: Real>(k: R, r: R) -> (R, R) {
    let excess = k - k.lift(1.0);
    let size = r.abs();
    let (shallow, shifted) = (size / k, size - excess);
    let above = k.ge(k.lift(1.0));
    let start = R::select(above, shallow.max(shifted), shallow.min(shifted));
    let (low, high) = (start.min(size), start.max(size));
    let mut v = start;
    for _ in 0..STEPS {
        let (t, g) = tanh(v);
        let residual = v + excess * t - size;
        v = (v - residual / slope(k, t, g)).max(low).min(high);
    }
    let (t, g) = tanh(v);
    (R::select(r.ge(r.lift(0.0)), t, -t), g)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_is_found_for_flat_and_steep_equations() {
        for k in [1e-6_f64, 1e-3, 0.03, 0.5, 1.0, 1.5, 40.0, 1e3, 1e6] {
            for i in -120..=120 {
                let v = 0.1 * f64::from(i);
                let exact = libm::tanh(v);
                let (t, g) = solve(k, v + (k - 1.0) * exact);
                // A rounding of the terms of r, over the slope.
                let slope = exact * exact + k * (1.0 - exact * exact);
                let reach = f64::EPSILON * (1.0 + v.abs() + k * exact.abs()) / slope;
                let allowed = 4.0 * reach * (1.0 - exact * exact) + 4.0 * f64::EPSILON;
                assert!((t - exact).abs() <= allowed, "k = {k}, v = {v}: {t}");
                assert!((g - (1.0 - exact * exact)).abs() <= 2.0 * allowed, "k = {k}, v = {v}");
                if k > 1e-4 {
                    assert!((t - exact).abs() < 1e-12, "k = {k}, v = {v}");
                }
            }
        }
    }
}
