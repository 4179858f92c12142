//! Which columns of the data are used and how.

use serde::{Deserialize, Serialize};

use crate::data::Limits;

/// Which columns are used and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Column whose non-zero rows are anomalies, kept out of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Columns that are left out.
    pub exclude: Vec<String>,
    /// Columns that condition the density and have none of their own.
    pub context: Vec<String>,
    /// Columns with hard limits, each `COLUMN=LOW:HIGH`: the density is 0 beyond them.
    pub bounded: Vec<Limits>,
    /// Columns whose limits are the same point, each `COLUMN=LOW:HIGH`: angles and phases.
    pub angles: Vec<Limits>,
    /// Readings of a window, where the rows are a sensor stream; 0 where each row is an input.
    pub window: usize,
    /// Octave bands of each channel of a window.
    pub bands: usize,
    /// Share of the normal rows that is held out: early stopping and calibration look at them.
    pub held_out: f64,
    /// Rate of false alarms that the model's threshold aims at.
    pub false_alarm_rate: f32,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            label: None,
            exclude: Vec::new(),
            context: Vec::new(),
            bounded: Vec::new(),
            angles: Vec::new(),
            window: 0,
            bands: 6,
            held_out: 0.2,
            false_alarm_rate: 0.01,
        }
    }
}

impl DataConfig {
    /// What must hold of it, each with the sentence for where it does not.
    pub(super) fn checks(&self) -> Vec<(bool, String)> {
        let rate = f64::from(self.false_alarm_rate);
        vec![
            (
                self.held_out > 0.0 && self.held_out < 1.0,
                format!("held_out = {}, it must lie between 0 and 1", self.held_out),
            ),
            (
                rate > 0.0 && rate < 1.0,
                format!("false_alarm_rate = {rate}, it must lie between 0 and 1"),
            ),
        ]
    }
}
