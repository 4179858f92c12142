//! What other numbers cost a model, on readings.

use fluxlet::{Alarm, LOG_PROB_MIN, Model};
use serde::Serialize;

use super::{Exported, with_table};
use crate::data::Dataset;
use crate::metrics;
use crate::score::{calibration, score};

/// Readings as a device gets them, rows of the model's inputs.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Normal ones.
    pub normal: Vec<f32>,
    /// Labelled anomalies.
    pub anomalies: Vec<f32>,
}

impl Readings {
    /// The rows of a data set.
    pub fn new(dataset: &Dataset) -> Self {
        let mut readings = Self::default();
        let labels = dataset.labels.as_deref();
        for (i, row) in dataset.table.values.chunks_exact(dataset.table.width).enumerate() {
            let anomaly = labels.is_some_and(|labels| labels[i]);
            let rows = if anomaly { &mut readings.anomalies } else { &mut readings.normal };
            rows.extend_from_slice(row);
        }
        readings
    }

    /// What the layers of `model` see of the normal rows that are finite.
    pub fn seen(&self, model: &Model) -> Vec<f32> {
        let (dim, context) = (model.dim(), model.context_len());
        let mut seen = Vec::new();
        let mut scratch = vec![0.0; model.work_len()];
        for row in self.normal.chunks_exact(model.input_len()) {
            if !row.iter().all(|x| x.is_finite()) {
                continue;
            }
            let start = seen.len();
            seen.resize(start + dim + context, 0.0);
            let (data, own) = seen[start..].split_at_mut(dim);
            let (reading, given) = row.split_at(row.len() - context);
            match model.front_end() {
                Some(front_end) => front_end.extract(reading, data, &mut scratch),
                None => data.copy_from_slice(reading),
            }
            model.read_context(given, own);
        }
        seen
    }
}

/// The price, measured on the same rows before and after.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Normal rows, those that are not finite left out.
    pub rows: usize,
    /// Mean −log p of the normal rows.
    pub nll_before: f64,
    /// The same in the new numbers.
    pub nll: f64,
    /// Area under the ROC curve, where there are anomalies.
    pub auroc_before: Option<f64>,
    /// The same in the new numbers.
    pub auroc: Option<f64>,
    /// Largest change of a row's log p, anomalies included.
    pub largest_change: f64,
}

impl Cost {
    /// Scores the rows with both models.
    pub fn new(before: &Model, after: &Model, readings: &Readings) -> Self {
        let scores = |model: &Model| -> (Vec<f32>, usize) {
            let finite = |rows: &[f32]| -> Vec<f32> {
                let readings = score(model, rows).into_iter();
                readings.filter(|r| r.alarm != Alarm::NotFinite).map(|r| r.score()).collect()
            };
            let normal = finite(&readings.normal);
            let rows = normal.len();
            ([normal, finite(&readings.anomalies)].concat(), rows)
        };
        let ((old, rows), (new, _)) = (scores(before), scores(after));
        let truth: Vec<bool> = (0..old.len()).map(|i| i >= rows).collect();
        let mean = |scores: &[f32]| {
            scores[..rows].iter().map(|s| f64::from(*s)).sum::<f64>() / rows as f64
        };
        let changes = old.iter().zip(&new).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        Self {
            rows,
            nll_before: mean(&old),
            nll: mean(&new),
            auroc_before: metrics::auroc(&old, &truth),
            auroc: metrics::auroc(&new, &truth),
            largest_change: changes.fold(0.0, f64::max),
        }
    }
}

impl Exported {
    /// Its bytes with an alarm for these normal readings.
    pub fn calibrated(&self, readings: &Readings, false_alarm_rate: f32) -> Vec<u8> {
        let model = Model::new_checked(&self.bytes).expect("the model was just packed");
        let readings = score(&model, &readings.normal);
        let mut scores: Vec<f32> = readings
            .iter()
            .filter(|reading| reading.alarm != Alarm::NotFinite && reading.log_prob > LOG_PROB_MIN)
            .map(fluxlet::Reading::score)
            .collect();
        if scores.is_empty() {
            return self.bytes.clone();
        }
        with_table(&self.bytes, &calibration(&mut scores, false_alarm_rate))
    }

    /// What should be known of it.
    pub fn notes(&self) -> Vec<String> {
        let note = |(index, name): &(usize, &str)| {
            format!("layer {index}, {name}, has no form in these numbers and stays f32")
        };
        self.kept.iter().map(note).collect()
    }
}
