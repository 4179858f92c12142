//! `fluxlet verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fluxlet::Model;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::Serialize;

use super::ColumnArgs;
use crate::device::{Bench, Board};
use crate::report::{bad, good};

/// Run a model on an emulated microcontroller and compare every bit with this computer.
///
/// Builds the firmware's scorer with the model inside, runs it in QEMU on every row of DATA (or on
/// random rows) and compares each log_prob, bit for bit. Exit code 1 if a row differs.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Rows to score [default: random rows]
    data: Option<PathBuf>,
    /// How many random rows
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "data")]
    random: usize,
    /// Microcontroller [default: m4f and m0]
    #[arg(long, value_enum)]
    target: Vec<Board>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// How the rows of one board compare.
#[derive(Serialize)]
pub(super) struct Agreement {
    target: Board,
    rows: usize,
    equal: usize,
    /// First row, from 1, that differs.
    first_difference: Option<usize>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let model = super::model(&bytes);
    let inputs = match &args.data {
        Some(path) => super::read_inputs(&model, path, &args.columns)?.table.values,
        None => random_inputs(&model, args.random),
    };
    let targets: &[Board] = if args.target.is_empty() { &Board::USUAL } else { &args.target };
    let agreements = compare(&args.model, &model, &inputs, targets, !args.json)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&agreements)?);
    }
    Ok(if all_equal(&agreements) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Rows of the model's own density, half of them pushed outwards so that tails are reached too.
pub(super) fn random_inputs(model: &Model, rows: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut scratch = vec![0.0; model.scratch_len()];
    let mut inputs = Vec::with_capacity(rows * model.input_len());
    for row in 0..rows {
        let mut x: Vec<f32> = (0..model.input_len()).map(|_| rng.sample(StandardNormal)).collect();
        if model.front_end().is_none() {
            fluxlet::sample(model, &mut x, rng.random(), &mut scratch);
        }
        let (data, context) = x.split_at_mut(model.input_len() - model.context_len());
        let push = if row % 2 == 0 { 1.0 } else { 1.5 };
        data.iter_mut().for_each(|x| *x *= push);
        model.unread_context(context);
        inputs.extend(x);
    }
    inputs
}

/// Runs `inputs` through each board and this computer.
pub(super) fn compare(
    path: &Path,
    model: &Model,
    inputs: &[f32],
    targets: &[Board],
    print: bool,
) -> anyhow::Result<Vec<Agreement>> {
    let expected = crate::score::score(model, inputs);
    let bench = Bench::set_up()?;
    let mut agreements = Vec::new();
    for &target in targets {
        let scores = bench.build(target, path)?.score(inputs, false)?;
        anyhow::ensure!(
            scores.bits.len() == expected.len(),
            "verify on {}: it scored {} of {} rows",
            target.name(),
            scores.bits.len(),
            expected.len()
        );
        let same: Vec<bool> = scores
            .bits
            .iter()
            .zip(&expected)
            .map(|(bits, reading)| *bits == reading.log_prob.to_bits())
            .collect();
        let agreement = Agreement {
            target,
            rows: same.len(),
            equal: same.iter().filter(|same| **same).count(),
            first_difference: same.iter().position(|same| !same).map(|row| row + 1),
        };
        if print {
            let Agreement { rows, equal, first_difference, .. } = &agreement;
            let verdict = match first_difference {
                None => good("bit-identical"),
                Some(row) => bad(format!("different, first in row {row}")),
            };
            anstream::println!("{:<11} {equal} of {rows} rows agree: {verdict}", target.name());
        }
        agreements.push(agreement);
    }
    Ok(agreements)
}

/// Whether every row agreed.
pub(super) fn all_equal(agreements: &[Agreement]) -> bool {
    agreements.iter().all(|a| a.equal == a.rows)
}
