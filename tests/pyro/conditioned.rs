//! Pyro's transforms with a network, as layers of ours.

use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::Conditioner;
use fluxlet::math::Real;

use crate::bins::Site;
use crate::block::{Block, Link, values};
use crate::common::draw::SplineTables;
use crate::common::goldens::Golden;
use crate::networks::{Stored, network};
use crate::static_layers::{order_of_matrix, pixels, spline_links};

/// The layer of a case, or `None` where it is none of these.
pub(crate) fn blocks<R: Real>(golden: &Golden, like: R) -> Option<Vec<Block<R>>> {
    let dim = || golden.count("input_dim");
    Some(match golden.kind() {
        "ConditionalSpline" => (0..dim()).map(|i| conditional_spline(golden, i, like)).collect(),
        "SplineCoupling" => vec![coupling(golden, "upper_spline.nn.", like)],
        "AffineCoupling" | "ConditionalAffineCoupling" => vec![coupling(golden, "nn.", like)],
        "SplineAutoregressive" | "AffineAutoregressive" => {
            vec![autoregressive(golden, "arn.", like)]
        }
        "ConditionalSplineAutoregressive" | "ConditionalAffineAutoregressive" => {
            vec![autoregressive(golden, "nn.", like)]
        }
        "ConditionalHouseholder" => {
            let reflections = golden.count("count_transforms");
            vec![conditional(golden, Layer::Householder, (dim(), reflections), like)]
        }
        "ConditionalMatrixExponential" => {
            let terms = golden.count("iterations");
            vec![conditional(golden, Layer::MatrixExponential, (dim(), terms), like)]
        }
        "ConditionalGeneralizedChannelPermute" => {
            let order = order_of_matrix(golden);
            let pixel = |from: Vec<usize>| {
                let channels = golden.count("channels");
                let block = conditional(golden, Layer::LowerUpper, (channels, 0), like);
                // P comes last: what it takes from channel pᵢ goes to channel i.
                let mut to = vec![0; channels];
                order.iter().enumerate().for_each(|(i, p)| to[*p] = from[i]);
                Block { from, to, ..block }
            };
            pixels(golden).into_iter().map(pixel).collect()
        }
        _ => return None,
    })
}

/// The map of one number that a network's outputs are for.
struct Map {
    layer: Layer,
    /// K of a spline.
    bins: usize,
    bound: f64,
    flags: u8,
    /// Outputs of one number.
    len: usize,
    constants: [f64; 3],
}

impl Map {
    fn of(golden: &Golden) -> Self {
        if golden.has("count_bins") {
            let (bins, bound) = (golden.count("count_bins"), golden.number("bound"));
            let (layer, len) = if golden.is_linear() {
                (Layer::RationalLinear, 4 * bins - 1)
            } else {
                (Layer::RationalQuadratic, 3 * bins - 1)
            };
            // The free number whose slope, 1e-3 + ln(1 + eᵃ), is Pyro's 1 − 1e-3 at the ends.
            let free = Real::ln(Real::exp(0.998_f64) - 1.0);
            return Self { layer, bins, bound, flags: 0, len, constants: [-bound, bound, free] };
        }
        let number = |name| golden.number(name);
        let gated = golden.entry["config"]["stable"] == true;
        let bias = if golden.has("sigmoid_bias") { number("sigmoid_bias") } else { 0.0 };
        Self {
            layer: Layer::Affine,
            bins: 0,
            bound: 0.0,
            flags: if gated { option::SOFT } else { 0 },
            len: 2,
            constants: [number("log_scale_min_clip"), number("log_scale_max_clip"), bias],
        }
    }

    /// Pyro's output of a dense network for parameter `p` of number `i` among `count`: blocks of
    /// widths, heights, slopes and λ, of shifts and log scales, and in a block number by number.
    fn dense_output(&self, count: usize, i: usize, p: usize) -> usize {
        let kinds: &[usize] = match self.layer {
            Layer::Affine => &[1, 1],
            _ => &[self.bins, self.bins, self.bins - 1, self.bins],
        };
        let (mut start, mut p) = (0, p);
        for len in kinds {
            if p < *len {
                return count * start + i * len + p;
            }
            p -= len;
            start += len;
        }
        panic!("no output {p}");
    }

    fn site(&self, coordinate: usize, start: usize, from_network: bool) -> Option<Site> {
        let (bins, bound) = (self.bins, self.bound);
        let linear = self.layer == Layer::RationalLinear;
        let site = Site { coordinate, start, from_network, bins, bound, linear };
        (self.layer != Layer::Affine).then_some(site)
    }

    fn write_constants<R: Real>(&self, w: &mut [R], like: R) {
        w.iter_mut().zip(self.constants).for_each(|(w, c)| *w = like.constant(c));
    }
}

/// A shape with the case's network and context.
fn shape(golden: &Golden, dim: usize, arg: usize, flags: u8, transformer: Layer) -> Shape {
    let context = golden.context_len();
    let flags = flags | if context > 0 { option::CONTEXT } else { 0 };
    Shape { context, transformer, network: network(golden), ..Shape::new(dim, arg, flags) }
}

fn stored<'g>(golden: &'g Golden, prefix: &'static str, order: Vec<usize>) -> Stored<'g> {
    let (network, context) = (network(golden), golden.context_len());
    Stored { golden, prefix, network, context, order }
}

fn conditioner(layer: Layer, shape: Shape) -> Conditioner {
    layer.conditioner(shape).expect("a layer with a network").0
}

/// Dimension `i` of a conditional spline: Pyro gives each a log determinant of its own. It is a
/// coupling with an empty first part, of one number, with this number's outputs of the network.
fn conditional_spline<R: Real>(golden: &Golden, i: usize, like: R) -> Block<R> {
    let map = Map::of(golden);
    let shape = shape(golden, 1, map.bins, map.flags, map.layer);
    let count = golden.count("input_dim");
    let links = stored(golden, "nn.", Vec::new())
        .links(conditioner(Layer::Coupling, shape), |_, p| map.dense_output(count, i, p));
    let theta = values(golden, &links);
    let constants = |w: &mut [R]| map.write_constants(w, like);
    let block = Block::new((Layer::Coupling, shape), &theta, links, constants, like).at(vec![i]);
    Block { sites: map.site(0, 0, true).into_iter().collect(), ..block }
}

fn coupling<R: Real>(golden: &Golden, prefix: &'static str, like: R) -> Block<R> {
    let map = Map::of(golden);
    let (dim, split) = (golden.count("input_dim"), golden.count("split_dim"));
    let first = map.bins > 0 && golden.entry["config"]["identity"] != true;
    let flags = map.flags | if first { option::FIRST_SPLINE } else { 0 };
    let shape = Shape { split, ..shape(golden, dim, map.bins, flags, map.layer) };
    let mut links: Vec<Link> = Vec::new();
    let mut sites = Vec::new();
    if first {
        let linear = map.layer == Layer::RationalLinear;
        for i in 0..split {
            sites.extend(map.site(i, i * map.len, false));
            for link in spline_links("lower_spline.", i, map.bins, linear) {
                links.push(Link { theta: links.len(), ..link });
            }
        }
    }
    let start = links.len();
    let of_network = stored(golden, prefix, Vec::new())
        .links(conditioner(Layer::Coupling, shape), |_, row| {
            map.dense_output(dim - split, row / map.len, row % map.len)
        });
    links.extend(of_network.into_iter().map(|link| Link { theta: start + link.theta, ..link }));
    sites.extend((split..dim).filter_map(|i| map.site(i, (i - split) * map.len, true)));
    let constants = |w: &mut [R]| {
        let (constants, rest) = w.split_at_mut(3);
        map.write_constants(constants, like);
        if let Some(tables) = SplineTables::new(map.layer, shape).filter(|_| first) {
            let ends = [-map.bound, map.bound].map(|end| like.constant(end));
            (0..split).for_each(|i| tables.set_ends(rest, i, ends, ends, like.constant(0.999)));
        }
    };
    let theta = values(golden, &links);
    let block = Block::new((Layer::Coupling, shape), &theta, links, constants, like);
    Block { sites, ..block }
}

fn autoregressive<R: Real>(golden: &Golden, prefix: &'static str, like: R) -> Block<R> {
    let map = Map::of(golden);
    let dim = golden.count("input_dim");
    let skip = golden.entry["config"]["skip_connections"] == true;
    let flags = map.flags | option::SPREAD | if skip { option::SKIP } else { 0 };
    let shape = shape(golden, dim, map.bins, flags, map.layer);
    let order: Vec<usize> = golden.order(prefix);
    let site = |(known, i): (usize, &usize)| map.site(*i, known * map.len, true);
    let sites = order.iter().enumerate().filter_map(site).collect();
    let constants = |w: &mut [R]| {
        map.write_constants(w, like);
        let positions = order.iter().map(|i| like.lift(*i as f32));
        w[3..].iter_mut().zip(positions).for_each(|(w, position)| *w = position);
    };
    let network = conditioner(Layer::Autoregressive, shape);
    // Parameter by parameter, and for each the variables by their places in x.
    let output = |known: usize, p| p * dim + order[known];
    let links = stored(golden, prefix, order.clone()).links(network, output);
    let theta = values(golden, &links);
    let block = Block::new((Layer::Autoregressive, shape), &theta, links, constants, like);
    Block { sites, ..block }
}

fn conditional<R: Real>(
    golden: &Golden,
    transformer: Layer,
    (dim, arg): (usize, usize),
    like: R,
) -> Block<R> {
    let shape = shape(golden, dim, arg, 0, transformer);
    let network = conditioner(Layer::Conditional, shape);
    let links = stored(golden, "nn.", Vec::new()).links(network, |_, row| row);
    let theta = values(golden, &links);
    Block::new((Layer::Conditional, shape), &theta, links, |_| {}, like)
}
