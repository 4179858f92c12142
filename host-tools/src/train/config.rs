//! What a training run is made of; the whole of it stands in the run's `config.toml`.

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape, Tails, option};
use fluxlet::conditioner::{Activation, MAX_DEPTH, Network};
use serde::{Deserialize, Serialize};

use crate::data::Limits;
use crate::stack::Stack;

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

/// Which family of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// L × [affine → rotation → spline]: no network, a few thousand operations a score.
    Rotation,
    /// L × [mixing → coupling]: half of the numbers give, through a network, the maps of the rest.
    Coupling,
    /// L × [mixing → autoregressive]: each number's map from all numbers before it.
    Autoregressive,
}

/// What turns or mixes the data between two splines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// A product of Householder reflections, started close to none or at principal axes
    Householder,
    /// The discrete cosine transform: fixed, for rows that are windows of a smooth signal
    Dct,
    /// A matrix by its LU factors, started at a reversal of the order
    Lu,
    /// A reversal of the order
    Reverse,
}

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

/// Where a Householder rotation starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Close to no rotation: pairs of nearly equal reflections
    Identity,
    /// The strongest principal axes of what comes in
    Pca,
}

/// Which monotone spline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spline {
    /// Rational-quadratic, 3K − 1 parameters a dimension.
    Quadratic,
    /// Linear-rational, 4K − 1 parameters a dimension.
    Linear,
    /// No spline: shift and scale, in coupling and autoregressive layers.
    Affine,
}

/// What a spline does outside its knots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// It continues the outermost bin's line.
    Linear,
    /// It leaves the number as it is.
    Identity,
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
    fn shape(&self, dim: usize, context: usize) -> Result<(Layer, Shape), String> {
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

fn network(hidden: &[u16], activation: Act) -> Result<Network, String> {
    let mut widths = [0; MAX_DEPTH];
    let Some(front) = widths.get_mut(..hidden.len()) else {
        return Err(format!("{} hidden layers, at most {MAX_DEPTH} are possible", hidden.len()));
    };
    front.copy_from_slice(hidden);
    Ok(Network { hidden: widths, activation: activation.activation() })
}

/// The layers from data to latent, and the base density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// The family.
    pub kind: Kind,
    /// L.
    pub layers: usize,
    /// The rotation, or mixing, of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// M, reflections of a Householder rotation.
    pub reflections: usize,
    /// Where they start.
    pub start: Start,
    /// The spline of each.
    pub spline: Spline,
    /// K, bins of a spline.
    pub bins: usize,
    /// Tails of a spline.
    pub tails: Outside,
    /// C, components of the base; 1 is a standard normal.
    pub components: usize,
    /// Units of each hidden layer of a network; with residual blocks, units and blocks.
    pub hidden: Vec<u16>,
    /// A network's activation.
    pub activation: Act,
    /// Networks are made of residual blocks.
    pub residual: bool,
    /// The layers one by one, instead of a family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<LayerConfig>,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            kind: Kind::Rotation,
            layers: 2,
            rotation: None,
            reflections: 4,
            start: Start::Identity,
            spline: Spline::Quadratic,
            bins: 8,
            tails: Outside::Linear,
            components: 8,
            hidden: vec![64, 64],
            activation: Act::Relu,
            residual: false,
            stack: Vec::new(),
        }
    }
}

impl FlowConfig {
    /// The stack for data of `dim` numbers and `context` numbers of context. It begins with the
    /// `domains` of the columns, if some are not the real line.
    ///
    /// # Errors
    ///
    /// What is impossible in it, in words.
    pub fn stack(&self, dim: usize, context: usize, domains: bool) -> Result<Stack, String> {
        let base = match self.components {
            0 | 1 => Base::Normal,
            components => Base::Mixture(components),
        };
        let listed = |(i, layer): (usize, &LayerConfig)| {
            layer.shape(dim, context).map_err(|said| format!("layer {i} of the stack: {said}"))
        };
        let mut layers = if self.stack.is_empty() {
            self.family(dim, context)?
        } else {
            self.stack.iter().enumerate().map(listed).collect::<Result<_, _>>()?
        };
        if domains && layers[0].0 != Layer::Domain {
            layers.insert(0, (Layer::Domain, Shape::new(dim, self.bins, 0)));
        }
        if context > 0 && !layers.iter().any(|(_, shape)| shape.context > 0) {
            return Err("no layer reads the context: a rotation stack has no network, take \
                        --flow coupling or --flow autoregressive"
                .into());
        }
        Ok(Stack { dim, context, layers, base })
    }

    fn mixing(&self, rotation: Rotation, dim: usize) -> (Layer, Shape) {
        match rotation {
            Rotation::Householder => (Layer::Householder, Shape::new(dim, self.reflections, 0)),
            Rotation::Dct => (Layer::Dct, Shape::new(dim, 0, 0)),
            Rotation::Lu => (Layer::LowerUpper, Shape::new(dim, 0, 0)),
            Rotation::Reverse => (Layer::Permutation, Shape::new(dim, 0, 0)),
        }
    }

    fn family(&self, dim: usize, context: usize) -> Result<Vec<(Layer, Shape)>, String> {
        let affine = (Layer::Affine, Shape::new(dim, 0, 0));
        let spline = match self.spline {
            Spline::Quadratic => Layer::RationalQuadratic,
            Spline::Linear => Layer::RationalLinear,
            Spline::Affine => Layer::Affine,
        };
        if self.kind == Kind::Rotation {
            if spline == Layer::Affine {
                return Err("a rotation stack without splines is one matrix".into());
            }
            let rotation = self.mixing(self.rotation.unwrap_or(Rotation::Householder), dim);
            let tails = match self.tails {
                Outside::Linear => Tails::Linear,
                Outside::Identity => Tails::Identity,
            };
            let spline = (spline, Shape::new(dim, self.bins, tails as u8));
            return Ok((0..self.layers).flat_map(|_| [affine, rotation, spline]).collect());
        }
        let bins = if spline == Layer::Affine { 0 } else { self.bins };
        let mut shape = Shape {
            context,
            transformer: spline,
            network: network(&self.hidden, self.activation)?,
            ..Shape::new(dim, bins, if self.residual { option::RESIDUAL } else { 0 })
        };
        shape.option |= if context > 0 { option::CONTEXT } else { 0 };
        let layer = match self.kind {
            Kind::Coupling => {
                shape.split = dim / 2;
                Layer::Coupling
            }
            _ => Layer::Autoregressive,
        };
        if !layer.exists(shape) {
            let what = if dim == 1 { "one column has no two parts" } else { "impossible numbers" };
            return Err(format!("a {} layer of {dim} inputs: {what}", layer.name().to_lowercase()));
        }
        let mixing = self.mixing(self.rotation.unwrap_or(Rotation::Lu), dim);
        let each = |l| if l == 0 { vec![(layer, shape)] } else { vec![mixing, (layer, shape)] };
        Ok(core::iter::once(affine).chain((0..self.layers).flat_map(each)).collect())
    }
}

/// Highest learning rate of a stack without networks, where the configuration says nothing.
pub const LEARNING_RATE: f64 = 5e-3;
/// Highest learning rate of a flow with a network, where the configuration says nothing.
pub(super) const NETWORK_LEARNING_RATE: f64 = 2e-3;

/// The optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training rows, at most; as many as make 3000 steps where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Steps, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Rows of a mini-batch.
    pub batch: usize,
    /// Highest learning rate of Adam; 5e-3, or 2e-3 where there is a network, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises.
    pub warm_up: f64,
    /// Noise added to the training rows, in standard deviations of each column: it smooths the
    /// density, and with it the alarm.
    pub noise: f64,
    /// Longest gradient; a longer one is scaled down.
    pub clip: f64,
    /// Epochs without a better validation NLL before the run stops.
    pub patience: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            batch: 128,
            learning_rate: None,
            warm_up: 0.05,
            noise: 0.05,
            clip: 5.0,
            patience: 40,
            seed: 0,
        }
    }
}

impl Config {
    /// What is impossible in it, said in one sentence.
    pub fn problem(&self) -> Option<String> {
        let Config { data, flow, train } = self;
        let rate = f64::from(data.false_alarm_rate);
        let checks: [(bool, String); 14] = [
            (
                (1..=64).contains(&flow.layers),
                format!("layers = {}, 1 to 64 are possible", flow.layers),
            ),
            (
                (1..=256).contains(&flow.reflections),
                format!("reflections = {}, 1 to 256 are possible", flow.reflections),
            ),
            (
                (1..=256).contains(&flow.bins),
                format!("bins = {}, 1 to 256 are possible", flow.bins),
            ),
            (
                flow.components <= 256,
                format!("components = {}, at most 256 are possible", flow.components),
            ),
            (train.epochs != Some(0), "epochs = 0, at least 1 is needed".into()),
            (train.steps != Some(0), "steps = 0, at least 1 is needed".into()),
            (train.batch > 0, "batch = 0, at least 1 is needed".into()),
            (
                train.learning_rate.is_none_or(|rate| rate > 0.0 && rate < 1.0),
                format!(
                    "learning_rate = {}, it must lie between 0 and 1",
                    train.learning_rate.unwrap_or(f64::NAN)
                ),
            ),
            (
                (0.0..1.0).contains(&train.warm_up),
                format!("warm_up = {}, it must be at least 0 and below 1", train.warm_up),
            ),
            (
                (0.0..10.0).contains(&train.noise),
                format!("noise = {}, it must be at least 0 and below 10", train.noise),
            ),
            (train.clip > 0.0, format!("clip = {}, it must be above 0", train.clip)),
            (train.patience > 0, "patience = 0, at least 1 is needed".into()),
            (
                data.held_out > 0.0 && data.held_out < 1.0,
                format!("held_out = {}, it must lie between 0 and 1", data.held_out),
            ),
            (
                rate > 0.0 && rate < 1.0,
                format!("false_alarm_rate = {rate}, it must lie between 0 and 1"),
            ),
        ];
        checks.into_iter().find(|(fine, _)| !fine).map(|(_, problem)| problem)
    }
}
