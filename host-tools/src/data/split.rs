//! Held-out rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Splits the row numbers 0..`rows` at random into train and held-out, both in shuffled order.
///
/// `held_out` is the share that is held out, rounded to whole rows; from two rows on, both parts
/// have at least one. A single row is trained on. The same arguments give the same split on every
/// machine and in every release.
///
/// # Panics
///
/// If `held_out` is outside 0..=1, or if there are more rows than a `u32` counts.
pub fn split(rows: usize, held_out: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    assert!((0.0..=1.0).contains(&held_out), "a share of {held_out} can't be held out");
    let count = u32::try_from(rows).expect("more rows than a u32 counts");
    let mut train: Vec<u32> = (0..count).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Fisher and Yates, written out because the shuffle of `rand` may change between releases.
    for last in (1..rows).rev() {
        // A 64-bit fraction of last + 1: the bias is below 2^-32.
        let pick = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
        train.swap(last, pick as usize);
    }
    let wanted = (rows as f64 * held_out).round() as usize;
    let held_out_len = if rows < 2 { 0 } else { wanted.clamp(1, rows - 1) };
    let held_out = train.split_off(rows - held_out_len);
    (train, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    #[should_panic(expected = "a share of NaN can't be held out")]
    fn a_share_that_is_no_number_is_refused() {
        split(10, f64::NAN, 1);
    }
}
