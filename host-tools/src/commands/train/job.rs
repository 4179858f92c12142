//! From a data file to a run's folder.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::folder::RunFolder;
use super::watch::Watch;
use crate::backend::Cpu;
use crate::data::Spool;
use crate::processor::{Device, Processor};
use crate::train::{self, Config, FitError, Identity, Origin, Outcome, Run, State};

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
        let rows =
            train::prepare(path, config, &Spool { folder: folder.existing().into(), in_memory })?;
        let identity = Identity::of(&rows);
        if let Some((origin, _)) = &resumed {
            origin.check(path, &identity)?;
        }
        folder.remove_leftovers()?;
        if resumed.is_none() {
            folder.remove_state()?;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
        let origin = Origin::new(path, identity, config)?;
        let mut watch = Watch::new(origin, folder.state(), *checkpoint_every)?;
        let state = resumed.map(|(_, state)| state);
        let cpu = if config.train.reversible { Cpu::reversible() } else { Cpu::default() };
        let stack = rows.stack(&config.flow).map_err(train::Error::Config)?;
        let batch = config.train.batch.min(rows.train_len());
        let (processor, note) = pool.install(|| Processor::open(*device, cpu, &stack, batch))?;
        let config = config.clone();
        let outcome = pool.install(|| match &processor {
            Processor::Cpu(cpu) => train::run(rows, path, config, cpu, state, &mut watch),
            Processor::Gpu(gpu) => {
                let run = Run { rows, path, config, resumed: state, observer: &mut watch };
                let mut outcome = None;
                train::run_together(vec![run], gpu, |_, done| outcome = Some(done))?;
                outcome.expect("a run that does not fail has an outcome")
            }
        });
        watch.end();
        match outcome {
            Ok(mut outcome) => {
                outcome.report.notes.extend(note);
                if let Processor::Cpu(cpu) = &processor {
                    outcome.report.notes.extend(drift(cpu.drifts()));
                }
                folder.write(&outcome)?;
                Ok(Some(outcome))
            }
            Err(train::Error::Fit(FitError::Stopped { step, steps })) => {
                let out = out.display();
                anstream::eprintln!(
                    "stopped after {step} of {steps} steps; to continue: fluxlet train --resume {out}"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
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
