//! Compares a transform that is made of blocks with Pyro's.

use std::collections::BTreeMap;

use fluxlet::math::Real;

use crate::bins::Choice;
use crate::block::{Block, Gradient, Link, Sum};
use crate::common::goldens::Golden;
use crate::ledger::Ledger;

/// ½ ln 2π, to the last digit of `f64`.
pub(crate) const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// The rows of a case.
struct Rows {
    count: usize,
    dim: usize,
    /// C numbers a row, or C for all rows together.
    context: Vec<f64>,
    context_len: usize,
}

impl Rows {
    fn of(golden: &Golden) -> Self {
        let (count, context_len) = (golden.rows(), golden.context_len());
        let context = if context_len > 0 { golden.tensor("context") } else { Vec::new() };
        Self { count, dim: golden.tensor("v").len() / count, context, context_len }
    }

    /// Where the context of a row begins.
    fn context_start(&self, row: usize) -> usize {
        if self.context.len() == self.context_len { 0 } else { row * self.context_len }
    }

    /// The numbers of `tensor` at `places` of a row.
    fn at(&self, tensor: &[f64], row: usize, places: &[usize]) -> Vec<f64> {
        places.iter().map(|place| tensor[row * self.dim + place]).collect()
    }

    /// A block's part of x and u, or of their gradients.
    fn input<R>(&self, tensor: &[f64], row: usize, block: &Block<R>) -> Vec<f64> {
        self.at(tensor, row, &block.from)
    }

    /// A block's part of y and v, or of their gradients.
    fn output<R>(&self, tensor: &[f64], row: usize, block: &Block<R>) -> Vec<f64> {
        self.at(tensor, row, &block.to).into_iter().map(|y| block.sign * y).collect()
    }

    /// `numbers` with the row's context behind them.
    fn with_context(&self, mut numbers: Vec<f64>, row: usize) -> Vec<f64> {
        numbers.extend(&self.context[self.context_start(row)..][..self.context_len]);
        numbers
    }

    /// What the log determinants of the blocks are to Pyro: its own number for each block, or one
    /// number for all.
    fn logs(&self, of_pyro: &[f64], of_blocks: &[Vec<f64>]) -> Vec<f64> {
        if of_pyro.len() == self.count {
            return of_blocks.iter().map(|row| row.iter().sum()).collect();
        }
        of_blocks.concat()
    }

    fn log_at(&self, tensor: &[f64], row: usize, block: usize) -> f64 {
        let per_row = tensor.len() / self.count;
        tensor[row * per_row + block.min(per_row - 1)]
    }
}

/// Gradients of Pyro's parameters and of the context, summed over rows and blocks.
pub(crate) struct Sums {
    /// `vjp` or `nllgrad`.
    what: &'static str,
    parameters: BTreeMap<String, (Sum, Vec<f64>)>,
    context: Sum,
}

impl Sums {
    pub(crate) fn new(golden: &Golden, what: &'static str, context_len: usize) -> Self {
        let prefix = format!("{what}.param.");
        let sum = |name: String| {
            let expected = golden.tensor(&format!("{prefix}{name}"));
            (name, (Sum::new(expected.len()), expected))
        };
        let parameters = golden.names(&prefix).into_iter().map(sum).collect();
        Self { what, parameters, context: Sum::new(context_len) }
    }

    pub(crate) fn add_parameters(&mut self, links: &[Link], theta: &Sum) {
        for Link { theta: from, tensor, at, slope } in links {
            let (sum, _) = self.parameters.get_mut(tensor).expect("a gradient of the parameter");
            sum.add(*at, theta, *from, *slope);
        }
    }

    /// Adds the context's gradient, which stands behind the first `dim` numbers.
    pub(crate) fn add_context(&mut self, x: &Sum, dim: usize, start: usize) {
        for from in dim..x.total.len() {
            self.context.add(start + from - dim, x, from, 1.0);
        }
    }

    /// Every parameter that Pyro has, those with a gradient of 0 too: masked weights, and what a
    /// case does not use.
    pub(crate) fn check(&self, golden: &Golden, ledger: &mut Ledger) {
        for (name, (sum, expected)) in &self.parameters {
            let place = format!("{} {name}", golden.id());
            ledger.check_sum(&format!("{}.param", self.what), sum, expected, &place);
        }
        if !self.context.total.is_empty() {
            let what = format!("{}.context", self.what);
            ledger.check_sum(&what, &self.context, &golden.tensor(&what), golden.id());
        }
    }
}

/// A gradient's first D numbers.
fn first(gradient: &Gradient, dim: usize) -> Sum {
    let Sum { total, exchanged } = &gradient.x;
    Sum { total: total[..dim].to_vec(), exchanged: exchanged[..dim].to_vec() }
}

pub(crate) fn check_f64(golden: &Golden, blocks: &[Block<f64>], ledger: &mut Ledger) {
    let rows = Rows::of(golden);
    check_forward(golden, &rows, blocks, ledger);
    check_inverse(golden, &rows, blocks, ledger);
}

/// y, ldj and the gradient of the cotangents gy and gl.
fn check_forward(golden: &Golden, rows: &Rows, blocks: &[Block<f64>], ledger: &mut Ledger) {
    let [x, y, ldj, gy, gl, vjp] =
        ["x", "y", "ldj", "gy", "gl", "vjp.x"].map(|name| golden.tensor(name));
    let mut sums = Sums::new(golden, "vjp", rows.context.len());
    let mut logs = vec![Vec::new(); rows.count];
    for (b, block) in blocks.iter().enumerate() {
        for (row, logs) in logs.iter_mut().enumerate() {
            let place = format!("{} row {row} block {b}", golden.id());
            let input = rows.with_context(rows.input(&x, row, block), row);
            let expected = rows.output(&y, row, block);
            let choices = block.choices(&input, 0, &input);
            let (ours, _) = block.run(&input, false);
            ledger.exchange(choices.len());
            for choice in &choices {
                let i = choice.coordinate();
                let [_, (of_our_bin, _)] = choice.values(input[i]);
                ledger.check("y and u in the slack", ours[i], expected[i], &place);
                ledger.check("y", ours[i], of_our_bin, &place);
            }
            let (z, ladj) = block.run_as_pyro(&input, &choices);
            ledger.check_all("y", &z, &expected, &place);
            logs.push(ladj);

            let dz = rows.output(&gy, row, block);
            let gradient = block.gradient(&input, &dz, rows.log_at(&gl, row, b), &choices);
            let dx = first(&gradient, block.shape.dim);
            ledger.check_sum("vjp.x", &dx, &rows.input(&vjp, row, block), &place);
            sums.add_parameters(&block.links, &gradient.theta);
            sums.add_context(&gradient.x, block.shape.dim, rows.context_start(row));
        }
    }
    ledger.check_all("ldj", &rows.logs(&ldj, &logs), &ldj, golden.id());
    sums.check(golden, ledger);
}

/// u, ildj, and the gradient of the mean negative log likelihood.
fn check_inverse(golden: &Golden, rows: &Rows, blocks: &[Block<f64>], ledger: &mut Ledger) {
    let [v, u, ildj, nll_grad] = ["v", "u", "ildj", "nllgrad.v"].map(|name| golden.tensor(name));
    let n = rows.count as f64;
    let mut sums = Sums::new(golden, "nllgrad", rows.context.len());
    let mut nll = vec![rows.dim as f64 * HALF_LN_TAU; rows.count];
    let mut logs = vec![Vec::new(); rows.count];
    for (b, block) in blocks.iter().enumerate() {
        let dim = block.shape.dim;
        for (row, (nll, logs)) in nll.iter_mut().zip(&mut logs).enumerate() {
            let place = format!("{} row {row} block {b}", golden.id());
            let input = rows.with_context(rows.output(&v, row, block), row);
            let theirs = rows.with_context(rows.input(&u, row, block), row);
            let (mut back, mut ladj) = block.run(&input, true);
            let choices = block.choices(&theirs, 1, &input);
            // On a knot, Pyro's u may be a rounding below it, and ours on it.
            let ours = [&back[..], &theirs[dim..]].concat();
            ledger.exchange(choices.len());
            if choices.is_empty() && block.choices(&ours, 1, &input).is_empty() {
                ledger.check_all("u", &back, &theirs[..dim], &place);
            } else {
                // Ours is an inverse of our T, to every digit; Pyro's one of T with its bins.
                ledger.check_all("y and u in the slack", &back, &theirs[..dim], &place);
                let (again, of_forward) = block.run(&ours, false);
                ledger.check_all("y", &again, &input[..dim], &place);
                ledger.check("ildj", ladj, -of_forward, &place);
                let (again, of_forward) = block.run_as_pyro(&theirs, &choices);
                ledger.check_all("y", &again, &input[..dim], &place);
                (back, ladj) = (theirs[..dim].to_vec(), -of_forward);
            }
            logs.push(ladj);
            *nll += back.iter().map(|u| 0.5 * u * u).sum::<f64>() - ladj;

            let du: Vec<f64> = back.iter().map(|u| u / n).collect();
            back.extend(&theirs[dim..]);
            let gradient = block.inverse_gradient(&input, &back, &du, -1.0 / n, &choices);
            let dv = first(&gradient, dim);
            ledger.check_sum("nllgrad.v", &dv, &rows.output(&nll_grad, row, block), &place);
            sums.add_parameters(&block.links, &gradient.theta);
            sums.add_context(&gradient.x, dim, rows.context_start(row));
        }
    }
    ledger.check_all("ildj", &rows.logs(&ildj, &logs), &ildj, golden.id());
    ledger.check_all("nll", &nll, &golden.tensor("nll"), golden.id());
    sums.check(golden, ledger);
}

/// By how much the log determinants of our bins differ from those of Pyro's, by the oracle and in
/// `f64`, row by row and block by block: 0 but for values in Pyro's slack.
fn differences(golden: &Golden, rows: &Rows, exact: &[Block<f64>]) -> [Vec<Vec<f64>>; 2] {
    let [x, v, u] = ["x", "v", "ref64.u"].map(|name| golden.tensor(name));
    let each = |difference: &dyn Fn(usize, &Block<f64>) -> f64| {
        let of_row = |row| exact.iter().map(|block| difference(row, block)).collect();
        (0..rows.count).map(of_row).collect::<Vec<Vec<f64>>>()
    };
    let forward = |row: usize, block: &Block<f64>| {
        let x = rows.with_context(rows.input(&x, row, block), row);
        let difference = |choice: Choice| {
            let [theirs, ours] = choice.values(x[choice.coordinate()]);
            ours.1 - theirs.1
        };
        block.choices(&x, 0, &x).into_iter().map(difference).sum()
    };
    let inverse = |row: usize, block: &Block<f64>| {
        let v = rows.output(&v, row, block);
        let u = rows.with_context(rows.input(&u, row, block), row);
        let difference = |choice: Choice| {
            let i = choice.coordinate();
            let [(_, theirs), (y, log)] = choice.values(u[i]);
            // One step of Newton's method: in our bin v has an inverse a little beside u.
            let [_, (_, ours)] = choice.values(u[i] + (v[i] - y) / Real::exp(log));
            theirs - ours
        };
        block.choices(&u, 1, &v).into_iter().map(difference).sum()
    };
    [each(&forward), each(&inverse)]
}

/// `exact` are the same blocks in `f64`.
pub(crate) fn check_f32(
    golden: &Golden,
    blocks: &[Block<f32>],
    exact: &[Block<f64>],
    ledger: &mut Ledger,
) {
    let rows = Rows::of(golden);
    let (x, v) = (golden.tensor("x"), golden.tensor("v"));
    // Rows in which rounding to f32 decides on which side of Pyro's slack a value lies.
    let fuzzy = golden.entry["fuzzy_rows"].as_array();
    let fuzzy = |row: usize| fuzzy.is_some_and(|rows| rows.iter().any(|r| *r == row));
    let [mut y, mut u] = [(); 2].map(|()| vec![0.0; rows.count * rows.dim]);
    let [mut ldj, mut ildj] = [(); 2].map(|()| vec![Vec::new(); rows.count]);
    let mut nll = vec![rows.dim as f32 * HALF_LN_TAU as f32; rows.count];
    for row in 0..rows.count {
        for block in blocks {
            let (z, ladj) = block.run(&rows.with_context(rows.input(&x, row, block), row), false);
            let places = block.to.iter().map(|to| row * rows.dim + to);
            places.zip(&z).for_each(|(at, z)| y[at] = block.sign * f64::from(*z));
            ldj[row].push(f64::from(ladj));
            let (z, ladj) = block.run(&rows.with_context(rows.output(&v, row, block), row), true);
            block.from.iter().zip(&z).for_each(|(to, z)| u[row * rows.dim + to] = f64::from(*z));
            ildj[row].push(f64::from(ladj));
            z.iter().for_each(|u| nll[row] += 0.5 * u * u);
            nll[row] -= ladj;
        }
    }
    let nll: Vec<f64> = nll.into_iter().map(f64::from).collect();
    let mut check = |name: &str, got: Vec<f64>, expected: Vec<f64>| {
        let theirs = golden.entry["pyro_f32_max_abs_error"][name].as_f64().expect("Pyro's error");
        let per_row = expected.len() / rows.count;
        assert_eq!(got.len(), expected.len(), "{} {name}", golden.id());
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let row = i / per_row;
            if fuzzy(row) {
                ledger.leave_out();
                continue;
            }
            let place = format!("{} row {row} {name}", golden.id());
            ledger.check_f32(*got as f32, *expected, theirs, &place);
        }
    };
    let reference = |name: &str| golden.tensor(&format!("ref64.{name}"));
    check("y", y, reference("y"));
    check("u", u, reference("u"));
    let [of_ldj, of_ildj] = differences(golden, &rows, exact);
    for (name, got, differences) in [("ldj", ldj, of_ldj), ("ildj", ildj, of_ildj.clone())] {
        let mut expected = reference(name);
        let got = rows.logs(&expected, &got);
        let differences = rows.logs(&expected, &differences);
        expected.iter_mut().zip(differences).for_each(|(expected, d)| *expected += d);
        check(name, got, expected);
    }
    let differences = of_ildj.iter().map(|row| row.iter().sum::<f64>());
    let expected = reference("nll").into_iter().zip(differences).map(|(nll, d)| nll - d);
    check("nll", nll, expected.collect());
}
