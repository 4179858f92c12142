//! Images that hold a model and run in QEMU, under semihosting.
//!
//! The scorer streams rows from the first file on its command line and writes scores to the second;
//! without them it tests itself. The node plays a file as if it were a sensor. Everything an emulated
//! board has in particular stands in `qemu/`; real boards stand in `boards/`.
//!
//! | exit code | means |
//! | --- | --- |
//! | 0 | all rows scored, or played |
//! | 1 | a file could not be read or written, or the rows end inside one |
//! | 2 | the model was refused |
//! | 101 | panic |
//! | 102 | hardware fault |

#![no_std]

#[cfg(target_os = "none")]
mod app;
pub mod embedded;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod flash;
pub mod kernels;
#[cfg(target_os = "none")]
mod measure;
#[cfg(target_os = "none")]
mod node;
pub mod self_test;
#[cfg(target_os = "none")]
mod sensor;
#[cfg(target_os = "none")]
mod stack;

#[cfg(target_os = "none")]
pub use app::{bare, kernels_alone, main};
#[cfg(target_os = "none")]
pub use node::node;
