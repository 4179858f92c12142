//! Sizes that a reader accepts: every layer up to the largest D, and no layer of which a 32-bit
//! processor could not compute the lengths.

mod common;

use common::Random;
use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, Network};
use fluxlet::model::{Error, MAX_DIM, Parts};
use fluxlet::{Base, Model};

/// What a reader says of a model of one layer, whose weights are missing where it has any.
fn answer(layer: Layer, shape: Shape, context: usize) -> Result<(), Error> {
    let layers = [(layer, shape)];
    let base = Base::Normal;
    let parts =
        Parts { dim: shape.dim, context, layers: &layers, base, weights: &[], sections: &[] };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    Model::new_checked(&bytes).map(|_| ())
}

#[test]
fn no_layer_without_a_network_is_too_large() {
    for &layer in Layer::ALL.iter().filter(|layer| !layer.is_conditioned()) {
        for dim in [784, MAX_DIM] {
            for arg in [0, 1, 32, 512, MAX_DIM] {
                let shape = Shape::new(dim, arg, 0);
                if layer.exists(shape) {
                    let refused = answer(layer, shape, 0);
                    let missing = Err(Error::Weights { layer: 0 });
                    let expected = if layer.weight_len(shape) == 0 { Ok(()) } else { missing };
                    assert_eq!(refused, expected, "{} {shape:?}", layer.name());
                    assert!(
                        layer.weight_len(shape) < 1 << 28 && layer.scratch_len(shape) < 1 << 28
                    );
                }
            }
        }
    }
}

#[test]
fn an_image_s_pixels_go_through_an_autoregressive_layer() {
    let network = Network { hidden: [1024, 0, 0, 0], activation: Activation::Relu };
    let shape = Shape { network, ..Shape::new(784, 0, 0) };
    let missing = Err(Error::Weights { layer: 0 });
    assert_eq!(answer(Layer::Autoregressive, shape, 0), missing);
}

#[test]
fn lengths_of_a_layer_that_is_not_refused_fit_32_bits() {
    let mut random = Random::new(1);
    let (mut refused, mut largest) = (0, 0);
    for round in 0..60_000 {
        let mut pick = |numbers: &[u16]| numbers[random.below(numbers.len())];
        let layer = [Layer::Coupling, Layer::Autoregressive, Layer::Conditional][round % 3];
        let transformers = match layer {
            Layer::Conditional => [Layer::Householder, Layer::LowerUpper, Layer::MatrixExponential],
            _ => [Layer::Affine, Layer::RationalQuadratic, Layer::RationalLinear],
        };
        let flags =
            pick(&[0, 4]) | pick(&[0, 8]) | pick(&[0, 16]) | pick(&[0, 32]) | pick(&[0, 64]);
        let context = usize::from(pick(&[0, 1, 100, 4096]));
        let shape = Shape {
            context: if flags as u8 & option::CONTEXT != 0 { context } else { 0 },
            split: usize::from(pick(&[0, 0, 1, 31, 500, 4095])),
            transformer: transformers[usize::from(pick(&[0, 1, 2]))],
            network: Network {
                hidden: [pick(&[1, 64, 1024, 65535]), pick(&[0, 1, 16, 64, 65535]), 0, 0],
                activation: Activation::Relu,
            },
            ..Shape::new(
                usize::from(pick(&[1, 2, 63, 1000, 4095, 4096])),
                usize::from(pick(&[0, 1, 32, 512, 4096])),
                flags as u8,
            )
        };
        if !layer.exists(shape) {
            continue;
        }
        // Computed with 64 bits here; a board has 32, and counts bytes too.
        let (weights, scratch) = (layer.weight_len(shape), layer.scratch_len(shape));
        match answer(layer, shape, context) {
            Err(Error::Shape { layer: 0 }) => refused += 1,
            Err(Error::Weights { layer: 0 }) => {
                assert!(weights <= 1 << 28 && scratch < 1 << 30, "{} {shape:?}", layer.name());
                largest = largest.max(weights);
            }
            other => panic!("{} {shape:?}: {other:?}", layer.name()),
        }
    }
    // The test means nothing where all are refused, or none, or where the limit is far off.
    assert!(refused > 100 && largest > 1 << 26, "{refused} refused, {largest} weights");
}
