//! The trained parameters in a form that other tools read: safetensors with the configuration as
//! metadata.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};

use super::{Config, Trained};

/// Bytes of `checkpoint.safetensors`: θ (f64) and w (f32) of the best epoch, one tensor each per
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

    let tensors: Vec<(String, Dtype, Vec<u8>)> = spans
        .into_iter()
        .flat_map(|(name, theta, weights)| {
            let theta = trained.theta[theta].iter().flat_map(|x| x.to_le_bytes()).collect();
            let weights = trained.weights[weights].iter().flat_map(|x| x.to_le_bytes()).collect();
            [
                (format!("{name}.theta"), Dtype::F64, theta),
                (format!("{name}.weights"), Dtype::F32, weights),
            ]
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, bytes): &(String, Dtype, Vec<u8>)| {
        let width = if *dtype == Dtype::F64 { 8 } else { 4 };
        let view = TensorView::new(*dtype, vec![bytes.len() / width], bytes);
        (name.as_str(), view.expect("a vector has the length of its bytes"))
    });
    let config = toml::to_string(config).expect("a configuration is a table");
    let metadata = HashMap::from([("config".into(), config)]);
    safetensors::serialize(views, Some(metadata)).expect("names and lengths are sound")
}
