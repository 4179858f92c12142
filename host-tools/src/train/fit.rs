//! The loop: steps, epochs, when to stop, when to save.

use super::batch::Batches;
use super::diverge::Restore;
use super::random::{Use, generator};
use super::schedule;
use super::skip::Skipped;
use super::state::State;
use super::step::Stepper;
use super::{Start, TrainConfig, init};
use crate::backend::{Backend, Failed};
use crate::data::Domain;
use crate::output;
use crate::stack::Stack;

/// One pass over the training rows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Number of the pass, from 1.
    pub epoch: usize,
    /// Mean NLL of the training rows in the pass, in nats.
    pub train_nll: f64,
    /// Mean NLL of the held-out rows after it, in nats.
    pub validation_nll: f64,
    /// Learning rate of its last step.
    pub learning_rate: f64,
}

/// A trained flow.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What was trained.
    pub stack: Stack,
    /// Parameters of the best epoch.
    pub theta: Vec<f32>,
    /// Their weights, as they are packed.
    pub weights: Vec<f32>,
    /// Every epoch of the run.
    pub history: Vec<Epoch>,
    /// The epoch that the parameters are of; 0 where the start was never beaten.
    pub best_epoch: usize,
    /// Mean NLL of the held-out rows in that epoch.
    pub validation_nll: f64,
    /// Batches that moved nothing, because they were not finite.
    pub skipped: Skipped,
    /// Returns to the best weights, after the run had diverged.
    pub restores: Vec<Restore>,
}

/// Rows that a flow is trained on, \[n, D + C\] each; all finite.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'r> {
    /// Rows that move the parameters.
    pub train: &'r [f32],
    /// Rows that say when to stop.
    pub held_out: &'r [f32],
    /// Columns that are not the real line.
    pub domains: &'r [Domain],
}

/// Why a run ended without a trained flow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The observer asked for it; the state was saved.
    #[error("train to the end: stopped after {step} of {steps} steps")]
    Stopped {
        /// Steps that were taken.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
    },
    /// The state could not be saved.
    #[error(transparent)]
    Save(#[from] output::Error),
    /// The device failed; the state was saved, and any device can go on from it.
    #[error(
        "{failed}; the first {step} of {steps} steps are saved, and can be resumed on any device"
    )]
    Device {
        /// How.
        failed: Failed,
        /// Steps that were taken.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
    },
    /// The state to resume is of another flow.
    #[error("resume: the state is of a flow with {found} parameters, this one has {expected}")]
    OtherFlow {
        /// Parameters of the state.
        found: usize,
        /// Parameters of the stack.
        expected: usize,
    },
}

/// What is trained, and for how long.
#[derive(Clone, Debug)]
pub struct Plan<'p> {
    /// The flow.
    pub stack: Stack,
    /// Where its rotations start.
    pub start: Start,
    /// Steps at most.
    pub steps: usize,
    /// How.
    pub config: &'p TrainConfig,
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next step.
    Step,
    /// The state is saved, then the next step.
    Save,
    /// The state is saved, and the run ends.
    Stop,
}

/// Who is told how a run goes, and says when to save and when to stop.
pub trait Observer {
    /// Step `step` of `steps`, counted from 1, was taken.
    fn step(&mut self, step: usize, steps: usize) -> Next;
    /// An epoch is over.
    fn epoch(&mut self, epoch: Epoch);
    /// Keeps a state that the run can be resumed from.
    ///
    /// # Errors
    ///
    /// Why it could not be kept; the run ends.
    fn save(&mut self, state: &State) -> Result<(), output::Error>;
}

/// Lets a run go on to its end, and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: usize, _: usize) -> Next {
        Next::Step
    }
    fn epoch(&mut self, _: Epoch) {}
    fn save(&mut self, _: &State) -> Result<(), output::Error> {
        Ok(())
    }
}

/// Trains a stack from its start, or from the state of a run to resume.
///
/// The result depends on the seed and the data, not on the number of threads, nor on where the run
/// was stopped and resumed.
///
/// # Errors
///
/// What [`Error`] lists.
pub fn fit(
    plan: Plan,
    rows: Rows,
    backend: &impl Backend,
    resumed: Option<State>,
    observer: &mut impl Observer,
) -> Result<Trained, Error> {
    let Plan { stack, start, steps, config } = plan;
    let mut rng = generator(config.seed, Use::Start, 0);
    let begin = init::start(&stack, start, rows.train, rows.domains, &mut rng);
    let theta = begin.theta.clone();
    let mut stepper = Stepper::new(&stack, begin, config, backend);
    let mut state = self::begin(resumed, theta, config)?;
    stepper.constrain(&state.theta);
    if state.step == 0 {
        let failed = |failed| Error::Device { failed, step: 0, steps };
        state.best.validation_nll = stepper.nll(rows.held_out).map_err(failed)?;
    }

    let mut batches = Batches::new(rows, stack.dim, stack.row_len(), config);
    let epochs = steps.div_ceil(batches.per_epoch());
    while !is_over(&state, epochs, config) {
        let epoch = state.history.len() + 1;
        let end = steps.min(epoch * batches.per_epoch());
        while state.step < end && !state.gave_up() {
            let rate = state.rate_factor * schedule::learning_rate(config, state.step, steps);
            let batch = batches.at(state.step);
            if let Err(failed) = stepper.step(&mut state, batch, rate) {
                return Err(abandon(failed, &state, steps, observer));
            }
            if state.is_stuck() {
                state.restore(epoch);
                stepper.constrain(&state.theta);
            }
            let next = observer.step(state.step, steps);
            if next != Next::Step {
                observer.save(&state)?;
            }
            if next == Next::Stop {
                return Err(Error::Stopped { step: state.step, steps });
            }
        }
        if state.gave_up() {
            break;
        }
        let validation_nll = match stepper.validate(&state, rows.held_out) {
            Ok(nll) => nll,
            Err(failed) => return Err(abandon(failed, &state, steps, observer)),
        };
        observer.epoch(state.end_epoch(validation_nll));
        if state.mend(config, stack.dim) {
            stepper.constrain(&state.theta);
        }
    }
    let weights = stepper.into_weights(&state.best.theta);
    Ok(Trained::new(stack, state, weights))
}

/// The state to resume, or one at θ whose validation NLL is still to be told.
pub(super) fn begin(
    resumed: Option<State>,
    theta: Vec<f32>,
    config: &TrainConfig,
) -> Result<State, Error> {
    let averaged = config.average > 0.0;
    match resumed {
        None => Ok(State::new(theta, f64::NAN, averaged)),
        Some(state) if state.fits(theta.len(), averaged) => Ok(state),
        Some(state) => Err(Error::OtherFlow { found: state.theta.len(), expected: theta.len() }),
    }
}

impl Trained {
    /// What a finished run leaves, `weights` being those of its best parameters.
    pub(super) fn new(stack: Stack, state: State, weights: Vec<f32>) -> Self {
        let State { best, history, skipped, restores, .. } = state;
        Self {
            stack,
            theta: best.theta,
            weights,
            history,
            best_epoch: best.epoch,
            validation_nll: best.validation_nll,
            skipped,
            restores,
        }
    }
}

/// Saves the state of a run whose device failed.
fn abandon(failed: Failed, state: &State, steps: usize, observer: &mut impl Observer) -> Error {
    match observer.save(state) {
        Ok(()) => Error::Device { failed, step: state.step, steps },
        Err(error) => error.into(),
    }
}

/// Whether the last epoch is over, patience is at its end, or the run diverges for good.
pub(super) fn is_over(state: &State, epochs: usize, config: &TrainConfig) -> bool {
    let done = state.history.len();
    done >= epochs || done - state.best.epoch >= config.patience || state.gave_up()
}
