//! Pyro's transforms give the same numbers: values, log determinants and gradients.
//!
//! Golden vectors of Pyro 1.9.2 lie in `tests/goldens`; `FLUXLET_GOLDENS=FOLDER` takes another
//! folder with a manifest of the same form, where a type that is not known here fails by name.
//! Our `forward` is Pyro's T, x → y; our `inverse` its T⁻¹, v → u.
//!
//! Where Pyro is not followed: a value less than 1e-6 above a knot is counted to the bin on the
//! knot's left, so its log determinant is off by up to 0.04 there. We take the bin that the value
//! is in. At such values y and u are compared to 1e-7; for the rest Pyro must agree with an
//! independent formula (`oracle`) of the left bin, and we with the same formula of the right bin.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::ops::Range;
use std::path::PathBuf;

use common::Worst;
use common::draw::SplineTables;
use common::goldens::{Golden, cases};
use common::oracle::{Spline, Sum};
use fluxlet::bijection::{Dct, Layer, Shape, Tails};
use fluxlet::math::Real;

/// What `f64` allows, times 1 + |expected|. An independent implementation in numpy reached 3e-13
/// (y, u), 2e-11, 1e-7, 2e-10 and 1e-6: the steepest bins condition the inverse badly.
const TOLERANCES: [(&str, f64); 10] = [
    ("y", 1e-10),
    ("u", 1e-10),
    ("ldj", 1e-9),
    ("ildj", 1e-6),
    ("nll", 1e-6),
    ("vjp.x", 1e-8),
    ("vjp.param", 1e-8),
    ("nllgrad.v", 1e-5),
    ("nllgrad.param", 1e-5),
    // y and u where Pyro takes the left bin: the parabola over the slack, 1e-6 wide.
    ("y and u in the slack", 1e-7),
];

/// `f32` may be off by this many times Pyro's own error in `f32`, plus 1e-5 of 1 + |expected|.
const TIMES_PYRO: f64 = 4.0;

/// Types that have no static layer of one row; `host-tools/tests/goldens.rs` checks, through the importer.
const IMPORTED: [&str; 20] = [
    // Along another axis than the last.
    "DiscreteCosineTransform",
    "ConditionalSpline",
    "SplineCoupling",
    "SplineAutoregressive",
    "ConditionalSplineAutoregressive",
    "ConditionalHouseholder",
    "AffineTransform",
    "Permute",
    "AffineCoupling",
    "ConditionalAffineCoupling",
    "AffineAutoregressive",
    "ConditionalAffineAutoregressive",
    "BatchNorm",
    "BatchNormTrain",
    "ConditionalGeneralizedChannelPermute",
    "ConditionalMatrixExponential",
    "DenseNN",
    "ConditionalDenseNN",
    "AutoRegressiveNN",
    "ConditionalAutoRegressiveNN",
];

/// ½ ln 2π, to the last digit of `f64`.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// Part of a transform that has one log determinant a row: one dimension of a spline, or all
/// dimensions of a rotation.
struct Block<R> {
    layer: Layer,
    shape: Shape,
    w: Vec<R>,
    theta: Vec<R>,
    /// The parameters in the order of θ: name of the tensor, and where in it they are.
    parameters: Vec<(&'static str, Range<usize>)>,
    /// First column of x.
    column: usize,
    spline: Option<Spline>,
    /// Lends its kind of number.
    like: R,
}

impl<R: Real> Block<R> {
    fn new(
        golden: &Golden,
        (layer, shape): (Layer, Shape),
        column: usize,
        parameters: Vec<(&'static str, Range<usize>)>,
        like: R,
    ) -> Self {
        let raw: Vec<f64> = parameters
            .iter()
            .flat_map(|(name, range)| {
                golden.tensor(&format!("param.{name}"))[range.clone()].to_vec()
            })
            .collect();
        let theta: Vec<R> = raw.iter().map(|raw| like.constant(*raw)).collect();
        assert_eq!(theta.len(), layer.theta_len(shape), "{}: parameters", golden.id());
        let mut w = vec![like; layer.weight_len(shape)];
        layer.neutral(shape, like, &mut w);
        let mut spline = None;
        if let Some(tables) = SplineTables::new(layer, shape) {
            let bound = golden.number("bound");
            let ends = [-bound, bound].map(|end| like.constant(end));
            // Pyro pads the slopes with 1 − 1e-3 at both ends.
            tables.set_ends(&mut w, 0, ends, ends, like.constant(0.999));
            let linear = layer == Layer::RationalLinear;
            spline = Some(Spline { raw, bins: shape.arg, bound, linear });
        }
        match layer {
            Layer::Dct => Dct::smoothed(shape, golden.number("smooth"), like, &mut w),
            Layer::LowerUpper => {
                // A row of Pyro's matrix P has its 1 at the position that is taken.
                let rows = golden.tensor("param.permutation");
                for (p, row) in w[shape.dim * shape.dim..].iter_mut().zip(rows.chunks(shape.dim)) {
                    let position = row.iter().position(|entry| *entry == 1.0);
                    *p = like.constant(position.expect("a 1 in each row") as f64);
                }
            }
            _ => {}
        }
        layer.constrain(shape, &theta, &mut w);
        Self { layer, shape, w, theta, parameters, column, spline, like }
    }

    /// A layer of constants, which are no parameters in Pyro.
    fn constant(layer: Layer, shape: Shape, w: Vec<f64>, like: R) -> Self {
        let w: Vec<R> = w.into_iter().map(|w| like.constant(w)).collect();
        let mut theta = vec![like; layer.theta_len(shape)];
        layer.unconstrain(shape, &w, &mut theta);
        Self { layer, shape, w, theta, parameters: Vec::new(), column: 0, spline: None, like }
    }

    fn columns<'x>(&self, rows: &'x [f64], row: usize, dim: usize) -> &'x [f64] {
        let start = row * dim + self.column;
        &rows[start..start + self.shape.dim]
    }

    fn run(&self, x: &[f64], inverse: bool) -> (Vec<R>, R) {
        let like = self.like;
        let mut x: Vec<R> = x.iter().map(|x| like.constant(*x)).collect();
        let mut scratch = vec![like; self.layer.scratch_len(self.shape)];
        let w = &self.w[..];
        let ladj = if inverse {
            self.layer.inverse(self.shape, w, &mut x, &mut scratch)
        } else {
            self.layer.forward(self.shape, w, &mut x, &mut scratch)
        };
        (x, ladj)
    }
}

impl Block<f64> {
    fn gradient(&self, x: &[f64], dz: &[f64], dladj: f64) -> (Vec<f64>, Vec<f64>) {
        let (mut x, mut dx) = (x.to_vec(), dz.to_vec());
        let (mut dw, mut dtheta) = (vec![0.0; self.w.len()], vec![0.0; self.theta.len()]);
        let mut scratch = vec![0.0; self.layer.backward_scratch_len(self.shape)];
        let w = &self.w[..];
        self.layer.backward(self.shape, w, &mut x, &mut dx, dladj, &mut dw, &mut scratch);
        self.layer.constrain_backward(self.shape, &self.theta, w, &dw, &mut dtheta);
        (dx, dtheta)
    }

    /// Gradient of du · u + dladj · ladj⁻¹ at u = T⁻¹(v), with respect to v and θ: with L the
    /// forward ladj and J its Jacobian, dv = J⁻ᵀ (du − dladj ∂L/∂u), and θ moves u by −dv.
    fn inverse_gradient(
        &self,
        v: &[f64],
        u: &[f64],
        du: &[f64],
        dladj: f64,
    ) -> (Vec<f64>, Vec<f64>) {
        if self.layer == Layer::MatrixExponential {
            // Pyro's u is the series of −M itself, which is not quite the inverse of that of M.
            let minus = |numbers: &[f64]| numbers.iter().map(|m| -m).collect::<Vec<_>>();
            let turned = Self::constant(self.layer, self.shape, minus(&self.w), self.like);
            let (dv, dtheta) = turned.gradient(v, du, dladj);
            return (dv, minus(&dtheta));
        }
        let (along, _) = self.gradient(u, &vec![0.0; u.len()], 1.0);
        let right = du.iter().zip(&along).map(|(du, l)| du - dladj * l).collect();
        let dv = solve_transposed(self.jacobian(u), right);
        let minus: Vec<f64> = dv.iter().map(|dv| -dv).collect();
        let (_, dtheta) = self.gradient(u, &minus, -dladj);
        (dv, dtheta)
    }

    /// J at x, row by row: the gradient of one zᵢ is row i.
    fn jacobian(&self, x: &[f64]) -> Vec<Vec<f64>> {
        let unit = |i| (0..x.len()).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<_>>();
        (0..x.len()).map(|i| self.gradient(x, &unit(i), 0.0).0).collect()
    }
}

/// y of Jᵀ y = b, by Gaussian elimination with row exchanges.
fn solve_transposed(jacobian: Vec<Vec<f64>>, b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    // Rows of Jᵀ with b behind them.
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| jacobian.iter().map(|row| row[i]).chain([b[i]]).collect()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap_or(k);
        a.swap(k, pivot);
        let top = a[k].clone();
        // Above the diagonal too, so that nothing is left to substitute.
        for (i, row) in a.iter_mut().enumerate() {
            let factor = if i == k { 0.0 } else { row[k] / top[k] };
            row[k..].iter_mut().zip(&top[k..]).for_each(|(a, top)| *a -= factor * top);
        }
    }
    a.iter().enumerate().map(|(i, row)| row[n] / row[i]).collect()
}

/// The layer of a case, or `None` where we have none.
fn blocks<R: Real>(golden: &Golden, like: R) -> Option<Vec<Block<R>>> {
    let shape = |dim, arg| Shape::new(dim, arg, 0);
    match golden.entry["type"].as_str()? {
        "Spline" => {
            let (dim, bins) = (golden.count("input_dim"), golden.count("count_bins"));
            let linear = golden.text("order") == "linear";
            let layer = if linear { Layer::RationalLinear } else { Layer::RationalQuadratic };
            let shape = Shape { option: Tails::Identity as u8, ..shape(1, bins) };
            let block = |i: usize| {
                let part = |len: usize| i * len..(i + 1) * len;
                let mut parameters = vec![
                    ("unnormalized_widths", part(bins)),
                    ("unnormalized_heights", part(bins)),
                    ("unnormalized_derivatives", part(bins - 1)),
                ];
                if linear {
                    parameters.push(("unnormalized_lambdas", part(bins)));
                }
                Block::new(golden, (layer, shape), i, parameters, like)
            };
            Some((0..dim).map(block).collect())
        }
        "Householder" => {
            let shape = shape(golden.count("input_dim"), golden.count("count_transforms"));
            let parameters = vec![("u_unnormed", 0..shape.dim * shape.arg)];
            Some(vec![Block::new(golden, (Layer::Householder, shape), 0, parameters, like)])
        }
        "DiscreteCosineTransform" if golden.entry["config"]["dim"] == -1 => {
            let shape = shape(golden.count("input_dim"), 0);
            Some(vec![Block::new(golden, (Layer::Dct, shape), 0, Vec::new(), like)])
        }
        "HaarTransform" if golden.entry["config"]["dim"] == -1 => {
            let flip = golden.entry["config"]["flip"] == true;
            let shape = Shape { option: u8::from(flip), ..shape(golden.count("input_dim"), 0) };
            Some(vec![Block::constant(Layer::Haar, shape, Vec::new(), like)])
        }
        "LowerCholeskyAffine" => {
            let dim = golden.count("input_dim");
            let mut w = golden.tensor("arg.loc");
            let triangle = golden.tensor("arg.scale_tril");
            triangle.chunks(dim).enumerate().for_each(|(i, row)| w.extend(&row[..=i]));
            w.push(triangle.iter().step_by(dim + 1).map(|diagonal| Real::ln(*diagonal)).sum());
            Some(vec![Block::constant(Layer::LowerCholesky, shape(dim, 0), w, like)])
        }
        "MatrixExponential" => {
            let shape = shape(golden.count("input_dim"), golden.count("iterations"));
            let parameters = vec![("weights", 0..shape.dim * shape.dim)];
            Some(vec![Block::new(golden, (Layer::MatrixExponential, shape), 0, parameters, like)])
        }
        "GeneralizedChannelPermute" if golden.is_one_pixel() => {
            let shape = shape(golden.count("channels"), 0);
            let parameters = vec![("LU", 0..shape.dim * shape.dim)];
            Some(vec![Block::new(golden, (Layer::LowerUpper, shape), 0, parameters, like)])
        }
        _ => None,
    }
}

/// Worst deviations so far, by quantity.
struct Ledger(BTreeMap<&'static str, Worst>);

impl Ledger {
    fn row(&mut self, what: &str) -> &mut Worst {
        self.0.get_mut(what).expect("a row of the table of tolerances")
    }

    fn check(&mut self, what: &'static str, got: f64, expected: f64, place: &str) {
        self.row(what).compare(got, expected, 1.0 + expected.abs(), || place.to_owned());
    }

    fn check_sum(&mut self, what: &'static str, got: &Sum, i: usize, expected: f64, place: &str) {
        let scale = 1.0 + expected.abs() + got.exchanged[i];
        self.row(what).compare(got.total[i], expected, scale, || place.to_owned());
    }

    fn check_all(&mut self, what: &'static str, got: &[f64], expected: &[f64], place: &str) {
        assert_eq!(got.len(), expected.len(), "{what}: {place}");
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            self.check(what, *got, *expected, &format!("{place} {i}"));
        }
    }
}

fn check_f64(golden: &Golden, blocks: &[Block<f64>], ledger: &mut Ledger) {
    let rows = golden.rows();
    let [x, y, ldj, v, u, ildj] =
        ["x", "y", "ldj", "v", "u", "ildj"].map(|name| golden.tensor(name));
    let [gy, gl, vjp, nll_grad] =
        ["gy", "gl", "vjp.x", "nllgrad.v"].map(|name| golden.tensor(name));
    let (dim, n) = (x.len() / rows, rows as f64);
    let mut nll = vec![dim as f64 * HALF_LN_TAU; rows];
    for (b, block) in blocks.iter().enumerate() {
        let [mut vjp_sum, mut nll_sum] = [(); 2].map(|()| Sum::new(block.theta.len()));
        for (row, nll) in nll.iter_mut().enumerate() {
            let place = format!("{} row {row} block {b}", golden.id());
            let at = |tensor| block.columns(tensor, row, dim);
            let one = row * blocks.len() + b;

            // Forward, and its gradient.
            let (dy, dl) = (at(&gy), gl[one]);
            let (z, ladj) = block.run(at(&x), false);
            let (dx, dtheta) = block.gradient(at(&x), dy, dl);
            vjp_sum.add(&dtheta);
            match other_bin(block, 0, at(&x)[0], at(&x)[0]) {
                None => {
                    ledger.check_all("y", &z, at(&y), &place);
                    ledger.check("ldj", ladj, ldj[one], &place);
                    ledger.check_all("vjp.x", &dx, at(&vjp), &place);
                }
                Some((spline, theirs, ours)) => {
                    let x = at(&x)[0];
                    ledger.check("y and u in the slack", z[0], at(&y)[0], &place);
                    for (k, z, ladj) in [(theirs, at(&y)[0], ldj[one]), (ours, z[0], ladj)] {
                        let (expected, expected_ladj) = spline.forward(k, x);
                        ledger.check("y", z, expected, &place);
                        ledger.check("ldj", ladj, expected_ladj, &place);
                    }
                    let [theirs, ours] = [theirs, ours].map(|k| spline.gradient(k, x, dy[0], dl));
                    ledger.check("vjp.x", at(&vjp)[0], theirs.x, &place);
                    ledger.check("vjp.x", dx[0], ours.x, &place);
                    vjp_sum.exchange(&theirs, &ours);
                }
            }

            // Inverse, and the gradient of the mean negative log likelihood.
            let (back, ladj) = block.run(at(&v), true);
            let du: Vec<f64> = back.iter().map(|u| u / n).collect();
            let (dv, dtheta) = block.inverse_gradient(at(&v), &back, &du, -1.0 / n);
            nll_sum.add(&dtheta);
            let mut term = back.iter().map(|u| 0.5 * u * u).sum::<f64>() - ladj;
            match other_bin(block, 1, at(&v)[0], back[0]) {
                None => {
                    ledger.check_all("u", &back, at(&u), &place);
                    ledger.check("ildj", ladj, ildj[one], &place);
                    ledger.check_all("nllgrad.v", &dv, at(&nll_grad), &place);
                }
                Some((spline, theirs, ours)) => {
                    let u = at(&u)[0];
                    ledger.check("y and u in the slack", back[0], u, &place);
                    for (k, u, ladj) in [(theirs, u, ildj[one]), (ours, back[0], ladj)] {
                        let (expected, expected_ladj) = spline.forward(k, u);
                        ledger.check("y", at(&v)[0], expected, &place);
                        ledger.check("ildj", ladj, -expected_ladj, &place);
                    }
                    term = 0.5 * u * u - ildj[one];
                    let [theirs, ours] = [(theirs, u), (ours, back[0])]
                        .map(|(k, u)| spline.inverse_gradient(k, u, u / n, -1.0 / n));
                    ledger.check("nllgrad.v", at(&nll_grad)[0], theirs.x, &place);
                    ledger.check("nllgrad.v", dv[0], ours.x, &place);
                    nll_sum.exchange(&theirs, &ours);
                }
            }
            *nll += term;
        }
        let mut i = 0;
        for (name, range) in &block.parameters {
            let [vjp, nll] =
                ["vjp", "nllgrad"].map(|what| golden.tensor(&format!("{what}.param.{name}")));
            for at in range.clone() {
                let place = format!("{} {name} {at}", golden.id());
                ledger.check_sum("vjp.param", &vjp_sum, i, vjp[at], &place);
                ledger.check_sum("nllgrad.param", &nll_sum, i, nll[at], &place);
                i += 1;
            }
        }
    }
    ledger.check_all("nll", &nll, &golden.tensor("nll"), golden.id());
}

/// Pyro's bin and ours, where they differ: Pyro's follows from `value` on its axis, ours from `x`
/// and the very knots of the kernel, which may lie a rounding beside Pyro's.
fn other_bin(
    block: &Block<f64>,
    axis: usize,
    value: f64,
    x: f64,
) -> Option<(&Spline, usize, usize)> {
    let spline = block.spline.as_ref().filter(|spline| value.abs() <= spline.bound)?;
    let tables = SplineTables::new(block.layer, block.shape)?;
    let theirs = spline.bin_of_pyro(axis, value);
    let below = tables.numbers(&block.w, 0, 0).iter().filter(|knot| x >= **knot).count();
    let ours = below.saturating_sub(1).min(spline.bins - 1);
    (theirs != ours).then_some((spline, theirs, ours))
}

fn check_f32(golden: &Golden, blocks: &[Block<f32>], ledger: &mut Ledger) {
    let rows = golden.rows();
    let names = ["y", "ldj", "u", "ildj", "nll"];
    let [y, ldj, u, ildj, nll] = names.map(|name| golden.tensor(&format!("ref64.{name}")));
    let (x, v) = (golden.tensor("x"), golden.tensor("v"));
    let dim = x.len() / rows;
    // Rows in which rounding to f32 decides on which side of Pyro's slack a value lies.
    let fuzzy = golden.entry["fuzzy_rows"].as_array();
    let fuzzy = |row: usize| fuzzy.is_some_and(|rows| rows.iter().any(|r| *r == row));
    let mut check = |name: &str, got: f32, expected: f64, row: usize| {
        let theirs = golden.entry["pyro_f32_max_abs_error"][name].as_f64().expect("Pyro's error");
        let allowed = TIMES_PYRO * theirs + 1e-5 * (1.0 + expected.abs());
        let place = || format!("{} row {row} {name}", golden.id());
        ledger.row("f32").compare(f64::from(got), expected, allowed, place);
    };
    for row in (0..rows).filter(|row| !fuzzy(*row)) {
        let mut sum = dim as f32 * HALF_LN_TAU as f32;
        for (b, block) in blocks.iter().enumerate() {
            let (z, ladj) = block.run(block.columns(&x, row, dim), false);
            for (got, expected) in z.iter().zip(block.columns(&y, row, dim)) {
                check("y", *got, *expected, row);
            }
            check("ldj", ladj, ldj[row * blocks.len() + b], row);
            let (back, ladj) = block.run(block.columns(&v, row, dim), true);
            for (got, expected) in back.iter().zip(block.columns(&u, row, dim)) {
                check("u", *got, *expected, row);
                sum += 0.5 * got * got;
            }
            check("ildj", ladj, ildj[row * blocks.len() + b], row);
            sum -= ladj;
        }
        check("nll", sum, nll[row], row);
    }
}

#[test]
fn pyro_agrees() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let folder = env::var_os("FLUXLET_GOLDENS").map_or(own, PathBuf::from);
    let rows = TOLERANCES.into_iter().chain([("f32", 1.0)]);
    let mut ledger = Ledger(rows.map(|(what, by)| (what, Worst::new(what, by))).collect());
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut checked = 0;
    for (path, entry) in cases(&folder) {
        let golden = Golden::read(&path, entry);
        let known = match golden.entry["dtype"].as_str() {
            Some("float64") => blocks(&golden, 0.0).map(|b| check_f64(&golden, &b, &mut ledger)),
            Some("float32") => blocks(&golden, 0.0).map(|b| check_f32(&golden, &b, &mut ledger)),
            other => panic!("{}: type of number {other:?}", golden.id()),
        };
        match known {
            Some(()) => checked += 1,
            None if IMPORTED.contains(&golden.entry["type"].as_str().unwrap_or("?")) => {}
            None => {
                let kind = golden.entry["type"].as_str().unwrap_or("?");
                let dim = &golden.entry["config"]["dim"];
                let kind =
                    if dim.is_null() { kind.to_owned() } else { format!("{kind}, dim {dim}") };
                unknown.entry(kind).or_default().push(golden.id().to_owned());
            }
        }
    }
    println!("{checked} cases of {} agree", folder.display());
    assert!(unknown.is_empty(), "types that are not known here: {unknown:#?}");
}
