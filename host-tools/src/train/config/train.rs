//! The optimisation.

use serde::{Deserialize, Serialize};

/// Highest learning rate of a stack without networks, where the configuration says nothing.
pub const LEARNING_RATE: f64 = 5e-3;
/// Highest learning rate of a flow with a network, where the configuration says nothing.
pub(in crate::train) const NETWORK_LEARNING_RATE: f64 = 2e-3;

/// How a gradient moves the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Adam
    Adam,
    /// Adam with decoupled decay of the weights of networks
    #[value(name = "adamw")]
    AdamW,
}

/// What the learning rate does after it has risen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine down to 0 at the last step
    Cosine,
    /// It stays
    Constant,
    /// It is cut where the validation NLL no longer falls
    Plateau,
}

/// Decay of AdamW, where the configuration says nothing.
const WEIGHT_DECAY: f64 = 0.01;

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
    /// How a gradient moves the parameters.
    pub optimiser: Optimiser,
    /// Decay of AdamW: the share of a network's weight that is taken off it in a step, times the
    /// learning rate; 0.01 if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Highest learning rate; 5e-3, or 2e-3 where there is a network, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises.
    pub warm_up: f64,
    /// What it does then.
    pub schedule: Schedule,
    /// What a plateau leaves of the learning rate.
    pub plateau_factor: f64,
    /// Epochs without a better validation NLL that are a plateau.
    pub plateau_patience: usize,
    /// Share of the running average of the parameters that stays at each step; the average is then
    /// what is validated and kept. 0 keeps the parameters themselves.
    pub average: f64,
    /// Noise added to the training rows, in standard deviations of each column: it smooths the
    /// density, and with it the alarm.
    pub noise: f64,
    /// Longest gradient; a longer one is scaled down.
    pub clip: f64,
    /// Epochs without a better validation NLL before the run stops.
    pub patience: usize,
    /// On the way back, find each layer's input again by its inverse instead of keeping what every layer
    /// computed: a step takes longer, and its memory no longer grows with depth.
    pub reversible: bool,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            batch: 128,
            optimiser: Optimiser::Adam,
            weight_decay: None,
            learning_rate: None,
            warm_up: 0.05,
            schedule: Schedule::Cosine,
            plateau_factor: 0.5,
            plateau_patience: 10,
            average: 0.0,
            noise: 0.05,
            clip: 5.0,
            patience: 40,
            reversible: false,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// The decay of AdamW.
    pub(in crate::train) fn decay(&self) -> f64 {
        self.weight_decay.unwrap_or(WEIGHT_DECAY)
    }

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
            (
                self.weight_decay.is_none_or(|decay| (0.0..1.0).contains(&decay)),
                format!("weight_decay = {}, it must be at least 0 and below 1", self.decay()),
            ),
            (
                self.weight_decay.is_none() || self.optimiser == Optimiser::AdamW,
                "weight_decay is of AdamW: it needs optimiser = \"adamw\"".into(),
            ),
            (
                self.plateau_factor > 0.0 && self.plateau_factor < 1.0,
                format!("plateau_factor = {}, it must lie between 0 and 1", self.plateau_factor),
            ),
            (self.plateau_patience > 0, "plateau_patience = 0, at least 1 is needed".into()),
            (
                self.schedule != Schedule::Plateau || self.plateau_patience < self.patience,
                format!(
                    "plateau_patience = {}, it must be below patience = {}, at which the run stops",
                    self.plateau_patience, self.patience
                ),
            ),
            (
                (0.0..1.0).contains(&self.average),
                format!("average = {}, it must be at least 0 and below 1", self.average),
            ),
            (self.patience > 0, "patience = 0, at least 1 is needed".into()),
        ]
    }
}
