//! A layer's weights in the GPU's memory, and what of a row's gradient is summed over the rows.

use std::cell::RefCell;

use fluxlet::{Gradient, Weights};

use crate::script::{self, Written};

/// Weights of a layer from `start` on.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    start: usize,
    len: usize,
}

impl Stored {
    /// All `len` weights of a layer.
    pub(crate) fn new(len: usize) -> Self {
        Self { start: 0, len }
    }

    fn parts(self, len: usize) -> impl Iterator<Item = Self> {
        (0..self.len / len).map(move |i| Self { start: self.start + i * len, len })
    }
}

impl Weights<Written> for Stored {
    fn len(self) -> usize {
        self.len
    }
    fn at(self, i: usize, _: Written) -> Written {
        script::weight(self.start + i)
    }
    fn part(self, start: usize, len: usize) -> Self {
        Self { start: self.start + start, len }
    }
    fn load<const N: usize>(self, start: usize, _: Written) -> [Written; N] {
        core::array::from_fn(|n| script::weight(self.start + start + n))
    }
    fn values(self, _: Written) -> impl Iterator<Item = Written> {
        (self.start..self.start + self.len).map(script::weight)
    }
    fn chunks<const N: usize>(self, like: Written) -> impl Iterator<Item = [Written; N]> {
        self.parts(N).map(move |part| part.load(0, like))
    }
    fn rows(self, len: usize) -> impl Iterator<Item = Self> {
        self.parts(len)
    }
    fn gather<const N: usize>(
        self,
        index: Written,
        _bins: usize,
        stride: usize,
        _: Written,
    ) -> [Written; N] {
        core::array::from_fn(|n| script::weight_at(self.start + n, stride, index))
    }
    fn product(self, x: &[Written], y: &[Written], out: &mut [Written]) {
        script::product(self.start, &[x, y].concat(), out);
    }
    fn product_backward(self, dout: &[Written], dx: &mut [Written], dy: &mut [Written]) {
        let mut both = [&*dx, &*dy].concat();
        script::product_backward(self.start, dout, &mut both);
        let (first, second) = both.split_at(dx.len());
        dx.copy_from_slice(first);
        dy.copy_from_slice(second);
    }
}

/// What rows add to the gradient of some weights; every number is in a column of what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// `column` to weight `weight`; where there is an `index`, only rows that have `k` in that column.
    Number { weight: usize, column: usize, index: Option<(usize, usize)> },
    /// `rows` columns from `dout` on times 1 and the `columns` columns from `x` on, to the weights of a
    /// network's product that begin at `weight`.
    Outer { weight: usize, dout: usize, rows: usize, x: usize, columns: usize },
}

/// The gradient of weights from `start` on.
pub(crate) struct Sums<'s> {
    start: usize,
    shares: &'s RefCell<Vec<Share>>,
}

impl<'s> Sums<'s> {
    /// That of all weights of a layer.
    pub(crate) fn new(shares: &'s RefCell<Vec<Share>>) -> Self {
        Self { start: 0, shares }
    }

    fn push(&self, share: Share) {
        self.shares.borrow_mut().push(share);
    }
}

impl Gradient<Written> for Sums<'_> {
    fn add_each(&mut self, start: usize, len: usize, value: impl Fn(usize) -> Written) {
        let values: Vec<Written> = (0..len).map(value).collect();
        let first = script::keep(&values);
        for i in 0..len {
            let weight = self.start + start + i;
            self.push(Share::Number { weight, column: first + i, index: None });
        }
    }
    fn scatter<const N: usize>(
        &mut self,
        values: [Written; N],
        index: Written,
        bins: usize,
        stride: usize,
    ) {
        let (first, at) = (script::keep(&values), script::keep(&[index]));
        for k in 0..bins {
            for n in 0..N {
                let weight = self.start + stride * k + n;
                self.push(Share::Number { weight, column: first + n, index: Some((at, k)) });
            }
        }
    }
    fn add_product(&mut self, dout: &[Written], x: &[Written], y: &[Written]) {
        let inputs = [x, y].concat();
        self.push(Share::Outer {
            weight: self.start,
            dout: script::keep(dout),
            rows: dout.len(),
            x: script::keep(&inputs),
            columns: inputs.len(),
        });
    }
    fn part(&mut self, start: usize, _len: usize) -> impl Gradient<Written> {
        Sums { start: self.start + start, shares: self.shares }
    }
}
