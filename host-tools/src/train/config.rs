//! What a training run is made of; the whole of it stands in the run's `config.toml`.

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape, Tails};
use serde::{Deserialize, Serialize};

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
            window: 0,
            bands: 6,
            held_out: 0.2,
            false_alarm_rate: 0.01,
        }
    }
}

/// What turns the data between two splines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// A product of Householder reflections, started at principal axes and trained.
    Householder,
    /// The discrete cosine transform: fixed, for rows that are windows of a smooth signal.
    Dct,
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

/// A rotation stack: L × [affine → rotation → spline], then the base density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// L.
    pub layers: usize,
    /// The rotation of each.
    pub rotation: Rotation,
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
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            layers: 2,
            rotation: Rotation::Householder,
            reflections: 4,
            start: Start::Identity,
            spline: Spline::Quadratic,
            bins: 8,
            tails: Outside::Linear,
            components: 8,
        }
    }
}

impl FlowConfig {
    /// The stack for data of `dim` numbers.
    pub fn stack(&self, dim: usize) -> Stack {
        let shape = |arg, option| Shape::new(dim, arg, option);
        let rotation = match self.rotation {
            Rotation::Householder => (Layer::Householder, shape(self.reflections, 0)),
            Rotation::Dct => (Layer::Dct, shape(0, 0)),
        };
        let tails = match self.tails {
            Outside::Linear => Tails::Linear,
            Outside::Identity => Tails::Identity,
        };
        let spline = match self.spline {
            Spline::Quadratic => Layer::RationalQuadratic,
            Spline::Linear => Layer::RationalLinear,
        };
        let spline = (spline, shape(self.bins, tails as u8));
        let affine = (Layer::Affine, shape(0, 0));
        let layers = (0..self.layers).flat_map(|_| [affine, rotation, spline]).collect();
        let base = match self.components {
            0 | 1 => Base::Normal,
            components => Base::Mixture(components),
        };
        Stack { dim, context: 0, layers, base }
    }
}

/// The optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training rows, at most; as many as make 3000 steps where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Rows of a mini-batch.
    pub batch: usize,
    /// Highest learning rate of Adam.
    pub learning_rate: f64,
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
            batch: 128,
            learning_rate: 5e-3,
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
        let checks: [(bool, String); 13] = [
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
            (train.batch > 0, "batch = 0, at least 1 is needed".into()),
            (
                train.learning_rate > 0.0 && train.learning_rate < 1.0,
                format!("learning_rate = {}, it must lie between 0 and 1", train.learning_rate),
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
