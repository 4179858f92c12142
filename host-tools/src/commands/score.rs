//! `fluxlet score`.

use std::path::PathBuf;
use std::process::ExitCode;

use fluxlet::Alarm;

use super::ColumnArgs;
use crate::output;

/// Score every row: log density, score, p-value, alarm.
///
/// Writes a CSV with one line a row (or a window, where the model was trained on windows):
/// log_prob in nats, score = −log_prob, p_value (share of normal rows that score as high), alarm
/// (0 none, 1 improbable, 2 the reading is not finite). The numbers are those that a device computes,
/// bit for bit.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Rows to score
    data: PathBuf,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "SCORES.csv")]
    out: Option<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let model = super::model(&bytes);
    let dataset = super::read_inputs(&model, &args.data, &args.columns)?;
    let readings = crate::score::score(&model, &dataset.table.values);
    let rows = readings.iter().map(|reading| {
        let alarm = match reading.alarm {
            Alarm::None => 0,
            Alarm::Improbable => 1,
            Alarm::NotFinite => 2,
        };
        [
            reading.log_prob.to_string(),
            reading.score().to_string(),
            reading.p_value.to_string(),
            alarm.to_string(),
        ]
    });
    output::save_csv(args.out.as_deref(), &["log_prob", "score", "p_value", "alarm"], rows)?;
    Ok(ExitCode::SUCCESS)
}
