//! Maximum likelihood: θ ─constrain→ w ─forward→ z, ladj ─→ NLL ─backward→ dw ─constrain_backward→ dθ
//! ─Adam→ θ.
//!
//! θ, constrain and Adam are in f64 and cost little; forward and backward run in f32 on the very
//! weights that are packed.

mod adam;
mod checkpoint;
mod config;
mod features;
mod gather;
mod init;
mod mixture;
mod prepare;
mod run;

pub(crate) use adam::Adam;
pub use checkpoint::checkpoint;
pub use config::{
    Act, Config, DataConfig, FlowConfig, Kind, LEARNING_RATE, LayerConfig, Outside, Rotation,
    Spline, Start, TrainConfig,
};
pub use prepare::{Prepared, prepare};
pub use run::{Error, Outcome, Report, run};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backend::Backend;
use crate::data::{self, Domain, Order};
use crate::stack::Stack;

/// One pass over the training rows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
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
    pub theta: Vec<f64>,
    /// Their weights, as they are packed.
    pub weights: Vec<f32>,
    /// Every epoch of the run.
    pub history: Vec<Epoch>,
    /// The epoch that the parameters are of; 0 where the start was never beaten.
    pub best_epoch: usize,
    /// Mean NLL of the held-out rows in that epoch.
    pub validation_nll: f64,
    /// Batches whose likelihood was not finite and that moved nothing.
    pub skipped_batches: usize,
}

fn pack_weights(w: &[f64]) -> Vec<f32> {
    w.iter().map(|w| *w as f32).collect()
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

/// Trains `stack`, started `from` there, for at most `steps` steps. `progress` is told of every step
/// and of every epoch, a pass over the rows.
///
/// The result depends on the seed and the data, not on the number of threads.
pub fn train(
    stack: Stack,
    from: Start,
    rows: Rows,
    steps: usize,
    config: &TrainConfig,
    backend: &impl Backend,
    mut progress: impl FnMut(Option<Epoch>),
) -> Trained {
    let Rows { train: rows, held_out, domains } = rows;
    let (dim, width) = (stack.dim, stack.row_len());
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let init::Begin { mut theta, mut w, units } =
        init::start(&stack, from, rows, domains, &mut rng);
    // What is given has no density, and needs no smoothing.
    let blur = init::deviations(rows, width).map(|deviation| (deviation * config.noise) as f32);
    let blur: Vec<f32> = blur.take(dim).chain(core::iter::repeat_n(0.0, width - dim)).collect();
    let mut adam = Adam::new(units);
    let count = rows.len() / width;
    let steps_per_epoch = count.div_ceil(config.batch);
    let held_out_rows = (held_out.len() / width) as f64;

    let mut dw = vec![0.0; w.len()];
    let mut dtheta = vec![0.0; theta.len()];
    let mut batch = Vec::with_capacity(config.batch * width);
    let validate = |w: &[f64]| backend.nll(&stack, &pack_weights(w), held_out) / held_out_rows;
    let mut best = (validate(&w), 0, theta.clone());
    let mut history = Vec::new();
    let mut skipped_batches = 0;

    for epoch in 1..=steps.div_ceil(steps_per_epoch) {
        let mut order = Order::new(count, width, &mut rng);
        let mut sum = 0.0;
        let mut counted = 0;
        let mut learning_rate = 0.0;
        let left = steps - (epoch - 1) * steps_per_epoch;
        for b in 0..steps_per_epoch.min(left) {
            let chosen = order.batch(b * config.batch, config.batch);
            batch.clear();
            for row in &chosen {
                let at = *row as usize * width;
                batch.extend_from_slice(&rows[at..at + width]);
            }
            if config.noise > 0.0 {
                for (x, blur) in batch.iter_mut().zip(blur.iter().cycle()) {
                    *x += blur * rng.sample::<f32, _>(rand_distr::StandardNormal);
                }
                data::keep_inside(domains, &mut batch, width);
            }
            dw.fill(0.0);
            let nll = backend.nll_and_grad(&stack, &pack_weights(&w), &batch, &mut dw);
            stack.constrain_backward(&theta, &w, &dw, &mut dtheta);
            let per_row = 1.0 / chosen.len() as f64;
            dtheta.iter_mut().for_each(|d| *d *= per_row);
            if nll.is_finite() && dtheta.iter().all(|d| d.is_finite()) {
                let step = (epoch - 1) * steps_per_epoch + b;
                learning_rate = adam::learning_rate(config, step, steps);
                adam.step(&mut theta, &dtheta, learning_rate, config.clip);
                stack.constrain(&theta, &mut w);
                sum += nll;
                counted += chosen.len();
            } else {
                skipped_batches += 1;
            }
            progress(None);
        }
        let validation_nll = validate(&w);
        let train_nll = sum / counted as f64;
        history.push(Epoch { epoch, train_nll, validation_nll, learning_rate });
        progress(history.last().copied());
        // A NaN is better than nothing only where the start is one too.
        if validation_nll < best.0 || (best.0.is_nan() && validation_nll.is_finite()) {
            best = (validation_nll, epoch, theta.clone());
        }
        if epoch - best.1 >= config.patience {
            break;
        }
    }
    let (validation_nll, best_epoch, theta) = best;
    stack.constrain(&theta, &mut w);
    let weights = pack_weights(&w);
    Trained { stack, theta, weights, history, best_epoch, validation_nll, skipped_batches }
}
