//! Conditional: a layer of its own kind whose free parameters come from a network that reads the
//! context: a rotation, or a linear map, that turns with the operating mode.
//!
//! For maps of single numbers see [`super::coupling`] with an empty first part.
//!
//! # Formula
//!
//! z = layer(x; constrain(network(context))), the layer a Householder product of M reflections, a
//! lower-upper product or a matrix exponential. The network is [`crate::conditioner`]'s.
//!
//! # Parameters
//!
//! `(C + 1) H + (H + 1) H + (H + 1) M D` free parameters, those of the network, with two hidden
//! layers of H units and a Householder product. For M D, the two matrices have D².
//! Packed weights: the network.
//!
//! # Inverse
//!
//! The layer's own, after one pass of the network.
//!
//! # Gradient
//!
//! dx is the layer's own. Its dw, through its `constrain`, is the gradient of the network's outputs; from there
//! through the network to its weights and to the context.
//!
//! # Source
//!
//! Winkler, Worrall, Hoogeboom and Welling 2019, arXiv:1912.00042, section 2.

use super::{Bijection, Householder, Layer, LowerUpper, MatrixExponential, Shape, option};
use crate::conditioner::{Conditioner, Halves, Numbers, UnitGradients, Units, take};
use crate::math::Real;
use crate::weights::{Gradient, Packed, Weights};

/// A layer whose parameters come from the context; see the source file's head.
pub struct Conditional;

/// The shape of the layer whose parameters the network gives.
fn inner(shape: Shape) -> Shape {
    Shape::new(shape.dim, shape.arg, 0)
}

fn network(shape: Shape) -> Conditioner {
    Conditioner::dense(shape, 0, shape.transformer.theta_len(inner(shape)))
}

/// The network's outputs, its units, and the layer's weights that they mean.
struct Inside<'s, R> {
    units: Units<'s, R>,
    outputs: &'s mut [R],
    w: &'s mut [R],
    /// Where the network's weights end.
    at: usize,
}

impl<'s, R: Real> Inside<'s, R> {
    #[inline(always)]
    fn new<B: Bijection, W: Weights<R>>(
        shape: Shape,
        w: W,
        context: &[R],
        before_len: usize,
        scratch: &mut &'s mut [R],
    ) -> Self {
        let network = network(shape);
        let zero = context[0].lift(0.0);
        let inputs = take(scratch, network.input_len());
        inputs.copy_from_slice(context);
        let active = take(scratch, network.unit_len());
        let before = take(scratch, before_len);
        let mut units = Units { inputs, active, before };
        let mut at = 0;
        network.unlock(w, &mut at, 0, &mut units);
        let outputs = take(scratch, network.output_len());
        outputs.fill(zero);
        network.outputs(w, &mut at, 0, &units, outputs);
        let w = take(scratch, B::weight_len(inner(shape)));
        B::neutral(inner(shape), zero, w);
        B::constrain(inner(shape), outputs, w);
        Self { units, outputs, w, at }
    }
}

#[inline(always)]
fn run<const INVERSE: bool, B: Bijection, R: Real, W: Weights<R>>(
    shape: Shape,
    w: W,
    x: &mut [R],
    mut scratch: &mut [R],
) -> R {
    let (x, context) = x.split_at_mut(shape.dim);
    let before_len = network(shape).before_len();
    let inside = Inside::new::<B, W>(shape, w, context, before_len, &mut scratch);
    if INVERSE {
        B::inverse(inner(shape), &*inside.w, x, scratch)
    } else {
        B::forward(inner(shape), &*inside.w, x, scratch)
    }
}

#[inline(always)]
fn backward<B: Bijection, R: Real, W: Weights<R>>(
    shape: Shape,
    w: W,
    x: &mut [R],
    dz: &mut [R],
    dladj: R,
    mut dw: impl Gradient<R>,
    mut scratch: &mut [R],
) {
    let network = network(shape);
    let (x, context) = x.split_at_mut(shape.dim);
    let (dz, dcontext) = dz.split_at_mut(shape.dim);
    let zero = dladj.lift(0.0);
    let before_len = network.kept_before_len();
    let inside = Inside::new::<B, W>(shape, w, context, before_len, &mut scratch);
    let Inside { units, outputs, w: inner_w, mut at } = inside;
    let dinner = take(&mut scratch, inner_w.len());
    let doutputs = take(&mut scratch, outputs.len());
    let dinputs = take(&mut scratch, network.input_len());
    let dactive = take(&mut scratch, network.unit_len());
    for buffer in [&mut *dinner, &mut *doutputs, &mut *dinputs, &mut *dactive] {
        buffer.fill(zero);
    }
    B::backward(inner(shape), &*inner_w, x, dz, dladj, &mut *dinner, scratch);
    B::constrain_backward(inner(shape), outputs, inner_w, dinner, doutputs);
    let mut dunits = UnitGradients { inputs: dinputs, active: dactive };
    network.outputs_backward(w, &mut at, 0, &units, doutputs, &mut dunits, &mut dw);
    network.unlock_backward(w, &mut at, 0, &units, &mut dunits, &mut dw);
    for (d, here) in dcontext.iter_mut().zip(&*dunits.inputs) {
        *d = *d + *here;
    }
}

impl Bijection for Conditional {
    const CONDITIONED: bool = true;

    fn exists(shape: Shape) -> bool {
        let inside = matches!(
            shape.transformer,
            Layer::Householder | Layer::LowerUpper | Layer::MatrixExponential
        );
        inside
            && shape.option & !(option::RESIDUAL | option::CONTEXT) == 0
            && shape.transformer.exists(inner(shape))
            && Conditioner::exists(shape)
            && shape.numbers != Numbers::Int8
            && shape.split == 0
            && shape.context > 0
    }
    fn conditioner(shape: Shape) -> Option<(Conditioner, usize)> {
        Some((network(shape), 0))
    }
    fn weight_len(shape: Shape) -> usize {
        network(shape).word_len()
    }
    fn scratch_len(shape: Shape) -> usize {
        let (network, inner) = (network(shape), inner(shape));
        let layer = shape.transformer.weight_len(inner) + shape.transformer.scratch_len(inner);
        let units = network.unit_len() + network.before_len();
        network.input_len() + units + network.output_len() + layer
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        let (network, inner) = (network(shape), inner(shape));
        let layer = shape.transformer;
        2 * network.input_len()
            + 2 * network.unit_len()
            + network.kept_before_len()
            + 2 * network.output_len()
            + 2 * layer.weight_len(inner)
            + layer.backward_scratch_len(inner)
    }
    fn multiply_adds(shape: Shape) -> usize {
        network(shape).multiply_adds() + shape.transformer.multiply_adds(inner(shape))
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        network(shape).valid(w)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        match shape.transformer {
            Layer::LowerUpper => run::<false, LowerUpper, R, W>(shape, w, x, scratch),
            Layer::MatrixExponential => run::<false, MatrixExponential, R, W>(shape, w, x, scratch),
            _ => run::<false, Householder, R, W>(shape, w, x, scratch),
        }
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        match shape.transformer {
            Layer::LowerUpper => run::<true, LowerUpper, R, W>(shape, w, z, scratch),
            Layer::MatrixExponential => run::<true, MatrixExponential, R, W>(shape, w, z, scratch),
            _ => run::<true, Householder, R, W>(shape, w, z, scratch),
        }
    }

    #[inline(always)]
    fn score<const INVERSE: bool>(
        shape: Shape,
        w: Packed,
        x: &mut [f32],
        scratch: &mut [f32],
    ) -> f32 {
        match shape.numbers {
            Numbers::F16 if cfg!(feature = "f16") => {
                Self::pass::<INVERSE, f32, Halves>(shape, w.halves(), x, scratch)
            }
            Numbers::F32 if cfg!(feature = "f32") => {
                Self::pass::<INVERSE, f32, Packed>(shape, w, x, scratch)
            }
            _ => 0.0,
        }
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
        match shape.transformer {
            Layer::LowerUpper => {
                backward::<LowerUpper, R, W>(shape, w, x, dz, dladj, dw, scratch);
            }
            Layer::MatrixExponential => {
                backward::<MatrixExponential, R, W>(shape, w, x, dz, dladj, dw, scratch);
            }
            _ => backward::<Householder, R, W>(shape, w, x, dz, dladj, dw, scratch),
        }
    }

    fn theta_len(shape: Shape) -> usize {
        network(shape).weight_len()
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        network(shape).neutral(like, |i| like.lift(neutral_output(shape, i)), w);
    }

    fn constrain<R: Real>(_: Shape, theta: &[R], w: &mut [R]) {
        w.copy_from_slice(theta);
    }

    fn constrain_backward<R: Real>(_: Shape, _: &[R], _: &[R], dw: &[R], dtheta: &mut [R]) {
        for (dtheta, dw) in dtheta.iter_mut().zip(dw) {
            *dtheta = *dtheta + *dw;
        }
    }

    fn unconstrain<R: Real>(_: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(w);
    }
}

/// Output `i` of the network of a neutral layer.
fn neutral_output(shape: Shape, i: usize) -> f32 {
    let diagonal = i.is_multiple_of(shape.dim + 1);
    let first = i.is_multiple_of(shape.dim);
    match shape.transformer {
        Layer::LowerUpper if diagonal => 1.0,
        Layer::Householder if first => 1.0,
        _ => 0.0,
    }
}
