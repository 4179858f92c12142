//! From a trained model to one whose networks are stored, and computed with, in fewer bits.
//!
//! Only networks change: their outputs are parameters of maps that stay invertible whatever they are,
//! with exact derivatives, so that a coarse network's density still integrates to 1. What it costs is
//! likelihood, and that is measured, not bounded.

mod cost;
mod int8;
mod ranges;

use fluxlet::Model;
use fluxlet::bijection::{Layer, Shape};
use fluxlet::conditioner::Numbers;
use fluxlet::model::{LayerWeights, Parts, tag};

pub use cost::{Cost, Readings};

/// Why a model has no form in other numbers; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// Its networks are not `f32` any more.
    #[error("export as {numbers}: layer {layer} is {found} already, and export starts from f32")]
    NotF32 { numbers: &'static str, layer: usize, found: &'static str },
    /// No layer has a network that the numbers can hold.
    #[error("export as {numbers}: no layer of the model has a network with a form in {numbers}")]
    Nothing { numbers: &'static str },
    /// A product of a weight and an input leaves the range of outputs by itself.
    #[error("export as {numbers}: layer {layer} has weights too large for its outputs")]
    TooLarge { numbers: &'static str, layer: usize },
}

/// A model in other numbers.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its bytes; without the calibration table, whose scores were other numbers.
    pub bytes: Vec<u8>,
    /// Layers that stay `f32`, by number from 0 and name.
    pub kept: Vec<(usize, &'static str)>,
}

/// The model with its networks in these numbers. `inputs` \[n, D + C\] are what the layers see of
/// readings: they say how large a network's units become.
///
/// # Errors
///
/// What [`Error`] lists.
pub fn export(model: &Model, numbers: Numbers, inputs: &[f32]) -> Result<Exported, Error> {
    let layers: Vec<LayerWeights> = model.layers().collect();
    let found = layers.iter().position(|step| step.shape.numbers != Numbers::F32);
    if let Some(layer) = found {
        let found = layers[layer].shape.numbers.name();
        return Err(Error::NotF32 { numbers: numbers.name(), layer, found });
    }
    let target = |step: &LayerWeights| Shape { numbers, ..step.shape };
    let changes =
        |step: &LayerWeights| step.layer.is_conditioned() && step.layer.exists(target(step));
    if !layers.iter().any(changes) {
        return Err(Error::Nothing { numbers: numbers.name() });
    }
    let ranges = match numbers {
        Numbers::Int8 => ranges::gather(&layers, inputs, model.dim() + model.context_len()),
        _ => Vec::new(),
    };
    let (mut shapes, mut weights, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for (index, step) in layers.iter().enumerate() {
        let old: Vec<f32> = step.weights.iter().collect();
        let network = step.layer.conditioner(step.shape).filter(|_| changes(step));
        let Some((network, start)) = network else {
            if step.layer.is_conditioned() {
                kept.push((index, step.layer.name()));
            }
            shapes.push((step.layer, step.shape));
            weights.extend(old);
            continue;
        };
        let (head, old) = old.split_at(start);
        weights.extend(head);
        match numbers {
            Numbers::F32 => weights.extend(old),
            Numbers::F16 => weights.extend(halves(old)),
            Numbers::Int8 => {
                let words = int8::quantise(network, old, &ranges[index])
                    .ok_or(Error::TooLarge { numbers: numbers.name(), layer: index })?;
                weights.extend(words.into_iter().map(f32::from_bits));
            }
        }
        shapes.push((step.layer, target(step)));
    }
    let (base, base_weights) = model.base();
    weights.extend(base_weights.iter());
    let bytes = pack(model, &shapes, base, &weights, &sections(model));
    Ok(Exported { bytes, kept })
}

/// The exported model with this calibration table behind its sections.
pub fn with_table(bytes: &[u8], table: &[u8]) -> Vec<u8> {
    let model = Model::new_checked(bytes).expect("the model was just packed");
    let shapes: Vec<_> = model.layers().map(|step| (step.layer, step.shape)).collect();
    let (base, base_weights) = model.base();
    let weights = model.layers().flat_map(|step| step.weights.iter()).chain(base_weights.iter());
    let mut sections = sections(&model);
    sections.push((tag::CALIBRATION, table));
    pack(&model, &shapes, base, &weights.collect::<Vec<_>>(), &sections)
}

fn pack(
    model: &Model,
    layers: &[(Layer, Shape)],
    base: fluxlet::Base,
    weights: &[f32],
    sections: &[([u8; 4], &[u8])],
) -> Vec<u8> {
    let (dim, context) = (model.dim(), model.context_len());
    let parts = Parts { dim, context, layers, base, weights, sections };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}

/// All sections but the calibration table.
fn sections<'m>(model: &Model<'m>) -> Vec<([u8; 4], &'m [u8])> {
    model.sections().filter(|(tag, _)| *tag != tag::CALIBRATION).collect()
}

/// Two halves a word, the first in the lower bits; the largest half where a weight is beyond.
fn halves(weights: &[f32]) -> impl Iterator<Item = f32> {
    let half = |w: &f32| {
        let (least, most) = (half::f16::MIN.to_f32(), half::f16::MAX.to_f32());
        u32::from(half::f16::from_f32(w.clamp(least, most)).to_bits())
    };
    weights
        .chunks(2)
        .map(move |pair| f32::from_bits(pair.iter().rev().fold(0, |word, w| word << 16 | half(w))))
}
