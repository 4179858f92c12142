//! θ → w and dw → dθ as WGSL, a model a thread.

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};

use crate::kernel::{COMMON, MAIN};
use crate::script::{self, Script, Written};

/// Numbers side by side that are copied by many threads, where one would do it alone else.
const MANY: usize = 16;

/// Whose parameters they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    /// A layer's.
    Layer(Layer, Shape),
    /// The base's, of D numbers.
    Base(Base, usize),
}

/// Numbers that are the same in θ and in w, or in their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Where they begin in what is read, and in what is written.
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    /// How many.
    pub(crate) len: usize,
}

/// One owner's way from θ to w, or back.
#[derive(Debug)]
pub(crate) struct Constrain {
    /// The module of what is computed; none where nothing is.
    pub(crate) text: Option<String>,
    /// What is copied.
    pub(crate) copies: Vec<Copies>,
}

impl Constrain {
    /// θ → w, `w` being weights as they are: constants in them stay.
    pub(crate) fn forward(owner: Owner, theta_len: usize, w: &[f32]) -> Self {
        let mut copies = Vec::new();
        let script = script::script(w, || {
            let theta: Vec<Written> = (0..theta_len).map(script::theta).collect();
            let before: Vec<Written> = (0..w.len()).map(script::weight).collect();
            let mut after = before.clone();
            match owner {
                Owner::Layer(layer, shape) => layer.constrain(shape, &theta, &mut after),
                Owner::Base(base, dim) => base.constrain(dim, &theta, &mut after),
            }
            let changed = after
                .iter()
                .zip(&before)
                .map(|(after, before)| (after != before).then_some(*after));
            copies = write("w[wb", changed, &theta);
        });
        Self::new(&script, copies)
    }

    /// dw → dθ.
    pub(crate) fn backward(owner: Owner, theta_len: usize, w: &[f32]) -> Self {
        let mut copies = Vec::new();
        let script = script::script(w, || {
            let theta: Vec<Written> = (0..theta_len).map(script::theta).collect();
            let own: Vec<Written> = (0..w.len()).map(script::weight).collect();
            let dw: Vec<Written> = (0..w.len()).map(script::weight_gradient).collect();
            let mut dtheta = vec![script::zero(); theta_len];
            match owner {
                Owner::Layer(layer, shape) => {
                    layer.constrain_backward(shape, &theta, &own, &dw, &mut dtheta);
                }
                Owner::Base(base, dim) => {
                    base.constrain_backward(dim, &theta, &own, &dw, &mut dtheta);
                }
            }
            copies = write("s[db", dtheta.iter().copied().map(Some), &dw);
        });
        Self::new(&script, copies)
    }

    fn new(script: &Script, copies: Vec<Copies>) -> Self {
        let body = script.text();
        let text = (!body.is_empty()).then(|| {
            format!(
                "{COMMON}
@compute @workgroup_size(64)
fn {MAIN}(@builtin(global_invocation_id) id: vec3<u32>) {{
    let model = id.x;
    if (model >= p.models) {{ return; }}
    let wb = model * p.w_len + p.w_at;
    let tb = p.theta + model * p.theta_len + p.theta_at;
    let db = p.dtheta + model * p.theta_len + p.theta_at;
{body}}}
"
            )
        });
        Self { text, copies }
    }
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
