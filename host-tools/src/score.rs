//! Scores many rows through the core, hence with a device's bits.

use fluxlet::{Model, Reading};
use rayon::prelude::*;

/// What the model says of each of `inputs` \[n, [`Model::input_len`]\].
pub fn score(model: &Model, inputs: &[f32]) -> Vec<Reading> {
    inputs
        .par_chunks_exact(model.input_len())
        .map_init(|| vec![0.0; model.work_len()], |work, input| fluxlet::read(model, input, work))
        .collect()
}
