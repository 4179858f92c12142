//! Many models, each in a folder of its own beside the list of them: what `fleet` and `tune` share.

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
use super::train::{Beginning, End, Options, Progress, Run, RunFolder, seconds, train_together};
use super::{ColumnArgs, check_writable, existing_folder, make_folder};
use crate::data::Spool;
use crate::processor::{Device, open_gpus};
use crate::report::{bad, good};
use crate::train::{self, Config, Gathered};
pub(super) use list::{Entry, List};

/// From what, where to, and how they are trained.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Data to learn from; with --resume, where they are now
    #[arg(required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder for the models' folders
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Continue what is in this folder: what is unfinished, and what failed
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["out", "restart", "Options", "ColumnArgs"]
    )]
    resume: Option<PathBuf>,
    /// Begin anew where the folder holds something unfinished
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
    /// fastest kind, else the CPU. On a GPU models train side by side
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Models at a time; the result is the same for any number [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the list of the models as JSON
    #[arg(long)]
    json: bool,
}

/// Models that can be trained once their rows are known.
pub(super) struct Models<'a> {
    args: &'a Args,
    out: &'a Path,
    pub(super) data: PathBuf,
    pub(super) spool: Spool,
    pub(super) list: List,
    gpus: Vec<Gpu>,
    note: Option<String>,
}

/// One model to train: its place in the list, and its rows, if they were read.
pub(super) struct Job {
    pub(super) place: usize,
    pub(super) rows: Option<Gathered>,
}

impl Args {
    /// The list of the folder to resume, or a new one, which `new` makes of data and configuration.
    pub(super) fn begin(
        &self,
        command: &'static str,
        new: impl FnOnce(&Path, &Config) -> anyhow::Result<List>,
    ) -> anyhow::Result<Models<'_>> {
        ensure!(self.threads != Some(0), "train: --threads must be at least 1");
        let (out, list) = match &self.resume {
            Some(out) => {
                let mut list = List::load(command, out)?;
                list.retry();
                (out, list)
            }
            None => {
                let data = self.data.as_deref().context("train without data")?;
                let out = self.out.as_ref().context("train without a folder")?;
                if !self.restart {
                    List::refuse_unfinished(command, out)?;
                }
                (out, new(data, &self.options.config(&self.columns)?)?)
            }
        };
        check_writable(out)?;
        let (gpus, note) = open_gpus(self.device)?;
        let data = self.data.clone().unwrap_or(list.data.clone());
        let spool = Spool { folder: existing_folder(out).into(), in_memory: Spool::IN_MEMORY };
        Ok(Models { args: self, out, data, spool, list, gpus, note })
    }
}

impl Models<'_> {
    /// Trains these models and tells what came of all, the finished ones by `print`.
    pub(super) fn train(
        self,
        jobs: Vec<Job>,
        print: impl FnOnce(&[Entry]),
    ) -> anyhow::Result<ExitCode> {
        let Self { args, out, data, spool, list, gpus, note } = self;
        make_folder(out)?;
        list.remove_leftovers(out)?;
        list.save(out)?;
        let progress = Progress::new(jobs.len())?;
        let configs = list.configs()?;
        let training = Training {
            out,
            data: &data,
            configs: &configs,
            spool: &spool,
            every: args.checkpoint_every,
            resumed: args.resume.is_some(),
            progress: &progress,
            state: Mutex::new((list, Instant::now())),
        };
        let trained = match &gpus[..] {
            [] => {
                let threads =
                    args.threads.or(thread::available_parallelism().ok().map(usize::from));
                training.on_threads(jobs, threads.unwrap_or(1))
            }
            gpus => training.on_gpus(jobs, gpus),
        };
        progress.end();
        let (list, _) = training.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        list.save(out)?;
        trained?;
        if let Some(note) = note.filter(|_| !args.json) {
            anstream::println!("note: {note}");
        }

        let (finished, failed) = list.counts();
        let (all, dir) = (list.models.len(), out.display());
        if list.models.iter().any(Entry::is_open) {
            anstream::eprintln!(
                "stopped: {finished} of {all} models are finished, {failed} failed; to continue: \
                 fluxlet {} --resume {dir}",
                list.command
            );
            return Ok(ExitCode::from(STOPPED));
        }
        if args.json {
            anstream::println!("{}", serde_json::to_string_pretty(&list)?);
        } else {
            print(&list.models);
            anstream::println!("{} models in {dir}", good(finished));
            if failed > 0 {
                anstream::println!("{} models failed", bad(failed));
            }
        }
        Ok(ExitCode::from(u8::from(failed > 0)))
    }
}

/// Models in training.
struct Training<'t> {
    out: &'t Path,
    data: &'t Path,
    /// The configuration of each in the list.
    configs: &'t [Config],
    spool: &'t Spool,
    every: Duration,
    /// Whether models go on from states in their folders.
    resumed: bool,
    progress: &'t Progress,
    /// The list, and when it was saved last.
    state: Mutex<(List, Instant)>,
}

impl Training<'_> {
    /// Trains them all on the CPU, or until Ctrl-C.
    fn on_threads(&self, jobs: Vec<Job>, threads: usize) -> anyhow::Result<()> {
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
            && let Some(job) = next()
        {
            let (place, folder) = (job.place, self.folder(&job));
            let ended = self.train_one(job, &folder);
            // Where the list cannot be written, nobody goes on.
            self.enter(place, ended).inspect_err(|_| self.progress.end())?;
        }
        Ok(())
    }

    fn train_one(&self, job: Job, out: &Path) -> anyhow::Result<End> {
        let run = self.run(job.place, out);
        let (rows, state) = self.beginning(job, out)?;
        let (origin, state) = state.unzip();
        let resumed = origin.as_ref().zip(state);
        run.train(rows, resumed, Device::Cpu, self.progress)
    }

    fn folder(&self, job: &Job) -> PathBuf {
        self.out.join(&lock(&self.state).0.models[job.place].folder)
    }

    fn run<'r>(&'r self, place: usize, out: &'r Path) -> Run<'r> {
        let Self { data, configs, spool, every, .. } = *self;
        Run { data, out, config: &configs[place], spool, every }
    }

    /// The rows of a model, and the state that it goes on from, if there is one in its folder, which can
    /// be written to.
    fn beginning(&self, job: Job, out: &Path) -> anyhow::Result<Beginning> {
        let folder = RunFolder::new(out);
        folder.check_writable()?;
        let unfinished = self.resumed && folder.state().exists();
        let state = unfinished.then(|| train::load(&folder.state())).transpose()?;
        let rows = match job.rows {
            Some(rows) => rows,
            None => train::gather(self.data, &self.configs[job.place], self.spool)?,
        };
        Ok((rows, state))
    }

    /// Trains them all on GPUs, or until Ctrl-C.
    fn on_gpus(&self, jobs: Vec<Job>, gpus: &[Gpu]) -> anyhow::Result<()> {
        let folders: Vec<PathBuf> = jobs.iter().map(|job| self.folder(job)).collect();
        let (mut places, mut runs) = (Vec::new(), Vec::new());
        for (job, out) in jobs.into_iter().zip(&folders) {
            let place = job.place;
            match self.beginning(job, out) {
                Ok(beginning) => {
                    places.push(place);
                    runs.push((self.run(place, out), beginning));
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
            Err(error) => entry.fail(&error),
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

/// The lock of what is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
