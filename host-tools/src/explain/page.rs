//! Explanations as a terminal shows them.

use std::fmt::Write;

use super::markdown::{self, INDENT, code, wrap};
use super::training::{TEXT, Worked};
use super::{Explanation, KNOTS_TITLE, Line, formula};
use crate::report::heading;

/// The table of all layers in lines of at most `width` columns.
pub fn overview(lines: &[Line], width: usize) -> String {
    let longest = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
    let name_width = longest(&mut lines.iter().map(|line| line.name.chars().count()));
    let count = |line: &Line| line.parameters.chars().count();
    let count_width = longest(&mut lines.iter().map(count)).max(10);
    let mut text = String::new();
    let head = format!("{:<name_width$}  {:<count_width$}  what it does", "layer", "parameters");
    writeln!(text, "{}", heading(head)).ok();
    let rest = " ".repeat(name_width + count_width + 4);
    for line in lines {
        // Padded by hand: the colours have no width.
        let pad = " ".repeat(count_width - count(line));
        let name = heading(format!("{:<name_width$}", line.name));
        let first = format!("{name}  {}{pad}  ", code(&line.parameters));
        writeln!(text, "{}", wrap(&line.what, width, &first, &rest)).ok();
    }
    let letters = "D is the dimension of the data, K the bins of a spline, M the reflections of a \
                   Householder product; where a network gives the parameters, they are the \
                   network's. `fluxlet explain LAYER` tells all about one of them, \
                   `fluxlet explain --training` how they learn.";
    write!(text, "\n{}", markdown::flush_left(letters, width)).ok();
    text
}

impl Explanation {
    /// The explanation in lines of at most `width` columns.
    pub fn page(&self, width: usize) -> String {
        let mut text = format!("{}  {}\n\n", heading(self.layer), self.file);
        text.push_str(&markdown::render(&self.summary, width));
        let device = |text: &mut String| text.push_str(&self.device(width));
        let has_source = self.sections.iter().any(|section| section.title == "Source");
        for section in &self.sections {
            if section.title == "Source" {
                self.add_knots(&mut text, width);
                device(&mut text);
            }
            text.push_str(&heading(&section.title));
            text.push_str("\n\n");
            if section.title == "Parameters" {
                text.push_str(&self.parameters(width));
            }
            text.push_str(&markdown::render(&section.text, width));
            if section.title == "Formula" {
                self.add_picture(&mut text);
            }
        }
        if !has_source {
            device(&mut text);
        }
        format!("{}\n", text.trim_end())
    }

    fn parameters(&self, width: usize) -> String {
        let count = &self.count;
        if !formula::has_letters(&count.formula) {
            return String::new();
        }
        let number = heading(count.parameters);
        let (formula, letters) = (code(&count.formula), markdown::bind(&count.letters));
        let line = if count.substituted == count.parameters.to_string() {
            format!("{formula} = {number} for {letters}")
        } else {
            format!("{formula} = {} = {number} for {letters}", count.substituted)
        };
        format!("{}\n\n", wrap(&line, width, INDENT, INDENT))
    }

    fn device(&self, width: usize) -> String {
        let mut text = format!("{}\n\n", heading("On a device"));
        let measured = match &self.measured {
            Some(measured) => {
                format!(
                    "One forward pass at {}: {} instructions on a Cortex-M4F, {} on a Cortex-M0, \
                     counted in QEMU by `fluxlet cost --layers`.",
                    measured.letters(&self.count.formula),
                    measured.m4f,
                    measured.m0
                )
            }
            None => "Instructions: not measured.".into(),
        };
        let kept = format!(
            "{} bytes of packed weights in flash and {} multiply-adds a pass for {}.",
            self.bytes, self.multiply_adds, self.count.letters
        );
        text.push_str(&markdown::render(&format!("{measured}\n\n{kept}"), width));
        text
    }

    fn add_picture(&self, text: &mut String) {
        let Some(curve) = &self.curve else { return };
        text.push_str(&curve.picture());
        text.push('\n');
        if curve.knots.is_empty() {
            return;
        }
        for (name, axis) in [("x", 0), ("z", 1), ("slope", 2)] {
            write!(text, "{INDENT}{name:<6}").ok();
            for knot in &curve.knots {
                write!(text, "{:>9}", signed(knot[axis], 3)).ok();
            }
            text.push('\n');
        }
        writeln!(
            text,
            "\n{INDENT}Knots (●) and slopes (short lines) of an example, {}.\n",
            curve.example
        )
        .ok();
    }

    fn add_knots(&self, text: &mut String, width: usize) {
        let Some(head) = &self.knots else { return };
        text.push_str(&heading(KNOTS_TITLE));
        text.push_str("\n\n");
        text.push_str(&markdown::render(&head.summary, width));
        for section in &head.sections {
            text.push_str(&markdown::render(&format!("## {}", section.title), width));
            text.push_str(&markdown::render(&section.text, width));
        }
    }
}

/// A number with a true minus sign.
pub(super) fn signed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}").replace('-', "−");
    // Nothing is less than nothing.
    match text.strip_prefix('−') {
        Some(zero) if zero.chars().all(|c| matches!(c, '0' | '.')) => zero.into(),
        _ => text,
    }
}

/// The core's text on training, and below each of its parts the same with numbers.
pub fn training(worked: &Worked, width: usize) -> String {
    let head = super::training::head();
    let mut text = format!("{}  {TEXT}\n\n", heading("Training"));
    text.push_str(&markdown::render(&head.summary, width));
    text.push_str(&markdown::render(&worked.example(), width));
    for section in &head.sections {
        text.push_str(&heading(&section.title));
        text.push_str("\n\n");
        text.push_str(&markdown::render(&section.text, width));
        if let Some(lines) = worked.numbers(&section.title) {
            for line in lines.lines() {
                writeln!(text, "{INDENT}{}", format!("│ {line}").trim_end()).ok();
            }
            text.push('\n');
        }
    }
    format!("{}\n", text.trim_end())
}
