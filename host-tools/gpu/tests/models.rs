//! Models that train side by side on a GPU, against the same steps in `f64`, one model at a time.

mod support;

use fluxlet_backend::Stack;
use fluxlet_gpu::{Models, Moving, Pace, Start};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const BATCH: usize = 70;
const CLIP: f64 = 5.0;

/// A model's parameters and moments, in `f64`.
#[derive(Clone)]
struct Exact {
    theta: Vec<f64>,
    w: Vec<f64>,
    mean: Vec<f64>,
    square: Vec<f64>,
    count: i32,
}

impl Exact {
    fn new(stack: &Stack, theta: &[f32], w: &[f32]) -> Self {
        let wide = |numbers: &[f32]| numbers.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let zeros = vec![0.0; theta.len()];
        let mut new =
            Self { theta: wide(theta), w: wide(w), mean: zeros.clone(), square: zeros, count: 0 };
        stack.constrain(&new.theta, &mut new.w);
        new
    }

    /// A step of Adam; the loss of its batch.
    fn step(&mut self, stack: &Stack, rows: &[f32], rate: f64) -> f64 {
        let count = (rows.len() / stack.row_len()) as f64;
        let mut dw = vec![0.0; self.w.len()];
        let row_len = stack.row_len();
        let rows = rows.chunks(row_len);
        let nll: f64 = rows.map(|row| -support::reference(stack, &self.w, row, &mut dw).0).sum();
        let mut dtheta = vec![0.0; self.theta.len()];
        stack.constrain_backward(&self.theta, &self.w, &dw, &mut dtheta);
        let norm = dtheta.iter().map(|d| d * d).sum::<f64>().sqrt() / count;
        self.count += 1;
        let [correct_1, correct_2] = [0.9_f64, 0.999].map(|beta| 1.0 - beta.powi(self.count));
        for (i, d) in dtheta.iter().enumerate() {
            let d = d / count * (CLIP / norm).min(1.0);
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * d;
            self.square[i] = 0.999 * self.square[i] + 0.001 * d * d;
            let root = (self.square[i] / correct_2).sqrt();
            self.theta[i] -= rate * self.mean[i] / correct_1 / (root + 1e-8);
        }
        stack.constrain(&self.theta, &mut self.w);
        nll
    }
}

fn pace(rows: usize, rate: f64, gradients: i32) -> Pace {
    let [correct_1, correct_2] = [0.9_f64, 0.999].map(|beta| 1.0 - beta.powi(gradients));
    Pace {
        rows,
        learning_rate: rate as f32,
        rate: (rate / correct_1) as f32,
        root: (1.0 / correct_2.sqrt()) as f32,
        follow: 0.0,
        clip: CLIP as f32,
    }
}

fn set(models: &mut Models, model: usize, theta: &[f32]) {
    let zeros = vec![0.0; theta.len()];
    models.set(model, Moving { theta, moments: [&zeros, &zeros], average: theta });
}

/// Batches of `counts` rows, as [`Models::step`] takes them, and each model's own rows.
fn batches(stack: &Stack, counts: &[usize], rng: &mut ChaCha8Rng) -> (Vec<f32>, Vec<Vec<f32>>) {
    let own: Vec<Vec<f32>> = counts.iter().map(|count| support::rows(stack, *count, rng)).collect();
    let full = BATCH * stack.row_len();
    let all = own.iter().flat_map(|rows| rows.iter().cycle().take(full).copied()).collect();
    (all, own)
}

/// Largest difference, relative to the largest number.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    let size = expected.iter().fold(1e-30_f64, |most, x| most.max(x.abs()));
    got.iter().zip(expected).fold(0.0, |most, (got, expected)| {
        let error = (f64::from(*got) - expected).abs() / size;
        if error.is_nan() { f64::INFINITY } else { most.max(error) }
    })
}

#[test]
fn a_step_of_every_layer_is_that_of_its_formulas() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut worst = (0.0, "");
    for stack in support::stacks() {
        let (theta, w) = support::parameters(&stack, &mut rng);
        let start = Start { w: &w, units: &[], decays: &[] };
        let mut models = gpu.models(&stack, &[start; 2], BATCH).unwrap();
        let mut exact = [Exact::new(&stack, &theta, &w), Exact::new(&stack, &theta, &w)];
        // The second model's batch is not full.
        let (rows, own) = batches(&stack, &[BATCH, 41], &mut rng);
        for model in 0..2 {
            set(&mut models, model, &theta);
        }
        let paces = [pace(BATCH, 1e-3, 1), pace(41, 1e-3, 1)];
        let told = models.step(&rows, &paces).unwrap();
        let moved = models.get().unwrap();
        let held = models.nll(&[&own[1], &own[0]], false).unwrap();
        for (model, exact) in exact.iter_mut().enumerate() {
            let nll = exact.step(&stack, &own[model], 1e-3);
            let name = stack.layers[0].0.name();
            let said = error(&[told[model].nll as f32], &[nll]);
            assert!(said < 1e-5, "{stack:?}: {} for {nll}", told[model].nll);
            // The mean is a tenth of the gradient; θ itself moves by its sign alone at first.
            let gradient = error(&moved[model].moments[0], &exact.mean);
            assert!(gradient < 1e-4, "{stack:?}: {gradient:e}");
            if gradient > worst.0 {
                worst = (gradient, name);
            }
            let w: Vec<f64> = {
                let theta: Vec<f64> = moved[model].theta.iter().map(|x| f64::from(*x)).collect();
                let mut w = exact.w.clone();
                stack.constrain(&theta, &mut w);
                w
            };
            let mut unused = vec![0.0; w.len()];
            let other = own[1 - model].chunks(stack.row_len());
            let nll: f64 =
                other.map(|row| -support::reference(&stack, &w, row, &mut unused).0).sum();
            assert!(
                (held[model] - nll).abs() < 1e-5 * nll.abs(),
                "{stack:?}: {} for {nll}",
                held[model]
            );
        }
    }
    println!("worst: {worst:?}");
}

#[test]
fn many_steps_at_once_are_those_that_one_model_takes_alone() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let stack = support::stacks().swap_remove(2);
    let starts: Vec<_> = (0..3).map(|_| support::parameters(&stack, &mut rng)).collect();
    let begin: Vec<_> = starts.iter().map(|(_, w)| Start { w, units: &[], decays: &[] }).collect();
    let mut models = gpu.models(&stack, &begin, BATCH).unwrap();
    let mut exact: Vec<_> = starts.iter().map(|(theta, w)| Exact::new(&stack, theta, w)).collect();
    for (model, (theta, _)) in starts.iter().enumerate() {
        set(&mut models, model, theta);
    }
    let (mut rows, mut paces, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for step in 1..=5 {
        let counts = [BATCH, 10, BATCH - step as usize];
        let (all, own) = batches(&stack, &counts, &mut rng);
        rows.extend(all);
        paces.extend(counts.map(|count| pace(count, 1e-2, step)));
        for (exact, own) in exact.iter_mut().zip(&own) {
            expected.push(exact.step(&stack, own, 1e-2));
        }
    }
    let told = models.step(&rows, &paces).unwrap();
    for (told, expected) in told.iter().zip(&expected) {
        assert!((told.nll - expected).abs() < 1e-3 * expected.abs(), "{told:?} for {expected}");
    }
    for (moved, exact) in models.get().unwrap().iter().zip(&exact) {
        let error = error(&moved.theta, &exact.theta);
        // A gradient near 0 may have another sign.
        assert!(error < 1e-2, "{error:e}");
    }
}

#[test]
fn a_model_whose_batch_is_not_finite_waits_and_the_others_go_on() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let stack = support::stacks().swap_remove(2);
    let (theta, w) = support::parameters(&stack, &mut rng);
    let start = Start { w: &w, units: &[], decays: &[] };
    let mut models = gpu.models(&stack, &[start; 2], BATCH).unwrap();
    for model in 0..2 {
        set(&mut models, model, &theta);
    }
    let full = BATCH * stack.row_len();
    let good = support::rows(&stack, BATCH, &mut rng);
    let mut bad = good.clone();
    bad[7] = f32::NAN;
    // Two steps; the second model's first batch has a NaN.
    let rows = [&good[..], &bad, &good, &good].concat();
    assert_eq!(rows.len(), 4 * full);
    let paces =
        [pace(BATCH, 1e-3, 1), pace(BATCH, 1e-3, 1), pace(BATCH, 1e-3, 2), pace(BATCH, 1e-3, 2)];
    let told = models.step(&rows, &paces).unwrap();
    assert_eq!(
        told.iter().map(|told| told.is_finite()).collect::<Vec<_>>(),
        [true, false, true, true]
    );
    let moved = models.get().unwrap();
    assert_ne!(moved[0].theta, theta);
    assert_eq!(moved[1].theta, theta);
    assert!(moved[1].moments[0].iter().all(|mean| *mean == 0.0));
    // Told anew it goes on, to where the other one was.
    set(&mut models, 1, &theta);
    let paces = [Pace::default(), pace(BATCH, 1e-3, 1), Pace::default(), pace(BATCH, 1e-3, 2)];
    let rows = [&good[..], &good, &good, &good].concat();
    models.step(&rows, &paces).unwrap();
    let again = models.get().unwrap();
    assert_eq!(again[0], moved[0]);
    assert_eq!(again[1], moved[0]);
}

#[test]
fn a_mean_that_nothing_adds_to_ends_at_zero() {
    let Some(gpu) = support::gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let stack = support::stacks().swap_remove(2);
    let (theta, w) = support::parameters(&stack, &mut rng);
    let zeros = vec![0.0; theta.len()];
    // A unit of 0 is a gradient of 0.
    let start = Start { w: &w, units: &zeros, decays: &[] };
    let mut models = gpu.models(&stack, &[start], BATCH).unwrap();
    let (mean, square) = (vec![1.05e-17; theta.len()], vec![1e-30; theta.len()]);
    models.set(0, Moving { theta: &theta, moments: [&mean, &square], average: &theta });
    let (rows, _) = batches(&stack, &[BATCH], &mut rng);
    models.step(&rows, &[pace(BATCH, 1e-3, 1)]).unwrap();
    let moved = models.get().unwrap().swap_remove(0);
    // Nine tenths of it are too small; of the square nearly all is left.
    assert_eq!(moved.moments[0], zeros);
    assert!(moved.moments[1].iter().all(|square| (square - 0.999e-30).abs() < 1e-36));
    assert_eq!(moved.theta, theta);
}
