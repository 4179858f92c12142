//! The gradient of a network's weights: dout ⊗ \[1, x, y\], summed over the rows of a tile.
//!
//! The rows come sixteen at a time. Until the last of a tile are there, those before wait: a sum over
//! all 64 then stays in registers and touches the gradient once.

use fearless_simd::{Simd, SimdFloat, f32x8, f32x16, prelude::*};

use crate::lanes::{LANES, Lanes, wide};

/// Outer products of one layer that wait for the last rows of a tile.
pub(super) struct Outer<S: Simd> {
    /// Groups of sixteen rows in the tile, and the one that is worked on.
    groups: usize,
    group: usize,
    /// Products of one group, in the order of the calls; every group brings the same.
    products: Vec<Product>,
    /// The product that the next call brings.
    next: usize,
    /// What waits: of each product, of each group, its panel.
    panels: Vec<Lanes<S>>,
}

/// One product of every group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Product {
    rows: usize,
    /// 1 + inputs.
    len: usize,
    /// First panel.
    at: usize,
}

impl Product {
    /// A panel: for each block of rows sixteen samples, then the columns \[1, x, y\].
    fn panel_len(self) -> usize {
        self.samples_len() + self.len
    }

    /// The samples: blocks of sixteen rows, then of eight, the last filled up with zeros.
    fn samples_len(self) -> usize {
        8 * self.rows.div_ceil(8)
    }
}

impl<S: Simd> Default for Outer<S> {
    fn default() -> Self {
        Self { groups: 0, group: 0, products: Vec::new(), next: 0, panels: Vec::new() }
    }
}

impl<S: Simd> Outer<S> {
    /// Begins with group `group` of `groups`, the first of which begins a layer.
    #[inline(always)]
    pub(super) fn begin(&mut self, group: usize, groups: usize) {
        (self.group, self.groups, self.next) = (group, groups, 0);
        if group == 0 {
            self.products.clear();
        }
    }

    /// Adds dout ⊗ \[1, x, y\] of all groups to `dw` when the last one calls.
    #[inline(never)]
    pub(super) fn add(
        &mut self,
        dw: &mut [f32],
        dout: &[Lanes<S>],
        x: &[Lanes<S>],
        y: &[Lanes<S>],
    ) {
        let Some(first) = dout.first() else { return };
        first.0.simd.vectorize(
            #[inline(always)]
            || self.add_here(dw, dout, x, y),
        );
    }

    #[inline(always)]
    fn add_here(&mut self, dw: &mut [f32], dout: &[Lanes<S>], x: &[Lanes<S>], y: &[Lanes<S>]) {
        let one = Lanes::splat(dout[0].0.simd, 1.0);
        let (rows, len) = (dout.len(), 1 + x.len() + y.len());
        if self.group == 0 {
            let at =
                self.products.last().map_or(0, |last| last.at + self.groups * last.panel_len());
            let product = Product { rows, len, at };
            self.products.push(product);
            let end = at + self.groups * product.panel_len();
            if self.panels.len() < end {
                self.panels.resize(end, one);
            }
        }
        let product = self.products[self.next];
        self.next += 1;
        assert_eq!(
            (product.rows, product.len),
            (rows, len),
            "every group brings the same products"
        );

        let panels = &mut self.panels[product.at..][..self.groups * product.panel_len()];
        let panel = &mut panels[self.group * product.panel_len()..][..product.panel_len()];
        let (samples, columns) = panel.split_at_mut(product.samples_len());
        write_samples(dout, samples);
        columns[0] = one;
        columns[1..=x.len()].copy_from_slice(x);
        columns[1 + x.len()..].copy_from_slice(y);
        if self.group + 1 == self.groups {
            multiply(dw, product, panels);
        }
    }
}

/// Rows of sixteen samples → samples of sixteen rows, then of eight.
#[inline(always)]
fn write_samples<S: Simd>(dout: &[Lanes<S>], samples: &mut [Lanes<S>]) {
    let (sixteens, rest) = dout.as_chunks::<LANES>();
    let (full, samples) = samples.split_at_mut(LANES * sixteens.len());
    for (dout, samples) in sixteens.iter().zip(full.as_chunks_mut::<LANES>().0) {
        let (low, high) = dout.split_at(8);
        let (low, high) = (transpose(low), transpose(high));
        for (sample, (low, high)) in samples.iter_mut().zip(low.iter().zip(&high)) {
            sample.0 = low.combine(*high);
        }
    }
    for (dout, samples) in rest.chunks(8).zip(samples.as_chunks_mut::<8>().0) {
        let halves = transpose(dout);
        for (sample, pair) in samples.iter_mut().zip(halves.as_chunks::<2>().0) {
            sample.0 = pair[0].combine(pair[1]);
        }
    }
}

#[inline(always)]
fn multiply<S: Simd>(dw: &mut [f32], product: Product, panels: &[Lanes<S>]) {
    let Product { rows, len, .. } = product;
    let (mut dw, mut from) = (dw, 0);
    // The rows that are next, and how many.
    let mut next = |count: usize| {
        let at = from;
        from += count;
        (dw.split_off_mut(..count * len).expect("a row has its gradient"), at)
    };
    if wide::<S>() {
        for _ in 0..rows / (2 * LANES) {
            let (dw, from) = next(2 * LANES);
            columns::<2, 8, LANES, LANES, S, f32x16<S>>(dw, product, panels, from);
        }
        if rows % (2 * LANES) >= LANES {
            let (dw, from) = next(LANES);
            columns::<1, 8, LANES, LANES, S, f32x16<S>>(dw, product, panels, from);
        }
    } else {
        for _ in 0..rows / LANES {
            let (dw, from) = next(LANES);
            columns::<1, 5, LANES, LANES, S, f32x16<S>>(dw, product, panels, from);
        }
    }
    if rows % LANES / 8 > 0 {
        let (dw, from) = next(8);
        columns::<1, 8, 8, 8, S, f32x8<S>>(dw, product, panels, from);
    }
    if rows % 8 > 0 {
        let (dw, from) = next(rows % 8);
        columns::<1, 8, 0, 8, S, f32x8<S>>(dw, product, panels, from);
    }
}

/// All columns of B blocks of ROWS rows, or where that is 0 of one of as many as `dw` has, at most 7;
/// N columns are summed side by side. A block's samples, of WIDTH rows each, stand at `from` of a
/// panel, in as many vectors.
#[inline(always)]
fn columns<
    const B: usize,
    const N: usize,
    const ROWS: usize,
    const WIDTH: usize,
    S: Simd,
    V: SimdFloat<S, Element = f32>,
>(
    dw: &mut [f32],
    product: Product,
    panels: &[Lanes<S>],
    from: usize,
) {
    let mut column = 0;
    while column + N <= product.len {
        some_columns::<B, N, ROWS, WIDTH, S, V>(dw, product, panels, from, column);
        column += N;
    }
    if column + 4 <= product.len {
        some_columns::<B, 4, ROWS, WIDTH, S, V>(dw, product, panels, from, column);
        column += 4;
    }
    if column + 2 <= product.len {
        some_columns::<B, 2, ROWS, WIDTH, S, V>(dw, product, panels, from, column);
        column += 2;
    }
    if column < product.len {
        some_columns::<B, 1, ROWS, WIDTH, S, V>(dw, product, panels, from, column);
    }
}

#[inline(always)]
fn some_columns<
    const B: usize,
    const N: usize,
    const ROWS: usize,
    const WIDTH: usize,
    S: Simd,
    V: SimdFloat<S, Element = f32>,
>(
    dw: &mut [f32],
    product: Product,
    panels: &[Lanes<S>],
    from: usize,
    column: usize,
) {
    let simd = panels[0].0.simd;
    let mut sums = [[V::splat(simd, 0.0); N]; B];
    for panel in panels.chunks_exact(product.panel_len()) {
        let blocks: &[[Lanes<S>; WIDTH]; B] =
            panel[from..].as_chunks().0.first_chunk().expect("a block has its samples");
        let x: &[Lanes<S>; N] =
            panel[product.samples_len() + column..].first_chunk().expect("a panel has its columns");
        for s in 0..LANES {
            let at = s * WIDTH;
            for (sums, samples) in sums.iter_mut().zip(blocks) {
                let sample = samples[at / LANES].0.as_slice();
                let sample = V::from_slice(simd, &sample[at % LANES..at % LANES + WIDTH]);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = sample.mul_add(V::splat(simd, x.0[s]), *sum);
                }
            }
        }
    }
    if ROWS > 0 {
        for (b, sums) in sums.iter().enumerate() {
            for block in 0..ROWS / 8 {
                let at = 8 * ((b * ROWS / 8 + block) * product.len + column);
                add_rows::<8, N, S, V>(&mut dw[at..], 8 * block, sums);
            }
        }
        return;
    }
    let sums = &sums[0];
    let (rows, len) = (product.rows % 8, product.len);
    let mut first = 0;
    if rows & 4 > 0 {
        add_rows::<4, N, S, V>(&mut dw[first * len + 4 * column..], first, sums);
        first += 4;
    }
    if rows & 2 > 0 {
        add_rows::<2, N, S, V>(&mut dw[first * len + 2 * column..], first, sums);
        first += 2;
    }
    if rows & 1 > 0 {
        add_rows::<1, N, S, V>(&mut dw[first * len + column..], first, sums);
    }
}

/// Adds SIZE rows of the sums, from `first` on, to N columns of their block, which begin `dw`.
#[inline(always)]
fn add_rows<const SIZE: usize, const N: usize, S: Simd, V: SimdFloat<S, Element = f32>>(
    dw: &mut [f32],
    first: usize,
    sums: &[V; N],
) {
    for (dw, sum) in dw[..SIZE * N].as_chunks_mut::<SIZE>().0.iter_mut().zip(sums) {
        let sum = &sum.as_slice()[first..first + SIZE];
        dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
    }
}

/// At most eight rows of sixteen samples → sixteen samples of eight rows, rows that are not there being
/// 0.
///
/// Three rounds of a perfect shuffle, in each of which row i is interleaved with row i + 4.
#[inline(always)]
pub(super) fn transpose<S: Simd>(rows: &[Lanes<S>]) -> [f32x8<S>; LANES] {
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
