//! Wall time and CPU time of a call that is repeated.

use std::time::Instant;

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

/// What some calls took together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Number of calls.
    pub calls: u64,
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of all threads of the process.
    pub cpu: f64,
}

impl Timing {
    /// Seconds on the clock of one call.
    pub fn wall_each(&self) -> f64 {
        self.wall / self.calls as f64
    }

    /// CPU seconds of one call.
    pub fn cpu_each(&self) -> f64 {
        self.cpu / self.calls as f64
    }
}

/// Calls until `seconds` of CPU time a thread are used up, on a busy machine not for ever.
pub(super) fn measure(seconds: f64, threads: usize, call: &mut (dyn FnMut() + Send)) -> Timing {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let mut calls = 0;
    loop {
        call();
        calls += 1;
        let wall = wall.elapsed().as_secs_f64();
        let cpu = cpu.elapsed().as_secs_f64();
        if cpu >= threads as f64 * seconds || wall >= 10.0 * seconds {
            return Timing { calls, wall, cpu };
        }
    }
}

/// Smallest, middle and greatest of repeated measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { min: values[0], median: (low + high) / 2.0, max: values[values.len() - 1] }
    }

    /// `amount` over each, for times that become rates.
    pub(super) fn rates(self, amount: f64) -> Self {
        let Self { min, median, max } = self;
        Self { min: amount / max, median: amount / median, max: amount / min }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_ends_and_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0]), Spread { min: 3.0, median: 3.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 4.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(
            spread(&[0.5, 2.0]).rates(2.0),
            Spread { min: 1.0, median: 1.6, max: 4.0 },
            "the slowest time is the lowest rate"
        );
    }

    #[test]
    fn every_call_is_counted() {
        let mut called = 0;
        let timing = measure(1e-3, 1, &mut || called += 1);
        assert_eq!(timing.calls, called);
        assert!(timing.cpu >= 1e-3 || timing.wall >= 1e-2, "{timing:?}");
        // A division and a product round once each.
        let all = timing.wall_each() * called as f64;
        assert!((all - timing.wall).abs() <= f64::EPSILON * timing.wall, "{timing:?}");
    }
}
