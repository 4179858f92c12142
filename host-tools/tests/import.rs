//! Flows that were trained with Pyro, zuko and nflows give here what they give there.
//!
//! The vectors are made by `vectors/make_vectors.py` with the real libraries; `pyro_cond2`,
//! `pyro_moons2`, `pyro_sensor8` and `pyro_sine16` were trained on data.

mod support;

use std::path::PathBuf;

use fluxlet::{Base, Model};
use fluxlet_tools::import::{Imported, Library, read};
use safetensors::{Dtype, SafeTensors};
use support::Folder;

const FLOWS: [(Library, &str); 10] = [
    (Library::Pyro, "pyro_cond2"),
    (Library::Pyro, "pyro_moons2"),
    (Library::Pyro, "pyro_sensor8"),
    (Library::Pyro, "pyro_sine16"),
    (Library::Pyro, "pyro_plain"),
    (Library::Pyro, "pyro_context"),
    (Library::Zuko, "zuko_autoregressive"),
    (Library::Zuko, "zuko_coupling"),
    (Library::Nflows, "nflows_coupling"),
    (Library::Nflows, "nflows_autoregressive"),
];

fn path(name: &str, ending: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.{ending}"))
}

fn import(library: Library, name: &str) -> Imported {
    let flow = read(library, &path(name, "arch.json"), &path(name, "weights.safetensors"));
    flow.unwrap_or_else(|error| panic!("{error}"))
}

struct Vectors(Vec<u8>);

impl Vectors {
    fn read(name: &str) -> Self {
        Self(std::fs::read(path(name, "tests.safetensors")).expect("the vectors are there"))
    }

    fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let tensor = file.tensor(name).ok()?;
        let data = tensor.data();
        Some(match tensor.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            _ => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        })
    }

    /// Rows of a tensor with their context behind them.
    fn rows(&self, name: &str, dim: usize, context: usize) -> Vec<Vec<f64>> {
        let values = self.tensor(name).expect("a tensor of the vectors");
        let given = self.tensor("context").unwrap_or_default();
        let rows = values.chunks_exact(dim).enumerate();
        rows.map(|(i, x)| [x, &given[i * context..(i + 1) * context]].concat()).collect()
    }
}

/// The imported layers in `f64`, towards the latent or away from it; returns the sum of ladj.
fn run(flow: &Imported, x: &mut [f64], inverse: bool) -> f64 {
    let stack = &flow.stack;
    let mut spans: Vec<_> = stack.spans().collect();
    if inverse {
        spans.reverse();
    }
    spans.iter().fold(0.0, |ladj, span| {
        let w = &flow.weights[span.weights.clone()];
        let x = &mut x[..stack.dim + span.shape.context];
        let mut scratch = vec![f64::NAN; span.layer.scratch_len(span.shape)];
        ladj + if span.shape.inverted == inverse {
            span.layer.forward(span.shape, w, x, &mut scratch)
        } else {
            span.layer.inverse(span.shape, w, x, &mut scratch)
        }
    })
}

fn worst(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let error = |(got, expected): (&f64, &f64)| (got - expected).abs() / (1.0 + expected.abs());
    got.iter().zip(expected).map(error).fold(0.0, |worst: f64, error| {
        assert!(!error.is_nan());
        worst.max(error)
    })
}

#[test]
fn log_densities_and_samples_in_f64_are_those_of_the_library() {
    for (library, name) in FLOWS {
        let flow = import(library, name);
        let (dim, context) = (flow.stack.dim, flow.stack.context);
        let vectors = Vectors::read(name);
        let log_prob: Vec<f64> = vectors
            .rows("v", dim, context)
            .iter_mut()
            .map(|x| {
                let ladj = run(&flow, x, false);
                ladj + Base::Normal.log_prob(&[][..], &x[..dim], &mut [])
            })
            .collect();
        let expected = vectors.tensor("log_prob_f64").expect("log densities");
        let density = worst(&log_prob, &expected);
        let samples: Vec<f64> = vectors
            .rows("z", dim, context)
            .iter_mut()
            .flat_map(|z| {
                run(&flow, z, true);
                z[..dim].to_vec()
            })
            .collect();
        let sample = worst(&samples, &vectors.tensor("x_from_z_f64").expect("samples"));
        println!("{name}: log_prob {density:.1e}, samples {sample:.1e}");
        assert!(density < 1e-5 && sample < 1e-5, "{name}: {density:e}, {sample:e}");
    }
}

#[test]
fn packed_models_score_within_the_library_s_own_error_in_f32() {
    for (library, name) in FLOWS {
        let flow = import(library, name);
        let bytes = flow.stack.pack(&flow.packed_weights(), &[]);
        let model = Model::new_checked(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let vectors = Vectors::read(name);
        let mut work = vec![0.0; model.work_len()];
        let scores: Vec<f64> = vectors
            .rows("v", flow.stack.dim, flow.stack.context)
            .iter()
            .map(|x| {
                let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
                f64::from(fluxlet::log_prob(&model, &x, &mut work))
            })
            .collect();
        let [exact, theirs] = ["log_prob_f64", "log_prob_f32"].map(|t| vectors.tensor(t).unwrap());
        let (ours, theirs) = (worst(&scores, &exact), worst(&theirs, &exact));
        println!("{name}: {ours:.1e}, the library {theirs:.1e}");
        // Two roundings of the same steps: neither is better than the other on every row.
        assert!(ours <= 4.0 * theirs + 1e-5, "{name}: {ours:e}, the library {theirs:e}");
    }
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let refused = [
        ("zuko", "zuko_residual", "layer 0, MaskedAutoregressiveTransform: slope = 0.01"),
        ("nflows", "nflows_context", "unconditional_transform = true"),
        ("pyro", "zuko_coupling", "it describes a flow of zuko"),
    ];
    let folder = Folder::new();
    for (library, name, said) in refused {
        let (arch, weights) = (path(name, "arch.json"), path(name, "weights.safetensors"));
        let files = format!("--arch {} --weights {}", arch.display(), weights.display());
        let error = folder.fails(&format!("import {library} {files} -o model.flx"));
        assert!(error.contains(said), "{error}");
        assert!(folder.entries().is_empty());
    }
}

#[test]
fn a_mask_that_degrees_do_not_imply_is_refused() {
    let folder = Folder::new();
    let bytes = std::fs::read(path("pyro_plain", "weights.safetensors")).expect("the weights");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let mut data = view.data().to_vec();
        if name == "layers.8.arn.layers.0.mask" {
            // One unit no longer sees what its degree lets it see.
            let at = data.chunks(4).rposition(|entry| entry != [0; 4]).expect("a live entry");
            data[4 * at..4 * at + 4].fill(0);
        }
        (name, (view.dtype(), view.shape().to_vec(), data))
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data);
        (name.as_str(), view.expect("sound sizes"))
    });
    let written = safetensors::serialize(views, None).expect("sound tensors");
    folder.write("changed.safetensors", written);
    let changed = folder.path("changed.safetensors");
    let error = read(Library::Pyro, &path("pyro_plain", "arch.json"), &changed).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("layer 8, AffineAutoregressive") && said.contains("masks"), "{said}");
}
