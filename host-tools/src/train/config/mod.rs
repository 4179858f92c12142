//! What a training run is made of; the whole of it stands in the run's `config.toml`.

mod data;
mod flow;
mod layer;
mod train;

pub use data::DataConfig;
pub use flow::{FlowConfig, Kind, Outside, Rotation, Spline, Start};
pub use layer::{Act, LayerConfig};
pub(super) use train::NETWORK_LEARNING_RATE;
pub use train::{LEARNING_RATE, Optimiser, Schedule, TrainConfig};

use serde::{Deserialize, Serialize};

/// A training run. Every field has a default, and a file that names an unknown one is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which columns are used and how.
    pub data: DataConfig,
    /// The flow.
    pub flow: FlowConfig,
    /// The optimisation.
    pub train: TrainConfig,
}

impl Config {
    /// What is impossible in it, said in one sentence.
    pub fn problem(&self) -> Option<String> {
        let Self { data, flow, train } = self;
        let checks = [flow.checks(), train.checks(), data.checks()];
        checks.into_iter().flatten().find(|(fine, _)| !fine).map(|(_, problem)| problem)
    }
}
