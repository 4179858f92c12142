//! What is known of columns after one pass over the rows, or two.

/// The range of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Its first value.
    pub first: f32,
    /// Its lowest value.
    pub low: f32,
    /// Its highest value.
    pub high: f32,
}

impl Extent {
    /// The range of one value.
    fn of(x: f32) -> Self {
        Self { first: x, low: x, high: x }
    }

    fn add(&mut self, x: f32) {
        self.low = self.low.min(x);
        self.high = self.high.max(x);
    }

    /// Difference up to which two values are one: a sensor's n * step + offset is rounded at each
    /// operation, relative to the largest operand.
    pub fn tolerance(&self) -> f32 {
        4.0 * f32::EPSILON * self.low.abs().max(self.high.abs())
    }

    /// Whether all values are the first, but for rounding.
    pub fn is_constant(&self) -> bool {
        let tolerance = self.tolerance();
        self.high - self.first <= tolerance && self.first - self.low <= tolerance
    }
}

/// Widens the ranges of a row's columns; the first row makes them.
pub fn extend(extents: &mut Vec<Extent>, row: &[f32]) {
    if extents.is_empty() {
        extents.extend(row.iter().map(|x| Extent::of(*x)));
    }
    for (extent, x) in extents.iter_mut().zip(row) {
        extent.add(*x);
    }
}

/// The range of each column of rows \[n, width\], all finite.
pub fn extents(rows: &[f32], width: usize) -> Vec<Extent> {
    let mut extents = Vec::new();
    for row in rows.chunks_exact(width) {
        extend(&mut extents, row);
    }
    extents
}

/// Mean and variance of each column of rows \[n, width\].
///
/// Row by row, twice: a column at a time would read a large file once for each of them.
pub fn moments(rows: &[f32], width: usize) -> Vec<(f64, f64)> {
    let count = (rows.len() / width) as f64;
    let mut moments = vec![(0.0, 0.0); width];
    for row in rows.chunks_exact(width) {
        for ((sum, _), x) in moments.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    moments.iter_mut().for_each(|(mean, _)| *mean /= count);
    for row in rows.chunks_exact(width) {
        for ((mean, sum), x) in moments.iter_mut().zip(row) {
            let apart = f64::from(*x) - *mean;
            *sum += apart * apart;
        }
    }
    moments.iter_mut().for_each(|(_, variance)| *variance /= count);
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_rounding_is_constant() {
        let near = f32::from_bits(3.5_f32.to_bits() + 1);
        let rows = [[3.5, 0.0, 1.0], [near, 1e-30, 1.0], [3.5, 0.0, -1.0]];
        let found = extents(rows.as_flattened(), 3);
        assert_eq!(found[2], Extent { first: 1.0, low: -1.0, high: 1.0 });
        let constant: Vec<bool> = found.iter().map(Extent::is_constant).collect();
        assert_eq!(constant, [true, false, false]);
        assert_eq!(extents(&[], 3), []);
    }

    #[test]
    fn moments_are_those_of_each_column() {
        let rows = [[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]];
        assert_eq!(moments(rows.as_flattened(), 2), [(3.0, 14.0 / 3.0), (5.0, 0.0)]);
    }
}
