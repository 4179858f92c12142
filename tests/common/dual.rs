//! Dual numbers: a value and one exact derivative, so that a kernel differentiates itself.

use core::ops::{Add, Div, Mul, Neg, Sub};

use fluxlet::math::Real;
use fluxlet::weights::Weights;

/// v + d ε with ε² = 0. Comparisons, selections and positions follow the value alone, so the
/// derivative is that of the branch which a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dual {
    pub(crate) v: f64,
    pub(crate) d: f64,
}

impl Dual {
    pub(crate) fn constant(v: f64) -> Self {
        Self { v, d: 0.0 }
    }
}

/// `values` with derivative 1 at position `seed` and 0 elsewhere.
pub(crate) fn seeded(values: &[f64], seed: usize) -> Vec<Dual> {
    let mut duals: Vec<Dual> = values.iter().map(|v| Dual::constant(*v)).collect();
    duals[seed].d = 1.0;
    duals
}

/// `values` as constants.
pub(crate) fn constants(values: &[f64]) -> Vec<Dual> {
    values.iter().map(|v| Dual::constant(*v)).collect()
}

impl Add for Dual {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { v: self.v + o.v, d: self.d + o.d }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { v: self.v - o.v, d: self.d - o.d }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { v: self.v * o.v, d: self.d * o.v + self.v * o.d }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        let v = self.v / o.v;
        Self { v, d: (self.d - v * o.d) / o.v }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { v: -self.v, d: -self.d }
    }
}

impl Real for Dual {
    type Mask = bool;
    type Index = usize;
    type Exponent = i32;

    fn lift(self, value: f32) -> Self {
        Self::constant(f64::from(value))
    }
    fn constant(self, value: f64) -> Self {
        Self::constant(value)
    }
    fn ge(self, other: Self) -> bool {
        self.v >= other.v
    }
    fn and(a: bool, b: bool) -> bool {
        a && b
    }
    fn all(mask: bool) -> bool {
        mask
    }
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    fn sqrt(self) -> Self {
        let v = Real::sqrt(self.v);
        Self { v, d: self.d / (2.0 * v) }
    }
    fn ln(self) -> Self {
        Self { v: Real::ln(self.v), d: self.d / self.v }
    }
    fn exp(self) -> Self {
        let v = Real::exp(self.v);
        Self { v, d: self.d * v }
    }
    fn floor(self) -> Self {
        Self::constant(Real::floor(self.v))
    }
    fn to_index(self) -> usize {
        self.v as usize
    }
    fn no_exponent(self) -> i32 {
        0
    }
    fn take_exponent(self, exponent: &mut i32) -> Self {
        // Dividing by a constant power of two: the derivative is divided too.
        let v = Real::take_exponent(self.v, exponent);
        Self { v, d: self.d * (v / self.v) }
    }
    fn exponent_value(self, exponent: i32) -> Self {
        Self::constant(f64::from(exponent))
    }
    fn index_value(self, index: usize) -> Self {
        Self::constant(index as f64)
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
        // From the definition, not by bisection, so that one checks the other.
        let reached = |k: &usize| self.v >= table.at(STRIDE * k + column, self).v;
        let k = (0..bins).rev().find(reached).unwrap_or(0);
        (k, table.load(STRIDE * k, self))
    }
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: usize,
        bins: usize,
        stride: usize,
    ) -> [Self; N] {
        assert!(index < bins, "index {index} of {bins} bins");
        core::array::from_fn(|n| table.at(stride * index + n, self))
    }
    fn min(self, other: Self) -> Self {
        // A kernel's bound on a result that only a rounding can exceed is not part of the function:
        // where the two are that close, the derivative stays the first's.
        let rounding = 8.0 * f64::EPSILON * other.v.abs();
        if other.v >= self.v || self.v - other.v > rounding {
            return Self::select(other.ge(self), self, other);
        }
        Self { v: other.v, d: self.d }
    }
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: usize,
        _bins: usize,
        stride: usize,
    ) {
        for (n, value) in values.into_iter().enumerate() {
            table[stride * index + n] = table[stride * index + n] + value;
        }
    }
}
