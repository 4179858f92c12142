//! `fluxlet export`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use fluxlet::conditioner::Numbers;
use fluxlet::{Calibration, Model};
use serde::Serialize;

use super::ColumnArgs;
use crate::data::Spool;
use crate::export::{self, Cost, Readings};
use crate::output;
use crate::report::number;
use crate::train::{self, Config};

/// Pack a model for a small core: its networks in fewer bits.
///
/// int8 networks compute in whole numbers, f16 ones are widened as they are read. Either way the
/// density stays an exact one; what it costs in likelihood is measured and told.
///
/// With a run's folder and the data of that run as --calibrate, the rows that the run held out say how large
/// a network's numbers become, calibrate the alarm anew, and are what the cost is measured on. Without
/// data the model's own samples are, and the new model has no alarm.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Folder of a run, or a packed model
    run: PathBuf,
    /// Numbers of the networks
    #[arg(long, value_enum)]
    weights: Weights,
    /// Readings as they are in operation
    #[arg(long, value_name = "DATA")]
    calibrate: Option<PathBuf>,
    /// File for the new model
    #[arg(short, long, value_name = "MODEL.flx")]
    out: PathBuf,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Weights {
    /// 32-bit floats, the model as it is
    F32,
    /// 16-bit floats: half the flash
    F16,
    /// 8-bit whole numbers: a quarter of the flash, no floating point in the network
    Int8,
}

impl Weights {
    fn numbers(self) -> Numbers {
        match self {
            Self::F32 => Numbers::F32,
            Self::F16 => Numbers::F16,
            Self::Int8 => Numbers::Int8,
        }
    }
}

/// What the export came to.
#[derive(Serialize)]
struct Report {
    numbers: &'static str,
    bytes_before: usize,
    bytes: usize,
    #[serde(flatten)]
    cost: Cost,
    /// Rows behind the new alarm.
    calibration_rows: Option<u32>,
    notes: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = if args.run.is_dir() { args.run.join("model.flx") } else { args.run.clone() };
    let bytes = super::read_model(&path)?;
    let model = super::model(&bytes);
    let readings = match &args.calibrate {
        Some(data) => readings(args, &model, data)?,
        None => {
            let windows = model.front_end().is_some();
            ensure!(!windows, "export: the model reads windows, which only --calibrate DATA has");
            Readings { normal: super::verify::random_inputs(&model, 4096), anomalies: Vec::new() }
        }
    };
    let numbers = args.weights.numbers();
    let exported = export::export(&model, numbers, &readings.seen(&model))?;
    let cost = Cost::new(&model, &super::model(&exported.bytes), &readings);
    let mut notes = exported.notes();
    let exported = if args.calibrate.is_some() {
        let rate = model
            .calibration()
            .map_or(Config::default().data.false_alarm_rate, |table| table.false_alarm_rate());
        exported.calibrated(&readings, rate)
    } else {
        if model.calibration().is_some() {
            notes.push("the alarm is left out: its table is of the old numbers; --calibrate DATA makes a new one".into());
        }
        exported.bytes
    };
    output::write_atomically(&args.out, |file| file.write_all(&exported))?;
    let report = Report {
        numbers: numbers.name(),
        bytes_before: bytes.len(),
        bytes: exported.len(),
        cost,
        calibration_rows: super::model(&exported)
            .calibration()
            .map(|table| Calibration::rows(&table)),
        notes,
    };
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, &args.out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows that a run held out and its anomalies; of a lone model all rows of the data.
fn readings(args: &Args, model: &Model, data: &Path) -> anyhow::Result<Readings> {
    let readings = if args.run.is_dir() {
        let path = args.run.join("config.toml");
        let read = || format!("read {}", path.display());
        let config: Config = toml::from_str(&std::fs::read_to_string(&path).with_context(read)?)
            .with_context(read)?;
        let spool = Spool { folder: args.run.clone(), in_memory: Spool::IN_MEMORY };
        let rows = train::prepare(train::gather(data, &config, &spool)?, data, &config, &spool)?;
        super::check_width(data, rows.held_out().width(), model.input_len())?;
        Readings {
            normal: rows.held_out().values().to_vec(),
            anomalies: rows.anomalies.values().to_vec(),
        }
    } else {
        Readings::new(&super::read_inputs(model, data, &args.columns)?)
    };
    ensure!(!readings.normal.is_empty(), "export: {} has no normal row", data.display());
    Ok(readings)
}

fn print(report: &Report, out: &Path) {
    let Report { bytes_before, bytes, cost, calibration_rows, notes, .. } = report;
    for note in notes {
        anstream::println!("note: {note}");
    }
    let Cost { rows, nll_before, nll, auroc_before, auroc, largest_change } = cost;
    let change = |before: Option<f64>, after: Option<f64>| {
        let change = before.zip(after).map_or(String::new(), |(a, b)| format!(" ({:+.4})", b - a));
        format!("{} → {}{change}", number(before), number(after))
    };
    anstream::println!("rows            {rows}");
    anstream::println!("NLL             {} nats", change(Some(*nll_before), Some(*nll)));
    if auroc.is_some() {
        anstream::println!("AUROC           {}", change(*auroc_before, *auroc));
    }
    anstream::println!("largest change  {largest_change:.4} nats of a log_prob");
    let share = 100.0 * *bytes as f64 / *bytes_before as f64;
    anstream::println!("bytes           {bytes_before} → {bytes} ({share:.1} %)");
    if let Some(rows) = calibration_rows {
        anstream::println!("alarm           calibrated on {rows} rows");
    }
    anstream::println!("wrote {}", out.display());
}
