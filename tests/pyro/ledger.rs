//! What is allowed, and the worst that was seen.

use std::collections::BTreeMap;

use crate::block::Sum;
use crate::common::Worst;

/// What `f64` allows, times 1 + |expected|. An independent implementation in numpy reached 3e-13
/// (y, u), 2e-11, 1e-7, 2e-10 and 1e-6: the steepest bins condition the inverse badly.
const TOLERANCES: [(&str, f64); 13] = [
    ("y", 1e-10),
    ("u", 1e-10),
    ("ldj", 1e-9),
    ("ildj", 1e-6),
    ("nll", 1e-6),
    ("vjp.x", 1e-8),
    ("vjp.context", 1e-8),
    ("vjp.param", 1e-8),
    ("nllgrad.v", 1e-5),
    ("nllgrad.context", 1e-5),
    ("nllgrad.param", 1e-5),
    // y and u where Pyro takes the left bin: the parabola over the slack, 1e-6 wide.
    ("y and u in the slack", 1e-7),
    // In units of what is allowed, see `f32_allows`.
    ("f32", 1.0),
];

/// `f32` may be off by this many times Pyro's own error in `f32`, plus 1e-5 of 1 + |expected|.
const TIMES_PYRO: f64 = 4.0;

/// What a number in `f32` may be off by, where Pyro's is off by `theirs`.
pub(crate) fn f32_allows(theirs: f64, expected: f64) -> f64 {
    TIMES_PYRO * theirs + 1e-5 * (1.0 + expected.abs())
}

/// Worst deviations so far: of each quantity, and of each type as a share of what is allowed.
pub(crate) struct Ledger {
    quantities: BTreeMap<&'static str, (Worst, f64)>,
    types: BTreeMap<String, Worst>,
    /// Type of the case that is being checked, and its kind of number.
    kind: String,
    /// Numbers that are not compared.
    left_out: usize,
    /// Values for which Pyro's bin was put in the place of ours.
    exchanged: usize,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let quantity = |(what, by)| (what, (Worst::new(what, by), by));
        let quantities = TOLERANCES.into_iter().map(quantity).collect();
        Self { quantities, types: BTreeMap::new(), kind: String::new(), left_out: 0, exchanged: 0 }
    }

    /// A case of this type and kind of number follows.
    pub(crate) fn open(&mut self, kind: &str, number: &str) {
        self.kind = format!("{kind} {number}");
    }

    /// Counts a number that is not compared.
    pub(crate) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Counts values for which Pyro's bin is not ours.
    pub(crate) fn exchange(&mut self, values: usize) {
        self.exchanged += values;
    }

    /// Prints both counts.
    pub(crate) fn report(&self) {
        let Self { left_out, exchanged, .. } = self;
        println!("{exchanged} values in Pyro's slack, {left_out} numbers of fuzzy rows left out");
    }

    /// Compares two numbers; the allowed difference is the quantity's tolerance times `scale`.
    fn compare(&mut self, what: &str, (got, expected): (f64, f64), scale: f64, place: &str) {
        let (worst, by) = self.quantities.get_mut(what).expect("a row of the table of tolerances");
        worst.compare(got, expected, scale, || place.to_owned());
        let new = || Worst::new(format!("{}, of what is allowed", self.kind), 1.0);
        let of_type = self.types.entry(self.kind.clone()).or_insert_with(new);
        of_type.compare(got, expected, scale * *by, || format!("{what}: {place}"));
    }

    pub(crate) fn check(&mut self, what: &str, got: f64, expected: f64, place: &str) {
        self.compare(what, (got, expected), 1.0 + expected.abs(), place);
    }

    pub(crate) fn check_f32(&mut self, got: f32, expected: f64, theirs: f64, place: &str) {
        self.compare("f32", (f64::from(got), expected), f32_allows(theirs, expected), place);
    }

    pub(crate) fn check_all(&mut self, what: &str, got: &[f64], expected: &[f64], place: &str) {
        assert_eq!(got.len(), expected.len(), "{what}: {place}");
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            self.check(what, *got, *expected, &format!("{place} {i}"));
        }
    }

    /// Sums in which contributions of bins were exchanged are allowed the roundings of those.
    pub(crate) fn check_sum(&mut self, what: &str, got: &Sum, expected: &[f64], place: &str) {
        assert_eq!(got.total.len(), expected.len(), "{what}: {place}");
        for (i, expected) in expected.iter().enumerate() {
            let scale = 1.0 + expected.abs() + got.exchanged[i];
            self.compare(what, (got.total[i], *expected), scale, &format!("{place} {i}"));
        }
    }
}
