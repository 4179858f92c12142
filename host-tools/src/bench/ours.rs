//! One call of each task with this crate's own trainer, on the threads of rayon's current pool.

use fluxlet::bijection::Layer;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::flows::{Flow, Task};
use crate::backend::{Backend, Cpu};
use crate::stack::Stack;
use crate::train::{Batch, Begin, State, Stepper, TrainConfig};

/// Rows that the batches are cut from, in turns; normal, like those of the peers.
const ROWS: usize = 64 * 512;
const LEARNING_RATE: f64 = 1e-3;

/// A task that can be repeated.
pub(super) type Call = Box<dyn FnMut() + Send>;

/// One call of `task`.
pub(super) fn call(flow: Flow, task: Task) -> Call {
    let stack = flow.stack();
    match task {
        Task::Train => training_step(stack, task.batch()),
        Task::LogProb => scoring(stack),
        Task::Sample => sampling(stack),
    }
}

/// A step of the trainer: likelihood and gradient of a batch, θ moved, w constrained anew.
pub(super) fn training_step(stack: Stack, batch: usize) -> Call {
    // A step borrows both as long as it is measured, which is as long as the process lives.
    let stack: &'static Stack = Box::leak(Box::new(stack));
    let cpu: &'static Cpu = Box::leak(Box::default());
    let (theta, w) = start(stack);
    let mut state = State::new(theta.clone(), f64::NAN, false);
    let begin = Begin { units: Vec::new(), theta, w };
    let mut stepper = Stepper::new(stack, begin, &TrainConfig::default(), cpu);
    let rows = normal(stack, ROWS);
    let batch_len = batch * stack.row_len();
    let chosen: Vec<u32> = (0..batch as u32).collect();
    let mut at = 0;
    Box::new(move || {
        let rows = next(&rows, batch_len, &mut at);
        let batch = Batch { chosen: &chosen, rows };
        stepper.step(&mut state, batch, LEARNING_RATE).expect("the CPU never fails");
    })
}

/// The log density of each row of a batch.
fn scoring(stack: Stack) -> Call {
    let (cpu, w, rows) = (Cpu::default(), start(&stack).1, normal(&stack, ROWS));
    let mut out = vec![0.0; Task::LogProb.batch()];
    let batch_len = out.len() * stack.row_len();
    let mut at = 0;
    Box::new(move || {
        let done = cpu.log_prob(&stack, &w, next(&rows, batch_len, &mut at), &mut out);
        done.expect("the CPU never fails");
    })
}

/// A new row for each row of noise.
fn sampling(stack: Stack) -> Call {
    let (cpu, w, noise) = (Cpu::default(), start(&stack).1, normal(&stack, ROWS));
    let mut out = vec![0.0; Task::Sample.batch() * stack.dim];
    let batch_len = Task::Sample.batch() * stack.row_len();
    let mut at = 0;
    Box::new(move || {
        let done = cpu.inverse(&stack, &w, next(&noise, batch_len, &mut at), &mut out);
        done.expect("the CPU never fails");
    })
}

/// The batch that begins at `at`, which moves on to the next.
fn next<'r>(rows: &'r [f32], len: usize, at: &mut usize) -> &'r [f32] {
    let batch = &rows[*at..*at + len];
    *at = (*at + len) % rows.len();
    batch
}

/// θ near 0, and its w; permutations turn the order round, so that halves take turns.
pub fn start(stack: &Stack) -> (Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let theta: Vec<f32> = (0..stack.theta_len()).map(|_| rng.random_range(-0.1..0.1)).collect();
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        let w = &mut w[span.weights];
        span.layer.neutral(span.shape, 0.0, w);
        if span.layer == Layer::Permutation {
            w.reverse();
        }
    }
    stack.constrain(&theta, &mut w);
    (theta, w)
}

/// Standard normal rows.
pub(super) fn normal(stack: &Stack, rows: usize) -> Vec<f32> {
    let rng = ChaCha8Rng::seed_from_u64(1);
    rng.sample_iter(StandardNormal).take(rows * stack.row_len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_each_other_and_begin_again() {
        let rows: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let mut at = 0;
        let firsts: Vec<f32> = (0..4).map(|_| next(&rows, 2, &mut at)[0]).collect();
        assert_eq!(firsts, [0.0, 2.0, 4.0, 0.0]);
        for task in Task::ALL {
            assert_eq!(ROWS % task.batch(), 0, "{}", task.name());
        }
    }

    #[test]
    fn what_is_measured_is_a_density() {
        for flow in Flow::ALL {
            let stack = flow.stack();
            let w = start(&stack).1;
            let rows = &normal(&stack, 512)[..512 * stack.row_len()];
            let nll = Cpu::default().nll(&stack, &w, rows).unwrap() / 512.0;
            // D/2 (1 + ln 2π) for the right density; small weights are not far from it.
            let entropy = stack.dim as f64 * 1.4189;
            assert!((nll - entropy).abs() < 0.25 * entropy, "{}: {nll}", flow.name());
        }
    }
}
