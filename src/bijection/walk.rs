//! A conditioned layer's network under way: what the layer asks of it, whatever the numbers.

use super::kept::Kept;
use super::transformer::{CONSTANTS, Transformer};
use crate::conditioner::Conditioner;
use crate::math::Real;
use crate::weights::Weights;

/// A network that is given its inputs, then walked step by step.
pub(super) trait Walk<R: Real> {
    /// 0, of the layer's kind of numbers.
    fn zero(&self) -> R;
    /// Takes `x` as the inputs from `start` on.
    fn read(&mut self, start: usize, x: &[R]);
    /// Evaluates the units that `known` variables unlock, and the step's outputs.
    fn step(&mut self, known: usize);
    /// The map of number `i`, forward or inverse: its value, and dz/dx there.
    fn map<const INVERSE: bool>(&mut self, i: usize, x: R) -> (R, R);
}

/// From one step's numbers to the next one's among `all` of them, `one` a step; 0 where they take turns.
#[inline(always)]
pub(super) fn stride(all: usize, one: usize) -> usize {
    if all > one { one } else { 0 }
}

/// A network of floating-point numbers.
pub(super) struct Float<'s, R, W> {
    transformer: Transformer,
    network: Conditioner,
    constants: [R; CONSTANTS],
    /// The network's weights, and where those of the next step begin.
    w: W,
    at: usize,
    kept: Kept<'s, R>,
    /// As [`stride`] says, of one number's outputs and knots.
    output_stride: usize,
    packed_stride: usize,
}

impl<'s, R: Real, W: Weights<R>> Float<'s, R, W> {
    #[inline(always)]
    pub(super) fn new(
        transformer: Transformer,
        network: Conditioner,
        constants: [R; CONSTANTS],
        w: W,
        kept: Kept<'s, R>,
    ) -> Self {
        Self {
            output_stride: stride(kept.outputs.len(), transformer.output_len()),
            packed_stride: stride(kept.packed.len(), transformer.packed_len()),
            transformer,
            network,
            constants,
            w,
            at: 0,
            kept,
        }
    }
}

impl<R: Real, W: Weights<R>> Walk<R> for Float<'_, R, W> {
    #[inline(always)]
    fn zero(&self) -> R {
        self.constants[0].lift(0.0)
    }
    #[inline(always)]
    fn read(&mut self, start: usize, x: &[R]) {
        let inputs = self.kept.units.inputs.get_mut(start..).unwrap_or_default();
        inputs.iter_mut().zip(x).for_each(|(input, x)| *input = *x);
    }
    #[inline(always)]
    fn step(&mut self, known: usize) {
        let Kept { units, outputs, .. } = &mut self.kept;
        self.network.unlock(self.w, &mut self.at, known, units);
        let outputs = outputs.get_mut(known * self.output_stride..).unwrap_or_default();
        let outputs = outputs.get_mut(..self.network.output_len()).unwrap_or_default();
        self.network.outputs(self.w, &mut self.at, known, units, outputs);
    }
    #[inline(always)]
    fn map<const INVERSE: bool>(&mut self, i: usize, x: R) -> (R, R) {
        let Self { transformer, constants, .. } = *self;
        let output = self.kept.outputs.get(i * self.output_stride..).unwrap_or_default();
        let output = output.get(..transformer.output_len()).unwrap_or_default();
        let packed = self.kept.packed.get_mut(i * self.packed_stride..).unwrap_or_default();
        let packed = packed.get_mut(..transformer.packed_len()).unwrap_or_default();
        if INVERSE {
            transformer.inverse(constants, output, packed, x)
        } else {
            transformer.forward(constants, output, packed, self.kept.keep, x)
        }
    }
}
