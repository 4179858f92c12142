//! Weights that all samples share, and the sum of their gradients over the samples.

use fearless_simd::{Simd, f32x4, f32x16, prelude::*};
use fluxlet::{Gradient, Real, Weights};

use crate::bins::Bins;
use crate::lanes::{LANES, Lanes};
use crate::outer::Outer;
use crate::product;

/// Weights of a training step, \[f32\].
#[derive(Clone, Copy)]
pub(super) struct Shared<'w>(pub(super) &'w [f32]);

impl<S: Simd> Weights<Lanes<S>> for Shared<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn at(self, i: usize, like: Lanes<S>) -> Lanes<S> {
        like.lift(self.0[i])
    }
    #[inline(always)]
    fn part(self, start: usize, len: usize) -> Self {
        Self(&self.0[start..start + len])
    }
    #[inline(always)]
    fn load<const N: usize>(self, start: usize, like: Lanes<S>) -> [Lanes<S>; N] {
        let weights = self.0[start..].first_chunk::<N>().expect("the layer has these weights");
        let mut values = [like; N];
        for (value, weight) in values.iter_mut().zip(weights) {
            *value = like.lift(*weight);
        }
        values
    }
    #[inline(always)]
    fn values(self, like: Lanes<S>) -> impl Iterator<Item = Lanes<S>> {
        self.0.iter().map(move |weight| like.lift(*weight))
    }
    #[inline(always)]
    fn chunks<const N: usize>(self, like: Lanes<S>) -> impl Iterator<Item = [Lanes<S>; N]> {
        let chunks = self.0.as_chunks::<N>().0.iter();
        chunks.map(move |chunk| Shared(chunk).load(0, like))
    }
    #[inline(always)]
    fn rows(self, len: usize) -> impl Iterator<Item = Self> {
        self.0.chunks_exact(len).map(Self)
    }
    #[inline(always)]
    fn gather<const N: usize>(
        self,
        index: Lanes<S>,
        _bins: usize,
        stride: usize,
        like: Lanes<S>,
    ) -> [Lanes<S>; N] {
        let (simd, positions) = (like.0.simd, index.positions());
        let mut gathered = [like; N];
        // Four numbers of four lanes at a time; the last four overlap those before them.
        for at in (0..N.div_ceil(4)).map(|quad| (4 * quad).min(N.saturating_sub(4))) {
            let mut quads = [[f32x4::splat(simd, 0.0); 4]; 4];
            for (quad, positions) in quads.iter_mut().zip(positions.as_chunks::<4>().0) {
                let mut rows = [0.0; 16];
                for (row, k) in rows.as_chunks_mut::<4>().0.iter_mut().zip(positions) {
                    let numbers = &self.0[stride * k + at..];
                    if N < 4 {
                        row[..N].copy_from_slice(&numbers[..N]);
                    } else {
                        *row = *numbers.first_chunk().expect("every bin has its numbers");
                    }
                }
                *quad = f32x4::load_four_interleaved(simd, &rows);
            }
            let [a, b, c, d] = quads;
            for (n, gathered) in gathered[at..].iter_mut().enumerate().take(4) {
                gathered.0 = a[n].combine(b[n]).combine(c[n].combine(d[n]));
            }
        }
        gathered
    }
    #[inline(always)]
    fn product(self, x: &[Lanes<S>], y: &[Lanes<S>], out: &mut [Lanes<S>]) {
        product::forward(self.0, x, y, out);
    }
    #[inline(always)]
    fn product_backward(self, dout: &[Lanes<S>], dx: &mut [Lanes<S>], dy: &mut [Lanes<S>]) {
        product::backward(self.0, dout, dx, dy);
    }
}

/// The gradient of [`Shared`] weights: a sum over the samples.
pub(super) struct Sums<'g, S: Simd> {
    pub(super) simd: S,
    pub(super) sums: &'g mut [f32],
    /// The sums of a network's weights, behind the others.
    pub(super) network: &'g mut [f32],
    /// Products that wait for the last rows of a tile.
    pub(super) outer: &'g mut Outer<S>,
    /// Sums of bins that wait likewise.
    pub(super) bins: &'g mut Bins<S>,
}

impl<S: Simd> Gradient<Lanes<S>> for Sums<'_, S> {
    #[inline(always)]
    fn add_each(&mut self, start: usize, len: usize, value: impl Fn(usize) -> Lanes<S>) {
        let sums = &mut self.sums[start..start + len];
        let mut v = [f32x16::splat(self.simd, 0.0); LANES];
        for (block, sums) in sums.chunks_mut(LANES).enumerate() {
            // One place that calls `value`, so that it is compiled into this loop.
            for (i, v) in v.iter_mut().enumerate().take(sums.len()) {
                *v = value(LANES * block + i).0;
            }
            let totals = match sums.len() {
                ..=8 => product::totals::<8, S>(&v),
                _ => product::totals::<LANES, S>(&v),
            };
            sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
        }
    }
    #[inline(always)]
    fn add(&mut self, i: usize, value: Lanes<S>) {
        self.sums[i] += value.total();
    }
    #[inline(always)]
    fn scatter<const N: usize>(
        &mut self,
        values: [Lanes<S>; N],
        index: Lanes<S>,
        bins: usize,
        stride: usize,
    ) {
        self.bins.add(self.sums, values, index, bins, stride);
    }
    #[inline(always)]
    fn add_product(&mut self, dout: &[Lanes<S>], x: &[Lanes<S>], y: &[Lanes<S>]) {
        self.outer.add(self.network, dout, x, y);
    }
    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl Gradient<Lanes<S>> {
        let Self { simd, sums, network, outer, bins } = self;
        let (mut own, mut own_network) = Default::default();
        match start.checked_sub(sums.len()) {
            Some(start) => own_network = &mut network[start..start + len],
            None => own = &mut sums[start..start + len],
        }
        Sums { simd: *simd, sums: own, network: own_network, outer, bins }
    }
}
