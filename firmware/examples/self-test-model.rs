//! Writes the models that images test themselves with, of pseudo-random weights: every kind of layer
//! once, which the image holds when no other model is given, and networks in other numbers than `f32`.
//! Run here as `cargo run --example self-test-model`.

use std::error::Error;
use std::fs;

use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Domain, Layer, Shape, Tails, option};
use fluxlet::conditioner::{Activation, Conditioner, MAX_DEPTH, Network, Numbers};
use fluxlet::model::Parts;
use fluxlet::{Base, model::tag};

// Neither a power of two nor a multiple of the four lanes of a sum, so that the tails run too.
const DIM: usize = 6;
const CONTEXT: usize = 2;
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

fn main() -> Result<(), Box<dyn Error>> {
    let layers = layers();
    for layer in Layer::ALL {
        assert!(layers.iter().any(|(own, _)| own == layer), "{} is missing", layer.name());
    }
    write("self-test.flx", &layers)?;
    // A model of its own: with every layer beside them they would be more than the smallest board holds.
    write("numbers.flx", &in_other_numbers())
}

fn write(name: &str, layers: &[(Layer, Shape)]) -> Result<(), Box<dyn Error>> {
    let mut state = 1_u32;
    // Multiplier and increment of Numerical Recipes' `ranqd1`; numbers in [-1, 1).
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as i32 >> 8) as f32 / 8_388_608.0
    };
    let base = Base::Mixture(2);

    let mut weights = Vec::new();
    for &(layer, shape) in layers {
        // Other numbers than f32 take the place of a network's.
        let (numbers, shape) = (shape.numbers, Shape { numbers: Numbers::F32, ..shape });
        let mut w = vec![0.0; layer.weight_len(shape)];
        // Matrices near the identity, whose inverses are near it too; networks that keep to the
        // middle of their activations.
        let scale = match layer {
            Layer::LowerUpper | Layer::LowerCholesky | Layer::MatrixExponential => 0.2,
            _ if layer.is_conditioned() => 0.5,
            _ => 1.0,
        };
        let mut theta: Vec<f32> = (0..layer.theta_len(shape)).map(|_| scale * random()).collect();
        if layer == Layer::LowerUpper {
            theta.iter_mut().step_by(DIM + 1).for_each(|diagonal| *diagonal += 1.0);
        }
        layer.neutral(shape, 0.0, &mut w);
        layer.constrain(shape, &theta, &mut w);
        match layer {
            Layer::Permutation => w.reverse(),
            Layer::LowerUpper => w[DIM * DIM..DIM * (DIM + 1)].reverse(),
            Layer::Autoregressive => w[3..3 + DIM].reverse(),
            Layer::LeakyRelu => w[0] = 0.25,
            Layer::Power => w[0] = 1.25,
            Layer::Domain => {
                Domain::set_column(shape, &mut w, 1, Kind::Box, -5.0, 5.0);
                Domain::set_column(shape, &mut w, 2, Kind::Circle, -1.0, 1.0);
            }
            _ => {}
        }
        if let Some((_, start)) = layer.conditioner(shape) {
            let (network, _) = layer.conditioner(Shape { numbers, ..shape }).ok_or("a network")?;
            let rest = w.split_off(start);
            w.extend(words(network, numbers, &rest, &mut random));
        }
        weights.append(&mut w);
    }
    let theta: Vec<f32> = (0..base.theta_len(DIM)).map(|_| random()).collect();
    let mut w = vec![0.0; base.weight_len(DIM)];
    base.constrain(DIM, &theta, &mut w);
    weights.append(&mut w);

    let provenance: &[u8] = b"pseudo-random weights for the firmware's self-test";
    let scale: Vec<u8> =
        [0.5_f32, -0.5, 0.25, 0.75].iter().flat_map(|number| number.to_le_bytes()).collect();
    let sections = [(tag::CONTEXT, &scale[..]), (tag::PROVENANCE, provenance)];
    let parts =
        Parts { dim: DIM, context: CONTEXT, layers, base, weights: &weights, sections: &sections };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    fluxlet::Model::new_checked(&bytes)?;
    fs::write(format!("{FOLDER}/{name}"), bytes)?;
    Ok(())
}

/// A network in these numbers: its own weights where it is of floats, random ones where it is not.
fn words(
    network: Conditioner,
    numbers: Numbers,
    weights: &[f32],
    mut random: impl FnMut() -> f32,
) -> Vec<f32> {
    let half = |w: &f32| {
        // In [2⁻¹⁴, 2), rounded towards 0; what is smaller becomes 0.
        let bits = w.to_bits();
        let size = (bits & 0x7fff_ffff) >> 13;
        let half = size.saturating_sub((127 - 15) << 10);
        (if half < 0x0400 { 0 } else { half }) | bits >> 31 << 15
    };
    match numbers {
        Numbers::F32 => weights.to_vec(),
        Numbers::F16 => {
            let word = |pair: &[f32]| pair.iter().rev().fold(0, |word, w| word << 16 | half(w));
            weights.chunks(2).map(|pair| f32::from_bits(word(pair))).collect()
        }
        Numbers::Int8 => {
            let mut words = vec![900.0];
            for rows in network.groups() {
                let direct = network.direct_inputs(rows);
                // Units in the middle of their range, logits of some ones.
                let shift = if rows.layer.is_some() { 6 } else { 8 };
                for _ in 0..rows.count {
                    words.push(f32::from_bits((200_000.0 * random()) as i32 as u32));
                    words.push(f32::from_bits(40_000 | shift << 16));
                    for len in [rows.fan_in - direct, direct] {
                        let mut byte = || u32::from((127.0 * random()) as i8 as u8);
                        let mut word = || (0..4).fold(0, |word, _| word << 8 | byte());
                        words.extend((0..len.div_ceil(4)).map(|_| f32::from_bits(word())));
                    }
                }
            }
            words
        }
    }
}

fn shape(arg: usize, option: u8) -> Shape {
    Shape::new(DIM, arg, option)
}

fn backwards(shape: Shape) -> Shape {
    Shape { inverted: true, ..shape }
}

fn network(hidden: [u16; MAX_DEPTH], activation: Activation) -> Network {
    Network { hidden, activation }
}

/// A matrix that turns with the context.
fn conditional(activation: Activation) -> Shape {
    Shape {
        context: CONTEXT,
        transformer: Layer::LowerUpper,
        network: network([5, 0, 0, 0], activation),
        ..shape(0, option::CONTEXT)
    }
}

/// Every kind of layer; some run backwards. What maps to a part of the line stands where the next
/// can read it.
fn layers() -> Vec<(Layer, Shape)> {
    let coupling = Shape {
        context: CONTEXT,
        split: 2,
        transformer: Layer::RationalQuadratic,
        network: network([9, 1, 0, 0], Activation::Silu),
        ..shape(4, option::CONTEXT | option::FIRST_SPLINE | option::RESIDUAL)
    };
    let autoregressive = Shape {
        context: CONTEXT,
        transformer: Layer::RationalLinear,
        network: network([11, 7, 0, 0], Activation::Tanh),
        ..shape(3, option::CONTEXT | option::SKIP | option::SPREAD)
    };
    vec![
        (Layer::Domain, shape(3, 0)),
        (Layer::Affine, shape(0, 0)),
        (Layer::Householder, shape(3, 0)),
        (Layer::RationalQuadratic, shape(8, Tails::Identity as u8)),
        (Layer::Permutation, shape(0, 0)),
        (Layer::Dct, shape(0, 0)),
        (Layer::RationalLinear, shape(8, Tails::Linear as u8)),
        (Layer::Coupling, coupling),
        (Layer::LowerUpper, backwards(shape(0, 0))),
        (Layer::Autoregressive, backwards(autoregressive)),
        (Layer::MatrixExponential, backwards(shape(8, 0))),
        (Layer::RationalQuadratic, backwards(shape(5, Tails::Linear as u8))),
        (Layer::Conditional, conditional(Activation::Elu)),
        (Layer::LowerCholesky, shape(0, 0)),
        (Layer::Haar, shape(0, 1)),
        (Layer::Planar, shape(0, 0)),
        (Layer::Radial, shape(0, 0)),
        (Layer::Sylvester, shape(2, 0)),
        (Layer::LeakyRelu, backwards(shape(0, 0))),
        (Layer::Power, shape(0, 0)),
        (Layer::Softplus, shape(0, 0)),
        (Layer::Tanh, shape(0, 0)),
        (Layer::Exp, shape(0, 0)),
    ]
}

/// Conditioned layers of both other kinds of number, forward and backwards.
fn in_other_numbers() -> Vec<(Layer, Shape)> {
    let whole = |split, transformer, hidden, activation, shape| Shape {
        context: CONTEXT,
        split,
        transformer,
        network: network(hidden, activation),
        numbers: Numbers::Int8,
        ..shape
    };
    let whole_coupling = whole(
        3,
        Layer::RationalQuadratic,
        [10, 1, 0, 0],
        Activation::Relu,
        shape(7, option::CONTEXT | option::FIRST_SPLINE | option::RESIDUAL),
    );
    let whole_autoregressive = whole(
        0,
        Layer::RationalQuadratic,
        [13, 9, 0, 0],
        Activation::LeakyRelu,
        shape(5, option::CONTEXT | option::SKIP),
    );
    let whole_linear = whole(
        2,
        Layer::RationalLinear,
        [7, 0, 0, 0],
        Activation::LeakyRelu,
        shape(3, option::CONTEXT),
    );
    let half = |shape: Shape| Shape { numbers: Numbers::F16, ..shape };
    vec![
        (Layer::Affine, shape(0, 0)),
        (Layer::Coupling, whole_coupling),
        (Layer::Permutation, shape(0, 0)),
        (Layer::Coupling, backwards(whole_linear)),
        (Layer::Autoregressive, whole_autoregressive),
        (Layer::Coupling, backwards(whole_coupling)),
        (Layer::Autoregressive, half(whole_autoregressive)),
        (Layer::Coupling, half(whole_coupling)),
        (Layer::Conditional, half(conditional(Activation::Relu))),
    ]
}
