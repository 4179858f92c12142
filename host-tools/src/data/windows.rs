//! Windows of a sensor stream.

use std::path::Path;

use super::{Dataset, Error, Table};

/// A stream of C channels, cut into windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// One window a row, `[windows, window * C]`: row t of the window, channel c, stands at
    /// t * C + c and is named `channel@t`. A window is an anomaly if any of its rows is.
    pub dataset: Dataset,
    /// Names of the channels: `[C]`.
    pub channels: Vec<String>,
    /// Rows at the end that fill no window and were dropped.
    pub dropped: usize,
}

/// Cuts the rows, in their order, into consecutive windows that don't overlap.
///
/// `path` only names the data in the error.
///
/// # Errors
///
/// [`Error::WindowLength`] if `window` is 0 or longer than the data.
pub fn windows(dataset: &Dataset, window: usize, path: &Path) -> Result<Windows, Error> {
    let table = &dataset.table;
    let rows = table.rows();
    if window == 0 || window > rows {
        let rows = rows as u64;
        return Err(Error::WindowLength { path: path.into(), window, rows });
    }
    let dropped = rows % window;
    let kept = rows - dropped;
    // Sample-major windows are the row-major table itself, read with a longer row.
    let values = table.values[..kept * table.width].to_vec();
    let names = (0..window)
        .flat_map(|t| table.names.iter().map(move |channel| format!("{channel}@{t}")))
        .collect();
    let any = |labels: &Vec<bool>| {
        labels[..kept].chunks_exact(window).map(|rows| rows.contains(&true)).collect()
    };
    Ok(Windows {
        dataset: Dataset {
            table: Table { names, width: window * table.width, values },
            labels: dataset.labels.as_ref().map(any),
        },
        channels: table.names.clone(),
        dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(rows: usize) -> Dataset {
        Dataset {
            table: Table {
                names: vec!["x".into(), "y".into()],
                width: 2,
                values: (0..2 * rows).map(|i| i as f32).collect(),
            },
            labels: Some((0..rows).map(|row| row == 3).collect()),
        }
    }

    #[test]
    fn windows_are_sample_major_and_drop_the_remainder() {
        let cut = windows(&stream(7), 3, Path::new("s.csv")).unwrap();
        assert_eq!(cut.dropped, 1);
        assert_eq!(cut.channels, ["x", "y"]);
        assert_eq!(cut.dataset.table.width, 6);
        assert_eq!(cut.dataset.table.rows(), 2);
        assert_eq!(cut.dataset.table.names, ["x@0", "y@0", "x@1", "y@1", "x@2", "y@2"]);
        assert_eq!(cut.dataset.table.row(1), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    }

    #[test]
    fn a_window_is_an_anomaly_if_any_row_is() {
        let cut = windows(&stream(8), 2, Path::new("s.csv")).unwrap();
        assert_eq!(cut.dataset.labels, Some(vec![false, true, false, false]));
        let mut unlabelled = stream(8);
        unlabelled.labels = None;
        let cut = windows(&unlabelled, 8, Path::new("s.csv")).unwrap();
        assert_eq!((cut.dataset.labels, cut.dropped), (None, 0));
    }

    #[test]
    fn a_window_that_does_not_fit_names_both_sizes() {
        for window in [0, 8] {
            let error = windows(&stream(7), window, Path::new("s.csv")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cut s.csv into windows: a window has {window} rows, the data has 7")
            );
        }
    }
}
