//! What one forward pass of each layer costs on a microcontroller: measured once, by
//! `fluxlet cost --layers`, and kept beside this file.

use anyhow::Context;
use fluxlet::bijection::{Layer, Shape};
use serde::{Deserialize, Serialize};

use super::shape;

/// The kept measurement.
const TABLE: &str = include_str!("measured.json");

/// Instructions that a layer of one shape adds to a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Name of the layer.
    pub layer: String,
    /// D.
    pub dim: usize,
    /// K, M, or what else the layer's argument counts.
    pub arg: usize,
    /// On a Cortex-M4F, the mean over the rows.
    pub m4f: u64,
    /// On a Cortex-M0, the mean over the rows.
    pub m0: u64,
}

/// Every layer that was measured.
///
/// # Errors
///
/// When the kept table can't be read, as in the middle of being written anew.
pub fn table() -> anyhow::Result<Vec<Measured>> {
    serde_json::from_str(TABLE).context("read the measured costs: run `fluxlet cost --layers`")
}

/// The measurement of a layer, if it was measured.
///
/// # Errors
///
/// Those of [`table`].
pub fn of(layer: Layer) -> anyhow::Result<Option<Measured>> {
    Ok(table()?.into_iter().find(|measured| measured.layer == layer.name()))
}

impl Measured {
    /// The shape that was measured, in the letters of the layer's documentation.
    pub fn letters(&self, formula: &str) -> String {
        let layer = Layer::ALL.iter().find(|layer| layer.name() == self.layer);
        let shape = layer.and_then(|layer| shape::example(*layer, self.dim, Some(self.arg)));
        let shape = shape.unwrap_or(Shape::new(self.dim, self.arg, 0));
        shape::say(&shape::letters(shape, formula))
    }
}
