//! Compares a network on its own with Pyro's.

use fluxlet::bijection::{Shape, option};
use fluxlet::conditioner::Conditioner;
use fluxlet::math::Real;

use crate::block::{Link, Sum, values};
use crate::common::goldens::Golden;
use crate::ledger::Ledger;
use crate::networks::{Stored, network};
use crate::transform::Sums;

/// A network, and where its numbers stand among Pyro's.
struct Case<R> {
    conditioner: Conditioner,
    w: Vec<R>,
    links: Vec<Link>,
    /// Pyro's x of each of our variables.
    variables: Vec<usize>,
    /// Pyro's y of each of our outputs.
    outputs: Vec<usize>,
    context: usize,
    /// Lends its kind of number.
    like: R,
}

impl<R: Real> Case<R> {
    fn new(golden: &Golden, masked: bool, like: R) -> Self {
        let (dim, context) = (golden.count("input_dim"), golden.context_len());
        let skip = golden.entry["config"]["skip_connections"] == true;
        let flags = option::SPREAD | if skip { option::SKIP } else { 0 };
        let network = network(golden);
        let outputs = golden.tensor("y").len() / golden.rows();
        let (conditioner, order, len) = if masked {
            let shape = Shape { context, network, ..Shape::new(dim, 0, flags) };
            let len = outputs / dim;
            (Conditioner::masked(shape, len), golden.order(""), len)
        } else {
            let shape = Shape { context, network, ..Shape::new(dim, 0, 0) };
            (Conditioner::dense(shape, dim, outputs), Vec::new(), outputs)
        };
        let output = |known: usize, row| if masked { row * dim + order[known] } else { row };
        let stored = Stored { golden, prefix: "", network, context, order: order.clone() };
        let links = stored.links(conditioner, output);
        let w = values(golden, &links).into_iter().map(|w| like.constant(w)).collect();
        let steps = if masked { dim } else { 1 };
        let outputs = (0..steps).flat_map(|known| (0..len).map(move |row| (known, row)));
        let outputs = outputs.map(|(known, row)| output(known, row)).collect();
        let variables = if masked { order.clone() } else { (0..dim).collect() };
        Self { conditioner, w, links, variables, outputs, context, like }
    }

    /// Context, then the variables in our order.
    fn inputs(&self, golden: &Golden, row: usize) -> Vec<R> {
        let x = golden.tensor("x");
        let c = if self.context > 0 { golden.tensor("context") } else { Vec::new() };
        let x = &x[row * self.variables.len()..];
        let variables = self.variables.iter().map(|i| x[*i]);
        let inputs = c[row * self.context..][..self.context].iter().copied().chain(variables);
        inputs.map(|input| self.like.constant(input)).collect()
    }

    /// y in Pyro's order.
    fn run(&self, inputs: &[R]) -> Vec<R> {
        let mut out = vec![self.like; self.outputs.len()];
        let mut scratch = vec![self.like; self.conditioner.scratch_len()];
        self.conditioner.forward(&self.w[..], inputs, &mut out, &mut scratch);
        let mut y = out.clone();
        self.outputs.iter().zip(out).for_each(|(to, out)| y[*to] = out);
        y
    }
}

impl Case<f64> {
    /// Gradient of dy · y with respect to context and x, and to the weights.
    fn gradient(&self, inputs: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let dout: Vec<f64> = self.outputs.iter().map(|i| dy[*i]).collect();
        let mut dinputs = vec![0.0; inputs.len()];
        let mut dw = vec![0.0; self.w.len()];
        let mut scratch = vec![0.0; self.conditioner.backward_scratch_len()];
        let w = &self.w[..];
        self.conditioner.backward(w, inputs, &dout, &mut dinputs, &mut dw[..], &mut scratch);
        let (context, variables) = dinputs.split_at(self.context);
        let mut dx = vec![0.0; variables.len()];
        self.variables.iter().zip(variables).for_each(|(to, d)| dx[*to] = *d);
        dx.extend(context);
        (dx, dw)
    }
}

fn is_masked(golden: &Golden) -> Option<bool> {
    match golden.kind() {
        "DenseNN" | "ConditionalDenseNN" => Some(false),
        "AutoRegressiveNN" | "ConditionalAutoRegressiveNN" => Some(true),
        _ => None,
    }
}

/// `None` where the case is no network.
pub(crate) fn check_f64(golden: &Golden, ledger: &mut Ledger) -> Option<()> {
    let case = Case::new(golden, is_masked(golden)?, 0.0);
    let [y, gy, vjp] = ["y", "gy", "vjp.x"].map(|name| golden.tensor(name));
    let (rows, dim) = (golden.rows(), case.variables.len());
    let mut sums = Sums::new(golden, "vjp", rows * case.context);
    for row in 0..rows {
        let place = format!("{} row {row}", golden.id());
        let inputs = case.inputs(golden, row);
        let part = |tensor: &[f64], len: usize| tensor[row * len..(row + 1) * len].to_vec();
        let len = case.outputs.len();
        ledger.check_all("y", &case.run(&inputs), &part(&y, len), &place);
        let (dx, dw) = case.gradient(&inputs, &part(&gy, len));
        ledger.check_all("vjp.x", &dx[..dim], &part(&vjp, dim), &place);
        let plain = |total: Vec<f64>| Sum { exchanged: vec![0.0; total.len()], total };
        sums.add_parameters(&case.links, &plain(dw));
        sums.add_context(&plain(dx), dim, row * case.context);
    }
    sums.check(golden, ledger);
    Some(())
}

/// The files have no reference in `f64` for these: Pyro's own result in `f32` is taken as it is.
pub(crate) fn check_f32(golden: &Golden, ledger: &mut Ledger) -> Option<()> {
    let case = Case::new(golden, is_masked(golden)?, 0.0_f32);
    let expected = golden.tensor("y");
    for (row, expected) in expected.chunks(case.outputs.len()).enumerate() {
        for (i, y) in case.run(&case.inputs(golden, row)).into_iter().enumerate() {
            ledger.check_f32(y, expected[i], 0.0, &format!("{} row {row} y {i}", golden.id()));
        }
    }
    Some(())
}
