//! `fluxlet explain`.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use fluxlet::model::MAX_DIM;
use serde::Serialize;

use crate::explain::training::Worked;
use crate::explain::{self, Explanation, markdown, shape};

/// Explain a layer: formula, parameters, inverse, gradient, cost; or how training works.
///
/// Without LAYER, every layer in one line. The text is that of the library's documentation, the
/// numbers are computed by the layer itself, and instructions were measured in QEMU.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Layer, as in `rational-quadratic` or `RationalQuadratic` [default: all, a line each]
    layer: Option<String>,
    /// Dimension of the data
    #[arg(long, value_name = "D", default_value_t = shape::DIM as u16, requires = "layer",
        value_parser = clap::value_parser!(u16).range(1..=MAX_DIM as i64))]
    dim: u16,
    /// Bins, reflections or terms [default: 8 bins, 4 of others]
    #[arg(long, value_name = "N", requires = "layer")]
    arg: Option<u16>,
    /// The cost function and its gradient, on two rows of data
    #[arg(long, conflicts_with = "layer")]
    training: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let width = markdown::terminal_width();
    if args.training {
        let worked = Worked::new();
        print(args.json, &worked, || explain::training_page(&worked, width))?;
    } else if let Some(name) = &args.layer {
        let explanation = explain(name, args)?;
        print(args.json, &explanation, || explanation.page(width))?;
    } else {
        let lines = explain::lines()?;
        print(args.json, &lines, || explain::overview(&lines, width))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(name: &str, args: &Args) -> Result<Explanation, explain::Error> {
    Explanation::new(explain::find(name)?, args.dim.into(), args.arg.map(usize::from))
}

fn print(json: bool, facts: &impl Serialize, page: impl Fn() -> String) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(facts)? + "\n" } else { page() };
    match anstream::stdout().write_all(text.as_bytes()) {
        // A pager that was left early has shown enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}
