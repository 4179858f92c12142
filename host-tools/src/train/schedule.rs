//! The learning rate: a linear rise, then what the schedule says.

use core::f64::consts::PI;

use super::config::{LEARNING_RATE, Schedule, TrainConfig};

/// Learning rate at step `step` of `steps`, before what a plateau or a divergence took off it.
pub(super) fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    let highest = config.learning_rate.unwrap_or(LEARNING_RATE);
    let warm_up = ((steps as f64 * config.warm_up) as usize).max(1);
    if step < warm_up {
        return highest * (step + 1) as f64 / warm_up as f64;
    }
    match config.schedule {
        Schedule::Cosine => {
            let progress = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
            highest * 0.5 * (1.0 + (PI * progress).cos())
        }
        Schedule::Constant | Schedule::Plateau => highest,
    }
}

/// Whether the learning rate is cut behind epoch `epoch`, where `last` was the last one that was the
/// best so far or had a cut.
pub(super) fn cuts(config: &TrainConfig, epoch: usize, last: usize) -> bool {
    config.schedule == Schedule::Plateau && epoch - last >= config.plateau_patience
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(schedule: Schedule) -> TrainConfig {
        let learning_rate = Some(1.0);
        TrainConfig { learning_rate, warm_up: 0.1, schedule, ..TrainConfig::default() }
    }

    #[test]
    fn a_cosine_rises_to_its_height_and_falls_to_nothing() {
        let config = config(Schedule::Cosine);
        assert_eq!(learning_rate(&config, 0, 100), 0.1);
        assert_eq!(learning_rate(&config, 9, 100), 1.0);
        assert_eq!(learning_rate(&config, 10, 100), 1.0);
        assert!((learning_rate(&config, 55, 100) - 0.5).abs() < 1e-12);
        assert!(learning_rate(&config, 99, 100) < 1e-3);
    }

    #[test]
    fn the_others_rise_and_stay() {
        for schedule in [Schedule::Constant, Schedule::Plateau] {
            let config = config(schedule);
            assert_eq!(learning_rate(&config, 4, 100), 0.5);
            assert_eq!(learning_rate(&config, 99, 100), 1.0);
        }
    }

    #[test]
    fn a_plateau_is_patience_without_a_better_epoch() {
        let plateau = TrainConfig { plateau_patience: 3, ..config(Schedule::Plateau) };
        assert!(!cuts(&plateau, 7, 5));
        assert!(cuts(&plateau, 8, 5));
        assert!(!cuts(&TrainConfig { schedule: Schedule::Constant, ..plateau }, 8, 5));
    }
}
