//! Noise for columns that know few values.
//!
//! A density has no bound on data that repeats the same few values: it grows a spike on each.
//! Uniform noise of one step's width makes such a column continuous without blurring it further
//! than its resolution (Theis et al. 2016, arXiv:1511.01844, section 3.1).

use rand::Rng;

use super::Extent;

/// A column with few distinct values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolution {
    /// Index of the column, from 0.
    pub column: usize,
    /// Distinct values among the rows.
    pub distinct: usize,
    /// Smallest gap between two of them, in the column's units.
    pub step: f32,
}

/// Finds the columns that take few distinct values in `rows` \[n, columns\], all finite, and have
/// these `extents` there. A column that is constant is none of them.
///
/// Few is at most n / 10, but never fewer than 2 nor more than 256. Values that differ by a few units
/// in the last place of the column's largest count as one.
pub fn resolutions(rows: &[f32], extents: &[Extent]) -> Vec<Resolution> {
    let width = extents.len();
    let most = (rows.len() / width / 10).clamp(2, 256);
    let varied = |extent: &Extent| (!extent.is_constant()).then(|| Levels::new(extent, most));
    let mut columns: Vec<Option<Levels>> = extents.iter().map(varied).collect();
    for row in rows.chunks_exact(width) {
        for (column, x) in columns.iter_mut().zip(row) {
            if column.as_mut().is_some_and(|levels| !levels.add(*x)) {
                *column = None;
            }
        }
        // Continuous columns are soon known as such.
        if columns.iter().all(Option::is_none) {
            break;
        }
    }
    let coarse = |(column, levels): (usize, Option<Levels>)| {
        let values = levels?.values;
        let gaps = values.windows(2).map(|pair| pair[1] - pair[0]);
        let step = gaps.min_by(f32::total_cmp)?;
        Some(Resolution { column, distinct: values.len(), step })
    };
    columns.into_iter().enumerate().filter_map(coarse).collect()
}

/// Adds uniform noise in [-step/2, step/2) to the given columns of a row.
///
/// # Panics
///
/// If a resolution names a column outside the row.
pub fn dequantise(row: &mut [f32], resolutions: &[Resolution], rng: &mut impl Rng) {
    for resolution in resolutions {
        // 24 bits fill the significand of an f32: a multiple of 2^-24 in [-1/2, 1/2), exactly.
        let fraction = (rng.next_u32() >> 8) as f32 / 16_777_216.0 - 0.5;
        row[resolution.column] += fraction * resolution.step;
    }
}

/// The distinct values of a column, increasing.
struct Levels {
    values: Vec<f32>,
    most: usize,
    tolerance: f32,
}

impl Levels {
    fn new(extent: &Extent, most: usize) -> Self {
        Self { values: Vec::new(), most, tolerance: extent.tolerance() }
    }

    /// False where there are now more of them than may be.
    fn add(&mut self, value: f32) -> bool {
        let Self { values, most, tolerance } = self;
        let above = values.partition_point(|&level| level < value);
        let near = |level: Option<&f32>| level.is_some_and(|l| (l - value).abs() <= *tolerance);
        if near(values.get(above)) || near(above.checked_sub(1).map(|below| &values[below])) {
            return true;
        }
        if values.len() < *most {
            values.insert(above, value);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistics::extents;
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// 1000 rows: a 12-bit converter's tenths, a continuous column, a constant, a switch.
    fn rows() -> Vec<[f32; 4]> {
        let row = |i: u32| {
            let tenths = 20.0 + 0.1 * (i % 17) as f32;
            let smooth = (i as f32 * 0.618_034).fract();
            [tenths, smooth, 3.5, (i % 2) as f32]
        };
        (0..1000).map(row).collect()
    }

    fn found(rows: &[[f32; 4]]) -> Vec<Resolution> {
        let rows = rows.as_flattened();
        resolutions(rows, &extents(rows, 4))
    }

    #[test]
    fn coarse_columns_are_found_with_their_step() {
        let found = found(&rows());
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(found[0].distinct, 17);
        assert!((found[0].step - 0.1).abs() < 1e-5, "{}", found[0].step);
        assert_eq!(found[1], Resolution { column: 3, distinct: 2, step: 1.0 });
    }

    #[test]
    fn values_that_differ_by_rounding_are_one_level() {
        // The same tenth, reached by two computations that round differently.
        let mut rows = rows();
        for row in &mut rows[500..] {
            row[0] = (row[0] - 3.3) + 3.3;
            row[2] = f32::from_bits(row[2].to_bits() + 1);
        }
        let found = found(&rows);
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(found[0].distinct, 17);
        assert!((found[0].step - 0.1).abs() < 1e-4, "{}", found[0].step);
    }

    #[test]
    fn few_rows_still_allow_two_levels() {
        let found = found(&rows()[..6]);
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_late_value_makes_a_column_continuous() {
        let mut rows: Vec<[f32; 4]> = (0..2570).map(|i| [(i % 256) as f32; 4]).collect();
        assert_eq!(found(&rows).len(), 4);
        rows[2569][1] = 0.5;
        assert_eq!(found(&rows).iter().map(|r| r.column).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn noise_fills_one_step_and_leaves_other_columns_alone() {
        let before = rows();
        let mut after = before.clone();
        let found = found(&before);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        after.iter_mut().for_each(|row| dequantise(row, &found, &mut rng));
        let noise: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a[3] - b[3]).collect();
        assert!(noise.iter().all(|n| (-0.5..=0.5).contains(n)));
        let mean = noise.iter().sum::<f32>() / 1000.0;
        // Standard deviation of the mean: 1 / sqrt(12 * 1000), about 0.009.
        assert!(mean.abs() < 0.05, "{mean}");
        assert!(noise.iter().any(|n| *n < -0.45) && noise.iter().any(|n| *n > 0.45));
        assert!(after.iter().zip(&before).all(|(a, b)| a[1..3] == b[1..3]));
    }
}
