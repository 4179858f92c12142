//! Splines far steeper than training makes them: raw parameters of ten times a standard normal,
//! where bins are as narrow as the floors allow and slopes run from 1e-3 to 1e8.
//!
//! The bound. Every formula of a bin is a product of sums of positive numbers, but for
//! ξ = (x − x₀)/w and 1 − ξ, whose error is a few ε of 1 and so of the input a few ε w. So a kernel
//! may answer for an input that is off by e, with an output that is off by e, where e = C ε B:
//! F(x − e) − e ≤ forward(x) ≤ F(x + e) + e, with F the same spline in `f64`, and F⁻¹ alike.
//! Where F is steep this allows an output's error of e F′, where it is flat an input's of e/F′, as
//! it has to be; no derivative, which may change a hundredfold within e, comes into it.
//! A round trip has both errors: F⁻¹(F(x − e) − 2e) − e ≤ x′ ≤ F⁻¹(F(x + e) + 2e) + e.

mod common;

use common::Random;
use common::draw::SplineTables;
use fluxlet::bijection::{Layer, Shape, Tails};

const SPLINES: usize = 200_000;
const BINS: usize = 8;
const BOUND: f32 = 3.0;
/// C ε B with C = 8: sixteen roundings of at most ½ ε, which no formula of a bin exceeds.
const E: f64 = 8.0 * f32::EPSILON as f64 * BOUND as f64;

const SHAPE: Shape = Shape::new(1, BINS, Tails::Identity as u8);

/// One spline in both kinds of number, of the very same weights.
struct Pair {
    layer: Layer,
    single: Vec<f32>,
    double: Vec<f64>,
}

impl Pair {
    fn draw(&mut self, tables: &SplineTables, random: &mut Random) {
        let mut theta = [0.0_f32; 4 * BINS - 1];
        let theta = &mut theta[..self.layer.theta_len(SHAPE)];
        theta.fill_with(|| 10.0 * random.normal() as f32);
        let ends = [-BOUND, BOUND];
        tables.set_ends(&mut self.single, 0, ends, ends, 1.0);
        self.layer.constrain(SHAPE, theta, &mut self.single);
        for (double, single) in self.double.iter_mut().zip(&self.single) {
            *double = f64::from(*single);
        }
    }

    fn forward(&self, x: f32) -> (f32, f32) {
        let mut z = [x];
        let ladj = self.layer.forward(SHAPE, &self.single[..], &mut z, &mut []);
        (z[0], ladj)
    }

    fn inverse(&self, z: f32) -> (f32, f32) {
        let mut x = [z];
        let ladj = self.layer.inverse(SHAPE, &self.single[..], &mut x, &mut []);
        (x[0], ladj)
    }

    fn exact(&self, x: f64) -> f64 {
        let mut z = [x];
        self.layer.forward(SHAPE, &self.double[..], &mut z, &mut []);
        z[0]
    }

    fn exact_inverse(&self, z: f64) -> f64 {
        let mut x = [z];
        self.layer.inverse(SHAPE, &self.double[..], &mut x, &mut []);
        x[0]
    }
}

/// Fails unless `low ≤ value ≤ high`; NaN fails.
fn within(value: f32, low: f64, high: f64, place: impl Fn() -> String) {
    let value = f64::from(value);
    assert!(low <= value && value <= high, "{}: {value:e} in [{low:e}, {high:e}]", place());
}

fn stress(layer: Layer) {
    let tables = SplineTables::new(layer, SHAPE).expect("a spline");
    let mut random = Random::new(layer as u64);
    let len = layer.weight_len(SHAPE);
    let mut pair = Pair { layer, single: vec![0.0; len], double: vec![0.0; len] };
    layer.neutral(SHAPE, 0.0, &mut pair.single);
    let bound = f64::from(BOUND);
    for spline in 0..SPLINES {
        pair.draw(&tables, &mut random);
        let mut uniform = || BOUND * (2.0 * random.uniform() - 1.0) as f32;
        let (a, b, c) = (uniform(), uniform(), uniform());
        let knot = tables.numbers(&pair.single, 0, 0)[random.below(BINS + 1)];
        let knot_y = tables.numbers(&pair.single, 0, 1)[random.below(BINS + 1)];

        let near = [knot.next_down(), knot, knot.next_up(), knot + 1e-6 * a, knot + 1e-4 * b];
        for x in [a, b, -BOUND, BOUND].into_iter().chain(near) {
            let (z, ladj) = pair.forward(x);
            let place = || format!("{} {spline}, x = {x:e}, z = {z:e}", layer.name());
            let (down, up) = (pair.exact(f64::from(x) - E), pair.exact(f64::from(x) + E));
            // At the end of the last bin z may pass its knot by a rounding, which is within E too.
            within(z, down - E, up + E, place);
            let (back, inverse_ladj) = pair.inverse(z);
            let low = pair.exact_inverse(down - 2.0 * E) - E;
            let high = pair.exact_inverse(up + 2.0 * E) + E;
            within(back, low, high, place);
            assert!(ladj.is_finite() && inverse_ladj.is_finite(), "{}: ladj {ladj}", place());
        }

        for z in [c, knot_y.next_down(), knot_y, knot_y.next_up(), knot_y + 1e-6 * a] {
            let (x, ladj) = pair.inverse(z);
            let place = || format!("{} {spline}, z = {z:e}, x = {x:e}", layer.name());
            let low = pair.exact_inverse(f64::from(z) - E) - E;
            let high = pair.exact_inverse(f64::from(z) + E) + E;
            within(x, low, high, place);
            if z.abs() <= BOUND {
                within(x, -bound, bound, place);
            }
            assert!(ladj.is_finite(), "{}: ladj {ladj}", place());
        }

        let (mut dz, mut dw) = ([1.0_f32], [0.0_f32; 4 * BINS + 3]);
        let dw = &mut dw[..len];
        layer.backward(SHAPE, &pair.single[..], &mut [a], &mut dz, 1.0, dw, &mut [0.0; 9]);
        let finite = dz[0].is_finite() && dw.iter().all(|d| d.is_finite());
        assert!(finite, "{} {spline}, x = {a:e}: gradient", layer.name());
    }
}

#[test]
fn steep_rational_quadratic_splines_stay_within_a_few_roundings() {
    stress(Layer::RationalQuadratic);
}

#[test]
fn steep_rational_linear_splines_stay_within_a_few_roundings() {
    stress(Layer::RationalLinear);
}
