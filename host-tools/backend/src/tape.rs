//! A tile of rows on its way through the flow, forward and back.

use core::ops::Range;

use fearless_simd::{Simd, f32x16, prelude::*};

use self::passes::{Backward, Forward, Inverse};
use crate::bins::Bins;
use crate::lanes::{LANES, Lanes};
use crate::ordered;
use crate::outer::Outer;
use crate::shared::{Shared, Sums};
use crate::stack::{Span, Stack};

mod passes;

/// Most groups of sixteen rows in a tile: a layer's weights are read from the second cache once for
/// all.
const GROUPS: usize = 4;
/// Most rows of a tile.
pub(super) const TILE: usize = GROUPS * LANES;
/// Numbers that the layers may keep of a tile: 3/4 MiB, most of a second cache.
const KEPT: usize = 3 << 16;

/// What of the way forward is kept for the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// There is none.
    Nothing,
    /// Of one layer at a time; its input is found again by its inverse.
    Layer,
    /// Of all layers.
    All,
}

/// Memory of a [`Tape`].
pub(super) struct Buffers<S: Simd> {
    /// \[levels, groups, D + C\]. Where all is kept, the rows before every layer and behind the last;
    /// where one layer is, its input, its gradient, and a copy to work on; else the rows.
    x: Vec<Lanes<S>>,
    /// What each layer keeps, \[layers, groups, its own\], or the one layer.
    kept: Vec<Lanes<S>>,
    scratch: Vec<Lanes<S>>,
    outer: Outer<S>,
    bins: Bins<S>,
    /// The gradient of one tile and layer, beside that of its network.
    sums: Vec<f32>,
}

impl<S: Simd> Default for Buffers<S> {
    fn default() -> Self {
        let (x, kept, scratch) = (Vec::new(), Vec::new(), Vec::new());
        let (outer, bins) = (Outer::default(), Bins::default());
        Self { x, kept, scratch, outer, bins, sums: Vec::new() }
    }
}

/// Where a tile goes through the flow.
pub(super) struct Tape<'s, S: Simd> {
    simd: S,
    stack: &'s Stack,
    w: &'s [f32],
    spans: Vec<Span>,
    keep: Keep,
    /// Groups of a tile.
    groups: usize,
    pub(super) buffers: Buffers<S>,
}

impl<'s, S: Simd> Tape<'s, S> {
    pub(super) fn new(
        simd: S,
        stack: &'s Stack,
        w: &'s [f32],
        keep: Keep,
        buffers: Buffers<S>,
    ) -> Self {
        let spans: Vec<Span> = stack.spans().collect();
        let of_layer = |s: &Span| {
            let (forward, backward) =
                (s.layer.scratch_len(s.shape), s.layer.backward_scratch_len(s.shape));
            if keep == Keep::Nothing { forward } else { forward.max(backward) }
        };
        let scratch = spans.iter().map(of_layer).max().unwrap_or(0);
        let scratch = scratch.max(stack.base.backward_scratch_len(stack.dim));
        let levels = match keep {
            Keep::Nothing => 1,
            Keep::Layer => 3,
            Keep::All => spans.len() + 1,
        };
        let (kept, groups) = (kept_len(stack, keep), tile_rows(stack, keep) / LANES);
        let mut tape = Self { simd, stack, w, spans, keep, groups, buffers };
        let Buffers { x, kept: kept_buffer, scratch: scratch_buffer, .. } = &mut tape.buffers;
        let zero = Lanes::splat(simd, 0.0);
        x.resize(levels * groups * stack.row_len(), zero);
        kept_buffer.resize(groups * kept, zero);
        scratch_buffer.resize(scratch, zero);
        tape
    }

    /// Log densities of `rows` \[n, D + C\], one each in `out`.
    pub(super) fn log_prob(&mut self, rows: &[f32], out: &mut [f32]) {
        let width = self.stack.row_len();
        let tile = self.groups * LANES;
        for (rows, out) in rows.chunks(tile * width).zip(out.chunks_mut(tile)) {
            let mut log_prob = self.forward(rows);
            self.base_forward(out.len(), &mut log_prob);
            for (out, log_prob) in out.chunks_mut(LANES).zip(log_prob) {
                out.copy_from_slice(&log_prob.0.to_array()[..out.len()]);
            }
        }
    }

    /// Σ −log p of `rows` \[n, D + C\]; adds its gradient to `dw`, or writes it there if it is the `first`.
    /// Nothing where a row that was found again is off by more than `drift` \[D\].
    ///
    /// Each number of `dw` is added to once a tile.
    pub(super) fn nll_and_grad(
        &mut self,
        rows: &[f32],
        drift: &[f32],
        first: bool,
        dw: &mut [f32],
    ) -> Option<f64> {
        let width = self.stack.row_len();
        let mut nll = 0.0;
        for (tile, rows) in rows.chunks(self.groups * LANES * width).enumerate() {
            let (first, count) = (first && tile == 0, rows.len() / width);
            let mut log_prob = self.forward(rows);
            let share = self.base_backward(count, first, &mut log_prob, dw);
            let each = log_prob.iter().flat_map(|log_prob| log_prob.0.to_array());
            nll -= each.take(count).map(f64::from).sum::<f64>();
            if self.keep == Keep::All {
                self.backward(count, first, share, dw);
            } else {
                self.backward_by_inverses(count, first, share, dw);
                if !self.has_found(rows, drift) {
                    return None;
                }
            }
        }
        Some(nll)
    }

    /// Takes at most a tile of rows through the layers; their ladj, sixteen in each.
    fn forward(&mut self, rows: &[f32]) -> [Lanes<S>; GROUPS] {
        let Self { simd, stack, w, spans, keep, groups: most, buffers } = self;
        let Buffers { x, kept, scratch, .. } = buffers;
        let (width, zero) = (stack.row_len(), Lanes::splat(*simd, 0.0));
        let groups = rows.len().div_ceil(LANES * width);
        let level = *most * width;
        for (rows, x) in rows.chunks(LANES * width).zip(x.chunks_exact_mut(width)) {
            load(rows, x);
        }
        let mut ladj = [zero; GROUPS];
        let mut kept = &mut kept[..];
        for (l, span) in spans.iter().enumerate() {
            let mut from = 0;
            let mut own = &mut *kept;
            let keep = *keep == Keep::All;
            if keep {
                (own, kept) = kept.split_at_mut(*most * span.layer.kept_len(span.shape));
                x.copy_within(l * level..(l + 1) * level, (l + 1) * level);
                from = (l + 1) * level;
            }
            span.layer.visit(Forward {
                shape: span.shape,
                w: Shared(&w[span.weights.clone()]),
                x: &mut x[from..from + groups * width],
                width,
                ladj: &mut ladj,
                keep,
                kept: own,
                scratch,
            });
        }
        ladj
    }

    /// Adds the log density of z to `ladj`, both as the last call of [`Self::forward`] left them of `count`
    /// rows, where nothing is kept.
    fn base_forward(&mut self, count: usize, ladj: &mut [Lanes<S>; GROUPS]) {
        let Self { simd, stack, w, buffers, .. } = self;
        let Buffers { x, scratch, .. } = buffers;
        let (_, base) = stack.base_spans();
        let w = Shared(&w[base]);
        simd.vectorize(
            #[inline(always)]
            || {
                let z = x.chunks_exact(stack.row_len()).take(count.div_ceil(LANES));
                for (z, ladj) in z.zip(ladj) {
                    *ladj = *ladj + stack.base.log_prob(w, &z[..stack.dim], scratch);
                }
            },
        );
    }

    /// Turns z, as the last call of [`Self::forward`] left it of `count` rows, into its gradient, and adds
    /// its log density to their `ladj`; what each row counts.
    fn base_backward(
        &mut self,
        count: usize,
        first: bool,
        ladj: &mut [Lanes<S>; GROUPS],
        dw: &mut [f32],
    ) -> [Lanes<S>; GROUPS] {
        let Self { simd, stack, w, spans, keep, groups: most, buffers } = self;
        let Buffers { x, scratch, outer, bins, sums, .. } = buffers;
        let (dim, width) = (stack.dim, stack.row_len());
        let groups = count.div_ceil(LANES);
        let level = *most * width;
        // Lanes behind the last row repeat it and count nothing.
        let mut share = [Lanes::splat(*simd, -1.0); GROUPS];
        for (g, share) in share.iter_mut().enumerate().take(groups) {
            for lane in 0..LANES {
                if g * LANES + lane >= count {
                    share.0[lane] = 0.0;
                }
            }
        }
        let at = if *keep == Keep::All {
            spans.len() * level
        } else {
            x.copy_within(..level, level);
            level
        };
        let z = &mut x[at..][..groups * width];
        let (_, base) = stack.base_spans();
        let (w, dw) = (Shared(&w[base.clone()]), part(dw, base, first));
        let sums = zeros(sums, dw.len());
        simd.vectorize(
            #[inline(always)]
            || {
                for ((z, share), ladj) in z.chunks_exact_mut(width).zip(share).zip(ladj) {
                    let (sums, network, simd) = (&mut *sums, &mut [][..], *simd);
                    let dw = Sums { simd, sums, network, outer: &mut *outer, bins: &mut *bins };
                    *ladj = *ladj + stack.base.backward(w, &mut z[..dim], share, dw, scratch);
                }
                ordered::add(dw, sums);
            },
        );
        share
    }

    /// Back through the layers from what all of them kept of `count` rows.
    fn backward(&mut self, count: usize, first: bool, share: [Lanes<S>; GROUPS], dw: &mut [f32]) {
        let Self { stack, w, spans, groups, buffers, .. } = self;
        let Buffers { x, kept, scratch, outer, bins, sums } = buffers;
        let (dim, width) = (stack.dim, stack.row_len());
        let len = count.div_ceil(LANES) * width;
        let level = *groups * width;
        let mut kept = &mut kept[..];
        for (l, span) in spans.iter().enumerate().rev() {
            let own;
            let own_len = *groups * span.layer.kept_len(span.shape);
            (kept, own) = kept.split_at_mut(kept.len() - own_len);
            let (x, dz) = x[l * level..].split_at_mut(level);
            let (x, dz) = (&mut x[..len], &mut dz[..len]);
            span.layer.visit(Backward {
                shape: span.shape,
                w: Shared(&w[span.weights.clone()]),
                x,
                dz,
                width,
                dladj: &share,
                dw: part(dw, span.weights.clone(), first),
                kept: own,
                scratch,
                outer,
                bins,
                sums,
            });
            for (x, dz) in x.chunks_exact_mut(width).zip(dz.chunks_exact(width)) {
                x[..dim].copy_from_slice(&dz[..dim]);
            }
        }
    }

    /// Back through the layers, each of which finds its input again and then goes forward once more, to
    /// keep what its way back needs.
    fn backward_by_inverses(
        &mut self,
        count: usize,
        first: bool,
        share: [Lanes<S>; GROUPS],
        dw: &mut [f32],
    ) {
        let Self { simd, stack, w, spans, groups, buffers, .. } = self;
        let Buffers { x, kept, scratch, outer, bins, sums } = buffers;
        let width = stack.row_len();
        let (len, level) = (count.div_ceil(LANES) * width, *groups * width);
        let (x, rest) = x.split_at_mut(level);
        let (dz, copy) = rest.split_at_mut(level);
        let (x, dz, copy) = (&mut x[..len], &mut dz[..len], &mut copy[..len]);
        for span in spans.iter().rev() {
            let (shape, width) = (span.shape, width);
            let w = Shared(&w[span.weights.clone()]);
            span.layer.visit(Inverse { shape, w, x, width, scratch });
            copy.copy_from_slice(x);
            let ladj = &mut [Lanes::splat(*simd, 0.0); GROUPS];
            span.layer.visit(Forward { shape, w, x: copy, width, ladj, keep: true, kept, scratch });
            copy.copy_from_slice(x);
            span.layer.visit(Backward {
                shape,
                w,
                x: copy,
                dz,
                width,
                dladj: &share,
                dw: part(dw, span.weights.clone(), first),
                kept,
                scratch,
                outer,
                bins,
                sums,
            });
        }
    }

    /// Whether [`Self::backward_by_inverses`] came back to `rows`, each number to within `drift` \[D\].
    fn has_found(&self, rows: &[f32], drift: &[f32]) -> bool {
        let width = self.stack.row_len();
        let groups = rows.chunks(LANES * width).zip(self.buffers.x.chunks_exact(width));
        groups.into_iter().all(|(rows, x)| {
            drift.iter().zip(x).enumerate().all(|(i, (drift, x))| {
                let column = rows[i..].iter().step_by(width);
                // A NaN is found nowhere.
                column.zip(x.0.to_array()).all(|(row, x)| (x - row).abs() <= *drift)
            })
        })
    }

    /// Latent `rows` \[n, D + C\] → data \[n, D\].
    pub(super) fn inverse(&mut self, rows: &[f32], out: &mut [f32]) {
        let Self { stack, w, spans, buffers, .. } = self;
        let Buffers { x, scratch, .. } = buffers;
        let (dim, width) = (stack.dim, stack.row_len());
        let tile = self.groups * LANES;
        for (rows, out) in rows.chunks(tile * width).zip(out.chunks_mut(tile * dim)) {
            let groups = rows.len().div_ceil(LANES * width);
            for (rows, x) in rows.chunks(LANES * width).zip(x.chunks_exact_mut(width)) {
                load(rows, x);
            }
            for span in spans.iter().rev() {
                span.layer.visit(Inverse {
                    shape: span.shape,
                    w: Shared(&w[span.weights.clone()]),
                    x: &mut x[..groups * width],
                    width,
                    scratch,
                });
            }
            for (out, x) in out.chunks_mut(LANES * dim).zip(x.chunks_exact(width)) {
                for (i, x) in x[..dim].iter().enumerate() {
                    let column = out[i..].iter_mut().step_by(dim);
                    column.zip(x.0.to_array()).for_each(|(out, x)| *out = x);
                }
            }
        }
    }
}

/// Numbers that a group of sixteen rows keeps.
fn kept_len(stack: &Stack, keep: Keep) -> usize {
    let kept = stack.spans().map(|span| span.layer.kept_len(span.shape));
    match keep {
        Keep::Nothing => 0,
        Keep::Layer => kept.max().unwrap_or(0),
        Keep::All => kept.sum(),
    }
}

/// Rows of a tile.
pub(super) fn tile_rows(stack: &Stack, keep: Keep) -> usize {
    LANES * (KEPT / (LANES * kept_len(stack, keep)).max(1)).clamp(1, GROUPS)
}

/// The gradient of these weights, 0 before the first tile: of one layer after the other, so that what
/// was zeroed is still near when it is added to.
fn part(dw: &mut [f32], weights: Range<usize>, first: bool) -> &mut [f32] {
    let dw = &mut dw[weights];
    if first {
        dw.fill(0.0);
    }
    dw
}

/// `sums` as `len` zeros.
fn zeros(sums: &mut Vec<f32>, len: usize) -> &mut [f32] {
    sums.clear();
    sums.resize(len, 0.0);
    sums
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
