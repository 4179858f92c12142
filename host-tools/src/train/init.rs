//! Where training starts: layer by layer from the data, so that the first likelihood is already a
//! good one. Affine layers standardise; Householder products start near the identity or at the
//! principal axes; splines put their knots at the quantiles of each coordinate and flatten it
//! towards a normal; the mixture is fitted to what comes out (a kind of Gaussianization: Laparra,
//! Camps-Valls and Malo 2011, arXiv:1602.00229).

use fluxlet::Base;
use fluxlet::bijection::{self, Layer};
use fluxlet::conditioner::Conditioner;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::{Rng, RngExt};

use super::config::Start;
use super::mixture;
use crate::data::Domain;
use crate::stack::{Span, Stack};

/// Rows that the start looks at; more of them change little.
const MAX_ROWS: usize = 4096;
/// How far a spline's first curve goes from the identity (0) towards a perfect flattening of its
/// coordinate (1). Half way, so that a curve is no mirror of the sample's noise.
const FLATTENING: f64 = 0.5;
/// Interval of a spline, in standard deviations of its coordinate.
const REACH: f64 = 4.0;

/// Where training starts.
pub(crate) struct Begin {
    /// Free parameters.
    pub(crate) theta: Vec<f32>,
    /// Weights, constants included.
    pub(crate) w: Vec<f32>,
    /// What counts as one step of each parameter: the spread of its column for a shift, 1 elsewhere,
    /// and for all that follow the last shift.
    pub(crate) units: Vec<f32>,
}

/// A start from the data; `rows` \[n, D + C\] are finite.
pub(super) fn start(
    stack: &Stack,
    from: Start,
    rows: &[f32],
    domains: &[Domain],
    rng: &mut impl Rng,
) -> Begin {
    let mut begin = Begin {
        theta: Vec::with_capacity(stack.theta_len()),
        w: Vec::with_capacity(stack.weight_len()),
        units: Vec::new(),
    };
    let (dim, width) = (stack.dim, stack.row_len());
    let count = rows.len() / width;
    let stride = count.div_ceil(MAX_ROWS);
    let mut x: Vec<Vec<f64>> = (0..count)
        .step_by(stride)
        .map(|i| rows[i * width..(i + 1) * width].iter().map(|x| f64::from(*x)).collect())
        .collect();

    // Whether the numbers stand in the mirrored order of the data's, and whether the next
    // autoregressive layer is to take them in that order.
    let (mut mirrored, mut turn) = (false, false);
    for span in stack.spans() {
        let Span { layer, shape, theta: t, weights } = span;
        let (theta, w) = (&mut vec![0.0; t.len()][..], &mut vec![0.0; weights.len()][..]);
        layer.neutral(shape, 0.0, w);
        match layer {
            Layer::Affine => {
                standardise(&x, dim, w);
                begin.units.resize(t.start, 1.0);
                begin.units.extend(w[dim..2 * dim].iter().map(|scale| (1.0 / scale) as f32));
            }
            Layer::Householder => match from {
                Start::Identity => near_identity(dim, rng, w),
                Start::Pca => principal_axes(&x, dim, shape.arg, w),
            },
            Layer::RationalQuadratic | Layer::RationalLinear => {
                let squared = layer == Layer::RationalLinear;
                let per_dim = w.len() / dim;
                for (i, w) in w.chunks_exact_mut(per_dim).enumerate() {
                    let mut column: Vec<f64> = x.iter().map(|row| row[i]).collect();
                    column.sort_unstable_by(f64::total_cmp);
                    flatten(&column, shape, squared, w);
                }
            }
            Layer::Domain => {
                for &Domain { column, kind, low, high } in domains {
                    let (low, high) = (f64::from(low), f64::from(high));
                    bijection::Domain::set_column(shape, w, column, kind, low, high);
                }
            }
            Layer::Permutation => {
                w.reverse();
                mirrored = !mirrored;
            }
            Layer::LowerUpper => {
                w[dim * dim..dim * dim + dim].reverse();
                mirrored = !mirrored;
            }
            Layer::Autoregressive => {
                // Every second one from the data's last number to its first.
                if turn != mirrored {
                    w[3..3 + dim].reverse();
                }
                turn = !turn;
            }
            _ => {}
        }
        if let Some((network, from)) = layer.conditioner(shape) {
            small_network(network, rng, &mut w[from..]);
        }
        layer.unconstrain(shape, w, theta);
        layer.constrain(shape, theta, w);
        begin.extend(theta, w);
        let mut scratch = vec![0.0; layer.scratch_len(shape)];
        for row in &mut x {
            layer.forward(shape, &*w, &mut row[..dim + shape.context], &mut scratch);
        }
    }
    let (t, weights) = stack.base_spans();
    if let Base::Mixture(components) = stack.base {
        let (mut theta, mut w) = (vec![0.0; t.len()], vec![0.0; weights.len()]);
        mixture::fit(&x, components, &mut theta, rng);
        stack.base.constrain(dim, &theta, &mut w);
        begin.extend(&theta, &w);
    }
    begin
}

impl Begin {
    /// Adds the numbers of a layer or of the base.
    fn extend(&mut self, theta: &[f64], w: &[f64]) {
        self.theta.extend(theta.iter().map(|x| *x as f32));
        self.w.extend(w.iter().map(|x| *x as f32));
    }
}

/// Hidden units as torch starts a linear layer, uniform within ±1/√inputs; outputs with a tenth of
/// it around their neutral biases, so that the layer starts close to doing nothing.
fn small_network(network: Conditioner, rng: &mut impl Rng, w: &mut [f64]) {
    for group in network.groups() {
        let bound = 1.0 / (group.fan_in.max(1) as f64).sqrt();
        for row in 0..group.count {
            for column in 0..=group.fan_in {
                let weight = &mut w[group.position(row, column)];
                match group.layer {
                    Some(_) => *weight = rng.random_range(-bound..bound),
                    None => *weight += 0.1 * rng.random_range(-bound..bound),
                }
            }
        }
    }
}

/// Mean and standard deviation; a deviation that is nothing beside the mean counts as 1.
fn moments(column: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = column.clone().count() as f64;
    let mean = column.clone().sum::<f64>() / count;
    let variance = column.map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    (mean, deviation(mean, variance))
}

/// Standard deviation; one that is nothing beside the mean counts as 1.
fn deviation(mean: f64, variance: f64) -> f64 {
    let deviation = variance.sqrt();
    if deviation > 1e-7 * (1e-30 + mean.abs()) { deviation } else { 1.0 }
}

/// Standard deviation of each column of `rows` \[n, D\].
pub(super) fn deviations(rows: &[f32], dim: usize) -> impl Iterator<Item = f64> {
    let moments = crate::data::moments(rows, dim);
    moments.into_iter().map(|(mean, variance)| deviation(mean, variance))
}

fn standardise(x: &[Vec<f64>], dim: usize, w: &mut [f64]) {
    for i in 0..dim {
        let (mean, deviation) = moments(x.iter().map(|row| row[i]));
        w[i] = mean;
        w[dim + i] = 1.0 / deviation;
    }
}

/// Pairs of nearly equal reflections, whose product is nearly the identity; an odd M leaves one
/// reflection of the first axis.
fn near_identity(dim: usize, rng: &mut impl Rng, w: &mut [f64]) {
    const APART: f64 = 0.1;
    let mut normal = || rng.sample::<f64, _>(rand_distr::StandardNormal);
    for pair in w.chunks_exact_mut(2 * dim) {
        let (u, v) = pair.split_at_mut(dim);
        u.fill_with(&mut normal);
        scale_to_root_2(u);
        for (u, v) in u.iter().zip(&mut *v) {
            *v = u + APART * normal() / (dim as f64).sqrt();
        }
        scale_to_root_2(v);
    }
}

fn scale_to_root_2(u: &mut [f64]) {
    let factor = (2.0 / u.iter().map(|u| u * u).sum::<f64>()).sqrt();
    u.iter_mut().for_each(|u| *u *= factor);
}

/// M reflections whose product turns the M strongest principal axes onto the first M coordinates:
/// the Householder QR of the eigenvectors.
fn principal_axes(x: &[Vec<f64>], dim: usize, reflections: usize, w: &mut [f64]) {
    let mut covariance = DMatrix::<f64>::zeros(dim, dim);
    for row in x {
        let row = DVector::from_column_slice(&row[..dim]);
        covariance.syger(1.0 / x.len() as f64, &row, &row, 1.0);
    }
    covariance.fill_upper_triangle_with_lower_triangle();
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let mut axes: Vec<Vec<f64>> =
        order.iter().map(|i| eigen.eigenvectors.column(*i).iter().copied().collect()).collect();

    for m in 0..reflections.min(dim) {
        // v = a ∓ e_m reflects the unit vector a onto ±e_m; the sign that does not cancel.
        let mut v = axes[m].clone();
        v[m] += if v[m] >= 0.0 { 1.0 } else { -1.0 };
        let square: f64 = v.iter().map(|v| v * v).sum();
        for axis in &mut axes {
            let along = 2.0 * v.iter().zip(&*axis).map(|(v, a)| v * a).sum::<f64>() / square;
            for (a, v) in axis.iter_mut().zip(&v) {
                *a -= along * v;
            }
        }
        scale_to_root_2(&mut v);
        w[m * dim..(m + 1) * dim].copy_from_slice(&v);
    }
}

/// Knots at the quantiles of a sorted column, heights where a normal has them, slopes between. With
/// `squared`, w holds the slopes' roots.
fn flatten(sorted: &[f64], shape: fluxlet::bijection::Shape, squared: bool, w: &mut [f64]) {
    let bins = shape.arg;
    let knots = bins + 1;
    let (mean, deviation) = moments(sorted.iter().copied());
    let linear_tails = shape.option == fluxlet::bijection::Tails::Linear as u8;
    // Identity tails tie the interval to itself; linear ones take the coordinate's own.
    let (center, unit) = if linear_tails { (mean, deviation) } else { (0.0, 1.0) };
    let below = |x: f64| sorted.partition_point(|s| *s <= x) as f64 / sorted.len() as f64;
    // Nine parts the data, one part a normal: never flat, never vertical.
    let cdf = |u: f64| 0.9 * below(center + unit * u) + 0.1 * normal_cdf(u);
    let quantile = |p: f64| bisect(|u| cdf(u) - p);

    let mut x = vec![0.0; knots];
    let mut y = vec![0.0; knots];
    for j in 0..knots {
        let even = -REACH + 2.0 * REACH * j as f64 / bins as f64;
        if j == 0 || j == bins {
            (x[j], y[j]) = (even, even);
            continue;
        }
        let p = j as f64 / bins as f64;
        // Half way between equal counts and equal widths, so that the tails get knots too.
        x[j] = 0.5 * (quantile(p) + even);
        y[j] = (1.0 - FLATTENING) * x[j] + FLATTENING * bisect(|u| normal_cdf(u) - cdf(x[j]));
    }
    for v in [&mut x, &mut y] {
        for j in 1..bins {
            v[j] = v[j].max(v[j - 1] + 0.02).min(REACH - 0.02 * (bins - j) as f64);
        }
    }
    let chord = |j: usize| (y[j + 1] - y[j]) / (x[j + 1] - x[j]);
    for j in 0..knots {
        let slope = match j {
            0 if linear_tails => chord(0),
            j if j == bins && linear_tails => chord(bins - 1),
            0 => 1.0,
            j if j == bins => 1.0,
            j => (chord(j - 1) * chord(j)).sqrt(),
        } / if linear_tails { unit } else { 1.0 };
        let slope = if squared { slope.sqrt() } else { slope };
        w[3 * j..3 * j + 3].copy_from_slice(&[center + unit * x[j], y[j], slope]);
    }
}

/// Φ(u), by the series and the continued fraction that libm's erfc is made of.
fn normal_cdf(u: f64) -> f64 {
    0.5 * libm::erfc(-u * core::f64::consts::FRAC_1_SQRT_2)
}

/// Root of an increasing function on ±[`REACH`].
fn bisect(f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-REACH, REACH);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluxlet::bijection::{Bijection, Householder, Shape};
    use fluxlet::conditioner::{Activation, Network};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn as_many_reflections_as_dimensions_diagonalise_the_covariance() {
        // A strongly correlated cloud: x₁ ≈ x₀, x₂ alone.
        let x: Vec<Vec<f64>> = (0..500)
            .map(|i| {
                let (a, b, c) =
                    ((i as f64 * 0.7).sin(), (i as f64 * 1.3).cos(), (i as f64 * 2.1).sin());
                vec![a + 0.1 * b, a - 0.1 * b, 0.5 * c]
            })
            .collect();
        let mut w = vec![0.0; 9];
        principal_axes(&x, 3, 3, &mut w);
        let shape = Shape::new(3, 3, 0);
        let turned: Vec<Vec<f64>> = x
            .iter()
            .map(|row| {
                let mut row = row.clone();
                Householder::forward(shape, &w[..], &mut row, &mut []);
                row
            })
            .collect();
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let covariance = turned.iter().map(|r| r[i] * r[j]).sum::<f64>() / 500.0;
            assert!(covariance.abs() < 1e-2, "axes {i} and {j}: {covariance}");
        }
    }

    #[test]
    fn every_number_depends_on_every_other_through_two_autoregressive_layers() {
        let shape = Shape {
            transformer: Layer::Affine,
            network: Network { hidden: [16, 0, 0, 0], activation: Activation::Tanh },
            ..Shape::new(3, 0, 0)
        };
        let given = (Layer::Autoregressive, shape);
        let mixings =
            [Layer::Permutation, Layer::LowerUpper].map(|layer| (layer, Shape::new(3, 0, 0)));
        let rows: Vec<f32> = (0..60).map(|i| (f64::from(i) * 0.7).sin() as f32).collect();
        for between in [&[][..], &mixings[..1], &mixings[1..], &mixings] {
            let layers = [&[given], between, &[given]].concat();
            let stack = Stack { dim: 3, context: 0, layers, base: Base::Normal };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let w = start(&stack, Start::Identity, &rows, &[], &mut rng).w;
            let w: Vec<f64> = w.into_iter().map(f64::from).collect();
            let latent = |x: [f64; 3]| {
                let mut x = x;
                for span in stack.spans() {
                    let mut scratch = vec![0.0; span.layer.scratch_len(span.shape)];
                    span.layer.forward(span.shape, &w[span.weights], &mut x, &mut scratch);
                }
                x
            };
            let plain = latent([0.1, 0.2, 0.3]);
            for moved in [[1.1, 0.2, 0.3], [0.1, 1.2, 0.3], [0.1, 0.2, 1.3]].map(latent) {
                let changed = plain.iter().zip(moved).all(|(z, moved)| *z != moved);
                assert!(changed, "{between:?}: {plain:?}, {moved:?}");
            }
        }
    }

    #[test]
    fn a_flattened_column_is_closer_to_a_normal_than_before() {
        let mut column: Vec<f64> = (1..2000).map(|i| -(1.0 - i as f64 / 2000.0).ln()).collect();
        column.sort_unstable_by(f64::total_cmp);
        let shape = Shape::new(1, 8, 1);
        let mut w = vec![0.0; 27];
        flatten(&column, shape, false, &mut w);
        let skewness = |column: &[f64]| {
            let (mean, deviation) = moments(column.iter().copied());
            column.iter().map(|x| ((x - mean) / deviation).powi(3)).sum::<f64>()
                / column.len() as f64
        };
        let flat: Vec<f64> = column
            .iter()
            .map(|x| {
                let mut x = [*x];
                fluxlet::bijection::RationalQuadratic::forward(shape, &w[..], &mut x, &mut []);
                x[0]
            })
            .collect();
        let (before, after) = (skewness(&column), skewness(&flat));
        assert!(after.abs() < before, "{after} of {before}");
    }
}
