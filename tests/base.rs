//! Laws of the base densities: gradients by dual numbers, mass one, samples from the density.

mod common;

use common::Random;
use common::dual::{Dual, constants, seeded};
use fluxlet::Base;

const DIM: usize = 3;
/// Sums of some ten terms of both signs and of size one, in f64.
const GRADIENT: f64 = 1e-11;

fn draw(base: Base, dim: usize, random: &mut Random) -> Vec<f64> {
    (0..base.theta_len(dim)).map(|_| 0.7 * random.normal()).collect()
}

fn weights(base: Base, dim: usize, theta: &[f64]) -> Vec<f64> {
    let mut w = vec![f64::NAN; base.weight_len(dim)];
    base.constrain(dim, theta, &mut w);
    w
}

fn close(got: f64, expected: f64, what: &str) {
    let error = (got - expected).abs() / (1.0 + expected.abs());
    assert!(error < GRADIENT, "{what}: {got} for {expected}");
}

const BASES: [Base; 4] = [Base::Normal, Base::Mixture(1), Base::Mixture(2), Base::Mixture(7)];

#[test]
fn backward_is_the_gradient_of_log_prob() {
    let mut random = Random::new(1);
    for base in BASES {
        let w = weights(base, DIM, &draw(base, DIM, &mut random));
        let z: Vec<f64> = (0..DIM).map(|_| 2.0 * random.normal()).collect();
        let cotangent = 1.7;
        let mut dz = z.clone();
        let mut dw = vec![0.0; w.len()];
        let mut scratch = vec![f64::NAN; base.backward_scratch_len(DIM)];
        base.backward(&w[..], &mut dz, cotangent, &mut dw[..], &mut scratch);

        let mut scratch = vec![Dual::constant(f64::NAN); base.scratch_len()];
        let mut slope = |w: &[Dual], z: &[Dual]| base.log_prob(w, z, &mut scratch).d * cotangent;
        for (i, got) in dz.iter().enumerate() {
            let expected = slope(&constants(&w), &seeded(&z, i));
            close(*got, expected, &format!("{base:?} dz {i}"));
        }
        for (i, got) in dw.iter().enumerate() {
            let expected = slope(&seeded(&w, i), &constants(&z));
            close(*got, expected, &format!("{base:?} dw {i}"));
        }
    }
}

#[test]
fn constrain_backward_is_the_gradient_of_constrain() {
    let mut random = Random::new(2);
    for base in BASES {
        let theta = draw(base, DIM, &mut random);
        let w = weights(base, DIM, &theta);
        let dw: Vec<f64> = w.iter().map(|_| random.normal()).collect();
        let mut dtheta = vec![0.0; theta.len()];
        base.constrain_backward(DIM, &theta, &w, &dw, &mut dtheta);
        for (i, got) in dtheta.iter().enumerate() {
            let mut w = vec![Dual::constant(f64::NAN); w.len()];
            base.constrain(DIM, &seeded(&theta, i), &mut w);
            let expected: f64 = w.iter().zip(&dw).map(|(w, d)| w.d * d).sum();
            close(*got, expected, &format!("{base:?} dtheta {i}"));
        }
    }
}

#[test]
fn a_base_has_mass_one() {
    let mut random = Random::new(3);
    for base in BASES {
        let w = weights(base, 1, &draw(base, 1, &mut random));
        let mut scratch = vec![f64::NAN; base.scratch_len()];
        // The trapezoidal rule on a smooth function that vanishes at both ends is all but exact.
        let step = 1e-3;
        let mass: f64 = (-40_000..=40_000)
            .map(|i| step * base.log_prob(&w[..], &[f64::from(i) * step], &mut scratch).exp())
            .sum();
        assert!((mass - 1.0).abs() < 1e-9, "{base:?}: {mass}");
    }
}

#[test]
fn samples_have_the_mean_of_their_mixture() {
    let base = Base::Mixture(2);
    let mut theta = [0.0; 6];
    Base::unconstrain_component(0.25, &[-3.0], &[0.5], &mut theta[..3]);
    Base::unconstrain_component(0.75, &[5.0], &[1.0], &mut theta[3..]);
    let w: Vec<f32> = weights(base, 1, &theta).iter().map(|w| *w as f32).collect();
    let mut random = Random::new(4);
    let (count, mut sum) = (20_000, 0.0);
    for i in 0..count {
        let mut z = [random.normal() as f32];
        base.sample(&w[..], &mut z, i as f32 / count as f32);
        sum += f64::from(z[0]);
    }
    // The components are drawn evenly, so that only their spread is left: σ/√n < 0.01.
    let mean = sum / f64::from(count);
    assert!((mean - 3.0).abs() < 0.03, "{mean}");
}
