//! The order in which an epoch visits rows that may lie on a disk.
//!
//! Rows within the shuffle's reach are shuffled as one. More of them are cut into blocks: the blocks
//! come in random order, and the rows of as many blocks as are within reach are shuffled among one
//! another. A disk then reads a block at a time, and memory needs to hold no more than the reach.
//! Where the rows lie makes no difference to the order.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes that a shuffle reaches over: 64 MiB, two million rows of eight numbers.
const REACH: usize = 1 << 26;
/// Bytes of a block, much more than an operating system fetches at a time.
const BLOCK: usize = 1 << 20;

/// Rows \[width\] within the shuffle's reach, at least 1.
pub(super) fn reach(width: usize) -> usize {
    (REACH / width.saturating_mul(4)).max(1)
}

/// The order of one epoch.
#[derive(Clone, Debug)]
pub struct Order {
    rows: usize,
    /// Rows of a block.
    block: usize,
    /// Numbers of the blocks, in the order of the epoch.
    blocks: Vec<u32>,
    /// Blocks of a part, whose rows are shuffled among one another.
    part: usize,
    /// Place in the epoch of each part's first row.
    starts: Vec<usize>,
    /// Seed of the shuffles within parts.
    seed: u64,
    /// The part that was used last, and its rows.
    mixed: Option<(usize, Vec<u32>)>,
}

impl Order {
    /// An order of rows \[width\], from `rng` alone.
    ///
    /// # Panics
    ///
    /// If there are more rows than a `u32` counts.
    pub fn new(rows: usize, width: usize, rng: &mut impl Rng) -> Self {
        Self::with_reach(rows, reach(width), (BLOCK / (4 * width)).max(1), rng)
    }

    fn with_reach(rows: usize, reach: usize, block: usize, rng: &mut impl Rng) -> Self {
        assert!(u32::try_from(rows).is_ok(), "more rows than a u32 counts");
        let block = if rows <= reach { rows.max(1) } else { block };
        let mut blocks: Vec<u32> = (0..rows.div_ceil(block) as u32).collect();
        blocks.shuffle(rng);
        let part = (reach / block).max(1);
        let mut order =
            Self { rows, block, blocks, part, starts: vec![], seed: rng.next_u64(), mixed: None };
        let mut start = 0;
        for blocks in order.blocks.chunks(part) {
            order.starts.push(start);
            start += blocks.iter().map(|block| order.rows_of(*block).len()).sum::<usize>();
        }
        order
    }

    fn rows_of(&self, block: u32) -> std::ops::Range<u32> {
        let from = block as usize * self.block;
        from as u32..(from + self.block).min(self.rows) as u32
    }

    /// The rows of places `from` to `from + len` of the epoch, which ends earlier if need be.
    ///
    /// Batches may be asked for in any order; it is quickest in that of the epoch.
    pub fn batch(&mut self, from: usize, len: usize) -> Vec<u32> {
        let end = from.saturating_add(len).min(self.rows);
        let mut batch = Vec::with_capacity(end.saturating_sub(from));
        let mut at = from;
        while at < end {
            let part = self.starts.partition_point(|start| *start <= at) - 1;
            let within = at - self.starts[part];
            let mixed = self.mix(part);
            let rows = &mixed[within..mixed.len().min(within + (end - at))];
            batch.extend_from_slice(rows);
            at += rows.len();
        }
        batch
    }

    /// The rows of a part, in the order of the epoch.
    fn mix(&mut self, part: usize) -> &[u32] {
        if self.mixed.as_ref().is_none_or(|(mixed, _)| *mixed != part) {
            let blocks = self.blocks.chunks(self.part).nth(part).unwrap_or_default();
            let mut rows: Vec<u32> = blocks.iter().flat_map(|b| self.rows_of(*b)).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(part as u64);
            rows.shuffle(&mut rng);
            self.mixed = Some((part, rows));
        }
        self.mixed.as_ref().map_or(&[], |(_, rows)| rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rows: usize, reach: usize, block: usize, seed: u64) -> Order {
        Order::with_reach(rows, reach, block, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn every_row_comes_once_whatever_the_blocks_are() {
        let sizes = [(1, 4, 2), (1000, 1000, 10), (1000, 999, 10), (1003, 100, 10), (7, 3, 5)];
        for (rows, reach, block) in sizes {
            for len in [1, 7, rows, rows + 1] {
                let mut order = order(rows, reach, block, 3);
                let batches = (0..rows).step_by(len).map(|from| order.batch(from, len));
                let mut all: Vec<u32> = batches.flatten().collect();
                assert!(rows < 2 || !all.is_sorted(), "{rows} {reach} {block}");
                all.sort_unstable();
                assert!(all.into_iter().eq(0..rows as u32), "{rows} {reach} {block}");
            }
        }
        assert!(order(0, 10, 2, 1).batch(0, 3).is_empty());
        assert!(order(5, 10, 2, 1).batch(5, 3).is_empty());
    }

    #[test]
    fn a_batch_depends_on_its_place_alone() {
        let mut walked = order(1003, 100, 10, 4);
        let all = walked.batch(0, 1003);
        for from in [700, 95, 1000, 0, 333] {
            let batch = order(1003, 100, 10, 4).batch(from, 64);
            assert_eq!(batch, all[from..1003.min(from + 64)], "{from}");
            assert_eq!(walked.batch(from, 64), batch);
        }
        assert_ne!(order(1003, 100, 10, 5).batch(0, 1003), all);
    }

    #[test]
    fn rows_come_from_no_more_blocks_than_are_within_reach() {
        let (rows, reach, block) = (10_000, 500, 50);
        let order = order(rows, reach, block, 8).batch(0, rows);
        for part in order.chunks(reach) {
            let mut blocks: Vec<u32> = part.iter().map(|row| row / block as u32).collect();
            // The blocks are mixed, not one behind the other.
            let changes = blocks.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes > 400, "{changes}");
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), reach / block);
            // And they are no neighbours: the ten come from everywhere.
            assert!(blocks[9] - blocks[0] > 20, "{blocks:?}");
        }
    }

    #[test]
    fn rows_within_reach_are_mixed_as_one() {
        // Far apart on average: a third of the rows, as in any shuffle.
        let order = order(3000, 3000, 10, 2).batch(0, 3000);
        let apart: u32 = order.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        let mean = f64::from(apart) / 2999.0;
        assert!((mean - 1000.0).abs() < 60.0, "{mean}");
    }
}
