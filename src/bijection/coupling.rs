//! Coupling: the first part of the numbers gives, through a network, the parameters of the maps of
//! the rest. The first part stays as it is, or has a static spline of its own.
//!
//! With an empty first part the network reads the context alone: an element-wise conditional map.
//!
//! # Formula
//!
//! With x split into x₁ \[d\] and x₂ \[D − d\]: z₁ = x₁, or zᵢ = splineᵢ(xᵢ);
//! z₂ = f(x₂; network(context, x₁)), element by element, f affine or a spline. The Jacobian is
//! triangular, so ladj = Σ ln dzᵢ/dxᵢ. The network is [`crate::conditioner`]'s.
//!
//! # Parameters
//!
//! `(C + d + 1) H + (H + 1) H + (H + 1) (D − d) (3 K − 1)` free parameters with two hidden layers of
//! H units and rational-quadratic maps: a dense network from a to b to c has (a + 1) b + (b + 1) c.
//! For 3 K − 1, linear-rational maps have 4 K − 1 and affine ones 2. Splines of the first part add
//! as many again for each of its d numbers.
//! Packed weights: three constants (limits, gate bias or outer slope), the splines of the first
//! part, the network, whose outputs stand number by number.
//!
//! # Inverse
//!
//! The same: x₁ from z₁ first, then the network, then f⁻¹. One pass of the network.
//!
//! # Gradient
//!
//! dx: dx₂ and the gradient of the outputs from f; from the outputs through the network to its weights, to
//! the context and to x₁, where it joins what comes from z₁.
//!
//! # Source
//!
//! Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803, eqs. 7–8; with splines Durkan et al. 2019,
//! arXiv:1906.04032, section 3.2.

use super::integer::{self, Integer};
use super::kept::{Kept, Room};
use super::transformer::{CONSTANTS, Map, Transformer};
use super::walk::{Float, Walk};
use super::{Bijection, Layer, RationalLinear, Shape, keep_and_go_back, knots, option};
use crate::conditioner::{Conditioner, Numbers, UnitGradients, take};
use crate::math::{LogProduct, Real};
use crate::weights::{Gradient, Packed, Weights};

/// The first d numbers condition the rest; see the source file's head for weights and gradient.
pub struct Coupling;

/// Everything that a shape says.
struct Parts {
    transformer: Transformer,
    network: Conditioner,
    /// Weights of the first part's splines.
    first_len: usize,
}

impl Parts {
    fn of(shape: Shape) -> Self {
        let transformer = Transformer::of(shape);
        let network = Conditioner::dense(
            shape,
            shape.split,
            (shape.dim - shape.split) * transformer.output_len(),
        );
        let first_len = if shape.has(option::FIRST_SPLINE) {
            shape.split * transformer.static_stride()
        } else {
            0
        };
        Self { transformer, network, first_len }
    }

    /// Where the network's weights begin.
    fn network_start(&self) -> usize {
        CONSTANTS + self.first_len
    }

    /// Those weights, as a model has them.
    fn network_words<'m>(&self, w: Packed<'m>) -> Packed<'m> {
        Weights::<f32>::part(w, self.network_start(), self.network.word_len())
    }

    /// A network of `f32`, or of lanes of it.
    #[inline(always)]
    fn float<'s, R: Real, W: Weights<R>>(
        &self,
        w: W,
        like: R,
        kept: Kept<'s, R>,
    ) -> Float<'s, R, W> {
        let constants = w.load(0, like);
        let w = w.part(self.network_start(), self.network.weight_len());
        Float::new(self.transformer, self.network, constants, w, kept)
    }

    fn passing(&self) -> Room {
        Room::passing(self.transformer, self.network)
    }

    fn keeping(&self, shape: Shape) -> Room {
        Room::keeping(self.transformer, self.network, shape.dim - shape.split)
    }
}

/// The static splines of the first part as a layer of its own.
fn first(shape: Shape) -> (Layer, Shape) {
    (shape.transformer, Shape::new(shape.split, shape.arg, shape.option & option::TAILS))
}

/// Free parameters of the first part.
fn first_theta_len(shape: Shape) -> usize {
    if shape.has(option::FIRST_SPLINE) {
        let (layer, shape) = first(shape);
        layer.theta_len(shape)
    } else {
        0
    }
}

/// Maps the first part, then the rest, in the direction that `INVERSE` says.
#[inline(always)]
fn run<const INVERSE: bool, R: Real, W: Weights<R>>(
    shape: Shape,
    w: W,
    x: &mut [R],
    mut walk: impl Walk<R>,
) -> R {
    let parts = Parts::of(shape);
    let Parts { transformer, .. } = parts;
    let mut slopes = LogProduct::new(walk.zero());
    let (x, context) = x.split_at_mut_checked(shape.dim).unwrap_or_default();
    let (first, second) = x.split_at_mut_checked(shape.split).unwrap_or_default();
    walk.read(0, context);
    // The network reads the side of x.
    if !INVERSE {
        walk.read(context.len(), first);
    }
    if parts.first_len > 0 {
        let weights = w.part(CONSTANTS, parts.first_len);
        for (x, w) in first.iter_mut().zip(weights.rows(transformer.static_stride())) {
            let (y, slope) = if INVERSE {
                transformer.static_inverse(w, *x)
            } else {
                transformer.static_forward(w, *x)
            };
            *x = y;
            slopes.multiply(slope);
        }
    }
    if INVERSE {
        walk.read(context.len(), first);
    }
    walk.step(0);
    for (i, x) in second.iter_mut().enumerate() {
        let (y, slope) = walk.map::<INVERSE>(i, *x);
        *x = y;
        slopes.multiply(slope);
    }
    if INVERSE { -slopes.ln() } else { slopes.ln() }
}

impl Bijection for Coupling {
    const CONDITIONED: bool = true;

    fn exists(shape: Shape) -> bool {
        let spline = shape.transformer != Layer::Affine;
        Transformer::exists(shape)
            && Conditioner::exists(shape)
            && Parts::of(shape).network.fits_numbers()
            && shape.split < shape.dim
            && shape.split + shape.context > 0
            && !shape.has(option::SKIP)
            && (spline && shape.split > 0 || !shape.has(option::FIRST_SPLINE))
    }
    fn conditioner(shape: Shape) -> Option<(Conditioner, usize)> {
        let parts = Parts::of(shape);
        Some((parts.network, parts.network_start()))
    }
    fn weight_len(shape: Shape) -> usize {
        let parts = Parts::of(shape);
        parts.network_start() + parts.network.word_len()
    }
    fn scratch_len(shape: Shape) -> usize {
        let parts = Parts::of(shape);
        match shape.numbers {
            Numbers::Int8 => integer::scratch_len(parts.transformer, parts.network),
            _ => parts.passing().len(),
        }
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        let Parts { transformer, network, .. } = Parts::of(shape);
        let gradients = network.input_len() + network.unit_len() + network.output_len();
        let input = shape.dim + shape.context;
        Self::kept_len(shape) + input + gradients + transformer.packed_len()
    }
    fn kept_len(shape: Shape) -> usize {
        Parts::of(shape).keeping(shape).len()
    }
    fn multiply_adds(shape: Shape) -> usize {
        let Parts { transformer, network, first_len } = Parts::of(shape);
        let first = if first_len > 0 { shape.split * 21 } else { 0 };
        let second = (shape.dim - shape.split) * transformer.multiply_adds();
        network.multiply_adds() + first + second
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let parts = Parts::of(shape);
        let stride = parts.transformer.static_stride().max(1);
        let first = Weights::<f32>::part(w, CONSTANTS, parts.first_len);
        let spline = Shape::new(1, shape.arg, shape.option & option::TAILS);
        Transformer::valid(w.load(0, 0.0))
            && parts.network.valid(parts.network_words(w))
            && Weights::<f32>::rows(first, stride).all(|w| match shape.transformer {
                Layer::RationalLinear => RationalLinear::valid(spline, w),
                _ => knots::valid(spline, w),
            })
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        mut scratch: &mut [R],
    ) -> R {
        let parts = Parts::of(shape);
        let walk = parts.float(w, x[0], parts.passing().take(&mut scratch));
        run::<false, R, W>(shape, w, x, walk)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        z: &mut [R],
        mut scratch: &mut [R],
    ) -> R {
        let parts = Parts::of(shape);
        let walk = parts.float(w, z[0], parts.passing().take(&mut scratch));
        run::<true, R, W>(shape, w, z, walk)
    }

    #[inline(always)]
    fn score<const INVERSE: bool>(
        shape: Shape,
        w: Packed,
        x: &mut [f32],
        mut scratch: &mut [f32],
    ) -> f32 {
        let parts = Parts::of(shape);
        let Parts { transformer, network, .. } = parts;
        let (constants, words) = (w.load(0, 0.0), parts.network_words(w));
        match shape.numbers {
            Numbers::Int8 if cfg!(feature = "int8") => {
                let walk = Integer::new(transformer, network, constants, words, scratch);
                run::<INVERSE, f32, Packed>(shape, w, x, walk)
            }
            Numbers::F16 if cfg!(feature = "f16") => {
                let kept = parts.passing().take(&mut scratch);
                let walk = Float::new(transformer, network, constants, words.halves(), kept);
                run::<INVERSE, f32, Packed>(shape, w, x, walk)
            }
            Numbers::F32 if cfg!(feature = "f32") => {
                Self::pass::<INVERSE, f32, Packed>(shape, w, x, scratch)
            }
            _ => 0.0,
        }
    }

    #[inline(always)]
    fn forward_kept<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        kept: &mut [R],
        scratch: &mut [R],
    ) -> R {
        let parts = Parts::of(shape);
        let kept = Kept::in_either(parts.passing(), parts.keeping(shape), kept, scratch);
        run::<false, R, W>(shape, w, x, parts.float(w, x[0], kept))
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

    #[inline(always)]
    fn backward_kept<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        mut dw: G,
        mut kept: &mut [R],
        mut scratch: &mut [R],
    ) {
        let parts = Parts::of(shape);
        let Parts { transformer, network, .. } = parts;
        let Kept { units, outputs, packed, .. } = parts.keeping(shape).take(&mut kept);
        let zero = x[0].lift(0.0);
        let constants = w.load(0, zero);
        let x = &x[..shape.dim];
        let (dz, dcontext) = dz.split_at_mut(shape.dim);
        let (first, second) = x.split_at(shape.split);
        let (dfirst, dsecond) = dz.split_at_mut(shape.split);
        let mut at = parts.network_start() + network.weight_len();

        let doutputs = take(&mut scratch, network.output_len());
        let dinputs = take(&mut scratch, network.input_len());
        let dactive = take(&mut scratch, network.unit_len());
        let (len, packed_len) = (transformer.output_len(), transformer.packed_len());
        let maps = outputs.chunks_exact(len).zip(doutputs.chunks_exact_mut(len));
        for (i, ((x, dz), (output, doutput))) in second.iter().zip(dsecond).zip(maps).enumerate() {
            let map = Map { constants, output, packed: &packed[i * packed_len..][..packed_len] };
            *dz = transformer.backward(map, *x, *dz, dladj, doutput, scratch);
        }

        dinputs.fill(zero);
        dactive.fill(zero);
        let mut dunits = UnitGradients { inputs: dinputs, active: dactive };
        network.outputs_backward(w, &mut at, 0, &units, doutputs, &mut dunits, &mut dw);
        network.unlock_backward(w, &mut at, 0, &units, &mut dunits, &mut dw);

        if parts.first_len > 0 {
            let stride = transformer.static_stride();
            let weights = w.part(CONSTANTS, parts.first_len).rows(stride);
            for (i, ((x, dz), w)) in first.iter().zip(&mut *dfirst).zip(weights).enumerate() {
                let dw = dw.part(CONSTANTS + i * stride, stride);
                *dz = transformer.static_backward(w, *x, *dz, dladj, dw);
            }
        }
        let (dcontext_here, dfirst_here) = dunits.inputs.split_at(dcontext.len());
        for (d, here) in dfirst.iter_mut().zip(dfirst_here) {
            *d = *d + *here;
        }
        for (d, here) in dcontext.iter_mut().zip(dcontext_here) {
            *d = *d + *here;
        }
    }

    fn theta_len(shape: Shape) -> usize {
        first_theta_len(shape) + Parts::of(shape).network.weight_len()
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        let parts = Parts::of(shape);
        let (constants, rest) = w.split_at_mut(CONSTANTS);
        parts.transformer.neutral_constants(like, constants);
        let (splines, network) = rest.split_at_mut(parts.first_len);
        if parts.first_len > 0 {
            let (layer, shape) = first(shape);
            layer.neutral(shape, like, splines);
        }
        let map = parts.transformer;
        let output = |i| map.neutral_output(like, i % map.output_len());
        parts.network.neutral(like, output, network);
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let parts = Parts::of(shape);
        let (first_theta, network) = theta.split_at(first_theta_len(shape));
        let (splines, w) = w[CONSTANTS..].split_at_mut(parts.first_len);
        if parts.first_len > 0 {
            let (layer, shape) = first(shape);
            layer.constrain(shape, first_theta, splines);
        }
        w.copy_from_slice(network);
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let parts = Parts::of(shape);
        let (first_theta, _) = theta.split_at(first_theta_len(shape));
        let (dfirst_theta, dnetwork) = dtheta.split_at_mut(first_theta.len());
        let (splines, _) = w[CONSTANTS..].split_at(parts.first_len);
        let (dsplines, dw) = dw[CONSTANTS..].split_at(parts.first_len);
        if parts.first_len > 0 {
            let (layer, shape) = first(shape);
            layer.constrain_backward(shape, first_theta, splines, dsplines, dfirst_theta);
        }
        for (dtheta, dw) in dnetwork.iter_mut().zip(dw) {
            *dtheta = *dtheta + *dw;
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let parts = Parts::of(shape);
        let (first_theta, network) = theta.split_at_mut(first_theta_len(shape));
        let (splines, w) = w[CONSTANTS..].split_at(parts.first_len);
        if parts.first_len > 0 {
            let (layer, shape) = first(shape);
            layer.unconstrain(shape, splines, first_theta);
        }
        network.copy_from_slice(w);
    }
}
