//! The trained parameters in a form that other tools read: safetensors with the configuration as
//! metadata.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};

use super::{Config, Trained};

/// Bytes of `checkpoint.safetensors`: θ and w (f32) of the best epoch, one tensor each per
/// layer (`layer.0.Affine.theta`) and of the base (`base.theta`).
pub fn checkpoint(trained: &Trained, config: &Config) -> Vec<u8> {
    let stack = &trained.stack;
    let mut spans: Vec<_> = stack
        .spans()
        .enumerate()
        .map(|(i, s)| (format!("layer.{i}.{}", s.layer.name()), s.theta, s.weights))
        .collect();
    let (theta, weights) = stack.base_spans();
    spans.push(("base".into(), theta, weights));

    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors: Vec<(String, Vec<u8>)> = spans
        .into_iter()
        .flat_map(|(name, theta, weights)| {
            [
                (format!("{name}.theta"), bytes(&trained.theta[theta])),
                (format!("{name}.weights"), bytes(&trained.weights[weights])),
            ]
        })
        .collect();
    let views = tensors.iter().map(|(name, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        (name.as_str(), view.expect("a vector has the length of its bytes"))
    });
    let config = toml::to_string(config).expect("a configuration is a table");
    let metadata = HashMap::from([("config".into(), config)]);
    safetensors::serialize(views, Some(metadata)).expect("names and lengths are sound")
}
