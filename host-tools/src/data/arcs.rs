//! The widest gap between the readings of an angle, in one pass and bounded memory.

/// The readings of an angle, as far as its widest gap needs them: the first and the last in each of
/// many equal arcs. A gap that is no narrower than an arc lies between two of these.
#[derive(Debug)]
pub(super) struct Arcs(Vec<(f32, f32)>);

impl Arcs {
    const COUNT: usize = 1 << 16;

    pub(super) fn new() -> Self {
        Self(vec![(f32::INFINITY, f32::NEG_INFINITY); Self::COUNT])
    }

    /// A reading in turns, 0 ≤ turn ≤ 1.
    pub(super) fn add(&mut self, turn: f32) {
        // Exact, for the count is a power of two.
        let arc = (turn * Self::COUNT as f32) as usize;
        let (first, last) = &mut self.0[arc.min(Self::COUNT - 1)];
        *first = first.min(turn);
        *last = last.max(turn);
    }

    /// The middle of the widest gap, in turns; 0 where there is no reading.
    pub(super) fn cut(&self) -> f32 {
        let mut arcs = self.0.iter().filter(|(first, last)| first <= last).peekable();
        let Some((start, _)) = arcs.peek().copied() else { return 0.0 };
        let mut widest = (f32::NEG_INFINITY, 0.0);
        while let Some((_, last)) = arcs.next() {
            let next = arcs.peek().map_or(start + 1.0, |(first, _)| *first);
            if next - last >= widest.0 {
                widest = (next - last, 0.5 * (last + next));
            }
        }
        widest.1.rem_euclid(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(degrees: &[f32]) -> f32 {
        let mut arcs = Arcs::new();
        degrees.iter().for_each(|x| arcs.add((x / 360.0).rem_euclid(1.0)));
        360.0 * arcs.cut()
    }

    #[test]
    fn a_circle_is_cut_where_no_reading_is() {
        let around_north = cut(&[350.0, 355.0, 0.0, 5.0, 10.0, 730.0]);
        assert!((around_north - 180.0).abs() < 1e-3, "{around_north}");
        let around_south = cut(&[170.0, 180.0, 190.0]);
        assert!(around_south.min(360.0 - around_south) < 1e-3, "{around_south}");
        let alone = cut(&[90.0]);
        assert!((alone - 270.0).abs() < 1e-3, "{alone}");
        assert_eq!(cut(&[]), 0.0);
    }

    #[test]
    fn the_widest_gap_is_the_one_between_sorted_readings() {
        // Ten thousand readings at random but for a gap of about a degree, at 200°.
        let mut state = 1_u32;
        let mut readings: Vec<f32> = Vec::new();
        while readings.len() < 10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let degrees = (state >> 8) as f32 * 360.0 / (1 << 24) as f32;
            if !(199.5..200.5).contains(&degrees) {
                readings.push(degrees);
            }
        }
        let found = cut(&readings);
        readings.sort_unstable_by(f32::total_cmp);
        let widest = readings.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
        let middle = widest.map(|pair| 0.5 * (pair[0] + pair[1])).unwrap();
        assert!((found - middle).abs() < 1e-3, "{found} {middle}");
    }
}
