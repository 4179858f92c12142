//! What a step, an epoch or a divergence moves: all that a run's future depends on beside its
//! configuration and its data.

use fluxlet_gpu::Moved;
use serde::{Deserialize, Serialize};

use super::Epoch;
use super::average;
use super::diverge::Restore;
use super::optimiser::Moments;
use super::skip::Skipped;

/// A run at some step; a checkpoint that is resumed is this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Batches seen, skipped ones included.
    pub(super) step: usize,
    /// Free parameters.
    pub(super) theta: Vec<f32>,
    /// The optimiser's means.
    pub(super) moments: Moments,
    /// Running average of θ, where the configuration wants one.
    pub(super) average: Option<Vec<f32>>,
    /// What the learning rate is multiplied by, after plateaus and divergences.
    pub(super) rate_factor: f64,
    /// The epoch that has begun.
    pub(super) pass: Pass,
    /// Every epoch before.
    pub(super) history: Vec<Epoch>,
    /// The best of them.
    pub(super) best: Best,
    /// The last epoch that was the best or at whose end the learning rate was cut.
    pub(super) plateau_since: usize,
    /// Batches that moved nothing.
    pub(super) skipped: Skipped,
    /// Returns to the best epoch.
    pub(super) restores: Vec<Restore>,
}

/// Sums of an epoch that has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pass {
    nll: f64,
    rows: usize,
    learning_rate: f64,
}

impl Pass {
    /// Counts a step: Σ NLL of its rows, their number, its learning rate.
    pub(super) fn add(&mut self, nll: f64, rows: usize, learning_rate: f64) {
        self.nll += nll;
        self.rows += rows;
        self.learning_rate = learning_rate;
    }

    /// The finished epoch.
    pub(super) fn epoch(&self, epoch: usize, validation_nll: f64) -> Epoch {
        let Self { nll, rows, learning_rate } = *self;
        Epoch { epoch, train_nll: nll / rows as f64, validation_nll, learning_rate }
    }
}

/// The best epoch so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    /// Its number; 0 for the start.
    pub(super) epoch: usize,
    /// Mean NLL of the held-out rows.
    pub(super) validation_nll: f64,
    /// Its parameters, averaged where the configuration wants that.
    pub(super) theta: Vec<f32>,
}

impl State {
    /// A run that begins at `theta`, with this validation NLL.
    pub(crate) fn new(theta: Vec<f32>, validation_nll: f64, averaged: bool) -> Self {
        Self {
            step: 0,
            moments: Moments::new(theta.len()),
            average: averaged.then(|| theta.clone()),
            rate_factor: 1.0,
            pass: Pass::default(),
            history: Vec::new(),
            best: Best { epoch: 0, validation_nll, theta: theta.clone() },
            plateau_since: 0,
            skipped: Skipped::default(),
            restores: Vec::new(),
            theta,
        }
    }

    /// The parameters that are validated and kept: averaged ones where there are some.
    pub(super) fn kept(&self) -> &[f32] {
        self.average.as_deref().unwrap_or(&self.theta)
    }

    /// Takes over where a device has moved the parameters.
    pub(super) fn moved(&mut self, moved: Moved) {
        let Moved { theta, moments, average } = moved;
        self.theta = theta;
        self.moments.set_parts(moments);
        self.average = self.average.is_some().then_some(average);
    }

    /// Lets the average follow a step of θ.
    pub(super) fn follow(&mut self, decay: f64) {
        if let Some(average) = &mut self.average {
            average::follow(average, &self.theta, decay, self.moments.count);
        }
    }

    /// Ends the epoch, of which the held-out rows said `validation_nll`.
    pub(super) fn end_epoch(&mut self, validation_nll: f64) -> Epoch {
        let epoch = self.pass.epoch(self.history.len() + 1, validation_nll);
        self.pass = Pass::default();
        self.history.push(epoch);
        let best = self.best.validation_nll;
        // A NaN is better than nothing only where the start is one too.
        if validation_nll < best || (best.is_nan() && validation_nll.is_finite()) {
            // Its own memory again: a copy more would be the run's peak.
            let mut theta = core::mem::take(&mut self.best.theta);
            theta.copy_from_slice(self.kept());
            self.best = Best { epoch: epoch.epoch, validation_nll, theta };
            self.plateau_since = epoch.epoch;
        }
        epoch
    }

    /// Whether it is a state of a run with `theta_len` parameters.
    pub(super) fn fits(&self, theta_len: usize, averaged: bool) -> bool {
        [self.theta.len(), self.moments.len(), self.best.theta.len(), self.kept().len()]
            .iter()
            .all(|len| *len == theta_len)
            && self.average.is_some() == averaged
    }
}
