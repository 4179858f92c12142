//! Random weights and inputs for every row of the layer table.

use fluxlet::bijection::{Dct, Layer, Shape, Tails};
use fluxlet::math::Real;

use super::Random;

pub(crate) const DIMS: [usize; 5] = [1, 2, 3, 8, 64];
const ARGS: [usize; 5] = [0, 1, 2, 5, 12];

/// Every shape that the laws try on a layer.
///
/// A layer that has none for a dimension fails here: no row of the table goes untested.
pub(crate) fn shapes(layer: Layer) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for dim in DIMS {
        let before = shapes.len();
        for arg in ARGS {
            let options = (0..=u8::MAX).map(|option| Shape::new(dim, arg, option));
            shapes.extend(options.filter(|shape| layer.exists(*shape)));
        }
        assert!(shapes.len() > before, "{}: no shape of dimension {dim} to test", layer.name());
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
        let scale = [0.3, 1.0, 2.0][random.below(3)];
        let theta =
            (0..layer.theta_len(shape)).map(|_| scale * random.normal()).collect::<Vec<_>>();
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
        format!("{} D={dim} arg={arg} option={option} seed={}", self.layer.name(), self.seed)
    }

    pub(crate) fn scratch<R: Real>(&self, content: R) -> Vec<R> {
        {
            let (layer, shape) = (self.layer, self.shape);
            vec![content; layer.scratch_len(shape).max(layer.backward_scratch_len(shape))]
        }
    }

    /// x: inside, far outside, and on and around the knots of a spline.
    pub(crate) fn input(&mut self) -> Vec<f64> {
        (0..self.shape.dim).map(|i| self.coordinate(i, 0)).collect()
    }

    /// z, alike.
    pub(crate) fn output(&mut self) -> Vec<f64> {
        (0..self.shape.dim).map(|i| self.coordinate(i, 1)).collect()
    }

    fn coordinate(&mut self, i: usize, table: usize) -> f64 {
        let random = &mut self.random;
        let scale = [0.3, 1.0, 3.0, 20.0][random.below(4)];
        match (self.layer, table) {
            // Beyond 3 a rounding of tanh x is a long way of x; its own tests look there.
            (Layer::Tanh, 0) => return 6.0 * random.uniform() - 3.0,
            // Nothing else is the image of a number.
            (Layer::Tanh, _) => return 1.99 * random.uniform() - 0.995,
            (Layer::Softplus, 1) => return (scale * random.normal()).abs(),
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
    match layer {
        Layer::Dct => {
            let smooth = [0.0, 1.0, -1.0, 2.0, 0.3][random.below(5)];
            Dct::smoothed(shape, smooth, 0.0, w);
        }
        Layer::Permutation => {
            for i in (1..w.len()).rev() {
                w.swap(i, random.below(i + 1));
            }
        }
        Layer::LeakyRelu => w[0] = [0.01, 0.2, 1.0][random.below(3)],
        Layer::Power => w[0] = [0.5, 0.8, 1.0, 1.7, 3.0][random.below(5)],
        // What has free parameters is drawn through them; a new row without any has to be drawn
        // here, or the laws would only ever see one set of weights, unless there is only one.
        _ => assert!(
            layer.theta_len(shape) > 0 || w.is_empty(),
            "{} needs its weights drawn",
            layer.name()
        ),
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
