//! `fluxlet train`.

mod folder;
mod job;
mod options;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::ColumnArgs;
use super::stop::STOPPED;
use crate::processor::Device;
use crate::report;
use crate::train;
pub(super) use folder::RunFolder;
pub(super) use job::{Beginning, End, Job, Run, train_together};
pub(super) use options::Options;
pub(super) use watch::Progress;

/// Train a flow on normal data and pack it for a device.
///
/// DATA is a CSV, NPY (2-D) or Parquet file of normal readings, one row each. The run folder gets
/// model.flx (for the device), checkpoint.safetensors, config.toml (run it again with --config) and
/// history.csv. A fifth of the rows is held out: training stops where their likelihood is best, and
/// their scores calibrate the alarm.
///
/// Ctrl-C stops a run with exit code 130. --resume continues it, or one that was killed, to the very
/// model that it would have become.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Data to learn from; with --resume, where they are now
    #[arg(required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder for the results
    #[arg(short, long, value_name = "RUN", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Continue the unfinished run in this folder
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["out", "restart", "Options", "ColumnArgs"]
    )]
    resume: Option<PathBuf>,
    /// Begin anew where the folder holds an unfinished run
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    options: Options,
    /// Seconds from one checkpoint to the next
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    checkpoint_every: Duration,
    /// What computes: cpu, gpu (or gpu:N, as `fluxlet doctor` lists them), or auto, whichever takes a
    /// step faster. Each has its own roundings; a run can be resumed on another
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads; the result is the same for any number [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Keep the rows in a file in RUN's folder, not in memory; the result is the same. Rows of more
    /// than 1 GiB are kept there in any case
    #[arg(long)]
    stream: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(run) = &args.resume {
        return resume(args, run);
    }
    let data = args.data.as_deref().context("train without data")?;
    let out = args.out.as_deref().context("train without a folder")?;
    let job = Job {
        data,
        out,
        config: args.options.config(&args.columns)?,
        device: args.device,
        threads: args.threads,
        stream: args.stream,
        checkpoint_every: args.checkpoint_every,
    };
    if !args.restart {
        RunFolder::new(out).refuse_unfinished()?;
    }
    finish(args, &job, None)
}

fn resume(args: &Args, run: &Path) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::new(run);
    if let Some(model) = folder.finished() {
        let model = model.display().to_string();
        if args.json {
            anstream::println!("{}", serde_json::json!({ "finished": true, "model": model }));
        } else {
            anstream::println!("nothing to resume: the run is finished, its model is {model}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        folder.state().exists(),
        "resume {}: there is neither a checkpoint in it yet nor a finished run; train anew, without \
         --resume",
        run.display()
    );
    let (origin, state) = train::load(&folder.state())?;
    let job = Job {
        data: args.data.as_deref().unwrap_or(origin.data()),
        out: run,
        config: origin.config()?,
        device: args.device,
        threads: args.threads,
        stream: args.stream,
        checkpoint_every: args.checkpoint_every,
    };
    finish(args, &job, Some((&origin, state)))
}

/// Trains and tells what came of it.
fn finish(
    args: &Args,
    job: &Job,
    resumed: Option<(&train::Origin, train::State)>,
) -> anyhow::Result<ExitCode> {
    let Some(outcome) = job.train(resumed)? else { return Ok(ExitCode::from(STOPPED)) };
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&outcome.report)?);
    } else {
        report::training(&outcome.report);
        anstream::println!("wrote {}", RunFolder::new(job.out).model().display());
    }
    Ok(ExitCode::SUCCESS)
}
