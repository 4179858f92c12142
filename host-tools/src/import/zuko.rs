//! zuko's neural spline flows, from data to noise.

use fluxlet::bijection::{Layer, Shape, option};

use super::Source;
use super::network::{self, Linear, Trained, activation};
use super::parts::{self, Part, inverse_order};

/// The only slope limit that the soft form knows, zuko's default.
const SLOPE: f64 = 1e-3;

/// The layers of ours that a transform is.
pub(super) fn layer(kind: &str, source: &Source) -> Result<Vec<Part>, String> {
    if kind != "MaskedAutoregressiveTransform" {
        return Err("no such layer exists here".into());
    }
    if source.text("univariate")? != "MonotonicRQSTransform" {
        return Err(format!("the transformer {}", source.text("univariate")?));
    }
    let (bins, slope) = (source.count("bins")?, source.number("slope")?);
    if slope != SLOPE {
        return Err(format!("slope = {slope}, only {SLOPE} is known here"));
    }
    if source.flag("residual") {
        return Err("residual = true: its blocks have another form than ours".into());
    }
    let hyper = source.config["hyper"].as_array().ok_or("no list \"hyper\"")?;
    let known = ["linear", "activation"];
    if let Some(other) = hyper.iter().find(|module| !known.iter().any(|name| *module == name)) {
        return Err(format!("the module {other} of its network"));
    }
    let linear = hyper.iter().enumerate().filter(|(_, module)| *module == "linear");
    let layers: Vec<Linear> = linear
        .map(|(i, _)| Linear::read(source, &format!("hyper.{i}")))
        .collect::<Result<_, _>>()?;
    if layers.len() < 2 {
        return Err("a network without hidden layers".into());
    }
    let order = source.counts("order")?;
    if order.len() != source.dim {
        return Err("its order is not of all features".into());
    }
    match source.count("passes")? {
        2 if source.dim > 2 => coupling(source, layers, &order, bins),
        passes if passes == source.dim => autoregressive(source, layers, &order, bins),
        passes => Err(format!("passes = {passes}, only 2 and {} are known here", source.dim)),
    }
}

fn trained<'a>(
    source: &Source,
    layers: Vec<Linear>,
    inputs: Vec<usize>,
    output: &'a dyn Fn(usize, usize) -> Option<usize>,
) -> Result<Trained<'a>, String> {
    let hidden = layers[..layers.len() - 1].iter().map(Linear::rows).collect();
    let activation = activation(source.text("activation")?)?;
    Ok(Trained { layers, skip: None, inputs, output, activation, hidden })
}

/// Limits, and the free number of the outer slope, exp(0).
fn constants(source: &Source) -> Result<[f64; 3], String> {
    let bound = source.number("bound")?;
    Ok([-bound, bound, 0.0])
}

fn autoregressive(
    source: &Source,
    layers: Vec<Linear>,
    steps: &[usize],
    bins: usize,
) -> Result<Vec<Part>, String> {
    let (dim, context) = (source.dim, source.context);
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by_key(|feature| steps[*feature]);
    // zuko's networks read the features first.
    let inputs = (dim..dim + context).chain(order.iter().copied()).collect();
    let each = 3 * bins - 1;
    let output = |known: usize, row: usize| Some(order[known] * each + row);
    let network = trained(source, layers, inputs, &output)?;
    let shape = Shape::new(dim, bins, option::SOFT);
    let shape = network::shape(shape, Layer::RationalQuadratic, context, &network)?;
    let mut part = network::part(Layer::Autoregressive, shape, &network)?;
    part.w[..3].copy_from_slice(&constants(source)?);
    for (w, feature) in part.w[3..].iter_mut().zip(&order) {
        *w = *feature as f64;
    }
    Ok(vec![part])
}

/// Features of step 0 have splines of their own, those of step 1 get theirs from them.
fn coupling(
    source: &Source,
    layers: Vec<Linear>,
    steps: &[usize],
    bins: usize,
) -> Result<Vec<Part>, String> {
    if source.context > 0 {
        return Err("passes = 2 with a context".into());
    }
    let dim = source.dim;
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by_key(|feature| steps[*feature]);
    let split = steps.iter().filter(|step| **step == 0).count();
    let (first, second) = order.split_at(split);
    let each = 3 * bins - 1;
    let bias = layers.last().map_or(&[][..], Linear::bias).to_vec();
    let output = |_, row: usize| Some(second[row / each] * each + row % each);
    let network = trained(source, layers, first.to_vec(), &output)?;
    let mut shape = Shape::new(dim, bins, option::SOFT | option::FIRST_SPLINE);
    shape.split = split;
    let shape = network::shape(shape, Layer::RationalQuadratic, 0, &network)?;
    let mut part = network::part(Layer::Coupling, shape, &network)?;
    let constants = constants(source)?;
    part.w[..3].copy_from_slice(&constants);
    // Outputs that nothing is read for are their biases.
    let knots = part.w[3..].chunks_exact_mut(3 * bins + 3);
    for (feature, knots) in first.iter().zip(knots) {
        let raw = bias.get(feature * each..(feature + 1) * each).ok_or("too few outputs")?;
        static_spline(raw, constants[1], bins, knots);
    }
    let mut built = parts::permutation(&order)?;
    built.push(part);
    built.extend(parts::permutation(&inverse_order(&order))?);
    Ok(built)
}

/// The knots \[K + 1, 3\] that raw outputs mean.
fn static_spline(raw: &[f64], bound: f64, bins: usize, knots: &mut [f64]) {
    let limit = -parts::ln(SLOPE);
    let clip = |a: f64, limit: f64| a / (1.0 + (a / limit).abs());
    for axis in [0, 1] {
        let logits = &raw[axis * bins..(axis + 1) * bins];
        let powers: Vec<f64> = logits.iter().map(|a| libm::exp(clip(*a, limit / 2.0))).collect();
        let total: f64 = powers.iter().sum();
        let mut share = 0.0;
        knots[axis] = -bound;
        for (j, power) in powers.iter().enumerate() {
            share += power / total;
            knots[3 * (j + 1) + axis] = bound * (2.0 * share - 1.0);
        }
        knots[3 * bins + axis] = bound;
    }
    for j in 0..=bins {
        let inner = (1..bins).contains(&j);
        let free = if inner { clip(raw[2 * bins + j - 1], limit) } else { 0.0 };
        knots[3 * j + 2] = libm::exp(free);
    }
}
