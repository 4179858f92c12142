//! The network on its own: all steps at once, forward and backward.
//!
//! A layer walks step by step, because its inverse finds the inputs on the way. Where all inputs are
//! known, these two functions are that walk from end to end.

use super::{Conditioner, UnitGradients, Units, take};
use crate::math::Real;
use crate::weights::{Gradient, Weights};

impl Conditioner {
    /// Outputs of all steps.
    pub fn all_outputs_len(self) -> usize {
        self.steps.max(1) * self.outputs
    }

    /// Numbers of scratch space that [`Self::forward`] needs.
    pub fn scratch_len(self) -> usize {
        self.input_len() + self.unit_len() + self.before_len()
    }

    /// Of what [`Self::forward`] left in its scratch space, the units of a hidden layer: h of residual
    /// blocks, the others behind their activation.
    pub fn units_of<R>(self, layer: usize, scratch: &[R]) -> &[R] {
        let h = self.residual && layer.is_multiple_of(2);
        let start = self.input_len() + if h { self.unit_len() } else { 0 };
        let before: usize = (0..layer).map(|l| self.full_width(l)).sum();
        &scratch[start + before..][..self.full_width(layer)]
    }

    /// The hidden layers whose units are added up, `layer` among them.
    pub fn added_up(self, layer: usize) -> impl Iterator<Item = usize> {
        let h = self.residual && layer.is_multiple_of(2);
        (0..self.layers()).filter(move |l| *l == layer || h && l.is_multiple_of(2))
    }

    /// Numbers of scratch space that [`Self::backward`] needs.
    pub fn backward_scratch_len(self) -> usize {
        self.input_len() + 2 * self.unit_len() + self.kept_before_len()
    }

    /// Writes the outputs of all steps to `out`, which holds numbers of the same kind on entry. `w`
    /// are the network's weights alone.
    pub fn forward<R: Real, W: Weights<R>>(
        self,
        w: W,
        inputs: &[R],
        out: &mut [R],
        mut scratch: &mut [R],
    ) {
        let own = take(&mut scratch, self.input_len());
        own.copy_from_slice(inputs);
        let active = take(&mut scratch, self.unit_len());
        let before = take(&mut scratch, self.before_len());
        let mut units = Units { inputs: own, active, before };
        let mut at = 0;
        for (known, out) in out.chunks_exact_mut(self.outputs).enumerate() {
            self.unlock(w, &mut at, known, &mut units);
            self.outputs(w, &mut at, known, &units, out);
        }
    }

    /// Adds to `dinputs` and `dw` what the gradient `dout` of all steps' outputs means.
    pub fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        self,
        w: W,
        inputs: &[R],
        dout: &[R],
        dinputs: &mut [R],
        mut dw: G,
        mut scratch: &mut [R],
    ) {
        let own = take(&mut scratch, self.input_len());
        own.copy_from_slice(inputs);
        let active = take(&mut scratch, self.unit_len());
        let before = take(&mut scratch, self.kept_before_len());
        let mut units = Units { inputs: own, active, before };
        let mut at = 0;
        for known in 0..self.steps.max(1) {
            self.unlock(w, &mut at, known, &mut units);
            at += self.outputs_len(known);
        }
        let dactive = take(&mut scratch, self.unit_len());
        if let Some(first) = dout.first() {
            dactive.fill(first.lift(0.0));
        }
        let mut dunits = UnitGradients { inputs: dinputs, active: dactive };
        for (known, dout) in dout.chunks_exact(self.outputs).enumerate().rev() {
            self.outputs_backward(w, &mut at, known, &units, dout, &mut dunits, &mut dw);
            self.unlock_backward(w, &mut at, known, &units, &mut dunits, &mut dw);
        }
    }
}
