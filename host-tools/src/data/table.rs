//! The table every reader fills.

/// Named columns of 32-bit floats, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// One name a column: `[width]`.
    pub names: Vec<String>,
    /// Columns, at least 1 in a table that was read.
    pub width: usize,
    /// Row-major: `[rows, width]`. NaN where a cell is missing.
    pub values: Vec<f32>,
}

impl Table {
    /// Number of rows; 0 where there are no columns.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Row `i`: `[width]`.
    ///
    /// # Panics
    ///
    /// If `i` is not below `rows()`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// Puts the columns into the order of `names`, where they have just these names. Columns that
    /// share a name stay in their own order.
    pub fn reorder(&mut self, names: &[String]) {
        if self.names == names {
            return;
        }
        let place = |(i, name): (usize, &String)| {
            let before = names[..i].iter().filter(|other| *other == name).count();
            let named = self.names.iter().enumerate().filter(|(_, own)| *own == name);
            named.map(|(place, _)| place).nth(before)
        };
        let places: Option<Vec<usize>> = names.iter().enumerate().map(place).collect();
        if let Some(places) = places.filter(|places| places.len() == self.width) {
            self.rearrange(&places);
        }
    }

    /// Puts column `places[i]` into place i, for each i.
    fn rearrange(&mut self, places: &[usize]) {
        for row in self.values.chunks_exact_mut(self.width) {
            let old = row.to_vec();
            for (value, place) in row.iter_mut().zip(places) {
                *value = old[*place];
            }
        }
        self.names = places.iter().map(|place| self.names[*place].clone()).collect();
    }
}

/// A table and, where the file or the caller has them, its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The numbers, without the label column and the excluded ones.
    pub table: Table,
    /// One label a row, true for an anomaly (a label other than 0): `[rows]`.
    pub labels: Option<Vec<bool>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            names: vec!["a".into(), "b".into()],
            width: 2,
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    }

    #[test]
    fn rows_address_their_values() {
        let table = table();
        assert_eq!(table.rows(), 3);
        assert_eq!(table.row(1), [3.0, 4.0]);
    }

    #[test]
    fn columns_follow_the_names_that_are_asked_for() {
        let mut table = table();
        table.reorder(&["b".into(), "a".into()]);
        assert_eq!(table.row(1), [4.0, 3.0]);
        assert_eq!(table.names, ["b", "a"]);
        let before = table.clone();
        table.reorder(&["b".into(), "z".into()]);
        assert_eq!(table, before);
    }

    #[test]
    fn columns_that_share_a_name_stay_two() {
        let twins = ["a", "a"].map(String::from);
        let mut table = Table { names: twins.to_vec(), ..table() };
        let before = table.clone();
        table.reorder(&twins);
        assert_eq!(table, before);
        let mut wide = Table {
            names: ["b", "a", "a"].map(String::from).to_vec(),
            width: 3,
            values: vec![1.0, 2.0, 3.0],
        };
        wide.reorder(&["a", "b", "a"].map(String::from));
        assert_eq!(wide.values, [2.0, 1.0, 3.0]);
    }

    #[test]
    fn an_empty_table_has_no_rows() {
        let empty = Table { names: vec![], width: 0, values: vec![] };
        assert_eq!(empty.rows(), 0);
    }
}
