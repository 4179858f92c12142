//! Laws that hold for every row of the layer table, at several dimensions, sizes and options.
//!
//! All run in `f64`; derivatives come from the kernels themselves on dual numbers, so they are
//! exact and no step size has to be chosen. `cargo test --test conformance -- --nocapture` prints
//! the worst deviation of each law.

mod common;

use common::draw::{Case, shapes};
use common::dual::{Dual, constants, seeded};
use common::{Worst, packed};
use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, Network};
use fluxlet::math::Real;
use fluxlet::weights::Packed;

/// What each law allows, and why. ε is `f64::EPSILON`, 2.2e-16.
const TOLERANCES: [(&str, f64); 7] = [
    // A spline's flattest spot has a slope of about 1e-5 here and divides ε |z| by it.
    ("inverse_undoes_forward", 1e-9),
    // The error of the input above, times the change of the log slope along a bin.
    ("inverse_ladj_is_minus_forward_ladj", 1e-9),
    // The roundings of a bin's slope, and D³ of an LU decomposition.
    ("ladj_is_log_abs_det_of_the_jacobian", 1e-11),
    // The same formulas in another order; relative to the largest number of the gradient.
    ("backward_is_the_gradient_of_forward", 1e-11),
    // The softmax is read back from the knots, which loses ε |knot| over the bin's width.
    ("constrain_backward_is_the_gradient_of_constrain", 1e-10),
    // A logarithm and an exponential, of a share of which the floor was taken away.
    ("constrain_undoes_unconstrain", 1e-10),
    // Weights of f64 that are meant to change nothing, up to a rounding of each.
    ("a_neutral_layer_keeps_volume_and_length", 1e-12),
];

fn law(name: &'static str) -> Worst {
    let row = TOLERANCES.iter().find(|row| row.0 == name);
    Worst::new(name, row.expect("every law has a row in the table of tolerances").1)
}

/// Runs `check` on every row of the table with random weights; more often where it is cheap.
fn every_case(mut check: impl FnMut(&mut Case)) {
    for layer in Layer::ALL {
        for shape in shapes(*layer) {
            let rounds = match shape.dim {
                1..=3 => 20,
                4..=15 => 8,
                _ => 2,
            };
            // Layers with a network have many shapes.
            let rounds = if layer.is_conditioned() { 1 + rounds / 10 } else { rounds };
            for round in 0..rounds {
                check(&mut Case::new(*layer, shape, round));
            }
        }
    }
}

/// z, and ladj, of `x`.
fn forward<R: Real>(case: &Case, w: &[R], x: &[R]) -> (Vec<R>, R) {
    let mut z = x.to_vec();
    let ladj = case.layer.forward(case.shape, w, &mut z, &mut case.scratch(x[0]));
    (z, ladj)
}

/// x, and ladj of the inverse, of `z`.
fn inverse<R: Real>(case: &Case, w: &[R], z: &[R]) -> (Vec<R>, R) {
    let mut x = z.to_vec();
    let ladj = case.layer.inverse(case.shape, w, &mut x, &mut case.scratch(z[0]));
    (x, ladj)
}

#[test]
fn inverse_undoes_forward() {
    let mut law = law("inverse_undoes_forward");
    every_case(|case| {
        let x = case.input();
        let (z, _) = forward(case, &case.w, &x);
        let (back, _) = inverse(case, &case.w, &z);
        let scale = 1.0 + x.iter().fold(0.0, |a, x| x.abs().max(a));
        for (i, (back, x)) in back.iter().zip(&x).enumerate() {
            law.compare(*back, *x, scale, || format!("{} x[{i}] = {x:e}", case.name()));
        }
    });
}

#[test]
fn forward_undoes_inverse() {
    // The same promise from the other side, where z need not be the image of a drawn x.
    let mut law = law("inverse_undoes_forward");
    every_case(|case| {
        let z = case.output();
        let (x, _) = inverse(case, &case.w, &z);
        let (back, _) = forward(case, &case.w, &x);
        let scale = 1.0 + z.iter().fold(0.0, |a, z| z.abs().max(a));
        for (i, (back, z)) in back.iter().zip(&z).enumerate() {
            law.compare(*back, *z, scale, || format!("{} z[{i}] = {z:e}", case.name()));
        }
    });
}

#[test]
fn inverse_ladj_is_minus_forward_ladj() {
    let mut law = law("inverse_ladj_is_minus_forward_ladj");
    every_case(|case| {
        let x = case.input();
        let (z, ladj) = forward(case, &case.w, &x);
        let (_, inverse_ladj) = inverse(case, &case.w, &z);
        let scale = 1.0 + ladj.abs();
        law.compare(inverse_ladj, -ladj, scale, || format!("{} x = {x:?}", case.name()));
    });
}

#[test]
fn ladj_is_log_abs_det_of_the_jacobian() {
    let mut law = law("ladj_is_log_abs_det_of_the_jacobian");
    every_case(|case| {
        let x = case.input();
        let w = constants(&case.w);
        // Row j holds ∂z/∂xⱼ; the transpose has the same determinant.
        let jacobian: Vec<Vec<f64>> = (0..x.len())
            .map(|j| forward(case, &w, &seeded(&x, j)).0.iter().map(|z| z.d).collect())
            .collect();
        let expected = log_abs_det(jacobian);
        let (_, ladj) = forward(case, &case.w, &x);
        let scale = 1.0 + expected.abs();
        law.compare(ladj, expected, scale, || format!("{} x = {x:?}", case.name()));
    });
}

/// ln |det a| by LU decomposition with row exchanges.
fn log_abs_det(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap_or(k);
        a.swap(k, pivot);
        let (upper, lower) = a.split_at_mut(k + 1);
        let top = &upper[k];
        sum += Real::ln(top[k].abs());
        for row in lower {
            let factor = row[k] / top[k];
            for (row, top) in row[k..].iter_mut().zip(&top[k..]) {
                *row -= factor * top;
            }
        }
    }
    sum
}

#[test]
fn backward_is_the_gradient_of_forward() {
    let mut law = law("backward_is_the_gradient_of_forward");
    every_case(|case| {
        let x = case.input();
        let cost = case.random.normals(x.len());
        let ladj_cost = case.random.normal();
        let loss = |w: &[Dual], x: &[Dual]| {
            let (z, ladj) = forward(case, w, x);
            z.iter().zip(&cost).map(|(z, c)| c * z.d).sum::<f64>() + ladj_cost * ladj.d
        };
        let (const_w, const_x) = (constants(&case.w), constants(&x));

        // The gradient is added to what is there, here 1.
        let mut dw = vec![1.0; case.w.len()];
        let mut dx = cost.clone();
        let (mut scrap, mut scratch) = (x.clone(), case.scratch(f64::NAN));
        let w = &case.w[..];
        case.layer.backward(case.shape, w, &mut scrap, &mut dx, ladj_cost, &mut dw, &mut scratch);

        let expected: Vec<f64> = (0..x.len()).map(|i| loss(&const_w, &seeded(&x, i))).collect();
        let scale = 1.0 + expected.iter().fold(0.0, |a, d| d.abs().max(a));
        for (i, (got, expected)) in dx.iter().zip(&expected).enumerate() {
            law.compare(*got, *expected, scale, || format!("{} dx[{i}], x = {x:?}", case.name()));
        }
        if case.theta.is_empty() {
            // All weights are constants: nobody asks for their gradient, and nothing is written.
            assert!(dw.iter().all(|dw| *dw == 1.0), "{}: dw of constants", case.name());
            return;
        }
        // Nobody asks for the gradient of the constants among the weights either.
        let mut other = case.w.clone();
        let theta: Vec<f64> = case.theta.iter().map(|theta| theta + 0.1).collect();
        case.layer.constrain(case.shape, &theta, &mut other);
        let free = |i: &usize| other[*i] != w[*i];
        let expected: Vec<(usize, f64)> =
            (0..w.len()).filter(free).map(|i| (i, loss(&seeded(w, i), &const_x))).collect();
        let scale = 1.0 + expected.iter().fold(0.0, |a, (_, d)| d.abs().max(a));
        for (i, expected) in &expected {
            let got = &dw[*i];
            let place = || format!("{} dw[{i}], x = {x:?}", case.name());
            law.compare(*got, 1.0 + *expected, scale, place);
        }
    });
}

#[test]
fn constrain_backward_is_the_gradient_of_constrain() {
    let mut law = law("constrain_backward_is_the_gradient_of_constrain");
    every_case(|case| {
        let cost = case.random.normals(case.w.len());
        let mut dtheta = vec![1.0; case.theta.len()];
        case.layer.constrain_backward(case.shape, &case.theta, &case.w, &cost, &mut dtheta);
        let expected: Vec<f64> = (0..case.theta.len())
            .map(|i| {
                let mut w = constants(&case.w);
                case.layer.constrain(case.shape, &seeded(&case.theta, i), &mut w);
                w.iter().zip(&cost).map(|(w, c)| c * w.d).sum()
            })
            .collect();
        let scale = 1.0 + expected.iter().fold(0.0, |a, d| d.abs().max(a));
        for (i, (got, expected)) in dtheta.iter().zip(&expected).enumerate() {
            law.compare(*got, 1.0 + *expected, scale, || format!("{} dθ[{i}]", case.name()));
        }
    });
}

#[test]
fn constrain_undoes_unconstrain() {
    let mut law = law("constrain_undoes_unconstrain");
    every_case(|case| {
        let mut theta = vec![f64::NAN; case.theta.len()];
        case.layer.unconstrain(case.shape, &case.w, &mut theta);
        let mut again = case.w.clone();
        case.layer.constrain(case.shape, &theta, &mut again);
        for (i, (got, expected)) in again.iter().zip(&case.w).enumerate() {
            let scale = 1.0 + expected.abs();
            law.compare(*got, *expected, scale, || format!("{} w[{i}]", case.name()));
        }
    });
}

#[test]
fn packed_f32_and_slice_f32_weights_give_the_same_bits() {
    every_case(|case| {
        let bytes = packed(&case.w);
        let packed = Packed::new(&bytes).unwrap();
        let slice: Vec<f32> = packed.iter().collect();
        let x: Vec<f32> = case.input().iter().map(|x| *x as f32).collect();
        let (layer, shape) = (case.layer, case.shape);

        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let mut scratch = case.scratch(f32::NAN);
        let (mut a, mut b) = (x.clone(), x.clone());
        let ladj = layer.forward(shape, packed, &mut a, &mut scratch);
        let same = layer.forward(shape, &slice[..], &mut b, &mut scratch);
        assert_eq!((bits(&a), ladj.to_bits()), (bits(&b), same.to_bits()), "{}", case.name());

        let ladj = layer.inverse(shape, packed, &mut a, &mut scratch);
        let same = layer.inverse(shape, &slice[..], &mut b, &mut scratch);
        assert_eq!((bits(&a), ladj.to_bits()), (bits(&b), same.to_bits()), "{}", case.name());

        let (mut dz_a, mut dz_b) = (x.clone(), x.clone());
        let (mut dw_a, mut dw_b) = (vec![0.0; slice.len()], vec![0.0; slice.len()]);
        (a, b) = (x.clone(), x);
        layer.backward(shape, packed, &mut a, &mut dz_a, 1.0, &mut dw_a, &mut scratch);
        layer.backward(shape, &slice[..], &mut b, &mut dz_b, 1.0, &mut dw_b, &mut scratch);
        assert_eq!((bits(&dz_a), bits(&dw_a)), (bits(&dz_b), bits(&dw_b)), "{}", case.name());
    });
}

#[test]
fn weights_and_scratch_of_the_stated_lengths_are_enough_and_scratch_may_hold_anything() {
    every_case(|case| {
        // `Case` filled the weights with NaN first: what nobody wrote would still be NaN.
        assert!(case.w.iter().all(|w| w.is_finite()), "{}: unwritten weight", case.name());
        let x = case.input();
        let run = |content: f64| {
            let (mut a, mut b, mut dz) = (x.clone(), x.clone(), x.clone());
            let (mut scratch, mut dw) = (case.scratch(content), vec![0.0; case.w.len()]);
            let (layer, shape, w) = (case.layer, case.shape, &case.w[..]);
            let forward = layer.forward(shape, w, &mut a, &mut scratch);
            scratch.fill(content);
            let z = a.clone();
            let inverse = layer.inverse(shape, w, &mut a, &mut scratch);
            scratch.fill(content);
            layer.backward(shape, w, &mut b, &mut dz, 1.0, &mut dw, &mut scratch);
            [vec![forward, inverse], z, a, dz, dw].concat()
        };
        let (zeros, nans) = (run(0.0), run(f64::NAN));
        assert!(zeros.iter().all(|number| number.is_finite()), "{}: not finite", case.name());
        assert_eq!(zeros, nans, "{}: the result depends on the scratch", case.name());
    });
}

/// A trainer writes the gradient of θ over that of w.
#[test]
fn no_layer_has_more_parameters_than_weights() {
    every_case(|case| {
        let (layer, shape) = (case.layer, case.shape);
        let (theta_len, weight_len) = (layer.theta_len(shape), layer.weight_len(shape));
        assert!(theta_len <= weight_len, "{}: {theta_len} of {weight_len}", layer.name());
    });
}

#[test]
fn every_layer_has_a_valid_neutral() {
    let mut law = law("a_neutral_layer_keeps_volume_and_length");
    every_case(|case| {
        let (layer, shape) = (case.layer, case.shape);
        assert_eq!(Layer::from_code(layer as u8), Some(layer));
        assert!(
            layer.valid(shape, Packed::new(&packed(&case.w)).unwrap()),
            "{}: drawn",
            case.name()
        );

        let mut w = vec![f64::NAN; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        assert!(w.iter().all(|w| w.is_finite()), "{}: unwritten weight", case.name());
        assert!(layer.valid(shape, Packed::new(&packed(&w)).unwrap()), "{}: neutral", case.name());

        // What has neither weights nor parameters is one map, and none of these is the identity.
        if w.is_empty() {
            return;
        }
        let x = case.input();
        let (z, ladj) = forward(case, &w, &x);
        law.compare(ladj, 0.0, 1.0, || format!("{} ladj, x = {x:?}", case.name()));
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        law.compare(square(&z), square(&x), 1.0 + square(&x), || format!("{} |z|²", case.name()));
    });
}

#[test]
fn valid_refuses_what_is_no_bijection() {
    // One weight of a neutral layer of two dimensions, replaced.
    let refused = [
        (Layer::Affine, 0, 2, 0.0),             // a scale of zero
        (Layer::Affine, 0, 3, -1.0),            // a negative scale
        (Layer::RationalQuadratic, 0, 3, 9.0),  // knots of x out of order
        (Layer::RationalQuadratic, 1, 4, 9.0),  // knots of y out of order
        (Layer::RationalQuadratic, 0, 5, 0.0),  // a slope of zero
        (Layer::RationalQuadratic, 0, 1, -4.5), // y jumps to the tail below
        (Layer::RationalQuadratic, 0, 21, 3.5), // x jumps to the tail above
        (Layer::RationalLinear, 0, 1, -4.5),    // y jumps to the tail below
        (Layer::RationalLinear, 1, 5, -1.0),    // a negative root slope
        (Layer::RationalLinear, 1, 12, 1.0),    // λ at the end of its bin
        (Layer::Householder, 0, 1, 1.0),        // |u|² = 3
        (Layer::Dct, 0, 0, 0.0),                // a gain of zero
        (Layer::Permutation, 0, 0, 1.0),        // one position twice
        (Layer::LowerUpper, 0, 0, 0.0),         // a zero on U's diagonal
        (Layer::LowerUpper, 0, 3, -0.0),        // the same
        (Layer::LowerUpper, 0, 4, 1.0),         // one position twice
        (Layer::LowerUpper, 0, 5, 0.5),         // half a position
        (Layer::LowerCholesky, 0, 2, 0.0),      // a zero on the diagonal
        (Layer::LowerCholesky, 0, 4, -1.0),     // a negative diagonal
        (Layer::MatrixExponential, 0, 3, -1.6), // near the root of 1 + m + m²/2 + m³/6
        (Layer::LeakyRelu, 0, 0, 0.0),          // flat below 0
        (Layer::LeakyRelu, 0, 0, 1.5),          // steeper below 0 than above
        (Layer::Power, 0, 0, 0.0),              // one image for all
        (Layer::Power, 0, 0, -1.0),             // a pole at 0
        (Layer::Planar, 0, 5, 0.0),             // flat at the plane
        (Layer::Planar, 0, 5, 2.0),             // a slope that is not that of u and w
        (Layer::Planar, 0, 0, -1.5),            // w·u < −1, whatever slope is stored
        (Layer::Radial, 0, 2, 0.0),             // a pole at the centre
        (Layer::Radial, 0, 3, 0.0),             // the centre's neighbourhood shrinks to a point
        (Layer::Sylvester, 0, 0, 1.0),          // |u|² = 1
        (Layer::Sylvester, 0, 4, -2.0),         // a diagonal product of −1
        (Layer::Domain, 0, 3, 0.9),             // knots of u out of order
        (Layer::Domain, 0, 5, 0.0),             // a slope of zero
        (Layer::Domain, 0, 10, 0.9),            // v does not reach 1
        (Layer::Domain, 0, 24, 3.0),            // a kind that there is not
        (Layer::Domain, 0, 24, 0.5),            // half a kind
        (Layer::Domain, 0, 26, 0.0),            // an interval of no length
        (Layer::Domain, 0, 28, 2.0),            // limits out of order
    ];
    for (layer, option, i, weight) in refused {
        let shape = |arg| Shape::new(2, arg, option);
        // Three bins, three reflections or two units, where the layer has them.
        let arg = [3, 2, 0].into_iter().find(|arg| layer.exists(shape(*arg)));
        let shape = shape(arg.expect("a size that exists"));
        let mut w = vec![f64::NAN; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        assert!(layer.valid(shape, Packed::new(&packed(&w)).unwrap()), "{}: neutral", layer.name());
        w[i] = weight;
        let valid = layer.valid(shape, Packed::new(&packed(&w)).unwrap());
        assert!(!valid, "{} option {option}: w[{i}] = {weight}", layer.name());
    }
}

#[test]
fn valid_refuses_networks_around_what_is_no_bijection() {
    let (affine, spline, linear) = (Layer::Affine, Layer::RationalQuadratic, Layer::RationalLinear);
    let first = option::FIRST_SPLINE;
    // One weight of a neutral layer of two numbers, with splines of three bins, replaced.
    let refused = [
        (Layer::Coupling, affine, 0, 0, 3.0), // limits of the log scale that meet
        (Layer::Coupling, affine, 0, 1, -5.5), // or are out of order
        (Layer::Coupling, spline, 0, 1, -4.0), // an interval of no length
        (Layer::Coupling, spline, first, 6, 9.0), // the first part's knots of x out of order
        (Layer::Coupling, spline, first, 7, -4.0), // its knots of y
        (Layer::Coupling, spline, first, 8, 0.0), // a slope of zero
        (Layer::Coupling, spline, first, 4, -4.5), // y jumps to the tail below
        (Layer::Coupling, linear, first, 15, 1.0), // λ at the end of its bin
        (Layer::Autoregressive, affine, 0, 0, 3.0), // limits that meet
        (Layer::Autoregressive, spline, 0, 1, -9.0), // limits out of order
        (Layer::Autoregressive, affine, 0, 3, 1.0), // one position twice
        (Layer::Autoregressive, spline, 0, 4, 2.0), // a position behind the last
        (Layer::Autoregressive, spline, 0, 4, 0.5), // half a position
        (Layer::Autoregressive, spline, 0, 4, -1.0), // a position before the first
    ];
    for (layer, transformer, option, i, weight) in refused {
        let shape = Shape {
            split: usize::from(layer == Layer::Coupling),
            transformer,
            network: Network { hidden: [3, 0, 0, 0], activation: Activation::Relu },
            ..Shape::new(2, if transformer == affine { 0 } else { 3 }, option)
        };
        assert!(layer.exists(shape), "{} {shape:?}", layer.name());
        let mut w = vec![f64::NAN; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        assert!(layer.valid(shape, Packed::new(&packed(&w)).unwrap()), "{}: neutral", layer.name());
        w[i] = weight;
        let valid = layer.valid(shape, Packed::new(&packed(&w)).unwrap());
        assert!(!valid, "{} {transformer:?} option {option}: w[{i}] = {weight}", layer.name());
    }
}

#[test]
fn a_neutral_layer_is_within_reach_of_its_parameters() {
    // Training starts from `unconstrain` of neutral weights; it must not start somewhere else.
    let mut law = law("constrain_undoes_unconstrain");
    every_case(|case| {
        let (layer, shape) = (case.layer, case.shape);
        let mut w = vec![f64::NAN; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        let mut theta = vec![f64::NAN; layer.theta_len(shape)];
        layer.unconstrain(shape, &w, &mut theta);
        let mut again = w.clone();
        layer.constrain(shape, &theta, &mut again);
        for (i, (got, expected)) in again.iter().zip(&w).enumerate() {
            law.compare(*got, *expected, 1.0, || format!("{} w[{i}]", case.name()));
        }
    });
}
