//! A whole training run: from a data set to the bytes of a packed model.

use std::path::Path;

use fluxlet::features::{FrontEnd, Window};
use fluxlet::model::tag;
use fluxlet::{Calibration, Model};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::config::{LEARNING_RATE, NETWORK_LEARNING_RATE};
use super::fit::{self, Observer, Plan, Rows, Trained, fit};
use super::{Config, State, notes};
use crate::backend::Backend;
use crate::data::{self, Dataset, Resolution, Table};
use crate::metrics;
use crate::score::score;

/// Fewest normal rows that anything can be learnt from.
const MIN_ROWS: usize = 10;
/// Training rows that each component of the base should have.
const ROWS_PER_COMPONENT: usize = 20;
/// Steps of a run whose configuration says nothing of them.
const STEPS: usize = 3000;

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
    /// The configuration asks for something impossible.
    #[error("train: {0}")]
    Config(String),
    /// It was stopped, or its state could not be saved.
    #[error(transparent)]
    Fit(#[from] fit::Error),
    /// The stack is wider than a model can be.
    #[error("train on {path}: {found} inputs, at most {most} are possible", most = fluxlet::model::MAX_DIM)]
    TooWide {
        /// The data file.
        path: std::path::PathBuf,
        /// Its inputs.
        found: usize,
    },
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

/// The rows of a table that are in `chosen`.
fn pick(table: &Table, chosen: &[u32]) -> Vec<f32> {
    chosen.iter().flat_map(|row| table.row(*row as usize)).copied().collect()
}

/// The section of the front end for these windows; its floor is a millionth of their mean power.
fn front_end(windows: &data::Windows, bands: usize) -> Result<Vec<u8>, Error> {
    let table = &windows.dataset.table;
    let channels = windows.channels.len();
    let window = table.width / channels;
    let mut power = 0.0;
    for i in 0..table.rows() {
        for channel in 0..channels {
            let column = || table.row(i)[channel..].iter().step_by(channels).map(|x| f64::from(*x));
            let mean = column().sum::<f64>() / window as f64;
            power += column().map(|x| (x - mean) * (x - mean)).sum::<f64>() / window as f64;
        }
    }
    let mean = power / (table.rows() * channels) as f64;
    let floor = (1e-6 * mean).max(1e-12) as f32;
    let front_end = Window { channels, window, bands, floor };
    if !front_end.exists() {
        let why = format!("a window of {window} readings has no {bands} octave bands");
        return Err(Error::Config(why));
    }
    let mut payload = vec![0; front_end.payload_len()];
    let mut dct = vec![0.0; (payload.len() - 12) / 4];
    front_end.write(&mut dct, &mut payload);
    Ok(payload)
}

/// Every row of `table` through the front end.
fn extract(front_end: &FrontEnd, channels: &[String], table: &Table) -> Table {
    let width = front_end.feature_len();
    let mut values = vec![0.0; table.rows() * width];
    let mut scratch = vec![0.0; front_end.scratch_len()];
    for (i, features) in values.chunks_exact_mut(width).enumerate() {
        front_end.extract(table.row(i), features, &mut scratch);
    }
    let bands = front_end.window().bands;
    let names = channels.iter().flat_map(|channel| {
        let bands = (0..bands).map(move |b| format!("{channel}.band{b}"));
        [format!("{channel}.deviation"), format!("{channel}.crest")].into_iter().chain(bands)
    });
    Table { names: names.collect(), width, values }
}

/// Standardises the columns behind the first `dim` by their training rows; the payload of the section
/// that tells a device to do the same.
fn standardise_context(table: &mut Table, dim: usize, train: &[u32]) -> Vec<u8> {
    let (mut shifts, mut scales) = (Vec::new(), Vec::new());
    for column in dim..table.width {
        let values = || train.iter().map(|row| f64::from(table.row(*row as usize)[column]));
        let mean = values().sum::<f64>() / train.len() as f64;
        let square = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / train.len() as f64;
        let deviation = if square > 0.0 { square.sqrt() } else { 1.0 };
        let (shift, scale) = (mean as f32, (1.0 / deviation) as f32);
        for row in table.values.chunks_exact_mut(table.width) {
            row[column] = (row[column] - shift) * scale;
        }
        shifts.push(shift);
        scales.push(scale);
    }
    shifts.iter().chain(&scales).flat_map(|number| number.to_le_bytes()).collect()
}

/// Uniform noise of the resolution of each of the first `dim` columns, so that a density exists;
/// says what it did.
fn dequantise(
    table: &mut Table,
    dim: usize,
    train: &[u32],
    rng: &mut ChaCha8Rng,
    notes: &mut Vec<String>,
) {
    let mut resolutions = data::resolutions(table, train);
    resolutions.retain(|resolution| resolution.column < dim);
    for r in &resolutions {
        let name = &table.names[r.column];
        notes.push(format!(
            "column {name} has {} distinct values; noise of its resolution {} was added in training",
            r.distinct, r.step
        ));
    }
    data::apply(table, &resolutions, rng);
    let constants: Vec<Resolution> = data::constant_columns(table, train)
        .into_iter()
        .filter(|column| *column < dim)
        .map(|column| {
            let value = table.row(train[0] as usize)[column];
            let step = 1e-3 * value.abs().max(1.0);
            let name = &table.names[column];
            notes.push(format!(
                "column {name} is always {value}; it may differ by ± {} before it counts",
                step / 2.0
            ));
            Resolution { column, distinct: 1, step }
        })
        .collect();
    data::apply(table, &constants, rng);
}

/// Trains on `dataset`, which was read from `path`, from the start or from the state of a run to
/// resume.
///
/// # Errors
///
/// [`Error`] names the file, the place and what is wrong with it.
pub fn run(
    dataset: &Dataset,
    path: &Path,
    mut config: Config,
    backend: &impl Backend,
    resumed: Option<State>,
    observer: &mut impl Observer,
) -> Result<Outcome, Error> {
    if let Some(problem) = config.problem() {
        return Err(Error::Config(problem));
    }
    let mut notes = Vec::new();
    if let Some((row, column)) = dataset.table.first_not_finite() {
        return Err(data::Error::not_finite(path, &dataset.table, row, column).into());
    }
    let mut features = None;
    let mut dataset = dataset.clone();
    if config.data.window > 0 {
        let Config { data, .. } = &config;
        let reason = if !data.context.is_empty() {
            "windows of a stream have no columns of context yet"
        } else if !(data.bounded.is_empty() && data.angles.is_empty()) {
            "the features of a window have no limits that a user could set"
        } else {
            ""
        };
        if !reason.is_empty() {
            return Err(Error::Config(reason.into()));
        }
    }
    data::context_last(path, &mut dataset.table, &config.data.context)?;
    let dataset = &dataset;
    let mut input_names = dataset.table.names.clone();
    let (raw, mut table, labels) = if config.data.window > 0 {
        let windows = data::windows(dataset, config.data.window, path)?;
        if windows.dropped > 0 {
            notes.push(format!(
                "the last {} rows do not fill a window and were left out",
                windows.dropped
            ));
        }
        let payload = front_end(&windows, config.data.bands)?;
        let front_end = FrontEnd::new_checked(&payload).expect("the section was just written");
        input_names.clone_from(&windows.channels);
        let table = extract(&front_end, &windows.channels, &windows.dataset.table);
        features = Some(payload);
        (windows.dataset.table, table, windows.dataset.labels)
    } else {
        (dataset.table.clone(), dataset.table.clone(), dataset.labels.clone())
    };
    let context = config.data.context.len();
    let dim = table.width - context;
    if dim > fluxlet::model::MAX_DIM {
        return Err(Error::TooWide { path: path.into(), found: dim });
    }

    let is_anomaly = |row: u32| labels.as_ref().is_some_and(|labels| labels[row as usize]);
    let (anomalies, normal): (Vec<u32>, Vec<u32>) =
        (0..table.rows() as u32).partition(|r| is_anomaly(*r));
    if normal.len() < MIN_ROWS {
        return Err(Error::TooFewRows { path: path.into(), found: normal.len() });
    }
    let (train_rows, held_out_rows) =
        data::split(normal.len(), config.data.held_out, config.train.seed);
    let choose =
        |rows: Vec<u32>| -> Vec<u32> { rows.into_iter().map(|r| normal[r as usize]).collect() };
    let (train_rows, held_out_rows) = (choose(train_rows), choose(held_out_rows));

    let (bounded, angles) = (&config.data.bounded, &config.data.angles);
    let domains = data::domains(path, &table, &normal, bounded, angles, &mut notes)?;
    if let Some(given) = domains.iter().find(|domain| domain.column >= dim) {
        let name = &table.names[given.column];
        return Err(Error::Config(format!("the column {name} is context, it has no domain")));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed ^ 0x006e_6f69_7365);
    dequantise(&mut table, dim, &train_rows, &mut rng, &mut notes);
    let width = table.width;
    data::keep_inside(&domains, &mut table.values, width);
    let context_scale = standardise_context(&mut table, dim, &train_rows);
    let mut flow = config.flow.clone();
    let components = (train_rows.len() / ROWS_PER_COMPONENT).max(1);
    if components < flow.components {
        notes.push(format!(
            "{} training rows carry {components} components instead of {}",
            train_rows.len(),
            flow.components
        ));
        flow.components = components;
    }
    let steps_per_epoch = train_rows.len().div_ceil(config.train.batch);
    let steps = if let (None, Some(steps)) = (config.train.epochs, config.train.steps) {
        steps
    } else {
        let usual = (STEPS / steps_per_epoch).clamp(10, 300);
        let epochs = *config.train.epochs.get_or_insert(usual);
        (epochs * steps_per_epoch).min(config.train.steps.unwrap_or(usize::MAX))
    };
    let (rows, held_out) = (pick(&table, &train_rows), pick(&table, &held_out_rows));
    let rows = Rows { train: &rows, held_out: &held_out, domains: &domains };
    let stack = flow.stack(dim, context, !domains.is_empty()).map_err(Error::Config)?;
    let network = stack.layers.iter().any(|(layer, _)| layer.is_conditioned());
    let usual = if network { NETWORK_LEARNING_RATE } else { LEARNING_RATE };
    config.train.learning_rate.get_or_insert(usual);
    let plan = Plan { stack, start: flow.start, steps, config: &config.train };
    let trained = fit(plan, rows, backend, resumed, observer)?;
    let number = |row: &u32| train_rows[*row as usize] as usize + 1;
    let mut skipped_rows: Vec<usize> = trained.skipped.rows.iter().map(number).collect();
    skipped_rows.sort_unstable();
    notes.extend(notes::troubles(&trained, &skipped_rows, config.data.window > 0));

    let names = input_names.join("\n");
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let provenance = format!(
        "fluxlet {}; {file}, {} rows, seed {}",
        env!("CARGO_PKG_VERSION"),
        train_rows.len(),
        config.train.seed
    );
    let mut sections: Vec<([u8; 4], &[u8])> = Vec::new();
    if let Some(payload) = &features {
        sections.push((tag::FEATURES, payload));
    }
    if context > 0 {
        sections.push((tag::CONTEXT, &context_scale));
    }
    sections.push((tag::NAMES, names.as_bytes()));
    sections.push((tag::PROVENANCE, provenance.as_bytes()));
    let uncalibrated = trained.stack.pack(&trained.weights, &sections);

    // Scores come from the packed model and the readings as a device gets them, without noise.
    let model = Model::new_checked(&uncalibrated)
        .map_err(|e| Error::Config(format!("the trained flow cannot be packed: {e}")))?;
    let scores = |rows: &[u32]| -> Vec<f32> {
        score(&model, &pick(&raw, rows)).iter().map(fluxlet::Reading::score).collect()
    };
    let (mut normal_scores, anomaly_scores) = (scores(&held_out_rows), scores(&anomalies));
    let both: Vec<f32> = normal_scores.iter().chain(&anomaly_scores).copied().collect();
    let truth: Vec<bool> = (0..both.len()).map(|i| i >= normal_scores.len()).collect();
    let mut table = vec![0; Calibration::payload_len(normal_scores.len())];
    let len = Calibration::write(&mut normal_scores, config.data.false_alarm_rate, &mut table);
    sections.push((tag::CALIBRATION, &table[..len]));
    let attainable = 1.0 / (held_out_rows.len() as f32 + 1.0);
    if attainable > config.data.false_alarm_rate {
        notes.push(format!(
            "{} held-out rows reach a false-alarm rate of {:.2} % at best; more data would reach the {:.2} % asked for",
            held_out_rows.len(), 100.0 * attainable, 100.0 * config.data.false_alarm_rate
        ));
    }
    let model = trained.stack.pack(&trained.weights, &sections);
    let report = Report {
        train_rows: train_rows.len(),
        held_out_rows: held_out_rows.len(),
        anomalies: anomalies.len(),
        epochs: trained.history.len(),
        best_epoch: trained.best_epoch,
        validation_nll: trained.validation_nll,
        skipped_batches: trained.skipped.batches,
        skipped_rows,
        parameters: trained.stack.theta_len(),
        model_bytes: model.len(),
        auroc: metrics::auroc(&both, &truth),
        aupr: metrics::average_precision(&both, &truth),
        notes,
    };
    Ok(Outcome { model, trained, config, report })
}
