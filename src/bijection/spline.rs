//! What every spline does, whatever its pieces: it finds the bin, asks the piece, and goes on
//! outside the knots as its [`Tails`] say.
//!
//! A static spline stores its slopes (or their roots) and its λ. A conditioned one gets free
//! parameters from a network: only the two slopes and the λ of the bin that was found are
//! constrained, so that a device takes two softplus a number and not K − 1.

use core::hint::cold_path;

use super::Tails;
use super::knots::{self, Bin, KEPT, MAX_BINS, MIN_SLOPE, X, Y};
use crate::math::{LogProduct, Real, logistic, softplus};
use crate::weights::{Gradient, Weights};

/// λ keeps this distance from 0 and 1.
pub(super) const MIN_LAMBDA: f64 = 0.025;
/// Slopes of the soft form lie between this and its reciprocal.
const SOFT_SLOPE: f64 = 1e-3;

/// The monotone function inside a bin.
pub(super) trait Piece {
    /// Whether the weights hold λ behind the knots, and roots of the slopes.
    const ROOTS: bool;
    /// z and dz/dx.
    fn forward<R: Real>(bin: &Bin<R>, x: R) -> (R, R);
    /// x, and dz/dx there.
    fn inverse<R: Real>(bin: &Bin<R>, z: R) -> (R, R);
    /// dx, and the gradient of the bin: (x, y, slope or root) of both knots, then λ.
    fn backward<R: Real>(bin: &Bin<R>, x: R, dz: R, dladj: R) -> (R, [R; 6], R);
}

/// How slopes and λ stand among the weights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the piece reads them.
    Stored,
    /// Free: slope = m + softplus(a), λ = m + (1 − 2m) σ(a).
    Free,
    /// Free, slope = exp(a/(1 + |a/ln s|)) between s and 1/s.
    Soft,
}

/// A spline's size and manner.
#[derive(Clone, Copy)]
pub(super) struct Spline {
    pub(super) bins: usize,
    pub(super) tails: Tails,
    pub(super) form: Form,
}

/// K, of which no model has more than [`MAX_BINS`]: told so, the compiler sees that a row of
/// [`stride`] numbers holds all knots, and leaves the checks out.
#[inline(always)]
fn bounded(bins: usize) -> usize {
    bins.min(MAX_BINS)
}

/// Numbers of one dimension: the knots \[K + 1, 3\], then λ \[K\] where the piece has them.
pub(super) fn stride<P: Piece>(bins: usize) -> usize {
    let bins = bounded(bins);
    3 * (bins + 1) + if P::ROOTS { bins } else { 0 }
}

/// a/(1 + |a/limit|): between ±limit, with slope 1 at 0.
#[inline(always)]
pub(super) fn soft_clip<R: Real>(a: R, limit: R) -> R {
    a / (a.lift(1.0) + (a / limit).abs())
}

/// Derivative of [`soft_clip`].
#[inline(always)]
pub(super) fn soft_clip_slope<R: Real>(a: R, limit: R) -> R {
    let share = a.lift(1.0) + (a / limit).abs();
    a.lift(1.0) / (share * share)
}

impl Form {
    /// The slope that the free number `a` means.
    #[inline(always)]
    fn slope<R: Real>(self, a: R) -> R {
        match self {
            Self::Soft => soft_clip(a, a.constant(-libm::log(SOFT_SLOPE))).exp(),
            Self::Stored | Self::Free => a.constant(MIN_SLOPE) + softplus(a),
        }
    }

    /// Its derivative.
    #[inline(always)]
    fn slope_backward<R: Real>(self, a: R) -> R {
        match self {
            Self::Soft => soft_clip_slope(a, a.constant(-libm::log(SOFT_SLOPE))) * self.slope(a),
            Self::Stored | Self::Free => logistic(a),
        }
    }
}

impl Spline {
    /// The bin of `v` along `axis` with the numbers that the piece reads.
    #[inline(always)]
    fn find<P: Piece, R: Real, W: Weights<R>>(self, w: W, v: R, axis: usize) -> Bin<R> {
        let mut bin = Bin::find(v, axis, w, bounded(self.bins));
        if P::ROOTS {
            let lambdas = w.part(3 * (self.bins + 1), self.bins);
            [bin.lambda] = lambdas.gather(bin.k, self.bins, 1, v);
        }
        if self.form != Form::Stored {
            let [a, b] = [self.form.slope(bin.d0), self.form.slope(bin.d1)];
            [bin.d0, bin.d1] = if P::ROOTS { [a.sqrt(), b.sqrt()] } else { [a, b] };
            let range = v.constant(1.0 - 2.0 * MIN_LAMBDA);
            bin.lambda = v.constant(MIN_LAMBDA) + range * logistic(bin.lambda);
        }
        bin
    }

    /// z and dz/dx.
    #[inline(always)]
    pub(super) fn forward<P: Piece, R: Real, W: Weights<R>>(self, w: W, x: R) -> (R, R) {
        self.forward_in::<P, R>(&self.find::<P, R, W>(w, x, X), x)
    }

    /// z and dz/dx of an x that belongs to this bin.
    #[inline(always)]
    fn forward_in<P: Piece, R: Real>(self, bin: &Bin<R>, x: R) -> (R, R) {
        let (z, slope) = P::forward(bin, x);
        if R::all((x - bin.x0).is_part(bin.x1 - bin.x0)) {
            return (z, slope);
        }
        cold_path();
        let inside = bin.holds_x(x);
        let (outer, outer_slope) = self.tail::<P, R>(bin, x);
        (R::select(inside, z, outer), R::select(inside, slope, outer_slope))
    }

    /// z and dz/dx of an x beyond the outer knots, next to this bin.
    #[inline(always)]
    pub(super) fn tail<P: Piece, R: Real>(self, bin: &Bin<R>, x: R) -> (R, R) {
        match self.tails {
            Tails::Identity => (x, x.lift(1.0)),
            Tails::Linear => {
                let [from, to, slope] = bin.end(x.ge(bin.x1));
                let slope = if P::ROOTS { slope * slope } else { slope };
                (to + slope * (x - from), slope)
            }
        }
    }

    /// x, and dz/dx there.
    #[inline(always)]
    pub(super) fn inverse<P: Piece, R: Real, W: Weights<R>>(self, w: W, z: R) -> (R, R) {
        let bin = self.find::<P, R, W>(w, z, Y);
        let inside = bin.holds_y(z);
        let (mut x, mut slope) = P::inverse(&bin, z);
        if !R::all(inside) {
            cold_path();
            let (outer, outer_slope) = match self.tails {
                Tails::Identity => (z, z.lift(1.0)),
                Tails::Linear => {
                    let [to, from, slope] = bin.end(z.ge(bin.y1));
                    let slope = if P::ROOTS { slope * slope } else { slope };
                    (to + (z - from) / slope, slope)
                }
            };
            x = R::select(inside, x, outer);
            slope = R::select(inside, slope, outer_slope);
        }
        (x, slope)
    }

    /// dx; adds to `dw` \[[`stride`]\].
    #[inline(always)]
    pub(super) fn backward<P: Piece, R: Real, W: Weights<R>>(
        self,
        w: W,
        x: R,
        dz: R,
        dladj: R,
        dw: impl Gradient<R>,
    ) -> R {
        self.backward_in::<P, R, W>(&self.find::<P, R, W>(w, x, X), w, x, dz, dladj, dw)
    }

    /// The same of an x that belongs to this bin.
    #[inline(always)]
    fn backward_in<P: Piece, R: Real, W: Weights<R>>(
        self,
        bin: &Bin<R>,
        w: W,
        x: R,
        dz: R,
        dladj: R,
        mut dw: impl Gradient<R>,
    ) -> R {
        let bins = self.bins;
        let zero = x.lift(0.0);
        let inside = bin.holds_x(x);
        // Outside, the bin's formulas run at its edge, so that they stay finite, and count 0.
        let within = x.max(bin.x0).min(bin.x1);
        let (dz_in, dl_in) = (R::select(inside, dz, zero), R::select(inside, dladj, zero));
        let (dx, mut knots, mut dlambda) = P::backward(bin, within, dz_in, dl_in);

        if self.form != Form::Stored {
            let [_, _, a0, _, _, a1]: [R; 6] = w.gather(bin.k, bins, 3, x);
            for (d, (a, stored)) in [2, 5].into_iter().zip([(a0, bin.d0), (a1, bin.d1)]) {
                // root = √slope, so dslope = droot / (2 root).
                let per_slope = if P::ROOTS { x.lift(0.5) / stored } else { x.lift(1.0) };
                knots[d] = knots[d] * per_slope * self.form.slope_backward(a);
            }
            let range = x.constant(1.0 - 2.0 * MIN_LAMBDA);
            let share = (bin.lambda - x.constant(MIN_LAMBDA)) / range;
            dlambda = dlambda * range * share * (x.lift(1.0) - share);
        }
        let mut dx = dx;
        if !R::all(inside) {
            cold_path();
            let (outer, outer_dl) = (R::select(inside, zero, dz), R::select(inside, zero, dladj));
            let slope = match self.tails {
                Tails::Identity => x.lift(1.0),
                Tails::Linear => {
                    // z = y + slope (x − from) beyond the end knot (from, y).
                    let above = x.ge(bin.x1);
                    let [from, _, stored] = bin.end(above);
                    let slope = if P::ROOTS { stored * stored } else { stored };
                    let mut dslope = outer * (x - from) + outer_dl / slope;
                    if P::ROOTS {
                        dslope = x.lift(2.0) * stored * dslope;
                    }
                    knots::add_end(above, [-(outer * slope), outer, dslope], &mut knots);
                    slope
                }
            };
            dx = dx + outer * slope;
        }
        dw.scatter(knots, bin.k, bins, 3);
        if P::ROOTS {
            dw.part(3 * (bins + 1), bins).scatter([dlambda], bin.k, bins, 1);
        }
        dx
    }

    /// x → z in place of all dimensions; returns ladj. Leaves the bins in `kept` \[D, [`KEPT`]\], if
    /// it is not empty.
    #[inline(always)]
    pub(super) fn forward_all<P: Piece, R: Real, W: Weights<R>>(
        self,
        w: W,
        x: &mut [R],
        kept: &mut [R],
    ) -> R {
        self.forward_rest::<P, R, W>(w, x, kept, LogProduct::new(x[0]))
    }

    /// [`Spline::forward_all`] of the dimensions that are left, `slopes` being the product of the others.
    #[inline(always)]
    pub(super) fn forward_rest<P: Piece, R: Real, W: Weights<R>>(
        self,
        w: W,
        x: &mut [R],
        kept: &mut [R],
        mut slopes: LogProduct<R>,
    ) -> R {
        let mut kept = kept.chunks_exact_mut(KEPT);
        for (x, w) in x.iter_mut().zip(w.rows(stride::<P>(self.bins))) {
            let bin = self.find::<P, R, W>(w, *x, X);
            bin.keep(kept.next().unwrap_or_default());
            let (z, slope) = self.forward_in::<P, R>(&bin, *x);
            *x = z;
            slopes.multiply(slope);
        }
        slopes.ln()
    }

    /// z → x in place of all dimensions; returns the inverse's ladj.
    #[inline(always)]
    pub(super) fn inverse_all<P: Piece, R: Real, W: Weights<R>>(self, w: W, z: &mut [R]) -> R {
        let mut slopes = LogProduct::new(z[0]);
        for (z, w) in z.iter_mut().zip(w.rows(stride::<P>(self.bins))) {
            let (x, slope) = self.inverse::<P, R, W>(w, *z);
            *z = x;
            slopes.multiply(slope);
        }
        -slopes.ln()
    }

    /// Turns `dz` into dx and adds to `dw`, for all dimensions, whose bins are in `kept`.
    #[inline(always)]
    pub(super) fn backward_all<P: Piece, R: Real, W: Weights<R>>(
        self,
        w: W,
        x: &[R],
        dz: &mut [R],
        dladj: R,
        dw: &mut impl Gradient<R>,
        kept: &[R],
    ) {
        let stride = stride::<P>(self.bins);
        let bins = w.rows(stride).zip(kept.as_chunks().0);
        for (i, ((x, dz), (w, kept))) in x.iter().zip(dz).zip(bins).enumerate() {
            let dw = dw.part(i * stride, stride);
            *dz = self.backward_in::<P, R, W>(&Bin::kept(kept), w, *x, *dz, dladj, dw);
        }
    }
}
