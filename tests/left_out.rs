//! Parts that a build leaves out: what a model needs, and that a build without it says so by name.
//!
//! `./ci.sh test` runs this file a second time with nothing but the feature `affine`.

use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::{Part, Parts};
use fluxlet::{Base, Model};

/// A model of these layers without options, and of as many weights as they want.
fn model(layers: &[(Layer, usize)], base: Base, weights: &[f32]) -> Vec<u8> {
    let layers: Vec<_> = layers.iter().map(|(l, arg)| (*l, Shape::new(2, *arg, 0))).collect();
    let parts = Parts { dim: 2, context: 0, layers: &layers, base, weights, sections: &[] };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}

const AFFINE: [f32; 5] = [1.0, 2.0, 1.0, 1.0, 0.0];

fn affine_and_householder() -> Vec<u8> {
    let weights = [&AFFINE[..], &[core::f32::consts::SQRT_2, 0.0]].concat();
    model(&[(Layer::Affine, 0), (Layer::Householder, 1)], Base::Normal, &weights)
}

fn affine_and_mixture() -> Vec<u8> {
    let component = [-core::f32::consts::LN_2, 0.0, 0.0, 1.0, 1.0];
    let weights = [&AFFINE[..], &component, &component].concat();
    model(&[(Layer::Affine, 0)], Base::Mixture(2), &weights)
}

#[test]
fn a_layer_that_is_included_is_read() {
    let bytes = model(&[(Layer::Affine, 0)], Base::Normal, &AFFINE);
    let model = Model::new_checked(&bytes).unwrap();
    assert_eq!(model.parts().collect::<Vec<_>>(), [Part::Layer(Layer::Affine)]);
    let log_prob = fluxlet::log_prob(&model, &[1.0, 2.0], &mut [0.0; 2]);
    assert_eq!(log_prob, -1.837_877_f32);
}

#[cfg(feature = "all")]
#[test]
fn a_model_tells_what_it_needs() {
    let needs = |bytes: &[u8]| -> Vec<&str> {
        Model::new_checked(bytes).unwrap().parts().map(Part::feature).collect()
    };
    assert_eq!(needs(&affine_and_householder()), ["affine", "householder"]);
    assert_eq!(needs(&affine_and_mixture()), ["affine", "mixture"]);
    for layer in Layer::ALL {
        assert!(Part::Layer(*layer).is_included(), "{}", layer.name());
        assert_eq!(layer.feature(), layer.file().replace('_', "-"));
    }
}

#[cfg(not(feature = "all"))]
#[test]
fn what_was_left_out_is_refused_by_name() {
    for (bytes, feature) in
        [(affine_and_householder(), "householder"), (affine_and_mixture(), "mixture")]
    {
        let said = Model::new_checked(&bytes).unwrap_err().to_string();
        let expected = format!("the model needs \"{feature}\", which was left out of this build");
        assert_eq!(said, expected);
    }
}

#[cfg(not(feature = "all"))]
#[test]
fn a_layer_that_runs_backwards_needs_the_inverse() {
    let inverted = Shape { inverted: true, ..Shape::new(2, 0, 0) };
    let layers = [(Layer::Affine, inverted)];
    let parts = Parts {
        dim: 2,
        context: 0,
        layers: &layers,
        base: Base::Normal,
        weights: &AFFINE,
        sections: &[],
    };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    let error = Model::new_checked(&bytes).unwrap_err();
    assert_eq!(error, fluxlet::Error::LeftOut { part: Part::Inverse });
}
