//! What a packed model is made of: a line a layer, and totals.

use std::collections::BTreeSet;
use std::fmt;

use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Domain, Layer, Shape, Tails, option};
use fluxlet::conditioner::Numbers;
use fluxlet::model::{LayerWeights, Part};
use fluxlet::{Base, Model};
use serde::Serialize;

/// One layer, or the base.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Kind of layer.
    pub kind: &'static str,
    /// Shape in letters: D, K, M, N, C, d, the tails, the number that a user chose for the layer, its
    /// network, and whether the model runs it backwards.
    pub shape: String,
    /// Free parameters that training moves.
    pub parameters: usize,
    /// Bytes of packed weights, constants included.
    pub bytes: usize,
    /// Multiply-adds of one forward pass.
    pub multiply_adds: usize,
}

/// A whole model.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// D.
    pub dim: usize,
    /// Numbers of one input.
    pub input_len: usize,
    /// The feature front end in words, if there is one.
    pub front_end: Option<String>,
    /// Layers from data to latent, then the base.
    pub layers: Vec<Line>,
    /// Free parameters.
    pub parameters: usize,
    /// Multiply-adds of one score, without the front end.
    pub multiply_adds: usize,
    /// Bytes of the model file, all of it in flash.
    pub flash_bytes: usize,
    /// Bytes of the buffers that scoring needs: the input and the work space.
    pub stack_bytes: usize,
    /// Cargo features that an image needs for the model, in alphabetic order.
    pub features: Vec<&'static str>,
    /// Held-out rows behind the calibration table.
    pub calibration_rows: Option<u32>,
    /// Names of the inputs.
    pub names: Vec<String>,
    /// Where the model comes from.
    pub provenance: Option<String>,
}

/// The shape of a layer in letters, with its network and direction.
fn letters(step: &LayerWeights) -> String {
    let (shape, dim) = (step.shape, step.shape.dim);
    let mut letters = match step.layer {
        Layer::RationalQuadratic | Layer::RationalLinear => {
            let tails = Tails::from_code(shape.option).unwrap_or(Tails::Identity);
            let tails = if tails == Tails::Linear { "linear" } else { "identity" };
            format!("D = {dim}, K = {}, {tails} tails", shape.arg)
        }
        Layer::MatrixExponential => format!("D = {dim}, N = {}", shape.arg),
        Layer::Haar if shape.option == 1 => format!("D = {dim}, flipped"),
        Layer::Householder | Layer::Sylvester => format!("D = {dim}, M = {}", shape.arg),
        Layer::LeakyRelu => format!("D = {dim}, a = {}", step.weights.get(0)),
        Layer::Power => format!("D = {dim}, p = {}", step.weights.get(0)),
        Layer::Domain => {
            let kinds: Vec<_> =
                (0..dim).map(|i| Domain::column(shape, step.weights, i).0).collect();
            let count = |kind| kinds.iter().filter(|own| **own == kind).count();
            let (boxes, circles) = (count(Kind::Box), count(Kind::Circle));
            format!("D = {dim}, K = {}, bounded {boxes}, angles {circles}", shape.arg)
        }
        layer if layer.is_conditioned() => conditioned(layer, shape),
        _ => format!("D = {dim}"),
    };
    if shape.inverted {
        letters.push_str(", backwards");
    }
    letters
}

/// Sizes of a layer with a network, what the network gives its parameters to, and the network.
fn conditioned(layer: Layer, shape: Shape) -> String {
    let mut sizes = format!("D = {}", shape.dim);
    if shape.context > 0 {
        sizes += &format!(", C = {}", shape.context);
    }
    if layer == Layer::Coupling {
        sizes += &format!(", d = {}", shape.split);
    }
    let name = shape.transformer.name();
    let transformer = match shape.transformer {
        Layer::RationalQuadratic if shape.has(option::SOFT) => {
            format!("soft {name}, K = {}", shape.arg)
        }
        Layer::RationalQuadratic | Layer::RationalLinear => format!("{name}, K = {}", shape.arg),
        Layer::Householder => format!("{name}, M = {}", shape.arg),
        Layer::MatrixExponential => format!("{name}, N = {}", shape.arg),
        Layer::Affine if shape.has(option::SOFT) => format!("gated {name}"),
        _ => name.to_string(),
    };
    let hidden = shape.network.hidden;
    let form = if layer == Layer::Autoregressive { "masked" } else { "dense" };
    let network = if shape.has(option::RESIDUAL) {
        let residual = if form == "masked" { "masked residual" } else { "residual" };
        format!("{residual} {} × {} blocks", hidden[0], hidden[1])
    } else {
        let widths = hidden.iter().take_while(|width| **width > 0).map(u16::to_string);
        format!("{form} {}", widths.collect::<Vec<_>>().join("-"))
    };
    let skip = layer == Layer::Autoregressive && shape.has(option::SKIP);
    let first = layer == Layer::Coupling && shape.has(option::FIRST_SPLINE);
    let extra = match (skip, first) {
        (true, _) => " with skip",
        (_, true) => ", first part splined",
        _ => "",
    };
    let activation = shape.network.activation.name();
    let numbers = match shape.numbers {
        Numbers::F32 => String::new(),
        other => format!(" in {}", other.name()),
    };
    format!("{sizes}, {transformer}, {network} {activation}{extra}{numbers}")
}

/// The cargo features of the core that an image needs for a model, in alphabetic order.
pub fn features(model: &Model) -> Vec<&'static str> {
    let features: BTreeSet<_> = model.parts().map(Part::feature).collect();
    features.into_iter().collect()
}

impl Inspection {
    /// Looks at a model.
    pub fn new(model: &Model) -> Self {
        let dim = model.dim();
        let mut layers: Vec<Line> = model
            .layers()
            .map(|step| {
                let shape = step.shape;
                Line {
                    kind: step.layer.name(),
                    shape: letters(&step),
                    parameters: step.layer.theta_len(shape),
                    bytes: 4 * step.layer.weight_len(shape),
                    multiply_adds: step.layer.multiply_adds(shape),
                }
            })
            .collect();
        let (base, _) = model.base();
        let (kind, shape) = match base {
            Base::Normal => ("Normal", format!("D = {dim}")),
            Base::Mixture(components) => ("Mixture", format!("D = {dim}, C = {components}")),
        };
        layers.push(Line {
            kind,
            shape,
            parameters: base.theta_len(dim),
            bytes: 4 * base.weight_len(dim),
            multiply_adds: base.multiply_adds(dim),
        });
        Self {
            dim,
            input_len: model.input_len(),
            front_end: model.front_end().map(|front_end| {
                let w = front_end.window();
                format!(
                    "windows of {} readings, {} channels, {} bands",
                    w.window, w.channels, w.bands
                )
            }),
            parameters: layers.iter().map(|line| line.parameters).sum(),
            multiply_adds: layers.iter().map(|line| line.multiply_adds).sum(),
            layers,
            flash_bytes: model.byte_len(),
            stack_bytes: 4 * (model.input_len() + model.work_len()),
            features: features(model),
            calibration_rows: model.calibration().map(|table| table.rows()),
            names: model.names().into_iter().flatten().map(str::to_string).collect(),
            provenance: model.provenance().map(str::to_string),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(front_end) = &self.front_end {
            writeln!(f, "front end: {front_end} → {} features\n", self.dim)?;
        }
        let width = self.layers.iter().map(|line| line.shape.chars().count()).max().unwrap_or(0);
        let head = ["layer", "shape", "parameters", "bytes", "multiply-adds"];
        writeln!(
            f,
            "{:<18} {:<width$} {:>10} {:>8} {:>14}",
            head[0], head[1], head[2], head[3], head[4]
        )?;
        for Line { kind, shape, parameters, bytes, multiply_adds } in &self.layers {
            writeln!(
                f,
                "{kind:<18} {shape:<width$} {parameters:>10} {bytes:>8} {multiply_adds:>14}"
            )?;
        }
        let bytes: usize = self.layers.iter().map(|line| line.bytes).sum();
        writeln!(
            f,
            "{:<18} {:<width$} {:>10} {bytes:>8} {:>14}\n",
            "total", "", self.parameters, self.multiply_adds
        )?;
        writeln!(f, "flash  {} bytes, the whole model file", self.flash_bytes)?;
        writeln!(f, "stack  {} bytes of buffers: the input and the work space", self.stack_bytes)?;
        writeln!(f, "image  {}", self.features.join(", "))?;
        match self.calibration_rows {
            Some(rows) => writeln!(f, "alarm  calibrated on {rows} held-out rows")?,
            None => writeln!(f, "alarm  none: the model has no calibration table")?,
        }
        if !self.names.is_empty() {
            writeln!(f, "inputs {}", self.names.join(", "))?;
        }
        match &self.provenance {
            Some(provenance) => writeln!(f, "from   {provenance}"),
            None => Ok(()),
        }
    }
}
