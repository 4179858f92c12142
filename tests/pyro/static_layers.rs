//! Pyro's transforms without a network, as layers of ours.

use fluxlet::bijection::{Dct, Layer, Shape, Tails, option};
use fluxlet::math::Real;

use crate::bins::Site;
use crate::block::{Block, Link, values};
use crate::common::draw::SplineTables;
use crate::common::goldens::Golden;

/// The layer of a case, or `None` where it is none of these.
pub(crate) fn blocks<R: Real>(golden: &Golden, like: R) -> Option<Vec<Block<R>>> {
    let shape = |dim, arg| Shape::new(dim, arg, 0);
    Some(match golden.kind() {
        "Spline" => splines(golden, like),
        "Householder" => {
            let shape = shape(golden.count("input_dim"), golden.count("count_transforms"));
            let links = links("u_unnormed", 0..shape.dim * shape.arg);
            vec![with_parameters(golden, (Layer::Householder, shape), links, |_| {}, like)]
        }
        "DiscreteCosineTransform" => along_axis(golden, |len| {
            let shape = shape(len, 0);
            let smooth = golden.number("smooth");
            let cosines = |w: &mut [R]| Dct::smoothed(shape, smooth, like, w);
            Block::new((Layer::Dct, shape), &[], Vec::new(), cosines, like)
        }),
        "HaarTransform" => along_axis(golden, |len| {
            let flip = golden.entry["config"]["flip"] == true;
            let shape = Shape { option: u8::from(flip), ..shape(len, 0) };
            Block::constant(Layer::Haar, shape, &[], like)
        }),
        "Permute" if golden.entry["config"]["dim"] == -1 => {
            let shape = shape(golden.count("input_dim"), 0);
            let order = golden.tensor("arg.permutation");
            vec![Block::constant(Layer::Permutation, shape, &order, like)]
        }
        "AffineTransform" => {
            let loc = golden.tensor("arg.loc");
            let one = |(i, scale): (usize, f64)| {
                // y = ±(x − shift) |scale|.
                let w = [-loc[i] / scale, scale.abs(), Real::ln(scale.abs())];
                let block = Block::constant(Layer::Affine, shape(1, 0), &w, like).at(vec![i]);
                Block { sign: scale.signum(), ..block }
            };
            golden.tensor("arg.scale").into_iter().enumerate().map(one).collect()
        }
        "BatchNorm" => {
            let [mean, variance] =
                ["moving_mean", "moving_variance"].map(|name| golden.parameter(name));
            batch_norm(golden, &mean, &variance, like)
        }
        "LowerCholeskyAffine" => {
            let dim = golden.count("input_dim");
            let mut w = golden.tensor("arg.loc");
            let triangle = golden.tensor("arg.scale_tril");
            triangle.chunks(dim).enumerate().for_each(|(i, row)| w.extend(&row[..=i]));
            w.push(triangle.iter().step_by(dim + 1).map(|diagonal| Real::ln(*diagonal)).sum());
            vec![Block::constant(Layer::LowerCholesky, shape(dim, 0), &w, like)]
        }
        "MatrixExponential" => {
            let shape = shape(golden.count("input_dim"), golden.count("iterations"));
            let links = links("weights", 0..shape.dim * shape.dim);
            vec![with_parameters(golden, (Layer::MatrixExponential, shape), links, |_| {}, like)]
        }
        "GeneralizedChannelPermute" => {
            let shape = shape(golden.count("channels"), 0);
            let order = order_of_matrix(golden);
            let constants = |w: &mut [R]| {
                for (w, position) in w[shape.dim * shape.dim..].iter_mut().zip(&order) {
                    *w = like.lift(*position as f32);
                }
            };
            let pixel = |places| {
                let links = links("LU", 0..shape.dim * shape.dim);
                let layer = (Layer::LowerUpper, shape);
                with_parameters(golden, layer, links, constants, like).at(places)
            };
            pixels(golden).into_iter().map(pixel).collect()
        }
        _ => return None,
    })
}

/// θ that are Pyro's parameters as they are, from a range of one tensor.
fn links(tensor: &str, range: std::ops::Range<usize>) -> Vec<Link> {
    let link = |(theta, at)| Link { theta, tensor: tensor.to_owned(), at, slope: 1.0 };
    range.enumerate().map(link).collect()
}

/// A layer whose θ are Pyro's parameters as they are, in the order of `links`.
fn with_parameters<R: Real>(
    golden: &Golden,
    layer: (Layer, Shape),
    links: Vec<Link>,
    constants: impl FnOnce(&mut [R]),
    like: R,
) -> Block<R> {
    let theta = values(golden, &links);
    Block::new(layer, &theta, links, constants, like)
}

/// The parameters of dimension `i` of a static spline, in the order of θ.
pub(crate) fn spline_links(prefix: &str, i: usize, bins: usize, linear: bool) -> Vec<Link> {
    let kinds = [("widths", bins), ("heights", bins), ("derivatives", bins - 1), ("lambdas", bins)];
    let mut all = Vec::new();
    for (kind, len) in &kinds[..if linear { 4 } else { 3 }] {
        let tensor = format!("{prefix}unnormalized_{kind}");
        all.extend(links(&tensor, i * len..(i + 1) * len));
    }
    all.iter_mut().enumerate().for_each(|(theta, link)| link.theta = theta);
    all
}

/// One block a dimension: Pyro gives each a log determinant of its own.
fn splines<R: Real>(golden: &Golden, like: R) -> Vec<Block<R>> {
    let (bins, bound) = (golden.count("count_bins"), golden.number("bound"));
    let linear = golden.is_linear();
    let site = Site { coordinate: 0, start: 0, from_network: false, bins, bound, linear };
    let one = |i: usize| {
        let (layer, shape) = site.layer();
        let shape = Shape { option: Tails::Identity as u8 & option::TAILS, ..shape };
        let tables = SplineTables::new(layer, shape).expect("a spline");
        let ends = [-bound, bound].map(|end| like.constant(end));
        // Pyro pads the slopes with 1 − 1e-3 at both ends.
        let constants = |w: &mut [R]| tables.set_ends(w, 0, ends, ends, like.constant(0.999));
        let links = spline_links("", i, bins, linear);
        let block = with_parameters(golden, (layer, shape), links, constants, like).at(vec![i]);
        Block { sites: vec![site.clone()], ..block }
    };
    (0..golden.count("input_dim")).map(one).collect()
}

/// A transform along one axis of an event, once for each place on the others.
fn along_axis<R: Real>(golden: &Golden, layer: impl Fn(usize) -> Block<R>) -> Vec<Block<R>> {
    let config = &golden.entry["config"];
    let event: Vec<usize> = match config["event_shape"].as_array() {
        Some(sides) => sides.iter().map(|side| side.as_u64().expect("a side") as usize).collect(),
        None => vec![golden.count("input_dim")],
    };
    let back = -config["dim"].as_i64().expect("an axis") as usize;
    let axis = event.len() - back;
    let inner: usize = event[axis + 1..].iter().product();
    let outer: usize = event[..axis].iter().product();
    let len = event[axis];
    let line = |first| layer(len).at((0..len).map(|i| first + i * inner).collect());
    (0..outer).flat_map(|o| (0..inner).map(move |i| o * len * inner + i)).map(line).collect()
}

/// The channels of each pixel of an event \[C, H, W\].
pub(crate) fn pixels(golden: &Golden) -> Vec<Vec<usize>> {
    let channels = golden.count("channels");
    let sides = golden.entry["config"]["event_shape"].as_array().expect("the event's sides");
    let count: u64 = sides[1..].iter().map(|side| side.as_u64().expect("a side")).product();
    let count = count as usize;
    (0..count).map(|pixel| (0..channels).map(|c| c * count + pixel).collect()).collect()
}

/// A row of Pyro's matrix P has its 1 at the position that is taken.
pub(crate) fn order_of_matrix(golden: &Golden) -> Vec<usize> {
    let rows = golden.parameter("permutation");
    let position = |row: &[f64]| row.iter().position(|entry| *entry == 1.0);
    rows.chunks(golden.count("channels"))
        .map(|row| position(row).expect("a 1 in each row"))
        .collect()
}

/// Normalisation by these statistics, one block a dimension: T⁻¹ is u = (v − μ)/s + β with s =
/// √(σ² + ε)/γ̃ and γ̃ = max(γ, 0) + 1e-6, so T is our (x − shift) s with shift = β − μ/s.
pub(crate) fn batch_norm<R: Real>(
    golden: &Golden,
    mean: &[f64],
    variance: &[f64],
    like: R,
) -> Vec<Block<R>> {
    let (gamma, beta) = (golden.parameter("gamma"), golden.parameter("beta"));
    let epsilon = golden.number("epsilon");
    let one = |i: usize| {
        let positive = gamma[i].max(0.0) + 1e-6;
        let scale = Real::sqrt(variance[i] + epsilon) / positive;
        let theta = [beta[i] - mean[i] / scale, Real::ln(scale)];
        let live = if gamma[i] > 0.0 { 1.0 } else { 0.0 };
        let link = |theta, tensor: &str, slope| Link { theta, tensor: tensor.into(), at: i, slope };
        let links = vec![
            link(0, "beta", 1.0),
            link(0, "gamma", -live * mean[i] / (scale * positive)),
            link(1, "gamma", -live / positive),
        ];
        let layer = (Layer::Affine, Shape::new(1, 0, 0));
        Block::new(layer, &theta, links, |_| {}, like).at(vec![i])
    };
    (0..gamma.len()).map(one).collect()
}
