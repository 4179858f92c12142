//! θ → w and dw → dθ in a step.
//!
//! All numbers are kept in f32. The weights of a network are free and only move from one place to another;
//! whatever is computed of θ beside them is computed in f64, a layer at a time. Layers are shared
//! among the threads.

use core::ops::Range;

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};
use rayon::prelude::*;

use crate::stack::Stack;

/// Whose parameters they are.
enum Owner {
    Layer(Layer, Shape),
    Base(Base, usize),
}

/// Where they stand in θ and in w.
struct Part {
    owner: Owner,
    theta: Range<usize>,
    weights: Range<usize>,
}

/// The layers, then the base.
fn parts(stack: &Stack) -> impl Iterator<Item = Part> {
    let layers = stack.spans().map(|span| Part {
        owner: Owner::Layer(span.layer, span.shape),
        theta: span.theta,
        weights: span.weights,
    });
    let (theta, weights) = stack.base_spans();
    layers.chain([Part { owner: Owner::Base(stack.base, stack.dim), theta, weights }])
}

/// θ → w; constants in `w` stay.
pub(super) fn constrain(stack: &Stack, theta: &[f32], mut w: &mut [f32]) {
    let own = |part: Part| (w.split_off_mut(..part.weights.len()).unwrap_or_default(), part);
    let parts: Vec<(&mut [f32], Part)> = parts(stack).map(own).collect();
    parts.into_par_iter().for_each(|(w, part)| {
        let theta = &theta[part.theta];
        match part.owner {
            Owner::Layer(layer, shape) if layer.is_conditioned() => {
                layer.constrain(shape, theta, w)
            }
            owner => {
                let mut exact = wide(w);
                match owner {
                    Owner::Layer(layer, shape) => layer.constrain(shape, &wide(theta), &mut exact),
                    Owner::Base(base, dim) => base.constrain(dim, &wide(theta), &mut exact),
                }
                round(&exact, w);
            }
        }
    });
}

/// dw → dθ, which is then in the first numbers of `dw`: no layer has more parameters than weights.
pub(super) fn constrain_backward<'d>(
    stack: &Stack,
    theta: &[f32],
    w: &[f32],
    dw: &'d mut [f32],
) -> &'d [f32] {
    let mut rest = &mut *dw;
    let own = |part: Part| (rest.split_off_mut(..part.weights.len()).unwrap_or_default(), part);
    let all: Vec<(&mut [f32], Part)> = parts(stack).map(own).collect();
    all.into_par_iter().for_each(|(dw, Part { owner, theta: t, weights })| {
        let (theta, w) = (&theta[t], &w[weights]);
        let len = theta.len();
        match owner {
            Owner::Layer(layer, shape) if layer.is_conditioned() => {
                let mut dtheta = vec![0.0; len];
                layer.constrain_backward(shape, theta, w, dw, &mut dtheta);
                dw[..len].copy_from_slice(&dtheta);
            }
            owner => {
                let (theta, w, exact, mut dtheta) =
                    (wide(theta), wide(w), wide(dw), vec![0.0; len]);
                match owner {
                    Owner::Layer(layer, shape) => {
                        layer.constrain_backward(shape, &theta, &w, &exact, &mut dtheta);
                    }
                    Owner::Base(base, dim) => {
                        base.constrain_backward(dim, &theta, &w, &exact, &mut dtheta);
                    }
                }
                round(&dtheta, &mut dw[..len]);
            }
        }
    });
    for Part { theta, weights, .. } in parts(stack) {
        dw.copy_within(weights.start..weights.start + theta.len(), theta.start);
    }
    &dw[..stack.theta_len()]
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}

fn round(exact: &[f64], numbers: &mut [f32]) {
    numbers.iter_mut().zip(exact).for_each(|(x, exact)| *x = *exact as f32);
}
