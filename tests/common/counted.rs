//! Numbers that count their multiplications.

use std::cell::Cell;
use std::ops::{Add, Div, Mul, Neg, Sub};

use fluxlet::math::Real;
use fluxlet::weights::Weights;

thread_local! {
    static MULTIPLICATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Multiplications and divisions that `work` does with [`Counted`] numbers.
pub(crate) fn count(work: impl FnOnce()) -> u64 {
    MULTIPLICATIONS.set(0);
    work();
    MULTIPLICATIONS.get()
}

fn one_more() {
    MULTIPLICATIONS.set(MULTIPLICATIONS.get() + 1);
}

/// A number of `f64`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted(pub(crate) f64);

impl Add for Counted {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl Sub for Counted {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl Mul for Counted {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        one_more();
        Self(self.0 * other.0)
    }
}
impl Div for Counted {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        one_more();
        Self(self.0 / other.0)
    }
}
impl Neg for Counted {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Real for Counted {
    type Mask = bool;
    type Index = usize;
    type Exponent = i32;

    fn lift(self, value: f32) -> Self {
        Self(f64::from(value))
    }
    fn constant(self, value: f64) -> Self {
        Self(value)
    }
    fn ge(self, other: Self) -> bool {
        self.0 >= other.0
    }
    fn and(a: bool, b: bool) -> bool {
        a & b
    }
    fn all(mask: bool) -> bool {
        mask
    }
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    fn sqrt(self) -> Self {
        Self(Real::sqrt(self.0))
    }
    fn ln(self) -> Self {
        Self(Real::ln(self.0))
    }
    fn exp(self) -> Self {
        Self(Real::exp(self.0))
    }
    fn floor(self) -> Self {
        Self(Real::floor(self.0))
    }
    fn to_index(self) -> usize {
        self.0 as usize
    }
    fn no_exponent(self) -> i32 {
        0
    }
    fn take_exponent(self, exponent: &mut i32) -> Self {
        Self(self.0.take_exponent(exponent))
    }
    fn exponent_value(self, exponent: i32) -> Self {
        Self(f64::from(exponent))
    }
    fn index_value(self, index: usize) -> Self {
        Self(index as f64)
    }
    fn value_index(self) -> usize {
        self.to_index()
    }
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (usize, [Self; N]) {
        table.bisect::<STRIDE, N>(bins, column, self, |number| self.0 >= number.0)
    }
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: usize,
        _bins: usize,
        stride: usize,
    ) -> [Self; N] {
        table.load(stride * index, self)
    }
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: usize,
        _bins: usize,
        stride: usize,
    ) {
        for (entry, value) in table[stride * index..].iter_mut().zip(values) {
            entry.0 += value.0;
        }
    }
}
