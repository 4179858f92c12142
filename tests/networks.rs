//! Networks of coupling and autoregressive layers: what they cost in each direction, how many
//! parameters they have, and that a stack of every layer can be undone.

mod common;

use common::counted::{Counted, count};
use common::draw::{Case, shapes};
use common::{Random, Worst};
use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, Network};

fn shape(dim: usize, context: usize, transformer: Layer, bins: usize, hidden: &[u16]) -> Shape {
    let mut widths = [0; 4];
    widths[..hidden.len()].copy_from_slice(hidden);
    Shape {
        context,
        transformer,
        network: Network { hidden: widths, activation: Activation::Relu },
        ..Shape::new(dim, bins, if context > 0 { option::CONTEXT } else { 0 })
    }
}

#[test]
fn the_inverse_of_an_autoregressive_layer_costs_one_pass_of_its_network() {
    for dim in [8, 16, 64] {
        let shape = shape(dim, 0, Layer::RationalQuadratic, 8, &[128, 128]);
        let mut w = vec![0.0; Layer::Autoregressive.weight_len(shape)];
        Layer::Autoregressive.neutral(shape, 0.0, &mut w);
        let w: Vec<Counted> = w.into_iter().map(Counted).collect();
        let mut random = Random::new(dim as u64);
        let mut x: Vec<Counted> = random.normals(dim).into_iter().map(Counted).collect();
        let mut scratch = vec![Counted(0.0); Layer::Autoregressive.scratch_len(shape)];
        let forward = count(|| {
            Layer::Autoregressive.forward(shape, &w[..], &mut x, &mut scratch);
        });
        let inverse = count(|| {
            Layer::Autoregressive.inverse(shape, &w[..], &mut x, &mut scratch);
        });
        let ratio = inverse as f64 / forward as f64;
        println!("D = {dim}: {forward} multiplications forward, {inverse} back: {ratio:.4}");
        assert!(forward > 128 * 128 / 2, "the network is not counted");
        assert!(ratio < 1.3);
    }
}

/// Degrees by brute force, as MADE spreads them round and round, or Pyro along a line.
fn degrees(units: usize, dim: usize, context: usize, spread: bool) -> Vec<usize> {
    let low = usize::from(context == 0);
    let last = (dim - 1).max(low);
    let n = last - low + 1;
    let line = |i: usize| {
        let at = 1.0 + i as f64 * (n as f64 - 1.0) / (units as f64 - 1.0).max(1.0);
        low + at.round_ties_even() as usize - 1
    };
    (0..units).map(|i| if spread { line(i) } else { low + i % n }).collect()
}

#[test]
fn masked_networks_have_the_weights_that_their_degrees_leave() {
    let (mut configurations, mut closed) = (0, 0);
    for (dim, context) in [(2, 0), (3, 0), (3, 2), (8, 0), (8, 1), (16, 3)] {
        for hidden in [&[7][..], &[16, 16], &[24, 17], &[14, 14], &[9, 10, 33]] {
            for (transformer, bins, outputs) in [
                (Layer::Affine, 0, 2),
                (Layer::RationalQuadratic, 8, 23),
                (Layer::RationalLinear, 4, 15),
            ] {
                for spread in [false, true] {
                    let mut shape = shape(dim, context, transformer, bins, hidden);
                    shape.option |= if spread { option::SPREAD } else { 0 };
                    let mut before: Vec<usize> = vec![0; context];
                    before.extend(1..=dim);
                    let mut expected = 0;
                    for units in hidden {
                        let own = degrees(usize::from(*units), dim, context, spread);
                        let row = |g: &usize| 1 + before.iter().filter(|seen| *seen <= g).count();
                        expected += own.iter().map(row).sum::<usize>();
                        before = own;
                    }
                    let row = |k: usize| 1 + before.iter().filter(|seen| **seen <= k).count();
                    expected += outputs * (0..dim).map(row).sum::<usize>();
                    let found = Layer::Autoregressive.theta_len(shape);
                    assert_eq!(found, expected, "{shape:?}");
                    configurations += 1;
                    // The closed form of the layer's documentation.
                    if let ([h, same], 0, false) = (hidden, context, spread)
                        && h == same
                        && usize::from(*h) % (dim - 1) == 0
                    {
                        let (h, d) = (usize::from(*h), dim);
                        let network = h * (d + 2) / 2 + h + h * h * d / (2 * (d - 1));
                        assert_eq!(found, network + outputs * d * (h + 2) / 2, "{shape:?}");
                        closed += 1;
                    }
                }
            }
        }
    }
    assert!(closed >= 9, "{closed}");
    assert!(configurations >= 40, "{configurations}");
}

#[test]
fn dense_networks_and_splines_have_the_parameters_that_pyro_counts() {
    let net = |widths: &[usize]| widths.windows(2).map(|w| (w[0] + 1) * w[1]).sum::<usize>();
    let mut configurations = 0;
    for (dim, split, hidden, bins) in
        [(8, 4, 64_u16, 8), (16, 8, 160, 8), (3, 1, 16, 4), (2, 1, 32, 8), (16, 6, 12, 8)]
    {
        for (layer, each) in
            [(Layer::RationalQuadratic, 3 * bins - 1), (Layer::RationalLinear, 4 * bins - 1)]
        {
            assert_eq!(layer.theta_len(Shape::new(dim, bins, 0)), dim * each);
            let h = usize::from(hidden);
            for first in [false, true] {
                let mut shape = shape(dim, 0, layer, bins, &[hidden, hidden]);
                shape.split = split;
                shape.option |= if first { option::FIRST_SPLINE } else { 0 };
                let own = if first { split * each } else { 0 };
                let expected = own + net(&[split, h, h, (dim - split) * each]);
                assert_eq!(Layer::Coupling.theta_len(shape), expected, "{shape:?}");
                configurations += 1;
            }
            for context in [1, 3] {
                let shape = shape(dim, context, layer, bins, &[hidden]);
                let expected = net(&[context, h, dim * each]);
                assert_eq!(Layer::Coupling.theta_len(shape), expected, "{shape:?}");
                configurations += 2;
            }
        }
        let conditional = shape(dim, 2, Layer::Householder, 0, &[hidden]);
        let conditional = Shape { arg: 3, ..conditional };
        let expected = net(&[2, usize::from(hidden), 3 * dim]);
        assert_eq!(Layer::Conditional.theta_len(conditional), expected);
        assert_eq!(Layer::Householder.theta_len(Shape::new(dim, 3, 0)), 3 * dim);
        configurations += 2;
    }
    // SplineCoupling of D = 8, d = 4, [64, 64], K = 8, as Pyro counts it: 10,552 and 12,664.
    let mut known = shape(8, 0, Layer::RationalQuadratic, 8, &[64, 64]);
    (known.split, known.option) = (4, option::FIRST_SPLINE);
    assert_eq!(Layer::Coupling.theta_len(known), 10_552);
    known.transformer = Layer::RationalLinear;
    assert_eq!(Layer::Coupling.theta_len(known), 12_664);
    assert!(configurations + 2 >= 40, "{configurations}");
}

/// Every layer once, with weights drawn gently: a dozen steep layers in a row would lose digits that
/// each of them keeps. The domain stands first, where the data lie inside its limits.
fn every_layer(dim: usize, context: usize, round: u64) -> Vec<Case> {
    let fits = |shape: &Shape| shape.dim == dim && (shape.context == 0 || shape.context == context);
    let mut layers = Layer::ALL.to_vec();
    layers.sort_by_key(|layer| *layer != Layer::Domain);
    let draw = |layer: Layer| {
        let shape = shapes(layer).into_iter().rfind(fits).expect("a shape of this dimension");
        let mut case = Case::new(layer, shape, round);
        if !matches!(layer, Layer::LowerUpper | Layer::Householder | Layer::Conditional) {
            case.theta.iter_mut().for_each(|theta| *theta *= 0.2);
            layer.constrain(shape, &case.theta, &mut case.w);
        }
        if layer == Layer::Power {
            case.w[0] = 1.2;
        }
        case
    };
    layers.into_iter().map(draw).collect()
}

#[test]
fn a_stack_of_every_layer_can_be_undone() {
    let mut worst = Worst::new("a stack of every layer, undone", 1e-9);
    for (dim, round) in [2, 3, 8].into_iter().flat_map(|dim| (0..20).map(move |i| (dim, i))) {
        let context = 2;
        let mut cases = every_layer(dim, context, round);
        let mut x = cases[0].input();
        x.extend(Random::new(round).normals(context).iter().map(|c| 0.3 * c));
        let start = x.clone();
        let mut scales = Vec::new();
        for case in &cases {
            // Every layer sees numbers of the size that it was made for.
            let largest = x[..dim].iter().fold(1.0_f64, |size, x| size.max(x.abs()));
            let scale = if case.layer == Layer::Domain { 1.0 } else { largest };
            x[..dim].iter_mut().for_each(|x| *x /= scale);
            scales.push(scale);
            let seen = dim + case.shape.context;
            let mut scratch = case.scratch(f64::NAN);
            case.layer.forward(case.shape, &case.w[..], &mut x[..seen], &mut scratch);
        }
        for (case, scale) in cases.iter().zip(&scales).rev() {
            let seen = dim + case.shape.context;
            let mut scratch = case.scratch(f64::NAN);
            case.layer.inverse(case.shape, &case.w[..], &mut x[..seen], &mut scratch);
            x[..dim].iter_mut().for_each(|x| *x *= scale);
        }
        for (got, expected) in x.iter().zip(&start) {
            worst.compare(*got, *expected, 1.0 + expected.abs(), || {
                format!("D = {dim}, round {round}")
            });
        }
    }
}
