//! The products of a network: rows of weights packed in blocks of 8, 4, 2 and 1.
//!
//! A block holds the biases of its rows, then for each input one weight a row. Every row is summed in
//! the order of the inputs, from its bias on. A host may multiply many samples at once by other
//! kernels ([`Weights::product`]); these here say what the product is.

use crate::math::Real;
use crate::weights::Weights;

/// Every block of `count` rows with `len` weights each: its size, its first row, where it begins.
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
#[inline(always)]
pub(crate) fn forward<R: Real, W: Weights<R>>(w: W, x: &[R], y: &[R], out: &mut [R]) {
    let len = x.len() + y.len() + 1;
    let (eights, rest) = out.as_chunks_mut::<8>();
    let mut at = 8 * len * eights.len();
    let mut blocks = w.rows(8 * len);
    // Arm's registers for floats hold the sums of two blocks beside their weights; on other cores the
    // compiler takes more of them than there are, or has none.
    let hold_two = cfg!(target_abi = "eabihf");
    let (pairs, eights) =
        if hold_two { eights.as_chunks_mut::<2>() } else { (&mut [][..], eights) };
    for [a, b] in pairs {
        let (Some(wa), Some(wb)) = (blocks.next(), blocks.next()) else { return };
        let w = [wa, wb];
        let mut sums: [[R; 8]; 2] = w.map(|w| w.load(0, a[0]));
        add_columns_twice(w.map(|w| w.part(8, 8 * x.len())), x, &mut sums);
        if !y.is_empty() {
            add_columns_twice(w.map(|w| w.part(8 * (x.len() + 1), 8 * y.len())), y, &mut sums);
        }
        [*a, *b] = sums;
    }
    for (out, w) in eights.iter_mut().zip(blocks) {
        block::<8, 16, _, _>(w, x, y, out);
    }
    if rest.is_empty() {
        return;
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    let (twos, ones) = rest.as_chunks_mut::<2>();
    for out in fours {
        block::<4, 8, _, _>(w.part(at, 4 * len), x, y, out);
        at += 4 * len;
    }
    for out in twos {
        block::<2, 4, _, _>(w.part(at, 2 * len), x, y, out);
        at += 2 * len;
    }
    for out in ones.as_chunks_mut::<1>().0 {
        block::<1, 2, _, _>(w.part(at, len), x, y, out);
    }
}

/// N rows; two columns at a time, which are `PAIR` weights.
#[inline(always)]
fn block<const N: usize, const PAIR: usize, R: Real, W: Weights<R>>(
    w: W,
    x: &[R],
    y: &[R],
    out: &mut [R; N],
) {
    let mut sums = w.load(0, out[0]);
    add_columns::<N, PAIR, R, W>(w.part(N, N * x.len()), x, &mut sums);
    if !y.is_empty() {
        add_columns::<N, PAIR, R, W>(w.part(N * (x.len() + 1), N * y.len()), y, &mut sums);
    }
    *out = sums;
}

#[inline(always)]
fn add_columns<const N: usize, const PAIR: usize, R: Real, W: Weights<R>>(
    w: W,
    x: &[R],
    sums: &mut [R; N],
) {
    let (pairs, last) = x.as_chunks::<2>();
    for (pair, weights) in pairs.iter().zip(w.chunks::<PAIR>(sums[0])) {
        add_pair(weights, *pair, sums);
    }
    add_last(w, 2 * pairs.len(), last, sums);
}

/// [`add_columns`] of two blocks.
#[inline(always)]
fn add_columns_twice<R: Real, W: Weights<R>>([wa, wb]: [W; 2], x: &[R], [a, b]: &mut [[R; 8]; 2]) {
    let (pairs, last) = x.as_chunks::<2>();
    let weights = wa.chunks::<16>(a[0]).zip(wb.chunks::<16>(b[0]));
    for (pair, (wa, wb)) in pairs.iter().zip(weights) {
        add_pair(wa, *pair, a);
        add_pair(wb, *pair, b);
    }
    add_last(wa, 2 * pairs.len(), last, a);
    add_last(wb, 2 * pairs.len(), last, b);
}

#[inline(always)]
fn add_pair<const N: usize, const PAIR: usize, R: Real>(
    weights: [R; PAIR],
    [x, y]: [R; 2],
    sums: &mut [R; N],
) {
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = sum.add_product(weights[i], x).add_product(weights[N + i], y);
    }
}

/// Adds the last column, behind `done` others, where it has none beside it.
#[inline(always)]
fn add_last<const N: usize, R: Real, W: Weights<R>>(
    w: W,
    done: usize,
    last: &[R],
    sums: &mut [R; N],
) {
    if let [x] = last {
        let weights: [R; N] = w.load(N * done, *x);
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = sum.add_product(weight, *x);
        }
    }
}

/// Adds Wᵀ dout to `dx` and `dy`.
#[inline(always)]
pub(crate) fn backward<R: Real, W: Weights<R>>(w: W, dout: &[R], dx: &mut [R], dy: &mut [R]) {
    let width = dx.len();
    for (size, first, at) in blocks(dout.len(), width + dy.len() + 1) {
        for (i, dx) in dx.iter_mut().chain(dy.iter_mut()).enumerate() {
            for (row, dout) in dout[first..first + size].iter().enumerate() {
                *dx = dx.add_product(w.at(at + (i + 1) * size + row, *dout), *dout);
            }
        }
    }
}

/// Adds dout ⊗ \[1, x, y\] to `dw`.
#[inline(always)]
pub(crate) fn add_outer<R: Real>(dw: &mut [R], dout: &[R], x: &[R], y: &[R]) {
    for (size, first, at) in blocks(dout.len(), x.len() + y.len() + 1) {
        let dout = &dout[first..first + size];
        let mut columns = dw[at..].chunks_exact_mut(size);
        let biases = columns.next().into_iter().flatten();
        biases.zip(dout).for_each(|(d, dout)| *d = *d + *dout);
        for (x, column) in x.iter().chain(y).zip(columns) {
            column.iter_mut().zip(dout).for_each(|(d, dout)| *d = d.add_product(*x, *dout));
        }
    }
}
