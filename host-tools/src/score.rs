//! Scores many rows through the core, hence with a device's bits.

use fluxlet::{Calibration, Model, Reading};
use rayon::prelude::*;

/// What the model says of each of `inputs` \[n, [`Model::input_len`]\].
pub fn score(model: &Model, inputs: &[f32]) -> Vec<Reading> {
    inputs
        .par_chunks_exact(model.input_len())
        .map_init(|| vec![0.0; model.work_len()], |work, input| fluxlet::read(model, input, work))
        .collect()
}

/// The calibration table of an alarm for these normal `scores`, which are then in order.
pub(crate) fn calibration(scores: &mut [f32], false_alarm_rate: f32) -> Vec<u8> {
    let mut table = vec![0; Calibration::payload_len(scores.len())];
    let len = Calibration::write(scores, false_alarm_rate, &mut table);
    table.truncate(len);
    table
}
