//! Every layer on a GPU, against the core's kernels on one `f64` at a time.

mod support;

use fluxlet_backend::{Backend, Stack};
use fluxlet_gpu::Gpu;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// More than a part of a sum, and no multiple of a workgroup.
const ROWS: usize = 300;

/// Errors of log densities, of the gradient (relative to its largest number), and of rows that were
/// found again.
fn errors(gpu: &Gpu, stack: &Stack, rng: &mut ChaCha8Rng) -> [f64; 3] {
    let (_, w) = support::parameters(stack, rng);
    let (dim, width) = (stack.dim, stack.row_len());
    let rows = support::rows(stack, ROWS, rng);
    let mut dw = vec![f32::NAN; w.len()];
    let nll = gpu.nll_and_grad(stack, &w, &rows, &mut dw).unwrap();
    let mut log_prob = vec![f32::NAN; ROWS];
    gpu.log_prob(stack, &w, &rows, &mut log_prob).unwrap();

    let exact: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
    let mut expected = vec![0.0; w.len()];
    let (mut sum, mut density, mut latent) = (0.0, 0.0_f64, Vec::new());
    for (row, log_prob) in rows.chunks(width).zip(&log_prob) {
        let (exact, z) = support::reference(stack, &exact, row, &mut expected);
        sum -= exact;
        density = density.max((exact - f64::from(*log_prob)).abs() / (1.0 + exact.abs()));
        latent.extend(z.iter().map(|z| *z as f32).chain(row[dim..].iter().copied()));
    }
    let density = density.max((nll - sum).abs() / (ROWS as f64 + sum.abs()));
    let size = expected.iter().fold(1e-30_f64, |most, d| most.max(d.abs()));
    let gradient = dw.iter().zip(&expected).map(|(got, d)| (f64::from(*got) - d).abs() / size);
    let mut found = vec![f32::NAN; ROWS * dim];
    gpu.inverse(stack, &w, &latent, &mut found).unwrap();
    let back = rows.chunks(width).zip(found.chunks(dim)).flat_map(|(row, found)| {
        row.iter().zip(found).map(|(x, found)| f64::from((x - found).abs() / (1.0 + x.abs())))
    });
    // A NaN is worse than any number.
    let worst =
        |most: f64, error: f64| if error.is_nan() { f64::INFINITY } else { most.max(error) };
    [worst(0.0, density), gradient.fold(0.0, worst), back.fold(0.0, worst)]
}

#[test]
fn every_layer_is_the_cores() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut worst = [(0.0, ""); 3];
    for stack in support::stacks() {
        let name = stack.layers[0].0.name();
        let errors = errors(&gpu, &stack, &mut rng);
        let [density, gradient, back] = errors;
        println!("{name:<20}log p {density:.1e}  gradient {gradient:.1e}  inverse {back:.1e}");
        for (worst, error) in worst.iter_mut().zip(errors) {
            if error > worst.0 {
                *worst = (error, name);
            }
        }
        // f32 rounds z to 6e-8; an inverse magnifies that by its largest slope, some hundred in the
        // linear layers drawn here.
        let allowed = [1e-5, 1e-5, 1e-3];
        assert!(errors.iter().zip(allowed).all(|(error, allowed)| *error < allowed), "{stack:?}");
    }
    let [density, gradient, back] = worst;
    println!("worst: log p {density:?}, gradient {gradient:?}, inverse {back:?}");
}

#[test]
fn two_runs_give_the_same_bits() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let stack = &support::stacks()[2];
    let (_, w) = support::parameters(stack, &mut rng);
    let rows = support::rows(stack, 5000, &mut rng);
    let run = || {
        let mut dw = vec![0.0; w.len()];
        (gpu.nll_and_grad(stack, &w, &rows, &mut dw).unwrap().to_bits(), dw)
    };
    assert_eq!(run(), run());
}
