//! The folder of a run: what is in it while the run lasts, and when it is finished.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::commands::{check_writable, make_folder};
use crate::output;
use crate::train::{self, Outcome};

const CHECKPOINT: &str = "checkpoint.safetensors";
const CONFIG: &str = "config.toml";
const HISTORY: &str = "history.csv";
const MODEL: &str = "model.flx";
/// There as long as the run is unfinished.
const STATE: &str = "resume.state";

/// The folder of a run.
pub(in crate::commands) struct RunFolder<'p>(&'p Path);

impl<'p> RunFolder<'p> {
    pub(in crate::commands) fn new(path: &'p Path) -> Self {
        Self(path)
    }

    pub(in crate::commands) fn model(&self) -> PathBuf {
        self.0.join(MODEL)
    }

    pub(in crate::commands) fn state(&self) -> PathBuf {
        self.0.join(STATE)
    }

    /// The model, if there is one and no unfinished run.
    pub(in crate::commands) fn finished(&self) -> Option<PathBuf> {
        (!self.state().exists() && self.model().exists()).then(|| self.model())
    }

    /// Refuses to begin a run where another one waits to be resumed.
    pub(in crate::commands) fn refuse_unfinished(&self) -> anyhow::Result<()> {
        let out = self.0.display();
        ensure!(
            !self.state().exists(),
            "train to {out}: it holds an unfinished run; continue it with --resume {out}, or begin \
             anew with --restart"
        );
        Ok(())
    }

    /// Refuses a folder that the results could not be written to, before hours are spent on them.
    pub(in crate::commands) fn check_writable(&self) -> anyhow::Result<()> {
        check_writable(self.0)?;
        let taken = [CHECKPOINT, CONFIG, HISTORY, MODEL, STATE].map(|name| self.0.join(name));
        match taken.iter().find(|path| path.is_dir()) {
            Some(path) => bail!("write {}: it is a folder", path.display()),
            None => Ok(()),
        }
    }

    /// Removes what a run that was killed while it wrote has left half written.
    pub(in crate::commands) fn remove_leftovers(&self) -> anyhow::Result<()> {
        for name in [CHECKPOINT, CONFIG, HISTORY, MODEL, STATE] {
            output::remove_leftovers(&self.0.join(name))?;
        }
        Ok(())
    }

    /// Removes the state of a run that is finished, or that another one takes the place of.
    pub(in crate::commands) fn remove_state(&self) -> anyhow::Result<()> {
        let state = self.state();
        match std::fs::remove_file(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", state.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes the results of a finished run, the model last.
    pub(in crate::commands) fn write(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let Outcome { model, trained, config, .. } = outcome;
        make_folder(self.0)?;
        let save = |name: &str, bytes: &[u8]| {
            output::write_atomically(&self.0.join(name), |file| file.write_all(bytes))
        };
        save(CONFIG, toml::to_string(config)?.as_bytes())?;
        save(CHECKPOINT, &train::checkpoint(trained, config))?;
        let header = ["epoch", "train_nll", "validation_nll", "learning_rate"];
        let rows = trained.history.iter().map(|e| {
            let numbers = [e.epoch as f64, e.train_nll, e.validation_nll, e.learning_rate];
            numbers.map(|x| x.to_string())
        });
        output::save_csv(Some(&self.0.join(HISTORY)), &header, rows)?;
        save(MODEL, model)?;
        self.remove_state()
    }
}
