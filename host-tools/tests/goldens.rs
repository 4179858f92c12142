//! Pyro's transforms, brought in by the importer, give Pyro's own numbers: every case of a folder of
//! golden vectors that is a layer of a flow. `FLUXLET_GOLDENS=FOLDER` takes another folder with a
//! manifest of the same form; a type that the importer does not know fails by name. The layers
//! themselves, gradients, lone networks, batch statistics and other axes: `tests/pyro.rs` of the core.
//!
//! Where Pyro is not followed: a value on a knot, or less than 1e-6 above it, is counted to the bin on
//! the knot's left, so its log determinant is that of another bin. In these rows, which the manifest
//! names, values are compared to 1e-7 and the rest is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fluxlet_tools::import::{Imported, Library, from_memory};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

/// What `f64` allows, times 1 + |expected|; see the core's `tests/pyro.rs`.
const TOLERANCES: [(&str, f64); 6] =
    [("y", 1e-10), ("u", 1e-10), ("ldj", 1e-9), ("ildj", 1e-6), ("nll", 1e-6), ("on a knot", 1e-7)];

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

struct Case {
    id: String,
    kind: String,
    entry: Value,
    tensors: Tensors,
}

impl Case {
    fn read(folder: &Path, entry: &Value) -> Self {
        let file = folder.join(entry["file"].as_str().expect("a case names its file"));
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let read = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = read.tensors().into_iter().map(|(name, view)| {
            (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        });
        let text = |name: &str| entry[name].as_str().expect("a text of the manifest").to_string();
        let (id, kind) = (text("id"), text("type"));
        Self { id, kind, entry: entry.clone(), tensors: tensors.collect() }
    }

    fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let (dtype, _, data) = self.tensors.get(name)?;
        Some(match dtype {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            _ => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        })
    }

    fn of(&self, name: &str) -> Vec<f64> {
        self.tensor(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.id))
    }

    fn rows(&self) -> usize {
        self.entry["rows"].as_u64().expect("a number of rows") as usize
    }

    /// Rows with a value on a knot or in Pyro's slack above it.
    fn on_knots(&self) -> Vec<usize> {
        let rows = self.entry["edge_rows"].as_array().map_or(&[][..], Vec::as_slice);
        let knot = |(_, name): &(usize, &Value)| name.as_str().is_some_and(|n| n.contains("knots"));
        rows.iter().enumerate().filter(knot).map(|(row, _)| row).collect()
    }

    /// Context of a row; one for all rows, or none.
    fn context(&self, row: usize) -> Vec<f64> {
        let context = self.tensor("context").unwrap_or_default();
        let len = self.context_len();
        if context.len() == len { context } else { context[row * len..(row + 1) * len].to_vec() }
    }

    fn context_len(&self) -> usize {
        self.entry["config"]["context_dim"].as_u64().unwrap_or(0) as usize
    }

    /// The layer by the importer; `D` is the length of a row.
    fn import(&self, dim: usize) -> Result<Imported, String> {
        let mut config = self.entry["config"].clone();
        config["input_dim"] = json!(dim);
        let arch = json!({
            "name": self.id, "dim": dim, "context_dim": self.context_len(),
            "base": "standard normal", "order": "noise -> data",
            "layers": [{ "index": 0, "type": self.kind, "inverse": false, "config": config }],
        });
        let renamed = self.tensors.iter().filter_map(|(name, tensor)| {
            let name = match name.strip_prefix("param.") {
                Some(name) => format!("layers.0.{name}"),
                None => format!("layers.0.{}", name.strip_prefix("arg.").map(|_| name)?),
            };
            Some((name, tensor))
        });
        let renamed: Vec<_> = renamed.collect();
        let views = renamed.iter().map(|(name, (dtype, shape, data))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("sound sizes"))
        });
        let bytes = safetensors::serialize(views, None).expect("sound tensors");
        from_memory(Library::Pyro, Path::new(&self.id), &arch, &bytes).map_err(|e| e.to_string())
    }
}

/// The layers towards noise, or from it, as Pyro's T does; returns the sum of ladj.
fn run(flow: &Imported, x: &mut [f64], to_data: bool) -> f64 {
    let mut spans: Vec<_> = flow.stack.spans().collect();
    if to_data {
        spans.reverse();
    }
    spans.iter().fold(0.0, |ladj, span| {
        let w = &flow.weights[span.weights.clone()];
        let x = &mut x[..flow.stack.dim + span.shape.context];
        let mut scratch = vec![f64::NAN; span.layer.scratch_len(span.shape)];
        ladj + if span.shape.inverted == to_data {
            span.layer.forward(span.shape, w, x, &mut scratch)
        } else {
            span.layer.inverse(span.shape, w, x, &mut scratch)
        }
    })
}

#[derive(Default)]
struct Ledger {
    worst: BTreeMap<&'static str, f64>,
    checks: usize,
    left_out: usize,
}

impl Ledger {
    fn check(&mut self, what: &'static str, got: f64, expected: f64, place: &str) {
        let error = (got - expected).abs() / (1.0 + expected.abs());
        let allowed = TOLERANCES.iter().find(|row| row.0 == what).expect("a tolerance").1;
        assert!(error <= allowed, "{place}, {what}: {got:e}, Pyro {expected:e}, {error:e}");
        let worst = self.worst.entry(what).or_default();
        *worst = worst.max(error / allowed);
        self.checks += 1;
    }
}

fn check_f64(case: &Case, flow: &Imported, ledger: &mut Ledger) {
    let (rows, dim) = (case.rows(), flow.stack.dim);
    let [x, y, ldj, v, u, ildj] = ["x", "y", "ldj", "v", "u", "ildj"].map(|name| case.of(name));
    let (nll, knots) = (case.of("nll"), case.on_knots());
    let per_row = ldj.len() / rows;
    let sum =
        |values: &[f64], row: usize| values[row * per_row..(row + 1) * per_row].iter().sum::<f64>();
    for (row, nll) in nll.iter().enumerate() {
        let place = format!("{} row {row}", case.id);
        let at = row * dim..(row + 1) * dim;
        let knot = knots.contains(&row);
        let (what_y, what_u) = if knot { ("on a knot", "on a knot") } else { ("y", "u") };
        let mut z = [&x[at.clone()], &case.context(row)[..]].concat();
        let ladj = run(flow, &mut z, true);
        for (got, expected) in z.iter().zip(&y[at.clone()]) {
            ledger.check(what_y, *got, *expected, &place);
        }
        let mut back = [&v[at.clone()], &case.context(row)[..]].concat();
        let inverse = run(flow, &mut back, false);
        for (got, expected) in back.iter().zip(&u[at.clone()]) {
            ledger.check(what_u, *got, *expected, &place);
        }
        if knot {
            ledger.left_out += 2 + 2 * dim;
            continue;
        }
        ledger.check("ldj", ladj, sum(&ldj, row), &place);
        ledger.check("ildj", inverse, sum(&ildj, row), &place);
        let square = back[..dim].iter().map(|u| 0.5 * u * u + 0.918_938_533_204_672_8).sum::<f64>();
        ledger.check("nll", square - inverse, *nll, &place);
    }
}

fn check_f32(case: &Case, flow: &Imported) {
    let (rows, dim) = (case.rows(), flow.stack.dim);
    let bytes = flow.stack.pack(&flow.packed_weights(), &[]);
    let model = fluxlet::Model::new_checked(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.id));
    let mut scratch = vec![0.0; model.scratch_len()];
    let [x, y, ldj] = ["x", "ref64.y", "ref64.ldj"].map(|name| case.of(name));
    let [v, u, ildj] = ["v", "ref64.u", "ref64.ildj"].map(|name| case.of(name));
    let per_row = ldj.len() / rows;
    let fuzzy = case.entry["fuzzy_rows"].as_array();
    let fuzzy = |row: usize| fuzzy.is_some_and(|rows| rows.iter().any(|r| *r == row));
    let check = |name: &str, got: f32, expected: f64, row: usize| {
        let theirs = case.entry["pyro_f32_max_abs_error"][name].as_f64().expect("Pyro's error");
        let allowed = 4.0 * theirs + 1e-5 * (1.0 + expected.abs());
        let error = (f64::from(got) - expected).abs();
        let scale = if name.ends_with("ldj") { per_row as f64 } else { 1.0 };
        assert!(error <= scale * allowed, "{} row {row} {name}: {got}, {expected}", case.id);
    };
    let knots = case.on_knots();
    for row in (0..rows).filter(|row| !fuzzy(*row)) {
        let at = row * dim..(row + 1) * dim;
        let sum = |values: &[f64]| values[row * per_row..(row + 1) * per_row].iter().sum::<f64>();
        let narrow = |values: &[f64]| -> Vec<f32> {
            values[at.clone()].iter().chain(&case.context(row)).map(|x| *x as f32).collect()
        };
        let (mut to_data, mut to_noise) = (narrow(&x), narrow(&v));
        let ladj = fluxlet::inverse(&model, &mut to_data, &mut scratch);
        let inverse = fluxlet::forward(&model, &mut to_noise, &mut scratch);
        for i in 0..dim {
            check("y", to_data[i], y[row * dim + i], row);
            check("u", to_noise[i], u[row * dim + i], row);
        }
        if !knots.contains(&row) {
            check("ldj", ladj, sum(&ldj), row);
            check("ildj", inverse, sum(&ildj), row);
        }
    }
}

#[test]
fn every_golden_transform_comes_in_as_it_is() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens");
    let folder = std::env::var_os("FLUXLET_GOLDENS").map_or(own, PathBuf::from);
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
    let mut ledger = Ledger::default();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for entry in manifest["cases"].as_array().expect("a list of cases") {
        let case = Case::read(&folder, entry);
        let elsewhere = entry["config"]["dim"].as_i64().is_some_and(|dim| dim != -1);
        if elsewhere || case.kind.ends_with("NN") || case.kind == "BatchNormTrain" {
            continue;
        }
        *kinds.entry(case.kind.clone()).or_default() += 1;
        let dim =
            case.of(if case.tensors.contains_key("v") { "v" } else { "x" }).len() / case.rows();
        let flow = case.import(dim).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        match entry["dtype"].as_str() {
            Some("float64") => check_f64(&case, &flow, &mut ledger),
            _ => check_f32(&case, &flow),
        }
    }
    println!(
        "{kinds:?}\n{} checks, {} left out, worst {:?}",
        ledger.checks, ledger.left_out, ledger.worst
    );
}
