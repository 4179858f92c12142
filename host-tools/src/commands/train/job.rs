//! From rows to runs' folders, one at a time or side by side.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use fluxlet_gpu::Gpu;
use rayon::prelude::*;

use super::folder::RunFolder;
use super::watch::{Progress, Watch};
use crate::backend::Cpu;
use crate::commands::existing_folder;
use crate::data::Spool;
use crate::processor::{Device, Processor};
use crate::train::{
    self, Config, FitError, Gathered, Identity, Origin, Outcome, Prepared, State, run_together,
};

/// What is trained from, how, and where to.
pub(in crate::commands) struct Job<'j> {
    pub(in crate::commands) data: &'j Path,
    pub(in crate::commands) out: &'j Path,
    pub(in crate::commands) config: Config,
    pub(in crate::commands) device: Device,
    pub(in crate::commands) threads: Option<usize>,
    /// Rows are kept in a file.
    pub(in crate::commands) stream: bool,
    pub(in crate::commands) checkpoint_every: Duration,
}

impl Job<'_> {
    /// Trains, from the start or from a state, and writes the run's folder; `None` where the run
    /// was stopped.
    pub(in crate::commands) fn train(
        &self,
        resumed: Option<(&Origin, State)>,
    ) -> anyhow::Result<Option<Outcome>> {
        let Self { data: path, out, config, device, threads, stream, checkpoint_every } = self;
        ensure!(*threads != Some(0), "train: --threads must be at least 1");
        let folder = RunFolder::new(out);
        folder.check_writable()?;
        let in_memory = if *stream { 0 } else { Spool::IN_MEMORY };
        let spool = Spool { folder: existing_folder(out).into(), in_memory };
        let rows = train::gather(path, config, &spool)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
        let run = Run { data: path, out, config, spool: &spool, every: *checkpoint_every };
        let progress = Progress::new(1)?;
        let end = pool.install(|| run.train(rows, resumed, *device, &progress));
        progress.end();
        match end? {
            End::Finished(outcome) => Ok(Some(*outcome)),
            End::Stopped { step, steps } => {
                let out = out.display();
                anstream::eprintln!(
                    "stopped after {step} of {steps} steps; to continue: fluxlet train --resume {out}"
                );
                Ok(None)
            }
        }
    }
}

/// One model of rows that were read.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Run<'r> {
    pub(in crate::commands) data: &'r Path,
    pub(in crate::commands) out: &'r Path,
    pub(in crate::commands) config: &'r Config,
    pub(in crate::commands) spool: &'r Spool,
    /// Time from one checkpoint to the next.
    pub(in crate::commands) every: Duration,
}

/// How a run ended.
pub(in crate::commands) enum End {
    Finished(Box<Outcome>),
    Stopped { step: usize, steps: usize },
}

/// A run that can begin.
struct Ready<'r> {
    run: Run<'r>,
    rows: Prepared,
    resumed: Option<State>,
    watch: Watch<'r>,
}

impl<'r> Run<'r> {
    /// Trains on the threads of rayon's current pool or on a GPU, from the start or from a state, and
    /// writes the run's folder.
    pub(in crate::commands) fn train(
        self,
        rows: Gathered,
        resumed: Option<(&Origin, State)>,
        device: Device,
        progress: &Progress,
    ) -> anyhow::Result<End> {
        let Self { data, config, .. } = self;
        let Ready { rows, resumed, mut watch, .. } = self.ready(rows, resumed, progress)?;
        let cpu = if config.train.reversible { Cpu::reversible() } else { Cpu::default() };
        let stack = rows.stack(&config.flow).map_err(train::Error::Config)?;
        let batch = config.train.batch.min(rows.train_len());
        let (processor, note) = Processor::open(device, cpu, &stack, batch)?;
        let outcome = match &processor {
            Processor::Cpu(cpu) => train::run(rows, data, config.clone(), cpu, resumed, &mut watch),
            Processor::Gpu(gpu) => {
                let config = config.clone();
                let run = train::Run { rows, path: data, config, resumed, observer: &mut watch };
                let mut outcome = None;
                let trained = run_together(vec![run], gpu, |_, done| outcome = Some(done));
                trained.and_then(|()| outcome.expect("what is not stopped has an outcome"))
            }
        };
        match outcome {
            Ok(mut outcome) => {
                outcome.report.notes.extend(note);
                if let Processor::Cpu(cpu) = &processor {
                    outcome.report.notes.extend(drift(cpu.drifts()));
                }
                self.write(outcome)
            }
            Err(train::Error::Fit(FitError::Stopped { step, steps })) => {
                Ok(End::Stopped { step, steps })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is done before the first step: the rows are prepared, and what an earlier run left goes.
    fn ready<'p>(
        self,
        rows: Gathered,
        resumed: Option<(&Origin, State)>,
        progress: &'p Progress,
    ) -> anyhow::Result<Ready<'p>>
    where
        'r: 'p,
    {
        let Self { data, out, config, spool, every } = self;
        let folder = RunFolder::new(out);
        let rows = train::prepare(rows, data, config, spool)?;
        let identity = Identity::of(&rows);
        if let Some((origin, _)) = &resumed {
            origin.check(data, &identity)?;
        }
        folder.remove_leftovers()?;
        if resumed.is_none() {
            folder.remove_state()?;
        }
        let origin = Origin::new(data, identity, config)?;
        let watch = Watch::new(progress, origin, folder.state(), every);
        Ok(Ready { run: self, rows, resumed: resumed.map(|(_, state)| state), watch })
    }

    fn write(self, outcome: Outcome) -> anyhow::Result<End> {
        RunFolder::new(self.out).write(&outcome)?;
        Ok(End::Finished(Box::new(outcome)))
    }
}

/// What a run begins with beside its options.
pub(in crate::commands) type Beginning = (Gathered, Option<(Origin, State)>);

/// Trains runs side by side on GPUs, each of which takes its share of them; `ended` is told what came of
/// each by its place, as soon as it is known. Runs that were stopped are not told of.
///
/// # Errors
///
/// A GPU failed: the states of its runs were saved.
pub(in crate::commands) fn train_together(
    runs: Vec<(Run, Beginning)>,
    gpus: &[Gpu],
    progress: &Progress,
    ended: &(impl Fn(usize, anyhow::Result<End>) + Sync),
) -> anyhow::Result<()> {
    let begun: Vec<_> = runs
        .into_par_iter()
        .enumerate()
        .map(|(place, (run, (rows, resumed)))| {
            let resumed = resumed.as_ref().map(|(origin, state)| (origin, state.clone()));
            (place, run.ready(rows, resumed, progress))
        })
        .collect();
    let mut ready = Vec::new();
    for (place, begun) in begun {
        match begun {
            Ok(begun) => ready.push((place, begun)),
            Err(error) => ended(place, Err(error)),
        }
    }
    let share = ready.len().div_ceil(gpus.len()).max(1);
    let mut shares = Vec::new();
    while !ready.is_empty() {
        shares.push(ready.drain(..share.min(ready.len())).collect::<Vec<_>>());
    }
    shares.into_par_iter().zip(gpus).try_for_each(|(ready, gpu)| {
        let (mut places, mut parts, mut watches) = (Vec::new(), Vec::new(), Vec::new());
        for (place, Ready { run, rows, resumed, watch }) in ready {
            places.push((place, run));
            parts.push((run, rows, resumed));
            watches.push(watch);
        }
        let runs = parts.into_iter().zip(&mut watches).map(|((run, rows, resumed), watch)| {
            let (path, config) = (run.data, run.config.clone());
            train::Run { rows, path, config, resumed, observer: watch }
        });
        let trained = run_together(runs.collect(), gpu, |i, outcome| {
            let (place, run) = places[i];
            let end = outcome.map_err(anyhow::Error::from).and_then(|outcome| run.write(outcome));
            ended(place, end);
        });
        match trained {
            Err(train::Error::Fit(FitError::Stopped { .. })) => Ok(()),
            trained => Ok(trained?),
        }
    })
}

/// What to tell of inverses that missed their rows.
fn drift(drifts: usize) -> Option<String> {
    let times = if drifts == 1 { "once".into() } else { format!("{drifts} times") };
    (drifts > 0).then(|| {
        format!(
            "an inverse missed a row by more than a thousandth of its column's range; {times}, \
             that part of a batch was computed again with every layer's numbers kept"
        )
    })
}
