//! θ → w and dw → dθ as WGSL, a model a thread.

use core::ops::Range;

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};
use fluxlet_backend::Stack;

use crate::kernel::{COMMON, MAIN};
use crate::script::{self, Script, Written};

/// Numbers side by side that are copied by many threads, where one would do it alone else.
const MANY: usize = 16;

/// Whose parameters they are.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// A layer's.
    Layer(Layer, Shape),
    /// The base's, of D numbers.
    Base(Base, usize),
}

/// Numbers that are the same in θ and in w, or in their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Where they begin in what is read, and in what is written.
    reads: usize,
    writes: usize,
    /// How many.
    len: usize,
}

impl Copies {
    /// As the kernels have them in their table.
    pub(crate) fn entry(self) -> [u32; 3] {
        [self.reads, self.writes, self.len].map(|n| n as u32)
    }
}

/// The way of all parameters of a stack from θ to w, or back.
#[derive(Debug, Default)]
pub(crate) struct Constrain {
    /// What is computed, each text once.
    functions: Vec<String>,
    /// Calls of them: which one, and where its parameters begin in w and in θ.
    calls: Vec<[usize; 3]>,
    /// What is copied.
    pub(crate) copies: Vec<Copies>,
}

impl Constrain {
    /// θ → w, `w` being weights as they are: constants in them stay.
    pub(crate) fn forward(stack: &Stack, w: &[f32]) -> Self {
        let write = |owner, theta: &[Written], before: &[Written]| {
            let mut after = before.to_vec();
            match owner {
                Owner::Layer(layer, shape) => layer.constrain(shape, theta, &mut after),
                Owner::Base(base, dim) => base.constrain(dim, theta, &mut after),
            }
            let pairs = after.iter().zip(before);
            let changed = pairs.map(|(after, before)| (after != before).then_some(*after));
            write("w[wb", changed, theta)
        };
        Self::new(stack, w, write, |theta_at, w_at| (theta_at, w_at))
    }

    /// dw → dθ.
    pub(crate) fn backward(stack: &Stack, w: &[f32]) -> Self {
        let write = |owner, theta: &[Written], own: &[Written]| {
            let dw: Vec<Written> = (0..own.len()).map(script::weight_gradient).collect();
            let mut dtheta = vec![script::zero(); theta.len()];
            match owner {
                Owner::Layer(layer, shape) => {
                    layer.constrain_backward(shape, theta, own, &dw, &mut dtheta);
                }
                Owner::Base(base, dim) => {
                    base.constrain_backward(dim, theta, own, &dw, &mut dtheta);
                }
            }
            write("s[db", dtheta.into_iter().map(Some), &dw)
        };
        Self::new(stack, w, write, |theta_at, w_at| (w_at, theta_at))
    }

    /// Lets each owner `write`, given its θ and w, what is computed, and say what is copied; `ends` puts where
    /// its θ and w begin in the order of what is read and what is written.
    fn new(
        stack: &Stack,
        w: &[f32],
        write: impl Fn(Owner, &[Written], &[Written]) -> Vec<Copies>,
        ends: impl Fn(usize, usize) -> (usize, usize),
    ) -> Self {
        let mut way = Self::default();
        for (owner, theta_at, w_at) in owners(stack) {
            let mut copies = Vec::new();
            let script = script::script(&w[w_at.clone()], || {
                let theta: Vec<Written> = (0..theta_at.len()).map(script::theta).collect();
                let own: Vec<Written> = (0..w_at.len()).map(script::weight).collect();
                copies = write(owner, &theta, &own);
            });
            way.push(&script, w_at.start, theta_at.start);
            let (from, to) = ends(theta_at.start, w_at.start);
            way.copies.extend(copies.into_iter().map(|Copies { reads, writes, len }| Copies {
                reads: from + reads,
                writes: to + writes,
                len,
            }));
        }
        way
    }

    fn push(&mut self, script: &Script, w_at: usize, theta_at: usize) {
        // Nothing of it is a product.
        let body = script.stages().remove(0).text;
        if body.is_empty() {
            return;
        }
        let known = self.functions.iter().position(|function| *function == body);
        let function = known.unwrap_or_else(|| {
            self.functions.push(body);
            self.functions.len() - 1
        });
        self.calls.push([function, w_at, theta_at]);
    }

    /// What is computed, as the kernel has it in its table: which function, and where the parameters of
    /// its owner begin in w and in θ.
    pub(crate) fn calls(&self) -> impl ExactSizeIterator<Item = [u32; 3]> {
        self.calls.iter().map(|call| call.map(|n| n as u32))
    }

    /// The most numbers that are copied side by side.
    pub(crate) fn most_copied(&self) -> usize {
        self.copies.iter().map(|copies| copies.len).max().unwrap_or(0)
    }

    /// The module that computes, a model a thread and an owner a workgroup.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(COMMON);
        for (i, body) in self.functions.iter().enumerate() {
            text += &format!("\nfn function_{i}(wb: u32, tb: u32, db: u32) {{\n{body}}}\n");
        }
        text += &format!(
            "
@compute @workgroup_size(64)
fn {MAIN}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {{
    let model = GROUP * group.x + lane;
    if (model >= p.models) {{ return; }}
    let call = p.table_at + 3u * group.y;
    let wb = model * p.w_len + table[call + 1u];
    let tb = p.theta + model * p.theta_len + table[call + 2u];
    let db = p.dtheta + model * p.theta_len + table[call + 2u];
    switch (table[call]) {{
"
        );
        for i in 0..self.functions.len() {
            text += &format!("        case {i}u: {{ function_{i}(wb, tb, db); }}\n");
        }
        text + "        default: {}\n    }\n}\n"
    }
}

/// The layers and the base, and where their parameters stand in θ and in w.
fn owners(stack: &Stack) -> impl Iterator<Item = (Owner, Range<usize>, Range<usize>)> {
    let (theta, weights) = stack.base_spans();
    stack
        .spans()
        .map(|span| (Owner::Layer(span.layer, span.shape), span.theta, span.weights))
        .chain([(Owner::Base(stack.base, stack.dim), theta, weights)])
}

/// Stores `values` at `place`, but many side by side that are `sources` side by side as they are.
fn write(
    place: &str,
    values: impl Iterator<Item = Option<Written>>,
    sources: &[Written],
) -> Vec<Copies> {
    let values: Vec<Option<Written>> = values.collect();
    let position = |value: Written| sources.iter().position(|source| *source == value);
    let (mut copies, mut at) = (Vec::new(), 0);
    while at < values.len() {
        let Some(value) = values[at] else {
            at += 1;
            continue;
        };
        let same = |first: usize| {
            let pairs = values[at..].iter().zip(&sources[first..]);
            pairs.take_while(|(value, source)| **value == Some(**source)).count()
        };
        match position(value).map(|first| (first, same(first))) {
            Some((reads, len)) if len >= MANY => {
                copies.push(Copies { reads, writes: at, len });
                at += len;
            }
            _ => {
                script::store(&format!("{place} + {at}u]"), value);
                at += 1;
            }
        }
    }
    copies
}
