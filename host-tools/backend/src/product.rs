//! The products of a network over sixteen samples: the same rows as
//! [`fluxlet::conditioner`] packs, multiplied in registers.
//!
//! A kernel holds N rows (or columns) of sixteen samples in registers, eight registers of sums at
//! least, so that two fused multiply-adds a cycle hide their latency of four; sixteen where there are
//! as many, so that the samples are loaded half as often. The weights of a block stand side by side
//! as the kernel reads them. Blocks of 4, 2 and 1 rows at the end run the same kernels narrower.

use fearless_simd::{Simd, f32x16, prelude::*};

use crate::lanes::{LANES, Lanes, wide};

/// Blocks of `count` rows with `len` weights each: size, first row, first weight.
#[inline(always)]
fn blocks(count: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut first, mut at) = (0, 0);
    core::iter::from_fn(move || {
        let size = [8, 4, 2, 1].into_iter().find(|size| first + size <= count)?;
        let block = (size, first, at);
        (first, at) = (first + size, at + size * len);
        Some(block)
    })
}

/// out = b + W \[x, y\].
#[inline(never)]
pub(super) fn forward<S: Simd>(w: &[f32], x: &[Lanes<S>], y: &[Lanes<S>], out: &mut [Lanes<S>]) {
    let Some(first) = out.first() else { return };
    first.0.simd.vectorize(
        #[inline(always)]
        || forward_here(w, x, y, out),
    );
}

#[inline(always)]
fn forward_here<S: Simd>(w: &[f32], x: &[Lanes<S>], y: &[Lanes<S>], out: &mut [Lanes<S>]) {
    let len = x.len() + y.len() + 1;
    let (mut w, mut out) = (w, out);
    if wide::<S>() {
        let (pairs, rest) = out.as_chunks_mut::<16>();
        for out in pairs {
            let pair;
            (pair, w) = w.split_at(16 * len);
            let (low, high) = pair.split_at(8 * len);
            rows::<2, 8, 8, S>([low, high], 0, x, y, out.as_chunks_mut().0);
        }
        out = rest;
    }
    for (size, first, at) in blocks(out.len(), len) {
        let (w, out) = (&w[at..at + size * len], &mut out[first..first + size]);
        match size {
            8 if wide::<S>() => rows::<1, 8, 8, S>([w], 0, x, y, out.as_chunks_mut().0),
            8 => {
                let (low, high) = out.split_at_mut(4);
                rows::<1, 4, 8, S>([w], 0, x, y, low.as_chunks_mut().0);
                rows::<1, 4, 8, S>([w], 4, x, y, high.as_chunks_mut().0);
            }
            4 => rows::<1, 4, 4, S>([w], 0, x, y, out.as_chunks_mut().0),
            2 => rows::<1, 2, 2, S>([w], 0, x, y, out.as_chunks_mut().0),
            _ => rows::<1, 1, 1, S>([w], 0, x, y, out.as_chunks_mut().0),
        }
    }
}

/// N rows of each of B blocks of SIZE, from row `first` on.
#[inline(always)]
fn rows<const B: usize, const N: usize, const SIZE: usize, S: Simd>(
    w: [&[f32]; B],
    first: usize,
    x: &[Lanes<S>],
    y: &[Lanes<S>],
    out: &mut [[Lanes<S>; N]],
) {
    let simd = out[0][0].0.simd;
    let mut sums = [[f32x16::splat(simd, 0.0); N]; B];
    let mut columns: [&[[f32; SIZE]]; B] = [&[]; B];
    for (b, w) in w.into_iter().enumerate() {
        let (biases, rest) = w.as_chunks::<SIZE>().0.split_first().expect("a block has its biases");
        for (sum, bias) in sums[b].iter_mut().zip(&biases[first..first + N]) {
            *sum = f32x16::splat(simd, *bias);
        }
        columns[b] = &rest[..x.len() + y.len()];
    }
    for (from, x) in [(0, x), (x.len(), y)] {
        let mut columns = columns;
        for columns in &mut columns {
            *columns = &columns[from..from + x.len()];
        }
        for (i, x) in x.iter().enumerate() {
            for (sums, columns) in sums.iter_mut().zip(columns) {
                for (sum, weight) in sums.iter_mut().zip(&columns[i][first..first + N]) {
                    *sum = x.0.mul_add(f32x16::splat(simd, *weight), *sum);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            out.0 = sum;
        }
    }
}

/// Adds Wᵀ dout to `dx` and `dy`.
#[inline(never)]
pub(super) fn backward<S: Simd>(
    w: &[f32],
    dout: &[Lanes<S>],
    dx: &mut [Lanes<S>],
    dy: &mut [Lanes<S>],
) {
    let Some(first) = dout.first() else { return };
    first.0.simd.vectorize(
        #[inline(always)]
        || backward_here(w, dout, dx, dy),
    );
}

#[inline(always)]
fn backward_here<S: Simd>(w: &[f32], dout: &[Lanes<S>], dx: &mut [Lanes<S>], dy: &mut [Lanes<S>]) {
    let (width, len) = (dx.len(), dx.len() + dy.len() + 1);
    for (from, dx) in [(1, dx), (1 + width, dy)] {
        let (from, dx) = if wide::<S>() {
            let (from, dx) = blocks_of::<16, S>(w, len, from, dout, dx);
            blocks_of::<8, S>(w, len, from, dout, dx)
        } else {
            (from, dx)
        };
        let (from, dx) = blocks_of::<4, S>(w, len, from, dout, dx);
        blocks_of::<1, S>(w, len, from, dout, dx);
    }
}

/// As many N columns side by side as there are, from column `from` on; the next column, and what
/// stands there.
#[inline(always)]
fn blocks_of<'d, const N: usize, S: Simd>(
    w: &[f32],
    len: usize,
    from: usize,
    dout: &[Lanes<S>],
    dx: &'d mut [Lanes<S>],
) -> (usize, &'d mut [Lanes<S>]) {
    let (whole, rest) = dx.as_chunks_mut::<N>();
    let next = from + N * whole.len();
    for (c, dx) in whole.iter_mut().enumerate() {
        columns(w, len, from + N * c, dout, dx);
    }
    (next, rest)
}

/// Adds what N columns, from `column` on, mean for their inputs.
#[inline(always)]
fn columns<const N: usize, S: Simd>(
    w: &[f32],
    len: usize,
    column: usize,
    dout: &[Lanes<S>],
    dx: &mut [Lanes<S>; N],
) {
    let mut sums = dx.map(|dx| dx.0);
    let (eights, rest) = dout.as_chunks::<8>();
    for (block, dout) in eights.iter().enumerate() {
        add_rows(&w[8 * (block * len + column)..], dout, &mut sums);
    }
    let at = 8 * eights.len() * len;
    let (fours, rest) = rest.as_chunks::<4>();
    for dout in fours {
        add_rows(&w[at + 4 * column..], dout, &mut sums);
    }
    let at = at + 4 * fours.len() * len;
    let (twos, ones) = rest.as_chunks::<2>();
    for dout in twos {
        add_rows(&w[at + 2 * column..], dout, &mut sums);
    }
    let at = at + 2 * twos.len() * len;
    for dout in ones.as_chunks::<1>().0 {
        add_rows(&w[at + column..], dout, &mut sums);
    }
    *dx = sums.map(Lanes);
}

/// Adds SIZE rows of N columns, which begin at `w`.
#[inline(always)]
fn add_rows<const SIZE: usize, const N: usize, S: Simd>(
    w: &[f32],
    dout: &[Lanes<S>; SIZE],
    sums: &mut [f32x16<S>; N],
) {
    let columns = w.as_chunks::<SIZE>().0.first_chunk::<N>().expect("a block has its columns");
    for (row, dout) in dout.iter().enumerate() {
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = dout.0.mul_add(f32x16::splat(dout.0.simd, column[row]), *sum);
        }
    }
}

/// Totals of at most N vectors of sixteen samples, N being 8 or 16; what is behind them is no total.
#[inline(always)]
pub(super) fn totals<const N: usize, S: Simd>(v: &[f32x16<S>; LANES]) -> [f32; LANES] {
    let mut v: [f32x16<S>; N] = *v.first_chunk().expect("N is at most 16");
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            let (low, high) = v[i].interleave(v[i + half]);
            v[i] = low + high;
        }
        half /= 2;
    }
    let mut totals = v[0].to_array();
    if N < LANES {
        // Half the vectors leave two parts of each total.
        let (low, high) = v[0].split();
        totals[..8].copy_from_slice((low + high).as_slice());
    }
    totals
}
