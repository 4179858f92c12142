//! How a run knows its data again.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::Prepared;
use crate::data::Store;

/// Shape of a data set and a hash of all its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    rows: usize,
    columns: Vec<String>,
    /// XXH3 (128 bits) of the values' and labels' bytes.
    hash: u128,
}

impl Identity {
    /// Of these rows.
    pub fn of(rows: &Prepared) -> Self {
        let stores = rows.stores();
        let count = stores.iter().map(|store| store.len()).sum();
        Self::new(count, rows.names.clone(), stores.map(Store::values))
    }

    pub(super) fn new<'v>(
        rows: usize,
        columns: Vec<String>,
        values: impl IntoIterator<Item = &'v [f32]>,
    ) -> Self {
        let mut hasher = XxHash3_128::new();
        for values in values {
            hasher.write(&values.len().to_le_bytes());
            let mut bytes = Vec::new();
            for values in values.chunks(1 << 14) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                hasher.write(&bytes);
            }
        }
        Self { rows, columns, hash: hasher.finish_128() }
    }

    /// How data of the identity `now` differ from these, if they do.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self.rows != now.rows {
            Some(format!("it had {} rows and has {}", self.rows, now.rows))
        } else if self.columns != now.columns {
            let (before, now) = (self.columns.join(", "), now.columns.join(", "));
            Some(format!("its columns were {before} and are {now}"))
        } else {
            (self.hash != now.hash).then(|| "some of its numbers are others".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(columns: [&str; 2], train: &[f32], anomalies: &[f32]) -> Identity {
        let rows = (train.len() + anomalies.len()) / 2;
        Identity::new(rows, columns.map(String::from).into(), [train, anomalies])
    }

    #[test]
    fn every_difference_is_told() {
        let was = identity(["a", "b"], &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0]);
        let told = |columns, train: &[f32], anomalies: &[f32]| {
            was.difference(&identity(columns, train, anomalies))
        };
        let sentence = |text: &str| Some(text.to_string());
        assert_eq!(told(["a", "b"], &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0]), None);
        let rows = told(["a", "b"], &[1.0, 2.0], &[5.0, 6.0]);
        assert_eq!(rows, sentence("it had 3 rows and has 2"));
        let columns = told(["a", "c"], &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0]);
        assert_eq!(columns, sentence("its columns were a, b and are a, c"));
        let others = sentence("some of its numbers are others");
        assert_eq!(told(["a", "b"], &[1.0, 2.0, 3.0, 5.0], &[5.0, 6.0]), others);
        assert_eq!(told(["a", "b"], &[2.0, 1.0, 3.0, 4.0], &[5.0, 6.0]), others);
        assert_eq!(told(["a", "b"], &[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0]), others);
    }
}
