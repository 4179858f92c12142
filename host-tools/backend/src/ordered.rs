//! Sums that threads compute and that are added in a fixed order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cpu::lock;

/// For how long a thread that has no work left stays awake until the others have brought theirs: a
/// sleeping one takes some 50 µs to be woken, which is much of a step of a small flow.
const AWAKE: Duration = Duration::from_micros(200);

/// Adds up gradients in the order of their numbers, as they come.
///
/// No more of them wait than there are threads that have not yet brought an earlier one. Nobody waits
/// for an addition: what comes in the meantime is added by the thread that is at it.
pub(super) struct Ordered<'f> {
    len: usize,
    count: usize,
    state: Mutex<State<'f>>,
    /// Gradients that are in the total.
    added: AtomicUsize,
    /// Buffers that are used again.
    free: &'f Mutex<Vec<Vec<f32>>>,
}

struct State<'f> {
    waiting: BTreeMap<usize, (f64, Vec<f32>)>,
    /// Both sums; a thread that adds to them has them.
    total: Option<(f64, &'f mut [f32])>,
}

impl<'f> Ordered<'f> {
    /// `count` gradients whose sum is to be in `total`.
    pub(super) fn new(count: usize, total: &'f mut [f32], free: &'f Mutex<Vec<Vec<f32>>>) -> Self {
        let len = total.len();
        if count == 0 {
            total.fill(0.0);
        }
        let state = State { waiting: BTreeMap::new(), total: Some((0.0, total)) };
        Self { len, count, state: Mutex::new(state), added: AtomicUsize::new(0), free }
    }

    /// Numbers, whatever they are, for a gradient to be written in.
    pub(super) fn buffer(&self) -> Vec<f32> {
        let mut buffer = lock(self.free).pop().unwrap_or_default();
        buffer.resize(self.len, 0.0);
        buffer
    }

    /// Adds likelihood and gradient number `i`, once those before it were added.
    pub(super) fn add(&self, i: usize, nll: f64, dw: Vec<f32>) {
        lock(&self.state).waiting.insert(i, (nll, dw));
        while let Some((own, mut total)) = self.next() {
            let (nll, dw) = own;
            let first = self.added.load(Ordering::Relaxed) == 0;
            total.0 += nll;
            if first {
                total.1.copy_from_slice(&dw);
            } else {
                total.1.iter_mut().zip(&dw).for_each(|(total, dw)| *total += dw);
            }
            lock(self.free).push(dw);
            let mut state = lock(&self.state);
            state.total = Some(total);
            self.added.fetch_add(1, Ordering::Release);
        }
    }

    /// The gradient that is next, if it is there and nobody adds another, and what it is to be added to.
    #[expect(clippy::type_complexity, reason = "likelihood and gradient, twice")]
    fn next(&self) -> Option<((f64, Vec<f32>), (f64, &'f mut [f32]))> {
        let mut state = lock(&self.state);
        let total = state.total.take()?;
        match state.waiting.remove(&self.added.load(Ordering::Relaxed)) {
            Some(own) => Some((own, total)),
            None => {
                state.total = Some(total);
                None
            }
        }
    }

    /// Stays awake for the others' last gradients, though not for long.
    pub(super) fn wait(&self) {
        let begin = Instant::now();
        while self.added.load(Ordering::Acquire) < self.count && begin.elapsed() < AWAKE {
            std::thread::yield_now();
        }
    }

    /// The sum of the likelihoods; that of the gradients is where it was to be.
    pub(super) fn total(self) -> f64 {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.total.map_or(f64::NAN, |(nll, _)| nll)
    }
}
