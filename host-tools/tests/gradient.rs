//! The trainer's likelihood and gradient, sixteen samples side by side in `f32`, against the core's
//! kernels on one `f64` at a time.

mod support;

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape, Tails};
use fluxlet::conditioner::{Activation, Network};
use fluxlet_tools::backend::{Backend, Cpu};
use fluxlet_tools::bench::start;
use fluxlet_tools::stack::Stack;
use fluxlet_tools::train::{Act, FlowConfig, Kind, Outside, Rotation, Spline};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

fn weights(stack: &Stack, rng: &mut impl Rng) -> Vec<f32> {
    let theta: Vec<f64> = (0..stack.theta_len()).map(|_| rng.random_range(-0.5..0.5)).collect();
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        span.layer.neutral(span.shape, 0.0, &mut w[span.weights]);
    }
    stack.constrain(&theta, &mut w);
    w.iter().map(|w| *w as f32).collect()
}

/// −log p of one row and its gradient, layer by layer.
fn reference(stack: &Stack, w: &[f64], row: &[f32], dw: &mut [f64]) -> f64 {
    let mut scratch = vec![0.0; 4096];
    let dim = stack.dim;
    let mut x: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let mut inputs = Vec::new();
    let mut ladj = 0.0;
    for span in stack.spans() {
        let seen = dim + span.shape.context;
        inputs.push(x[..seen].to_vec());
        let w = &w[span.weights];
        ladj += span.layer.forward(span.shape, w, &mut x[..seen], &mut scratch);
    }
    let (_, base) = stack.base_spans();
    let z = &mut x[..dim];
    let nll = -(ladj + stack.base.log_prob(&w[base.clone()], z, &mut scratch));
    stack.base.backward(&w[base.clone()], z, -1.0, &mut dw[base], &mut scratch);
    let spans: Vec<_> = stack.spans().collect();
    for (span, input) in spans.iter().zip(&mut inputs).rev() {
        let (w, dw) = (&w[span.weights.clone()], &mut dw[span.weights.clone()]);
        let dz = &mut x[..dim + span.shape.context];
        span.layer.backward(span.shape, w, input, dz, -1.0, dw, &mut scratch);
    }
    nll
}

#[test]
fn lanes_agree_with_one_number_at_a_time() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let dim = 6;
    for (rotation, spline, tails, components) in [
        (Rotation::Householder, Spline::Quadratic, Outside::Linear, 5),
        (Rotation::Dct, Spline::Quadratic, Outside::Identity, 1),
        (Rotation::Householder, Spline::Linear, Outside::Identity, 3),
        (Rotation::Dct, Spline::Linear, Outside::Linear, 1),
    ] {
        let rotation = Some(rotation);
        let flow = FlowConfig { rotation, spline, tails, components, ..FlowConfig::default() };
        let stack = flow.stack(dim, 0, false).unwrap();
        assert!(Tails::from_code(stack.layers[2].1.option).is_some());
        let w = weights(&stack, &mut rng);
        compare(&stack, &w, 1e-5, &mut rng);
    }
}

#[test]
fn lanes_agree_on_the_linear_layers() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let shape = |arg, option| Shape::new(6, arg, option);
    let layers = vec![
        (Layer::LowerUpper, shape(0, 0)),
        (Layer::Haar, shape(0, 1)),
        (Layer::MatrixExponential, shape(8, 0)),
        (Layer::LowerCholesky, shape(0, 0)),
    ];
    let stack = Stack { dim: 6, context: 0, layers, base: Base::Normal };
    let w = weights(&stack, &mut rng);
    compare(&stack, &w, 1e-5, &mut rng);
}

#[test]
fn lanes_agree_on_networks_with_and_without_context() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (dim, kind, spline, activation, residual, context) in [
        (6, Kind::Coupling, Spline::Quadratic, Act::Relu, false, 0),
        (6, Kind::Coupling, Spline::Linear, Act::Silu, true, 2),
        (6, Kind::Autoregressive, Spline::Quadratic, Act::Elu, true, 1),
        (6, Kind::Autoregressive, Spline::Linear, Act::Tanh, false, 0),
        (6, Kind::Autoregressive, Spline::Affine, Act::Relu, false, 2),
        // One number is mapped.
        (2, Kind::Coupling, Spline::Quadratic, Act::Relu, false, 0),
    ] {
        let hidden = if residual { vec![9, 2] } else { vec![9, 12] };
        let flow =
            FlowConfig { kind, spline, activation, residual, hidden, ..FlowConfig::default() };
        let stack = flow.stack(dim, context, false).unwrap();
        let w = weights(&stack, &mut rng);
        // A rounding of a unit reaches a spline by its steepest bin.
        compare(&stack, &w, 1e-4, &mut rng);
    }
}

#[test]
fn lanes_agree_on_a_stack_of_every_layer() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let stack = support::models::every_layer(6);
    let (_, w) = start(&stack);
    // So many layers magnify a rounding more than one does.
    compare(&stack, &w, 1e-3, &mut rng);
}

#[test]
fn a_flow_too_deep_for_whole_tiles_has_the_same_gradient() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut shape = Shape::new(16, 8, 0);
    shape.transformer = Layer::RationalQuadratic;
    shape.network = Network { hidden: [9, 12, 0, 0], activation: Activation::Relu };
    let layers = vec![(Layer::Autoregressive, shape); 12];
    let stack = Stack { dim: 16, context: 0, layers, base: Base::Normal };
    let w = weights(&stack, &mut rng);
    // Twelve splines magnify a rounding more than one does.
    compare(&stack, &w, 1e-2, &mut rng);
}

/// Likelihood and gradient of some rows, in lanes and one number at a time.
fn compare(stack: &Stack, w: &[f32], allowed: f64, rng: &mut ChaCha8Rng) {
    let dim = stack.row_len();
    // No multiple of a chunk or of the lanes, and a third of the rows beyond the knots.
    let mut rows: Vec<f32> = (0..75 * dim).map(|_| rng.sample(StandardNormal)).collect();
    rows[..25 * dim].iter_mut().for_each(|x| *x *= 4.0);
    let mut dw = vec![0.0; w.len()];
    let cpu = Cpu::default();
    let nll = cpu.nll_and_grad(stack, w, &rows, &mut dw).unwrap();
    assert_eq!(Ok(nll), cpu.nll(stack, w, &rows), "with and without the gradient");
    let reversible = Cpu::reversible();
    let mut dw_reversible = vec![f32::NAN; w.len()];
    assert_eq!(Ok(nll), reversible.nll_and_grad(stack, w, &rows, &mut dw_reversible));

    let exact: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
    let mut expected = vec![0.0; w.len()];
    let sum: f64 = rows.chunks(dim).map(|row| reference(stack, &exact, row, &mut expected)).sum();
    // f32 rounds each of some hundred operations a row: relative to the sum of 75 rows.
    assert!((nll - sum).abs() < allowed * (75.0 + sum.abs()), "{stack:?}: {nll} for {sum}");
    let size = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    for (i, (got, expected)) in dw.iter().zip(&expected).enumerate() {
        let error = (f64::from(*got) - expected).abs() / size;
        assert!(error < allowed, "{stack:?}: weight {i}: {got} for {expected}");
    }
    // The inverse finds a row again to within some roundings, which a steep bin magnifies.
    for (i, (got, expected)) in dw_reversible.iter().zip(&expected).enumerate() {
        let error = (f64::from(*got) - expected).abs() / size;
        assert!(error < 100.0 * allowed, "{stack:?}: reversible, weight {i}: {got} for {expected}");
    }
}

#[test]
fn rows_that_an_inverse_misses_are_computed_with_all_kept() {
    let affine = (Layer::Affine, Shape::new(2, 0, 0));
    let layers = vec![affine, (Layer::Permutation, Shape::new(2, 0, 0)), affine];
    let stack = Stack { dim: 2, context: 0, layers, base: Base::Normal };
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        span.layer.neutral(span.shape, 0.0, &mut w[span.weights]);
    }
    // A shift by 1e7 and back leaves no digit of a number below 1 but the first: nothing finds the
    // others again.
    let spans: Vec<_> = stack.spans().collect();
    let mut shifted = w.clone();
    shifted[spans[0].weights.start] = 1e7;
    shifted[spans[2].weights.start] = -1e7;
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let rows: Vec<f32> = (0..100 * 2).map(|_| rng.sample(StandardNormal)).collect();
    for (w, drifts) in [(w, 0), (shifted, 2)] {
        let (usual, reversible) = (Cpu::default(), Cpu::reversible());
        let [mut dw, mut dw_reversible] = [(); 2].map(|()| vec![0.0; w.len()]);
        let nll = usual.nll_and_grad(&stack, &w, &rows, &mut dw).unwrap();
        assert_eq!(Ok(nll), reversible.nll_and_grad(&stack, &w, &rows, &mut dw_reversible));
        assert_eq!(reversible.drifts(), drifts);
        assert_eq!(dw, dw_reversible);
    }
}
