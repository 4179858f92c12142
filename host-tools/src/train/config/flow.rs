//! The flow: a family of stacks in a few numbers, or its layers one by one.

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape, Tails, option};
use serde::{Deserialize, Serialize};

use super::Act;
use super::layer::{LayerConfig, network};
use crate::stack::Stack;

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

    /// What must hold of it, each with the sentence for where it does not.
    pub(super) fn checks(&self) -> Vec<(bool, String)> {
        vec![
            (
                (1..=64).contains(&self.layers),
                format!("layers = {}, 1 to 64 are possible", self.layers),
            ),
            (
                (1..=256).contains(&self.reflections),
                format!("reflections = {}, 1 to 256 are possible", self.reflections),
            ),
            (
                (1..=256).contains(&self.bins),
                format!("bins = {}, 1 to 256 are possible", self.bins),
            ),
            (
                self.components <= 256,
                format!("components = {}, at most 256 are possible", self.components),
            ),
        ]
    }
}
