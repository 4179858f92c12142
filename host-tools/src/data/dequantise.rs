//! Noise for columns that know few values.
//!
//! A density has no bound on data that repeats the same few values: it grows a spike on each.
//! Uniform noise of one step's width makes such a column continuous without blurring it further
//! than its resolution (Theis et al. 2016, arXiv:1511.01844, section 3.1).

use rand::Rng;

use super::Table;

/// A column with few distinct values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolution {
    /// Index of the column, from 0.
    pub column: usize,
    /// Distinct values among the rows, at least 2.
    pub distinct: usize,
    /// Smallest gap between two of them, in the column's units.
    pub step: f32,
}

/// Finds the columns that take few distinct values in the given `rows`.
///
/// Few is at most rows / 10, but never fewer than 2 nor more than 256. Values that differ by a
/// few units in the last place of the column's largest count as one; values that aren't finite
/// don't count.
///
/// # Panics
///
/// If a row lies outside the table.
pub fn resolutions(table: &Table, rows: &[u32]) -> Vec<Resolution> {
    let most = (rows.len() / 10).clamp(2, 256);
    let coarse = |column| {
        let levels = levels(table, rows, column, most)?;
        let gaps = levels.windows(2).map(|pair| pair[1] - pair[0]);
        let step = gaps.min_by(f32::total_cmp)?;
        Some(Resolution { column, distinct: levels.len(), step })
    };
    (0..table.width).filter_map(coarse).collect()
}

/// Adds uniform noise in [-step/2, step/2) to every value of the given columns, row after row.
///
/// # Panics
///
/// If a resolution names a column outside the table.
pub fn apply(table: &mut Table, resolutions: &[Resolution], rng: &mut impl Rng) {
    if resolutions.is_empty() {
        return;
    }
    for row in table.values.chunks_exact_mut(table.width) {
        for resolution in resolutions {
            // 24 bits fill the significand of an f32: a multiple of 2^-24 in [-1/2, 1/2), exactly.
            let fraction = (rng.next_u32() >> 8) as f32 / 16_777_216.0 - 0.5;
            row[resolution.column] += fraction * resolution.step;
        }
    }
}

/// Indices of the columns without two different finite values in the given `rows`.
///
/// Different means by more than rounding, as in [`resolutions`].
///
/// # Panics
///
/// If a row lies outside the table.
pub fn constant_columns(table: &Table, rows: &[u32]) -> Vec<usize> {
    (0..table.width).filter(|&column| levels(table, rows, column, 1).is_some()).collect()
}

/// The distinct finite values of a column, increasing; `None` if there are more than `most`.
fn levels(table: &Table, rows: &[u32], column: usize, most: usize) -> Option<Vec<f32>> {
    let values = || {
        let cells = rows.iter().map(|&row| table.row(row as usize)[column]);
        cells.filter(|value| value.is_finite())
    };
    // A sensor's n * step + offset is rounded at each operation, relative to the largest operand.
    let largest = values().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let tolerance = 4.0 * f32::EPSILON * largest;
    let mut levels: Vec<f32> = Vec::with_capacity(most + 1);
    for value in values() {
        let above = levels.partition_point(|&level| level < value);
        let near = |level: Option<&f32>| level.is_some_and(|l| (l - value).abs() <= tolerance);
        if near(levels.get(above)) || near(above.checked_sub(1).map(|below| &levels[below])) {
            continue;
        }
        if levels.len() == most {
            return None;
        }
        levels.insert(above, value);
    }
    Some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// 1000 rows: a 12-bit converter's tenths, a continuous column, a constant, a switch.
    fn table() -> Table {
        let values = (0..1000_u32).flat_map(|i| {
            let tenths = 20.0 + 0.1 * (i % 17) as f32;
            let smooth = (i as f32 * 0.618_034).fract();
            [tenths, smooth, 3.5, (i % 2) as f32]
        });
        Table {
            names: ["t", "s", "k", "b"].map(String::from).to_vec(),
            width: 4,
            values: values.collect(),
        }
    }

    fn all() -> Vec<u32> {
        (0..1000).collect()
    }

    #[test]
    fn coarse_columns_are_found_with_their_step() {
        let found = resolutions(&table(), &all());
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(found[0].distinct, 17);
        assert!((found[0].step - 0.1).abs() < 1e-5, "{}", found[0].step);
        assert_eq!(found[1], Resolution { column: 3, distinct: 2, step: 1.0 });
    }

    #[test]
    fn constant_columns_are_found_among_the_given_rows() {
        assert_eq!(constant_columns(&table(), &all()), [2]);
        // The switch is off in every even row.
        let even: Vec<u32> = (0..1000).step_by(2).collect();
        assert_eq!(constant_columns(&table(), &even), [2, 3]);
        let mut missing = table();
        missing.values.chunks_exact_mut(4).for_each(|row| row[1] = f32::NAN);
        assert_eq!(constant_columns(&missing, &all()), [1, 2]);
    }

    #[test]
    fn values_that_differ_by_rounding_are_one_level() {
        // The same tenth, reached by two computations that round differently.
        let mut table = table();
        for row in table.values.chunks_exact_mut(4).skip(500) {
            row[0] = (row[0] - 3.3) + 3.3;
            row[2] = f32::from_bits(row[2].to_bits() + 1);
        }
        let found = resolutions(&table, &all());
        assert_eq!(found[0].distinct, 17);
        assert!((found[0].step - 0.1).abs() < 1e-4, "{}", found[0].step);
        assert_eq!(constant_columns(&table, &all()), [2]);
    }

    #[test]
    fn few_rows_still_allow_two_levels() {
        let rows: Vec<u32> = (0..6).collect();
        let found = resolutions(&table(), &rows);
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [3]);
        assert_eq!(resolutions(&table(), &[]), []);
    }

    #[test]
    fn noise_fills_one_step_and_leaves_other_columns_alone() {
        let before = table();
        let mut after = table();
        let found = resolutions(&before, &all());
        apply(&mut after, &found, &mut ChaCha8Rng::seed_from_u64(5));
        let noise: Vec<f32> = after.column(3).zip(before.column(3)).map(|(a, b)| a - b).collect();
        assert!(noise.iter().all(|n| (-0.5..=0.5).contains(n)));
        let mean = noise.iter().sum::<f32>() / 1000.0;
        // Standard deviation of the mean: 1 / sqrt(12 * 1000), about 0.009.
        assert!(mean.abs() < 0.05, "{mean}");
        assert!(noise.iter().any(|n| *n < -0.45) && noise.iter().any(|n| *n > 0.45));
        assert!(after.column(1).eq(before.column(1)) && after.column(2).eq(before.column(2)));
        assert_eq!(resolutions(&after, &all()), []);
    }

    #[test]
    fn the_same_seed_gives_the_same_noise() {
        let noisy = |seed| {
            let mut table = table();
            let found = resolutions(&table, &all());
            apply(&mut table, &found, &mut ChaCha8Rng::seed_from_u64(seed));
            table.values
        };
        assert_eq!(noisy(1), noisy(1));
        assert_ne!(noisy(1), noisy(2));
    }
}
