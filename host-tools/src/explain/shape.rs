//! The shape at which a layer is explained and measured.

use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, Network};

/// D where nothing else is asked for.
pub const DIM: usize = 8;
/// Context of a layer that reads one.
const CONTEXT: usize = 2;

/// The layer's shape for D and K (or M, or what else its argument counts); `None` where no such
/// layer exists.
pub fn example(layer: Layer, dim: usize, arg: Option<usize>) -> Option<Shape> {
    candidates(layer, dim, arg).find(|shape| dim > 0 && layer.exists(*shape))
}

/// The argument where nothing else is asked for.
fn usual(layer: Layer) -> usize {
    match layer.file() {
        // Bins, and terms of a series.
        "rational_quadratic" | "rational_linear" | "matrix_exponential" | "coupling"
        | "autoregressive" | "domain" => 8,
        // Reflections, units, ...
        _ => 4,
    }
}

/// Shapes in the order in which they are worth a try.
fn candidates(layer: Layer, dim: usize, arg: Option<usize>) -> impl Iterator<Item = Shape> {
    let any = [0, usual(layer)].into_iter().chain(1..=64);
    let args: Vec<usize> = match arg {
        Some(arg) => vec![arg],
        None if layer.is_conditioned() => vec![usual(layer)],
        None => any.collect(),
    };
    args.into_iter().map(move |arg| {
        let shape = Shape::new(dim, arg, 0);
        if layer.is_conditioned() { conditioned(layer, shape) } else { shape }
    })
}

/// A small network in front of a layer: two hidden layers of 16 units; rational-quadratic splines
/// behind half of D in a coupling, reflections that turn with two numbers of context.
fn conditioned(layer: Layer, shape: Shape) -> Shape {
    let network = Network { hidden: [16, 16, 0, 0], activation: Activation::Relu };
    let (transformer, context) = match layer {
        Layer::Conditional => (Layer::Householder, CONTEXT),
        _ => (Layer::RationalQuadratic, 0),
    };
    let split = if layer == Layer::Coupling { shape.dim / 2 } else { 0 };
    let option = if context > 0 { option::CONTEXT } else { 0 };
    Shape { context, split, transformer, network, option, ..shape }
}

/// The shape in the letters of the documentation. `formula` says which letter the argument has: K
/// where a network gives the maps, N where it counts no parameters.
pub fn letters(shape: Shape, formula: &str) -> Vec<(char, usize)> {
    let other = if formula.contains('W') { 'K' } else { 'N' };
    let argument = ['K', 'M'].into_iter().find(|letter| formula.contains(*letter)).unwrap_or(other);
    let all = [
        ('D', shape.dim),
        (argument, shape.arg),
        ('C', shape.context),
        ('d', shape.split),
        ('H', usize::from(shape.network.hidden[0])),
        // What masks leave is counted: it has no formula in these letters.
        ('W', if formula.contains('W') { Layer::Autoregressive.theta_len(shape) } else { 0 }),
    ];
    let said = |(letter, value): &(char, usize)| *value > 0 || formula.contains(*letter);
    all.into_iter().filter(said).collect()
}

/// `D = 8, K = 8`; W, which follows from the others, is not among them.
pub fn say(letters: &[(char, usize)]) -> String {
    let given = letters.iter().filter(|(letter, _)| *letter != 'W');
    let parts: Vec<String> = given.map(|(letter, value)| format!("{letter} = {value}")).collect();
    parts.join(", ")
}
