//! Autoregressive: each number's map gets its parameters, through one masked network, from the
//! numbers before it in an order. The most expressive of the layers here.
//!
//! # Formula
//!
//! With π the order: z\[πₖ\] = f(x\[πₖ\]; network(context, x\[π₀\] … x\[πₖ₋₁\])), f affine or a spline.
//! The Jacobian is triangular in that order, so ladj = Σ ln dzᵢ/dxᵢ. The network is
//! [`crate::conditioner`]'s, masked by degrees.
//!
//! # Parameters
//!
//! `W` free parameters, the live weights and biases of the masked network: what a mask removes is
//! neither stored nor counted. Its inputs are the C + D numbers, its outputs P for each: affine 2,
//! rational-quadratic 3 K − 1, linear-rational 4 K − 1. Without context, and where D − 1 divides
//! the H units of two hidden layers, W = H (D + 2)/2 + H + H² D/(2 (D − 1)) + P D (H + 2)/2.
//! Packed weights: three constants (limits, gate bias or outer slope), π \[D\], the network.
//!
//! # Inverse
//!
//! Number by number: x\[πₖ\] is found as soon as those before it are, and then unlocks the units of
//! one more degree. All D together cost one pass of the network, as forward does; a masked matrix
//! product that is run again for each number costs D passes.
//!
//! # Gradient
//!
//! dx by the walk backwards: from the last number's map to its outputs, to the units of the last degree,
//! and so on; what reaches x\[πₖ\] through the later numbers' units joins what its own map gives.
//!
//! # Source
//!
//! Papamakarios, Pavlakou and Murray 2017, arXiv:1705.07057, eqs. 3–4; with splines Durkan et al.
//! 2019, arXiv:1906.04032, section 3.2; masks Germain et al. 2015, arXiv:1502.03509, eqs. 12–13.

use super::integer::{self, Integer};
use super::kept::{Kept, Room};
use super::transformer::{CONSTANTS, Map, Transformer};
use super::walk::{Float, Walk};
use super::{Bijection, Permutation, Shape, keep_and_go_back};
use crate::conditioner::{Conditioner, Numbers, UnitGradients, take};
use crate::math::{LogProduct, Real};
use crate::weights::{Gradient, Packed, Weights};

/// Each number is conditioned on those before it; see the source file's head for weights and
/// gradient.
pub struct Autoregressive;

fn parts(shape: Shape) -> (Transformer, Conditioner) {
    let transformer = Transformer::of(shape);
    (transformer, Conditioner::masked(shape, transformer.output_len()))
}

/// Where the network's weights begin.
fn network_start(shape: Shape) -> usize {
    CONSTANTS + shape.dim
}

/// Room for a pass that leaves nothing.
fn passing(shape: Shape) -> Room {
    let (transformer, network) = parts(shape);
    Room::passing(transformer, network)
}

/// Room for a pass that leaves what its gradient needs.
fn keeping(shape: Shape) -> Room {
    let (transformer, network) = parts(shape);
    Room::keeping(transformer, network, shape.dim)
}

/// A network of `f32`, or of lanes of it.
#[inline(always)]
fn float<'s, R: Real, W: Weights<R>>(
    shape: Shape,
    w: W,
    like: R,
    kept: Kept<'s, R>,
) -> Float<'s, R, W> {
    let (transformer, network) = parts(shape);
    let constants = w.load(0, like);
    let w = w.part(network_start(shape), network.weight_len());
    Float::new(transformer, network, constants, w, kept)
}

/// The network's weights, as a model has them.
fn network_words(shape: Shape, w: Packed) -> Packed {
    Weights::<f32>::part(w, network_start(shape), parts(shape).1.word_len())
}

/// Maps number after number in the direction that `INVERSE` says.
#[inline(always)]
fn run<const INVERSE: bool, R: Real, W: Weights<R>>(
    shape: Shape,
    w: W,
    x: &mut [R],
    mut walk: impl Walk<R>,
) -> R {
    let like = walk.zero();
    let order = w.part(CONSTANTS, shape.dim);
    let (x, context) = x.split_at_mut_checked(shape.dim).unwrap_or_default();
    walk.read(0, context);
    let mut slopes = LogProduct::new(like);
    for known in 0..shape.dim {
        walk.step(known);
        // Every place was checked; the fallback keeps a panic out of a device's image.
        let Some(x) = x.get_mut(order.at(known, like).to_index()) else { continue };
        let from = *x;
        let (to, slope) = walk.map::<INVERSE>(known, from);
        *x = to;
        // The network reads the side of x.
        walk.read(context.len() + known, &[if INVERSE { to } else { from }]);
        slopes.multiply(slope);
    }
    if INVERSE { -slopes.ln() } else { slopes.ln() }
}

impl Bijection for Autoregressive {
    const CONDITIONED: bool = true;

    fn exists(shape: Shape) -> bool {
        Transformer::exists(shape)
            && Conditioner::exists(shape)
            && parts(shape).1.fits_numbers()
            && shape.split == 0
    }
    fn conditioner(shape: Shape) -> Option<(Conditioner, usize)> {
        Some((parts(shape).1, network_start(shape)))
    }
    fn weight_len(shape: Shape) -> usize {
        network_start(shape) + parts(shape).1.word_len()
    }
    fn scratch_len(shape: Shape) -> usize {
        let (transformer, network) = parts(shape);
        match shape.numbers {
            Numbers::Int8 => integer::scratch_len(transformer, network),
            _ => passing(shape).len(),
        }
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        let (transformer, network) = parts(shape);
        let gradients = network.input_len() + network.unit_len() + transformer.output_len();
        let input = shape.dim + shape.context;
        Self::kept_len(shape) + input + gradients + transformer.packed_len()
    }
    fn kept_len(shape: Shape) -> usize {
        keeping(shape).len()
    }
    fn multiply_adds(shape: Shape) -> usize {
        let (transformer, network) = parts(shape);
        network.multiply_adds() + shape.dim * transformer.multiply_adds()
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let order = Weights::<f32>::part(w, CONSTANTS, shape.dim);
        Transformer::valid(w.load(0, 0.0))
            && parts(shape).1.valid(network_words(shape, w))
            && Permutation::valid(Shape::new(shape.dim, 0, 0), order)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        mut scratch: &mut [R],
    ) -> R {
        let walk = float(shape, w, x[0], passing(shape).take(&mut scratch));
        run::<false, R, W>(shape, w, x, walk)
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        z: &mut [R],
        mut scratch: &mut [R],
    ) -> R {
        let walk = float(shape, w, z[0], passing(shape).take(&mut scratch));
        run::<true, R, W>(shape, w, z, walk)
    }

    #[inline(always)]
    fn score<const INVERSE: bool>(
        shape: Shape,
        w: Packed,
        x: &mut [f32],
        mut scratch: &mut [f32],
    ) -> f32 {
        let (transformer, network) = parts(shape);
        let (constants, words) = (w.load(0, 0.0), network_words(shape, w));
        match shape.numbers {
            Numbers::Int8 if cfg!(feature = "int8") => {
                let walk = Integer::new(transformer, network, constants, words, scratch);
                run::<INVERSE, f32, Packed>(shape, w, x, walk)
            }
            Numbers::F16 if cfg!(feature = "f16") => {
                let kept = passing(shape).take(&mut scratch);
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
        let kept = Kept::in_either(passing(shape), keeping(shape), kept, scratch);
        run::<false, R, W>(shape, w, x, float(shape, w, x[0], kept))
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
        let (transformer, network) = parts(shape);
        let Kept { units, outputs, packed, .. } = keeping(shape).take(&mut kept);
        let zero = x[0].lift(0.0);
        let constants = w.load(0, zero);
        let order = w.part(CONSTANTS, shape.dim);
        let place = |known: usize| order.at(known, zero).to_index();
        let (dz, dcontext) = dz.split_at_mut(shape.dim);
        let (len, packed_len) = (transformer.output_len(), transformer.packed_len());
        let mut at = network_start(shape) + network.weight_len();

        let dinputs = take(&mut scratch, network.input_len());
        let dactive = take(&mut scratch, network.unit_len());
        let doutput = take(&mut scratch, len);
        dinputs.fill(zero);
        dactive.fill(zero);
        let mut dunits = UnitGradients { inputs: dinputs, active: dactive };
        for (known, output) in outputs.chunks_exact(len).enumerate().rev() {
            let i = place(known);
            let packed = &packed[known * packed_len..][..packed_len];
            let map = Map { constants, output, packed };
            let dx = transformer.backward(map, x[i], dz[i], dladj, doutput, scratch);
            dz[i] = dx + dunits.inputs[dcontext.len() + known];
            network.outputs_backward(w, &mut at, known, &units, doutput, &mut dunits, &mut dw);
            network.unlock_backward(w, &mut at, known, &units, &mut dunits, &mut dw);
        }
        for (d, here) in dcontext.iter_mut().zip(&*dunits.inputs) {
            *d = *d + *here;
        }
    }

    fn theta_len(shape: Shape) -> usize {
        parts(shape).1.weight_len()
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        let (transformer, network) = parts(shape);
        let (constants, rest) = w.split_at_mut(CONSTANTS);
        let (order, rest) = rest.split_at_mut(shape.dim);
        transformer.neutral_constants(like, constants);
        for (i, position) in order.iter_mut().enumerate() {
            *position = like.lift(i as f32);
        }
        network.neutral(like, |i| transformer.neutral_output(like, i), rest);
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        w[network_start(shape)..].copy_from_slice(theta);
    }

    fn constrain_backward<R: Real>(shape: Shape, _: &[R], _: &[R], dw: &[R], dtheta: &mut [R]) {
        for (dtheta, dw) in dtheta.iter_mut().zip(&dw[network_start(shape)..]) {
            *dtheta = *dtheta + *dw;
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        theta.copy_from_slice(&w[network_start(shape)..]);
    }
}
