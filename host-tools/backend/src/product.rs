//! The products of a network over sixteen samples: the same rows as
//! [`fluxlet::conditioner`] packs, multiplied in registers.
//!
//! A kernel holds N rows (or columns) of sixteen samples in registers, eight registers of sums, so
//! that two fused multiply-adds a cycle hide their latency of four; the weights of a block stand side
//! by side as the kernel reads them. Blocks of 4, 2 and 1 rows at the end run the same kernels
//! narrower.

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
    for (size, first, at) in blocks(out.len(), len) {
        let (w, out) = (&w[at..at + size * len], &mut out[first..first + size]);
        match size {
            8 if wide::<S>() => rows::<8, 8, S>(w, 0, x, y, out),
            8 => {
                let (low, high) = out.split_at_mut(4);
                rows::<4, 8, S>(w, 0, x, y, low);
                rows::<4, 8, S>(w, 4, x, y, high);
            }
            4 => rows::<4, 4, S>(w, 0, x, y, out),
            2 => rows::<2, 2, S>(w, 0, x, y, out),
            _ => rows::<1, 1, S>(w, 0, x, y, out),
        }
    }
}

/// N rows of a block of SIZE, from row `first` on.
#[inline(always)]
fn rows<const N: usize, const SIZE: usize, S: Simd>(
    w: &[f32],
    first: usize,
    x: &[Lanes<S>],
    y: &[Lanes<S>],
    out: &mut [Lanes<S>],
) {
    let simd = out[0].0.simd;
    let (biases, columns) = w.as_chunks::<SIZE>().0.split_first().expect("a block has its biases");
    let (columns, direct) = columns.split_at(x.len());
    let mut sums: [f32x16<S>; N] = core::array::from_fn(|n| f32x16::splat(simd, biases[first + n]));
    for (x, columns) in [(x, columns), (y, direct)] {
        for (x, column) in x.iter().zip(columns) {
            for (sum, weight) in sums.iter_mut().zip(&column[first..first + N]) {
                *sum = x.0.mul_add(f32x16::splat(simd, *weight), *sum);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        out.0 = sum;
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
        let narrow = if wide::<S>() {
            let (eights, rest) = dx.as_chunks_mut::<8>();
            for (c, dx) in eights.iter_mut().enumerate() {
                columns(w, len, from + 8 * c, dout, dx);
            }
            (from + 8 * eights.len(), rest)
        } else {
            (from, dx)
        };
        let (from, dx) = narrow;
        let (fours, rest) = dx.as_chunks_mut::<4>();
        for (c, dx) in fours.iter_mut().enumerate() {
            columns(w, len, from + 4 * c, dout, dx);
        }
        let from = from + 4 * fours.len();
        for (c, dx) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
            columns(w, len, from + c, dout, dx);
        }
    }
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
