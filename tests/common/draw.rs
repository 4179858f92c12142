//! Random weights and inputs for every row of the layer table.

use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Bijection, Dct, Domain, Layer, Shape, Tails, option};
use fluxlet::conditioner::{Activation, Network};
use fluxlet::math::Real;

use super::Random;

pub(crate) const DIMS: [usize; 5] = [1, 2, 3, 8, 64];

/// Arguments to try: bins, reflections, or terms of a matrix exponential.
fn args(layer: Layer) -> &'static [usize] {
    match layer {
        Layer::MatrixExponential => &[1, 2, 8, 24],
        _ => &[0, 1, 2, 5, 12],
    }
}

/// Every shape that the laws try on a layer.
///
/// A layer that has none for a dimension fails here: no row of the table goes untested.
pub(crate) fn shapes(layer: Layer) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for dim in DIMS {
        let before = shapes.len();
        if layer.is_conditioned() {
            shapes.extend(conditioned(layer, dim));
        }
        for arg in args(layer) {
            let options = (0..=u8::MAX).map(|option| Shape::new(dim, *arg, option));
            shapes.extend(options.filter(|shape| layer.exists(*shape)));
        }
        assert!(shapes.len() > before, "{}: no shape of dimension {dim} to test", layer.name());
    }
    shapes
}

/// Networks to try: each activation, dense and residual, of one to three layers.
const NETWORKS: [(Activation, bool, [u16; 4]); 8] = [
    (Activation::Relu, false, [5, 0, 0, 0]),
    (Activation::Tanh, false, [4, 6, 0, 0]),
    (Activation::Silu, true, [5, 2, 0, 0]),
    (Activation::Elu, false, [3, 4, 5, 0]),
    (Activation::Softplus, false, [13, 0, 0, 0]),
    (Activation::LeakyRelu, false, [4, 4, 0, 0]),
    (Activation::Sigmoid, true, [4, 1, 0, 0]),
    (Activation::Relu, true, [9, 1, 0, 0]),
];

/// Shapes of a layer with a network: every transformer with several networks, context lengths,
/// splits and flags.
fn conditioned(layer: Layer, dim: usize) -> Vec<Shape> {
    let (soft, first) = (option::SOFT, option::FIRST_SPLINE);
    let transformers = [
        (Layer::Affine, 0, 0),
        (Layer::Affine, 0, soft),
        (Layer::RationalQuadratic, 1, first),
        (Layer::RationalQuadratic, 5, 0),
        (Layer::RationalQuadratic, 4, first),
        (Layer::RationalQuadratic, 4, soft | first),
        (Layer::RationalLinear, 3, 0),
        (Layer::RationalLinear, 4, first),
        (Layer::Householder, 1, 0),
        (Layer::Householder, 3, 0),
        (Layer::LowerUpper, 0, 0),
        (Layer::MatrixExponential, 24, 0),
    ];
    let mut shapes = Vec::new();
    for (t, (transformer, arg, flags)) in transformers.into_iter().enumerate() {
        // At D = 64 a gradient by dual numbers goes through thousands of weights.
        for n in 0..match dim {
            1..=3 => 4,
            4..=15 => 2,
            _ => 1,
        } {
            let at = 3 * t + 5 * n + dim;
            let (activation, residual, hidden) = NETWORKS[at % NETWORKS.len()];
            let context = [0, 2, 1][at % 3];
            let flag = |yes: bool, flag: u8| if yes { flag } else { 0 };
            let option = flags
                | flag(residual, option::RESIDUAL)
                | flag(context > 0, option::CONTEXT)
                | flag(layer == Layer::Autoregressive && at.is_multiple_of(2), option::SKIP)
                | flag(layer == Layer::Autoregressive && n % 2 == 1, option::SPREAD);
            for split in [0, 1, dim / 2, dim - 1] {
                let shape = Shape {
                    context,
                    split,
                    transformer,
                    network: Network { hidden, activation },
                    ..Shape::new(dim, arg, option)
                };
                if layer.exists(shape) && !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
        }
    }
    shapes
}

/// One layer with random weights.
pub(crate) struct Case {
    pub(crate) layer: Layer,
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    pub(crate) theta: Vec<f64>,
    pub(crate) w: Vec<f64>,
    pub(crate) random: Random,
}

impl Case {
    pub(crate) fn new(layer: Layer, shape: Shape, round: u64) -> Self {
        let seed = round
            + 1000 * (shape.dim as u64 + 1000 * (shape.arg as u64 + 1000 * layer as u64))
            + 100 * u64::from(shape.option);
        let mut random = Random::new(seed);
        let theta = draw_theta(layer, shape, &mut random);
        // NaN, so that a weight which nobody writes is noticed.
        let mut w = vec![f64::NAN; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        draw_constants(layer, shape, &mut w, &mut random);
        layer.constrain(shape, &theta, &mut w);
        Self { layer, shape, seed, theta, w, random }
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        let Shape { dim, arg, option, .. } = self.shape;
        let name = self.layer.name();
        if self.layer.is_conditioned() {
            return format!("{name} {:?} seed={}", self.shape, self.seed);
        }
        format!("{name} D={dim} arg={arg} option={option} seed={}", self.seed)
    }

    pub(crate) fn scratch<R: Real>(&self, content: R) -> Vec<R> {
        let (layer, shape) = (self.layer, self.shape);
        vec![content; layer.scratch_len(shape).max(layer.backward_scratch_len(shape))]
    }

    /// x: inside, far outside, and on and around the knots of a spline; the context behind it.
    pub(crate) fn input(&mut self) -> Vec<f64> {
        (0..self.shape.dim + self.shape.context).map(|i| self.coordinate(i, 0)).collect()
    }

    /// z, alike.
    pub(crate) fn output(&mut self) -> Vec<f64> {
        (0..self.shape.dim + self.shape.context).map(|i| self.coordinate(i, 1)).collect()
    }

    fn coordinate(&mut self, i: usize, table: usize) -> f64 {
        let random = &mut self.random;
        // What a network reads stays where it was trained: far outside, its maps are too steep to
        // be inverted to many digits.
        let far = if self.layer.is_conditioned() { 1.0 } else { 20.0 };
        let scale = [0.3, 1.0, 3.0, far][random.below(4)];
        match (self.layer, table) {
            // Beyond 3 a rounding of tanh x is a long way of x; its own tests look there.
            (Layer::Tanh, 0) => return 6.0 * random.uniform() - 3.0,
            // Nothing else is the image of a number.
            (Layer::Tanh, _) => return 1.99 * random.uniform() - 0.995,
            (Layer::Exp, 0) => return random.normal(),
            (Layer::Softplus | Layer::Exp, 1) => return (scale * random.normal()).abs(),
            (Layer::Domain, _) => return domain_coordinate(self.shape, &self.w, i, table, random),
            _ => {}
        }
        match SplineTables::new(self.layer, self.shape) {
            Some(tables) if random.below(3) == 0 => {
                let knots = tables.numbers(&self.w, i, table);
                let knot = knots[random.below(knots.len())];
                match random.below(5) {
                    0 => knot,
                    1 => knot.next_up(),
                    2 => knot.next_down(),
                    3 => knot + 1e-9 * random.normal(),
                    _ => knot + 1e-4 * random.normal(),
                }
            }
            _ => scale * random.normal(),
        }
    }
}

/// A coordinate of a domain layer, x (table 0) or z (table 1). On a box or circle it belongs to a z
/// between ±3, or to a knot: away from the limits, where rounding is a long way of z.
fn domain_coordinate(shape: Shape, w: &[f64], i: usize, table: usize, random: &mut Random) -> f64 {
    let (bins, stride) = (shape.arg, 3 * (shape.arg + 1));
    let constants = &w[shape.dim * stride + 3 * i..][..3];
    if constants[0] == 0.0 {
        return [0.3, 1.0, 20.0][random.below(3)] * random.normal();
    }
    // The column as a layer of its own; where its coordinate lies does not hang on the sum, 0.
    let column = [&w[i * stride..][..stride], constants, &[0.0]].concat();
    let shape = Shape::new(1, bins, 0);
    let mut at = [6.0 * random.uniform() - 3.0];
    if bins > 1 && random.below(3) == 0 {
        let knot = column[3 * (1 + random.below(bins - 1))];
        let near = knot + [0.0, 1e-9, -1e-9, 1e-4][random.below(4)];
        at = [constants[1] + (constants[2] - constants[1]) * near];
        if table == 1 {
            Domain::forward(shape, &column[..], &mut at, &mut []);
        }
    } else if table == 0 {
        Domain::inverse(shape, &column[..], &mut at, &mut []);
    }
    at[0]
}

/// Random free parameters, of matrices that `f64` can invert to the laws' tolerances.
pub(crate) fn draw_theta(layer: Layer, shape: Shape, random: &mut Random) -> Vec<f64> {
    let scale = [0.3, 1.0, 2.0][random.below(3)];
    let dim = shape.dim;
    let mut theta = random.normals(layer.theta_len(shape));
    theta.iter_mut().for_each(|theta| *theta *= scale);
    // Entries of this size keep the condition of a triangular matrix from growing with its size.
    let entry = 0.5 / Real::sqrt(dim as f64);
    if layer.is_conditioned() {
        // Each number's map hangs on the numbers before it: errors multiply along the chain, and
        // steep maps would lose every digit of an inverse.
        let factor = 0.5 / Real::sqrt(dim as f64 + 4.0);
        theta.iter_mut().for_each(|theta| *theta *= factor);
        if layer == Layer::Conditional {
            // Around a neutral layer, far from matrices that no one could invert.
            let mut w = vec![0.0; layer.weight_len(shape)];
            layer.neutral(shape, 0.0, &mut w);
            let mut neutral = vec![0.0; theta.len()];
            layer.unconstrain(shape, &w, &mut neutral);
            theta.iter_mut().zip(neutral).for_each(|(theta, neutral)| *theta += neutral);
        }
    }
    match layer {
        Layer::LowerUpper => {
            for (i, theta) in theta.iter_mut().enumerate() {
                if i % (dim + 1) == 0 {
                    // A diagonal of either sign, away from zero.
                    *theta = theta.signum() * Real::exp(0.3 * random.normal());
                } else {
                    *theta *= entry;
                }
            }
        }
        Layer::LowerCholesky => theta[dim..].iter_mut().for_each(|theta| *theta *= entry),
        Layer::MatrixExponential => {
            // The laws are those of the whole series: ‖M‖ such that the first term that is left
            // out, ‖M‖^(N + 1)/(N + 1)!, is 1e-14 at most; and 2 at most, for the condition.
            let terms = shape.arg as f64 + 1.0;
            let factorial: f64 = (1..=shape.arg + 1).map(|i| Real::ln(i as f64)).sum();
            let largest = Real::exp((factorial + Real::ln(1e-14)) / terms).min(2.0);
            let sums = theta.chunks(dim).map(|row| row.iter().map(|m| m.abs()).sum());
            let norm: f64 = sums.fold(0.0, f64::max);
            let factor = (scale / 2.0) * largest / norm;
            theta.iter_mut().for_each(|theta| *theta *= factor);
        }
        _ => {}
    }
    theta
}

/// Replaces the constants among the neutral weights by other ones that are allowed.
fn draw_constants(layer: Layer, shape: Shape, w: &mut [f64], random: &mut Random) {
    if let Some(tables) = SplineTables::new(layer, shape) {
        for i in 0..shape.dim {
            let mut end = |sign: f64| sign * (2.0 + 3.0 * random.uniform());
            let x = [end(-1.0), end(1.0)];
            if shape.option == Tails::Linear as u8 {
                let y = [end(-1.0), end(1.0)];
                tables.set_ends(w, i, x, y, f64::NAN);
            } else {
                tables.set_ends(w, i, x, x, 1.0);
            }
        }
        return;
    }
    let uniform = |random: &mut Random, low: f64, high: f64| low + (high - low) * random.uniform();
    match layer {
        Layer::Coupling | Layer::Autoregressive => {
            if shape.transformer == Layer::Affine {
                // Never clipped: there the gradient is meant to differ from the derivative.
                w[..2].copy_from_slice(&[-50.0, 50.0]);
                w[2] = uniform(random, -1.0, 2.0);
            } else {
                w[..2].copy_from_slice(&[uniform(random, -5.0, -2.0), uniform(random, 2.0, 5.0)]);
            }
            if layer == Layer::Autoregressive {
                for i in (1..shape.dim).rev() {
                    w.swap(3 + i, 3 + random.below(i + 1));
                }
            }
        }
        Layer::Dct => {
            let smooth = [0.0, 1.0, -1.0, 2.0, 0.3][random.below(5)];
            Dct::smoothed(shape, smooth, 0.0, w);
        }
        Layer::Domain => {
            for i in 0..shape.dim {
                let kind = [Kind::Line, Kind::Box, Kind::Circle][random.below(3)];
                let low = 3.0 * random.normal();
                let high = low + Real::exp(2.0 * random.normal());
                Domain::set_column(shape, w, i, kind, low, high);
            }
        }
        Layer::Permutation => shuffle(w, random),
        Layer::LowerUpper => {
            let matrix = shape.dim * shape.dim;
            shuffle(&mut w[matrix..matrix + shape.dim], random);
        }
        Layer::LeakyRelu => w[0] = [0.01, 0.2, 1.0][random.below(3)],
        Layer::Power => w[0] = [0.5, 0.8, 1.0, 1.7, 3.0][random.below(5)],
        // What has free parameters is drawn through them; a new row without any has to be drawn
        // here, or the laws would only ever see one set of weights, unless there is only one.
        _ => {
            let drawn = layer.theta_len(shape) > 0 || layer.weight_len(shape) == 0;
            assert!(drawn, "{} needs its weights drawn", layer.name());
        }
    }
}

fn shuffle(w: &mut [f64], random: &mut Random) {
    for i in (1..w.len()).rev() {
        w.swap(i, random.below(i + 1));
    }
}

/// Where the weights of a spline stand: per dimension (x, y, slope or its root) of each knot
/// [K + 1, 3], then λ [K] where the kind has it.
pub(crate) struct SplineTables {
    linear: bool,
    bins: usize,
}

impl SplineTables {
    pub(crate) fn new(layer: Layer, shape: Shape) -> Option<Self> {
        let linear = layer == Layer::RationalLinear;
        (linear || layer == Layer::RationalQuadratic).then_some(Self { linear, bins: shape.arg })
    }

    /// Weights of one dimension.
    pub(crate) fn stride(&self) -> usize {
        3 * (self.bins + 1) + if self.linear { self.bins } else { 0 }
    }

    /// Numbers [K + 1] of dimension `i`: table 0 is the knots' x, 1 their y, 2 (root) slopes.
    pub(crate) fn numbers<R: Real>(&self, w: &[R], i: usize, table: usize) -> Vec<R> {
        (0..=self.bins).map(|j| w[i * self.stride() + 3 * j + table]).collect()
    }

    /// Writes the constants of dimension `i`.
    pub(crate) fn set_ends<R: Real>(&self, w: &mut [R], i: usize, x: [R; 2], y: [R; 2], slope: R) {
        let slope = if self.linear { slope.sqrt() } else { slope };
        for (table, ends) in [x, y, [slope, slope]].into_iter().enumerate() {
            for (j, end) in [0, self.bins].into_iter().zip(ends) {
                w[i * self.stride() + 3 * j + table] = end;
            }
        }
    }
}
