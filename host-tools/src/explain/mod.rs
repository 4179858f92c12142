//! Explains layers and training: the documentation of the core, with numbers put in.
//!
//! The text is that of the source files' heads; what is computed comes from the kernels.

pub mod curve;
pub mod formula;
pub mod head;
pub mod markdown;
pub mod measured;
mod page;
pub mod shape;
pub mod training;

pub use page::{overview, training as training_page};

use fluxlet::bijection::{Layer, Shape};
use serde::Serialize;

use curve::Curve;
use head::{Head, Section};
use measured::Measured;

/// What both splines share, and a network would give.
const KNOTS: &str = include_str!("../../../src/bijection/knots.rs");
const KNOTS_TITLE: &str = "The knots, the same for both splines";
/// How a head says that a layer has such knots.
const KNOTS_LINK: &str = "(super::knots)";

/// Why nothing can be explained; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// No layer has this name.
    #[error("explain `{name}`: no layer has that name; {near}")]
    Unknown { name: String, near: String },
    /// The layer has no such shape.
    #[error("explain {layer}: no such layer exists with D = {dim}{arg}")]
    Shape { layer: &'static str, dim: usize, arg: String },
    /// The head of the layer's file has no such formula.
    #[error("explain {layer}: its documentation has no formula of the number of parameters")]
    Formula { layer: &'static str },
    /// The kept measurements are damaged.
    #[error(transparent)]
    Measured(#[from] anyhow::Error),
}

/// The number of free parameters.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    /// The documentation's formula.
    pub formula: String,
    /// What its letters stand for.
    pub letters: String,
    /// The formula with numbers put in.
    pub substituted: String,
    /// What the layer itself says.
    pub parameters: usize,
}

/// All about one layer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What one types: `rational-quadratic`.
    pub name: String,
    /// The type: `RationalQuadratic`.
    pub layer: &'static str,
    /// Its source file.
    pub file: String,
    /// What it does, as Markdown.
    pub summary: String,
    /// Formula, Parameters, Inverse, Gradient, Source: Markdown.
    pub sections: Vec<Section>,
    /// What a spline's knots are, where the layer has them.
    pub knots: Option<Head>,
    /// Free parameters.
    pub count: Count,
    /// Bytes of packed weights, constants included.
    pub bytes: usize,
    /// Multiply-adds of one forward pass.
    pub multiply_adds: usize,
    /// Instructions of one forward pass on microcontrollers, at the shape that was measured.
    pub measured: Option<Measured>,
    /// What it does to one number, where that is a curve.
    pub curve: Option<Curve>,
}

/// What one types for a layer: `rational-quadratic`.
pub fn name(layer: Layer) -> String {
    layer.file().replace('_', "-")
}

/// The layer that `text` names: its file or type in any case, with `-` or `_` or nothing between
/// the words.
///
/// # Errors
///
/// [`Error::Unknown`] with the names that may be meant.
pub fn find(text: &str) -> Result<Layer, Error> {
    let key = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = key(text);
    if let Some(layer) =
        Layer::ALL.iter().find(|layer| key(layer.file()) == wanted || key(layer.name()) == wanted)
    {
        return Ok(*layer);
    }
    let near = |layer: &&Layer| {
        let name = key(layer.file());
        let sentence = Head::of(layer.source()).first_sentence().to_lowercase();
        let mut words = sentence.split(|c: char| !c.is_alphanumeric());
        name.contains(&wanted)
            || wanted.contains(&name)
            || words.any(|word| word == text.to_lowercase())
            || strsim::jaro_winkler(&name, &wanted) > 0.8
    };
    let names: Vec<String> = Layer::ALL.iter().filter(near).map(|layer| name(*layer)).collect();
    let near = match &names[..] {
        _ if wanted.is_empty() => "`fluxlet explain` lists them".into(),
        [] => "`fluxlet explain` lists them".into(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    Err(Error::Unknown { name: text.into(), near })
}

/// The head of a layer's file and the formula of its number of parameters.
fn documentation(layer: Layer) -> Result<(Head, String), Error> {
    let head = Head::of(layer.source());
    let formula = head.section("Parameters").and_then(formula::of_section).map(str::to_string);
    Ok((head, formula.ok_or(Error::Formula { layer: layer.name() })?))
}

impl Explanation {
    /// Explains a layer for D and K (or M, or what else its argument counts).
    ///
    /// # Errors
    ///
    /// [`Error`] says what there is not.
    pub fn new(layer: Layer, dim: usize, arg: Option<usize>) -> Result<Self, Error> {
        let shape = shape::example(layer, dim, arg).ok_or_else(|| Error::Shape {
            layer: layer.name(),
            dim,
            arg: arg
                .map(|arg| format!(" and {arg} bins, reflections or terms"))
                .unwrap_or_default(),
        })?;
        let (head, formula) = documentation(layer)?;
        let knots = layer.source().contains(KNOTS_LINK).then(|| Head::of(KNOTS));
        Ok(Self {
            name: name(layer),
            layer: layer.name(),
            file: format!("src/bijection/{}.rs", layer.file()),
            count: Count::new(layer, shape, formula)?,
            summary: head.summary,
            sections: head.sections,
            knots,
            bytes: 4 * layer.weight_len(shape),
            multiply_adds: layer.multiply_adds(shape),
            measured: measured::of(layer)?,
            curve: Curve::of(layer),
        })
    }
}

impl Count {
    fn new(layer: Layer, shape: Shape, formula: String) -> Result<Self, Error> {
        let letters = shape::letters(shape, &formula);
        let substituted = formula::substitute(&formula, &letters)
            .ok_or(Error::Formula { layer: layer.name() })?;
        let (letters, parameters) = (shape::say(&letters), layer.theta_len(shape));
        Ok(Self { formula, letters, substituted, parameters })
    }
}

/// A line of the table of layers.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What one types.
    pub name: String,
    /// The type.
    pub layer: &'static str,
    /// The first sentence of its documentation.
    pub what: String,
    /// The formula of its number of parameters, or `network`.
    pub parameters: String,
}

/// Every layer in one line.
///
/// # Errors
///
/// [`Error::Formula`] when a file's head has none.
pub fn lines() -> Result<Vec<Line>, Error> {
    let line = |&layer: &Layer| {
        let (head, formula) = documentation(layer)?;
        let parameters = if layer.is_conditioned() { "network".into() } else { formula };
        let what = head.first_sentence().replace('\n', " ");
        Ok(Line { name: name(layer), layer: layer.name(), what, parameters })
    };
    Layer::ALL.iter().map(line).collect()
}
