//! First fit of the mixture base: a few rounds of expectation and maximisation on the latent rows
//! (Dempster, Laird and Rubin 1977), started from spread-out rows.

use fearless_simd::{Level, dispatch};
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
    let columns: Vec<Vec<f64>> =
        (0..dim).map(|i| rows.iter().map(|row| row[i]).collect()).collect();
    let mut shares = vec![vec![0.0; rows.len()]; components];
    for _ in 0..ROUNDS {
        dispatch!(Level::new(), _simd => {
            responsibilities(&columns, &mixture, &mut shares);
            for (shares, component) in shares.iter().zip(&mut mixture) {
                maximise(rows, shares, component);
            }
        });
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

/// The share of each component in each row, \[C\]\[n\], of rows that stand as `columns` \[D\]\[n\].
#[inline(always)]
fn responsibilities(columns: &[Vec<f64>], mixture: &[Component], shares: &mut [Vec<f64>]) {
    for (component, shares) in mixture.iter().zip(&mut *shares) {
        shares.fill(0.0);
        for ((column, mean), v) in columns.iter().zip(&component.mean).zip(&component.variance) {
            let (per_variance, log) = (1.0 / v, v.ln());
            for (share, x) in shares.iter_mut().zip(column) {
                *share += (x - mean) * (x - mean) * per_variance + log;
            }
        }
        let log = component.share.ln();
        shares.iter_mut().for_each(|share| *share = log - 0.5 * *share);
    }
    let rows = columns.first().map_or(0, Vec::len);
    let (mut largest, mut sums) = (vec![f64::NEG_INFINITY; rows], vec![0.0; rows]);
    for shares in &*shares {
        largest.iter_mut().zip(shares).for_each(|(largest, share)| *largest = largest.max(*share));
    }
    for shares in &mut *shares {
        for ((share, largest), sum) in shares.iter_mut().zip(&largest).zip(&mut sums) {
            *share = (*share - largest).exp();
            *sum += *share;
        }
    }
    for shares in shares {
        shares.iter_mut().zip(&sums).for_each(|(share, sum)| *share /= sum);
    }
}

#[inline(always)]
fn maximise(rows: &[Vec<f64>], shares: &[f64], component: &mut Component) {
    let total: f64 = shares.iter().sum();
    // A component that lost all rows keeps its place and a small share.
    component.share = (total / rows.len() as f64).max(1e-6);
    if total < 1e-3 {
        return;
    }
    // Row by row, so that the columns' sums go on side by side.
    let mut sums = vec![0.0; component.mean.len()];
    for (row, share) in rows.iter().zip(shares) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += share * x);
    }
    component.mean.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = sum / total);
    sums.fill(0.0);
    for (row, share) in rows.iter().zip(shares) {
        for ((sum, x), mean) in sums.iter_mut().zip(row).zip(&component.mean) {
            *sum += share * ((x - mean) * (x - mean));
        }
    }
    component.variance.iter_mut().zip(&sums).for_each(|(v, sum)| *v = sum / total + RIDGE);
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
