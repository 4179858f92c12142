//! Sixteen samples that go through the core's kernels side by side.
//!
//! Sixteen on every instruction set (two registers of AVX2, one of AVX-512), so that the work is
//! cut the same way everywhere. These lanes train; scores come from the scalar path.

use core::ops::{Add, Div, Mul, Neg, Sub};

use fearless_simd::{Simd, SimdBase, f32x16, i32x16, mask32x16, prelude::*, u32x16};
use fluxlet::{Real, Weights};

/// Runs `$work` with `$simd`, the widest vectors that this processor has. Three kinds of x86 are told
/// apart (AVX-512, AVX2 with fused multiply-add, the rest), for each costs the whole catalogue of
/// layers once more in compile time.
macro_rules! with_lanes {
    ($simd:ident => $work:expr) => {{
        let level = fearless_simd::Level::new();
        #[cfg(target_arch = "x86_64")]
        {
            if let Some($simd) = level.as_avx512() {
                $work
            } else if let Some($simd) = level.as_avx2() {
                $work
            } else {
                let $simd = level.as_sse2().expect("every x86-64 has SSE2");
                $work
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        fearless_simd::dispatch!(level, $simd => $work)
    }};
}
pub(crate) use with_lanes;

/// Samples in a vector.
pub(super) const LANES: usize = 16;
/// Bins of which none is looked up: all are compared.
const FEW: usize = 20;

/// Whether sixteen numbers are one register.
#[inline(always)]
pub(super) const fn wide<S: Simd>() -> bool {
    <S::f32s as SimdBase<S>>::LEN >= LANES
}

/// One number of sixteen samples.
#[derive(Clone, Copy)]
pub(super) struct Lanes<S: Simd>(pub(super) f32x16<S>);

impl<S: Simd> Lanes<S> {
    /// The same number in every lane.
    #[inline(always)]
    pub(super) fn splat(simd: S, value: f32) -> Self {
        Self(f32x16::splat(simd, value))
    }

    /// Sum of all lanes, in a fixed order.
    #[inline(always)]
    pub(super) fn total(self) -> f32 {
        let lanes = self.0.to_array();
        let sum4 = |at: usize| (lanes[at] + lanes[at + 1]) + (lanes[at + 2] + lanes[at + 3]);
        (sum4(0) + sum4(4)) + (sum4(8) + sum4(12))
    }

    /// Each lane as a position in a table.
    #[inline(always)]
    pub(super) fn positions(self) -> [usize; LANES] {
        let positions: i32x16<S> = self.0.to_int();
        positions.to_array().map(|k| k as usize)
    }

    #[inline(always)]
    fn fused(self, factor: Self, addend: f32) -> Self {
        Self(self.0.mul_add(factor.0, f32x16::splat(self.0.simd, addend)))
    }
}

impl<S: Simd> Add for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl<S: Simd> Sub for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl<S: Simd> Mul for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }
}
impl<S: Simd> Div for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
}
impl<S: Simd> Neg for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

/// Horner's scheme with fused multiply-adds; the highest coefficient first.
#[inline(always)]
fn polynomial<S: Simd>(x: Lanes<S>, coefficients: &[f32]) -> Lanes<S> {
    let (first, rest) = (coefficients[0], &coefficients[1..]);
    let mut sum = x.lift(first);
    for c in rest {
        sum = sum.fused(x, *c);
    }
    sum
}

impl<S: Simd> Real for Lanes<S> {
    const LANES: usize = LANES;

    type Mask = mask32x16<S>;
    /// Whole numbers, because a table is searched by comparing.
    type Index = Self;
    type Exponent = Self;

    #[inline(always)]
    fn lift(self, value: f32) -> Self {
        Self::splat(self.0.simd, value)
    }
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        Self::splat(self.0.simd, value as f32)
    }
    #[inline(always)]
    fn ge(self, other: Self) -> Self::Mask {
        self.0.simd_ge(other.0)
    }
    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & b
    }
    #[inline(always)]
    fn all(mask: Self::Mask) -> bool {
        mask.all_true()
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(mask.select(yes.0, no.0))
    }
    /// Within 1 ulp of numbers between 2⁻¹²⁶ and 2¹²⁵. A division of sixteen numbers takes as long as
    /// thirty other operations. The bits of a number are about its logarithm, so that a constant
    /// minus them is y ≈ 1/x, off by 5 % at most; with e = 1 − x y, 1/x = y (1 + e + e² + …).
    #[inline(always)]
    fn recip(self) -> Self {
        let magic = u32x16::splat(self.0.simd, 0x7ef3_11c0);
        let y = Self(f32x16::from_bits(magic - self.0.to_bits()));
        let e = self.lift(1.0).add_product(-self, y);
        let y = y.add_product(y, e.add_product(e, e));
        let e = self.lift(1.0).add_product(-self, y);
        y.add_product(y, e)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }

    /// Within 2 ulp for positive normal numbers. With m in [√½, √2) and self = m 2ᵉ,
    /// ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …), s = (m − 1)/(m + 1), |s| < 0.172.
    #[inline(always)]
    fn ln(self) -> Self {
        let one = self.lift(1.0);
        let mut exponent = self.lift(0.0);
        let mantissa = self.take_exponent(&mut exponent);
        let high = mantissa.ge(self.constant(core::f64::consts::SQRT_2));
        let mantissa = Self::select(high, mantissa * self.lift(0.5), mantissa);
        let exponent = Self::select(high, exponent + one, exponent);
        let s = (mantissa - one) / (mantissa + one);
        let square = s * s;
        let series = polynomial(square, &[2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0]);
        let tail = s * square * series;
        // ln 2 in two parts, as for the exponential.
        let small = exponent * self.lift(-2.121_944_4e-4) + tail;
        exponent * self.lift(0.693_359_4) + (s + s + small)
    }

    /// ln(1 + u) = 2 artanh s = s (2 + 2/3 s² + …), s = u/(2 + u) ≤ ⅓; the series by its Chebyshev
    /// interpolant in s², off by 8e-9.
    #[inline(always)]
    fn ln_one_plus(self) -> Self {
        let s = self / (self + self.lift(2.0));
        s * polynomial(s * s, &[0.281_577_8, 0.279_651_58, 0.400_245_96, 0.666_663_2, 2.0])
    }

    /// Within 2 ulp on [−87, 88], clamped outside. With self = n ln 2 + r, |r| ≤ ½ ln 2, eʳ = 1 + r +
    /// r² times the Chebyshev interpolant of the rest, off by 1e-8; n is added to the exponent.
    #[inline(always)]
    fn exp(self) -> Self {
        let x = self.max(self.lift(-87.0)).min(self.lift(88.0));
        // What is added to 1.5 · 2²³ is rounded to a whole number, which stands in the lowest bits.
        let whole = self.lift(12_582_912.0);
        let shifted = whole.add_product(x, self.constant(core::f64::consts::LOG2_E));
        let n = shifted - whole;
        // ln 2 in two parts, the first with few bits, so that n ln 2 keeps all of its own.
        let r = x.add_product(n, self.lift(-0.693_359_4));
        let r = r.add_product(n, self.lift(2.121_944_4e-4));
        let coefficients =
            [1.392_618_2e-3, 8.363_178e-3, 4.166_655_6e-2, 1.666_657_6e-1, 0.5, 1.0, 1.0];
        let bits = polynomial(r, &coefficients).0.to_bits() + (shifted.0.to_bits() << 23);
        Self(f32x16::from_bits(bits))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        Self(self.0.floor())
    }
    #[inline(always)]
    fn to_index(self) -> usize {
        self.0.to_array()[0] as usize
    }
    #[inline(always)]
    fn no_exponent(self) -> Self {
        self.lift(0.0)
    }
    #[inline(always)]
    fn take_exponent(self, exponent: &mut Self) -> Self {
        let simd = self.0.simd;
        let bits = self.0.to_bits();
        let biased: i32x16<S> = (bits >> 23).bitcast();
        *exponent = *exponent + Self(f32x16::float_from(biased)) - self.lift(127.0);
        let mantissa = (bits & u32x16::splat(simd, 0x007f_ffff)) | u32x16::splat(simd, 0x3f80_0000);
        Self(f32x16::from_bits(mantissa))
    }
    #[inline(always)]
    fn exponent_value(self, exponent: Self) -> Self {
        exponent
    }
    #[inline(always)]
    fn index_value(self, index: Self) -> Self {
        index
    }
    #[inline(always)]
    fn value_index(self) -> Self {
        self
    }

    #[inline(always)]
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (Self, [Self; N]) {
        let (zero, one) = (self.lift(0.0), self.lift(1.0));
        let mut index = zero;
        // Where sixteen numbers are one register, a comparison chooses among six numbers with as many
        // instructions.
        let few = wide::<S>() && bins <= FEW;
        let mut values: [Self; N] = table.load(0, self);
        for k in 1..bins {
            let reached = self.ge(table.at(STRIDE * k + column, self));
            index = index + Self::select(reached, one, zero);
            if few {
                let next: [Self; N] = table.load(STRIDE * k, self);
                for (value, next) in values.iter_mut().zip(next) {
                    *value = Self::select(reached, next, *value);
                }
            }
        }
        if !few {
            values = table.gather(index, bins, STRIDE, self);
        }
        (index, values)
    }
    #[inline(always)]
    fn gather<const N: usize, W: Weights<Self>>(
        self,
        table: W,
        index: Self,
        bins: usize,
        stride: usize,
    ) -> [Self; N] {
        let mut values: [Self; N] = table.load(0, self);
        for k in 1..bins {
            let reached = index.ge(self.lift(k as f32));
            let next: [Self; N] = table.load(stride * k, self);
            for (value, next) in values.iter_mut().zip(next) {
                *value = Self::select(reached, next, *value);
            }
        }
        values
    }
    #[inline(always)]
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: Self,
        bins: usize,
        stride: usize,
    ) {
        let zero = index.lift(0.0);
        for k in 0..bins {
            let hit = index.0.simd_eq(index.lift(k as f32).0);
            for (entry, value) in table[stride * k..].iter_mut().zip(values) {
                *entry = *entry + Self::select(hit, value, zero);
            }
        }
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        Self(a.0.mul_add(b.0, self.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
}
