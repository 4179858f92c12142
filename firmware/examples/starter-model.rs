//! Writes the model that a node starts with when no other is given: every reading is a score, none
//! an alarm, until readings were recorded and a model was trained. Run here as
//! `cargo run --example starter-model`.

use std::error::Error;
use std::fs;

use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::{Parts, tag};
use fluxlet::{Base, Model};

const DIM: usize = 3;
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/starter.flx");

fn main() -> Result<(), Box<dyn Error>> {
    let shape = Shape::new(DIM, 0, 0);
    let mut weights = vec![0.0; Layer::Affine.weight_len(shape)];
    Layer::Affine.neutral(shape, 0.0, &mut weights);
    let parts = Parts {
        dim: DIM,
        context: 0,
        layers: &[(Layer::Affine, shape)],
        base: Base::Normal,
        weights: &weights,
        sections: &[
            (tag::NAMES, b"x\ny\nz"),
            (tag::PROVENANCE, b"a standard normal, to start with"),
        ],
    };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    Model::new_checked(&bytes)?;
    fs::write(PATH, bytes)?;
    Ok(())
}
