//! The `fluxlet` command: one subcommand, one file. No subcommand holds mathematics.
//!
//! Exit codes: 0 done; 1 `verify` or `demo` found a difference, or a model of `fleet` or `tune` failed;
//! 2 the input or the command line is wrong; 130 training was stopped, by Ctrl-C or a termination
//! signal, and can be resumed.

mod bench;
mod cost;
mod demo;
mod doctor;
mod eval;
mod explain;
mod export;
mod flash;
mod fleet;
mod import;
mod inspect;
mod models;
mod monitor;
mod record;
mod sample;
mod score;
mod source;
mod stop;
mod train;
mod tune;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use fluxlet::Model;

use crate::data::{self, Columns, Dataset};

#[derive(Parser)]
#[command(name = "fluxlet", version, about, max_term_width = 100)]
/// Normalizing flows small enough for a microcontroller: train, pack, score, verify.
///
/// A flow learns the density of normal readings; a reading that is far too improbable is an anomaly.
/// `fluxlet demo` shows the whole way on a shipped recording.
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// No variant is documented: that would hide what its arguments say of themselves in `--help`.
#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Fleet(Box<fleet::Args>),
    Tune(Box<tune::Args>),
    Score(score::Args),
    Eval(eval::Args),
    Sample(sample::Args),
    Import(import::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Cost(cost::Args),
    Flash(flash::Args),
    Monitor(monitor::Args),
    Record(record::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Demo(demo::Args),
}

/// Reads the command line and does what it says.
///
/// # Errors
///
/// A sentence that reads after "failed to".
pub fn run() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Cost(args) => cost::run(&args),
        Command::Flash(args) => flash::run(&args),
        Command::Monitor(args) => monitor::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Bytes of a model file, checked.
fn read_model(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Model::new_checked(&bytes).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

/// A checked model; the bytes are those of [`read_model`].
fn model(bytes: &[u8]) -> Model<'_> {
    Model::new_checked(bytes).expect("the model was checked when it was read")
}

/// Which columns of a data file are no inputs.
#[derive(clap::Args, Clone, Debug, Default)]
struct ColumnArgs {
    /// Column that is 0 for normal rows and anything else for anomalies (a name, or a number from 1)
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Leave these columns out
    #[arg(long, value_name = "COLUMN", num_args = 1.., value_delimiter = ',')]
    exclude: Vec<String>,
}

/// The inputs of `model` in a data file: its rows, or windows of them where it has a front end.
fn read_inputs(model: &Model, path: &Path, columns: &ColumnArgs) -> anyhow::Result<Dataset> {
    // A model knows its inputs by name: columns of other names need no --exclude, and the order of
    // the file's columns may be another.
    let inputs: Vec<String> = model.names().into_iter().flatten().map(str::to_string).collect();
    let ColumnArgs { label, exclude } = columns;
    let columns =
        Columns { label: label.as_deref(), exclude, inputs: &inputs, ..Columns::default() };
    let mut dataset = data::read(path, &columns)?;
    dataset.table.reorder(&inputs);
    if let Some(front_end) = model.front_end() {
        let expected = front_end.window().channels;
        check_width(path, dataset.table.width, expected)?;
        dataset = data::windows(&dataset, front_end.window().window, path)?.dataset;
    } else {
        check_width(path, dataset.table.width, model.input_len())?;
    }
    Ok(dataset)
}

fn check_width(path: &Path, found: usize, expected: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        found == expected,
        "read {}: it has {found} input columns, the model wants {expected}",
        path.display()
    );
    Ok(())
}

/// The folder itself or, where it is still to be made, the one that it will be made in.
fn existing_folder(path: &Path) -> &Path {
    let existing = path.ancestors().find(|folder| folder.exists());
    existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses a folder, there or still to be made, in which nothing can be written.
fn check_writable(path: &Path) -> anyhow::Result<()> {
    match tempfile::tempfile_in(existing_folder(path)) {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("write to the folder {}: {}", path.display(), error.kind()),
    }
}

/// A folder that can be written to, made if it is missing.
fn make_folder(path: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("make the folder {}", path.display()))?;
    Ok(path.to_path_buf())
}
