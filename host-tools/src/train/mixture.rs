//! First fit of the mixture base: a few rounds of expectation and maximisation on the latent rows
//! (Dempster, Laird and Rubin 1977), started from spread-out rows.

use fluxlet::Base;
use rand::{Rng, RngExt};

const ROUNDS: usize = 30;
/// Added to every variance: a component must not collapse onto repeated rows.
const RIDGE: f64 = 1e-2;

struct Component {
    share: f64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// θ of a mixture of `components` on `rows` \[n\]\[D\].
pub(super) fn fit(rows: &[Vec<f64>], components: usize, theta: &mut [f64], rng: &mut impl Rng) {
    let dim = rows[0].len();
    let mut mixture: Vec<Component> = seeds(rows, components, rng)
        .into_iter()
        .map(|mean| Component { share: 1.0 / components as f64, mean, variance: vec![1.0; dim] })
        .collect();
    let mut shares = vec![0.0; rows.len() * components];
    for _ in 0..ROUNDS {
        for (row, shares) in rows.iter().zip(shares.chunks_exact_mut(components)) {
            responsibilities(row, &mixture, shares);
        }
        for (c, component) in mixture.iter_mut().enumerate() {
            maximise(rows, shares.iter().skip(c).step_by(components), component);
        }
    }
    for (component, theta) in mixture.iter().zip(theta.chunks_exact_mut(2 * dim + 1)) {
        let sigmas: Vec<f64> = component.variance.iter().map(|v| v.sqrt()).collect();
        Base::unconstrain_component(component.share, &component.mean, &sigmas, theta);
    }
}

/// Rows far from one another: each next one drawn with a probability that grows with its squared
/// distance to the nearest before (k-means++, Arthur and Vassilvitskii 2007).
fn seeds(rows: &[Vec<f64>], count: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let mut seeds = vec![rows[rng.random_range(0..rows.len())].clone()];
    let mut nearest = vec![f64::INFINITY; rows.len()];
    while seeds.len() < count {
        let last = &seeds[seeds.len() - 1];
        for (nearest, row) in nearest.iter_mut().zip(rows) {
            let square: f64 = row.iter().zip(last).map(|(a, b)| (a - b) * (a - b)).sum();
            *nearest = nearest.min(square);
        }
        let mut left = rng.random::<f64>() * nearest.iter().sum::<f64>();
        let chosen = nearest.iter().position(|square| {
            left -= square;
            left <= 0.0
        });
        seeds.push(rows[chosen.unwrap_or(rows.len() - 1)].clone());
    }
    seeds
}

fn responsibilities(row: &[f64], mixture: &[Component], shares: &mut [f64]) {
    for (component, share) in mixture.iter().zip(&mut *shares) {
        let terms = row.iter().zip(&component.mean).zip(&component.variance);
        let log: f64 = terms.map(|((x, mean), v)| (x - mean) * (x - mean) / v + v.ln()).sum();
        *share = component.share.ln() - 0.5 * log;
    }
    let largest = shares.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = shares.iter().map(|s| (s - largest).exp()).sum();
    for share in shares {
        *share = (*share - largest).exp() / sum;
    }
}

fn maximise<'s>(
    rows: &[Vec<f64>],
    shares: impl Iterator<Item = &'s f64> + Clone,
    component: &mut Component,
) {
    let total: f64 = shares.clone().sum();
    // A component that lost all rows keeps its place and a small share.
    component.share = (total / rows.len() as f64).max(1e-6);
    if total < 1e-3 {
        return;
    }
    let weighted = |f: &dyn Fn(&[f64]) -> f64| {
        rows.iter().zip(shares.clone()).map(|(row, share)| share * f(row)).sum::<f64>() / total
    };
    for i in 0..component.mean.len() {
        let mean = weighted(&|row| row[i]);
        component.mean[i] = mean;
        component.variance[i] = weighted(&|row| (row[i] - mean) * (row[i] - mean)) + RIDGE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn two_clouds_are_told_apart() {
        let rows: Vec<Vec<f64>> = (0..400)
            .map(|i| {
                let side = if i % 4 == 0 { -3.0 } else { 3.0 };
                vec![side + 0.3 * (i as f64).sin(), (i as f64 * 0.7).cos()]
            })
            .collect();
        let mut theta = vec![0.0; 10];
        fit(&rows, 2, &mut theta, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        let mut components: Vec<(f64, f64)> =
            theta.chunks_exact(5).map(|t| (t[1], t[0].exp())).collect();
        components.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!((components[0].0 + 3.0).abs() < 0.05 && (components[1].0 - 3.0).abs() < 0.05);
        assert!((components[0].1 - 0.25).abs() < 0.01, "{components:?}");
    }
}
