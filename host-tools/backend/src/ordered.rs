//! The gradients of a batch's tiles, which threads compute and which are added in a fixed order.
//!
//! A batch is two strands of tiles, each with a sum of its own, to which its tiles are added one after
//! the other. A thread that takes the tile that is next in its strand adds to the sum itself; other
//! tiles wait, in a buffer, for those before them. Both ways a tile is added as a whole, so that
//! the sums are the same bits whoever computes which tile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cpu::lock;

/// Strands of a batch: two threads then never wait for each other. With more of them, more sums would be
/// added to each other at the end.
pub(super) const STRANDS: usize = 2;

/// For how long a thread that has no work left stays awake until the others have brought theirs: a
/// sleeping one takes some 50 µs to be woken, which is much of a step of a small flow.
const AWAKE: Duration = Duration::from_micros(200);

/// The sums of a batch.
pub(super) struct Ordered<'f> {
    len: usize,
    strands: Mutex<[Strand<'f>; STRANDS]>,
    /// Tiles that are in no sum yet.
    left: AtomicUsize,
    /// Buffers that are used again.
    free: &'f Mutex<Vec<Vec<f32>>>,
}

struct Strand<'f> {
    /// Tiles that nobody has taken.
    tiles: Range<usize>,
    /// Its first tile, and the one that is added next.
    first: usize,
    next: usize,
    nll: f64,
    /// The sum; a thread that adds to it has it.
    sum: Option<&'f mut [f32]>,
    waiting: BTreeMap<usize, Computed>,
}

/// Likelihood and gradient of a tile.
struct Computed {
    nll: f64,
    dw: Vec<f32>,
}

/// A tile that a thread has taken.
pub(super) struct Taken<'f> {
    /// Its number in the batch.
    pub(super) tile: usize,
    /// Its strand.
    pub(super) strand: usize,
    /// Whether what [`Self::dw`] holds means nothing.
    pub(super) first: bool,
    place: Place<'f>,
}

/// Where its gradient goes.
enum Place<'f> {
    Sum(&'f mut [f32]),
    Buffer(Vec<f32>),
}

impl Taken<'_> {
    /// To which the tile's gradient is to be added.
    pub(super) fn dw(&mut self) -> &mut [f32] {
        match &mut self.place {
            Place::Sum(sum) => sum,
            Place::Buffer(buffer) => buffer,
        }
    }
}

impl<'f> Ordered<'f> {
    /// Gradients of `tiles` tiles; their sum is to be in `total`, of which `other` has the length.
    pub(super) fn new(
        tiles: usize,
        total: &'f mut [f32],
        other: &'f mut [f32],
        free: &'f Mutex<Vec<Vec<f32>>>,
    ) -> Self {
        let (len, half) = (total.len(), tiles.div_ceil(STRANDS));
        let strand = |tiles: Range<usize>, sum| Strand {
            first: tiles.start,
            next: tiles.start,
            tiles,
            nll: 0.0,
            sum: Some(sum),
            waiting: BTreeMap::new(),
        };
        let strands = Mutex::new([strand(0..half, total), strand(half..tiles, other)]);
        Self { len, strands, left: AtomicUsize::new(tiles), free }
    }

    fn strands(&self) -> MutexGuard<'_, [Strand<'f>; STRANDS]> {
        lock(&self.strands)
    }

    /// A tile that nobody has taken, of this strand while it has one; in a buffer if the thread may
    /// think better of it.
    pub(super) fn take(&self, strand: usize, apart: bool) -> Option<Taken<'f>> {
        let mut strands = self.strands();
        let most = || (0..STRANDS).max_by_key(|s| strands[*s].tiles.len());
        let strand = if strands[strand].tiles.is_empty() { most()? } else { strand };
        let own = &mut strands[strand];
        let tile = own.tiles.next()?;
        if tile == own.next
            && !apart
            && let Some(sum) = own.sum.take()
        {
            let first = tile == own.first;
            return Some(Taken { tile, strand, first, place: Place::Sum(sum) });
        }
        drop(strands);
        let mut buffer = lock(self.free).pop().unwrap_or_default();
        buffer.resize(self.len, 0.0);
        Some(Taken { tile, strand, first: true, place: Place::Buffer(buffer) })
    }

    /// Adds likelihood and gradient of a tile, once those before it were added, and those behind it
    /// that wait for it.
    pub(super) fn add(&self, taken: Taken<'f>, nll: f64) {
        let Taken { tile, strand, place, .. } = taken;
        let mut strands = self.strands();
        let own = &mut strands[strand];
        match place {
            Place::Sum(sum) => {
                own.added(nll, sum);
                self.left.fetch_sub(1, Ordering::Release);
            }
            Place::Buffer(dw) => {
                own.waiting.insert(tile, Computed { nll, dw });
            }
        }
        while let Some((sum, Computed { nll, dw })) = strands[strand].ready() {
            let first = !strands[strand].begun();
            drop(strands);
            if first {
                sum.copy_from_slice(&dw);
            } else {
                add(sum, &dw);
            }
            lock(self.free).push(dw);
            strands = self.strands();
            strands[strand].added(nll, sum);
            self.left.fetch_sub(1, Ordering::Release);
        }
    }

    /// Stays awake for the others' last tiles, though not for long.
    pub(super) fn wait(&self) {
        let begin = Instant::now();
        while self.left.load(Ordering::Acquire) > 0 && begin.elapsed() < AWAKE {
            std::thread::yield_now();
        }
    }

    /// The sum of the likelihoods; that of the gradients is where it was to be.
    pub(super) fn total(self) -> f64 {
        let strands = self.strands.into_inner().unwrap_or_else(PoisonError::into_inner);
        let nll = strands.iter().map(|strand| strand.nll).sum();
        let [total, other] = strands.map(|strand| (strand.begun(), strand.sum.unwrap_or_default()));
        if !total.0 {
            total.1.fill(0.0);
        }
        if other.0 {
            add(total.1, other.1);
        }
        nll
    }
}

impl<'f> Strand<'f> {
    /// Whether the sum has a tile.
    fn begun(&self) -> bool {
        self.next > self.first
    }

    /// The sum is back, with the next tile in it.
    fn added(&mut self, nll: f64, sum: &'f mut [f32]) {
        self.nll += nll;
        self.next += 1;
        self.sum = Some(sum);
    }

    /// The sum and what is to be added to it next, if both are there.
    fn ready(&mut self) -> Option<(&'f mut [f32], Computed)> {
        self.sum.as_ref()?;
        let waiting = self.waiting.remove(&self.next)?;
        Some((self.sum.take()?, waiting))
    }
}

/// Adds a gradient to a sum of them.
#[inline(always)]
pub(super) fn add(sum: &mut [f32], dw: &[f32]) {
    sum.iter_mut().zip(dw).for_each(|(sum, dw)| *sum += dw);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums of five tiles, which `run` takes and adds.
    fn sums(run: impl Fn(&Ordered)) -> (f64, [f32; 2]) {
        let (mut total, mut other, free) = ([f32::NAN; 2], [f32::NAN; 2], Mutex::default());
        let sums = Ordered::new(5, &mut total, &mut other, &free);
        run(&sums);
        (sums.total(), total)
    }

    /// Adds to a tile's gradient what no two orders of summing agree on.
    fn compute<'f>(mut taken: Taken<'f>) -> (Taken<'f>, f64) {
        let numbers = [1e8, 3.0, -1e8, 5.0, 7e7];
        let (tile, first) = (taken.tile, taken.first);
        for (i, dw) in taken.dw().iter_mut().enumerate() {
            let before = if first { 0.0 } else { *dw };
            *dw = before + numbers[(tile + i) % 5];
        }
        (taken, f64::from(numbers[tile]))
    }

    #[test]
    fn the_sums_are_the_same_in_whatever_order_tiles_are_taken_and_added() {
        let one_by_one = |apart| {
            sums(|sums| {
                while let Some(taken) = sums.take(0, apart) {
                    let (taken, nll) = compute(taken);
                    sums.add(taken, nll);
                }
                sums.wait();
            })
        };
        // Strands of three tiles and of two: (1e8 + 3 − 1e8) + (5 + 7e7), in f32.
        let expected = ((1e8_f32 + 3.0) - 1e8) + (5.0 + 7e7);
        assert_eq!(one_by_one(false).1[0], expected);
        assert_eq!(one_by_one(true), one_by_one(false));
        // All at once, and the last first; then two threads' turns.
        for strands in [[0; 5], [1; 5], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]] {
            let backwards = sums(|sums| {
                let all: Vec<Taken> = strands.map(|s| sums.take(s, false).unwrap()).into();
                assert!(sums.take(0, false).is_none());
                for taken in all.into_iter().rev() {
                    let (taken, nll) = compute(taken);
                    sums.add(taken, nll);
                }
            });
            assert_eq!(backwards, one_by_one(false), "{strands:?}");
        }
    }

    #[test]
    fn the_sum_of_no_tiles_is_0() {
        let (mut total, mut other, free) = ([f32::NAN; 2], [f32::NAN; 2], Mutex::default());
        let sums = Ordered::new(0, &mut total, &mut other, &free);
        assert!(sums.take(1, false).is_none());
        assert_eq!((sums.total(), total), (0.0, [0.0; 2]));
    }
}
