//! The optimiser: Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) with clipped gradients, and
//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2), whose weights decay beside it.
//!
//! Parameters are moved in chunks, on all threads and in the widest vectors that the processor has;
//! sums are added in the order of the chunks.

use fearless_simd::{Level, dispatch};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Parameters that a thread takes at once.
pub(super) const CHUNK: usize = 4096;
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Running means of every parameter's gradient and of its square.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    mean: Vec<f64>,
    square: Vec<f64>,
    /// Gradients that they are of.
    pub(super) count: usize,
}

impl Moments {
    /// Of no gradient yet, for `len` parameters.
    pub(crate) fn new(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len], count: 0 }
    }

    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.mean.len()
    }
}

/// Adam, or AdamW where there is a decay.
///
/// It moves each parameter in a unit of its own: a shift in data units and the logarithm of a scale
/// then take steps that mean as much, whatever the unit of the data.
#[derive(Clone, Debug)]
pub(crate) struct Adam {
    units: Vec<f64>,
    /// Share of each parameter that is taken off it, times the learning rate; empty for Adam.
    decay: Vec<f64>,
    clip: f64,
}

impl Adam {
    /// For parameters of these units; a gradient whose length in them exceeds `clip` is cut to it.
    pub(crate) fn new(units: Vec<f64>, clip: f64) -> Self {
        Self { units, decay: Vec::new(), clip }
    }

    /// AdamW, with a decay for each parameter.
    pub(super) fn with_decay(self, decay: Vec<f64>) -> Self {
        assert_eq!(decay.len(), self.units.len(), "one decay a parameter");
        Self { decay, ..self }
    }

    /// Moves θ against the gradient `scale` × `dtheta`. Where that is not finite, nothing moves and
    /// the answer is no.
    pub(crate) fn step(
        &self,
        moments: &mut Moments,
        theta: &mut [f64],
        dtheta: &[f64],
        scale: f64,
        learning_rate: f64,
    ) -> bool {
        let norm = scale * self.square_norm(dtheta).sqrt();
        if !norm.is_finite() {
            return false;
        }
        moments.count += 1;
        let correct_1 = 1.0 - BETA_1.powi(moments.count as i32);
        let correct_2 = 1.0 - BETA_2.powi(moments.count as i32);
        let pace = Pace {
            scale: if norm > self.clip { scale * self.clip / norm } else { scale },
            rate: learning_rate / correct_1,
            root: 1.0 / correct_2.sqrt(),
        };
        if !self.decay.is_empty() {
            let chunks = theta.par_chunks_mut(CHUNK).zip(self.decay.par_chunks(CHUNK));
            chunks.for_each(|(theta, decay)| {
                for (theta, decay) in theta.iter_mut().zip(decay) {
                    *theta -= learning_rate * decay * *theta;
                }
            });
        }
        let mean = moments.mean.par_chunks_mut(CHUNK);
        let moments = mean.zip(moments.square.par_chunks_mut(CHUNK));
        let gradient = dtheta.par_chunks(CHUNK).zip(self.units.par_chunks(CHUNK));
        let chunks = theta.par_chunks_mut(CHUNK).zip(gradient).zip(moments);
        chunks.for_each(|((theta, (dtheta, units)), (mean, square))| {
            dispatch!(Level::new(), _simd => pace.advance(theta, dtheta, units, mean, square));
        });
        true
    }

    /// Squared length of a gradient in the units of the parameters.
    fn square_norm(&self, dtheta: &[f64]) -> f64 {
        let chunks = dtheta.par_chunks(CHUNK).zip(self.units.par_chunks(CHUNK));
        let sums: Vec<f64> = chunks
            .map(|(dtheta, units)| dispatch!(Level::new(), _simd => sum_of_squares(dtheta, units)))
            .collect();
        sums.iter().sum()
    }
}

/// Σ (dᵢ uᵢ)², in eight interleaved sums that a compiler keeps in vectors.
#[inline(always)]
fn sum_of_squares(dtheta: &[f64], units: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (dtheta, units) in dtheta.chunks(8).zip(units.chunks(8)) {
        for ((sum, d), unit) in sums.iter_mut().zip(dtheta).zip(units) {
            *sum += (d * unit) * (d * unit);
        }
    }
    sums.iter().sum()
}

/// What is the same for all parameters of a step.
#[derive(Clone, Copy)]
struct Pace {
    /// Of the gradient.
    scale: f64,
    /// Learning rate over 1 − β₁ᵗ.
    rate: f64,
    /// 1/√(1 − β₂ᵗ).
    root: f64,
}

impl Pace {
    #[inline(always)]
    fn advance(
        self,
        theta: &mut [f64],
        dtheta: &[f64],
        units: &[f64],
        mean: &mut [f64],
        square: &mut [f64],
    ) {
        let moments = mean.iter_mut().zip(square).zip(units);
        for ((theta, d), ((mean, square), unit)) in theta.iter_mut().zip(dtheta).zip(moments) {
            let d = d * unit * self.scale;
            *mean = BETA_1 * *mean + (1.0 - BETA_1) * d;
            *square = BETA_2 * *square + (1.0 - BETA_2) * d * d;
            *theta -= self.rate * unit * *mean / (square.sqrt() * self.root + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate_in_every_direction() {
        let mut theta = [1.0, -1.0];
        let adam = Adam::new(vec![1.0, 10.0], 100.0);
        assert!(adam.step(&mut Moments::new(2), &mut theta, &[3.0, -0.01], 1.0, 0.1));
        assert!((theta[0] - 0.9).abs() < 1e-6 && theta[1].abs() < 1e-6, "{theta:?}");
    }

    #[test]
    fn two_steps_are_those_of_torch() {
        // torch 2.15, float64: p = [0.5, -2.0]; Adam(lr=0.1) and AdamW(lr=0.1, weight_decay=0.01), two
        // steps with the gradients [0.3, -0.2] and [-0.1, 0.4].
        let gradients = [[0.3, -0.2], [-0.1, 0.4]];
        let run = |adam: Adam| {
            let (mut theta, mut moments) = ([0.5, -2.0], Moments::new(2));
            for gradient in gradients {
                adam.step(&mut moments, &mut theta, &gradient, 1.0, 0.1);
            }
            theta
        };
        let adam = Adam::new(vec![1.0; 2], f64::INFINITY);
        let close = |a: [f64; 2], b: [f64; 2]| {
            assert!((a[0] - b[0]).abs() < 1e-12 && (a[1] - b[1]).abs() < 1e-12, "{a:?}");
        };
        close(run(adam.clone()), ADAM);
        close(run(adam.with_decay(vec![0.01; 2])), ADAM_W);
    }

    const ADAM: [f64; 2] = [0.35997814792808075, -1.9366103565460369];
    const ADAM_W: [f64; 2] = [0.3590786479247475, -1.9327123565410367];

    #[test]
    fn a_gradient_that_is_not_finite_moves_nothing() {
        let (mut theta, mut moments) = ([1.0, 2.0], Moments::new(2));
        let before = moments.clone();
        for bad in [f64::NAN, f64::INFINITY] {
            let adam = Adam::new(vec![1.0; 2], 5.0);
            assert!(!adam.step(&mut moments, &mut theta, &[0.0, bad], 1.0, 0.1));
        }
        assert_eq!((theta, moments), ([1.0, 2.0], before));
    }

    #[test]
    fn a_long_gradient_moves_as_one_of_the_longest_length() {
        let step = |gradient: [f64; 2], clip| {
            let (mut theta, mut moments) = ([0.0; 2], Moments::new(2));
            let adam = Adam::new(vec![1.0; 2], clip);
            adam.step(&mut moments, &mut theta, &[1.0, 1.0], 1.0, 0.1);
            adam.step(&mut moments, &mut theta, &gradient, 1.0, 0.1);
            theta
        };
        let (clipped, short) = (step([30.0, 40.0], 5.0), step([3.0, 4.0], f64::INFINITY));
        assert!((clipped[0] - short[0]).abs() < 1e-12 && (clipped[1] - short[1]).abs() < 1e-12);
    }
}
