//! Who watches a run: a progress bar, a clock that says when to save, and Ctrl-C.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::stop;
use crate::output;
use crate::train::{self, Epoch, Next, Observer, Origin, State};

/// The observer of a run on a terminal.
pub(super) struct Watch {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    origin: Origin,
    path: PathBuf,
    every: Duration,
    saved: Instant,
}

impl Watch {
    /// Saves the states of the run of this origin to `path`, one in each `every`.
    ///
    /// # Errors
    ///
    /// The operating system has no signals left.
    pub(super) fn new(origin: Origin, path: PathBuf, every: Duration) -> io::Result<Self> {
        let (bar, stop, saved) = (progress_bar(), stop::flag()?, Instant::now());
        Ok(Self { bar, stop, origin, path, every, saved })
    }

    /// Ends the bar; a signal ends the process again.
    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch {
    fn step(&mut self, step: usize, steps: usize) -> Next {
        self.bar.set_length(steps as u64);
        self.bar.set_position(step as u64);
        if self.stop.load(Ordering::Relaxed) {
            Next::Stop
        } else if self.saved.elapsed() >= self.every {
            Next::Save
        } else {
            Next::Step
        }
    }

    fn epoch(&mut self, epoch: Epoch) {
        let Epoch { train_nll, validation_nll, .. } = epoch;
        self.bar.set_message(format!("NLL train {train_nll:.3}, validation {validation_nll:.3}"));
    }

    fn save(&mut self, state: &State) -> Result<(), output::Error> {
        if let Some(folder) = self.path.parent() {
            let failed = |source| output::Error::File { path: folder.into(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        train::save(&self.path, &self.origin, state)?;
        self.saved = Instant::now();
        Ok(())
    }
}

fn progress_bar() -> ProgressBar {
    let template = "  {spinner} {bar:30} {percent:>3} %  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    let bar = ProgressBar::new(1).with_style(style).with_message("reading the data's axes");
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
