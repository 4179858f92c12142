//! Forward, likelihood and backward on the CPU: the core's kernels over lanes, on all threads.
//!
//! A batch goes through the flow in tiles of 64 rows, forward and at once back, so that what the layers
//! keep for the way back never leaves the cache; where many layers keep more than that holds, a tile has
//! fewer rows. The tiles are the same whatever the number of threads, and their gradients are added in
//! a fixed order, so that the thread count never shows in the result. Memory grows neither with the
//! batch nor with depth. A reversible flow does not even keep that: on the way back each layer's
//! inverse finds its input again.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fearless_simd::Simd;
use rayon::prelude::*;

use crate::lanes::with_lanes;
use crate::ordered::{Ordered, STRANDS};
use crate::stack::Stack;
use crate::tape::{Buffers, Keep, TILE, Tape, tile_rows};
use crate::{Backend, Failed};

/// Share of a column's range by which a row that was found again may miss the row that it was.
const DRIFT: f32 = 1e-3;
/// The same in roundings of the column's largest number.
const ROUNDINGS: f32 = 64.0;

/// The CPU, on the threads of rayon's current pool.
///
/// It keeps its buffers from one call to the next: a step of a small flow takes about as long as the
/// operating system needs to hand out fresh memory for it.
#[derive(Debug, Default)]
pub struct Cpu {
    reversible: bool,
    drifts: AtomicUsize,
    buffers: Mutex<Vec<Box<dyn Any + Send>>>,
    gradients: Mutex<Vec<Vec<f32>>>,
}

impl Cpu {
    /// One that keeps nothing of a layer for the way back but finds it again by the layer's inverse.
    ///
    /// Where that misses a row by more than a thousandth of its column's range, the tile is computed a
    /// second time, in the usual way.
    pub fn reversible() -> Self {
        Self { reversible: true, ..Self::default() }
    }

    /// Tiles of rows that an inverse missed.
    pub fn drifts(&self) -> usize {
        self.drifts.load(Ordering::Relaxed)
    }

    /// Where one thread takes rows through the flow.
    fn tape<'s, S: Simd>(
        &self,
        simd: S,
        stack: &'s Stack,
        w: &'s [f32],
        keep: Keep,
    ) -> Tape<'s, S> {
        let buffers = lock(&self.buffers).pop().and_then(|any| any.downcast().ok());
        Tape::new(simd, stack, w, keep, buffers.map_or_else(Buffers::default, |found| *found))
    }

    fn give_back<S: Simd>(&self, tape: Tape<S>) {
        lock(&self.buffers).push(Box::new(tape.buffers));
    }
}

/// The lock of a list that is never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Cpu {
    fn nll_and_grad(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        dw: &mut [f32],
    ) -> Result<f64, Failed> {
        let (keep, drift) = if self.reversible {
            (Keep::Layer, allowed_drift(rows, stack))
        } else {
            (Keep::All, Vec::new())
        };
        let tile = tile_rows(stack, keep) * stack.row_len();
        let tiles = rows.len().div_ceil(tile);
        let mut other = lock(&self.gradients).pop().unwrap_or_default();
        other.resize(dw.len(), 0.0);
        let sums = Ordered::new(tiles, dw, &mut other, &self.gradients);
        let workers = rayon::current_num_threads().min(tiles);
        (0..workers).into_par_iter().with_max_len(1).for_each(|worker| {
            with_lanes!(simd => {
                let mut tape = self.tape(simd, stack, w, keep);
                let mut strand = worker % STRANDS;
                while let Some(mut taken) = sums.take(strand, self.reversible) {
                    let rows = &rows[taken.tile * tile..];
                    let rows = &rows[..tile.min(rows.len())];
                    let first = taken.first;
                    let nll = tape.nll_and_grad(rows, &drift, first, taken.dw());
                    let nll = nll.unwrap_or_else(|| {
                        self.drifts.fetch_add(1, Ordering::Relaxed);
                        let mut tape = self.tape(simd, stack, w, Keep::All);
                        let nll = tape.nll_and_grad(rows, &[], first, taken.dw());
                        self.give_back(tape);
                        nll.expect("what was kept does not drift")
                    });
                    strand = taken.strand;
                    sums.add(taken, nll);
                }
                self.give_back(tape);
                sums.wait();
            });
        });
        let nll = sums.total();
        lock(&self.gradients).push(other);
        Ok(nll)
    }

    fn log_prob(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        in_shards(stack, rows, out, 1, |rows, out| {
            with_lanes!(simd => {
                let mut tape = self.tape(simd, stack, w, Keep::Nothing);
                tape.log_prob(rows, out);
                self.give_back(tape);
            });
        });
        Ok(())
    }

    fn inverse(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        in_shards(stack, rows, out, stack.dim, |rows, out| {
            with_lanes!(simd => {
                let mut tape = self.tape(simd, stack, w, Keep::Nothing);
                tape.inverse(rows, out);
                self.give_back(tape);
            });
        });
        Ok(())
    }
}

/// Calls `work` with some rows and their `width` numbers each of `out`, in parallel.
fn in_shards(
    stack: &Stack,
    rows: &[f32],
    out: &mut [f32],
    width: usize,
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    let shard = 4 * TILE;
    rows.par_chunks(shard * stack.row_len())
        .zip(out.par_chunks_mut(shard * width))
        .for_each(|(rows, out)| work(rows, out));
}

/// How far the numbers of each column may be off, for [`Keep::Layer`].
fn allowed_drift(rows: &[f32], stack: &Stack) -> Vec<f32> {
    let column = |i: usize| {
        let numbers = rows.iter().skip(i).step_by(stack.row_len());
        let (low, high) = numbers
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        DRIFT * (high - low) + ROUNDINGS * f32::EPSILON * low.abs().max(high.abs())
    };
    (0..stack.dim).map(column).collect()
}
