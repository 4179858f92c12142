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

/// Statements behind a value that is rather kept than computed again.
const MUCH: usize = 16;

/// Statements in the order of their execution, in stages: a product ends each but the last.
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
    /// Columns of what a row keeps.
    pub(crate) columns: usize,
    /// Where values that stand side by side were kept.
    kept: HashMap<Vec<Written>, usize>,
    /// Where a value was kept first, and in which stage: later ones read it there.
    homes: HashMap<Written, (usize, usize)>,
    products: Vec<Product>,
}

#[derive(Debug)]
struct Statement {
    kind: Kind,
    uses: Vec<Written>,
    stage: usize,
}

#[derive(Debug)]
enum Kind {
    /// `let v7 = text;`.
    Value(String),
    /// The same of what holds or does not.
    Truth(String),
    /// The value of a column.
    Read(usize),
    /// The text.
    Store(String),
    /// Keeps the value in a column.
    Keep(usize),
}

/// A product of a network, which all rows wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    /// x → y = b + W·x, or dy → dx += Wᵀ·dy.
    pub(crate) backward: bool,
    /// Where its weights begin, and their rows and columns.
    pub(crate) weight: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// First columns of what it reads and writes.
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    /// Whether it begins a sum, or adds to what it writes.
    pub(crate) begins: bool,
}

impl Product {
    /// Columns that it writes.
    pub(crate) fn written(&self) -> usize {
        if self.backward { self.inputs } else { self.outputs }
    }
}

/// What each row does, and the product that follows.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Empty where there is nothing to do.
    pub(crate) text: String,
    /// The lowest column that it uses, from which it counts.
    pub(crate) first: usize,
    pub(crate) product: Option<Product>,
}

/// What `write` writes of a layer whose weights are `known`.
pub(crate) fn script(known: &[f32], write: impl FnOnce()) -> Script {
    let fresh = Script { known: known.to_vec(), ..Script::default() };
    SCRIPT.replace(fresh);
    write();
    let mut script = SCRIPT.take();
    script.keep_across_stages();
    script
}

fn with<T>(edit: impl FnOnce(&mut Script) -> T) -> T {
    SCRIPT.with_borrow_mut(edit)
}

impl Script {
    fn push(&mut self, kind: Kind, uses: &[Written]) -> Written {
        let stage = self.products.len();
        self.statements.push(Statement { kind, uses: uses.to_vec(), stage });
        Written(self.statements.len() as u32 - 1)
    }

    /// A value; the same text means the same value, which is not computed twice.
    fn value(&mut self, text: String, uses: &[Written]) -> Written {
        self.once(Kind::Value(text.clone()), text, uses)
    }

    fn once(&mut self, kind: Kind, text: String, uses: &[Written]) -> Written {
        if let Some(known) = self.values.get(&text) {
            return *known;
        }
        let value = self.push(kind, uses);
        self.values.insert(text, value);
        value
    }

    /// Keeps values side by side; the first of their columns.
    fn keep(&mut self, values: &[Written]) -> usize {
        if let Some(first) = self.kept.get(values) {
            return *first;
        }
        let first = self.columns;
        self.columns += values.len();
        self.kept.insert(values.to_vec(), first);
        for (column, value) in (first..).zip(values) {
            self.homes.entry(*value).or_insert((column, self.products.len()));
            self.push(Kind::Keep(column), &[*value]);
        }
        first
    }

    /// The column where a stage finds the value of a statement.
    fn home(&self, i: usize, stage: usize) -> Option<usize> {
        match self.statements[i].kind {
            Kind::Read(column) => Some(column),
            _ => {
                let (column, kept) = self.homes.get(&Written(i as u32))?;
                (*kept < stage).then_some(*column)
            }
        }
    }

    /// Which statements a stage needs.
    fn needed(&self, stage: usize) -> Vec<bool> {
        let mut needed = vec![false; self.statements.len()];
        for (i, Statement { kind, uses, stage: own }) in self.statements.iter().enumerate().rev() {
            needed[i] |= *own == stage && matches!(kind, Kind::Store(_) | Kind::Keep(_));
            if needed[i] && self.home(i, stage).is_none() {
                uses.iter().for_each(|Written(operand)| needed[*operand as usize] = true);
            }
        }
        needed
    }

    /// Keeps what takes long to compute and is needed in a later stage than its own.
    fn keep_across_stages(&mut self) {
        let mut work: Vec<usize> = Vec::with_capacity(self.statements.len());
        for Statement { uses, .. } in &self.statements {
            let operands: usize = uses.iter().map(|Written(operand)| work[*operand as usize]).sum();
            work.push((1 + operands).min(MUCH));
        }
        for stage in (1..=self.products.len()).rev() {
            let mut needed = self.needed(stage);
            while let Some(i) = (0..work.len()).rev().find(|i| {
                let Statement { kind, stage: own, .. } = &self.statements[*i];
                needed[*i]
                    && *own < stage
                    && work[*i] >= MUCH
                    && matches!(kind, Kind::Value(_))
                    && self.home(*i, stage).is_none()
            }) {
                let (column, own) = (self.columns, self.statements[i].stage);
                self.columns += 1;
                self.homes.insert(Written(i as u32), (column, own));
                let uses = vec![Written(i as u32)];
                self.statements.push(Statement { kind: Kind::Keep(column), uses, stage: own });
                // What it is computed from is no longer needed here.
                needed = self.needed(stage);
            }
        }
    }

    /// The stages, in their order.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        (0..=self.products.len()).map(|stage| self.stage(stage)).collect()
    }

    /// The statements of a stage that lead to something. What an earlier one kept is read, anything else
    /// computed once more.
    fn stage(&self, stage: usize) -> Stage {
        let used = self.needed(stage);
        let home = |i: usize| self.home(i, stage);
        let mut first = usize::MAX;
        for i in (0..used.len()).filter(|i| used[*i]) {
            let kept = match self.statements[i].kind {
                Kind::Keep(column) => Some(column),
                _ => home(i),
            };
            first = kept.map_or(first, |column| first.min(column));
        }
        let column = |c: usize| format!("g[(p.first + {}u) * p.rows + row]", c - first);
        let mut text = String::new();
        for (i, Statement { kind, uses, .. }) in self.statements.iter().enumerate() {
            if !used[i] {
                continue;
            }
            let line = match (kind, home(i)) {
                (Kind::Store(own), _) => writeln!(text, "    {own}"),
                (Kind::Keep(c), _) => {
                    let Written(value) = uses[0];
                    writeln!(text, "    {} = v{value};", column(*c))
                }
                (_, Some(c)) => writeln!(text, "    let v{i} = {};", column(c)),
                (Kind::Value(own) | Kind::Truth(own), None) => {
                    writeln!(text, "    let v{i} = {own};")
                }
                (Kind::Read(_), None) => unreachable!("a column is where it is"),
            };
            line.expect("a string takes every line");
        }
        let first = if first == usize::MAX { 0 } else { first };
        Stage { text, first, product: self.products.get(stage).copied() }
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
    let store = Kind::Store(format!("{place} = v{value};"));
    with(|script| script.push(store, &[Written(value)]));
}

/// Keeps numbers of the row for the sums over all rows; the first of their columns.
pub(crate) fn keep(values: &[Written]) -> usize {
    with(|script| script.keep(values))
}

/// The product of weights from `weight` on with `inputs`.
pub(crate) fn product(weight: usize, inputs: &[Written], outputs: &mut [Written]) {
    let (rows, columns) = (outputs.len(), inputs.len());
    multiply(inputs, outputs, |reads, writes| Product {
        backward: false,
        weight,
        outputs: rows,
        inputs: columns,
        reads,
        writes,
        begins: true,
    });
}

/// Adds the product of the same weights, transposed, with `outputs` to `inputs`.
pub(crate) fn product_backward(weight: usize, outputs: &[Written], inputs: &mut [Written]) {
    let (rows, columns, zero) = (outputs.len(), inputs.len(), zero());
    let begins = inputs.iter().all(|input| *input == zero);
    if !begins {
        let before = inputs.to_vec();
        with(|script| {
            // Behind what the product reads, where it writes.
            script.keep(outputs);
            for (column, value) in (script.columns..).zip(before) {
                script.push(Kind::Keep(column), &[value]);
            }
        });
    }
    multiply(outputs, inputs, |reads, writes| Product {
        backward: true,
        weight,
        outputs: rows,
        inputs: columns,
        reads,
        writes,
        begins,
    });
}

fn multiply(from: &[Written], to: &mut [Written], product: impl FnOnce(usize, usize) -> Product) {
    with(|script| {
        let reads = script.keep(from);
        let writes = script.columns;
        script.columns += to.len();
        script.products.push(product(reads, writes));
        for (column, to) in (writes..).zip(to) {
            *to = script.push(Kind::Read(column), &[]);
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
