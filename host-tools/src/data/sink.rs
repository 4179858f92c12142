//! Who takes the rows of a file as they are read.

use super::{Dataset, Error, Table};

/// What is known of a file before its first row.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Names of the columns that are data: `[width]`.
    pub names: Vec<String>,
    /// Whether a column is the label.
    pub has_label: bool,
    /// Number of rows, where the format tells.
    pub rows: Option<u64>,
}

/// Takes rows, one after the other.
pub trait Sink {
    /// The group of the row that comes next, where [`super::Columns::group`] asks for it; empty where
    /// the cell is.
    ///
    /// # Errors
    ///
    /// As [`Sink::row`].
    fn group(&mut self, _name: &str) -> Result<(), Error> {
        Ok(())
    }
    /// A row \[width\], NaN where a cell is missing; its label is true for an anomaly.
    ///
    /// # Errors
    ///
    /// Whatever the sink can't bear; reading ends there.
    fn row(&mut self, values: &[f32], is_anomaly: bool) -> Result<(), Error>;
}

/// All rows in memory.
#[derive(Debug)]
pub(super) struct Collect(Dataset);

impl Collect {
    pub(super) fn new(header: Header) -> Self {
        let Header { names, has_label, .. } = header;
        let table = Table { width: names.len(), names, values: Vec::new() };
        Self(Dataset { table, labels: has_label.then(Vec::new) })
    }

    pub(super) fn finish(self) -> Dataset {
        self.0
    }
}

impl Sink for Collect {
    fn row(&mut self, values: &[f32], is_anomaly: bool) -> Result<(), Error> {
        self.0.table.values.extend_from_slice(values);
        if let Some(labels) = &mut self.0.labels {
            labels.push(is_anomaly);
        }
        Ok(())
    }
}
