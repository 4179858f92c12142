//! Tables of numbers: read from CSV, NPY or Parquet, labelled, split, windowed, dequantised.
//!
//! A cell that is missing or not finite is kept as it is; whoever needs finite numbers asks
//! [`Table::first_not_finite`] and raises [`Error::not_finite`].

mod columns;
mod csv;
mod dequantise;
mod error;
mod limits;
mod npy;
mod parquet;
mod read;
mod split;
mod table;
#[cfg(test)]
mod testing;
mod windows;

pub use columns::{Columns, context_last};
pub use dequantise::{Resolution, apply, constant_columns, resolutions};
pub use error::{Error, Place};
pub use limits::{Domain, Limits, domains, keep_inside};
pub use npy::read_labels as read_labels_npy;
pub use read::read;
pub use split::split;
pub use table::{Dataset, Table};
pub use windows::{Windows, windows};
