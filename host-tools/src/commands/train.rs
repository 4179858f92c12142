//! `fluxlet train`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::ColumnArgs;
use crate::backend::Cpu;
use crate::data::{Limits, Spool};
use crate::output;
use crate::report;
use crate::train::{self, Act, Config, Kind, Outcome, Outside, Rotation, Spline, Start};

/// Train a flow on normal data and pack it for a device.
///
/// DATA is a CSV, NPY (2-D) or Parquet file of normal readings, one row each. The run folder gets
/// model.flx (for the device), checkpoint.safetensors, config.toml (run it again with --config) and
/// history.csv. A fifth of the rows is held out: training stops where their likelihood is best, and
/// their scores calibrate the alarm.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Data to learn from
    data: PathBuf,
    /// Folder for the results
    #[arg(short, long, value_name = "RUN")]
    out: PathBuf,
    /// Start from this configuration; the options below override it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Columns that condition the density (operating mode, speed, temperature) and have none
    #[arg(long, value_name = "COLUMN", num_args = 1.., value_delimiter = ',')]
    context: Vec<String>,
    /// A column with hard limits, such as humidity=0:100: the density is 0 beyond them
    #[arg(long, value_name = "COLUMN=LOW:HIGH")]
    bounded: Vec<Limits>,
    /// A column whose limits are the same point, such as wind=0:360
    #[arg(long, value_name = "COLUMN=LOW:HIGH")]
    angle: Vec<Limits>,
    /// The rows are a sensor stream: cut it into windows of N readings and learn their features
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Family of flows [default: rotation]
    #[arg(long)]
    flow: Option<Kind>,
    /// Layers of the family (a rotation stack's are each affine, rotation, spline)
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Rotation or mixing between the splines [default: householder, or lu with a network]
    #[arg(long)]
    rotation: Option<Rotation>,
    /// Reflections of a Householder rotation
    #[arg(long, value_name = "M")]
    reflections: Option<usize>,
    /// Where a Householder rotation starts
    #[arg(long)]
    start: Option<Start>,
    /// Kind of spline
    #[arg(long)]
    spline: Option<Spline>,
    /// Bins of a spline
    #[arg(long, value_name = "K")]
    bins: Option<usize>,
    /// What a spline does outside its knots
    #[arg(long)]
    tails: Option<Outside>,
    /// Units of each hidden layer of a network
    #[arg(long, value_name = "N,N", num_args = 1.., value_delimiter = ',')]
    hidden: Vec<u16>,
    /// Activation of a network
    #[arg(long)]
    activation: Option<Act>,
    /// Build networks of residual blocks; --hidden is then units,blocks
    #[arg(long)]
    residual: bool,
    /// Gaussians of the base density; 1 is a standard normal
    #[arg(long, value_name = "C")]
    components: Option<usize>,
    /// Passes over the data at most
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Steps of the optimiser at most [default: about 3000]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Rows of a mini-batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Highest learning rate [default: 5e-3, or 2e-3 with a network]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the normal rows that is held out
    #[arg(long, value_name = "SHARE")]
    held_out: Option<f64>,
    /// Noise on the training rows, in standard deviations of each column
    #[arg(long, value_name = "SHARE")]
    noise: Option<f64>,
    /// Rate of false alarms to calibrate for
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f32>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
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

impl Args {
    /// The configuration file, overridden by the options that were given.
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let text =
                    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                parse(&text).map_err(|said| anyhow!("read {}: {said}", path.display()))?
            }
        };
        let Config { data, flow, train } = &mut config;
        if self.columns.label.is_some() {
            data.label.clone_from(&self.columns.label);
        }
        if !self.columns.exclude.is_empty() {
            data.exclude.clone_from(&self.columns.exclude);
        }
        if !self.context.is_empty() {
            data.context.clone_from(&self.context);
        }
        if !self.bounded.is_empty() {
            data.bounded.clone_from(&self.bounded);
        }
        if !self.angle.is_empty() {
            data.angles.clone_from(&self.angle);
        }
        if !self.hidden.is_empty() {
            flow.hidden.clone_from(&self.hidden);
        }
        train.epochs = self.epochs.or(train.epochs);
        train.steps = self.steps.or(train.steps);
        train.learning_rate = self.learning_rate.or(train.learning_rate);
        train.batch = self.batch.unwrap_or(train.batch);
        data.held_out = self.held_out.unwrap_or(data.held_out);
        data.window = self.window.unwrap_or(data.window);
        data.false_alarm_rate = self.false_alarm_rate.unwrap_or(data.false_alarm_rate);
        flow.layers = self.layers.unwrap_or(flow.layers);
        flow.kind = self.flow.unwrap_or(flow.kind);
        flow.rotation = self.rotation.or(flow.rotation);
        flow.activation = self.activation.unwrap_or(flow.activation);
        flow.residual |= self.residual;
        flow.reflections = self.reflections.unwrap_or(flow.reflections);
        flow.start = self.start.unwrap_or(flow.start);
        flow.spline = self.spline.unwrap_or(flow.spline);
        flow.bins = self.bins.unwrap_or(flow.bins);
        flow.tails = self.tails.unwrap_or(flow.tails);
        flow.components = self.components.unwrap_or(flow.components);
        train.noise = self.noise.unwrap_or(train.noise);
        train.seed = self.seed.unwrap_or(train.seed);
        Ok(config)
    }
}

/// A configuration, or in one line what is wrong with the text and where.
fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..start];
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
        let said: Vec<&str> = error.message().lines().collect();
        format!("line {line}, column {column}: {}", said.join(", "))
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    let outcome = train_to(&args.data, &args.out, config, args.threads, args.stream)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&outcome.report)?);
    } else {
        report::training(&outcome.report);
        anstream::println!("wrote {}", args.out.join(MODEL).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Results of a run.
const CHECKPOINT: &str = "checkpoint.safetensors";
const CONFIG: &str = "config.toml";
const HISTORY: &str = "history.csv";
const MODEL: &str = "model.flx";

/// The folder itself or, where it is still to be made, the one that it will be made in.
fn existing(out: &Path) -> &Path {
    let existing = out.ancestors().find(|folder| folder.exists());
    existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses a folder that the results could not be written to, before hours are spent on them.
fn check_writable(out: &Path) -> anyhow::Result<()> {
    tempfile::tempfile_in(existing(out))
        .map_err(|error| anyhow!("write to the folder {}: {}", out.display(), error.kind()))?;
    let taken = [CHECKPOINT, CONFIG, HISTORY, MODEL].map(|name| out.join(name));
    match taken.iter().find(|path| path.is_dir()) {
        Some(path) => bail!("write {}: it is a folder", path.display()),
        None => Ok(()),
    }
}

/// Trains on a file and writes the run's folder.
pub(super) fn train_to(
    path: &Path,
    out: &Path,
    config: Config,
    threads: Option<usize>,
    stream: bool,
) -> anyhow::Result<Outcome> {
    ensure!(threads != Some(0), "train: --threads must be at least 1");
    check_writable(out)?;
    let in_memory = if stream { 0 } else { Spool::IN_MEMORY };
    let spool = Spool { folder: existing(out).into(), in_memory };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
    let bar = progress_bar();
    let outcome = pool.install(|| {
        let rows = train::prepare(path, &config, &spool)?;
        bar.set_message("reading the data's axes");
        train::run(rows, path, config, &Cpu::default(), |steps, epoch| {
            bar.set_length(steps as u64);
            match epoch {
                None => bar.inc(1),
                Some(epoch) => bar.set_message(format!(
                    "NLL train {:.3}, validation {:.3}",
                    epoch.train_nll, epoch.validation_nll
                )),
            }
        })
    });
    bar.finish_and_clear();
    let outcome = outcome?;

    // Only now, with every result at hand, is anything written.
    let out = super::make_folder(out)?;
    let save = |name: &str, bytes: &[u8]| {
        use std::io::Write;
        output::write_atomically(&out.join(name), |file| file.write_all(bytes))
    };
    save(CONFIG, toml::to_string(&outcome.config)?.as_bytes())?;
    save(CHECKPOINT, &train::checkpoint(&outcome.trained, &outcome.config))?;
    let header = ["epoch", "train_nll", "validation_nll", "learning_rate"];
    let rows = outcome.trained.history.iter().map(|e| {
        [e.epoch as f64, e.train_nll, e.validation_nll, e.learning_rate].map(|x| x.to_string())
    });
    output::save_csv(Some(&out.join(HISTORY)), &header, rows)?;
    save(MODEL, &outcome.model)?;
    Ok(outcome)
}

fn progress_bar() -> ProgressBar {
    let template = "  {spinner} {bar:30} {percent:>3} %  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    let bar = ProgressBar::new(1).with_style(style).with_message("reading the data");
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
