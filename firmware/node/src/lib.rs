#![no_std]
//! A node: a sensor, a model, and lines of text that tell what the readings mean.
//!
//! It runs on any board. Sensors come through [`Sensor`], which [`Accelerometer`] implements over
//! any I²C bus of embedded-hal, or are awaited beside it ([`Node::room`]); lines go out and commands
//! come in through embedded-io. There is no heap, and nothing panics: what goes wrong with a sensor or a
//! model is a line.
//!
//! # Lines
//!
//! ASCII, fields split by one space, each line ended by `\n`, so that any terminal can show them:
//!
//! | line | tells |
//! | --- | --- |
//! | `model CRC INPUTS SLOT` | the model that runs: its checksum in 8 hexadecimal digits, the numbers it reads, `a`, `b` or `built-in` |
//! | `score N LOG_PROB P ALARM CHANNEL` | window N, from 0: its log density, its p-value (`-` from a model without calibration), `none`, `improbable` or `not-finite`, and with an alarm the input to blame, by name or number |
//! | `fault N KIND` | window N has no score: `no-answer`, `saturated` or `stuck` |
//! | `sample V1 V2 V3` | a reading, while recording is on |
//! | `refused REASON` | a model that cannot run, or was not taken, and why |
//! | `update N` | a question: what follows the first N bytes of the new model? |
//!
//! A number is the shortest decimal that reads back as the same `f32`; a very large or small one has
//! an exponent, `-1e30`. N counts on after a fault and starts again at 2³².
//!
//! # Commands
//!
//! One byte each: `m` tell the model, `r` recording on, `s` recording off, `u` take a new model. Others are
//! ignored.
//!
//! # A new model
//!
//! After `u` the node asks, and the far end answers in bytes, little-endian, with at most 128 of the model:
//!
//! ```text
//!  0          4       8     9
//! +----------+-------+-----+-----------+--------+
//! | position | total | len | len bytes | CRC-32 |
//! +----------+-------+-----+-----------+--------+
//! ```
//!
//! `position` is the N that was asked for, `total` the model's length; CRC-32 covers what is before it. What
//! is damaged is asked for again. A second of silence, five times, is an end: the spare slot is empty then,
//! and the node goes on with the model that it has. So it does where the new one is refused. No reading is
//! scored meanwhile.

mod accelerometer;
mod blame;
mod choice;
mod flash;
mod line;
mod node;
mod run;
mod sensor;
mod storage;
mod update;

pub use accelerometer::{AXES, Accelerometer, Settings};
pub use choice::choose;
pub use flash::{addresses, built_in, slots, writable};
pub use fluxlet_slots::Slot;
pub use line::{Channel, Line, tell};
pub use node::{Node, Refusal};
pub use run::{run, serve, watch};
pub use sensor::{Fault, Sensor};
pub use storage::{Storage, Writable};
pub use update::update;
