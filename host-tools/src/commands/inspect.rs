//! `fluxlet inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::inspect::Inspection;

/// Show a model's layers, parameters, bytes and cost.
///
/// Flash is the size of the model file; the code beside it and the instructions of one score are
/// measured by `fluxlet cost`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let inspection = Inspection::new(&super::model(&bytes));
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        anstream::print!("{inspection}");
    }
    Ok(ExitCode::SUCCESS)
}
