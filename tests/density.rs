//! A flow's density integrates to 1, whatever its layers: stacks of affine, rotation and spline,
//! summed over a grid.

mod common;

use core::array::from_fn;

use common::draw::SplineTables;
use common::{Random, Worst};
use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Bijection, Domain, Layer, Shape, Tails};
use fluxlet::math::Real;

/// Beyond this radius of z lie e^(−24.5) = 2e-11 of a plane's standard normal, 3e-12 of a line's.
const RADIUS: f64 = 7.0;

/// Affine → Householder → spline, twice, with random weights.
struct Stack(Vec<(Layer, Shape, Vec<f64>)>);

impl Stack {
    fn new(dim: usize, spline: Layer, tails: Tails, random: &mut Random) -> Self {
        let affine = (Layer::Affine, Shape::new(dim, 0, 0));
        let rotation = (Layer::Householder, Shape::new(dim, dim, 0));
        let spline = (spline, Shape::new(dim, 5, tails as u8));
        let layers = [affine, rotation, spline, affine, rotation, spline];
        let layers = layers.into_iter().map(|(layer, shape)| {
            let mut w = vec![0.0; layer.weight_len(shape)];
            layer.neutral(shape, 0.0, &mut w);
            if let (Some(tables), Tails::Linear) = (SplineTables::new(layer, shape), tails) {
                // Any rectangle will do where the tails need not lie on the diagonal.
                for i in 0..dim {
                    tables.set_ends(&mut w, i, [-1.5, 2.0], [-2.5, 2.2], 1.0);
                }
            }
            let scale = if layer == Layer::Affine { 0.3 } else { 0.7 };
            let theta: Vec<f64> =
                (0..layer.theta_len(shape)).map(|_| scale * random.normal()).collect();
            layer.constrain(shape, &theta, &mut w);
            (layer, shape, w)
        });
        Self(layers.collect())
    }

    /// x → density of x.
    fn density(&self, x: &mut [f64]) -> f64 {
        let mut ladj = 0.0;
        for (layer, shape, w) in &self.0 {
            ladj += layer.forward(*shape, &w[..], x, &mut []);
        }
        let square: f64 = x.iter().map(|z| z * z).sum();
        let normaliser = x.len() as f64 * 0.5 * Real::ln(core::f64::consts::TAU);
        Real::exp(ladj - 0.5 * square - normaliser)
    }

    fn inverse(&self, z: &mut [f64]) {
        for (layer, shape, w) in self.0.iter().rev() {
            layer.inverse(*shape, &w[..], z, &mut []);
        }
    }
}

/// ∫ f over a box by Gauss' three points each way; a box is halved each way as long as that changes
/// its integral by more than `tolerance`, and some times in any case, lest a peak between the
/// points be missed.
fn integrate<const D: usize>(
    f: &impl Fn(&mut [f64]) -> f64,
    low: [f64; D],
    high: [f64; D],
    depth: usize,
    tolerance: f64,
) -> f64 {
    let middle: [f64; D] = from_fn(|i| 0.5 * (low[i] + high[i]));
    let parts: Vec<_> = (0..1_usize << D)
        .map(|part| {
            let upper = |i: usize| part >> i & 1 == 1;
            let low: [f64; D] = from_fn(|i| if upper(i) { middle[i] } else { low[i] });
            let high: [f64; D] = from_fn(|i| if upper(i) { high[i] } else { middle[i] });
            (low, high)
        })
        .collect();
    let sum: f64 = parts.iter().map(|(low, high)| gauss(f, *low, *high)).sum();
    if depth == 0 && (sum - gauss(f, low, high)).abs() <= tolerance {
        return sum;
    }
    let deeper = |(low, high)| integrate(f, low, high, depth.saturating_sub(1), tolerance);
    parts.into_iter().map(deeper).sum()
}

fn gauss<const D: usize>(f: &impl Fn(&mut [f64]) -> f64, low: [f64; D], high: [f64; D]) -> f64 {
    let nodes =
        [(-Real::sqrt(0.6_f64), 5.0 / 18.0), (0.0, 8.0 / 18.0), (Real::sqrt(0.6), 5.0 / 18.0)];
    (0..3_usize.pow(D as u32))
        .map(|node| {
            let mut weight = 1.0;
            let mut x: [f64; D] = from_fn(|i| {
                let (place, share) = nodes[node / 3_usize.pow(i as u32) % 3];
                weight *= share * (high[i] - low[i]);
                0.5 * (low[i] + high[i]) + 0.5 * place * (high[i] - low[i])
            });
            weight * f(&mut x)
        })
        .sum()
}

fn every_stack(mut check: impl FnMut(Layer, Tails, u64)) {
    for spline in [Layer::RationalQuadratic, Layer::RationalLinear] {
        for tails in [Tails::Identity, Tails::Linear] {
            for seed in 0..2 {
                check(spline, tails, seed);
            }
        }
    }
}

#[test]
fn a_density_on_the_line_integrates_to_one() {
    // At a knot the density has a kink, which costs an interval of 1/8192 of the range some 1e-7.
    let mut law = Worst::new("integral over the line", 1e-6);
    every_stack(|spline, tails, seed| {
        let stack = Stack::new(1, spline, tails, &mut Random::new(seed));
        let end = |z: f64| {
            let mut z = [z];
            stack.inverse(&mut z);
            z[0]
        };
        let (a, b) = (end(-RADIUS), end(RADIUS));
        let integral =
            integrate(&|x: &mut [f64]| stack.density(x), [a.min(b)], [a.max(b)], 13, 1e-13);
        law.compare(integral, 1.0, 1.0, || format!("{} {tails:?} seed {seed}", spline.name()));
    });
}

#[test]
fn a_density_on_the_plane_integrates_to_one() {
    // Some thousand boxes along the knots' lines of at most 5e-8 each, whose signs differ.
    let mut law = Worst::new("integral over the plane", 1e-4);
    every_stack(|spline, tails, seed| {
        let stack = Stack::new(2, spline, tails, &mut Random::new(seed));
        // The image of a disc lies within the box around the image of its edge.
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for (cos, sin) in circle(2000) {
            let mut point = [RADIUS * cos, RADIUS * sin];
            stack.inverse(&mut point);
            for i in 0..2 {
                low[i] = low[i].min(point[i]);
                high[i] = high[i].max(point[i]);
            }
        }
        let integral = integrate(&|x: &mut [f64]| stack.density(x), low, high, 6, 5e-8);
        law.compare(integral, 1.0, 1.0, || format!("{} {tails:?} seed {seed}", spline.name()));
    });
}

/// Points of the unit circle, by rational parameters t: ((1 − t²), 2t)/(1 + t²), both halves.
fn circle(n: usize) -> impl Iterator<Item = (f64, f64)> {
    (0..=n).flat_map(move |i| {
        let t = 2.0 * i as f64 / n as f64 - 1.0;
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        [(cos, sin), (-cos, sin)]
    })
}

/// The density of one column on a domain, whose spline has random knots, and the base.
struct Column {
    shape: Shape,
    w: Vec<f64>,
}

impl Column {
    fn new(kind: Kind, low: f64, high: f64, theta: impl Fn(usize) -> f64) -> Self {
        let shape = Shape::new(1, 6, 0);
        let mut w = vec![0.0; Domain::weight_len(shape)];
        Domain::neutral(shape, 0.0, &mut w);
        Domain::set_column(shape, &mut w, 0, kind, low, high);
        let theta: Vec<f64> = (0..Domain::theta_len(shape)).map(theta).collect();
        Domain::constrain(shape, &theta, &mut w);
        Self { shape, w }
    }

    fn random(kind: Kind, low: f64, high: f64, seed: u64) -> Self {
        let theta = Random::new(seed).normals(100);
        Self::new(kind, low, high, |i| theta[i])
    }

    fn density(&self, x: f64) -> f64 {
        let stack = Stack(vec![(Layer::Domain, self.shape, self.w.clone())]);
        stack.density(&mut [x])
    }
}

#[test]
fn a_density_on_a_box_or_circle_integrates_to_one() {
    // The density has a kink at each knot, as on the line, and no tails.
    let mut law = Worst::new("integral over a box or circle", 1e-6);
    for kind in [Kind::Box, Kind::Circle] {
        for seed in 0..5 {
            let (low, high) = (-3.0 + seed as f64, 4.0 + 2.0 * seed as f64);
            let column = Column::random(kind, low, high, seed);
            let density = |x: &mut [f64]| column.density(x[0]);
            let integral = integrate(&density, [low], [high], 13, 1e-13);
            law.compare(integral, 1.0, 1.0, || format!("{kind:?} seed {seed}"));
            // A circle's density is the same from any other point on, across the seam.
            if kind == Kind::Circle {
                let integral = integrate(&density, [low + 0.7], [high + 0.7], 13, 1e-13);
                law.compare(integral, 1.0, 1.0, || format!("turned, seed {seed}"));
            }
        }
    }
}

#[test]
fn a_circle_s_density_is_the_same_on_both_sides_of_its_seam() {
    let mut law = Worst::new("seam of a circle", 1e-7);
    for seed in 0..20 {
        let column = Column::random(Kind::Circle, 0.0, 360.0, seed);
        let (right, left) = (column.density(1e-9), column.density(360.0 - 1e-9));
        law.compare(left, right, right, || format!("limits, seed {seed}"));
        law.compare(column.density(-1e-9), left, left, || format!("wrapped, seed {seed}"));
        // Free slopes of a box do not agree, so that the test could fail.
        let open = Column::random(Kind::Box, 0.0, 360.0, seed);
        let ratio = open.density(1e-9) / open.density(360.0 - 1e-9);
        assert!((ratio - 1.0).abs() > 1e-4, "a box has no seam, seed {seed}");
    }
}

#[test]
fn a_flat_spline_on_a_box_or_circle_is_the_uniform_density() {
    let mut law = Worst::new("flat spline", 1e-13);
    for kind in [Kind::Box, Kind::Circle] {
        for (low, high) in [(0.0, 100.0), (-180.0, 180.0), (2.5, 2.75)] {
            let mut flat = Column::new(kind, low, high, |_| 0.0);
            Domain::neutral(flat.shape, 0.0, &mut flat.w);
            Domain::set_column(flat.shape, &mut flat.w, 0, kind, low, high);
            for i in 0..=50 {
                let x = low + (high - low) * (f64::from(i) / 50.0);
                let log_prob = Real::ln(flat.density(x));
                law.compare(log_prob, -Real::ln(high - low), 1.0, || format!("{kind:?} {x}"));
            }
        }
    }
}
