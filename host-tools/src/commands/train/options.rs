//! The options of `fluxlet train` that say what is trained: a configuration file, and what overrides
//! it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, anyhow};

use crate::commands::ColumnArgs;
use crate::data::Limits;
use crate::train::{
    Act, Config, Kind, Optimiser, Outside, Rotation, Schedule, Spline, Start, one_line,
};

/// What is trained.
#[derive(clap::Args, Debug)]
pub(in crate::commands) struct Options {
    /// Start from this configuration; the options below override it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Columns that condition the density (operating mode, speed, temperature) and have none
    #[arg(long, value_name = "COLUMN", num_args = 1.., value_delimiter = ',')]
    context: Vec<String>,
    /// A column with hard limits, such as humidity=0:100: the density is 0 beyond them
    #[arg(long, value_name = "COLUMN=LOW:HIGH")]
    bounded: Vec<Limits>,
    /// A column whose limits are the same point, such as wind=0:360
    #[arg(long, value_name = "COLUMN=LOW:HIGH")]
    angle: Vec<Limits>,
    /// The rows are a sensor stream: cut it into windows of N readings and learn their features
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Family of flows [default: rotation]
    #[arg(long)]
    flow: Option<Kind>,
    /// Layers of the family (a rotation stack's are each affine, rotation, spline)
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Rotation or mixing between the splines [default: householder, or lu with a network]
    #[arg(long)]
    rotation: Option<Rotation>,
    /// Reflections of a Householder rotation
    #[arg(long, value_name = "M")]
    reflections: Option<usize>,
    /// Where a Householder rotation starts
    #[arg(long)]
    start: Option<Start>,
    /// Kind of spline
    #[arg(long)]
    spline: Option<Spline>,
    /// Bins of a spline
    #[arg(long, value_name = "K")]
    bins: Option<usize>,
    /// What a spline does outside its knots
    #[arg(long)]
    tails: Option<Outside>,
    /// Units of each hidden layer of a network
    #[arg(long, value_name = "N,N", num_args = 1.., value_delimiter = ',')]
    hidden: Vec<u16>,
    /// Activation of a network
    #[arg(long)]
    activation: Option<Act>,
    /// Build networks of residual blocks; --hidden is then units,blocks
    #[arg(long)]
    residual: bool,
    /// Gaussians of the base density; 1 is a standard normal
    #[arg(long, value_name = "C")]
    components: Option<usize>,
    /// Passes over the data at most
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Steps of the optimiser at most [default: about 3000]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Rows of a mini-batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// How a gradient moves the parameters [default: adam]
    #[arg(long, alias = "optimizer")]
    optimiser: Option<Optimiser>,
    /// Decay of the weights of networks, with --optimiser adamw [default: 0.01]
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Highest learning rate [default: 5e-3, or 2e-3 with a network]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    warm_up: Option<f64>,
    /// What the learning rate does then [default: cosine]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Longest gradient; a longer one is scaled down [default: 5]
    #[arg(long, value_name = "LENGTH")]
    clip: Option<f64>,
    /// Keep a running average of the parameters, of which this share stays at each step [default: 0]
    #[arg(long, value_name = "SHARE")]
    average: Option<f64>,
    /// Epochs without a better validation NLL before the run stops [default: 40]
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Keep nothing of a layer for the way back; its inverse finds its input again
    #[arg(long)]
    reversible: bool,
    /// Share of the normal rows that is held out
    #[arg(long, value_name = "SHARE")]
    held_out: Option<f64>,
    /// Noise on the training rows, in standard deviations of each column
    #[arg(long, value_name = "SHARE")]
    noise: Option<f64>,
    /// Rate of false alarms to calibrate for
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f32>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
}

impl Options {
    /// The configuration file, overridden by the options that were given.
    pub(in crate::commands) fn config(&self, columns: &ColumnArgs) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let text =
                    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                parse(&text).map_err(|said| anyhow!("read {}: {said}", path.display()))?
            }
        };
        let Config { data, flow, train } = &mut config;
        if columns.label.is_some() {
            data.label.clone_from(&columns.label);
        }
        if !columns.exclude.is_empty() {
            data.exclude.clone_from(&columns.exclude);
        }
        if !self.context.is_empty() {
            data.context.clone_from(&self.context);
        }
        if !self.bounded.is_empty() {
            data.bounded.clone_from(&self.bounded);
        }
        if !self.angle.is_empty() {
            data.angles.clone_from(&self.angle);
        }
        if !self.hidden.is_empty() {
            flow.hidden.clone_from(&self.hidden);
        }
        train.epochs = self.epochs.or(train.epochs);
        train.steps = self.steps.or(train.steps);
        train.learning_rate = self.learning_rate.or(train.learning_rate);
        train.optimiser = self.optimiser.unwrap_or(train.optimiser);
        train.weight_decay = self.weight_decay.or(train.weight_decay);
        train.warm_up = self.warm_up.unwrap_or(train.warm_up);
        train.schedule = self.schedule.unwrap_or(train.schedule);
        train.clip = self.clip.unwrap_or(train.clip);
        train.average = self.average.unwrap_or(train.average);
        train.patience = self.patience.unwrap_or(train.patience);
        train.reversible |= self.reversible;
        train.batch = self.batch.unwrap_or(train.batch);
        data.held_out = self.held_out.unwrap_or(data.held_out);
        data.window = self.window.unwrap_or(data.window);
        data.false_alarm_rate = self.false_alarm_rate.unwrap_or(data.false_alarm_rate);
        flow.layers = self.layers.unwrap_or(flow.layers);
        flow.kind = self.flow.unwrap_or(flow.kind);
        flow.rotation = self.rotation.or(flow.rotation);
        flow.activation = self.activation.unwrap_or(flow.activation);
        flow.residual |= self.residual;
        flow.reflections = self.reflections.unwrap_or(flow.reflections);
        flow.start = self.start.unwrap_or(flow.start);
        flow.spline = self.spline.unwrap_or(flow.spline);
        flow.bins = self.bins.unwrap_or(flow.bins);
        flow.tails = self.tails.unwrap_or(flow.tails);
        flow.components = self.components.unwrap_or(flow.components);
        train.noise = self.noise.unwrap_or(train.noise);
        train.seed = self.seed.unwrap_or(train.seed);
        Ok(config)
    }
}

/// A configuration, or in one line what is wrong with the text and where.
fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..start];
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
        format!("line {line}, column {column}: {}", one_line(&error))
    })
}
