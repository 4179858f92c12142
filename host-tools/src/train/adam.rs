//! The optimiser: Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) with clipped gradients, and
//! its learning rate: a linear rise, then half a cosine down to 0.

use super::config::{LEARNING_RATE, TrainConfig};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Moments of every parameter and the number of steps taken.
///
/// It moves each parameter in a unit of its own: a shift in data units and the logarithm of a scale
/// then take steps that mean as much, whatever the unit of the data.
#[derive(Clone, Debug)]
pub(crate) struct Adam {
    units: Vec<f64>,
    mean: Vec<f64>,
    square: Vec<f64>,
    step: usize,
}

impl Adam {
    /// For parameters of these units.
    pub(crate) fn new(units: Vec<f64>) -> Self {
        let zeros = vec![0.0; units.len()];
        Self { units, mean: zeros.clone(), square: zeros, step: 0 }
    }

    /// Moves θ against its gradient, whose length (in the units) is clipped to `clip`.
    pub(crate) fn step(
        &mut self,
        theta: &mut [f64],
        dtheta: &[f64],
        learning_rate: f64,
        clip: f64,
    ) {
        self.step += 1;
        let square = |(d, unit): (&f64, &f64)| (d * unit) * (d * unit);
        let norm = dtheta.iter().zip(&self.units).map(square).sum::<f64>().sqrt();
        let factor = if norm > clip { clip / norm } else { 1.0 };
        let correct_1 = 1.0 - BETA_1.powi(self.step as i32);
        let correct_2 = 1.0 - BETA_2.powi(self.step as i32);
        let moments = self.mean.iter_mut().zip(&mut self.square).zip(&self.units);
        for ((theta, d), ((mean, square), unit)) in theta.iter_mut().zip(dtheta).zip(moments) {
            let d = d * unit * factor;
            *mean = BETA_1 * *mean + (1.0 - BETA_1) * d;
            *square = BETA_2 * *square + (1.0 - BETA_2) * d * d;
            let update = (*mean / correct_1) / ((*square / correct_2).sqrt() + EPSILON);
            *theta -= learning_rate * unit * update;
        }
    }
}

/// Learning rate at step `step` of `steps`.
pub(super) fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    let highest = config.learning_rate.unwrap_or(LEARNING_RATE);
    let warm_up = ((steps as f64 * config.warm_up) as usize).max(1);
    let share = if step < warm_up {
        (step + 1) as f64 / warm_up as f64
    } else {
        let progress = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
        0.5 * (1.0 + (core::f64::consts::PI * progress).cos())
    };
    highest * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate_in_every_direction() {
        let mut theta = [1.0, -1.0];
        Adam::new(vec![1.0, 10.0]).step(&mut theta, &[3.0, -0.01], 0.1, 100.0);
        assert!((theta[0] - 0.9).abs() < 1e-6 && theta[1].abs() < 1e-6, "{theta:?}");
    }

    #[test]
    fn the_learning_rate_rises_to_its_height_and_falls_to_nothing() {
        let config =
            TrainConfig { learning_rate: Some(1.0), warm_up: 0.1, ..TrainConfig::default() };
        assert_eq!(learning_rate(&config, 0, 100), 0.1);
        assert_eq!(learning_rate(&config, 9, 100), 1.0);
        assert_eq!(learning_rate(&config, 10, 100), 1.0);
        assert!((learning_rate(&config, 55, 100) - 0.5).abs() < 1e-12);
        assert!(learning_rate(&config, 99, 100) < 1e-3);
    }
}
