//! How a run knows its data again.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::data::Dataset;

/// Shape of a data set and a hash of all its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    rows: usize,
    columns: Vec<String>,
    /// XXH3 (128 bits) of the values' and labels' bytes.
    hash: u128,
}

impl Identity {
    /// Of this data set.
    pub fn of(dataset: &Dataset) -> Self {
        let Dataset { table, labels } = dataset;
        let mut hasher = XxHash3_128::new();
        let mut bytes = Vec::new();
        for values in table.values.chunks(1 << 14) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            hasher.write(&bytes);
        }
        if let Some(labels) = labels {
            let bytes: Vec<u8> = labels.iter().map(|label| u8::from(*label)).collect();
            hasher.write(&bytes);
        }
        Self { rows: table.rows(), columns: table.names.clone(), hash: hasher.finish_128() }
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
    use crate::data::Table;

    fn dataset() -> Dataset {
        let names = vec!["a".into(), "b".into()];
        let table = Table { names, width: 2, values: vec![1.0, 2.0, 3.0, 4.0] };
        Dataset { table, labels: Some(vec![false, true]) }
    }

    #[test]
    fn every_difference_is_told() {
        let was = Identity::of(&dataset());
        let told = |change: &dyn Fn(&mut Dataset)| {
            let mut changed = dataset();
            change(&mut changed);
            was.difference(&Identity::of(&changed))
        };
        assert_eq!(told(&|_| ()), None);
        let sentence = |text: &str| Some(text.to_string());
        let rows = told(&|data| data.table.values.truncate(2));
        assert_eq!(rows, sentence("it had 2 rows and has 1"));
        let columns = told(&|data| data.table.names[1] = "c".into());
        assert_eq!(columns, sentence("its columns were a, b and are a, c"));
        let others = sentence("some of its numbers are others");
        assert_eq!(told(&|data| data.table.values[3] = 5.0), others);
        assert_eq!(told(&|data| data.table.values.swap(0, 1)), others);
        assert_eq!(told(&|data| data.labels = Some(vec![true, true])), others);
    }
}
