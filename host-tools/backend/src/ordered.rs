//! Sums that threads compute and that are added in a fixed order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cpu::lock;

/// Adds up gradients in the order of their numbers, as they come.
///
/// No more of them wait than there are threads that have not yet brought an earlier one.
pub(super) struct Ordered<'f> {
    len: usize,
    state: Mutex<State>,
    /// Buffers that are used again.
    free: &'f Mutex<Vec<Vec<f32>>>,
}

struct State {
    /// Number of the gradient that is added next.
    next: usize,
    waiting: BTreeMap<usize, (f64, Vec<f32>)>,
    nll: f64,
    total: Option<Vec<f32>>,
}

impl<'f> Ordered<'f> {
    /// For gradients of `len` numbers.
    pub(super) fn new(len: usize, free: &'f Mutex<Vec<Vec<f32>>>) -> Self {
        let state = State { next: 0, waiting: BTreeMap::new(), nll: 0.0, total: None };
        Self { len, state: Mutex::new(state), free }
    }

    /// Zeros for a gradient to be summed in.
    pub(super) fn buffer(&self) -> Vec<f32> {
        let mut buffer = lock(self.free).pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(self.len, 0.0);
        buffer
    }

    /// Adds likelihood and gradient number `i`, once those before it were added.
    pub(super) fn add(&self, i: usize, nll: f64, dw: Vec<f32>) {
        let state = &mut *lock(&self.state);
        state.waiting.insert(i, (nll, dw));
        while let Some((nll, dw)) = state.waiting.remove(&state.next) {
            state.next += 1;
            state.nll += nll;
            match &mut state.total {
                None => state.total = Some(dw),
                Some(total) => {
                    total.iter_mut().zip(&dw).for_each(|(total, dw)| *total += dw);
                    lock(self.free).push(dw);
                }
            }
        }
    }

    /// The sum of the likelihoods; adds that of the gradients to `dw`.
    pub(super) fn total(self, dw: &mut [f64]) -> f64 {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(total) = state.total {
            dw.iter_mut().zip(&total).for_each(|(dw, total)| *dw += f64::from(*total));
            lock(self.free).push(total);
        }
        state.nll
    }
}
