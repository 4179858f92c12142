//! How well scores tell anomalies from normal rows.

use std::cmp::Ordering;

/// Area under the ROC curve: the chance that an anomaly scores higher than a normal row.
///
/// `scores` rise with anomaly; both slices are `[rows]`. A tie counts half; a NaN ranks above every
/// number, as most anomalous. `None` when one of the classes is missing.
///
/// # Panics
///
/// If the lengths differ.
pub fn auroc(scores: &[f32], anomalies: &[bool]) -> Option<f64> {
    // Twice the number of pairs in the right order, an integer because a tie counts half.
    let (mut anomalies_above, mut normal_above, mut twice) = (0_u128, 0_u128, 0_u128);
    for group in descending(scores, anomalies) {
        twice += group.normal * (2 * anomalies_above + group.anomalies);
        anomalies_above += group.anomalies;
        normal_above += group.normal;
    }
    let pairs = anomalies_above * normal_above;
    (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64)
}

/// Average precision: precision summed over the steps of recall, Σ (Rₙ − Rₙ₋₁) Pₙ.
///
/// `scores` rise with anomaly; both slices are `[rows]`. One step for each distinct score, from the
/// highest down, without interpolation: `average_precision_score` of scikit-learn. A NaN ranks
/// above every number. `None` when there is no anomaly.
///
/// # Panics
///
/// If the lengths differ.
pub fn average_precision(scores: &[f32], anomalies: &[bool]) -> Option<f64> {
    let (mut found, mut flagged, mut sum) = (0_u128, 0_u128, 0.0);
    for group in descending(scores, anomalies) {
        found += group.anomalies;
        flagged += group.anomalies + group.normal;
        sum += group.anomalies as f64 * (found as f64 / flagged as f64);
    }
    (found > 0).then(|| sum / found as f64)
}

/// Rows of equal score.
struct Group {
    anomalies: u128,
    normal: u128,
}

/// The rows in groups of equal score, the highest score first.
fn descending(scores: &[f32], anomalies: &[bool]) -> Vec<Group> {
    assert_eq!(scores.len(), anomalies.len(), "one label a score");
    let mut rows: Vec<(f32, bool)> =
        scores.iter().copied().zip(anomalies.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| compare(b.0, a.0));
    let same = |a: &(f32, bool), b: &(f32, bool)| compare(a.0, b.0) == Ordering::Equal;
    let count = |rows: &[(f32, bool)]| {
        let anomalies = rows.iter().filter(|row| row.1).count();
        Group { anomalies: anomalies as u128, normal: (rows.len() - anomalies) as u128 }
    };
    rows.chunk_by(same).map(count).collect()
}

/// Orders numbers with NaN above all. Not `total_cmp`: that parts -0 from 0 and NaN from NaN.
fn compare(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    fn labels(text: &str) -> Vec<bool> {
        text.bytes().map(|byte| byte == b'1').collect()
    }

    #[test]
    fn a_perfect_and_a_reversed_ranking_have_areas_one_and_zero() {
        assert_eq!(auroc(&[1.0, 2.0, 3.0, 4.0], &labels("0011")), Some(1.0));
        assert_eq!(auroc(&[4.0, 3.0, 2.0, 1.0], &labels("0011")), Some(0.0));
        assert_eq!(average_precision(&[1.0, 2.0, 3.0, 4.0], &labels("0011")), Some(1.0));
        // Found at ranks 3 and 4: (1/3 + 2/4) / 2.
        let reversed = average_precision(&[4.0, 3.0, 2.0, 1.0], &labels("0011")).unwrap();
        assert!((reversed - 5.0 / 12.0).abs() < 1e-15);
    }

    #[test]
    fn equal_scores_count_half() {
        assert_eq!(auroc(&[7.0; 5], &labels("01100")), Some(0.5));
        assert_eq!(auroc(&[0.0, -0.0], &labels("01")), Some(0.5));
        // One group of everything: precision is the share of anomalies.
        assert_eq!(average_precision(&[7.0; 5], &labels("01100")), Some(0.4));
    }

    #[test]
    fn nan_ranks_above_infinity() {
        assert_eq!(auroc(&[f32::INFINITY, NAN, 0.0], &labels("010")), Some(1.0));
        assert_eq!(auroc(&[NAN, -NAN], &labels("01")), Some(0.5));
        assert_eq!(average_precision(&[f32::INFINITY, NAN], &labels("01")), Some(1.0));
        assert_eq!(average_precision(&[f32::INFINITY, NAN], &labels("10")), Some(0.5));
    }

    #[test]
    fn a_missing_class_leaves_nothing_to_measure() {
        assert_eq!(auroc(&[1.0, 2.0], &labels("00")), None);
        assert_eq!(auroc(&[1.0, 2.0], &labels("11")), None);
        assert_eq!(auroc(&[], &[]), None);
        assert_eq!(average_precision(&[1.0, 2.0], &labels("00")), None);
        assert_eq!(average_precision(&[1.0, 2.0], &labels("11")), Some(1.0));
    }

    #[test]
    #[should_panic(expected = "one label a score")]
    fn lengths_that_differ_are_refused() {
        auroc(&[1.0], &[]);
    }

    #[test]
    fn values_agree_with_scikit_learn() {
        // roc_auc_score(labels, scores) and average_precision_score(labels, scores) of
        // scikit-learn 1.9.1.
        let check = |scores: &[f32], labels: &[bool], area: f64, precision: f64| {
            assert!((auroc(scores, labels).unwrap() - area).abs() < 1e-14);
            assert!((average_precision(scores, labels).unwrap() - precision).abs() < 1e-14);
        };
        check(&[0.1, 0.4, 0.35, 0.8], &labels("0011"), 0.75, 0.8333333333333333);
        let scores = [1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 5.0, 4.0, 0.0, 2.0];
        check(&scores, &labels("0110101001"), 0.7, 0.6583333333333332);
        // i = numpy.arange(1000); scores = numpy.round(i * 7919 % 1009 / 8), with many ties and
        // halves to even; labels = i * 31 % 97 < 9.
        let scores: Vec<f32> =
            (0..1000).map(|i| ((i * 7919 % 1009) as f32 / 8.0).round_ties_even()).collect();
        let labels: Vec<bool> = (0..1000).map(|i| i * 31 % 97 < 9).collect();
        check(&scores, &labels, 0.5063129067823737, 0.10343031728910616);
    }
}
