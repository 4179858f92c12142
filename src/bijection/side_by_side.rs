//! Four dimensions of a spline side by side, for cores whose vectors read a number a lane from anywhere
//! (Helium).
//!
//! A compiler makes vectors of a loop of four that has no branch. Its bits are those of one dimension
//! after the other: the same bin, as there is but one, and the same operations. To a core without such
//! vectors it is only slower; an image for one that has them is built with `--cfg=helium`, as stable Rust
//! tells no code of them.

use super::knots::{Bin, X};
use super::spline::{Piece, Spline, stride};
use crate::math::LogProduct;
use crate::weights::Packed;

/// Dimensions side by side.
const LANES: usize = 4;
/// Halvings of the bins, as many for one bin as for 2⁴.
const HALVINGS: usize = 4;

impl Spline {
    /// x → z in place of dimensions four by four, by stored knots without λ; multiplies `slopes`. Returns
    /// weights and dimensions that are left: three at most, or all where there are too many bins.
    #[inline(always)]
    pub(super) fn forward_fours<'m, 'x, P: Piece>(
        self,
        w: Packed<'m>,
        x: &'x mut [f32],
        slopes: &mut LogProduct<f32>,
    ) -> (Packed<'m>, &'x mut [f32]) {
        const { assert!(!P::ROOTS) };
        if self.bins > 1 << HALVINGS {
            return (w, x);
        }
        let stride = stride::<P>(self.bins);
        let starts = core::array::from_fn(|lane| lane * stride);
        let halves = halves(self.bins);
        let mut knots = w.words();
        let (fours, rest) = x.as_chunks_mut();
        for x in fours {
            let Some((_, after)) = knots.split_at_checked(LANES * stride) else { break };
            self.forward_four::<P>(knots, starts, halves, x, slopes);
            knots = after;
        }
        (Packed::of(knots), rest)
    }

    /// The same of four dimensions, whose knots begin at `starts`.
    #[inline(always)]
    fn forward_four<P: Piece>(
        self,
        knots: &[u32],
        starts: [usize; LANES],
        halves: [usize; HALVINGS],
        x: &mut [f32; LANES],
        product: &mut LogProduct<f32>,
    ) {
        // Nothing lies beyond the last bin: said to the compiler, it leaves out checks of every position,
        // which would be branches.
        let Some(last) = knots.len().checked_sub(6) else { return };
        let (mut slopes, mut most) = ([1.0; LANES], 0);
        for lane in 0..LANES {
            let v = x[lane];
            let mut at = starts[lane];
            for half in halves {
                let above = (at + half).min(last);
                at = if v >= f32::from_bits(knots[above + X]) { above } else { at };
            }
            let at = at.min(last);
            // Six tables with one position in all of them, which a vector holds.
            let number = |i: usize| f32::from_bits(knots[i..][at]);
            let [x0, y0, d0, x1, y1, d1] = [0, 1, 2, 3, 4, 5].map(number);
            // Its number and λ nobody asks for here.
            let bin = Bin { k: 0, x0, y0, d0, x1, y1, d1, lambda: 0.5 };
            // The tail first: later, more of the bin's numbers would have to be kept for it.
            let inside = bin.holds_x(v);
            let (outer, outer_slope) = self.tail::<P, f32>(&bin, v);
            let (inner, inner_slope) = P::forward(&bin, v);
            x[lane] = if inside { inner } else { outer };
            slopes[lane] = if inside { inner_slope } else { outer_slope };
            most = most.max(LogProduct::excess(slopes[lane]));
        }
        product.multiply_all(slopes, most);
    }
}

/// Distances in a table of knots, each half of the bins that are left, with an overlap where their number
/// is odd.
#[inline(always)]
fn halves(bins: usize) -> [usize; HALVINGS] {
    let mut left = bins;
    core::array::from_fn(|_| {
        let half = left / 2;
        left -= half;
        3 * half
    })
}

#[cfg(test)]
mod tests {
    use super::super::rational_quadratic::RationalQuadratic;
    use super::super::spline::Form;
    use super::super::{Bijection, Shape, Tails};
    use super::*;

    /// Spreads `state` over 32 bits.
    fn next(state: &mut u32) -> u32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state ^ (*state >> 15)).wrapping_mul(0x2c1b_3c6d)
    }

    #[test]
    fn side_by_side_has_the_bits_of_one_by_one() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, 1e38, -4.0, 4.0];
        let mut state = 1;
        for round in 0..4000 {
            let (bins, dim) = (1 + round % 18, 1 + (round / 18) % 13);
            let tails = if round % 2 == 0 { Tails::Identity } else { Tails::Linear };
            let shape = Shape { option: tails as u8, ..Shape::new(dim, bins, 0) };
            let mut words = [0; 13 * 3 * 19];
            let words = &mut words[..RationalQuadratic::weight_len(shape)];
            // A slope now and then is such that a product leaves the range of a number.
            for row in words.chunks_exact_mut(3 * (bins + 1)) {
                for (j, knot) in row.chunks_exact_mut(3).enumerate() {
                    let place = (j as f32 / bins as f32 - 0.5) * 8.0;
                    let part = |state: &mut _| (next(state) >> 8) as f32 / (1 << 24) as f32;
                    let slope = match next(&mut state) % 64 {
                        0 => 1e-38,
                        1 => 3e38,
                        _ => 0.1 + 3.0 * part(&mut state),
                    };
                    let bend = 0.4 / bins as f32 * part(&mut state);
                    *knot.first_chunk_mut().unwrap() =
                        [place, place + bend, slope].map(f32::to_bits);
                }
            }
            let mut x = [0.0; 13];
            for (i, x) in x.iter_mut().enumerate() {
                let random = next(&mut state);
                *x = match random % 32 {
                    0 => odd[random as usize / 32 % odd.len()],
                    1 => f32::from_bits(words[3 * (i % (bins + 1))]),
                    2 => f32::from_bits(next(&mut state)),
                    _ => (random >> 8) as f32 / (1 << 24) as f32 * 9.0 - 4.5,
                };
            }
            let w = Packed::of(words);
            let spline = Spline { bins, tails, form: Form::Stored };
            let (mut one, mut four) = (x, x);
            let ladj = spline.forward_all::<RationalQuadratic, f32, _>(w, &mut one[..dim], &mut []);
            let mut slopes = LogProduct::new(0.0);
            let (w, rest) =
                spline.forward_fours::<RationalQuadratic>(w, &mut four[..dim], &mut slopes);
            assert_eq!(rest.len(), if bins > 16 { dim } else { dim % 4 });
            let fours = spline.forward_rest::<RationalQuadratic, f32, _>(w, rest, &mut [], slopes);
            let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
            assert_eq!(bits(ladj), bits(fours), "round {round}: {x:?}");
            assert_eq!(one.map(bits), four.map(bits), "round {round}: {x:?}");
        }
    }
}
