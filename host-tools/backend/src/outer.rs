//! The gradient of a network's weights: dout ⊗ \[1, x, y\], summed over the rows of a tile.
//!
//! The rows come sixteen at a time. Until the last of a tile are there, those before wait: a sum over
//! all 64 then stays in registers and touches the gradient once.

use fearless_simd::{Simd, f32x8, f32x16, prelude::*};

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
    /// Blocks of sixteen rows, the last of which may have fewer.
    fn blocks(self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// A panel: for each block its sixteen samples, then for each block their sum, then the columns
    /// \[x, y\].
    fn panel_len(self) -> usize {
        (LANES + 1) * self.blocks() + self.len - 1
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
        let zero = Lanes::splat(dout[0].0.simd, 0.0);
        let (rows, len) = (dout.len(), 1 + x.len() + y.len());
        if self.group == 0 {
            let at =
                self.products.last().map_or(0, |last| last.at + self.groups * last.panel_len());
            let product = Product { rows, len, at };
            self.products.push(product);
            let end = at + self.groups * product.panel_len();
            if self.panels.len() < end {
                self.panels.resize(end, zero);
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
        let (samples, rest) = panel.split_at_mut(LANES * product.blocks());
        let (sums, columns) = rest.split_at_mut(product.blocks());
        write_samples(dout, samples, sums);
        columns[..x.len()].copy_from_slice(x);
        columns[x.len()..].copy_from_slice(y);
        if self.group + 1 == self.groups {
            multiply(dw, product, panels);
        }
    }
}

/// Rows of sixteen samples → blocks of sixteen samples of sixteen rows each, and the sum of each block's
/// samples.
#[inline(always)]
fn write_samples<S: Simd>(dout: &[Lanes<S>], samples: &mut [Lanes<S>], sums: &mut [Lanes<S>]) {
    let blocks = samples.as_chunks_mut::<LANES>().0.iter_mut().zip(sums);
    for (rows, (samples, sum)) in dout.chunks(LANES).zip(blocks) {
        *samples = transpose_block(&match rows.as_array::<LANES>() {
            Some(rows) => *rows,
            None => in_place(rows),
        });
        let mut v = *samples;
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                v[i] = v[i] + v[i + half];
            }
            half /= 2;
        }
        *sum = v[0];
    }
}

/// Fewer than sixteen rows as a block of sixteen, 0 where there is none: 8, 4, 2 and 1 of them, as a
/// network packs its last rows, each in a place of its own.
#[inline(always)]
fn in_place<S: Simd>(rows: &[Lanes<S>]) -> [Lanes<S>; LANES] {
    let mut block = [Lanes::splat(rows[0].0.simd, 0.0); LANES];
    let mut from = 0;
    for (size, place) in [(8, 0), (4, 8), (2, 12), (1, 14)] {
        if rows.len() & size > 0 {
            block[place..place + size].copy_from_slice(&rows[from..from + size]);
            from += size;
        }
    }
    block
}

#[inline(always)]
fn multiply<S: Simd>(dw: &mut [f32], product: Product, panels: &[Lanes<S>]) {
    let Product { rows, len, .. } = product;
    let mut dw = dw;
    let mut first = 0;
    if wide::<S>() {
        while rows - first > LANES {
            let own = dw.split_off_mut(..(rows - first).min(2 * LANES) * len);
            columns::<2, 8, S>(own.unwrap_or_default(), product, panels, first);
            first = rows.min(first + 2 * LANES);
        }
        if first < rows {
            columns::<1, 8, S>(dw, product, panels, first);
        }
        return;
    }
    while first < rows {
        let own = dw.split_off_mut(..(rows - first).min(LANES) * len);
        columns::<1, 5, S>(own.unwrap_or_default(), product, panels, first);
        first = rows.min(first + LANES);
    }
}

/// Adds to `dw` all columns of B blocks of rows, from row `first` on, the last block as many as there
/// are; N columns are summed side by side.
#[inline(always)]
fn columns<const B: usize, const N: usize, S: Simd>(
    dw: &mut [f32],
    product: Product,
    panels: &[Lanes<S>],
    first: usize,
) {
    let mut sums = [[f32x16::splat(panels[0].0.simd, 0.0)]; B];
    for panel in panels.chunks_exact(product.panel_len()) {
        let totals = &panel[LANES * product.blocks() + first / LANES..];
        for (sums, total) in sums.iter_mut().zip(totals) {
            sums[0] += total.0;
        }
    }
    add_blocks(dw, product.rows - first, product.len, 0, &sums);
    let mut column = 1;
    while column + N <= product.len {
        some_columns::<B, N, S>(dw, product, panels, first, column);
        column += N;
    }
    if column + 4 <= product.len {
        some_columns::<B, 4, S>(dw, product, panels, first, column);
        column += 4;
    }
    if column + 2 <= product.len {
        some_columns::<B, 2, S>(dw, product, panels, first, column);
        column += 2;
    }
    if column < product.len {
        some_columns::<B, 1, S>(dw, product, panels, first, column);
    }
}

#[inline(always)]
fn some_columns<const B: usize, const N: usize, S: Simd>(
    dw: &mut [f32],
    product: Product,
    panels: &[Lanes<S>],
    first: usize,
    column: usize,
) {
    let simd = panels[0].0.simd;
    let mut sums = [[f32x16::splat(simd, 0.0); N]; B];
    for panel in panels.chunks_exact(product.panel_len()) {
        let blocks: &[[Lanes<S>; LANES]; B] =
            panel[first..].as_chunks().0.first_chunk().expect("a block has its samples");
        let x: &[Lanes<S>; N] = panel[(LANES + 1) * product.blocks() + column - 1..]
            .first_chunk()
            .expect("a panel has its columns");
        for s in 0..LANES {
            for (sums, samples) in sums.iter_mut().zip(blocks) {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = samples[s].0.mul_add(f32x16::splat(simd, x.0[s]), *sum);
                }
            }
        }
    }
    add_blocks(dw, product.rows - first, product.len, column, &sums);
}

/// Adds the sums of N columns, from `column` on, of one or two blocks of `rows` rows, which `dw` begins
/// with.
#[inline(always)]
fn add_blocks<const B: usize, const N: usize, S: Simd>(
    dw: &mut [f32],
    rows: usize,
    len: usize,
    column: usize,
    sums: &[[f32x16<S>; N]; B],
) {
    // A loop over the blocks would keep the sums in memory.
    add_block(dw, rows, len, column, &sums[0]);
    if B > 1 {
        add_block(&mut dw[LANES * len..], rows - LANES, len, column, &sums[B - 1]);
    }
}

#[inline(always)]
fn add_block<const N: usize, S: Simd>(
    dw: &mut [f32],
    rows: usize,
    len: usize,
    column: usize,
    sums: &[f32x16<S>; N],
) {
    if rows >= 8 {
        add_rows::<8, N, S>(&mut dw[8 * column..], 0, sums);
    }
    if rows >= LANES {
        add_rows::<8, N, S>(&mut dw[8 * (len + column)..], 8, sums);
        return;
    }
    // Each size stands where [`in_place`] puts it, for the same reason.
    if rows & 4 > 0 {
        add_rows::<4, N, S>(&mut dw[(rows & 8) * len + 4 * column..], 8, sums);
    }
    if rows & 2 > 0 {
        add_rows::<2, N, S>(&mut dw[(rows & 12) * len + 2 * column..], 12, sums);
    }
    if rows & 1 > 0 {
        add_rows::<1, N, S>(&mut dw[(rows & 14) * len + column..], 14, sums);
    }
}

/// Adds SIZE rows of the sums, from `place` on, to N columns of their block, which begin `dw`.
#[inline(always)]
fn add_rows<const SIZE: usize, const N: usize, S: Simd>(
    dw: &mut [f32],
    place: usize,
    sums: &[f32x16<S>; N],
) {
    for (dw, sum) in dw[..SIZE * N].as_chunks_mut::<SIZE>().0.iter_mut().zip(sums) {
        let sum = &sum.as_slice()[place..place + SIZE];
        dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
    }
}

/// Sixteen rows of sixteen samples → sixteen samples of sixteen rows.
#[inline(always)]
fn transpose_block<S: Simd>(rows: &[Lanes<S>; LANES]) -> [Lanes<S>; LANES] {
    let mut v = *rows;
    if wide::<S>() {
        // Four rounds of the shuffle that is three for eight rows.
        for _ in 0..4 {
            let mut next = v;
            for i in 0..LANES / 2 {
                let (even, odd) = v[i].0.interleave(v[i + LANES / 2].0);
                (next[2 * i], next[2 * i + 1]) = (Lanes(even), Lanes(odd));
            }
            v = next;
        }
        return v;
    }
    let (low, high) = (transpose(&rows[..8]), transpose(&rows[8..]));
    for (v, (low, high)) in v.iter_mut().zip(low.iter().zip(&high)) {
        v.0 = low.combine(*high);
    }
    v
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
