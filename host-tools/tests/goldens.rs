//! Pyro's transforms, brought in by the importer, give Pyro's own numbers: every case of a folder of
//! golden vectors. `FLUXLET_GOLDENS=FOLDER` takes another folder with a manifest of the same form; a
//! type that is not known here fails by name. `tests/pyro.rs` of the core checks the gradients of
//! the parameters of the static layers too.
//!
//! Where Pyro is not followed: a value on a knot, or less than 1e-6 above it, is counted to the bin on
//! the knot's left, so its log determinant and gradients are those of another bin. In these rows,
//! which the manifest names, values are compared to 1e-7 and the rest is left out; sums over rows
//! that hold such a row are left out too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fluxlet_tools::import::{Imported, Library, from_memory};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

/// What `f64` allows, times 1 + |expected|; see the core's `tests/pyro.rs`.
const TOLERANCES: [(&str, f64); 8] = [
    ("y", 1e-10),
    ("u", 1e-10),
    ("ldj", 1e-9),
    ("ildj", 1e-6),
    ("nll", 1e-6),
    ("vjp", 1e-8),
    ("nllgrad", 1e-5),
    ("on a knot", 1e-7),
];

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

struct Case {
    id: String,
    kind: String,
    entry: Value,
    tensors: Tensors,
}

fn bytes_of(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
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

    /// The case without its tensors.
    fn named(&self) -> Self {
        let (id, kind) = (self.id.clone(), self.kind.clone());
        Self { id, kind, entry: Value::Null, tensors: Tensors::new() }
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

/// Gradient of `dz`·f(x) + `dladj` · ladj with respect to x and the context, f the layer's forward.
fn backward(flow: &Imported, x: &[f64], dz: &[f64], dladj: f64) -> Vec<f64> {
    let span = flow.stack.spans().next().expect("a layer");
    let w = &flow.weights[span.weights.clone()];
    let (mut x, mut dz) = (x.to_vec(), dz.to_vec());
    x.truncate(flow.stack.dim + span.shape.context);
    dz.resize(x.len(), 0.0);
    let mut scratch = vec![f64::NAN; span.layer.backward_scratch_len(span.shape)];
    let mut dw = vec![0.0; w.len()];
    span.layer.backward(span.shape, w, &mut x, &mut dz, dladj, &mut dw, &mut scratch);
    dz
}

/// The same through the inverse of the layer's forward: `u` is where it leads, `du` and `dladj` are
/// those of its values and its ladj. With J the Jacobian of forward at u and L its ladj,
/// g = J⁻ᵀ (du − dladj ∂L/∂u), and the context moves u by −g.
fn inverse_backward(flow: &Imported, u: &[f64], du: &[f64], dladj: f64) -> Vec<f64> {
    let dim = flow.stack.dim;
    let unit = |i: usize| (0..dim).map(|j| f64::from(i == j)).collect::<Vec<f64>>();
    // Row i of the matrix is ∂zᵢ/∂u; the solution of Jᵀ g = a sums its rows to a.
    let jacobian: Vec<Vec<f64>> = (0..dim).map(|i| backward(flow, u, &unit(i), 0.0)).collect();
    let along = backward(flow, u, &vec![0.0; dim], 1.0);
    let mut a: Vec<Vec<f64>> = (0..dim)
        .map(|j| {
            let column = (0..dim).map(|i| jacobian[i][j]);
            column.chain([du[j] - dladj * along[j]]).collect()
        })
        .collect();
    for k in 0..dim {
        let pivot = (k..dim).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap_or(k);
        a.swap(k, pivot);
        let top = a[k].clone();
        for (i, row) in a.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = row[k] / top[k];
            if i != k {
                row.iter_mut().zip(&top).for_each(|(row, top)| *row -= factor * top);
            }
        }
    }
    let g: Vec<f64> = (0..dim).map(|i| a[i][dim] / a[i][i]).collect();
    let minus: Vec<f64> = g.iter().map(|g| -g).collect();
    let context = backward(flow, u, &minus, -dladj);
    [&g, &context[dim..]].concat()
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

/// Types of layers whose log determinant Pyro gives number by number.
fn by_number(case: &Case, rows: usize, dim: usize) -> bool {
    case.tensor("ldj").is_some_and(|ldj| ldj.len() == rows * dim && dim > 1)
}

fn check_f64(case: &Case, flow: &Imported, ledger: &mut Ledger) {
    let (rows, dim) = (case.rows(), flow.stack.dim);
    let [x, y, ldj, v, u, ildj] = ["x", "y", "ldj", "v", "u", "ildj"].map(|name| case.of(name));
    let [gy, gl, vjp, nll, nll_grad] =
        ["gy", "gl", "vjp.x", "nll", "nllgrad.v"].map(|name| case.of(name));
    let (each, knots, n) = (by_number(case, rows, dim), case.on_knots(), rows as f64);
    let per_row = ldj.len() / rows;
    let sum =
        |values: &[f64], row: usize| values[row * per_row..(row + 1) * per_row].iter().sum::<f64>();
    // What one span in the direction of Pyro's T has a gradient of.
    let single = flow.stack.layers.len() == 1 && flow.stack.layers[0].1.inverted;
    let (mut vjp_context, mut nll_context) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let place = format!("{} row {row}", case.id);
        let at = row * dim..(row + 1) * dim;
        let knot = knots.contains(&row);
        let (what_y, what_u) = if knot { ("on a knot", "on a knot") } else { ("y", "u") };
        let start = [&x[at.clone()], &case.context(row)[..]].concat();
        let mut z = start.clone();
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
        ledger.check("nll", square - inverse, nll[row], &place);
        if !single
            || case.kind == "ConditionalMatrixExponential"
            || case.kind == "MatrixExponential"
        {
            continue;
        }
        let dl = if each { 0.0 } else { gl[row] };
        let mut dx = backward(flow, &start, &gy[at.clone()], dl);
        if each {
            let along = backward(flow, &start, &vec![0.0; dim], 1.0);
            for i in 0..dim {
                dx[i] += along[i] * gl[row * dim + i];
            }
        }
        for (got, expected) in dx.iter().zip(&vjp[at.clone()]) {
            ledger.check("vjp", *got, *expected, &place);
        }
        vjp_context.push(dx[dim..].to_vec());
        let du: Vec<f64> = back[..dim].iter().map(|u| u / n).collect();
        let dv = inverse_backward(flow, &back, &du, -1.0 / n);
        for (got, expected) in dv.iter().zip(&nll_grad[at]) {
            ledger.check("nllgrad", *got, *expected, &place);
        }
        nll_context.push(dv[dim..].to_vec());
    }
    // Rows of gradients of the context, or their sum where all rows share one.
    let gathered =
        [("vjp.context", "vjp", vjp_context), ("nllgrad.context", "nllgrad", nll_context)];
    for (name, what, got) in gathered {
        let Some(expected) = case.tensor(name) else { continue };
        if got.len() < rows || (each && what == "vjp") {
            ledger.left_out += expected.len();
            continue;
        }
        let shared = expected.len() == case.context_len();
        let got = if shared {
            (0..expected.len()).map(|i| got.iter().map(|row| row[i]).sum()).collect()
        } else {
            got.concat()
        };
        for (got, expected) in got.iter().zip(&expected) {
            ledger.check(what, *got, *expected, &format!("{} {name}", case.id));
        }
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

/// What `f64`, or `f32` where the case is in it, makes of the row towards data.
fn to_data(case: &Case, flow: &Imported, row: &[f64]) -> Vec<f64> {
    let mut x = row.to_vec();
    if case.entry["dtype"] == "float64" {
        run(flow, &mut x, true);
        return x;
    }
    let bytes = flow.stack.pack(&flow.packed_weights(), &[]);
    let model = fluxlet::Model::new_checked(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.id));
    let mut narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    fluxlet::inverse(&model, &mut narrow, &mut vec![0.0; model.scratch_len()]);
    narrow.into_iter().map(f64::from).collect()
}

/// A network alone, as the shift of an affine layer whose log scale is 0: of a dense network all
/// outputs at once, at x = 0; of a masked one parameter after parameter, where the shift is z − x.
fn check_network(case: &Case, ledger: &mut Ledger) {
    let (rows, masked) = (case.rows(), case.kind.contains("Auto"));
    let (x, gy) = (case.of("x"), case.of("gy"));
    let exact = case.entry["dtype"] == "float64";
    let y = case.of("y");
    let (inputs, outputs) = (x.len() / rows, y.len() / rows);
    let each = if masked { inputs } else { outputs };
    let given = case.context_len();
    let mut dx = vec![0.0; rows * (given + inputs)];
    for p in 0..outputs / each {
        let layer = as_layer(case, p, each);
        let flow = layer.import(each).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        for row in 0..rows {
            let own = &x[row * inputs..(row + 1) * inputs];
            let start = if masked {
                [own, &case.context(row)].concat()
            } else {
                [&vec![0.0; each][..], &case.context(row), own].concat()
            };
            let z = to_data(case, &flow, &start);
            let at = row * outputs + p * each;
            for i in 0..each {
                let got = z[i] - start[i];
                let place = format!("{} row {row} output {}", case.id, p * each + i);
                if exact {
                    ledger.check("y", got, y[at + i], &place);
                } else {
                    assert!((got - y[at + i]).abs() < 1e-5 * (1.0 + y[at + i].abs()), "{place}");
                }
            }
            if exact {
                let dy = &gy[at..at + each];
                let d = backward(&flow, &start, dy, 0.0);
                // The context first in both; a masked network's inputs are the layer's own numbers.
                let (front, behind) = d.split_at(each);
                let own: Vec<f64> = front.iter().zip(dy).map(|(d, dy)| d - dy).collect();
                let d = if masked { [behind, &own].concat() } else { behind.to_vec() };
                let sums = dx[row * (given + inputs)..].iter_mut();
                sums.zip(d).for_each(|(sum, d)| *sum += d);
            }
        }
    }
    if exact {
        let (vjp_x, vjp_context) =
            (case.of("vjp.x"), case.tensor("vjp.context").unwrap_or_default());
        for (row, got) in dx.chunks_exact(given + inputs).enumerate() {
            let context = &vjp_context[row * given..(row + 1) * given];
            let expected = context.iter().chain(&vjp_x[row * inputs..(row + 1) * inputs]);
            for (got, expected) in got.iter().zip(expected) {
                ledger.check("vjp", *got, *expected, &format!("{} row {row}", case.id));
            }
        }
    }
}

/// The case with its network in an affine layer: outputs p·each … as shifts, zeros as log scales.
fn as_layer(case: &Case, p: usize, each: usize) -> Case {
    let masked = case.kind.contains("Auto");
    let conditional = case.kind.starts_with("Conditional");
    let prefix = if masked && !conditional { "arn" } else { "nn" };
    let last = (0..).take_while(|i| case.tensors.contains_key(&format!("param.layers.{i}.weight")));
    let last = format!("layers.{}", last.last().expect("a layer"));
    let mut tensors = Tensors::new();
    for (name, (dtype, shape, data)) in &case.tensors {
        let Some(own) = name.strip_prefix("param.") else { continue };
        let name = format!("param.{prefix}.{own}");
        let tensor = if own.starts_with(&last) || own.starts_with("skip_layer") {
            let values = case.of(&format!("param.{own}"));
            let width: usize = shape[1..].iter().product();
            let chosen = values[p * each * width..(p + 1) * each * width].to_vec();
            // A mask holds for the zeros too.
            let rest = if own.ends_with("mask") { chosen.clone() } else { vec![0.0; chosen.len()] };
            let mut shape = shape.clone();
            shape[0] = 2 * each;
            (Dtype::F64, shape, bytes_of(&[chosen, rest].concat()))
        } else {
            (*dtype, shape.clone(), data.clone())
        };
        tensors.insert(name, tensor);
    }
    let mut entry = case.entry.clone();
    let config = &mut entry["config"];
    config["log_scale_min_clip"] = json!(-5.0);
    config["log_scale_max_clip"] = json!(3.0);
    let kind = match (masked, conditional) {
        (true, false) => "AffineAutoregressive",
        (true, true) => "ConditionalAffineAutoregressive",
        (false, _) => {
            // All inputs are context: the layer has no first part.
            let inputs = config["input_dim"].as_u64().unwrap_or(0);
            let given = config["context_dim"].as_u64().unwrap_or(0);
            config["context_dim"] = json!(inputs + given);
            config["split_dim"] = json!(0);
            "ConditionalAffineCoupling"
        }
    };
    Case { id: case.id.clone(), kind: kind.into(), entry, tensors }
}

/// Batch normalisation in training is the affine layer of the batch's own mean and unbiased variance;
/// the library offers it folded, in evaluation, so the gradient through the statistics is left out.
fn check_batch_norm(case: &Case, ledger: &mut Ledger) {
    let (rows, v) = (case.rows(), case.of("v"));
    let dim = v.len() / rows;
    let column = |i: usize| v.iter().skip(i).step_by(dim);
    let mean: Vec<f64> = (0..dim).map(|i| column(i).sum::<f64>() / rows as f64).collect();
    let variance = |i: usize| {
        column(i).map(|x| (x - mean[i]) * (x - mean[i])).sum::<f64>() / (rows as f64 - 1.0)
    };
    let variance: Vec<f64> = (0..dim).map(variance).collect();
    let mut tensors = case.tensors.clone();
    let mut set = |name: &str, values: &[f64]| {
        tensors.insert(format!("param.{name}"), (Dtype::F64, vec![dim], bytes_of(values)));
    };
    set("moving_mean", &mean);
    set("moving_variance", &variance);
    let layer =
        Case { id: case.id.clone(), kind: "BatchNorm".into(), entry: case.entry.clone(), tensors };
    let flow = layer.import(dim).unwrap_or_else(|error| panic!("{}: {error}", case.id));
    let exact = case.entry["dtype"] == "float64";
    let (u, nll) = (case.of("u"), case.of("nll"));
    for row in 0..rows {
        let place = format!("{} row {row}", case.id);
        let mut back = v[row * dim..(row + 1) * dim].to_vec();
        let ladj = run(&flow, &mut back, false);
        let square = back.iter().map(|u| 0.5 * u * u + 0.918_938_533_204_672_8).sum::<f64>();
        let got = back.into_iter().chain([square - ladj]);
        for (got, expected) in got.zip(u[row * dim..(row + 1) * dim].iter().chain([&nll[row]])) {
            if exact {
                ledger.check("u", got, *expected, &place);
            } else {
                assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{place}");
            }
        }
    }
    ledger.left_out += case.tensor("nllgrad.v").map_or(0, |d| d.len());
}

/// A transform along the first of two axes: each of the columns is a row of its own.
fn check_other_axis(case: &Case, ledger: &mut Ledger) {
    let event = case.entry["config"]["event_shape"].as_array().expect("a shape");
    let event: Vec<usize> = event.iter().map(|n| n.as_u64().unwrap_or(0) as usize).collect();
    assert!(case.entry["config"]["dim"] == -2 && event.len() == 2, "{}: another axis", case.id);
    let mut layer = Case { entry: case.entry.clone(), tensors: Tensors::new(), ..case.named() };
    layer.entry["config"]["dim"] = json!(-1);
    let flow = layer.import(event[0]).unwrap_or_else(|error| panic!("{}: {error}", case.id));
    let exact = case.entry["dtype"] == "float64";
    for (from, to, forwards) in [("x", "y", true), ("v", "u", false)] {
        let (from, to) = (case.of(from), case.of(to));
        for (at, expected) in to.chunks_exact(event[0] * event[1]).enumerate() {
            for column in 0..event[1] {
                let values = from[at * expected.len()..][..expected.len()].iter();
                let mut x: Vec<f64> = values.skip(column).step_by(event[1]).copied().collect();
                run(&flow, &mut x, forwards);
                for (got, expected) in x.iter().zip(expected.iter().skip(column).step_by(event[1]))
                {
                    let place = format!("{} row {at} column {column}", case.id);
                    if exact {
                        ledger.check("y", *got, *expected, &place);
                    } else {
                        assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{place}");
                    }
                }
            }
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
        *kinds.entry(case.kind.clone()).or_default() += 1;
        if elsewhere {
            check_other_axis(&case, &mut ledger);
            continue;
        }
        if case.kind.ends_with("NN") {
            check_network(&case, &mut ledger);
            continue;
        }
        if case.kind == "BatchNormTrain" {
            check_batch_norm(&case, &mut ledger);
            continue;
        }
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
