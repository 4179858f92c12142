//! The gradient of the numbers of bins, summed over the rows of a tile.
//!
//! Sixteen samples fall into bins, each with a few numbers. Added in place, where neighbouring bins
//! share a knot, every number of a sample would wait for the sample before. So each bin has sums of its
//! own, eight numbers in one vector, until the last rows of a tile were there.

use fearless_simd::{Simd, f32x8, prelude::*};

use crate::lanes::{LANES, Lanes};
use crate::outer::transpose;

/// Numbers of a bin at most.
const WIDTH: usize = 8;

/// Sums of one layer's bins that wait for the last rows of a tile.
pub(super) struct Bins<S: Simd> {
    /// Whether the rows that come are the first of the tile, and the last.
    first: bool,
    last: bool,
    /// Of each call, of each bin; every group of rows brings the same calls.
    sums: Vec<f32x8<S>>,
    /// Where those of the next call begin.
    next: usize,
}

impl<S: Simd> Default for Bins<S> {
    fn default() -> Self {
        Self { first: true, last: true, sums: Vec::new(), next: 0 }
    }
}

impl<S: Simd> Bins<S> {
    /// Begins with group `group` of `groups`, the first of which begins a layer.
    #[inline(always)]
    pub(super) fn begin(&mut self, group: usize, groups: usize) {
        (self.first, self.last, self.next) = (group == 0, group + 1 == groups, 0);
    }

    /// Adds to each sample's bin its N values; those of all groups are in `dw` when the last one has
    /// called, `stride` numbers from one bin to the next.
    #[inline(always)]
    pub(super) fn add<const N: usize>(
        &mut self,
        dw: &mut [f32],
        values: [Lanes<S>; N],
        index: Lanes<S>,
        bins: usize,
        stride: usize,
    ) {
        const { assert!(N <= WIDTH) };
        let zero = f32x8::splat(index.0.simd, 0.0);
        let (from, end) = (self.next, self.next + bins);
        self.next = end;
        if self.sums.len() < end {
            self.sums.resize(end, zero);
        }
        let sums = &mut self.sums[from..end];
        if self.first {
            sums.fill(zero);
        }
        let samples: [f32x8<S>; LANES] = transpose(&values);
        for (sample, k) in samples.into_iter().zip(index.positions()) {
            sums[k] += sample;
        }
        if self.last {
            for (k, sums) in sums.iter().enumerate() {
                let dw = dw[stride * k..].first_chunk_mut::<N>().expect("a bin has its numbers");
                dw.iter_mut().zip(sums.as_slice()).for_each(|(dw, sum)| *dw += sum);
            }
        }
    }
}
