//! A number that writes down, as WGSL, what is done with it.
//!
//! The core's kernels are written over any kind of [`Real`]. Run with [`Written`], they leave a
//! [`Script`]: the statements that a GPU executes for each row. So a layer's mathematics stands in one
//! place for every machine, and a new layer needs nothing here.
//!
//! A kernel never asks what a number is, for lanes could disagree; the one exception is a weight that is
//! a position (a permutation's), which is read while the script is written.

use core::cell::RefCell;
use core::ops::{Add, Div, Mul, Neg, Sub};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use fluxlet::{Real, Weights};

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::default();
}

/// A number of the script: `v7` is number 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Written(u32);

/// Whether something holds, in the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth(Written);

/// Statements in the order of their execution.
#[derive(Debug, Default)]
pub(crate) struct Script {
    statements: Vec<Statement>,
    /// Values that were written before, by their text.
    values: HashMap<String, Written>,
    /// Which statement is which weight of the layer.
    weights: HashMap<Written, usize>,
    /// The layer's weights as they are, for those that are positions.
    known: Vec<f32>,
    /// Those that were read as positions.
    pub(crate) positions: BTreeMap<usize, u32>,
    /// Numbers that products read and write.
    memory: usize,
    /// Columns of [`Self::keep`].
    pub(crate) columns: usize,
}

#[derive(Debug)]
struct Statement {
    text: String,
    uses: Vec<Written>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `let v7 = text;`.
    Value,
    /// The text, if what it leaves is used.
    Work,
    /// The text.
    Store,
}

/// What `write` writes of a layer whose weights are `known`.
pub(crate) fn script(known: &[f32], write: impl FnOnce()) -> Script {
    let fresh = Script { known: known.to_vec(), ..Script::default() };
    SCRIPT.replace(fresh);
    write();
    SCRIPT.take()
}

fn with<T>(edit: impl FnOnce(&mut Script) -> T) -> T {
    SCRIPT.with_borrow_mut(edit)
}

impl Script {
    fn push(&mut self, text: String, uses: &[Written], kind: Kind) -> Written {
        self.statements.push(Statement { text, uses: uses.to_vec(), kind });
        Written(self.statements.len() as u32 - 1)
    }

    /// A value; the same text means the same value, which is not computed twice.
    fn value(&mut self, text: String, uses: &[Written]) -> Written {
        if let Some(known) = self.values.get(&text) {
            return *known;
        }
        let value = self.push(text.clone(), uses, Kind::Value);
        self.values.insert(text, value);
        value
    }

    /// Numbers of memory that the script needs, at least 1.
    pub(crate) fn memory(&self) -> usize {
        self.memory.max(1)
    }

    /// The statements that lead to something.
    pub(crate) fn text(&self) -> String {
        let mut used = vec![false; self.statements.len()];
        for (i, statement) in self.statements.iter().enumerate().rev() {
            used[i] |= statement.kind == Kind::Store;
            if used[i] {
                statement.uses.iter().for_each(|Written(operand)| used[*operand as usize] = true);
            }
        }
        let mut text = String::new();
        for (i, (Statement { text: own, kind, .. }, _)) in
            self.statements.iter().zip(&used).enumerate().filter(|(_, (_, used))| **used)
        {
            let line = match kind {
                Kind::Value => writeln!(text, "    let v{i} = {own};"),
                Kind::Work | Kind::Store => writeln!(text, "    {own}"),
            };
            line.expect("a string takes every line");
        }
        text
    }
}

/// The value of an expression that reads nothing but constants of the call.
pub(crate) fn expression(text: String) -> Written {
    with(|script| script.value(text, &[]))
}

/// 0, which no sum is larger by.
pub(crate) fn zero() -> Written {
    expression(literal(0.0))
}

/// Free parameter `i` of the layer.
pub(crate) fn theta(i: usize) -> Written {
    expression(format!("s[tb + {i}u]"))
}

/// The gradient of weight `i` of the layer.
pub(crate) fn weight_gradient(i: usize) -> Written {
    expression(format!("dw[wb + {i}u]"))
}

/// Weight `i` of the layer.
pub(crate) fn weight(i: usize) -> Written {
    with(|script| {
        let value = script.value(format!("w[wb + {i}u]"), &[]);
        script.weights.insert(value, i);
        value
    })
}

/// Weight `i` + `stride` × `index` of the layer.
pub(crate) fn weight_at(i: usize, stride: usize, Written(index): Written) -> Written {
    let text = format!("w[wb + {i}u + {stride}u * u32(v{index})]");
    with(|script| script.value(text, &[Written(index)]))
}

/// Executes `place = value;`.
pub(crate) fn store(place: &str, Written(value): Written) {
    with(|script| script.push(format!("{place} = v{value};"), &[Written(value)], Kind::Store));
}

/// Keeps numbers of the row for the sums over all rows; the first of their columns.
pub(crate) fn keep(values: &[Written]) -> usize {
    let first = with(|script| {
        script.columns += values.len();
        script.columns - values.len()
    });
    for (i, value) in values.iter().enumerate() {
        store(&format!("g[{}u * p.rows + row]", first + i), *value);
    }
    first
}

/// Puts `inputs` and `outputs` into memory, lets `call` work on them (it is told where the outputs are)
/// and reads the outputs.
pub(crate) fn in_memory(
    inputs: &[Written],
    outputs: &mut [Written],
    call: impl FnOnce(usize) -> String,
) {
    with(|script| {
        let mut text = String::new();
        let both = inputs.iter().chain(&*outputs);
        for (i, Written(value)) in both.clone().enumerate() {
            write!(text, "m[{i}] = v{value}; ").expect("a string takes every line");
        }
        text += &call(inputs.len());
        let uses: Vec<Written> = both.copied().collect();
        script.memory = script.memory.max(uses.len());
        let work = script.push(text, &uses, Kind::Work);
        for (i, output) in outputs.iter_mut().enumerate() {
            // Not by `value`: the next call writes to the same place.
            *output = script.push(format!("m[{}]", inputs.len() + i), &[work], Kind::Value);
        }
    });
}

/// A number as WGSL writes it, where no constant may be a NaN or infinite.
fn literal(value: f32) -> String {
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
        Truth(binary(">=", self, other))
    }
    fn and(Truth(a): Truth, Truth(b): Truth) -> Truth {
        Truth(binary("&&", a, b))
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
            let hit = Truth(binary("==", index, index.lift(k as f32)));
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
