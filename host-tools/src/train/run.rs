//! A whole training run: from a data set to the bytes of a packed model.

use std::path::Path;

use super::config::{LEARNING_RATE, NETWORK_LEARNING_RATE};
use super::fit::{self, Observer, Plan, Trained, fit};
use super::gather::MIN_ROWS;
use super::prepare::Prepared;
use super::together::{Member, fit_together};
use super::{Config, State, notes};
use crate::backend::Backend;
use crate::data::{self, Store};
use crate::inspect::Inspection;
use crate::metrics;
use crate::score::{calibration, score};
use crate::stack::Stack;
use fluxlet::Model;
use fluxlet::model::tag;
use fluxlet_gpu::Gpu;
use rayon::prelude::*;

/// Training rows that each component of the base should have.
const ROWS_PER_COMPONENT: usize = 20;
/// Steps of a run whose configuration says nothing of them.
const STEPS: usize = 3000;
/// Held-out rows that calibrate the alarm, and anomalies that are counted, at most: memory is bounded,
/// and a million p-values are enough.
const MOST_SCORES: usize = 1 << 20;
/// Rows scored at once.
const SCORED_AT_ONCE: usize = 1 << 12;

/// Why a run cannot begin, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// Too few normal rows.
    #[error("train on {path}: it has {found} normal rows, at least {MIN_ROWS} are needed")]
    TooFewRows {
        /// The data file.
        path: std::path::PathBuf,
        /// Its normal rows (or windows).
        found: usize,
    },
    /// Normal rows that are all the same.
    #[error(
        "train on {path}: every column is constant in the normal rows, there is nothing to learn"
    )]
    Constant {
        /// The data file.
        path: std::path::PathBuf,
    },
    /// The configuration asks for something impossible.
    #[error("train: {0}")]
    Config(String),
    /// It was stopped, or its state could not be saved.
    #[error(transparent)]
    Fit(#[from] fit::Error),
}

/// What a run tells its user.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Normal rows (or windows) that trained.
    pub train_rows: usize,
    /// Normal rows held out for early stopping and calibration.
    pub held_out_rows: usize,
    /// Rows with a label other than 0.
    pub anomalies: usize,
    /// Epochs run.
    pub epochs: usize,
    /// The epoch whose parameters were kept.
    pub best_epoch: usize,
    /// Mean NLL of the held-out rows, in nats.
    pub validation_nll: f64,
    /// Batches that moved nothing, because they were not finite.
    pub skipped_batches: usize,
    /// The first rows of the data (or windows), from 1, that were to blame for it.
    pub skipped_rows: Vec<usize>,
    /// Free parameters.
    pub parameters: usize,
    /// Bytes of the packed model.
    pub model_bytes: usize,
    /// Multiply-adds of a score, an exponential counted as ten.
    pub multiply_adds: usize,
    /// Area under the ROC curve, anomalies against held-out rows.
    pub auroc: Option<f64>,
    /// Average precision of the same.
    pub aupr: Option<f64>,
    /// What was done to the data and should be known.
    pub notes: Vec<String>,
}

/// A finished run.
pub struct Outcome {
    /// The packed model.
    pub model: Vec<u8>,
    /// The trained flow.
    pub trained: Trained,
    /// The configuration as it was run, epochs filled in.
    pub config: Config,
    /// What to tell the user.
    pub report: Report,
}

/// Trains on the rows of `path`, from the start or from the state of a run to resume.
///
/// # Errors
///
/// [`Error`] names the place and what is wrong with it.
pub fn run(
    rows: Prepared,
    path: &Path,
    config: Config,
    backend: &impl Backend,
    resumed: Option<State>,
    observer: &mut impl Observer,
) -> Result<Outcome, Error> {
    let begun = Begun::new(rows, path, config)?;
    let trained = fit(begun.plan(), begun.rows.rows(), backend, resumed, observer)?;
    begun.finish(trained)
}

/// One of the runs of [`run_together`].
pub struct Run<'r> {
    /// Its rows.
    pub rows: Prepared,
    /// The file that they are of.
    pub path: &'r Path,
    /// Its configuration.
    pub config: Config,
    /// The state to resume from.
    pub resumed: Option<State>,
    /// Who watches it.
    pub observer: &'r mut (dyn Observer + Send),
}

/// Trains many models on a GPU, those of one shape side by side; `done` is told what came of each as
/// soon as it is known, by its place among the runs.
///
/// # Errors
///
/// The device failed, or an observer stopped them; what was done before stays so.
pub fn run_together(
    runs: Vec<Run>,
    gpu: &Gpu,
    mut done: impl FnMut(usize, Result<Outcome, Error>),
) -> Result<(), Error> {
    let mut waiting = Vec::new();
    for (i, Run { rows, path, config, resumed, observer }) in runs.into_iter().enumerate() {
        match Begun::new(rows, path, config) {
            Ok(begun) => waiting.push((i, begun, resumed, observer)),
            Err(error) => done(i, Err(error)),
        }
    }
    while let Some((_, first, ..)) = waiting.first() {
        let (stack, batch) = (first.stack.clone(), first.config.train.batch);
        let alike = waiting.extract_if(.., |(_, begun, ..)| {
            begun.stack == stack && begun.config.train.batch == batch
        });
        let (begun, watched): (Vec<_>, Vec<_>) =
            alike.map(|(i, begun, resumed, observer)| ((i, begun), (resumed, observer))).unzip();
        let members = begun.iter().zip(watched).map(|((_, begun), (resumed, observer))| Member {
            plan: begun.plan(),
            rows: begun.rows.rows(),
            resumed,
            observer,
        });
        let mut next = begun.iter();
        fit_together(members.collect(), gpu, |trained| {
            let some: Vec<_> = next.by_ref().take(trained.len()).zip(trained).collect();
            let finish =
                |((i, begun), trained): (&(usize, Begun), Trained)| (*i, begun.finish(trained));
            let finished: Vec<_> = some.into_par_iter().map(finish).collect();
            finished.into_iter().for_each(|(i, outcome)| done(i, outcome));
        })?;
    }
    Ok(())
}

/// A run that is ready to train.
struct Begun<'r> {
    rows: Prepared,
    path: &'r Path,
    /// As it is run, epochs filled in.
    config: Config,
    stack: Stack,
    steps: usize,
    notes: Vec<String>,
}

impl<'r> Begun<'r> {
    fn new(rows: Prepared, path: &'r Path, mut config: Config) -> Result<Self, Error> {
        let train_len = rows.train_len();
        let mut notes = rows.notes.clone();
        let mut flow = config.flow.clone();
        let components = (train_len / ROWS_PER_COMPONENT).max(1);
        if components < flow.components {
            notes.push(format!(
                "{train_len} training rows carry {components} components instead of {}",
                flow.components
            ));
            flow.components = components;
        }
        let steps_per_epoch = train_len.div_ceil(config.train.batch);
        let steps = if let (None, Some(steps)) = (config.train.epochs, config.train.steps) {
            steps
        } else {
            let usual = (STEPS / steps_per_epoch).clamp(10, 300);
            let epochs = *config.train.epochs.get_or_insert(usual);
            (epochs * steps_per_epoch).min(config.train.steps.unwrap_or(usize::MAX))
        };
        let stack = rows.stack(&flow).map_err(Error::Config)?;
        let network = stack.layers.iter().any(|(layer, _)| layer.is_conditioned());
        let usual = if network { NETWORK_LEARNING_RATE } else { LEARNING_RATE };
        config.train.learning_rate.get_or_insert(usual);
        Ok(Self { rows, path, config, stack, steps, notes })
    }

    fn plan(&self) -> Plan<'_> {
        let start = self.config.flow.start;
        Plan { stack: self.stack.clone(), start, steps: self.steps, config: &self.config.train }
    }

    /// Packs and calibrates what was trained.
    fn finish(&self, trained: Trained) -> Result<Outcome, Error> {
        let Self { rows, path, config, .. } = self;
        let mut notes = self.notes.clone();
        let train_len = rows.train_len();
        let number = |row: &u32| rows.number(*row as usize) as usize + 1;
        let mut skipped_rows: Vec<usize> = trained.skipped.rows.iter().map(number).collect();
        skipped_rows.sort_unstable();
        notes.extend(notes::troubles(&trained, &skipped_rows, config.data.window > 0));

        let names = rows.names.join("\n");
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let provenance = format!(
            "fluxlet {}; {file}, {train_len} rows, seed {}",
            env!("CARGO_PKG_VERSION"),
            config.train.seed
        );
        let mut sections: Vec<([u8; 4], &[u8])> = Vec::new();
        if let Some(payload) = &rows.features {
            sections.push((tag::FEATURES, payload));
        }
        if rows.context > 0 {
            sections.push((tag::CONTEXT, &rows.context_scale));
        }
        sections.push((tag::NAMES, names.as_bytes()));
        sections.push((tag::PROVENANCE, provenance.as_bytes()));
        let uncalibrated = trained.stack.pack(&trained.weights, &sections);

        // Scores come from the packed model and the readings as a device gets them, without noise.
        let model = Model::new_checked(&uncalibrated)
            .map_err(|e| Error::Config(format!("the trained flow cannot be packed: {e}")))?;
        let multiply_adds = Inspection::new(&model).multiply_adds;
        let mut normal_scores = scores(&model, rows.held_out());
        let anomaly_scores = scores(&model, &rows.anomalies);
        let both: Vec<f32> = normal_scores.iter().chain(&anomaly_scores).copied().collect();
        let truth: Vec<bool> = (0..both.len()).map(|i| i >= normal_scores.len()).collect();
        let calibrated = normal_scores.len();
        let table = calibration(&mut normal_scores, config.data.false_alarm_rate);
        sections.push((tag::CALIBRATION, &table));
        let attainable = 1.0 / (calibrated as f32 + 1.0);
        if attainable > config.data.false_alarm_rate {
            notes.push(format!(
                "{calibrated} held-out rows reach a false-alarm rate of {:.2} % at best; more data would reach the {:.2} % asked for",
                100.0 * attainable, 100.0 * config.data.false_alarm_rate
            ));
        }
        let model = trained.stack.pack(&trained.weights, &sections);
        let report = Report {
            train_rows: train_len,
            held_out_rows: rows.held_out().len(),
            anomalies: rows.anomalies.len(),
            epochs: trained.history.len(),
            best_epoch: trained.best_epoch,
            validation_nll: trained.validation_nll,
            skipped_batches: trained.skipped.batches,
            skipped_rows,
            parameters: trained.stack.theta_len(),
            model_bytes: model.len(),
            multiply_adds,
            auroc: metrics::auroc(&both, &truth),
            aupr: metrics::average_precision(&both, &truth),
            notes,
        };
        Ok(Outcome { model, trained, config: config.clone(), report })
    }
}

/// What the packed model says of a store's rows: of all, or of [`MOST_SCORES`] evenly among them.
fn scores(model: &Model, rows: &Store) -> Vec<f32> {
    let stride = rows.len().div_ceil(MOST_SCORES).max(1);
    let mut scores = Vec::with_capacity(rows.len() / stride + 1);
    let mut inputs = Vec::new();
    let mut chosen = rows.rows().step_by(stride).peekable();
    while chosen.peek().is_some() {
        inputs.clear();
        chosen.by_ref().take(SCORED_AT_ONCE).for_each(|row| inputs.extend_from_slice(row));
        scores.extend(score(model, &inputs).iter().map(fluxlet::Reading::score));
    }
    scores
}
