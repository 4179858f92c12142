//! One layer of a stack that is listed layer by layer.

use fluxlet::bijection::{Layer, Shape, Tails, option};
use fluxlet::conditioner::{Activation, MAX_DEPTH, Network};
use serde::{Deserialize, Serialize};

use super::Outside;

/// What a network puts between its products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// max(a, 0)
    Relu,
    /// tanh a
    Tanh,
    /// a σ(a)
    Silu,
    /// a above 0, eᵃ − 1 below
    Elu,
}

impl Act {
    fn activation(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Tanh => Activation::Tanh,
            Self::Silu => Activation::Silu,
            Self::Elu => Activation::Elu,
        }
    }
}

/// One layer of a stack that is listed layer by layer; what a layer does not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LayerConfig {
    /// Name of the layer: `affine`, `rational-quadratic`, `coupling` ... (`fluxlet explain` lists them).
    pub layer: String,
    /// K bins, M reflections or units, N terms of a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Tails of a spline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tails: Option<Outside>,
    /// Layer whose parameters the network gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transformer: Option<String>,
    /// d, numbers of a coupling's first part; half of them where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<usize>,
    /// A coupling's first part has a spline of its own.
    pub first_spline: bool,
    /// Units of each hidden layer of the network; with residual blocks, units and blocks.
    pub hidden: Vec<u16>,
    /// The network's activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Act>,
    /// The network is made of residual blocks.
    pub residual: bool,
    /// An autoregressive network's inputs reach its outputs directly too.
    pub skip: bool,
    /// The network reads the context, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<bool>,
}

impl LayerConfig {
    /// The layer for data of `dim` numbers and `context` numbers of context.
    pub(super) fn shape(&self, dim: usize, context: usize) -> Result<(Layer, Shape), String> {
        let named = |name: &str| {
            let name = name.to_lowercase().replace(['-', ' '], "_");
            let found = Layer::ALL.iter().find(|layer| layer.file() == name).copied();
            found.ok_or_else(|| format!("there is no layer \"{name}\""))
        };
        let layer = named(&self.layer)?;
        let tails = match self.tails {
            Some(Outside::Linear) => Tails::Linear as u8,
            _ => Tails::Identity as u8,
        };
        let mut shape = Shape::new(dim, self.size.unwrap_or(0), tails);
        if layer.is_conditioned() {
            let reads = self.context.unwrap_or(true) && context > 0;
            let flags = [
                (self.residual, option::RESIDUAL),
                (self.skip, option::SKIP),
                (self.first_spline, option::FIRST_SPLINE),
                (reads, option::CONTEXT),
            ];
            shape.option |= flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum::<u8>();
            shape.context = if reads { context } else { 0 };
            shape.transformer = named(self.transformer.as_deref().unwrap_or("affine"))?;
            if layer == Layer::Coupling {
                shape.split = self.split.unwrap_or(dim / 2);
            }
            shape.network = network(&self.hidden, self.activation.unwrap_or(Act::Relu))?;
        }
        if layer.exists(shape) {
            Ok((layer, shape))
        } else {
            Err(format!("the layer \"{}\" does not exist with these numbers", self.layer))
        }
    }
}

/// The network of these widths.
pub(super) fn network(hidden: &[u16], activation: Act) -> Result<Network, String> {
    let mut widths = [0; MAX_DEPTH];
    let Some(front) = widths.get_mut(..hidden.len()) else {
        return Err(format!("{} hidden layers, at most {MAX_DEPTH} are possible", hidden.len()));
    };
    front.copy_from_slice(hidden);
    Ok(Network { hidden: widths, activation: activation.activation() })
}
