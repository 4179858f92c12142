//! The products of a network over sixteen samples: the same rows as
//! [`fluxlet::conditioner`] packs, multiplied in registers.
//!
//! A kernel holds N rows (or columns) of sixteen samples in registers, eight registers of sums, so
//! that two fused multiply-adds a cycle hide their latency of four; the weights of a block stand side
//! by side as the kernel reads them. Blocks of 4, 2 and 1 rows at the end run the same kernels
//! narrower.

use fearless_simd::{Simd, SimdBase, SimdFloat, f32x8, f32x16, prelude::*};

use crate::lanes::{LANES, Lanes};

/// Whether sixteen numbers are one register.
#[inline(always)]
const fn wide<S: Simd>() -> bool {
    <S::f32s as SimdBase<S>>::LEN >= LANES
}

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

/// Adds dout ⊗ \[1, x, y\], summed over the samples, to `dw`.
#[inline(never)]
pub(super) fn add_outer<S: Simd>(
    dw: &mut [f32],
    dout: &[Lanes<S>],
    x: &[Lanes<S>],
    y: &[Lanes<S>],
) {
    let Some(first) = dout.first() else { return };
    first.0.simd.vectorize(
        #[inline(always)]
        || add_outer_here(dw, dout, x, y),
    );
}

#[inline(always)]
fn add_outer_here<S: Simd>(dw: &mut [f32], dout: &[Lanes<S>], x: &[Lanes<S>], y: &[Lanes<S>]) {
    let len = x.len() + y.len() + 1;
    let (sixteens, rest) = dout.as_chunks::<LANES>();
    let (dw, dw_rest) = dw.split_at_mut(LANES * len * sixteens.len());
    for (dout, dw) in sixteens.iter().zip(dw.chunks_exact_mut(LANES * len)) {
        let (low, high) = dout.split_at(8);
        let (low, high) = (transpose(low), transpose(high));
        let mut samples = [dout[0].0; LANES];
        for (sample, (low, high)) in samples.iter_mut().zip(low.iter().zip(&high)) {
            *sample = low.combine(*high);
        }
        if wide::<S>() {
            outer::<8, 16, _, _>(dw, len, &samples, x, y);
        } else {
            outer::<4, 16, _, _>(dw, len, &samples, x, y);
        }
    }
    let (eights, rest) = rest.as_chunks::<8>();
    let (dw, dw_rest) = dw_rest.split_at_mut(8 * len * eights.len());
    for (dout, dw) in eights.iter().zip(dw.chunks_exact_mut(8 * len)) {
        outer::<8, 8, _, _>(dw, len, &transpose(dout), x, y);
    }
    if !rest.is_empty() {
        outer::<8, 0, _, _>(dw_rest, len, &transpose(rest), x, y);
    }
}

/// Adds the outer products of sixteen samples' rows with \[1, x, y\]; ROWS rows, or where that is 0 as
/// many as `dw` has, at most 7. N columns are summed side by side.
#[inline(always)]
fn outer<const N: usize, const ROWS: usize, S: Simd, V: SimdFloat<S, Element = f32>>(
    dw: &mut [f32],
    len: usize,
    samples: &[V; LANES],
    x: &[Lanes<S>],
    y: &[Lanes<S>],
) {
    let mut bias = samples[0];
    for sample in &samples[1..] {
        bias += *sample;
    }
    add_column::<ROWS>(dw, len, 0, bias.as_slice());
    for (from, x) in [(1, x), (1 + x.len(), y)] {
        let (chunks, rest) = x.as_chunks::<N>();
        for (c, x) in chunks.iter().enumerate() {
            outer_columns::<N, ROWS, S, V>(dw, len, from + N * c, samples, x);
        }
        let from = from + N * chunks.len();
        for (c, x) in rest.as_chunks::<1>().0.iter().enumerate() {
            outer_columns::<1, ROWS, S, V>(dw, len, from + c, samples, x);
        }
    }
}

#[inline(always)]
fn outer_columns<const N: usize, const ROWS: usize, S: Simd, V: SimdFloat<S, Element = f32>>(
    dw: &mut [f32],
    len: usize,
    column: usize,
    samples: &[V; LANES],
    x: &[Lanes<S>; N],
) {
    let simd = x[0].0.simd;
    let mut sums = [V::splat(simd, 0.0); N];
    for (s, sample) in samples.iter().enumerate() {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sample.mul_add(V::splat(simd, x.0[s]), *sum);
        }
    }
    for (n, sum) in sums.iter().enumerate() {
        add_column::<ROWS>(dw, len, column + n, sum.as_slice());
    }
}

/// Adds `sum` to a column of `dw`, whose rows stand in blocks.
#[inline(always)]
fn add_column<const ROWS: usize>(dw: &mut [f32], len: usize, column: usize, sum: &[f32]) {
    if ROWS > 0 {
        for (block, sum) in sum.as_chunks::<8>().0.iter().enumerate() {
            add_block(&mut dw[8 * (block * len + column)..], sum);
        }
        return;
    }
    let (rows, mut first) = (dw.len() / len, 0);
    if rows & 4 > 0 {
        add_block::<4>(&mut dw[4 * column..], sum.first_chunk().expect("four of eight"));
        first = 4;
    }
    if rows & 2 > 0 {
        let sum = sum[first..].first_chunk().expect("two of four");
        add_block::<2>(&mut dw[first * len + 2 * column..], sum);
        first += 2;
    }
    if rows & 1 > 0 {
        dw[first * len + column] += sum[first];
    }
}

#[inline(always)]
fn add_block<const SIZE: usize>(dw: &mut [f32], sum: &[f32; SIZE]) {
    let dw = dw.first_chunk_mut::<SIZE>().expect("a block has its columns");
    for (dw, sum) in dw.iter_mut().zip(sum) {
        *dw += sum;
    }
}

/// At most eight rows of sixteen samples → sixteen samples of eight rows, rows that are not there being
/// 0.
///
/// Three rounds of a perfect shuffle, in each of which row i is interleaved with row i + 4.
#[inline(always)]
fn transpose<S: Simd>(rows: &[Lanes<S>]) -> [f32x8<S>; LANES] {
    let zero = f32x8::splat(rows[0].0.simd, 0.0);
    let mut v = [[zero; 8]; 2];
    for (i, row) in rows.iter().enumerate().take(8) {
        (v[0][i], v[1][i]) = row.0.split();
    }
    let mut samples = [zero; LANES];
    for (v, samples) in v.iter_mut().zip(samples.chunks_exact_mut(8)) {
        for _ in 0..3 {
            let mut next = [zero; 8];
            for i in 0..4 {
                (next[2 * i], next[2 * i + 1]) = v[i].interleave(v[i + 4]);
            }
            *v = next;
        }
        samples.copy_from_slice(v);
    }
    samples
}

/// Totals of at most sixteen vectors of sixteen samples; 0 where there is none.
#[inline(always)]
pub(super) fn totals<S: Simd>(mut v: [f32x16<S>; LANES]) -> [f32; LANES] {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let (low, high) = v[i].interleave(v[i + half]);
            v[i] = low + high;
        }
        half /= 2;
    }
    v[0].to_array()
}
