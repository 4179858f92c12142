//! Who watches runs: a progress bar, a clock that says when to save, and Ctrl-C.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::stop;
use crate::output;
use crate::train::{self, Epoch, Next, Observer, Origin, State};

/// Parts of the bar that a run is.
const PARTS: u64 = 1000;

/// What a terminal shows of some runs, and whether they are to stop.
pub(in crate::commands) struct Progress {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    runs: usize,
}

impl Progress {
    /// For this many runs.
    ///
    /// # Errors
    ///
    /// The operating system has no signals left.
    pub(in crate::commands) fn new(runs: usize) -> io::Result<Self> {
        let bar = progress_bar();
        bar.set_length(runs as u64 * PARTS);
        Ok(Self { bar, stop: stop::flag()?, runs })
    }

    /// Says something beside the bar.
    pub(in crate::commands) fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Whether Ctrl-C was pressed.
    pub(in crate::commands) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the bar; a signal ends the process again.
    pub(in crate::commands) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

/// The observer of a run.
pub(super) struct Watch<'p> {
    progress: &'p Progress,
    /// What of the bar is filled by this run.
    parts: u64,
    origin: Origin,
    path: PathBuf,
    every: Duration,
    saved: Instant,
}

impl<'p> Watch<'p> {
    /// Saves the states of the run of this origin to `path`, one in each `every`.
    pub(super) fn new(
        progress: &'p Progress,
        origin: Origin,
        path: PathBuf,
        every: Duration,
    ) -> Self {
        Self { progress, parts: 0, origin, path, every, saved: Instant::now() }
    }

    fn fill(&mut self, parts: u64) {
        if parts > self.parts {
            self.progress.bar.inc(parts - self.parts);
            self.parts = parts;
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // A run may end before its last step.
        if !self.progress.is_stopped() {
            self.fill(PARTS);
        }
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: usize, steps: usize) -> Next {
        self.fill(PARTS * step as u64 / steps as u64);
        if self.progress.is_stopped() {
            Next::Stop
        } else if self.saved.elapsed() >= self.every {
            Next::Save
        } else {
            Next::Step
        }
    }

    fn epoch(&mut self, epoch: Epoch) {
        if self.progress.runs == 1 {
            let Epoch { train_nll, validation_nll, .. } = epoch;
            let message = format!("NLL train {train_nll:.3}, validation {validation_nll:.3}");
            self.progress.say(message);
        }
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
