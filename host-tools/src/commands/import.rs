//! `fluxlet import`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use fluxlet::Model;
use fluxlet::model::tag;

use crate::import::{self, Library};
use crate::inspect::Inspection;
use crate::output;

/// Bring in a flow that was trained with Pyro, zuko or nflows.
///
/// The two files are written by `export_pyro.py`, `export_zuko.py` or `export_nflows.py` in the folder
/// host-tools/python, from the live flow. Every layer becomes the same function here, or the import
/// is refused with the name of what has no counterpart. The model has no alarm yet: it was not
/// calibrated on data.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Library that the flow was trained with
    library: Named,
    /// Description of the flow
    #[arg(long, value_name = "FLOW.arch.json")]
    arch: PathBuf,
    /// Its weights
    #[arg(long, value_name = "FLOW.weights.safetensors")]
    weights: PathBuf,
    /// Packed model to write
    #[arg(short, long, value_name = "MODEL.flx")]
    out: PathBuf,
    /// Print the model's layers as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Named {
    Pyro,
    Zuko,
    Nflows,
}

impl Named {
    fn library(self) -> (Library, &'static str) {
        match self {
            Self::Pyro => (Library::Pyro, "Pyro"),
            Self::Zuko => (Library::Zuko, "zuko"),
            Self::Nflows => (Library::Nflows, "nflows"),
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (library, name) = args.library.library();
    let flow = import::read(library, &args.arch, &args.weights)?;
    let file = args.arch.file_name().unwrap_or_default().to_string_lossy();
    let provenance = format!("fluxlet {}; {name}, {file}", env!("CARGO_PKG_VERSION"));
    let sections = [(tag::PROVENANCE, provenance.as_bytes())];
    let bytes = flow.stack.pack(&flow.packed_weights(), &sections);
    let model = Model::new_checked(&bytes)
        .with_context(|| format!("pack the flow of {}", args.arch.display()))?;
    let inspection = Inspection::new(&model);
    output::write_atomically(&args.out, |out| std::io::Write::write_all(out, &bytes))?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        anstream::print!("{inspection}");
        anstream::println!("wrote {}", args.out.display());
    }
    Ok(ExitCode::SUCCESS)
}
