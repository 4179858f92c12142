//! One step: θ ─constrain→ w ─forward→ z, ladj ─→ NLL ─backward→ dw ─constrain_backward→ dθ ─Adam→ θ.
//!
//! What is kept is in f32, and forward and backward run on the very weights that are packed. Buffers
//! live as long as the run.

use super::batch::Batch;
use super::config::{Optimiser, TrainConfig};
use super::constrain::{constrain, constrain_backward};
use super::init::Begin;
use super::optimiser::Adam;
use super::state::State;
use crate::backend::{Backend, Failed};
use crate::stack::Stack;

/// The numbers that a step computes and does not keep.
pub(crate) struct Stepper<'s, B> {
    stack: &'s Stack,
    backend: &'s B,
    adam: Adam,
    average: f64,
    w: Vec<f32>,
    dw: Vec<f32>,
}

impl<'s, B: Backend> Stepper<'s, B> {
    /// Steps of `stack`, with the constants and units of its start.
    pub(crate) fn new(
        stack: &'s Stack,
        begin: Begin,
        config: &TrainConfig,
        backend: &'s B,
    ) -> Self {
        let Begin { theta, w, units } = begin;
        let adam = Adam::new(units, config.clip).with_decay(decays(stack, config));
        let mut new =
            Self { stack, backend, adam, average: config.average, dw: vec![0.0; w.len()], w };
        new.constrain(&theta);
        new
    }

    /// θ → the weights of the next evaluation.
    pub(super) fn constrain(&mut self, theta: &[f32]) {
        constrain(self.stack, theta, &mut self.w);
    }

    /// Moves `state` by the gradient of a batch. A batch whose likelihood or gradient is not finite
    /// moves nothing and is counted as skipped.
    ///
    /// # Errors
    ///
    /// The device failed; nothing was moved.
    pub(crate) fn step(
        &mut self,
        state: &mut State,
        batch: Batch,
        learning_rate: f64,
    ) -> Result<(), Failed> {
        let nll = self.gradient(batch.rows)?;
        let State { theta, moments, .. } = &mut *state;
        let dtheta = constrain_backward(self.stack, theta, &self.w, &mut self.dw);
        let per_row = 1.0 / batch.chosen.len() as f64;
        if nll.is_finite() && self.adam.step(moments, theta, dtheta, per_row, learning_rate) {
            self.constrain(theta);
            state.follow(self.average);
            state.pass.add(nll, batch.chosen.len(), learning_rate);
            state.skipped.in_a_row = 0;
        } else {
            state.skipped.blame(batch, self.stack, &self.w, self.backend, &mut self.dw);
        }
        state.step += 1;
        Ok(())
    }

    /// Σ −log p of `rows`; its gradient is then in `dw`.
    fn gradient(&mut self, rows: &[f32]) -> Result<f64, Failed> {
        self.backend.nll_and_grad(self.stack, &self.w, rows, &mut self.dw)
    }

    /// Mean NLL of the `held_out` rows with the parameters that `state` would keep.
    pub(super) fn validate(&mut self, state: &State, held_out: &[f32]) -> Result<f64, Failed> {
        if state.average.is_some() {
            self.constrain(state.kept());
        }
        let nll = self.nll(held_out);
        if state.average.is_some() {
            self.constrain(&state.theta);
        }
        nll
    }

    /// Mean NLL of `rows` with the weights as they are.
    pub(super) fn nll(&self, rows: &[f32]) -> Result<f64, Failed> {
        let count = rows.len() / self.stack.row_len();
        Ok(self.backend.nll(self.stack, &self.w, rows)? / count as f64)
    }

    /// The weights of `theta`, as they are packed.
    pub(super) fn into_weights(mut self, theta: &[f32]) -> Vec<f32> {
        self.constrain(theta);
        self.w
    }
}

/// The decay of each parameter: the configuration's for the weights of networks, and none for their
/// biases and whatever else a layer has, where 0 is no better than any other number. Empty where
/// nothing decays.
pub(super) fn decays(stack: &Stack, config: &TrainConfig) -> Vec<f32> {
    if config.optimiser != Optimiser::AdamW {
        return Vec::new();
    }
    let decay = config.decay();
    let mut decays = vec![0.0; stack.theta_len()];
    for span in stack.spans() {
        let Some((network, _)) = span.layer.conditioner(span.shape) else { continue };
        // A network's weights are free as they are, and stand at the end of a layer's parameters.
        let first = span.theta.end - network.weight_len();
        for group in network.groups() {
            for row in 0..group.count {
                for column in 1..=group.fan_in {
                    decays[first + group.position(row, column)] = decay as f32;
                }
            }
        }
    }
    decays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::FlowConfig;
    use crate::train::Kind;

    #[test]
    fn weights_of_networks_decay_and_nothing_else_does() {
        let flow = FlowConfig { kind: Kind::Coupling, layers: 2, ..FlowConfig::default() };
        let stack = flow.stack(4, 0, false).unwrap();
        let adam_w = TrainConfig {
            optimiser: Optimiser::AdamW,
            weight_decay: Some(0.01),
            ..TrainConfig::default()
        };
        let decays = decays(&stack, &adam_w);
        assert_eq!(decays.len(), stack.theta_len());
        // 2 inputs, two hidden layers of 64, 2 × (3 · 8 − 1) outputs, in each of two couplings.
        let weights = 2 * (2 * 64 + 64 * 64 + 64 * 2 * 23);
        assert_eq!(decays.iter().filter(|decay| **decay == 0.01_f32).count(), weights);
        let rotation = FlowConfig::default().stack(4, 0, false).unwrap();
        assert!(self::decays(&stack, &TrainConfig::default()).is_empty());
        assert!(self::decays(&rotation, &adam_w).iter().all(|decay| *decay == 0.0));
    }
}
