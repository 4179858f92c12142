//! From a score to a decision: the calibration table, the p-value and the alarm.
//!
//! A score is −log p(x). The table holds scores of n held-out rows that were normal, so that
//! p(s) = (1 + number of them ≥ s)/(n + 1) is a p-value that needs no assumption about the flow
//! (Vovk, Gammerman and Shafer 2005, conformal prediction). Only some of the n scores are kept,
//! densely where p is small; between two of them the larger p-value counts.
//!
//! Payload of the section: n u32, false-alarm rate f32, then for each entry, with increasing
//! score, how many of the n scores are ≥ it (u32) and the score (f32).

use crate::model::u32_at;

/// Lowest log density that is ever reported. A reading that is not finite, or so far outside that
/// the arithmetic overflows, has it, so that no NaN slips past a threshold.
pub const LOG_PROB_MIN: f32 = -1.0e30;

/// What a reading calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Alarm {
    /// The reading is as probable as normal ones are.
    None,
    /// The reading is less probable than the false-alarm rate allows.
    Improbable,
    /// The reading holds a NaN or an infinity: look at the sensor, not at the machine.
    NotFinite,
}

/// Table of held-out scores.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'m> {
    rows: u32,
    false_alarm_rate: f32,
    entries: &'m [[u8; 8]],
}

fn entry(bytes: &[u8; 8]) -> (u32, f32) {
    (u32_at(bytes, 0..4), f32::from_bits(u32_at(bytes, 4..8)))
}

impl<'m> Calibration<'m> {
    /// The table in a section's payload, or nothing where the payload is not one.
    pub(crate) fn new_checked(payload: &'m [u8]) -> Option<Self> {
        let (head, table) = payload.split_at_checked(8)?;
        let (entries, rest) = table.as_chunks();
        let table = Self {
            rows: u32_at(head, 0..4),
            false_alarm_rate: f32::from_bits(u32_at(head, 4..8)),
            entries,
        };
        let rate = table.false_alarm_rate;
        let in_order =
            table.entries().zip(table.entries().skip(1)).all(|(a, b)| a.0 > b.0 && a.1 < b.1);
        let (most, _) = table.entries().next()?;
        let (least, _) = table.entries().last()?;
        let finite = table.entries().all(|(_, score)| score.is_finite());
        let sound = rest.is_empty() && finite && in_order && least >= 1 && most <= table.rows;
        (sound && rate > 0.0 && rate < 1.0).then_some(table)
    }

    /// Number of held-out rows behind the table.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The rate of false alarms that [`Calibration::alarm`] aims at.
    pub fn false_alarm_rate(&self) -> f32 {
        self.false_alarm_rate
    }

    /// The smallest p-value that so many rows can give, 1/(n + 1).
    pub fn smallest_p_value(&self) -> f32 {
        1.0 / (self.rows as f32 + 1.0)
    }

    /// How many held-out scores are at least as large, and that score; scores increase.
    pub fn entries(&self) -> impl Iterator<Item = (u32, f32)> + 'm {
        self.entries.iter().map(entry)
    }

    /// Share of normal rows that would score as high or higher; never below the truth of the
    /// table's rows. NaN has the smallest p-value.
    pub fn p_value(&self, score: f32) -> f32 {
        // Rows with a score ≥ `score` are at most those ≥ the greatest entry that is ≤ it.
        let below = self.entries.partition_point(|bytes| entry(bytes).1 <= score || score.is_nan());
        let entry = |i: usize| self.entries.get(i).map(entry);
        let at_least = match below.checked_sub(1).and_then(entry) {
            None => self.rows,
            // Above the largest score of all there is none.
            Some((_, largest)) if below == self.entries.len() && score != largest => 0,
            Some((count, _)) => count,
        };
        (at_least as f32 + 1.0) / (self.rows as f32 + 1.0)
    }

    /// Whether a score is an alarm at the false-alarm rate. Where the rows are too few for that
    /// rate, only a score above all of theirs is one.
    pub fn alarm(&self, score: f32) -> Alarm {
        self.alarm_at(self.p_value(score))
    }

    /// [`Calibration::alarm`] of a score whose p-value is known.
    pub(crate) fn alarm_at(&self, p_value: f32) -> Alarm {
        let limit = self.false_alarm_rate.max(self.smallest_p_value());
        if p_value <= limit { Alarm::Improbable } else { Alarm::None }
    }

    /// Bytes of a section's payload for these held-out `scores`, in any order; how many of them
    /// are kept is bounded by 16 + 5 log₂ n. Writes to `out` and returns the length, which is
    /// [`Calibration::payload_len`] at most.
    ///
    /// # Panics
    ///
    /// When there is no score, one is not finite, or `out` is too short.
    pub fn write(scores: &mut [f32], false_alarm_rate: f32, out: &mut [u8]) -> usize {
        assert!(!scores.is_empty() && scores.iter().all(|s| s.is_finite()), "scores are finite");
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        let rows = scores.len();
        out[..4].copy_from_slice(&u32::try_from(rows).expect("rows fit 32 bits").to_le_bytes());
        out[4..8].copy_from_slice(&false_alarm_rate.to_le_bytes());
        // Ranks from the highest score down: each of the first 16, then steps of an eighth.
        let mut len = 8;
        let mut rank = 1;
        let mut previous = f32::INFINITY;
        while rank <= rows {
            let score = scores[rank - 1];
            // Of equal scores the last rank counts them all.
            let count = scores.partition_point(|s| *s >= score);
            if score < previous {
                out[len..len + 4].copy_from_slice(&(count as u32).to_le_bytes());
                out[len + 4..len + 8].copy_from_slice(&score.to_le_bytes());
                len += 8;
                previous = score;
            }
            rank = (count + 1).max(rank + rank / 8);
            if rank > rows && count < rows {
                rank = rows;
            }
        }
        // Entries were written from the highest score down; the table increases.
        let entries = out[8..len].as_chunks_mut::<8>().0;
        entries.reverse();
        len
    }

    /// Upper bound of the bytes that [`Calibration::write`] writes for so many rows.
    pub fn payload_len(rows: usize) -> usize {
        8 + 8 * (24 + 8 * rows.max(2).ilog2() as usize).min(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_value_counts_the_rows_that_score_as_high() {
        let mut scores: [f32; 12] = core::array::from_fn(|i| i as f32);
        let mut bytes = [0; 256];
        let len = Calibration::write(&mut scores, 0.1, &mut bytes);
        let calibration = Calibration::new_checked(&bytes[..len]).unwrap();
        assert_eq!(calibration.rows(), 12);
        for (score, at_least) in
            [(11.5, 0.0), (11.0, 1.0), (10.5, 2.0), (5.0, 7.0), (0.0, 12.0), (-1.0, 12.0)]
        {
            assert_eq!(calibration.p_value(score), (at_least + 1.0) / 13.0, "score {score}");
        }
        assert_eq!(calibration.p_value(f32::NAN), 1.0 / 13.0);
    }

    #[test]
    fn a_large_table_is_small_and_never_understates_a_p_value() {
        let mut scores: [f32; 5000] =
            core::array::from_fn(|i| libm::sinf(i as f32 * 0.37) + i as f32 * 1e-4);
        let mut sorted = scores;
        sorted.sort_unstable_by(f32::total_cmp);
        let mut bytes = [0; 2048];
        assert!(Calibration::payload_len(5000) <= 2048);
        let len = Calibration::write(&mut scores, 0.01, &mut bytes);
        let calibration = Calibration::new_checked(&bytes[..len]).unwrap();
        for score in sorted {
            let at_least = sorted.iter().filter(|s| **s >= score).count() as f32;
            let exact = (at_least + 1.0) / 5001.0;
            let p = calibration.p_value(score);
            assert!(p >= exact && p <= exact * 1.15 + 1e-6, "{p} for {exact}");
        }
    }

    #[test]
    fn few_rows_still_give_an_alarm_above_all_of_them() {
        let mut scores = [1.0, 2.0, 3.0, 4.0];
        let mut bytes = [0; 64];
        let len = Calibration::write(&mut scores, 0.01, &mut bytes);
        let calibration = Calibration::new_checked(&bytes[..len]).unwrap();
        assert_eq!(calibration.alarm(4.0), Alarm::None);
        assert_eq!(calibration.alarm(4.5), Alarm::Improbable);
    }

    #[test]
    fn equal_scores_share_one_entry() {
        let mut scores = [2.0; 40];
        let mut bytes = [0; 64];
        let len = Calibration::write(&mut scores, 0.01, &mut bytes);
        let calibration = Calibration::new_checked(&bytes[..len]).unwrap();
        assert_eq!(calibration.entries().count(), 1);
        assert_eq!(calibration.p_value(2.0), 1.0);
        assert_eq!(calibration.alarm(2.5), Alarm::Improbable);
    }
}
