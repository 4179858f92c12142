//! Pyro's batch normalisation in training mode.
//!
//! Training with the statistics of each batch is not offered: the library folds them into an affine
//! layer when it imports a flow. Here that layer gets the statistics of the very batch, and the
//! gradient goes on through their mean and their unbiased variance.

use fluxlet::math::Real;

use crate::block::{Block, Sum};
use crate::common::goldens::Golden;
use crate::ledger::Ledger;
use crate::static_layers::batch_norm;
use crate::transform::{HALF_LN_TAU, Sums};

/// Mean and unbiased variance of each of `dim` columns.
fn statistics(v: &[f64], dim: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (v.len() / dim) as f64;
    let column = |i: usize| v.iter().skip(i).step_by(dim);
    let mean: Vec<f64> = (0..dim).map(|i| column(i).sum::<f64>() / n).collect();
    let square = |i: usize| column(i).map(|v| (v - mean[i]) * (v - mean[i])).sum::<f64>();
    let variance = (0..dim).map(|i| square(i) / (n - 1.0)).collect();
    (mean, variance)
}

/// u and nll of a batch, row by row.
fn run<R: Real>(blocks: &[Block<R>], v: &[f64], like: R) -> (Vec<R>, Vec<R>) {
    let (mut u, mut nll) = (Vec::new(), Vec::new());
    for row in v.chunks(blocks.len()) {
        let mut sum = like.constant(HALF_LN_TAU * row.len() as f64);
        for (block, v) in blocks.iter().zip(row) {
            let (back, ladj) = block.run(&[*v], true);
            sum = sum + like.lift(0.5) * back[0] * back[0] - ladj;
            u.push(back[0]);
        }
        nll.push(sum);
    }
    (u, nll)
}

pub(crate) fn check_f64(golden: &Golden, ledger: &mut Ledger) {
    let (v, dim) = (golden.tensor("v"), golden.count("input_dim"));
    let n = (v.len() / dim) as f64;
    let (mean, variance) = statistics(&v, dim);
    let blocks = batch_norm(golden, &mean, &variance, 0.0);
    let (u, nll) = run(&blocks, &v, 0.0);
    ledger.check_all("u", &u, &golden.tensor("u"), golden.id());
    ledger.check_all("nll", &nll, &golden.tensor("nll"), golden.id());

    let mut sums = Sums::new(golden, "nllgrad", 0);
    let mut dv = vec![0.0; v.len()];
    for (i, block) in blocks.iter().enumerate() {
        let mut theta = Sum::new(2);
        for (at, dv) in dv.iter_mut().enumerate().skip(i).step_by(dim) {
            let (v, u) = ([v[at]], [u[at]]);
            let gradient = block.inverse_gradient(&v, &u, &[u[0] / n], -1.0 / n, &[]);
            *dv = gradient.x.total[0];
            (0..2).for_each(|k| theta.add(k, &gradient.theta, k, 1.0));
        }
        sums.add_parameters(&block.links, &theta);
        // θ = (β − μ/s, ln s), s = √(σ² + ε)/γ̃: ds/dσ² = s/(2 (σ² + ε)).
        let [dshift, dlog] = [theta.total[0], theta.total[1]];
        let scale = Real::exp(block.theta[1]);
        let width = variance[i] + golden.number("epsilon");
        let dmean = -dshift / scale;
        let dvariance = 0.5 * (dlog + dshift * mean[i] / scale) / width;
        for (at, dv) in dv.iter_mut().enumerate().skip(i).step_by(dim) {
            *dv += dmean / n + dvariance * 2.0 * (v[at] - mean[i]) / (n - 1.0);
        }
    }
    ledger.check_all("nllgrad.v", &dv, &golden.tensor("nllgrad.v"), golden.id());
    sums.check(golden, ledger);
}

/// The files have no reference in `f64` for these: Pyro's own results in `f32` are taken as they are.
pub(crate) fn check_f32(golden: &Golden, ledger: &mut Ledger) {
    let (v, dim) = (golden.tensor("v"), golden.count("input_dim"));
    let (mean, variance) = statistics(&v, dim);
    let (u, nll) = run(&batch_norm(golden, &mean, &variance, 0.0_f32), &v, 0.0);
    for (name, got) in [("u", u), ("nll", nll)] {
        for (i, (got, expected)) in got.into_iter().zip(golden.tensor(name)).enumerate() {
            ledger.check_f32(got, expected, 0.0, &format!("{} {name} {i}", golden.id()));
        }
    }
}
