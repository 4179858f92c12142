//! Brings flows in that were trained elsewhere: a description (JSON) and weights (safetensors), written
//! by the scripts in `host-tools/python`.
//!
//! A layer of the other library becomes one or a few of ours, built in the direction of its own
//! forward function; where a model runs it the other way, they are turned round. What has no
//! counterpart is refused by name.

mod network;
mod nflows;
mod parts;
mod pyro;
mod zuko;

use std::fs;
use std::path::{Path, PathBuf};

use fluxlet::Base;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::stack::Stack;
use parts::Part;

/// Why a flow cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or is of another form.
    #[error("read {path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A layer is missing something, or is of a kind that has no counterpart.
    #[error("import {path}: layer {index}, {kind}: {why}")]
    Layer {
        /// The description.
        path: PathBuf,
        /// Position of the layer.
        index: usize,
        /// Its type.
        kind: String,
        /// What is wrong.
        why: String,
    },
}

/// The library that a flow was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Pyro 1.9.
    Pyro,
    /// zuko 1.6, neural spline flows.
    Zuko,
    /// nflows 0.14, neural spline flows.
    Nflows,
}

/// A flow in our layers.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its layers from data to latent.
    pub stack: Stack,
    /// Their weights, constants included, layer by layer.
    pub weights: Vec<f64>,
    /// For each layer, the position in the description of the one that it comes from.
    pub sources: Vec<usize>,
}

impl Imported {
    /// The weights as a model stores them.
    pub fn packed_weights(&self) -> Vec<f32> {
        self.weights.iter().map(|weight| *weight as f32).collect()
    }
}

/// A tensor, row by row.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// One layer of a description, with the tensors of the whole flow.
struct Source<'a> {
    tensors: &'a SafeTensors<'a>,
    index: usize,
    config: &'a Value,
    dim: usize,
    context: usize,
}

impl Source<'_> {
    fn count(&self, name: &str) -> Result<usize, String> {
        let value = self.config[name].as_u64().ok_or_else(|| format!("no number \"{name}\""))?;
        usize::try_from(value).map_err(|_| format!("\"{name}\" is {value}"))
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        self.config[name].as_f64().ok_or_else(|| format!("no number \"{name}\""))
    }

    fn flag(&self, name: &str) -> bool {
        self.config[name].as_bool().unwrap_or(false)
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.config[name].as_str().ok_or_else(|| format!("no text \"{name}\""))
    }

    fn counts(&self, name: &str) -> Result<Vec<usize>, String> {
        let list = self.config[name].as_array().ok_or_else(|| format!("no list \"{name}\""))?;
        let counts = list.iter().map(|n| n.as_u64().map(|n| n as usize));
        counts.collect::<Option<_>>().ok_or_else(|| format!("\"{name}\" is no list of numbers"))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.tensor(&format!("layers.{}.{name}", self.index)).is_ok()
    }

    fn tensor(&self, name: &str) -> Result<Tensor, String> {
        let name = format!("layers.{}.{name}", self.index);
        let tensor = self.tensors.tensor(&name).map_err(|_| format!("no tensor {name}"))?;
        let data = tensor.data();
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::I64 => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            other => return Err(format!("tensor {name} is of type {other:?}")),
        };
        if !values.iter().all(|value| value.is_finite()) {
            return Err(format!("tensor {name} holds a number that is not finite"));
        }
        Ok(Tensor { shape: tensor.shape().to_vec(), values })
    }

    /// The numbers of a tensor that has to be of this shape.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, String> {
        let tensor = self.tensor(name)?;
        if tensor.shape != shape {
            return Err(format!("tensor {name} is {:?}, not {shape:?}", tensor.shape));
        }
        Ok(tensor.values)
    }

    /// A permutation of 0 … D − 1.
    fn permutation(&self, name: &str, len: usize) -> Result<Vec<usize>, String> {
        let order: Vec<usize> =
            self.values(name, &[len])?.into_iter().map(|place| place as usize).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let whole = sorted.iter().copied().eq(0..len);
        if whole { Ok(order) } else { Err(format!("tensor {name} is no permutation")) }
    }
}

/// Reads a flow from its description and weights.
///
/// # Errors
///
/// [`Error`] names the file, the layer and what is wrong with it.
pub fn read(library: Library, arch: &Path, weights: &Path) -> Result<Imported, Error> {
    let file = |path: &Path, why: String| Error::File { path: path.into(), why };
    let text = fs::read_to_string(arch).map_err(|e| file(arch, e.kind().to_string()))?;
    let flow: Value = serde_json::from_str(&text).map_err(|e| file(arch, e.to_string()))?;
    let bytes = fs::read(weights).map_err(|e| file(weights, e.kind().to_string()))?;
    SafeTensors::deserialize(&bytes).map_err(|e| file(weights, e.to_string()))?;
    from_memory(library, arch, &flow, &bytes)
}

/// A flow from a description, called `arch` in errors, and the bytes of a safetensors file.
///
/// # Errors
///
/// As [`read`].
pub fn from_memory(
    library: Library,
    arch: &Path,
    flow: &Value,
    weights: &[u8],
) -> Result<Imported, Error> {
    let file = |path: &Path, why: String| Error::File { path: path.into(), why };
    let tensors = SafeTensors::deserialize(weights).map_err(|e| file(arch, e.to_string()))?;
    let (expected, order) = match library {
        Library::Pyro => (None, "noise -> data"),
        Library::Zuko => (Some("zuko"), "data -> noise"),
        Library::Nflows => (Some("nflows"), "data -> noise"),
    };
    if flow["library"].as_str() != expected {
        let found = flow["library"].as_str().unwrap_or("Pyro");
        return Err(file(arch, format!("it describes a flow of {found}")));
    }
    if flow["order"].as_str() != Some(order) {
        return Err(file(arch, format!("its order is not \"{order}\"")));
    }
    if flow["base"].as_str() != Some("standard normal") {
        return Err(file(arch, "its base is not a standard normal".into()));
    }
    let count = |name: &str| flow[name].as_u64().map(|n| n as usize);
    let dim = count("dim").filter(|dim| (1..=fluxlet::model::MAX_DIM).contains(dim));
    let dim = dim.ok_or_else(|| file(arch, "it has no dimension \"dim\"".into()))?;
    let context = count("context_dim").unwrap_or(0);
    let layers = flow["layers"].as_array();
    let layers = layers.ok_or_else(|| file(arch, "it has no list \"layers\"".into()))?;

    // Pyro's layers run from noise to data, ours the other way.
    let from_noise = library == Library::Pyro;
    let mut groups: Vec<(usize, Vec<Part>)> = Vec::new();
    for (index, entry) in layers.iter().enumerate() {
        let kind = entry["type"].as_str().unwrap_or("?");
        let source = Source { tensors: &tensors, index, config: &entry["config"], dim, context };
        let built = match library {
            Library::Pyro => pyro::layer(kind, &source),
            Library::Zuko => zuko::layer(kind, &source),
            Library::Nflows => nflows::layer(kind, &source),
        };
        let fail = |why| Error::Layer { path: arch.into(), index, kind: kind.into(), why };
        let mut built = built.map_err(fail)?;
        if entry["inverse"].as_bool().unwrap_or(false) != from_noise {
            parts::turn_round(&mut built);
        }
        groups.push((index, built));
    }
    if from_noise {
        groups.reverse();
    }
    let (mut layers, mut weights, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for (index, part) in
        groups.into_iter().flat_map(|(i, built)| built.into_iter().map(move |p| (i, p)))
    {
        weights.extend(part.w);
        layers.push((part.layer, part.shape));
        sources.push(index);
    }
    let stack = Stack { dim, context, layers, base: Base::Normal };
    Ok(Imported { stack, weights, sources })
}
