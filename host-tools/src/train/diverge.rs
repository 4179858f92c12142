//! Divergence: a run that has lost its way goes back to its best weights, and on from there with a
//! smaller learning rate.

use serde::{Deserialize, Serialize};

use super::Epoch;
use super::optimiser::Moments;
use super::state::State;
use super::{TrainConfig, schedule};

/// Nats a dimension by which both NLLs of an epoch exceed their best when a run has diverged. Two
/// nats are a scale that is wrong by a factor of seven in every dimension; a run that learns its rows
/// by heart has a rising validation NLL too, but a falling one in training.
const FAR: f64 = 2.0;
/// Batches in a row that are not finite when a run has diverged.
const MOST_IN_A_ROW: usize = 10;
/// What a return leaves of the learning rate.
const RATE_FACTOR: f64 = 0.25;
/// Returns of a run at most; then it ends with its best weights.
pub(super) const MOST_RESTORES: usize = 5;

/// One return to the best weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The epoch that diverged.
    pub epoch: usize,
    /// The epoch whose weights were taken up again; 0 for the start.
    pub to: usize,
}

impl State {
    /// Whether the last epoch of `history` is a divergence, for data of `dim` numbers.
    pub(super) fn has_diverged(&self, dim: usize) -> bool {
        let Some((last, before)) = self.history.split_last() else { return false };
        let best = self.best.validation_nll;
        if !last.validation_nll.is_finite() {
            return best.is_finite();
        }
        let far = FAR * dim as f64;
        // In the first epoch the best is the start's.
        let lowest = before.iter().map(|e: &Epoch| e.train_nll).fold(best, f64::min);
        last.validation_nll > best + far && last.train_nll > lowest + far
    }

    /// Behind an epoch: goes back to the best weights where the run has diverged, and cuts the learning
    /// rate on a plateau. Whether it went back.
    pub(super) fn mend(&mut self, config: &TrainConfig, dim: usize) -> bool {
        let epoch = self.history.len();
        let diverged = self.has_diverged(dim);
        if diverged {
            self.restore(epoch);
        } else if schedule::cuts(config, epoch, self.plateau_since) {
            self.rate_factor *= config.plateau_factor;
            self.plateau_since = epoch;
        }
        diverged
    }

    /// Whether too many batches in a row were skipped.
    pub(super) fn is_stuck(&self) -> bool {
        self.skipped.in_a_row >= MOST_IN_A_ROW
    }

    /// Whether the last return was one too many.
    pub(super) fn gave_up(&self) -> bool {
        self.restores.len() > MOST_RESTORES
    }

    /// Goes back to the best weights, with a smaller learning rate, after `epoch` diverged.
    pub(super) fn restore(&mut self, epoch: usize) {
        self.restores.push(Restore { epoch, to: self.best.epoch });
        self.theta.clone_from(&self.best.theta);
        if let Some(average) = &mut self.average {
            average.clone_from(&self.best.theta);
        }
        self.moments = Moments::new(self.theta.len());
        self.rate_factor *= RATE_FACTOR;
        self.skipped.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epochs: &[(f64, f64)]) -> State {
        let mut state = State::new(vec![1.0], 9.0, true);
        for (train, validation) in epochs {
            state.pass.add(*train, 1, 0.1);
            state.theta[0] += 1.0;
            state.average = Some(state.theta.clone());
            state.end_epoch(*validation);
        }
        state
    }

    #[test]
    fn divergence_is_far_above_the_best_in_training_too() {
        assert!(!state(&[(5.0, 5.0), (6.9, 6.9)]).has_diverged(1));
        assert!(state(&[(5.0, 5.0), (7.1, 7.1)]).has_diverged(1));
        assert!(!state(&[(5.0, 5.0), (7.1, 7.1)]).has_diverged(2));
        assert!(!state(&[(5.0, 5.0), (3.0, 50.0)]).has_diverged(1));
        assert!(state(&[(5.0, 5.0), (5.0, f64::NAN)]).has_diverged(1));
        assert!(state(&[(5.0, f64::INFINITY)]).has_diverged(1));
        assert!(state(&[(12.0, 12.0)]).has_diverged(1), "far above the start's 9");
        assert!(!state(&[]).has_diverged(1));
    }

    #[test]
    fn a_return_takes_up_the_best_weights_with_a_smaller_rate_and_fresh_moments() {
        let mut state = state(&[(5.0, 5.0), (6.0, 50.0)]);
        assert_eq!(state.theta, [3.0]);
        state.restore(2);
        assert_eq!((&state.theta[..], state.average.as_deref()), (&[2.0][..], Some(&[2.0][..])));
        assert_eq!((state.rate_factor, state.moments.count), (0.25, 0));
        assert_eq!(state.restores, [Restore { epoch: 2, to: 1 }]);
        assert!(!state.gave_up());
    }
}
