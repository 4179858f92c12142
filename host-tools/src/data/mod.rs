//! Rows of numbers: read from CSV, NPY or Parquet, labelled, split, windowed, dequantised.
//!
//! [`read`] has a whole file in memory, [`stream`] gives one row after the other. A cell that is
//! missing or not finite is kept as it is; whoever needs finite numbers raises [`Error::NotFinite`].

mod arcs;
mod columns;
mod csv;
mod dequantise;
mod error;
mod limits;
mod npy;
mod order;
mod parquet;
mod read;
mod sink;
mod split;
mod statistics;
mod store;
mod table;
#[cfg(test)]
mod testing;
mod windows;

pub use columns::{Columns, context_last};
pub use dequantise::{Resolution, dequantise, resolutions};
pub use error::{Error, Place};
pub use limits::{Domain, DomainScan, Limits, keep_inside};
pub use npy::read_labels as read_labels_npy;
pub use order::Order;
pub use read::{read, stream};
pub use sink::{Header, Sink};
pub use split::{Parts, Split, SplitWriter};
pub use statistics::{Extent, extend, extents, moments};
pub use store::{Spool, Store, StoreWriter};
pub use table::{Dataset, Table};
pub use windows::{Windows, windows};
