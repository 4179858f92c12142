//! Writes the model that the image holds when no other is given: every kind of layer once, with
//! pseudo-random weights. Run here as `cargo run --example self-test-model`.

use std::error::Error;
use std::fs;

use fluxlet::bijection::{Layer, Shape, Tails};
use fluxlet::model::Parts;
use fluxlet::{Base, model::tag};

// Neither a power of two nor a multiple of the four lanes of a sum, so that the tails run too.
const DIM: usize = 6;
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/self-test.flx");

fn main() -> Result<(), Box<dyn Error>> {
    let mut state = 1_u32;
    // Multiplier and increment of Numerical Recipes' `ranqd1`; numbers in [-1, 1).
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as i32 >> 8) as f32 / 8_388_608.0
    };
    let shape = |arg, option| Shape::new(DIM, arg, option);
    let layers = [
        (Layer::Affine, shape(0, 0)),
        (Layer::Householder, shape(3, 0)),
        (Layer::RationalQuadratic, shape(8, Tails::Identity as u8)),
        (Layer::Permutation, shape(0, 0)),
        (Layer::Dct, shape(0, 0)),
        (Layer::RationalLinear, shape(8, Tails::Linear as u8)),
    ];
    let base = Base::Mixture(2);

    let mut weights = Vec::new();
    for (layer, shape) in layers {
        let mut w = vec![0.0; layer.weight_len(shape)];
        let theta: Vec<f32> = (0..layer.theta_len(shape)).map(|_| random()).collect();
        layer.neutral(shape, 0.0, &mut w);
        layer.constrain(shape, &theta, &mut w);
        if layer == Layer::Permutation {
            w.reverse();
        }
        weights.append(&mut w);
    }
    let theta: Vec<f32> = (0..base.theta_len(DIM)).map(|_| random()).collect();
    let mut w = vec![0.0; base.weight_len(DIM)];
    base.constrain(DIM, &theta, &mut w);
    weights.append(&mut w);

    let provenance: &[u8] = b"pseudo-random weights for the firmware's self-test";
    let sections = [(tag::PROVENANCE, provenance)];
    let parts = Parts {
        dim: DIM,
        context: 0,
        layers: &layers,
        base,
        weights: &weights,
        sections: &sections,
    };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    fluxlet::Model::new_checked(&bytes)?;
    fs::write(PATH, bytes)?;
    Ok(())
}
