//! The scorer: one image that holds a model and scores rows of readings with it.
//!
//! It runs under semihosting. With two file names on its command line it streams rows from the
//! first and writes scores to the second; without them it tests itself. Everything a board has in
//! particular stands in `boards/` and `src/bin/`.
//!
//! | exit code | means |
//! | --- | --- |
//! | 0 | all rows scored |
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
pub mod kernels;
#[cfg(target_os = "none")]
mod measure;
pub mod self_test;
#[cfg(target_os = "none")]
mod stack;

#[cfg(target_os = "none")]
pub use app::{bare, kernels_alone, main};
