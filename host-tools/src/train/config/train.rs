//! The optimisation.

use serde::{Deserialize, Serialize};

/// Highest learning rate of a stack without networks, where the configuration says nothing.
pub const LEARNING_RATE: f64 = 5e-3;
/// Highest learning rate of a flow with a network, where the configuration says nothing.
pub(in crate::train) const NETWORK_LEARNING_RATE: f64 = 2e-3;

/// The optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training rows, at most; as many as make 3000 steps where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Steps, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Rows of a mini-batch.
    pub batch: usize,
    /// Highest learning rate of Adam; 5e-3, or 2e-3 where there is a network, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises.
    pub warm_up: f64,
    /// Noise added to the training rows, in standard deviations of each column: it smooths the
    /// density, and with it the alarm.
    pub noise: f64,
    /// Longest gradient; a longer one is scaled down.
    pub clip: f64,
    /// Epochs without a better validation NLL before the run stops.
    pub patience: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            batch: 128,
            learning_rate: None,
            warm_up: 0.05,
            noise: 0.05,
            clip: 5.0,
            patience: 40,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// What must hold of it, each with the sentence for where it does not.
    pub(super) fn checks(&self) -> Vec<(bool, String)> {
        vec![
            (self.epochs != Some(0), "epochs = 0, at least 1 is needed".into()),
            (self.steps != Some(0), "steps = 0, at least 1 is needed".into()),
            (self.batch > 0, "batch = 0, at least 1 is needed".into()),
            (
                self.learning_rate.is_none_or(|rate| rate > 0.0 && rate < 1.0),
                format!(
                    "learning_rate = {}, it must lie between 0 and 1",
                    self.learning_rate.unwrap_or(f64::NAN)
                ),
            ),
            (
                (0.0..1.0).contains(&self.warm_up),
                format!("warm_up = {}, it must be at least 0 and below 1", self.warm_up),
            ),
            (
                (0.0..10.0).contains(&self.noise),
                format!("noise = {}, it must be at least 0 and below 10", self.noise),
            ),
            (self.clip > 0.0, format!("clip = {}, it must be above 0", self.clip)),
            (self.patience > 0, "patience = 0, at least 1 is needed".into()),
        ]
    }
}
