//! Batches whose likelihood or gradient is not finite: they move nothing, and the rows to blame are
//! looked for.

use serde::{Deserialize, Serialize};

use super::Batch;
use crate::backend::Backend;
use crate::stack::Stack;

/// Rows that are named at most.
const MOST_NAMED: usize = 5;
/// Batches that are searched at most: a search costs some tens of evaluations.
const MOST_SEARCHED: usize = 20;

/// The batches that were skipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many.
    pub batches: usize,
    /// Of them, those since the last one that was not.
    pub(super) in_a_row: usize,
    /// The first training rows, by number, that are not finite alone.
    pub rows: Vec<u32>,
}

impl Skipped {
    /// Counts a batch, and looks for its rows whose likelihood or gradient with weights `w` is not
    /// finite; `dw` is scrap.
    pub(super) fn blame(
        &mut self,
        batch: Batch,
        stack: &Stack,
        w: &[f32],
        backend: &impl Backend,
        dw: &mut [f32],
    ) {
        let width = stack.row_len();
        self.count(batch.chosen, &mut |range| {
            let rows = &batch.rows[range.start * width..range.end * width];
            let nll = backend.nll_and_grad(stack, w, rows, dw).unwrap_or(f64::NAN);
            nll.is_finite() && dw.iter().all(|d| d.is_finite())
        });
    }

    /// Counts a batch of the rows `chosen` \[B\]; `finite` says whether those in a range of it are.
    fn count(&mut self, chosen: &[u32], finite: &mut impl FnMut(core::ops::Range<usize>) -> bool) {
        self.batches += 1;
        self.in_a_row += 1;
        if self.batches <= MOST_SEARCHED {
            self.search(chosen, 0..chosen.len(), finite);
        }
    }

    /// Adds the rows in `range`, which are not finite together, that are not finite alone.
    fn search(
        &mut self,
        chosen: &[u32],
        range: core::ops::Range<usize>,
        finite: &mut impl FnMut(core::ops::Range<usize>) -> bool,
    ) {
        if self.rows.len() >= MOST_NAMED {
            return;
        }
        if range.len() == 1 {
            let row = chosen[range.start];
            if !self.rows.contains(&row) {
                self.rows.push(row);
            }
            return;
        }
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            if !finite(half.clone()) {
                self.search(chosen, half, finite);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts a batch of rows 100, 101, ... of which those at `bad` are not finite.
    fn skipped(len: usize, bad: &[usize]) -> (Skipped, usize) {
        let chosen: Vec<u32> = (100..100 + len as u32).collect();
        let (mut skipped, mut calls) = (Skipped::default(), 0);
        skipped.count(&chosen, &mut |range| {
            calls += 1;
            !bad.iter().any(|i| range.contains(i))
        });
        (skipped, calls)
    }

    #[test]
    fn the_rows_to_blame_are_found_in_few_evaluations() {
        let (found, calls) = skipped(512, &[3, 400]);
        assert_eq!(found.rows, [103, 500]);
        assert_eq!((found.batches, found.in_a_row), (1, 1));
        assert!(calls <= 2 * 2 * 9, "{calls} evaluations");
        assert_eq!(skipped(1, &[0]).0.rows, [100]);
    }

    #[test]
    fn only_the_first_few_rows_are_named() {
        let all: Vec<usize> = (0..64).collect();
        assert_eq!(skipped(64, &all).0.rows, [100, 101, 102, 103, 104]);
    }

    #[test]
    fn rows_that_are_finite_alone_are_not_blamed() {
        let (found, _) = skipped(64, &[]);
        assert_eq!((found.batches, found.rows), (1, vec![]));
    }
}
