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
const EPSILON: f32 = 1e-8;
/// Below it a gradient, and the mean of gradients, is 0. Beside ε it moves nothing; but where a unit is
/// dead its mean decays for ever, and numbers below 2⁻¹²⁶ cost a processor a hundred times as much.
/// The square of what is left is above that.
const TINY: f32 = 1e-17;

/// Running means of every parameter's gradient and of its square.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
    /// Gradients that they are of.
    pub(super) count: usize,
}

impl Moments {
    /// Of no gradient yet, for `len` parameters.
    pub(crate) fn new(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len], count: 0 }
    }

    /// The means of the gradient, and of its square.
    pub(super) fn parts(&self) -> [&[f32]; 2] {
        [&self.mean, &self.square]
    }

    /// Both anew, of as many gradients as before.
    pub(super) fn set_parts(&mut self, [mean, square]: [Vec<f32>; 2]) {
        (self.mean, self.square) = (mean, square);
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
    /// Those of the first parameters; the rest have 1.
    units: Vec<f32>,
    /// Share of each parameter that is taken off it, times the learning rate; empty for Adam.
    decay: Vec<f32>,
    clip: f64,
}

impl Adam {
    /// For parameters of which the first have these units, and the others 1; a gradient whose length in
    /// them exceeds `clip` is cut to it.
    pub(crate) fn new(units: Vec<f32>, clip: f64) -> Self {
        Self { units, decay: Vec::new(), clip }
    }

    /// AdamW, with a decay for each parameter; Adam where there is none.
    pub(super) fn with_decay(self, decay: Vec<f32>) -> Self {
        Self { decay, ..self }
    }

    /// Moves θ against the gradient `scale` × `dtheta`. Where that is not finite, nothing moves and
    /// the answer is no.
    pub(crate) fn step(
        &self,
        moments: &mut Moments,
        theta: &mut [f32],
        dtheta: &[f32],
        scale: f64,
        learning_rate: f64,
    ) -> bool {
        let norm = scale * self.square_norm(dtheta).sqrt();
        if !norm.is_finite() {
            return false;
        }
        moments.count += 1;
        let (rate, root) = corrected(learning_rate, moments.count);
        let scale = if norm > self.clip { scale * self.clip / norm } else { scale };
        let pace = Pace { scale: scale as f32, rate, root };
        if !self.decay.is_empty() {
            let chunks = theta.par_chunks_mut(CHUNK).zip(self.decay.par_chunks(CHUNK));
            chunks.for_each(|(theta, decay)| {
                for (theta, decay) in theta.iter_mut().zip(decay) {
                    *theta -= learning_rate as f32 * decay * *theta;
                }
            });
        }
        let mean = moments.mean.par_chunks_mut(CHUNK);
        let moments = mean.zip(moments.square.par_chunks_mut(CHUNK));
        let chunks = theta.par_chunks_mut(CHUNK).zip(dtheta.par_chunks(CHUNK)).zip(moments);
        chunks.enumerate().for_each(|(i, ((theta, dtheta), (mean, square)))| {
            let units = self.units_from(i * CHUNK, theta.len());
            dispatch!(Level::new(), _simd => pace.advance(theta, dtheta, units, mean, square));
        });
        true
    }

    /// Squared length of a gradient in the units of the parameters.
    fn square_norm(&self, dtheta: &[f32]) -> f64 {
        let sums: Vec<f64> = dtheta
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(i, dtheta)| {
                let units = self.units_from(i * CHUNK, dtheta.len());
                dispatch!(Level::new(), _simd => sum_of_squares(dtheta, units))
            })
            .collect();
        sums.iter().sum()
    }

    /// Units of at most `len` parameters from `first` on; those behind them have 1.
    fn units_from(&self, first: usize, len: usize) -> &[f32] {
        let units = self.units.get(first..).unwrap_or_default();
        &units[..units.len().min(len)]
    }
}

/// The learning rate over 1 − β₁ᵗ, and 1/√(1 − β₂ᵗ), at step t = `count`.
pub(super) fn corrected(learning_rate: f64, count: usize) -> (f32, f32) {
    let [correct_1, correct_2] = [BETA_1, BETA_2].map(|beta| 1.0 - beta.powi(count as i32));
    ((learning_rate / correct_1) as f32, (1.0 / correct_2.sqrt()) as f32)
}

/// Σ (dᵢ uᵢ)², in eight interleaved sums that a compiler keeps in vectors. Units that are missing are 1.
#[inline(always)]
fn sum_of_squares(dtheta: &[f32], units: &[f32]) -> f64 {
    let (head, tail) = dtheta.split_at(units.len());
    let mut sums = [0.0; 8];
    for (dtheta, units) in head.chunks(8).zip(units.chunks(8)) {
        for ((sum, d), unit) in sums.iter_mut().zip(dtheta).zip(units) {
            let d = f64::from(*d) * f64::from(*unit);
            *sum += d * d;
        }
    }
    for dtheta in tail.chunks(8) {
        for (sum, d) in sums.iter_mut().zip(dtheta) {
            *sum += f64::from(*d) * f64::from(*d);
        }
    }
    sums.iter().sum()
}

/// What is the same for all parameters of a step.
#[derive(Clone, Copy)]
struct Pace {
    /// Of the gradient.
    scale: f32,
    /// Learning rate over 1 − β₁ᵗ.
    rate: f32,
    /// 1/√(1 − β₂ᵗ).
    root: f32,
}

impl Pace {
    /// Moves parameters; units that are missing are 1.
    #[inline(always)]
    fn advance(
        self,
        theta: &mut [f32],
        dtheta: &[f32],
        units: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        let (theta, theta_tail) = theta.split_at_mut(units.len());
        let (dtheta, dtheta_tail) = dtheta.split_at(units.len());
        let (mean, mean_tail) = mean.split_at_mut(units.len());
        let (square, square_tail) = square.split_at_mut(units.len());
        let moments = mean.iter_mut().zip(square).zip(units);
        for ((theta, d), ((mean, square), unit)) in theta.iter_mut().zip(dtheta).zip(moments) {
            self.advance_one(theta, *d, *unit, mean, square);
        }
        let moments = mean_tail.iter_mut().zip(square_tail);
        for ((theta, d), (mean, square)) in theta_tail.iter_mut().zip(dtheta_tail).zip(moments) {
            self.advance_one(theta, *d, 1.0, mean, square);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a square root is exact everywhere")]
    #[inline(always)]
    fn advance_one(self, theta: &mut f32, d: f32, unit: f32, mean: &mut f32, square: &mut f32) {
        const KEPT_1: f32 = BETA_1 as f32;
        const KEPT_2: f32 = BETA_2 as f32;
        let d = or_zero(d * unit * self.scale, TINY);
        *mean = or_zero(KEPT_1 * *mean + (1.0 - BETA_1) as f32 * d, TINY);
        let new = KEPT_2 * *square + (1.0 - BETA_2) as f32 * d * d;
        *square = or_zero(new, f32::MIN_POSITIVE);
        *theta -= self.rate * unit * *mean / (square.sqrt() * self.root + EPSILON);
    }
}

/// `x`, or 0 where it is closer to that than `least`.
#[inline(always)]
fn or_zero(x: f32, least: f32) -> f32 {
    if x.abs() < least { 0.0 } else { x }
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
        // torch 2.15, float64 (here it is float32): p = [0.5, -2.0]; Adam(lr=0.1) and AdamW(lr=0.1,
        // weight_decay=0.01), two steps with the gradients [0.3, -0.2] and [-0.1, 0.4].
        let gradients = [[0.3, -0.2], [-0.1, 0.4]];
        let run = |adam: Adam| {
            let (mut theta, mut moments) = ([0.5, -2.0], Moments::new(2));
            for gradient in gradients {
                adam.step(&mut moments, &mut theta, &gradient, 1.0, 0.1);
            }
            theta
        };
        let adam = Adam::new(vec![1.0; 2], f64::INFINITY);
        let close = |a: [f32; 2], b: [f64; 2]| {
            assert!(
                (f64::from(a[0]) - b[0]).abs() < 1e-7 && (f64::from(a[1]) - b[1]).abs() < 3e-7,
                "{a:?}"
            );
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
        for bad in [f32::NAN, f32::INFINITY] {
            let adam = Adam::new(vec![1.0; 2], 5.0);
            assert!(!adam.step(&mut moments, &mut theta, &[0.0, bad], 1.0, 0.1));
        }
        assert_eq!((theta, moments), ([1.0, 2.0], before));
    }

    #[test]
    fn means_without_a_gradient_end_at_0_and_not_below_the_normal_numbers() {
        let (mut theta, mut moments) = ([1.0; 2], Moments::new(2));
        let adam = Adam::new(Vec::new(), f64::INFINITY);
        adam.step(&mut moments, &mut theta, &[1.0, 1e-25], 1.0, 0.1);
        for _ in 0..200_000 {
            adam.step(&mut moments, &mut theta, &[0.0; 2], 1.0, 0.0);
            for x in moments.parts().into_iter().flatten() {
                assert!(!x.is_subnormal(), "{moments:?}");
            }
        }
        assert_eq!(moments.parts(), [[0.0; 2]; 2]);
    }

    #[test]
    fn a_long_gradient_moves_as_one_of_the_longest_length() {
        let step = |gradient: [f32; 2], clip| {
            let (mut theta, mut moments) = ([0.0; 2], Moments::new(2));
            let adam = Adam::new(vec![1.0; 2], clip);
            adam.step(&mut moments, &mut theta, &[1.0, 1.0], 1.0, 0.1);
            adam.step(&mut moments, &mut theta, &gradient, 1.0, 0.1);
            theta
        };
        let (clipped, short) = (step([30.0, 40.0], 5.0), step([3.0, 4.0], f64::INFINITY));
        assert!((clipped[0] - short[0]).abs() < 1e-7 && (clipped[1] - short[1]).abs() < 1e-7);
    }
}
