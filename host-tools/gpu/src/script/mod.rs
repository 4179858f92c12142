//! A number that writes down, as WGSL, what is done with it.
//!
//! The core's kernels are written over any kind of [`fluxlet::Real`]. Run with [`Written`], they leave a
//! [`Script`]: the statements that a GPU executes for each row. So a layer's mathematics stands in one
//! place for every machine, and a new layer needs nothing here.
//!
//! The products of networks are not written down: a script stops at each, until all rows have come so far.
//!
//! A kernel never asks what a number is, for lanes could disagree; the one exception is a weight that is
//! a position (a permutation's), which is read while the script is written.

mod written;

use core::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

pub(crate) use written::Written;
use written::literal;

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::default();
}

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
    /// The text. What is stored is what the next layer reads, and in the last stage: the others, too, read
    /// what it may overwrite.
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

#[cfg(test)]
mod tests {
    use fluxlet::Real;

    use super::*;

    fn x() -> Written {
        expression("x".into())
    }

    fn long(x: Written) -> Written {
        (0..MUCH).fold(x, |a, _| a.exp())
    }

    #[test]
    fn a_product_ends_a_stage_and_later_ones_read_what_took_long() {
        let script = script(&[], || {
            let (short, long) = (x() + x(), long(x()));
            let mut out = [zero(); 2];
            product(5, &[short], &mut out);
            store("z", out[1] * long * (x() - short));
        });
        let stages = script.stages();
        assert_eq!(stages.len(), 2);
        let Product { weight, outputs, inputs, reads, writes, .. } = stages[0].product.unwrap();
        assert_eq!((weight, outputs, inputs, reads, writes), (5, 2, 1, 0, 1));
        assert!(stages[1].product.is_none());
        assert_eq!(stages[0].text.matches("power_of_e").count(), MUCH);
        // Behind the product's columns.
        assert!(stages[0].text.contains("g[(p.first + 3u) * p.rows + row] = v"));
        assert_eq!(script.columns, 4);
        // An output, what took long, and the sum, which was kept for the product; x is read again.
        let text = &stages[1].text;
        assert_eq!(text.matches("power_of_e").count(), 0, "{text}");
        for column in [0, 2, 3] {
            assert_eq!(text.matches(&format!("(p.first + {column}u)")).count(), 1, "{text}");
        }
        assert!(text.contains("= x;"), "{text}");
    }

    #[test]
    fn what_holds_is_asked_again_of_numbers_that_were_kept() {
        let script = script(&[], || {
            let far = long(x()).ge(x());
            let mut out = [zero()];
            product(0, &[x()], &mut out);
            store("z", Written::select(far, out[0], x()));
        });
        let text = &script.stages()[1].text;
        assert!(text.contains(">="), "{text}");
        assert!(!text.contains("power_of_e"), "{text}");
    }

    #[test]
    fn a_sum_of_nothing_begins_and_another_is_added_to() {
        let script = script(&[], || {
            let mut first = [zero(); 2];
            product_backward(0, &[x()], &mut first);
            let mut second = first;
            product_backward(0, &[x() + x()], &mut second);
            store("z", second[0]);
        });
        let stages = script.stages();
        let [first, second] = [0, 1].map(|i: usize| stages[i].product.unwrap());
        assert!(first.begins);
        assert!(!second.begins);
        // What is added to stands where the product writes.
        assert_eq!((second.reads, second.writes), (3, 4));
        for column in [second.writes, second.writes + 1] {
            let kept = format!("g[(p.first + {}u) * p.rows + row] = v", column - stages[1].first);
            assert!(stages[1].text.contains(&kept), "{}", stages[1].text);
        }
    }

    #[test]
    fn the_same_numbers_side_by_side_are_kept_once() {
        let script = script(&[], || {
            let both = [x(), x() + x()];
            assert_eq!(keep(&both), 0);
            assert_eq!(keep(&both[..1]), 2);
            assert_eq!(keep(&both), 0);
        });
        assert_eq!(script.columns, 3);
    }
}
