//! `fluxlet sample`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::output;

/// Draw new rows from the density.
///
/// The same seed draws the same rows. For a model that was trained on windows the rows are its
/// features.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Number of rows
    #[arg(short = 'n', long = "rows", value_name = "N")]
    rows: usize,
    /// Context of the rows, one number for each context column
    #[arg(long, value_name = "NUMBER", num_args = 1.., value_delimiter = ',', allow_negative_numbers = true)]
    context: Vec<f32>,
    /// Seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write to this file (.csv or .npy) instead of the terminal
    #[arg(short, long, value_name = "OUT.csv|OUT.npy")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let model = super::model(&bytes);
    let dim = model.dim();
    let wanted: Vec<&str> = model.names().into_iter().flatten().skip(dim).collect();
    ensure!(
        args.context.len() == model.context_len(),
        "sample: the model wants {} numbers of context ({}), --context gives {}",
        model.context_len(),
        wanted.join(", "),
        args.context.len()
    );
    let mut context = vec![0.0; model.context_len()];
    model.read_context(&args.context, &mut context);
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut scratch = vec![0.0; model.scratch_len()];
    let mut draw = || {
        let mut row: Vec<f32> = (0..dim).map(|_| rng.sample(StandardNormal)).collect();
        let choice = rng.random();
        row.extend_from_slice(&context);
        fluxlet::sample(&model, &mut row, choice, &mut scratch);
        row.truncate(dim);
        row
    };
    match &args.out {
        Some(path) if path.extension().is_some_and(|extension| extension == "npy") => {
            let values: Vec<f32> = (0..args.rows).flat_map(|_| draw()).collect();
            output::save_npy(path, args.rows, dim, &values)?;
        }
        out => {
            let named = model.names().filter(|_| model.front_end().is_none());
            let names: Vec<String> =
                named.into_iter().flatten().take(dim).map(str::to_string).collect();
            let names = if names.len() == dim {
                names
            } else {
                (1..=dim).map(|i| format!("c{i}")).collect()
            };
            output::save_csv(out.as_deref(), &names, (0..args.rows).map(|_| draw()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
