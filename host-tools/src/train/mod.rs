//! Maximum likelihood: from a data set to a trained flow and the bytes of its model.
//!
//! [`gather()`] reads a file, [`prepare()`] makes the rows of a run of it, [`run()`] trains on them and
//! packs the result, [`fit()`] is the loop, `step` what happens in it. Everything random is a function of the seed and a step's number, and [`State`] is
//! all that a step moves: a run that is stopped at any step and resumed ends in the same bits.

mod average;
mod batch;
mod checkpoint;
mod config;
mod constrain;
mod diverge;
mod features;
mod fit;
mod gather;
mod identity;
mod init;
mod mixture;
mod notes;
mod optimiser;
mod prepare;
mod random;
mod run;
mod saved;
mod schedule;
mod skip;
mod state;
mod step;
mod together;

pub(crate) use batch::Batch;
pub use checkpoint::checkpoint;
pub use config::{
    Act, Config, DataConfig, FlowConfig, Kind, LEARNING_RATE, LayerConfig, Optimiser, Outside,
    Rotation, Schedule, Settings, Spline, Start, TrainConfig, one_line,
};
pub use diverge::Restore;
pub use fit::{Epoch, Error as FitError, Next, Observer, Plan, Rows, Silent, Trained, fit};
pub use gather::{Gathered, Group, gather, gather_groups};
pub use identity::Identity;
pub(crate) use init::Begin;
pub(crate) use optimiser::{Adam, Moments};
pub use prepare::{Prepared, prepare};
pub use run::{Error, Outcome, Report, Run, run, run_together};
pub use saved::{Error as SavedError, Origin, load, save};
pub use skip::Skipped;
pub use state::State;
pub(crate) use step::Stepper;
pub use together::{Member, fit_together};
