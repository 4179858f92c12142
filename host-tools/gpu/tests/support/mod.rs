//! Stacks to compare a GPU on, and the core's kernels on one `f64` at a time.

use fluxlet::Base;
use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Domain, Layer, Shape, Tails, option};
use fluxlet::conditioner::{Activation, Network};
use fluxlet_backend::Stack;
use fluxlet_gpu::{Gpu, adapters};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// Set where a machine without a GPU, or a program that stands in for one, is a failure.
const REQUIRED: &str = "FLUXLET_GPU_REQUIRED";

/// The first adapter; `None`, said aloud, on a machine that has none.
pub(crate) fn gpu() -> Option<Gpu> {
    let found = adapters();
    let Some(adapter) = found.first() else {
        assert!(std::env::var_os(REQUIRED).is_none(), "there is no adapter");
        println!("skipped: there is no GPU on this machine, nor a program that stands in for one");
        return None;
    };
    Some(Gpu::open(adapter).unwrap())
}

/// Each layer alone before a mixture, in several shapes.
pub(crate) fn stacks() -> Vec<Stack> {
    let dim = 6;
    let shape = |arg, option| Shape::new(dim, arg, option);
    let network = Network { hidden: [9, 12, 0, 0], activation: Activation::Tanh };
    let with = |split, arg, option, transformer, context| Shape {
        split,
        transformer,
        network,
        context,
        ..shape(arg, option)
    };
    let (identity, linear) = (Tails::Identity as u8, Tails::Linear as u8);
    use Layer::{RationalLinear, RationalQuadratic};
    let shapes = [
        (Layer::Affine, shape(0, 0)),
        (Layer::Dct, shape(0, 0)),
        (RationalQuadratic, shape(5, identity)),
        (RationalQuadratic, shape(7, linear)),
        (RationalLinear, shape(4, linear)),
        (RationalLinear, shape(6, identity)),
        (Layer::Householder, shape(3, 0)),
        (Layer::Permutation, shape(0, 0)),
        (Layer::LowerUpper, shape(0, 0)),
        (Layer::LowerCholesky, shape(0, 0)),
        (Layer::MatrixExponential, shape(6, 0)),
        (Layer::Haar, shape(0, 1)),
        (Layer::Tanh, shape(0, 0)),
        (Layer::Softplus, shape(0, 0)),
        (Layer::LeakyRelu, shape(0, 0)),
        (Layer::Power, shape(0, 0)),
        (Layer::Planar, shape(0, 0)),
        (Layer::Radial, shape(0, 0)),
        (Layer::Sylvester, shape(3, 0)),
        (Layer::Domain, shape(5, 0)),
        (Layer::Exp, shape(0, 0)),
        (Layer::Coupling, with(3, 4, 0, RationalQuadratic, 0)),
        (Layer::Coupling, with(3, 4, option::FIRST_SPLINE, RationalQuadratic, 0)),
        (Layer::Coupling, with(2, 4, option::CONTEXT, RationalLinear, 2)),
        (Layer::Coupling, with(2, 0, 0, Layer::Affine, 0)),
        (Layer::Autoregressive, with(0, 4, 0, RationalQuadratic, 0)),
        (Layer::Autoregressive, with(0, 3, option::CONTEXT, RationalLinear, 2)),
        (Layer::Autoregressive, with(0, 0, option::SKIP, Layer::Affine, 0)),
        (Layer::Conditional, with(0, 2, 0, Layer::Householder, 2)),
    ];
    for layer in Layer::ALL {
        assert!(shapes.iter().any(|(own, _)| own == layer), "{} is tested", layer.name());
    }
    let alone = |(layer, shape): (Layer, Shape)| {
        assert!(layer.exists(shape), "{} {shape:?}", layer.name());
        Stack { dim, context: shape.context, layers: vec![(layer, shape)], base: Base::Mixture(3) }
    };
    shapes.into_iter().map(alone).collect()
}

/// θ, and the weights of it.
pub(crate) fn parameters(stack: &Stack, rng: &mut impl Rng) -> (Vec<f32>, Vec<f32>) {
    let theta: Vec<f32> = (0..stack.theta_len()).map(|_| rng.random_range(-0.5..0.5)).collect();
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        let (layer, shape, w) = (span.layer, span.shape, &mut w[span.weights]);
        layer.neutral(shape, 0.0, w);
        if layer == Layer::Domain {
            Domain::set_column(shape, w, 0, Kind::Box, -9.0, 12.0);
            Domain::set_column(shape, w, 1, Kind::Circle, -10.0, 10.0);
        }
        if layer == Layer::Permutation {
            w.reverse();
        }
    }
    let exact: Vec<f64> = theta.iter().map(|theta| f64::from(*theta)).collect();
    stack.constrain(&exact, &mut w);
    (theta, w.iter().map(|w| *w as f32).collect())
}

/// Rows that every layer of the stack can see; of the first third some lie beyond the knots.
pub(crate) fn rows(stack: &Stack, count: usize, rng: &mut impl Rng) -> Vec<f32> {
    let width = stack.row_len();
    let mut rows: Vec<f32> = (0..count * width).map(|_| rng.sample(StandardNormal)).collect();
    let narrow = [Layer::Tanh, Layer::Exp, Layer::Softplus, Layer::Power];
    if stack.layers.iter().any(|(layer, _)| narrow.contains(layer)) {
        rows.iter_mut().for_each(|x| *x = 0.1 + 0.8 * (x.abs() % 1.0));
    } else {
        rows[..count / 3 * width].iter_mut().for_each(|x| *x *= 2.0);
    }
    rows
}

/// log p and z of one row, and the gradient of −log p.
pub(crate) fn reference(stack: &Stack, w: &[f64], row: &[f32], dw: &mut [f64]) -> (f64, Vec<f64>) {
    let scratch = |len| vec![0.0; len];
    let mut x: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let (mut inputs, mut ladj) = (Vec::new(), 0.0);
    for span in stack.spans() {
        let seen = stack.dim + span.shape.context;
        inputs.push(x[..seen].to_vec());
        let scratch = &mut scratch(span.layer.scratch_len(span.shape));
        ladj += span.layer.forward(span.shape, &w[span.weights], &mut x[..seen], scratch);
    }
    let (_, base) = stack.base_spans();
    let z = x[..stack.dim].to_vec();
    let log_prob =
        ladj + stack.base.log_prob(&w[base.clone()], &z, &mut scratch(stack.base.scratch_len()));
    let dz = &mut x[..stack.dim];
    let len = stack.base.backward_scratch_len(stack.dim);
    stack.base.backward(&w[base.clone()], dz, -1.0, &mut dw[base], &mut scratch(len));
    let spans: Vec<_> = stack.spans().collect();
    for (span, input) in spans.iter().zip(&mut inputs).rev() {
        let (w, dw) = (&w[span.weights.clone()], &mut dw[span.weights.clone()]);
        let dz = &mut x[..stack.dim + span.shape.context];
        let scratch = &mut scratch(span.layer.backward_scratch_len(span.shape));
        span.layer.backward(span.shape, w, input, dz, -1.0, dw, scratch);
    }
    (log_prob, z)
}
