//! From a file to the rows of a run: what a flow is trained on, and what calibrates its alarm.

use std::path::Path;

use fluxlet::features::FrontEnd;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::gather::Gathered;
use super::run::Error;
use super::{Config, FlowConfig, Rows, features};
use crate::data::{self, Domain, Parts, Resolution, Spool, Store};
use crate::stack::Stack;

/// The rows of a run.
#[derive(Debug)]
pub struct Prepared {
    /// Names of the inputs of a device, those of context last.
    pub(super) names: Vec<String>,
    /// C, numbers of context at the end of a row.
    pub(super) context: usize,
    /// The section of the front end, where the rows are windows.
    pub(super) features: Option<Vec<u8>>,
    /// The section that standardises the context.
    pub(super) context_scale: Vec<u8>,
    /// Columns that are not the real line.
    pub(super) domains: Vec<Domain>,
    /// What was done to the data and should be known.
    pub(super) notes: Vec<String>,
    /// Rows with a label other than 0, as a device gets them.
    pub anomalies: Store,
    /// Rows to train on, as the flow gets them.
    train: Store,
    /// The number in the data, from 0, of each row to train on.
    train_numbers: Store<u32>,
    /// Held-out rows, as the flow gets them.
    held_out: Store,
    /// Held-out rows as a device gets them, where that is something else.
    raw_held_out: Option<Store>,
}

impl Prepared {
    /// The rows that a flow is trained on.
    pub(super) fn rows(&self) -> Rows<'_> {
        let (train, held_out) = (self.train.values(), self.held_out.values());
        Rows { train, held_out, domains: &self.domains }
    }

    /// Numbers of a row, D + C.
    pub(super) fn width(&self) -> usize {
        self.train.width()
    }

    /// The layers of `flow` for these rows.
    ///
    /// # Errors
    ///
    /// What is impossible about it.
    pub fn stack(&self, flow: &FlowConfig) -> Result<Stack, String> {
        flow.stack(self.width() - self.context, self.context, !self.domains.is_empty())
    }

    /// How many rows are trained on.
    pub fn train_len(&self) -> usize {
        self.train.len()
    }

    /// The number of a training row among the rows of the data, or windows, from 0.
    pub fn number(&self, train_row: usize) -> u32 {
        self.train_numbers.values()[train_row]
    }

    /// All rows: to train on, held out, anomalies.
    pub(super) fn stores(&self) -> [&Store; 3] {
        [&self.train, &self.held_out, &self.anomalies]
    }

    /// Held-out rows as a device gets them, without noise.
    pub fn held_out(&self) -> &Store {
        self.raw_held_out.as_ref().unwrap_or(&self.held_out)
    }
}

/// Makes the rows of a run of what was read of its file; what is too much for memory goes where
/// `spool` says.
///
/// # Errors
///
/// [`Error`] names the file and what is wrong with it.
pub fn prepare(
    gathered: Gathered,
    path: &Path,
    config: &Config,
    spool: &Spool,
) -> Result<Prepared, Error> {
    let Gathered { names, normal, anomalies, domains, power, mut notes } = gathered;
    let Parts { mut train, train_numbers, mut held_out } = normal;
    let mut raw_held_out = None;
    let mut columns = names.clone();
    let mut section = None;
    if config.data.window > 0 {
        let payload = features::section(config, names.len(), power)?;
        let front_end = FrontEnd::new_checked(&payload).expect("the section was just written");
        let mut scratch = vec![0.0; front_end.scratch_len()];
        let mut extract = |windows: &Store| {
            each_row(windows, front_end.feature_len(), spool, |window, features| {
                front_end.extract(window, features, &mut scratch);
            })
        };
        train = extract(&train)?;
        let extracted = extract(&held_out)?;
        raw_held_out = Some(std::mem::replace(&mut held_out, extracted));
        columns = features::names(&front_end, &names);
        section = Some(payload);
    }
    let context = config.data.context.len();
    let dim = train.width() - context;
    if dim > fluxlet::model::MAX_DIM {
        return Err(data::Error::TooWide { path: path.into(), found: dim }.into());
    }

    let noises = noises(&train, &columns[..dim], &mut notes);
    let scale = context_scale(&train, dim);
    if !(noises.is_empty() && scale.is_empty()) {
        let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed ^ 0x006e_6f69_7365);
        let width = train.width();
        let mut change = |rows: &Store| {
            each_row(rows, width, spool, |row, changed| {
                changed.copy_from_slice(row);
                data::dequantise(changed, &noises, &mut rng);
                data::keep_inside(&domains, changed, width);
                for (x, (shift, scale)) in changed[dim..].iter_mut().zip(&scale) {
                    *x = (*x - shift) * scale;
                }
            })
        };
        train = change(&train)?;
        let changed = change(&held_out)?;
        let raw = std::mem::replace(&mut held_out, changed);
        raw_held_out.get_or_insert(raw);
    }
    if train.in_file() {
        let megabytes = size_of_val(train.values()) as f64 / 1e6;
        let folder = spool.folder.display();
        notes.push(format!("{megabytes:.0} MB of training rows were kept in a file in {folder}"));
    }
    let (shifts, scales): (Vec<f32>, Vec<f32>) = scale.into_iter().unzip();
    Ok(Prepared {
        names,
        context,
        features: section,
        context_scale: shifts.iter().chain(&scales).flat_map(|x| x.to_le_bytes()).collect(),
        domains,
        notes,
        anomalies,
        train,
        train_numbers,
        held_out,
        raw_held_out,
    })
}

/// A store with a row of `width` numbers for each row of another.
fn each_row(
    rows: &Store,
    width: usize,
    spool: &Spool,
    mut change: impl FnMut(&[f32], &mut [f32]),
) -> Result<Store, data::Error> {
    let mut changed = spool.store(width);
    let mut to = vec![0.0; width];
    for row in rows.rows() {
        change(row, &mut to);
        changed.push(&to)?;
    }
    changed.finish()
}

/// The noise that gives the columns of these names a density: of their resolution where they have few
/// values, a little where they have one. Says so.
fn noises(train: &Store, names: &[String], notes: &mut Vec<String>) -> Vec<Resolution> {
    let extents = data::extents(train.values(), train.width());
    let mut noises = data::resolutions(train.values(), &extents);
    noises.retain(|resolution| resolution.column < names.len());
    for Resolution { column, distinct, step } in &noises {
        let name = &names[*column];
        notes.push(format!(
            "column {name} has {distinct} distinct values; noise of its resolution {step} was added in training"
        ));
    }
    for (column, (name, extent)) in names.iter().zip(&extents).enumerate() {
        if extent.is_constant() {
            let value = extent.first;
            let step = 1e-3 * value.abs().max(1.0);
            let most = step / 2.0;
            notes.push(format!(
                "column {name} is always {value}; it may differ by ± {most} before it counts"
            ));
            noises.push(Resolution { column, distinct: 1, step });
        }
    }
    noises
}

/// Shift and scale that standardise each column behind the first `dim`.
fn context_scale(train: &Store, dim: usize) -> Vec<(f32, f32)> {
    if dim == train.width() {
        return Vec::new();
    }
    let moments = data::moments(train.values(), train.width());
    let scale = |&(mean, variance): &(f64, f64)| {
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        (mean as f32, (1.0 / deviation) as f32)
    };
    moments[dim..].iter().map(scale).collect()
}
