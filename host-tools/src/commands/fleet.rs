//! `fluxlet fleet`.

mod list;
mod name;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fluxlet_gpu::Gpu;

use super::stop::STOPPED;
use super::train::{End, Options, Progress, Run, RunFolder, seconds, train_together};
use super::{ColumnArgs, check_writable, existing_folder, make_folder};
use crate::data::Spool;
use crate::processor::{Device, open_gpus};
use crate::report::{bad, good, heading, number};
use crate::train::{self, Config, Gathered, Origin, State};
use list::{Entry, List};

/// Train a model for each machine of a fleet.
///
/// DATA is a file as `fluxlet train` takes it, in which one column names the group of each row: a
/// machine, a site, an operating mode. Each group gets the folder DIR/GROUP, with the very files that
/// `fluxlet train` of its rows alone would write; DIR/fleet.json lists them and what each came to. A
/// group that cannot be trained on is named with the reason, is no obstacle to the others, and makes the
/// exit code 1.
///
/// Models are trained side by side, each on a thread of its own. The file is read once, into memory.
///
/// Ctrl-C stops a fleet with exit code 130. --resume continues it, or one that was killed: models that
/// are finished stay, the others go on from where they were.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Data to learn from; with --resume, where they are now
    #[arg(required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Column that names the group of a row, by text or number
    #[arg(long, value_name = "COLUMN", required_unless_present = "resume")]
    group: Option<String>,
    /// Folder for the models' folders
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Continue the fleet in this folder: what is unfinished, and what failed
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["out", "group", "restart", "Options", "ColumnArgs"]
    )]
    resume: Option<PathBuf>,
    /// Begin anew where the folder holds an unfinished fleet
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    options: Options,
    /// Seconds from one checkpoint to the next, of the list and of each model
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    checkpoint_every: Duration,
    /// What computes: cpu, gpu (or gpu:N, as `fluxlet doctor` lists them), or auto: every GPU of the
    /// fastest kind, else the CPU. On a GPU all models train side by side
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Models at a time; the result is the same for any number [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the list of the models as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(args.threads != Some(0), "train: --threads must be at least 1");
    let threads = args.threads.or(thread::available_parallelism().ok().map(usize::from));
    let (out, mut list) = begin(args)?;
    let config = list.config()?;
    let data = args.data.clone().unwrap_or(list.data.clone());
    check_writable(out)?;
    let (gpus, note) = open_gpus(args.device)?;
    let spool = Spool { folder: existing_folder(out).into(), in_memory: Spool::IN_MEMORY };
    let groups = train::gather_groups(&data, &config, &spool, &list.group)?;

    list.enter(&groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>());
    let mut jobs = Vec::new();
    for (place, (entry, group)) in list.models.iter_mut().zip(groups).enumerate() {
        match group.rows {
            Ok(rows) if entry.is_open() => jobs.push(Job { place, rows }),
            Err(error) if entry.is_open() => entry.error = Some(reason(&error.into())),
            _ => {}
        }
    }
    make_folder(out)?;
    List::remove_leftovers(out)?;
    list.save(out)?;
    let progress = Progress::new(jobs.len())?;
    let fleet = Fleet {
        out,
        data: &data,
        config: &config,
        spool: &spool,
        every: args.checkpoint_every,
        resumed: args.resume.is_some(),
        progress: &progress,
        state: Mutex::new((list, Instant::now())),
    };
    let trained = match &gpus[..] {
        [] => fleet.train(jobs, threads.unwrap_or(1)),
        gpus => fleet.train_together(jobs, gpus),
    };
    progress.end();
    let (list, _) = fleet.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    list.save(out)?;
    trained?;
    if let Some(note) = note.filter(|_| !args.json) {
        anstream::println!("note: {note}");
    }
    finish(args, out, &list)
}

/// The folder of the fleet, and the list that it begins with.
fn begin(args: &Args) -> anyhow::Result<(&Path, List)> {
    if let Some(out) = &args.resume {
        return Ok((out, List::load(out)?));
    }
    let data = args.data.as_deref().context("train without data")?;
    let group = args.group.as_deref().context("train without a column of groups")?;
    let out = args.out.as_deref().context("train without a folder")?;
    if !args.restart {
        List::refuse_unfinished(out)?;
    }
    Ok((out, List::new(data, group, &args.options.config(&args.columns)?)?))
}

/// One model to train: the place of its group in the list, and its rows.
struct Job {
    place: usize,
    rows: Gathered,
}

/// A fleet in training.
struct Fleet<'f> {
    out: &'f Path,
    data: &'f Path,
    config: &'f Config,
    spool: &'f Spool,
    every: Duration,
    /// Whether models go on from states in their folders.
    resumed: bool,
    progress: &'f Progress,
    /// The list, and when it was saved last.
    state: Mutex<(List, Instant)>,
}

impl Fleet<'_> {
    /// Trains them all, or until Ctrl-C.
    fn train(&self, jobs: Vec<Job>, threads: usize) -> anyhow::Result<()> {
        let workers = threads.min(jobs.len()).max(1);
        let jobs = Mutex::new(jobs.into_iter());
        thread::scope(|scope| {
            let work = || self.work(|| lock(&jobs).next(), threads / workers);
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|w| w.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    /// Trains one model after the other. A step is too short to be worth sharing: a model has threads of
    /// its own only where there are more of them than models.
    fn work(&self, next: impl Fn() -> Option<Job>, threads: usize) -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
        let _pool = pool.build()?;
        while !self.progress.is_stopped()
            && let Some(Job { place, rows }) = next()
        {
            let folder = self.out.join(&lock(&self.state).0.models[place].folder);
            let ended = self.train_one(&folder, rows);
            // Where the list cannot be written, nobody goes on.
            self.enter(place, ended).inspect_err(|_| self.progress.end())?;
        }
        Ok(())
    }

    fn train_one(&self, out: &Path, rows: Gathered) -> anyhow::Result<End> {
        let (origin, state) = self.state_in(out)?.unzip();
        let resumed = origin.as_ref().zip(state);
        self.run(out).train(rows, resumed, Device::Cpu, self.progress)
    }

    fn run<'r>(&'r self, out: &'r Path) -> Run<'r> {
        let Self { data, config, spool, every, .. } = *self;
        Run { data, out, config, spool, every }
    }

    /// The state that a model goes on from, if there is one in its folder, which can be written to.
    fn state_in(&self, out: &Path) -> anyhow::Result<Option<(Origin, State)>> {
        let folder = RunFolder::new(out);
        folder.check_writable()?;
        let unfinished = self.resumed && folder.state().exists();
        Ok(unfinished.then(|| train::load(&folder.state())).transpose()?)
    }

    /// Trains them all on GPUs, or until Ctrl-C.
    fn train_together(&self, jobs: Vec<Job>, gpus: &[Gpu]) -> anyhow::Result<()> {
        let folder = |job: &Job| self.out.join(&lock(&self.state).0.models[job.place].folder);
        let folders: Vec<PathBuf> = jobs.iter().map(folder).collect();
        let (mut places, mut runs) = (Vec::new(), Vec::new());
        for (Job { place, rows }, out) in jobs.into_iter().zip(&folders) {
            match self.state_in(out) {
                Ok(state) => {
                    places.push(place);
                    runs.push((self.run(out), (rows, state)));
                }
                Err(error) => self.enter(place, Err(error))?,
            }
        }
        let written = Mutex::new(Ok(()));
        train_together(runs, gpus, self.progress, &|i, ended| {
            let entered = self.enter(places[i], ended).inspect_err(|_| self.progress.end());
            let written = &mut *lock(&written);
            if written.is_ok() {
                *written = entered;
            }
        })?;
        written.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters into the list how a model's training ended.
    fn enter(&self, place: usize, ended: anyhow::Result<End>) -> anyhow::Result<()> {
        let (list, saved) = &mut *lock(&self.state);
        let entry = &mut list.models[place];
        match ended {
            Ok(End::Finished(outcome)) => {
                entry.report = Some(serde_json::to_value(&outcome.report)?)
            }
            Ok(End::Stopped { .. }) => {}
            Err(error) => entry.error = Some(reason(&error)),
        }
        let (finished, failed) = list.counts();
        self.progress.say(format!("{} of {} models", finished + failed, list.models.len()));
        if saved.elapsed() >= self.every {
            list.save(self.out)?;
            *saved = Instant::now();
        }
        Ok(())
    }
}

/// What stands in the list for an error.
fn reason(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

/// The lock of what is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what came of all groups.
fn finish(args: &Args, out: &Path, list: &List) -> anyhow::Result<ExitCode> {
    let (finished, failed) = list.counts();
    let (all, dir) = (list.models.len(), out.display());
    if list.models.iter().any(Entry::is_open) {
        anstream::eprintln!(
            "stopped: {finished} of {all} models are finished, {failed} failed; to continue: \
             fluxlet fleet --resume {dir}"
        );
        return Ok(ExitCode::from(STOPPED));
    }
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(list)?);
    } else {
        print(&list.models);
        anstream::println!("{} models in {dir}", good(finished));
        if failed > 0 {
            anstream::println!("{} groups failed", bad(failed));
        }
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Letters of a group's name in the table, at most.
const LONGEST: usize = 32;

fn print(models: &[Entry]) {
    let shown = |entry: &Entry| -> String {
        entry.group.chars().take(LONGEST).flat_map(char::escape_debug).collect()
    };
    let names: Vec<String> = models.iter().map(shown).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let head = ["rows", "epochs", "validation NLL", "AUROC", "notes"];
    let [rows, epochs, nll, auroc, notes] = head;
    let head = format!("{:width$}  {rows:>8}  {epochs:>6}  {nll}  {auroc:>6}  {notes}", "group");
    anstream::println!("{}", heading(head));
    for (name, Entry { report, error, .. }) in names.iter().zip(models) {
        if let Some(error) = error {
            anstream::println!("{name:width$}  {}: {error}", bad("failed"));
        }
        if let Some(report) = report {
            let count = |name: &str| report[name].as_u64().unwrap_or(0);
            let (rows, epochs) = (count("train_rows") + count("held_out_rows"), count("epochs"));
            let (nll, auroc) =
                (number(report["validation_nll"].as_f64()), number(report["auroc"].as_f64()));
            let notes = report["notes"].as_array().map_or(0, Vec::len);
            anstream::println!(
                "{name:width$}  {rows:>8}  {epochs:>6}  {nll:>14}  {auroc:>6}  {notes:>5}"
            );
        }
    }
}
