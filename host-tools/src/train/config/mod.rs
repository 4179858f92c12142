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

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers of a [`Config`], each by its place in `config.toml`, such as `flow.layers`.
pub type Settings = BTreeMap<String, toml::Value>;

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
    /// The same with these settings.
    ///
    /// # Errors
    ///
    /// A setting that no configuration has, or a value that it cannot have, said in one sentence.
    pub fn with(&self, settings: &Settings) -> Result<Self, String> {
        let mut all = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        for (name, value) in settings {
            let (section, key) = name.split_once('.').unwrap_or((name, ""));
            if let Some(section) = all.get_mut(section).and_then(toml::Value::as_table_mut) {
                section.insert(key.into(), value.clone());
            } else {
                return Err(format!(
                    "there is no {name}; settings are named as in config.toml, such as flow.layers"
                ));
            }
        }
        all.try_into().map_err(|error| one_line(&error))
    }

    /// What is impossible in it, said in one sentence.
    pub fn problem(&self) -> Option<String> {
        let Self { data, flow, train } = self;
        let checks = [flow.checks(), train.checks(), data.checks()];
        checks.into_iter().flatten().find(|(fine, _)| !fine).map(|(_, problem)| problem)
    }
}

/// What is wrong with a configuration, in one line.
pub fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(", ")
}
