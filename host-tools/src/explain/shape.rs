//! The shape at which a layer is explained and measured.

use fluxlet::bijection::{Layer, Shape};
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
        "rational_quadratic" | "rational_linear" | "matrix_exponential" => 8,
        // Reflections, units, ...
        _ => 4,
    }
}

/// Shapes in the order in which they are worth a try.
fn candidates(layer: Layer, dim: usize, arg: Option<usize>) -> impl Iterator<Item = Shape> {
    let any = [0, usual(layer)].into_iter().chain(1..=64);
    let args: Vec<usize> = arg.map_or_else(|| any.collect(), |arg| vec![arg]);
    args.into_iter().flat_map(move |arg| {
        (0..8).flat_map(move |option| {
            let shape = Shape::new(dim, arg, option);
            if layer.is_conditioned() { conditioned(shape) } else { vec![shape] }
        })
    })
}

/// A small network in front of a layer: two hidden layers of 16 units, half of D in a coupling's
/// first part.
fn conditioned(shape: Shape) -> Vec<Shape> {
    let network = Network { hidden: [16, 16, 0, 0], activation: Activation::Relu };
    let transformers = [Layer::RationalQuadratic, Layer::Affine];
    let mut shapes = Vec::new();
    for transformer in transformers {
        for (context, split) in [(0, 0), (0, shape.dim / 2), (CONTEXT, 0), (CONTEXT, shape.dim / 2)]
        {
            shapes.push(Shape { context, split, transformer, network, ..shape });
        }
    }
    shapes
}

/// The shape in the letters of the documentation. `formula` says which letter the argument has: N
/// where it counts no parameters.
pub fn letters(shape: Shape, formula: &str) -> Vec<(char, usize)> {
    let argument = ['K', 'M'].into_iter().find(|letter| formula.contains(*letter)).unwrap_or('N');
    let all = [
        ('D', shape.dim),
        (argument, shape.arg),
        ('C', shape.context),
        ('d', shape.split),
        ('H', usize::from(shape.network.hidden[0])),
    ];
    let said = |(letter, value): &(char, usize)| *value > 0 || formula.contains(*letter);
    all.into_iter().filter(said).collect()
}

/// `D = 8, K = 8`.
pub fn say(letters: &[(char, usize)]) -> String {
    let parts: Vec<String> =
        letters.iter().map(|(letter, value)| format!("{letter} = {value}")).collect();
    parts.join(", ")
}
