//! The monotone map that a coupling or autoregressive layer puts a number through, its parameters
//! fresh from a network.
//!
//! # Formula
//!
//! Affine: z = x eˢ + t, from the outputs (t, s), s clipped to the layer's limits; gated, z = g x +
//! (1 − g) t with g = σ(s + bias), as in Kingma et al. 2016, arXiv:1606.04934. A spline of K bins
//! takes width logits \[K\], height logits \[K\], inner slopes \[K − 1\] and, linear-rational, λ logits
//! \[K\], exactly the free parameters of a static spline; its interval is the same on both axes.
//! In the soft form logits are clipped to u/(1 + |u/L|) and bins have no floor.
//!
//! The layer stores three constants: lower and upper limit (of s, or of the spline's interval), and
//! the gate's bias, or the free number of the spline's outer slopes.

use super::knots::{self, MAX_BINS, MIN_BIN, SLOPE, X, Y};
use super::rational_linear::RationalLinear;
use super::rational_quadratic::RationalQuadratic;
use super::scan::Free;
use super::spline::{self, Form, Spline};
use super::{Layer, Shape, Tails, option};
use crate::math::{Real, logistic};
use crate::weights::{Gradient, Weights};

/// Constants of a layer: lower limit, upper limit, bias of the gate or outer slope.
pub(super) const CONSTANTS: usize = 3;

/// Outer knots of a new layer's splines, in the unit of the standardised data.
const BOUND: f64 = 4.0;
/// Limits of a new layer's log scale.
const LOG_SCALE: [f64; 2] = [-5.0, 3.0];
/// Bias of a new layer's gate.
const GATE_BIAS: f64 = 2.0;

/// The map of one number, as a forward pass left it.
#[derive(Clone, Copy)]
pub(super) struct Map<'s, R> {
    /// Those of the layer.
    pub(super) constants: [R; CONSTANTS],
    /// The network's outputs for the number.
    pub(super) output: &'s [R],
    /// What they were turned into.
    pub(super) packed: &'s [R],
}

/// Which map, and its size.
#[derive(Clone, Copy)]
pub(super) struct Transformer {
    layer: Layer,
    soft: bool,
    spline: Spline,
}

impl Transformer {
    #[inline(always)]
    pub(super) fn of(shape: Shape) -> Self {
        let soft = shape.has(option::SOFT);
        let form = if soft { Form::Soft } else { Form::Free };
        let spline = Spline { bins: shape.arg, tails: Tails::Identity, form };
        Self { layer: shape.transformer, soft, spline }
    }

    /// Whether there is such a map of one number.
    pub(super) fn exists(shape: Shape) -> bool {
        let plain_tails = shape.option & option::TAILS == Tails::Identity as u8;
        plain_tails
            && match shape.transformer {
                Layer::Affine => shape.arg == 0,
                Layer::RationalQuadratic => (1..=MAX_BINS).contains(&shape.arg),
                Layer::RationalLinear => {
                    (1..=MAX_BINS).contains(&shape.arg) && !shape.has(option::SOFT)
                }
                _ => false,
            }
    }

    /// Bins of the spline.
    pub(super) fn bins(self) -> usize {
        self.spline.bins
    }

    /// Whether the map is computed from outputs that are whole numbers.
    pub(super) fn has_integer_form(self) -> bool {
        self.layer == Layer::RationalQuadratic && !self.soft
    }

    /// Outputs of the network for one number.
    pub(super) fn output_len(self) -> usize {
        let bins = self.spline.bins;
        match self.layer {
            Layer::RationalQuadratic => 3 * bins - 1,
            Layer::RationalLinear => 4 * bins - 1,
            _ => 2,
        }
    }

    /// Numbers of the spline that the outputs are turned into.
    pub(super) fn packed_len(self) -> usize {
        match self.layer {
            Layer::RationalQuadratic => spline::stride::<RationalQuadratic>(self.spline.bins),
            Layer::RationalLinear => spline::stride::<RationalLinear>(self.spline.bins),
            _ => 0,
        }
    }

    /// Multiply-adds of one number, an exponential counted as ten.
    pub(super) fn multiply_adds(self) -> usize {
        let bins = self.spline.bins;
        match self.layer {
            Layer::RationalQuadratic => 2 * bins * 13 + 61,
            Layer::RationalLinear => 2 * bins * 13 + 72,
            _ => 11,
        }
    }

    /// Writes a new layer's constants.
    pub(super) fn neutral_constants<R: Real>(self, like: R, constants: &mut [R]) {
        let numbers = match (self.layer, self.soft) {
            (Layer::Affine, false) => [LOG_SCALE[0], LOG_SCALE[1], 0.0],
            (Layer::Affine, true) => [LOG_SCALE[0], LOG_SCALE[1], GATE_BIAS],
            (_, false) => [-BOUND, BOUND, knots::free_slope_of_one()],
            (_, true) => [-BOUND, BOUND, 0.0],
        };
        for (constant, number) in constants.iter_mut().zip(numbers) {
            *constant = like.constant(number);
        }
    }

    /// The network's output at position `i` of a number's that leaves the number as it is.
    pub(super) fn neutral_output<R: Real>(self, like: R, i: usize) -> R {
        let bins = self.spline.bins;
        like.constant(match (self.layer, self.soft) {
            // A gate of 1, to the last digit.
            (Layer::Affine, true) if i == 1 => 40.0,
            (Layer::RationalQuadratic | Layer::RationalLinear, false)
                if (2 * bins..3 * bins - 1).contains(&i) =>
            {
                knots::free_slope_of_one()
            }
            _ => 0.0,
        })
    }

    /// Whether the constants are possible.
    pub(super) fn valid(constants: [f32; CONSTANTS]) -> bool {
        constants[0] < constants[1]
    }

    /// Half the largest logit of the soft form, −ln(1e-3)/2.
    fn soft_limit<R: Real>(like: R) -> R {
        like.constant(3.453_877_639_491_068)
    }

    fn floor(self) -> f64 {
        if self.soft { 0.0 } else { MIN_BIN }
    }

    /// The network's `output` by its parts.
    #[inline(always)]
    fn free<R: Real>(self, [low, high, end]: [R; CONSTANTS], output: &[R]) -> Free<'_, R> {
        let bins = self.spline.bins;
        let (widths, rest) = output.split_at_checked(bins).unwrap_or_default();
        let (heights, rest) = rest.split_at_checked(bins).unwrap_or_default();
        let (slopes, lambdas) = rest.split_at_checked(bins - 1).unwrap_or_default();
        let limit = if self.soft { Some(Self::soft_limit(low)) } else { None };
        let floor = self.floor();
        Free { low, high, end, widths, heights, slopes, lambdas, limit, floor }
    }

    /// Turns the free parameters into the knots that the spline reads.
    #[inline(always)]
    fn pack<R: Real>(self, free: Free<R>, packed: &mut [R]) {
        let bins = self.spline.bins;
        let Free { low, high, end, .. } = free;
        let Some((all, lambdas)) = packed.split_at_mut_checked(3 * (bins + 1)) else { return };
        let knots = all.as_chunks_mut::<3>().0;
        if let [first, .., last] = knots {
            (*first, *last) = ([low, low, end], [high, high, end]);
        }
        for (knot, slope) in knots.iter_mut().skip(1).zip(free.slopes) {
            knot[SLOPE] = *slope;
        }
        knots::place(free.widths, free.limit, free.floor, all, X);
        knots::place(free.heights, free.limit, free.floor, all, Y);
        lambdas.iter_mut().zip(free.lambdas).for_each(|(to, lambda)| *to = *lambda);
    }

    /// The spline that `v` goes through along `axis`, its numbers being in `packed`: the whole of it,
    /// or for lanes that leave nothing behind its one bin.
    #[inline(always)]
    fn constrain<R: Real>(
        self,
        free: Free<R>,
        v: R,
        axis: usize,
        keep: bool,
        packed: &mut [R],
    ) -> Spline {
        if R::LANES == 1 || keep {
            self.pack(free, packed);
            return self.spline;
        }
        let bin = free.scan(v, axis, packed);
        let len = if free.lambdas.is_empty() { 6 } else { 7 };
        packed[..len].copy_from_slice(&bin[..len]);
        Spline { bins: 1, ..self.spline }
    }

    /// z and dz/dx; `packed` is [`Self::packed_len`], and left for the way back if `keep`.
    #[inline(always)]
    pub(super) fn forward<R: Real>(
        self,
        constants: [R; CONSTANTS],
        output: &[R],
        packed: &mut [R],
        keep: bool,
        x: R,
    ) -> (R, R) {
        if cfg!(feature = "affine") && self.layer == Layer::Affine {
            let (shift, scale) = self.affine(constants, output);
            return (x * scale + shift, scale);
        }
        let spline = self.constrain(self.free(constants, output), x, X, keep, packed);
        match self.layer {
            Layer::RationalLinear if cfg!(feature = "rational-linear") => {
                spline.forward::<RationalLinear, R, _>(&*packed, x)
            }
            _ => spline.forward::<RationalQuadratic, R, _>(&*packed, x),
        }
    }

    /// x, and dz/dx there.
    #[inline(always)]
    pub(super) fn inverse<R: Real>(
        self,
        constants: [R; CONSTANTS],
        output: &[R],
        packed: &mut [R],
        z: R,
    ) -> (R, R) {
        if cfg!(feature = "affine") && self.layer == Layer::Affine {
            let (shift, scale) = self.affine(constants, output);
            return ((z - shift) / scale, scale);
        }
        let spline = self.constrain(self.free(constants, output), z, Y, false, packed);
        match self.layer {
            Layer::RationalLinear if cfg!(feature = "rational-linear") => {
                spline.inverse::<RationalLinear, R, _>(&*packed, z)
            }
            _ => spline.inverse::<RationalQuadratic, R, _>(&*packed, z),
        }
    }

    /// dx; writes the gradient of the map's output to `doutput`. `scratch` is [`Self::packed_len`].
    #[inline(always)]
    pub(super) fn backward<R: Real>(
        self,
        Map { constants, output, packed }: Map<R>,
        x: R,
        dz: R,
        dladj: R,
        doutput: &mut [R],
        scratch: &mut [R],
    ) -> R {
        if self.layer == Layer::Affine {
            return self.affine_backward(constants, output, x, dz, dladj, doutput);
        }
        let (spline, dpacked) = (self.spline, &mut scratch[..self.packed_len()]);
        dpacked.fill(x.lift(0.0));
        let dx = match self.layer {
            Layer::RationalLinear => {
                spline.backward::<RationalLinear, R, _>(packed, x, dz, dladj, &mut *dpacked)
            }
            _ => spline.backward::<RationalQuadratic, R, _>(packed, x, dz, dladj, &mut *dpacked),
        };

        let bins = spline.bins;
        doutput.fill(x.lift(0.0));
        for (axis, dlogits) in doutput[..2 * bins].chunks_exact_mut(bins).enumerate() {
            let dknot = |j| dpacked[knots::at(j, axis)];
            knots::place_backward(packed, axis, self.floor(), dknot, dlogits);
        }
        if self.soft {
            for (d, a) in doutput[..2 * bins].iter_mut().zip(output) {
                *d = *d * spline::soft_clip_slope(*a, Self::soft_limit(x));
            }
        }
        for j in 1..bins {
            doutput[2 * bins + j - 1] = dpacked[knots::at(j, SLOPE)];
        }
        doutput[3 * bins - 1..].copy_from_slice(&dpacked[3 * (bins + 1)..]);
        dx
    }

    /// Shift and scale.
    #[inline(always)]
    fn affine<R: Real>(self, [low, high, bias]: [R; CONSTANTS], output: &[R]) -> (R, R) {
        let [shift, s, ..] = *output else { return (low, low) };
        if self.soft {
            let gate = logistic(s + bias);
            ((s.lift(1.0) - gate) * shift, gate)
        } else {
            (shift, s.max(low).min(high).exp())
        }
    }

    /// The clip passes the gradient on, so that a log scale at its limit can come back.
    #[inline(always)]
    fn affine_backward<R: Real>(
        self,
        constants: [R; CONSTANTS],
        output: &[R],
        x: R,
        dz: R,
        dladj: R,
        doutput: &mut [R],
    ) -> R {
        let (_, scale) = self.affine(constants, output);
        if self.soft {
            let rest = x.lift(1.0) - scale;
            doutput[0] = dz * rest;
            doutput[1] = (dz * (x - output[0]) * scale + dladj) * rest;
        } else {
            doutput[0] = dz;
            doutput[1] = dz * x * scale + dladj;
        }
        dz * scale
    }

    /// The static spline of a coupling's first part: weights of one number.
    pub(super) fn static_stride(self) -> usize {
        self.packed_len()
    }

    /// z and dz/dx of one number of the first part.
    #[inline(always)]
    pub(super) fn static_forward<R: Real, W: Weights<R>>(self, w: W, x: R) -> (R, R) {
        let spline = Spline { form: Form::Stored, ..self.spline };
        match self.layer {
            Layer::RationalLinear if cfg!(feature = "rational-linear") => {
                spline.forward::<RationalLinear, R, W>(w, x)
            }
            _ => spline.forward::<RationalQuadratic, R, W>(w, x),
        }
    }

    /// x, and dz/dx there.
    #[inline(always)]
    pub(super) fn static_inverse<R: Real, W: Weights<R>>(self, w: W, z: R) -> (R, R) {
        let spline = Spline { form: Form::Stored, ..self.spline };
        match self.layer {
            Layer::RationalLinear if cfg!(feature = "rational-linear") => {
                spline.inverse::<RationalLinear, R, W>(w, z)
            }
            _ => spline.inverse::<RationalQuadratic, R, W>(w, z),
        }
    }

    /// dx; adds to `dw`.
    #[inline(always)]
    pub(super) fn static_backward<R: Real, W: Weights<R>>(
        self,
        w: W,
        x: R,
        dz: R,
        dladj: R,
        dw: impl Gradient<R>,
    ) -> R {
        let spline = Spline { form: Form::Stored, ..self.spline };
        match self.layer {
            Layer::RationalLinear => spline.backward::<RationalLinear, R, W>(w, x, dz, dladj, dw),
            _ => spline.backward::<RationalQuadratic, R, W>(w, x, dz, dladj, dw),
        }
    }
}
