//! Held-out rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::order::reach;
use super::{Error, Spool, Store, StoreWriter};

/// Splits rows at random, one stretch of them after the other.
#[derive(Debug)]
pub struct Split {
    rng: ChaCha8Rng,
    share: f64,
    rows: usize,
    held_out: usize,
}

impl Split {
    /// Holds out this share of the rows. The same share, seed and stretches give the same split on
    /// every machine and in every release.
    ///
    /// # Panics
    ///
    /// If the share is outside 0..=1.
    pub fn new(share: f64, seed: u64) -> Self {
        assert!((0.0..=1.0).contains(&share), "a share of {share} can't be held out");
        Self { rng: ChaCha8Rng::seed_from_u64(seed), share, rows: 0, held_out: 0 }
    }

    /// Splits the numbers 0..`rows` of the next stretch into train and held-out, both in shuffled order.
    ///
    /// Of all rows so far the share is held out, rounded to whole rows; from two rows on, both parts
    /// have at least one. A single row is trained on.
    ///
    /// # Panics
    ///
    /// If there are more rows than a `u32` counts.
    pub fn next(&mut self, rows: usize) -> (Vec<u32>, Vec<u32>) {
        let count = u32::try_from(rows).expect("more rows than a u32 counts");
        let mut train: Vec<u32> = (0..count).collect();
        // Fisher and Yates, written out because the shuffle of `rand` may change between releases.
        for last in (1..rows).rev() {
            // A 64-bit fraction of last + 1: the bias is below 2^-32.
            let pick = (u128::from(self.rng.next_u64()) * (last as u128 + 1)) >> 64;
            train.swap(last, pick as usize);
        }
        self.rows += rows;
        let wanted = (self.rows as f64 * self.share).round() as usize;
        let wanted = if self.rows < 2 { 0 } else { wanted.clamp(1, self.rows - 1) };
        let held_out_len = wanted.saturating_sub(self.held_out).min(rows);
        self.held_out += held_out_len;
        let held_out = train.split_off(rows - held_out_len);
        (train, held_out)
    }
}

/// Two stores that rows are split into as they come.
#[derive(Debug)]
pub struct SplitWriter<'s> {
    split: Split,
    width: usize,
    /// Rows that are split at a time.
    stretch: usize,
    waiting: Vec<f32>,
    /// Numbers of the rows that wait.
    numbers: Vec<u32>,
    parts: Parts<StoreWriter<'s>, StoreWriter<'s, u32>>,
}

/// Rows that were split, in memory or in files; S holds rows, N their numbers.
#[derive(Debug)]
pub struct Parts<S = Store, N = Store<u32>> {
    /// Rows to train on.
    pub train: S,
    /// Their numbers in the data, one each.
    pub train_numbers: N,
    /// Held-out rows.
    pub held_out: S,
}

impl<'s> SplitWriter<'s> {
    /// For rows \[width\]; as many as the shuffle's reach are split at a time.
    pub fn new(split: Split, width: usize, spool: &'s Spool) -> Self {
        Self::with_stretch(split, width, spool, reach(width))
    }

    fn with_stretch(split: Split, width: usize, spool: &'s Spool, stretch: usize) -> Self {
        let (train, held_out) = (spool.store(width), spool.store(width));
        let parts = Parts { train, train_numbers: spool.store(1), held_out };
        Self { split, width, stretch, waiting: Vec::new(), numbers: Vec::new(), parts }
    }

    /// Adds a row, which has this number in the data.
    ///
    /// # Errors
    ///
    /// [`Error::Spool`].
    pub fn push(&mut self, number: u32, row: &[f32]) -> Result<(), Error> {
        self.waiting.extend_from_slice(row);
        self.numbers.push(number);
        if self.numbers.len() == self.stretch { self.sort_out() } else { Ok(()) }
    }

    fn sort_out(&mut self) -> Result<(), Error> {
        let Self { split, width, waiting, numbers, parts, .. } = self;
        let row = |i: u32| &waiting[i as usize * *width..][..*width];
        let (train, held_out) = split.next(numbers.len());
        for i in train {
            parts.train.push(row(i))?;
            parts.train_numbers.push(&[numbers[i as usize]])?;
        }
        for i in held_out {
            parts.held_out.push(row(i))?;
        }
        waiting.clear();
        numbers.clear();
        Ok(())
    }

    /// The rows that were added, split.
    ///
    /// # Errors
    ///
    /// [`Error::Spool`].
    pub fn finish(mut self) -> Result<Parts, Error> {
        self.sort_out()?;
        self.waiting = Vec::new();
        let Parts { train, train_numbers, held_out } = self.parts;
        Ok(Parts {
            train: train.finish()?,
            train_numbers: train_numbers.finish()?,
            held_out: held_out.finish()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: usize, share: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
        Split::new(share, seed).next(rows)
    }

    #[test]
    fn every_row_is_in_exactly_one_part() {
        let (train, held_out) = split(1000, 0.2, 7);
        assert_eq!((train.len(), held_out.len()), (800, 200));
        let mut all = [train, held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_seed_gives_the_same_split_for_ever() {
        assert_eq!(split(9, 0.34, 1), (vec![8, 7, 6, 2, 5, 1], vec![4, 0, 3]));
        assert_ne!(split(100, 0.5, 1), split(100, 0.5, 2));
    }

    #[test]
    fn both_parts_have_a_row_from_two_rows_on() {
        for share in [0.0, 0.5, 1.0] {
            assert_eq!(split(0, share, 1), (vec![], vec![]));
            assert_eq!(split(1, share, 1), (vec![0], vec![]));
            let (train, held_out) = split(2, share, 1);
            assert_eq!((train.len(), held_out.len()), (1, 1));
            let (train, held_out) = split(9, share, 1);
            assert!(!train.is_empty() && !held_out.is_empty());
        }
    }

    #[test]
    fn held_out_rows_are_spread_evenly() {
        let (_, held_out) = split(10_000, 0.5, 3);
        let mean = held_out.iter().map(|&row| f64::from(row)).sum::<f64>() / 5000.0;
        // Standard deviation of the mean: 10000 / sqrt(12) / sqrt(5000) / sqrt(2), about 29.
        assert!((mean - 4999.5).abs() < 150.0, "{mean}");
    }

    #[test]
    fn the_share_of_all_stretches_is_held_out() {
        for (share, stretch) in [(0.2, 7), (0.01, 64), (0.5, 1), (0.99, 10), (1.0, 3), (0.0, 9)] {
            let mut split = Split::new(share, 5);
            let lens = [stretch; 50].map(|rows| {
                let (train, held_out) = split.next(rows);
                assert_eq!(train.len() + held_out.len(), rows);
                held_out.len()
            });
            let rows = 50 * stretch;
            let wanted = ((rows as f64 * share).round() as usize).clamp(1, rows - 1);
            assert_eq!(lens.iter().sum::<usize>(), wanted, "{share} of {stretch}");
        }
    }

    #[test]
    fn stretches_keep_every_row_once() {
        let folder = tempfile::tempdir().unwrap();
        for (in_memory, stretch) in [(usize::MAX, 1000), (0, 1000), (0, 64), (0, 1), (0, 250)] {
            let spool = Spool { folder: folder.path().into(), in_memory };
            let mut rows = SplitWriter::with_stretch(Split::new(0.2, 7), 2, &spool, stretch);
            for i in 0..1000_u16 {
                rows.push(i.into(), &[i.into(), -f32::from(i)]).unwrap();
            }
            let Parts { train, train_numbers, held_out } = rows.finish().unwrap();
            assert_eq!((train.len(), held_out.len()), (800, 200));
            let mut all: Vec<f32> = train.rows().chain(held_out.rows()).map(|row| row[0]).collect();
            assert!(train.rows().chain(held_out.rows()).all(|row| row[1] == -row[0]));
            all.sort_unstable_by(f32::total_cmp);
            assert!(all.into_iter().eq((0..1000).map(|i| i as f32)));
            let numbers = train_numbers.values().iter().map(|number| *number as f32);
            assert!(train.rows().map(|row| row[0]).eq(numbers));
            if stretch == 1000 {
                assert_eq!(train_numbers.values(), split(1000, 0.2, 7).0);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a share of NaN can't be held out")]
    fn a_share_that_is_no_number_is_refused() {
        split(10, f64::NAN, 1);
    }
}
