//! From a data file to a run's folder.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::folder::RunFolder;
use super::watch::Watch;
use crate::backend::Cpu;
use crate::data::{self, Columns, Dataset};
use crate::train::{self, Config, FitError, Identity, Origin, Outcome, State};

/// What is trained from, how, and where to.
pub(in crate::commands) struct Job<'j> {
    pub(in crate::commands) data: &'j Path,
    pub(in crate::commands) out: &'j Path,
    pub(in crate::commands) config: Config,
    pub(in crate::commands) threads: Option<usize>,
    pub(in crate::commands) checkpoint_every: Duration,
}

impl Job<'_> {
    /// Trains, from the start or from a state, and writes the run's folder; `None` where the run
    /// was stopped.
    pub(in crate::commands) fn train(
        &self,
        resumed: Option<(&Origin, State)>,
    ) -> anyhow::Result<Option<Outcome>> {
        let Self { data: path, out, config, threads, checkpoint_every } = self;
        ensure!(*threads != Some(0), "train: --threads must be at least 1");
        let (label, exclude) = (config.data.label.as_deref(), &config.data.exclude);
        let dataset = data::read(path, &Columns { label, exclude, inputs: &[] })?;
        let identity = Identity::of(&dataset);
        if let Some((origin, _)) = &resumed {
            origin.check(path, &identity)?;
        }
        check_varied(&dataset, path)?;
        let folder = RunFolder::new(out);
        folder.check_writable()?;
        folder.remove_leftovers()?;
        if resumed.is_none() {
            folder.remove_state()?;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
        let origin = Origin::new(path, identity, config)?;
        let mut watch = Watch::new(origin, folder.state(), *checkpoint_every)?;
        let state = resumed.map(|(_, state)| state);
        let outcome =
            pool.install(|| train::run(&dataset, path, config.clone(), &Cpu, state, &mut watch));
        watch.end();
        match outcome {
            Ok(outcome) => {
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

/// Refuses normal rows that are all the same.
fn check_varied(dataset: &Dataset, path: &Path) -> anyhow::Result<()> {
    let Dataset { table, labels } = dataset;
    let is_normal = |row: &u32| labels.as_ref().is_none_or(|labels| !labels[*row as usize]);
    let normal: Vec<u32> = (0..table.rows() as u32).filter(is_normal).collect();
    // Rows that are missing or not finite have errors of their own.
    let constant = table.first_not_finite().is_none()
        && !normal.is_empty()
        && data::constant_columns(table, &normal).len() == table.width;
    ensure!(
        !constant,
        "train on {}: every column is constant in the normal rows, there is nothing to learn",
        path.display()
    );
    Ok(())
}
