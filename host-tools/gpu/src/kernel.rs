//! A layer as WGSL: what a GPU does with each row, and which sums over the rows follow.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fluxlet::Base;
use fluxlet::bijection::{Bijection, Layer, Shape, Visitor};

use crate::memory::{Share, Stored, Sums};
use crate::script::{self, Script, Stage, Written};

pub(crate) const COMMON: &str = include_str!("common.wgsl");
/// The kernels that are the same for every flow.
pub(crate) const ROWS: [&str; 2] = [COMMON, include_str!("rows.wgsl")];
/// The products of networks.
pub(crate) const PRODUCT: [&str; 2] = [COMMON, include_str!("product.wgsl")];
/// The kernels that take a step.
pub(crate) const MODELS: [&str; 2] = [COMMON, include_str!("models.wgsl")];
/// The entry point of a layer's kernels.
pub(crate) const MAIN: &str = "main";

/// Which way rows go through a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// x → z; adds to the log densities.
    Forward,
    /// z → x.
    Inverse,
    /// dz → dx, and what of it is summed.
    Backward,
}

/// One way through one layer, or through the base.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What follows each other, each text a whole module.
    pub(crate) stages: Vec<Stage>,
    /// What is summed over the rows.
    pub(crate) shares: Vec<Share>,
    /// Numbers that a row keeps for it.
    pub(crate) columns: usize,
    /// Weights that stand in the text as positions, by their bits.
    pub(crate) positions: BTreeMap<usize, u32>,
}

impl Kernel {
    fn new(script: &Script, shares: Vec<Share>) -> Self {
        let mut stages = script.stages();
        for stage in stages.iter_mut().filter(|stage| !stage.text.is_empty()) {
            stage.text = format!(
                "{COMMON}
@compute @workgroup_size(64)
fn {MAIN}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {{
    let number = GROUP * group.x + lane;
    if (number >= p.per_model) {{ return; }}
    let row = group.y * p.per_model + number;
    let wb = group.y * p.w_len + p.w_at;
{}}}
",
                stage.text
            );
        }
        Self { stages, shares, columns: script.columns, positions: script.positions.clone() }
    }

    /// A layer whose weights are `w`.
    pub(crate) fn of_layer(layer: Layer, shape: Shape, w: &[f32], way: Way) -> Self {
        let shares = RefCell::default();
        let script = script::script(w, || layer.visit(Row { shape, way, shares: &shares }));
        Self::new(&script, shares.into_inner())
    }

    /// The base of `dim` numbers: the end of the way forward, or the begin of the way back.
    pub(crate) fn of_base(base: Base, dim: usize, w: &[f32], way: Way) -> Self {
        let shares = RefCell::default();
        let script = script::script(w, || {
            let (mut z, w) = (columns("reads", dim), Stored::new(base.weight_len(dim)));
            if way == Way::Backward {
                let scratch = &mut scratch(base.backward_scratch_len(dim));
                base.backward(w, &mut z, share(), Sums::new(&shares), scratch);
                store_columns("gradient", &z);
            } else {
                let scratch = &mut scratch(base.scratch_len());
                add_log_prob(base.log_prob(w, &z, scratch));
            }
        });
        Self::new(&script, shares.into_inner())
    }

    /// Whether it is still the kernel of weights `w`.
    pub(crate) fn fits(&self, w: &[f32]) -> bool {
        self.positions.iter().all(|(i, bits)| w[*i].to_bits() == *bits)
    }
}

/// A row's way through the layer of a type.
struct Row<'s> {
    shape: Shape,
    way: Way,
    shares: &'s RefCell<Vec<Share>>,
}

impl Visitor for Row<'_> {
    type Output = ();

    fn visit<B: Bijection>(self) {
        let Self { shape, way, shares } = self;
        let w = Stored::new(B::weight_len(shape));
        let mut x = columns("reads", shape.dim);
        x.extend(columns("context", shape.context));
        let scratch = &mut scratch(match way {
            Way::Backward => B::backward_scratch_len(shape),
            Way::Forward | Way::Inverse => B::scratch_len(shape),
        });
        match way {
            Way::Forward => {
                let ladj = B::forward(shape, w, &mut x, scratch);
                store_columns("writes", &x[..shape.dim]);
                add_log_prob(ladj);
            }
            Way::Inverse => {
                B::inverse(shape, w, &mut x, scratch);
                store_columns("writes", &x[..shape.dim]);
            }
            Way::Backward => {
                let mut dz = columns("gradient", shape.dim);
                dz.resize(x.len(), script::zero());
                let dw = Sums::new(shares);
                B::backward(shape, w, &mut x, &mut dz, share(), dw, scratch);
                store_columns("gradient", &dz[..shape.dim]);
            }
        }
    }
}

/// What a row's log density counts in the sum that is minimised.
fn share() -> Written {
    script::expression(column("share", 0))
}

fn scratch(len: usize) -> Vec<Written> {
    vec![script::zero(); len]
}

/// Column `i` from the one on that the call names.
fn column(first: &str, i: usize) -> String {
    format!("x[(p.{first} + {i}u) * p.rows + row]")
}

fn columns(first: &str, len: usize) -> Vec<Written> {
    (0..len).map(|i| script::expression(column(first, i))).collect()
}

fn store_columns(first: &str, values: &[Written]) {
    for (i, value) in values.iter().enumerate() {
        script::store(&column(first, i), *value);
    }
}

fn add_log_prob(ladj: Written) {
    let column = column("log_prob", 0);
    let before = script::expression(format!("select({column}, 0.0, p.begins == 1u)"));
    script::store(&column, before + ladj);
}
