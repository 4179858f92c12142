//! Pyro's transforms, each in the direction of its own `__call__`, from noise to data.

use fluxlet::bijection::{Dct, Layer, Shape, option};

use super::Source;
use super::network::{self, Linear, Trained, activation};
use super::parts::{self, Part, free_slope, ln};

/// Slope of Pyro's splines at their outer knots: the pad of 1 − 1e-3 is not lifted by the floor.
const OUTER_SLOPE: f64 = 0.999;

/// The layers of ours that a transform is.
pub(super) fn layer(kind: &str, source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    let plain = |layer, arg, option| -> Result<Vec<Part>, String> {
        Ok(vec![Part::neutral(layer, Shape::new(dim, arg, option))?])
    };
    if source.config["dim"].as_i64().is_some_and(|axis| axis != -1) {
        return Err("it works along another axis than the last".into());
    }
    match kind {
        "Spline" => Ok(vec![spline(source, "", dim)?]),
        "SplineCoupling" => Ok(vec![spline_coupling(source)?]),
        "ConditionalSpline" => Ok(vec![conditional_spline(source)?]),
        "SplineAutoregressive" => Ok(vec![autoregressive(source, "arn", true, 0)?]),
        "ConditionalSplineAutoregressive" => {
            Ok(vec![autoregressive(source, "nn", true, source.context)?])
        }
        "AffineAutoregressive" => Ok(vec![autoregressive(source, "arn", false, 0)?]),
        "ConditionalAffineAutoregressive" => {
            Ok(vec![autoregressive(source, "nn", false, source.context)?])
        }
        "AffineCoupling" => Ok(vec![affine_coupling(source, 0)?]),
        "ConditionalAffineCoupling" => Ok(vec![affine_coupling(source, source.context)?]),
        "Householder" => {
            let count = source.count("count_transforms")?;
            Ok(vec![parts::householder(&source.values("u_unnormed", &[count, dim])?, dim)?])
        }
        "ConditionalHouseholder" => {
            let count = source.count("count_transforms")?;
            Ok(vec![conditional(source, Layer::Householder, count, &|row| Some(row))?])
        }
        "MatrixExponential" => {
            let matrix = source.values("weights", &[dim, dim])?;
            let shape = Shape::new(dim, source.count("iterations")?, 0);
            let mut part = Part::neutral(Layer::MatrixExponential, shape)?;
            part.layer.constrain(shape, &matrix, &mut part.w);
            Ok(vec![part])
        }
        "ConditionalMatrixExponential" => {
            let terms = source.count("iterations")?;
            Ok(vec![conditional(source, Layer::MatrixExponential, terms, &|row| Some(row))?])
        }
        "GeneralizedChannelPermute" => {
            let (channels, copies) = channels(source)?;
            let order = channel_order(source, channels)?;
            let matrix = source.values("LU", &[channels, channels])?;
            Ok(vec![parts::lower_upper(&matrix, &order, copies)?])
        }
        "ConditionalGeneralizedChannelPermute" => conditional_channels(source),
        "Permute" => {
            let order = source.permutation("arg.permutation", dim)?;
            parts::permutation(&order)
        }
        "AffineTransform" => {
            let (loc, scale) =
                (source.values("arg.loc", &[dim])?, source.values("arg.scale", &[dim])?);
            // y = loc + scale x = (x + loc/scale) scale.
            let shift: Vec<f64> = loc.iter().zip(&scale).map(|(l, s)| -l / s).collect();
            parts::affine(&shift, &scale)
        }
        "LowerCholeskyAffine" => lower_cholesky(source),
        "BatchNorm" => batch_norm(source),
        "DiscreteCosineTransform" => {
            let mut part = Part::neutral(Layer::Dct, Shape::new(dim, 0, 0))?;
            Dct::smoothed(part.shape, source.number("smooth")?, 0.0, &mut part.w);
            Ok(vec![part])
        }
        "HaarTransform" => plain(Layer::Haar, 0, u8::from(source.flag("flip"))),
        "TanhTransform" => plain(Layer::Tanh, 0, 0),
        "SoftplusTransform" => plain(Layer::Softplus, 0, 0),
        "ExpTransform" => plain(Layer::Exp, 0, 0),
        "LeakyReLUTransform" => {
            let mut part = Part::neutral(Layer::LeakyRelu, Shape::new(dim, 0, 0))?;
            part.w[0] = 0.01;
            Ok(vec![part])
        }
        "SigmoidTransform" => {
            // σ(x) = (tanh(x/2) + 1)/2.
            let mut built = parts::affine(&vec![0.0; dim], &vec![0.5; dim])?;
            built.extend(plain(Layer::Tanh, 0, 0)?);
            built.extend(parts::affine(&vec![-1.0; dim], &vec![0.5; dim])?);
            Ok(built)
        }
        _ => Err("no such layer exists here".into()),
    }
}

fn spline_layer(source: &Source) -> Result<(Layer, usize), String> {
    let layer = match source.text("order")? {
        "linear" => Layer::RationalLinear,
        "quadratic" => Layer::RationalQuadratic,
        order => return Err(format!("a spline of order \"{order}\"")),
    };
    Ok((layer, source.count("count_bins")?))
}

/// θ of static splines: widths, heights, inner slopes and λ of each dimension.
fn spline_theta(source: &Source, prefix: &str, dim: usize) -> Result<Vec<f64>, String> {
    let (layer, bins) = spline_layer(source)?;
    let mut tables = vec![("widths", bins), ("heights", bins), ("derivatives", bins - 1)];
    if layer == Layer::RationalLinear {
        tables.push(("lambdas", bins));
    }
    let mut columns = Vec::new();
    for (name, len) in tables {
        let values = source.values(&format!("{prefix}unnormalized_{name}"), &[dim, len])?;
        columns.push((values, len));
    }
    let row = |i: usize| columns.iter().flat_map(move |(v, len)| &v[i * len..(i + 1) * len]);
    Ok((0..dim).flat_map(row).copied().collect())
}

fn spline(source: &Source, prefix: &str, dim: usize) -> Result<Part, String> {
    let (layer, bins) = spline_layer(source)?;
    let theta = spline_theta(source, prefix, dim)?;
    parts::spline(layer, (dim, bins), source.number("bound")?, OUTER_SLOPE, &theta)
}

/// The dense layers `prefix.layers.i`.
fn dense(source: &Source, prefix: &str) -> Result<Vec<Linear>, String> {
    let count = (0..).take_while(|i| source.has(&format!("{prefix}.layers.{i}.weight"))).count();
    if count < 2 {
        return Err(format!("no network {prefix}.layers"));
    }
    (0..count).map(|i| Linear::read(source, &format!("{prefix}.layers.{i}"))).collect()
}

fn trained<'a>(
    source: &Source,
    layers: Vec<Linear>,
    inputs: Vec<usize>,
    output: &'a dyn Fn(usize, usize) -> Option<usize>,
) -> Result<Trained<'a>, String> {
    let hidden = layers[..layers.len() - 1].iter().map(Linear::rows).collect();
    let activation = activation(source.text("nonlinearity")?)?;
    Ok(Trained { layers, skip: None, inputs, output, activation, hidden })
}

/// Where output `p` of the `i`-th of `count` splines stands in a dense network's outputs, which come
/// as widths of all, heights of all, inner slopes of all, λ of all.
fn dense_row(bins: usize, count: usize, i: usize, p: usize) -> usize {
    match p {
        p if p < bins => i * bins + p,
        p if p < 2 * bins => count * bins + i * bins + p - bins,
        p if p < 3 * bins - 1 => 2 * count * bins + i * (bins - 1) + p - 2 * bins,
        p => count * (3 * bins - 1) + i * bins + p - (3 * bins - 1),
    }
}

/// The spline constants of a layer with a network: limits and the free number of the outer slope.
fn write_constants(source: &Source, w: &mut [f64]) -> Result<(), String> {
    let bound = source.number("bound")?;
    w[..3].copy_from_slice(&[-bound, bound, free_slope(OUTER_SLOPE)]);
    Ok(())
}

fn spline_outputs(layer: Layer, bins: usize) -> usize {
    if layer == Layer::RationalLinear { 4 * bins - 1 } else { 3 * bins - 1 }
}

fn spline_coupling(source: &Source) -> Result<Part, String> {
    let (dim, split) = (source.dim, source.count("split_dim")?);
    let (layer, bins) = spline_layer(source)?;
    let count = dim.checked_sub(split).ok_or("its split is beyond its dimension")?;
    let each = spline_outputs(layer, bins);
    let output = |_, row: usize| Some(dense_row(bins, count, row / each, row % each));
    let layers = dense(source, "upper_spline.nn")?;
    let network = trained(source, layers, (0..split).collect(), &output)?;
    let first = !source.flag("identity");
    let mut shape = Shape::new(dim, bins, if first { option::FIRST_SPLINE } else { 0 });
    shape.split = split;
    let shape = network::shape(shape, layer, 0, &network)?;
    let mut part = network::part(Layer::Coupling, shape, &network)?;
    write_constants(source, &mut part.w)?;
    if first {
        let lower = spline(source, "lower_spline.", split)?;
        part.w[3..3 + lower.w.len()].copy_from_slice(&lower.w);
    }
    Ok(part)
}

fn conditional_spline(source: &Source) -> Result<Part, String> {
    let (dim, context) = (source.dim, source.context);
    let (layer, bins) = spline_layer(source)?;
    let each = spline_outputs(layer, bins);
    let output = |_, row: usize| Some(dense_row(bins, dim, row / each, row % each));
    let network = trained(source, dense(source, "nn")?, (0..context).collect(), &output)?;
    let shape = network::shape(Shape::new(dim, bins, 0), layer, context, &network)?;
    let mut part = network::part(Layer::Coupling, shape, &network)?;
    write_constants(source, &mut part.w)?;
    Ok(part)
}

fn affine_coupling(source: &Source, context: usize) -> Result<Part, String> {
    let (dim, split) = (source.dim, source.count("split_dim")?);
    let count = dim.checked_sub(split).ok_or("its split is beyond its dimension")?;
    let output = |_, row: usize| Some(row % 2 * count + row / 2);
    let inputs = (0..context + split).collect();
    let network = trained(source, dense(source, "nn")?, inputs, &output)?;
    let mut shape = Shape::new(dim, 0, 0);
    shape.split = split;
    let shape = network::shape(shape, Layer::Affine, context, &network)?;
    let mut part = network::part(Layer::Coupling, shape, &network)?;
    write_clips(source, &mut part.w)?;
    Ok(part)
}

fn write_clips(source: &Source, w: &mut [f64]) -> Result<(), String> {
    w[0] = source.number("log_scale_min_clip")?;
    w[1] = source.number("log_scale_max_clip")?;
    w[2] = source.number("sigmoid_bias").unwrap_or(0.0);
    Ok(())
}

fn autoregressive(
    source: &Source,
    prefix: &str,
    splines: bool,
    context: usize,
) -> Result<Part, String> {
    let dim = source.dim;
    let order = source.permutation(&format!("{prefix}.permutation"), dim)?;
    let (layer, bins) = if splines { spline_layer(source)? } else { (Layer::Affine, 0) };
    let inputs = (0..context).chain(order.iter().map(|i| context + i)).collect();
    let output = |known: usize, row: usize| Some(row * dim + order[known]);
    let mut network = trained(source, dense(source, prefix)?, inputs, &output)?;
    if source.has(&format!("{prefix}.skip_layer.weight")) {
        network.skip = Some(Linear::read(source, &format!("{prefix}.skip_layer"))?);
    }
    let gated = if source.flag("stable") { option::SOFT } else { 0 };
    let shape = network::shape(Shape::new(dim, bins, gated), layer, context, &network)?;
    let mut part = network::part(Layer::Autoregressive, shape, &network)?;
    if splines {
        write_constants(source, &mut part.w)?;
    } else {
        write_clips(source, &mut part.w)?;
    }
    for (w, i) in part.w[3..].iter_mut().zip(&order) {
        *w = *i as f64;
    }
    Ok(part)
}

/// A layer whose free parameters the network `nn` gives; `row` says where each stands among its outputs.
fn conditional(
    source: &Source,
    layer: Layer,
    arg: usize,
    row: &dyn Fn(usize) -> Option<usize>,
) -> Result<Part, String> {
    let output = |_, output: usize| row(output);
    let inputs = (0..source.context).collect();
    let network = trained(source, dense(source, "nn")?, inputs, &output)?;
    let shape = Shape::new(source.dim, arg, 0);
    let shape = network::shape(shape, layer, source.context, &network)?;
    network::part(Layer::Conditional, shape, &network)
}

/// Channels, and the pixels of each; values stand channel by channel.
fn channels(source: &Source) -> Result<(usize, usize), String> {
    let event = source.counts("event_shape")?;
    let channels = source.count("channels")?;
    let whole = event.first() == Some(&channels) && event.iter().product::<usize>() == source.dim;
    if whole {
        Ok((channels, source.dim / channels))
    } else {
        Err(format!("an event of {event:?}"))
    }
}

/// Position of the 1 in each row of a permutation matrix.
fn channel_order(source: &Source, channels: usize) -> Result<Vec<usize>, String> {
    let matrix = source.values("permutation", &[channels, channels])?;
    let one = |row: &[f64]| row.iter().position(|entry| *entry == 1.0);
    let order: Option<Vec<usize>> = matrix.chunks_exact(channels).map(one).collect();
    let order = order.filter(|order| {
        let whole = matrix.iter().sum::<f64>() == channels as f64;
        whole && (0..channels).all(|place| order.contains(&place))
    });
    order.ok_or_else(|| "its matrix \"permutation\" is none".into())
}

fn conditional_channels(source: &Source) -> Result<Vec<Part>, String> {
    let (channels, copies) = channels(source)?;
    let order = channel_order(source, channels)?;
    let dim = source.dim;
    // Entry (i, j) of the channels' matrix stands at every pixel's own place of the whole one.
    let row = |entry: usize| {
        let (row, column) = (entry / dim, entry % dim);
        let same = row % copies == column % copies;
        same.then_some(row / copies * channels + column / copies)
    };
    let linear = conditional(source, Layer::LowerUpper, 0, &row)?;
    let whole: Vec<usize> = (0..dim).map(|i| order[i / copies] * copies + i % copies).collect();
    Ok([linear].into_iter().chain(parts::permutation(&whole)?).collect())
}

fn lower_cholesky(source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    let (loc, matrix) =
        (source.values("arg.loc", &[dim])?, source.values("arg.scale_tril", &[dim, dim])?);
    let mut part = Part::neutral(Layer::LowerCholesky, Shape::new(dim, 0, 0))?;
    let rows = matrix.chunks_exact(dim).enumerate();
    let triangle: Vec<f64> = rows.flat_map(|(i, row)| row[..=i].to_vec()).collect();
    let diagonal: Vec<f64> = matrix.iter().step_by(dim + 1).copied().collect();
    if diagonal.iter().any(|entry| *entry <= 0.0) {
        return Err("a diagonal that is not positive".into());
    }
    let sum = diagonal.into_iter().map(ln).sum();
    part.w = [loc, triangle, vec![sum]].concat();
    Ok(vec![part])
}

/// In evaluation an affine map. From data to noise x = (y − μ) γ̃/√(σ² + ε) + β; this is its inverse.
fn batch_norm(source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    let read = |name: &str| source.values(name, &[dim]);
    let (gamma, beta) = (read("gamma")?, read("beta")?);
    let (mean, variance) = (read("moving_mean")?, read("moving_variance")?);
    let epsilon = source.number("epsilon")?;
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| (gamma.max(0.0) + 1e-6) / libm::sqrt(variance + epsilon))
        .collect();
    let shift: Vec<f64> = (0..dim).map(|i| mean[i] - beta[i] / scale[i]).collect();
    let mut built = parts::affine(&shift, &scale)?;
    parts::turn_round(&mut built);
    Ok(built)
}
