//! Numbers: the trait that every kernel is written over, and sums and products of them.
//!
//! A kernel uses `+ - * /` and the functions of [`Real`], nothing else; that is what makes its
//! `f32` result the same on every target.

mod elementary;
mod exp;
mod normal;
mod sum;

use core::ops::{Add, Div, Mul, Neg, Sub};

pub(crate) use elementary::{artanh, ln_1p, ln_one_minus_exp, logistic, softplus, tanh};
pub(crate) use normal::{normal_cdf, normal_quantile, normal_quantile_slope};
pub(crate) use sum::{LogProduct, Sum4, add_multiple, dot, sum4};

use crate::weights::Weights;

/// ln 2, to the last digit of `f64`.
pub(crate) const LN_2: f64 = core::f64::consts::LN_2;

/// ½ ln 2π: what each dimension of a standard normal subtracts from a log density.
pub(crate) const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// A number, or a vector of numbers that go through a kernel side by side.
///
/// Implemented for `f32` (the device, and every score), `f64` (reference), the tests' dual numbers
/// (exact derivatives) and the trainer's lanes (one sample a lane). Kernels choose with
/// [`Real::select`] where lanes could disagree, never with `if`.
pub trait Real:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Numbers side by side.
    const LANES: usize = 1;

    /// Outcome of a comparison, one truth a lane.
    type Mask: Copy;
    /// Position in a table, one a lane.
    type Index: Copy;
    /// Power of two set aside by [`Real::take_exponent`], one a lane.
    type Exponent: Copy;

    /// The weight `value` as a number of this kind; `self` only lends its kind (a vector finds its
    /// instruction set in its neighbour).
    fn lift(self, value: f32) -> Self;
    /// The mathematical constant `value`, rounded once to this kind.
    fn constant(self, value: f64) -> Self;
    /// Whether `self ≥ other`; false where either is NaN.
    fn ge(self, other: Self) -> Self::Mask;
    /// Both.
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Whether the mask holds in every lane.
    fn all(mask: Self::Mask) -> bool;
    /// `yes` where the mask holds, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;

    /// 1/self; lanes may be off in the last place, and know neither 0 nor numbers that are not normal.
    #[inline(always)]
    fn recip(self) -> Self {
        self.lift(1.0) / self
    }
    /// √self.
    fn sqrt(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + self) where 0 ≤ self ≤ 1, which lanes compute with less.
    #[inline(always)]
    fn ln_one_plus(self) -> Self {
        (self.lift(1.0) + self).ln()
    }
    /// e to the power of `self`.
    fn exp(self) -> Self;
    /// x ← eˣ of each number.
    #[inline(always)]
    fn exp_all(values: &mut [Self]) {
        for x in values {
            *x = x.exp();
        }
    }
    /// The greatest whole number that is not above `self`.
    fn floor(self) -> Self;
    /// `self` as a position, for weights that are positions (a permutation's).
    fn to_index(self) -> usize;

    /// 2⁰, to start a product with.
    fn no_exponent(self) -> Self::Exponent;
    /// Returns the mantissa of a positive `self`, in [1, 2), and adds its power of two to
    /// `exponent`, so that a long product neither overflows nor underflows. What is too small or too
    /// large for a normal number counts as the power of two next to its range.
    fn take_exponent(self, exponent: &mut Self::Exponent) -> Self;
    /// `exponent` as a number.
    fn exponent_value(self, exponent: Self::Exponent) -> Self;
    /// `index` as a number, to stand among numbers.
    fn index_value(self, index: Self::Index) -> Self;
    /// The index that [`Real::index_value`] made `self` of.
    fn value_index(self) -> Self::Index;

    /// The greatest `k` in `0..bins` with `table[STRIDE k + column] ≤ self`, or 0, where these numbers
    /// increase; and the N numbers from `table[STRIDE k]` on, two rows at most.
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (Self::Index, [Self; N]);
    /// N numbers from `table[stride index]` on, where every index is below `bins`.
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: Self::Index,
        bins: usize,
        stride: usize,
    ) -> [Self; N];
    /// Adds `values` to the N numbers from `table[stride index]` on.
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: Self::Index,
        bins: usize,
        stride: usize,
    );

    /// self + a b; lanes may round once where one number rounds twice.
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    /// The larger of two numbers.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::select(self.ge(other), self, other)
    }
    /// The smaller of two numbers.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::select(other.ge(self), self, other)
    }
    /// Whether `self` lies between 0 and a positive `whole`; of −0 it may say no.
    #[inline(always)]
    fn is_part(self, whole: Self) -> Self::Mask {
        Self::and(self.ge(self.lift(0.0)), whole.ge(self))
    }
    /// |self|.
    #[inline(always)]
    fn abs(self) -> Self {
        Self::max(self, -self)
    }
}

impl Real for f32 {
    type Mask = bool;
    type Index = usize;
    type Exponent = i32;

    #[inline(always)]
    fn lift(self, value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn ge(self, other: Self) -> bool {
        self >= other
    }
    #[inline(always)]
    fn and(a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn all(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn is_part(self, whole: Self) -> bool {
        // One comparison of whole numbers: positive ones are in the same order, and what is below 0 has
        // the highest bit.
        self.to_bits() <= whole.to_bits()
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        libm::sqrtf(self)
    }
    #[inline]
    fn ln(self) -> Self {
        libm::logf(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp::exp(self)
    }
    #[inline(always)]
    fn exp_all(values: &mut [Self]) {
        exp::exp_all(values);
    }
    #[inline(always)]
    fn floor(self) -> Self {
        libm::floorf(self)
    }
    #[inline(always)]
    fn to_index(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn no_exponent(self) -> i32 {
        0
    }
    #[inline(always)]
    fn take_exponent(self, exponent: &mut i32) -> Self {
        let bits = self.to_bits();
        *exponent += (bits >> 23) as i32 - 127;
        f32::from_bits((bits & !0x7f80_0000) | 0x3f80_0000)
    }
    #[inline(always)]
    fn exponent_value(self, exponent: i32) -> Self {
        exponent as f32
    }
    #[inline(always)]
    fn index_value(self, index: usize) -> Self {
        index as f32
    }
    #[inline(always)]
    fn value_index(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (usize, [Self; N]) {
        table.bisect::<STRIDE, N>(bins, column, self, |number| self >= number)
    }
    #[inline(always)]
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: usize,
        _bins: usize,
        stride: usize,
    ) -> [Self; N] {
        table.load(stride * index, self)
    }
    #[inline(always)]
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: usize,
        _bins: usize,
        stride: usize,
    ) {
        for (entry, value) in table[stride * index..].iter_mut().zip(values) {
            *entry += value;
        }
    }
}

impl Real for f64 {
    type Mask = bool;
    type Index = usize;
    type Exponent = i32;

    #[inline(always)]
    fn lift(self, value: f32) -> Self {
        f64::from(value)
    }
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn ge(self, other: Self) -> bool {
        self >= other
    }
    #[inline(always)]
    fn and(a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn all(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        libm::sqrt(self)
    }
    #[inline]
    fn ln(self) -> Self {
        libm::log(self)
    }
    #[inline]
    fn exp(self) -> Self {
        libm::exp(self)
    }
    #[inline(always)]
    fn floor(self) -> Self {
        libm::floor(self)
    }
    #[inline(always)]
    fn to_index(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn no_exponent(self) -> i32 {
        0
    }
    #[inline(always)]
    fn take_exponent(self, exponent: &mut i32) -> Self {
        let bits = self.to_bits();
        *exponent += (bits >> 52) as i32 - 1023;
        f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000)
    }
    #[inline(always)]
    fn exponent_value(self, exponent: i32) -> Self {
        f64::from(exponent)
    }
    #[inline(always)]
    fn index_value(self, index: usize) -> Self {
        index as f64
    }
    #[inline(always)]
    fn value_index(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (usize, [Self; N]) {
        table.bisect::<STRIDE, N>(bins, column, self, |number| self >= number)
    }
    #[inline(always)]
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: usize,
        _bins: usize,
        stride: usize,
    ) -> [Self; N] {
        table.load(stride * index, self)
    }
    #[inline(always)]
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: usize,
        _bins: usize,
        stride: usize,
    ) {
        for (entry, value) in table[stride * index..].iter_mut().zip(values) {
            *entry += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_the_bin_of_every_knot_and_clamps_at_both_ends() {
        let knots = [-1.0_f32, 0.0, 0.5, 2.0];
        for (x, bin) in [
            (-9.0_f32, 0),
            (-1.0, 0),
            (-0.1, 0),
            (0.0, 1),
            (0.5, 2),
            (2.0, 2),
            (9.0, 2),
            (f32::NAN, 0),
        ] {
            let found = x.search::<1, 2, _>(&knots[..], 3, 0);
            assert_eq!(found, (bin, [knots[bin], knots[bin + 1]]), "x = {x}");
        }
    }
}
