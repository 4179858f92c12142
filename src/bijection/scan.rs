//! The one bin of a conditioned spline that a number falls into, straight from the free parameters.
//!
//! Lanes compare their numbers with every knot anyway, so that none of them needs to be stored and
//! looked up again. What is found is what [`knots::place`](super::knots::place) and a search find, bit by
//! bit.

use super::knots::{Shares, X};
use crate::math::Real;

/// Free parameters of one dimension's spline between the outer knots (low, low) and (high, high).
#[derive(Clone, Copy)]
pub(super) struct Free<'s, R> {
    pub(super) low: R,
    pub(super) high: R,
    /// That of the outer knots' slopes.
    pub(super) end: R,
    pub(super) widths: &'s [R],
    pub(super) heights: &'s [R],
    pub(super) slopes: &'s [R],
    /// Empty where the spline has none.
    pub(super) lambdas: &'s [R],
    /// To which the logits are clipped softly.
    pub(super) limit: Option<R>,
    /// Smallest share of a bin.
    pub(super) floor: f64,
}

impl<R: Real> Free<'_, R> {
    /// The bin of `v` along `axis`: the knots below and above, \[2, 3\], then λ. `scratch` is \[2 K\].
    #[inline(always)]
    pub(super) fn scan(&self, v: R, axis: usize, scratch: &mut [R]) -> [R; 7] {
        let Self { low, high, end, widths, heights, limit, .. } = *self;
        let bins = widths.len();
        let (zero, floor, range) = (low.lift(0.0), low.constant(self.floor), high - low);
        let (knots, powers) = scratch.split_at_mut(bins);
        let powers = &mut powers[..bins];
        let (own, other) = if axis == X { (widths, heights) } else { (heights, widths) };

        // Along the axis: the share below knot j, that below the bin, and the bin's power.
        let shares = Shares::new(own, limit, floor, knots.as_chunks_mut::<1>().0, 0);
        let (mut share, mut below, mut power) = (zero, zero, knots[0]);
        for j in 1..bins {
            share = shares.next(share, knots[j - 1]);
            let knot = low.add_product(range, share);
            let reached = v.ge(knot);
            below = R::select(reached, share, below);
            power = R::select(reached, knots[j], power);
            // The power of the bin below gives way to the knot.
            knots[j - 1] = knot;
        }
        let own = [below, shares.next(below, power)];

        // Along the other axis, with the slopes on both sides.
        let shares = Shares::new(other, limit, floor, powers.as_chunks_mut::<1>().0, 0);
        let (mut share, mut below, mut power) = (zero, zero, powers[0]);
        let (mut d0, mut d1, mut reached) = (end, end, low.ge(low));
        for (j, slope) in (1..bins).zip(self.slopes) {
            d1 = R::select(reached, *slope, d1);
            reached = v.ge(knots[j - 1]);
            d0 = R::select(reached, *slope, d0);
            share = shares.next(share, powers[j - 1]);
            below = R::select(reached, share, below);
            power = R::select(reached, powers[j], power);
        }
        let other = [below, shares.next(below, power)];

        let mut lambda = self.lambdas.first().copied().unwrap_or(zero);
        for (own, knot) in self.lambdas.iter().skip(1).zip(&*knots) {
            lambda = R::select(v.ge(*knot), *own, lambda);
        }
        let (x, y) = if axis == X { (own, other) } else { (other, own) };
        let x1 = R::select(reached, high, low.add_product(range, x[1]));
        let y1 = R::select(reached, high, low.add_product(range, y[1]));
        let (x0, y0) = (low.add_product(range, x[0]), low.add_product(range, y[0]));
        [x0, y0, d0, x1, y1, R::select(reached, end, d1), lambda]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::super::knots::{MIN_BIN, SLOPE, Y, at, place};
    use super::*;

    /// Numbers between −3 and 3 that look random.
    fn numbers(seed: &mut u32, len: usize) -> Vec<f32> {
        let mut next = || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 8) as f32 * (6.0 / 16_777_216.0) - 3.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn a_scan_finds_the_bin_that_a_search_among_all_knots_finds() {
        let (low, high, end, seed) = (-4.0, 5.0, 0.5, &mut 1);
        for round in 0..200 {
            let bins = 1 + round % 9;
            let (widths, heights) = (numbers(seed, bins), numbers(seed, bins));
            let (slopes, lambdas) = (numbers(seed, bins - 1), numbers(seed, bins));
            let limit = if round % 2 == 0 { None } else { Some(3.4) };
            let free = Free {
                low,
                high,
                end,
                widths: &widths,
                heights: &heights,
                slopes: &slopes,
                lambdas: &lambdas,
                limit,
                floor: MIN_BIN,
            };
            let mut knots = vec![0.0; 3 * (bins + 1)];
            knots[..3].copy_from_slice(&[low, low, end]);
            knots[3 * bins..].copy_from_slice(&[high, high, end]);
            place(&widths, limit, MIN_BIN, &mut knots, X);
            place(&heights, limit, MIN_BIN, &mut knots, Y);
            for (j, slope) in slopes.iter().enumerate() {
                knots[at(j + 1, SLOPE)] = *slope;
            }
            for axis in [X, Y] {
                let mut values = numbers(seed, 20);
                values.extend(knots[axis..].iter().step_by(3));
                values.extend([-9.0, 9.0]);
                for v in values {
                    let (k, found) = v.search::<3, 6, _>(&knots[..], bins, axis);
                    let scanned = free.scan(v, axis, &mut vec![0.0; 2 * bins]);
                    assert_eq!(scanned[..6], found, "{bins} bins, {v} along {axis}");
                    assert_eq!(scanned[6], lambdas[k], "{bins} bins, {v} along {axis}");
                }
            }
        }
    }
}
