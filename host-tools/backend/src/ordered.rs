//! Sums that threads compute and that are added in a fixed order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cpu::lock;

/// Adds up gradients in the order of their numbers, as they come.
///
/// No more of them wait than there are threads that have not yet brought an earlier one.
pub(super) struct Ordered<'f> {
    len: usize,
    state: Mutex<State<'f>>,
    /// Buffers that are used again.
    free: &'f Mutex<Vec<Vec<f32>>>,
}

struct State<'f> {
    /// Number of the gradient that is added next.
    next: usize,
    waiting: BTreeMap<usize, (f64, Vec<f32>)>,
    nll: f64,
    total: &'f mut [f32],
}

impl<'f> Ordered<'f> {
    /// Gradients whose sum is to be in `total`.
    pub(super) fn new(total: &'f mut [f32], free: &'f Mutex<Vec<Vec<f32>>>) -> Self {
        let len = total.len();
        let state = State { next: 0, waiting: BTreeMap::new(), nll: 0.0, total };
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
            if state.next == 0 {
                state.total.copy_from_slice(&dw);
            } else {
                state.total.iter_mut().zip(&dw).for_each(|(total, dw)| *total += dw);
            }
            state.next += 1;
            state.nll += nll;
            lock(self.free).push(dw);
        }
    }

    /// The sum of the likelihoods; that of the gradients is where it was to be.
    pub(super) fn total(self) -> f64 {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.next == 0 {
            state.total.fill(0.0);
        }
        state.nll
    }
}
