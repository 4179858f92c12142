//! Forward, likelihood and backward on the CPU: the core's kernels over [`Lanes`], on all threads.
//!
//! A batch is cut into chunks of 64 rows whatever the number of threads, and the chunks' sums are
//! added in their order, so that the thread count never shows in the result. Between layers only
//! the D numbers of a row are kept; the inside of a layer is computed again on the way back.

use fearless_simd::{Level, Simd, f32x16, prelude::*};
use fluxlet::bijection::{Bijection, Shape, Visitor};
use fluxlet::weights::Shared;
use rayon::prelude::*;

use super::Backend;
use super::lanes::{LANES, Lanes};
use crate::stack::{Span, Stack};

/// Rows of a chunk.
const CHUNK: usize = 4 * LANES;

/// The CPU, on the threads of rayon's current pool.
pub struct Cpu;

impl Backend for Cpu {
    fn nll_and_grad(&self, stack: &Stack, w: &[f32], rows: &[f32], dw: &mut [f64]) -> f64 {
        let chunks: Vec<(f64, Vec<f32>)> = rows
            .par_chunks(CHUNK * stack.row_len())
            .map(|rows| {
                let mut dw = vec![0.0; w.len()];
                (run_chunk(stack, w, rows, Some(&mut dw)), dw)
            })
            .collect();
        chunks.iter().fold(0.0, |sum, (nll, chunk)| {
            for (total, part) in dw.iter_mut().zip(chunk) {
                *total += f64::from(*part);
            }
            sum + nll
        })
    }

    fn nll(&self, stack: &Stack, w: &[f32], rows: &[f32]) -> f64 {
        let chunks: Vec<f64> = rows
            .par_chunks(CHUNK * stack.row_len())
            .map(|rows| run_chunk(stack, w, rows, None))
            .collect();
        chunks.iter().sum()
    }
}

/// Σ −log p of at most [`CHUNK`] rows; with `dw`, its gradient too.
fn run_chunk(stack: &Stack, w: &[f32], rows: &[f32], dw: Option<&mut [f32]>) -> f64 {
    let simd = Level::new().as_avx2().expect("a processor with AVX2");
    simd.vectorize(#[inline(always)] || chunk(simd, stack, w, rows, dw))
}

#[inline(always)]
fn chunk<S: Simd>(simd: S, stack: &Stack, w: &[f32], rows: &[f32], dw: Option<&mut [f32]>) -> f64 {
    let (dim, row_len) = (stack.dim, stack.row_len());
    let spans: Vec<Span> = stack.spans().collect();
    let (_, base_weights) = stack.base_spans();
    let scratch_of =
        |s: &Span| s.layer.scratch_len(s.shape).max(s.layer.backward_scratch_len(s.shape));
    let scratch_len = spans.iter().map(scratch_of).max().unwrap_or(0);
    let scratch_len = scratch_len.max(stack.base.backward_scratch_len(dim));
    let zero = Lanes::splat(simd, 0.0);
    let mut scratch = vec![zero; scratch_len];
    // The D numbers of each row before every layer, and behind the last; each with the context
    // behind it.
    let mut tape = vec![zero; (spans.len() + 1) * row_len];
    let mut lane_dw = vec![zero; if dw.is_some() { w.len() } else { 0 }];
    let mut nll = 0.0;

    for rows in rows.chunks(LANES * row_len) {
        let count = rows.len() / row_len;
        load(rows, &mut tape[..row_len]);
        let mut ladj = zero;
        for (l, span) in spans.iter().enumerate() {
            let (before, after) = tape[l * row_len..].split_at_mut(row_len);
            let after = &mut after[..row_len];
            after.copy_from_slice(before);
            let forward = Forward {
                shape: span.shape,
                w: Shared(&w[span.weights.clone()]),
                x: &mut after[..dim + span.shape.context],
                scratch: &mut scratch,
            };
            ladj = ladj + span.layer.visit(forward);
        }
        let z = &mut tape[spans.len() * row_len..][..dim];
        let w_base = Shared(&w[base_weights.clone()]);
        let log_prob = (ladj + stack.base.log_prob(w_base, z, &mut scratch)).0.to_array();
        // Lanes behind the last row repeat it and count nothing.
        nll -= log_prob[..count].iter().map(|v| f64::from(*v)).sum::<f64>();

        if dw.is_none() {
            continue;
        }
        let share = f32x16::from_fn(simd, |lane| if lane < count { -1.0 } else { 0.0 });
        let share = Lanes(share);
        stack.base.backward(w_base, z, share, &mut lane_dw[base_weights.clone()], &mut scratch);
        for (l, span) in spans.iter().enumerate().rev() {
            let (x, dz) = tape[l * row_len..].split_at_mut(row_len);
            let seen = dim + span.shape.context;
            span.layer.visit(Backward {
                shape: span.shape,
                w: Shared(&w[span.weights.clone()]),
                x: &mut x[..seen],
                dz: &mut dz[..seen],
                dladj: share,
                dw: &mut lane_dw[span.weights.clone()],
                scratch: &mut scratch,
            });
            x[..dim].copy_from_slice(&dz[..dim]);
        }
    }
    if let Some(dw) = dw {
        for (dw, lanes) in dw.iter_mut().zip(&lane_dw) {
            *dw = lanes.total();
        }
    }
    nll
}

/// A layer's forward pass as a function of its own: compiled together, all layers would take minutes.
struct Forward<'a, S: Simd> {
    shape: Shape,
    w: Shared<'a>,
    x: &'a mut [Lanes<S>],
    scratch: &'a mut [Lanes<S>],
}

impl<S: Simd> Visitor for Forward<'_, S> {
    type Output = Lanes<S>;

    #[inline(never)]
    fn visit<B: Bijection>(self) -> Lanes<S> {
        let simd = self.x[0].0.simd;
        simd.vectorize(
            #[inline(always)]
            || B::forward(self.shape, self.w, self.x, self.scratch),
        )
    }
}

/// Likewise backward.
struct Backward<'a, S: Simd> {
    shape: Shape,
    w: Shared<'a>,
    x: &'a mut [Lanes<S>],
    dz: &'a mut [Lanes<S>],
    dladj: Lanes<S>,
    dw: &'a mut [Lanes<S>],
    scratch: &'a mut [Lanes<S>],
}

impl<S: Simd> Visitor for Backward<'_, S> {
    type Output = ();

    #[inline(never)]
    fn visit<B: Bijection>(self) {
        let Self { shape, w, x, dz, dladj, dw, scratch } = self;
        let simd = dladj.0.simd;
        simd.vectorize(
            #[inline(always)]
            || B::backward(shape, w, x, dz, dladj, dw, scratch),
        );
    }
}

/// Rows \[≤ 16, D + C\] into D + C vectors of one lane a row; the last row fills the lanes that are left.
#[inline(always)]
fn load<S: Simd>(rows: &[f32], x: &mut [Lanes<S>]) {
    let dim = x.len();
    let last = rows.len() / dim - 1;
    for (i, x) in x.iter_mut().enumerate() {
        x.0 = f32x16::from_fn(x.0.simd, |lane| rows[lane.min(last) * dim + i]);
    }
}
