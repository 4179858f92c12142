//! [`Written`] as a kind of number: every operation is a statement.

use core::ops::{Add, Div, Mul, Neg, Sub};

use fluxlet::{Real, Weights};

use super::{Kind, expression, with, zero};

/// A number of the script: `v7` is number 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Written(pub(super) u32);

/// Whether something holds, in the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth(Written);

/// A number as WGSL writes it, where no constant may be a NaN or infinite.
pub(super) fn literal(value: f32) -> String {
    match value {
        _ if value.is_nan() => String::from("nan()"),
        f32::INFINITY => String::from("infinity()"),
        f32::NEG_INFINITY => String::from("-infinity()"),
        _ => format!("f32({value:?})"),
    }
}

fn unary(function: &str, Written(a): Written) -> Written {
    with(|script| script.value(format!("{function}(v{a})"), &[Written(a)]))
}

fn binary(operator: &str, Written(a): Written, Written(b): Written) -> Written {
    let text = format!("v{a} {operator} v{b}");
    with(|script| script.value(text, &[Written(a), Written(b)]))
}

fn truth(operator: &str, Written(a): Written, Written(b): Written) -> Truth {
    let text = format!("v{a} {operator} v{b}");
    let uses = [Written(a), Written(b)];
    Truth(with(|script| script.once(Kind::Truth(text.clone()), text, &uses)))
}

fn call2(function: &str, Written(a): Written, Written(b): Written) -> Written {
    let text = format!("{function}(v{a}, v{b})");
    with(|script| script.value(text, &[Written(a), Written(b)]))
}

impl Add for Written {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        match zero() {
            zero if zero == self => other,
            zero if zero == other => self,
            _ => binary("+", self, other),
        }
    }
}
impl Sub for Written {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        binary("-", self, other)
    }
}
impl Mul for Written {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        binary("*", self, other)
    }
}
impl Div for Written {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        binary("/", self, other)
    }
}
impl Neg for Written {
    type Output = Self;
    fn neg(self) -> Self {
        unary("-", self)
    }
}

impl Real for Written {
    // Any number but 1: the rows go side by side.
    const LANES: usize = 32;

    type Mask = Truth;
    /// Whole numbers, because a table is searched by comparing.
    type Index = Self;
    type Exponent = Self;

    fn lift(self, value: f32) -> Self {
        expression(literal(value))
    }
    fn constant(self, value: f64) -> Self {
        expression(literal(value as f32))
    }
    fn ge(self, other: Self) -> Truth {
        truth(">=", self, other)
    }
    fn and(Truth(a): Truth, Truth(b): Truth) -> Truth {
        truth("&&", a, b)
    }
    fn all(_: Truth) -> bool {
        // Of which rows it holds is not known yet.
        false
    }
    fn select(Truth(Written(mask)): Truth, Written(yes): Self, Written(no): Self) -> Self {
        let text = format!("select(v{no}, v{yes}, v{mask})");
        with(|script| script.value(text, &[Written(mask), Written(yes), Written(no)]))
    }
    fn sqrt(self) -> Self {
        unary("sqrt", self)
    }
    fn ln(self) -> Self {
        unary("ln", self)
    }
    fn ln_one_plus(self) -> Self {
        unary("ln_one_plus", self)
    }
    fn exp(self) -> Self {
        unary("power_of_e", self)
    }
    fn floor(self) -> Self {
        unary("floor", self)
    }
    fn to_index(self) -> usize {
        with(|script| {
            let i = script.weights.get(&self).copied().expect("a position is a weight");
            let position = script.known[i];
            script.positions.insert(i, position.to_bits());
            position as usize
        })
    }
    fn no_exponent(self) -> Self {
        self.lift(0.0)
    }
    fn take_exponent(self, exponent: &mut Self) -> Self {
        *exponent = *exponent + unary("exponent", self);
        unary("mantissa", self)
    }
    fn exponent_value(self, exponent: Self) -> Self {
        exponent
    }
    fn index_value(self, index: Self) -> Self {
        index
    }
    fn value_index(self) -> Self {
        self
    }
    fn search<const STRIDE: usize, const N: usize, W: Weights<Self>>(
        self,
        table: W,
        bins: usize,
        column: usize,
    ) -> (Self, [Self; N]) {
        let (zero, one) = (self.lift(0.0), self.lift(1.0));
        let mut index = zero;
        for k in 1..bins {
            let reached = self.ge(table.at(STRIDE * k + column, self));
            index = index + Self::select(reached, one, zero);
        }
        (index, table.gather(index, bins, STRIDE, self))
    }
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
    fn scatter<const N: usize>(
        values: [Self; N],
        table: &mut [Self],
        index: Self,
        bins: usize,
        stride: usize,
    ) {
        let zero = index.lift(0.0);
        for k in 0..bins {
            let hit = truth("==", index, index.lift(k as f32));
            for (entry, value) in table[stride * k..].iter_mut().zip(values) {
                *entry = *entry + Self::select(hit, value, zero);
            }
        }
    }
    fn add_product(self, a: Self, b: Self) -> Self {
        if self == zero() {
            return a * b;
        }
        let (Self(sum), Self(x), Self(y)) = (self, a, b);
        with(|script| script.value(format!("fma(v{x}, v{y}, v{sum})"), &[a, b, self]))
    }
    fn max(self, other: Self) -> Self {
        call2("max", self, other)
    }
    fn min(self, other: Self) -> Self {
        call2("min", self, other)
    }
    fn abs(self) -> Self {
        unary("abs", self)
    }
}
