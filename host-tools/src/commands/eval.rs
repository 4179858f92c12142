//! `fluxlet eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use fluxlet::{Alarm, Reading};
use serde::Serialize;

use super::ColumnArgs;
use crate::data::{self, Dataset};
use crate::metrics;
use crate::report::number;

/// Mean NLL of data, and how well the score finds labelled anomalies.
///
/// The NLL is −log p in nats, in the units of the data, averaged over the rows that are finite.
/// With labels, AUROC and AUPR (average precision) tell how well the score ranks anomalies above
/// normal rows, and the NLL is that of the normal rows.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Rows to evaluate
    data: PathBuf,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Labels in a file of their own, one for each row (0: normal)
    #[arg(long, value_name = "FILE.npy", conflicts_with = "label")]
    labels: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
pub(super) struct Evaluation {
    /// Rows, or windows.
    pub(super) rows: usize,
    /// Mean −log p of the rows that are finite and not labelled anomalies.
    pub(super) nll: Option<f64>,
    pub(super) auroc: Option<f64>,
    pub(super) aupr: Option<f64>,
    pub(super) anomalies: Option<usize>,
    /// Share of the normal rows that give an alarm.
    pub(super) false_alarms: f64,
    /// Share of the anomalies that give one.
    pub(super) detected: Option<f64>,
    /// Rows that hold a NaN or an infinity.
    pub(super) not_finite: usize,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let model = super::model(&bytes);
    let mut dataset = super::read_inputs(&model, &args.data, &args.columns)?;
    if let Some(path) = &args.labels {
        let labels = data::read_labels_npy(path)?;
        let (found, expected) = (labels.len(), dataset.table.rows());
        anyhow::ensure!(
            found == expected,
            "read {}: it has {found} labels, the data have {expected} rows",
            path.display()
        );
        dataset.labels = Some(labels);
    }
    let readings = crate::score::score(&model, &dataset.table.values);
    let evaluation = evaluate(&dataset, &readings);
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print(&evaluation);
    }
    Ok(ExitCode::SUCCESS)
}

fn share(readings: &[&Reading]) -> f64 {
    let alarms = readings.iter().filter(|r| r.alarm != Alarm::None).count();
    alarms as f64 / readings.len() as f64
}

pub(super) fn evaluate(dataset: &Dataset, readings: &[Reading]) -> Evaluation {
    let labels = dataset.labels.as_deref();
    let is_anomaly = |i: usize| labels.is_some_and(|labels| labels[i]);
    let (mut anomalies, mut normal): (Vec<&Reading>, Vec<&Reading>) = (Vec::new(), Vec::new());
    for (i, reading) in readings.iter().enumerate() {
        if is_anomaly(i) { anomalies.push(reading) } else { normal.push(reading) }
    }
    let nlls: Vec<f64> = normal
        .iter()
        .filter(|r| r.alarm != Alarm::NotFinite)
        .map(|r| f64::from(r.score()))
        .collect();
    let scores: Vec<f32> = readings.iter().map(Reading::score).collect();
    Evaluation {
        rows: readings.len(),
        nll: (!nlls.is_empty()).then(|| nlls.iter().sum::<f64>() / nlls.len() as f64),
        auroc: labels.and_then(|labels| metrics::auroc(&scores, labels)),
        aupr: labels.and_then(|labels| metrics::average_precision(&scores, labels)),
        anomalies: labels.map(|_| anomalies.len()),
        false_alarms: if normal.is_empty() { 0.0 } else { share(&normal) },
        detected: (!anomalies.is_empty()).then(|| share(&anomalies)),
        not_finite: readings.iter().filter(|r| r.alarm == Alarm::NotFinite).count(),
    }
}

pub(super) fn print(evaluation: &Evaluation) {
    let Evaluation { rows, nll, auroc, aupr, anomalies, false_alarms, detected, not_finite } =
        evaluation;
    anstream::println!("rows          {rows}");
    anstream::println!("NLL           {} nats", number(*nll));
    if let Some(anomalies) = anomalies {
        anstream::println!("anomalies     {anomalies}");
        anstream::println!("AUROC         {}", number(*auroc));
        anstream::println!("AUPR          {}", number(*aupr));
    }
    anstream::println!("false alarms  {:.2} % of normal rows", 100.0 * false_alarms);
    if let Some(detected) = detected {
        anstream::println!("detected      {:.2} % of anomalies", 100.0 * detected);
    }
    if *not_finite > 0 {
        anstream::println!("not finite    {not_finite} rows, an alarm each");
    }
}
