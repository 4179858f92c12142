//! nflows' neural spline flows, from data to noise.

use fluxlet::bijection::{Layer, MIN_BIN, MIN_SLOPE, Shape, option};

use super::Source;
use super::network::{self, Linear, Trained, activation};
use super::parts::{self, Part, free_slope, inverse_order};

/// The layers of ours that a transform is.
pub(super) fn layer(kind: &str, source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    match kind {
        "PiecewiseRationalQuadraticCouplingTransform" => coupling(source),
        "MaskedPiecewiseRationalQuadraticAutoregressiveTransform" => {
            Ok(vec![autoregressive(source)?])
        }
        "LULinear" => lower_upper(source),
        "Permutation" => parts::permutation(&source.permutation("permutation", dim)?),
        "ActNorm" => {
            let (log_scale, shift) =
                (source.values("log_scale", &[dim])?, source.values("shift", &[dim])?);
            let scale: Vec<f64> = log_scale.into_iter().map(libm::exp).collect();
            scale_and_shift(&scale, &shift)
        }
        "PointwiseAffineTransform" | "AffineTransform" => {
            scale_and_shift(&source.values("scale", &[dim])?, &source.values("shift", &[dim])?)
        }
        "BatchNorm" => batch_norm(source),
        _ => Err("no such layer exists here".into()),
    }
}

/// z = scale x + shift.
fn scale_and_shift(scale: &[f64], shift: &[f64]) -> Result<Vec<Part>, String> {
    let minus: Vec<f64> = shift.iter().zip(scale).map(|(shift, scale)| -shift / scale).collect();
    parts::affine(&minus, scale)
}

fn softplus(a: f64) -> f64 {
    a.max(0.0) + libm::log1p(libm::exp(-a.abs()))
}

fn batch_norm(source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    let read = |name: &str| source.values(name, &[dim]);
    let epsilon = source.number("eps")?;
    let (weight, variance) = (read("unconstrained_weight")?, read("running_var")?);
    let scale: Vec<f64> = weight
        .iter()
        .zip(&variance)
        .map(|(weight, variance)| (softplus(*weight) + epsilon) / libm::sqrt(variance + epsilon))
        .collect();
    let (mean, bias) = (read("running_mean")?, read("bias")?);
    let shift: Vec<f64> = (0..dim).map(|i| bias[i] - mean[i] * scale[i]).collect();
    scale_and_shift(&scale, &shift)
}

fn lower_upper(source: &Source) -> Result<Vec<Part>, String> {
    let dim = source.dim;
    let half = dim * (dim - 1) / 2;
    let lower = source.values("lower_entries", &[half])?;
    let upper = source.values("upper_entries", &[half])?;
    let diagonal = source.values("unconstrained_upper_diag", &[dim])?;
    let epsilon = source.number("eps")?;
    let (mut lower, mut upper) = (lower.into_iter(), upper.into_iter());
    let mut matrix = vec![0.0; dim * dim];
    for i in 0..dim {
        for j in 0..dim {
            matrix[i * dim + j] = match i.cmp(&j) {
                std::cmp::Ordering::Greater => lower.next().unwrap_or(0.0),
                std::cmp::Ordering::Less => upper.next().unwrap_or(0.0),
                std::cmp::Ordering::Equal => softplus(diagonal[i]) + epsilon,
            };
        }
    }
    let order: Vec<usize> = (0..dim).collect();
    let mut built = vec![parts::lower_upper(&matrix, &order, 1)?];
    built.extend(parts::shift(&source.values("bias", &[dim])?)?);
    Ok(built)
}

/// Bins of the splines, once everything about them is known to be as ours.
fn bins(source: &Source) -> Result<usize, String> {
    if source.text("tails")? != "linear" {
        return Err(format!("tails = \"{}\"", source.text("tails")?));
    }
    let floors =
        [("min_bin_width", MIN_BIN), ("min_bin_height", MIN_BIN), ("min_derivative", MIN_SLOPE)];
    for (name, ours) in floors {
        let theirs = source.number(name)?;
        if theirs != ours {
            return Err(format!("{name} = {theirs}, only {ours} is known here"));
        }
    }
    if source.count("context_features")? > 0 {
        return Err("context_features: its networks read a context otherwise than ours".into());
    }
    source.count("num_bins")
}

/// The linear layers of a residual network.
fn residual(source: &Source, prefix: &str) -> Result<Vec<Linear>, String> {
    let mut layers = vec![Linear::read(source, &format!("{prefix}.initial_layer"))?];
    for block in 0..source.count("num_blocks")? {
        for half in 0..2 {
            let name = format!("{prefix}.blocks.{block}.linear_layers.{half}");
            layers.push(Linear::read(source, &name)?);
        }
    }
    layers.push(Linear::read(source, &format!("{prefix}.final_layer"))?);
    Ok(layers)
}

/// Divides the logits of widths and heights, the first 2 K of each spline's outputs, by √n.
fn divide_logits(source: &Source, bins: usize, outputs: &mut Linear) -> Result<(), String> {
    let factor = 1.0 / libm::sqrt(source.number("divide_logits_by_sqrt")?);
    for row in (0..outputs.rows()).filter(|row| row % (3 * bins - 1) < 2 * bins) {
        outputs.scale_row(row, factor);
    }
    Ok(())
}

fn trained<'a>(
    source: &Source,
    mut layers: Vec<Linear>,
    bins: usize,
    inputs: Vec<usize>,
    output: &'a dyn Fn(usize, usize) -> Option<usize>,
) -> Result<Trained<'a>, String> {
    if let Some(last) = layers.last_mut() {
        divide_logits(source, bins, last)?;
    }
    let hidden = vec![source.count("hidden_features")?, source.count("num_blocks")?];
    let activation = activation(source.text("activation")?)?;
    Ok(Trained { layers, skip: None, inputs, output, activation, hidden })
}

fn constants(source: &Source) -> Result<[f64; 3], String> {
    let bound = source.number("tail_bound")?;
    Ok([-bound, bound, free_slope(1.0)])
}

fn coupling(source: &Source) -> Result<Vec<Part>, String> {
    if source.flag("unconditional_transform") {
        return Err("unconditional_transform = true".into());
    }
    let bins = bins(source)?;
    let (first, second) =
        (source.counts("identity_features")?, source.counts("transform_features")?);
    let order: Vec<usize> = first.iter().chain(&second).copied().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..source.dim) {
        return Err("its features are not each once in one of its parts".into());
    }
    let output = |_, row: usize| Some(row);
    let layers = residual(source, "transform_net")?;
    let network = trained(source, layers, bins, (0..first.len()).collect(), &output)?;
    let mut shape = Shape::new(source.dim, bins, option::RESIDUAL);
    shape.split = first.len();
    let shape = network::shape(shape, Layer::RationalQuadratic, 0, &network)?;
    let mut part = network::part(Layer::Coupling, shape, &network)?;
    part.w[..3].copy_from_slice(&constants(source)?);
    let mut built = parts::permutation(&order)?;
    built.push(part);
    built.extend(parts::permutation(&inverse_order(&order))?);
    Ok(built)
}

fn autoregressive(source: &Source) -> Result<Part, String> {
    if !source.flag("use_residual_blocks") {
        return Err("use_residual_blocks = false".into());
    }
    let (dim, bins) = (source.dim, bins(source)?);
    let each = 3 * bins - 1;
    let output = |known: usize, row: usize| Some(known * each + row);
    let layers = residual(source, "autoregressive_net")?;
    let network = trained(source, layers, bins, (0..dim).collect(), &output)?;
    let shape = Shape::new(dim, bins, option::RESIDUAL);
    let shape = network::shape(shape, Layer::RationalQuadratic, 0, &network)?;
    let mut part = network::part(Layer::Autoregressive, shape, &network)?;
    part.w[..3].copy_from_slice(&constants(source)?);
    Ok(part)
}
