//! How results look in a terminal.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use crate::train::Report;

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Text that stands out as good news, where the output is a terminal.
pub fn good(text: impl Display) -> String {
    styled(AnsiColor::Green.on_default().bold(), text)
}

/// Text that stands out as bad news.
pub fn bad(text: impl Display) -> String {
    styled(AnsiColor::Red.on_default().bold(), text)
}

/// A heading.
pub fn heading(text: impl Display) -> String {
    styled(Style::new().bold(), text)
}

/// A number that may be missing.
pub fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.4}"))
}

/// Prints what a training run came to.
pub fn training(report: &Report) {
    for note in &report.notes {
        anstream::println!("note: {note}");
    }
    if report.skipped_batches > 0 {
        let text = format!("{} batches were not finite and moved nothing", report.skipped_batches);
        anstream::println!("{}: {text}", bad("warning"));
    }
    anstream::println!(
        "trained on {} rows, {} held out; best of {} epochs is {}",
        report.train_rows,
        report.held_out_rows,
        report.epochs,
        report.best_epoch
    );
    anstream::println!("validation NLL {:.4} nats", report.validation_nll);
    if report.anomalies > 0 {
        anstream::println!(
            "{} anomalies against the held-out rows: AUROC {}, AUPR {}",
            report.anomalies,
            number(report.auroc),
            number(report.aupr)
        );
    }
    anstream::println!("{} parameters, {} bytes packed", report.parameters, report.model_bytes);
}
