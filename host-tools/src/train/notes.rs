//! What a run's user should know of its troubles.

use super::Trained;

/// A sentence for the rows, numbered from 1, that are not finite in the flow, and one for each return
/// to the best weights. With `windows`, rows are windows.
pub(super) fn troubles(trained: &Trained, rows: &[usize], windows: bool) -> Vec<String> {
    let what = if windows { "window" } else { "row" };
    let numbers: Vec<String> = rows.iter().map(usize::to_string).collect();
    let blamed = match &numbers[..] {
        [] => None,
        [row] => Some(format!("{what} {row} of the data made batches that are not finite")),
        rows => Some(format!(
            "{what}s {} of the data made batches that are not finite",
            rows.join(", ")
        )),
    };
    let restored = trained.restores.iter().enumerate().map(|(i, restore)| {
        let epoch = restore.epoch;
        let best = match restore.to {
            0 => "the start".to_string(),
            best => format!("epoch {best}"),
        };
        if i < super::diverge::MOST_RESTORES {
            format!(
                "training diverged in epoch {epoch}; it went on from the weights of {best} with a \
                 quarter of the learning rate"
            )
        } else {
            format!("training diverged in epoch {epoch} again; it ended with the weights of {best}")
        }
    });
    blamed.into_iter().chain(restored).collect()
}
